#include "formats/rope_divisors.h"

#include <math.h>

/* pow in double, then rounded: the float next to the true power, whatever libm
 * (a double's error is 2^-29 of a float's last bit).  The rest is float32 in
 * torch's order, where 1/x and c/x are a reciprocal and a product. */
static float divisor(const qn_hparams *h, uint64_t j)
{
    const float exponent = (float)(2 * j) / (float)h->rope_dims;
    const float inv_freq = 1.0f / (float)pow((double)(float)h->rope_theta, (double)exponent);
    const float wavelength = 1.0f / inv_freq * (float)(2 * M_PI);
    const double length = (double)h->rope_original_ctx;
    const float low = (float)h->rope_low_freq, factor = (float)h->rope_factor;
    if (wavelength < (float)(length / h->rope_high_freq)) return 1;
    if (wavelength > (float)(length / h->rope_low_freq)) return factor;
    const float smooth =
        (1.0f / wavelength * (float)length - low) / (float)(h->rope_high_freq - h->rope_low_freq);
    return 1.0f / ((1.0f - smooth) / factor + smooth);
}

#define STAYS 1e30F

static void proportional(const qn_hparams *h, float *out)
{
    const uint64_t turning = (uint64_t)((double)h->rope_dims * h->rope_partial / 2.0);
    for (uint64_t j = 0; j < h->rope_dims / 2; j++)
        out[j] = j < turning ? (float)h->rope_factor : STAYS;
}

void qn_rope_divisors(const qn_hparams *h, float *out)
{
    if (h->rope_scaling == QN_ROPE_PROPORTIONAL) {
        proportional(h, out);
        return;
    }
    for (uint64_t j = 0; j < h->rope_dims / 2; j++) out[j] = divisor(h, j);
}

static bool explains(const qn_hparams *h, const float *divisors)
{
    for (uint64_t j = 0; j < h->rope_dims / 2; j++)
        if (divisor(h, j) != divisors[j]) return false;
    return true;
}

static bool explains_proportional(const float *divisors, qn_hparams *h)
{
    const uint64_t pairs = h->rope_dims / 2;
    uint64_t turning = 0;
    while (turning < pairs && divisors[turning] != STAYS) turning++;
    for (uint64_t j = 0; j < pairs; j++)
        if (divisors[j] != (j < turning ? divisors[0] : STAYS)) return false;
    if (turning == 0 || turning == pairs) return false;
    h->rope_scaling = QN_ROPE_PROPORTIONAL;
    h->rope_factor = (double)divisors[0];
    h->rope_partial = (double)turning / (double)pairs;
    return true;
}

bool qn_rope_divisors_explain(const float *divisors, qn_hparams *h)
{
    if (h->rope_dims < 2) return false;
    if (explains_proportional(divisors, h)) return true;
    enum { SHORTEST = 4, LONGEST = 24 }; /* original length, as a power of two */
    qn_hparams guess = *h;
    guess.rope_factor = (double)divisors[h->rope_dims / 2 - 1]; /* the slowest pair's */
    guess.rope_low_freq = 1;
    for (unsigned power = SHORTEST; power <= LONGEST; power++)
        for (unsigned high = 0; high < 2; high++) {
            guess.rope_original_ctx = UINT64_C(1) << power;
            guess.rope_high_freq = high ? 1 : 4; /* Llama 4's: no pairs between */
            if (!explains(&guess, divisors)) continue;
            *h = guess;
            return true;
        }
    return false;
}
