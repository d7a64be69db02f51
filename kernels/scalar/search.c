#include "kernels/scalar/search.h"

#include <math.h>
#include <string.h>

/* ggml's GROUP_MAX_EPS: below it a group counts as zero. */
#define ALL_ZERO 1e-15f

enum { MAX_GROUP = 32, THREE_BIT_GROUP = 16, THREE_BIT_LEVELS = 4 };

float qn_signed_max(const float *x, size_t n)
{
    float most = 0.0f, magnitude = 0.0f;
    for (size_t i = 0; i < n; i++) {
        const float a = fabsf(x[i]);
        if (a > magnitude) {
            magnitude = a;
            most = x[i];
        }
    }
    return most;
}

/* ---- symmetric --------------------------------------------------------------- */

typedef struct {
    float xl, ll; /* sums of w*x*l and w*l*l */
} symmetric_sums;

static symmetric_sums try_symmetric(size_t n, int levels, const float *x, const float *w,
                                    float inverse, uint8_t *q)
{
    symmetric_sums sum = {0.0f, 0.0f};
    for (size_t i = 0; i < n; i++) {
        const int l = qn_clamp(qn_nearest(inverse * x[i]), -levels, levels - 1);
        const float weight = w ? w[i] : x[i] * x[i];
        q[i] = (uint8_t)(l + levels);
        sum.xl += weight * x[i] * (float)l;
        sum.ll += weight * (float)l * (float)l;
    }
    return sum;
}

float qn_search_symmetric(size_t n, int levels, const float *x, const float *w, uint8_t *q)
{
    const float most = qn_signed_max(x, n);
    if (fabsf(most) < ALL_ZERO) {
        memset(q, 0, n);
        return 0.0f;
    }
    symmetric_sums sum = try_symmetric(n, levels, x, w, -(float)levels / most, q);
    float scale = sum.ll != 0.0f ? sum.xl / sum.ll : 0.0f;
    float best = scale * sum.xl;
    for (int k = -9; k <= 9; k++) {
        if (k == 0) continue;
        uint8_t tried[MAX_GROUP];
        sum = try_symmetric(n, levels, x, w, -((float)levels + 0.1f * (float)k) / most, tried);
        if (!(sum.ll > 0.0f && sum.xl * sum.xl > best * sum.ll)) continue;
        memcpy(q, tried, n);
        scale = sum.xl / sum.ll;
        best = scale * sum.xl;
    }
    return scale;
}

/* One pass of coordinate descent over signed codes l; the number that changed. */
static int improve_three_bits(const float *x, int8_t *l, symmetric_sums *sum)
{
    int changed = 0;
    for (int i = 0; i < THREE_BIT_GROUP; i++) {
        const float w = x[i] * x[i];
        symmetric_sums other = {sum->xl - w * x[i] * (float)l[i], 0.0f};
        if (!(other.xl > 0.0f)) continue;
        other.ll = sum->ll - w * (float)l[i] * (float)l[i];
        const int better = qn_clamp(qn_nearest(x[i] * other.ll / other.xl), -THREE_BIT_LEVELS,
                                    THREE_BIT_LEVELS - 1);
        if (better == l[i]) continue;
        other.xl += w * x[i] * (float)better;
        other.ll += w * (float)better * (float)better;
        if (!(other.ll > 0.0f && other.xl * other.xl * sum->ll > sum->xl * sum->xl * other.ll))
            continue;
        l[i] = (int8_t)better;
        *sum = other;
        changed++;
    }
    return changed;
}

float qn_search_three_bits(const float *x, uint8_t *q)
{
    const float most = qn_signed_max(x, THREE_BIT_GROUP);
    memset(q, 0, THREE_BIT_GROUP);
    if (fabsf(most) < ALL_ZERO) return 0.0f;
    symmetric_sums sum = try_symmetric(THREE_BIT_GROUP, THREE_BIT_LEVELS, x, NULL,
                                       -(float)THREE_BIT_LEVELS / most, q);
    int8_t l[THREE_BIT_GROUP];
    for (int i = 0; i < THREE_BIT_GROUP; i++) l[i] = (int8_t)(q[i] - THREE_BIT_LEVELS);
    for (int pass = 0; pass < 5; pass++)
        if (!improve_three_bits(x, l, &sum)) break;
    for (int i = 0; i < THREE_BIT_GROUP; i++) q[i] = (uint8_t)(l[i] + THREE_BIT_LEVELS);
    return sum.ll > 0.0f ? sum.xl / sum.ll : 0.0f;
}

/* ---- affine ------------------------------------------------------------------- */

static float affine_error(size_t n, const float *x, const float *w, const uint8_t *q, float scale,
                          float low, bool absolute)
{
    float sum = 0.0f;
    for (size_t i = 0; i < n; i++) {
        const float d = scale * (float)q[i] + low - x[i];
        sum += w[i] * (absolute ? fabsf(d) : d * d);
    }
    return sum;
}

static void affine_codes(size_t n, const float *x, float inverse, float low, int top, uint8_t *q)
{
    for (size_t i = 0; i < n; i++)
        q[i] = (uint8_t)qn_clamp(qn_nearest(inverse * (x[i] - low)), 0, top);
}

/* Least squares for given codes: x ~ scale * q + low, low <= 0.  False when the
 * system is singular. */
static bool affine_fit(size_t n, const float *x, const float *w, const uint8_t *q, float sum_w,
                       float sum_x, float *scale, float *low)
{
    float l = 0.0f, ll = 0.0f, xl = 0.0f;
    for (size_t i = 0; i < n; i++) {
        const float code = (float)q[i];
        l += w[i] * code;
        ll += w[i] * code * code;
        xl += w[i] * code * x[i];
    }
    const float determinant = sum_w * ll - l * l;
    if (!(determinant > 0.0f)) return false;
    *scale = (sum_w * xl - sum_x * l) / determinant;
    *low = (ll * sum_x - l * xl) / determinant;
    if (*low > 0.0f) {
        *low = 0.0f;
        *scale = xl / ll;
    }
    return true;
}

float qn_search_affine(size_t n, const float *x, const float *w, const qn_affine_search *how,
                       uint8_t *q, float *m)
{
    float low = x[0], high = x[0], sum_w = w[0], sum_x = sum_w * x[0];
    for (size_t i = 1; i < n; i++) {
        if (x[i] < low) low = x[i];
        if (x[i] > high) high = x[i];
        sum_w += w[i];
        sum_x += w[i] * x[i];
    }
    if (low > 0.0f) low = 0.0f;
    if (high == low) {
        memset(q, 0, n);
        *m = -low;
        return 0.0f;
    }
    const float plain = (float)how->top / (high - low);
    float scale = 1.0f / plain;
    affine_codes(n, x, plain, low, how->top, q);
    float best = affine_error(n, x, w, q, scale, low, how->absolute);
    for (int k = 0; k <= how->steps; k++) {
        uint8_t tried[MAX_GROUP];
        float tried_scale, tried_low;
        /* low is the best minimum so far: it moves, as upstream's does */
        const float inverse = (how->first + how->step * (float)k + (float)how->top) / (high - low);
        affine_codes(n, x, inverse, low, how->top, tried);
        if (!affine_fit(n, x, w, tried, sum_w, sum_x, &tried_scale, &tried_low)) continue;
        const float error = affine_error(n, x, w, tried, tried_scale, tried_low, how->absolute);
        if (!(error < best)) continue;
        memcpy(q, tried, n);
        best = error;
        scale = tried_scale;
        low = tried_low;
    }
    *m = -low;
    return scale;
}

/* ---- positive ------------------------------------------------------------------ */

static float positive_error(size_t n, int top, const float *x, const float *w, float inverse)
{
    const float scale = 1.0f / inverse;
    float sum = 0.0f;
    for (size_t i = 0; i < n; i++) {
        const int nearest = qn_nearest(inverse * x[i]);
        const int l = nearest < top ? nearest : top;
        const float d = x[i] - scale * (float)l;
        sum += w[i] * d * d;
    }
    return sum;
}

/* One pass of coordinate descent; the number of codes that changed. */
static int improve_positive(size_t n, int top, const float *x, const float *w, uint8_t *q,
                            float *sum_xl, float *sum_ll)
{
    int changed = 0;
    for (size_t i = 0; i < n; i++) {
        float xl = *sum_xl - w[i] * x[i] * (float)q[i];
        float ll = *sum_ll - w[i] * (float)q[i] * (float)q[i];
        if (!(xl > 0.0f && ll > 0.0f)) continue;
        const int nearest = qn_nearest(x[i] * ll / xl);
        const int l = nearest < top ? nearest : top;
        if (l == q[i]) continue;
        xl += w[i] * x[i] * (float)l;
        ll += w[i] * (float)l * (float)l;
        if (!(xl * xl * *sum_ll > *sum_xl * *sum_xl * ll)) continue;
        q[i] = (uint8_t)l;
        *sum_xl = xl;
        *sum_ll = ll;
        changed++;
    }
    return changed;
}

float qn_search_positive(size_t n, int top, const float *x, const float *w, uint8_t *q)
{
    float most = 0.0f;
    for (size_t i = 0; i < n; i++)
        if (x[i] > most) most = x[i];
    if (most < ALL_ZERO) {
        memset(q, 0, n);
        return 0.0f;
    }
    /* The first candidate's codes are bytes without a limit, as upstream's. */
    float inverse = (float)top / most, best = 0.0f;
    const float scale = 1.0f / inverse;
    for (size_t i = 0; i < n; i++) {
        const float d = x[i] - scale * (float)(uint8_t)qn_nearest(inverse * x[i]);
        best += w[i] * d * d;
    }
    for (int k = -4; k <= 4; k++) {
        if (k == 0) continue;
        const float tried = (0.1f * (float)k + (float)top) / most;
        const float error = positive_error(n, top, x, w, tried);
        if (!(error < best)) continue;
        best = error;
        inverse = tried;
    }
    float sum_xl = 0.0f, sum_ll = 0.0f;
    for (size_t i = 0; i < n; i++) {
        const int nearest = qn_nearest(inverse * x[i]);
        const int l = nearest < top ? nearest : top;
        q[i] = (uint8_t)l;
        sum_xl += w[i] * x[i] * (float)l;
        sum_ll += w[i] * (float)l * (float)l;
    }
    for (int pass = 0; pass < 5; pass++)
        if (!improve_positive(n, top, x, w, q, &sum_xl, &sum_ll)) break;
    return sum_ll > 0.0f ? sum_xl / sum_ll : 0.0f;
}
