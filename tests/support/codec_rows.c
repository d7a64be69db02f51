#include "tests/support/codec_rows.h"

#include <math.h>
#include <string.h>

static float uniform(qn_random *r)
{
    return (float)(qn_random_bits(r) >> 40) * 0x1p-24f;
}

/* below the limit */
static int pick(qn_random *r, int limit)
{
    return (int)(qn_random_bits(r) % (unsigned)limit);
}

/* A power of two or one of the eleven floats below it. */
static float near_power_of_two(qn_random *r)
{
    const int exponent = pick(r, 40) - 20; /* drawn first, whatever the compiler */
    float v = ldexpf(pick(r, 2) ? 1.0f : -1.0f, exponent);
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    bits -= (uint32_t)pick(r, 12);
    memcpy(&v, &bits, sizeof v);
    return v;
}

static float element(qn_random *r, int kind, int i)
{
    const float x = qn_random_normal(r);
    switch (kind) {
    case 1: return uniform(r) * 2.0f - 1.0f;
    case 2: return x * x * x;
    case 3: return pick(r, 8) ? 0.0f : x;
    case 4: return (i / 32 + i / 256) % 3 ? x : 0.0f;
    case 5: return i / 16 % 2 ? 0.5f : -0.25f;
    case 6: return x * 1e-14f;
    case 7: return ldexpf(x, -140);
    case 8: return x * 3e3f;
    case 9: return (float)(pick(r, 31) - 15);
    case 10: return x;
    case 11: return i % 32 == i / 32 * 7 % 32 ? x : 0.0f;
    case 12: return i % 32 && pick(r, 3) ? near_power_of_two(r) * 0.25f : near_power_of_two(r);
    case 13: return uniform(r) + 0.125f;
    case 14: return -uniform(r) - 0.0078125f;
    case 15: return (float)(pick(r, 3) - 1) * 0.037f;
    case 16: return x * (pick(r, 40) ? 0.02f : 0.6f);
    case 17: return (float)(pick(r, 7) - 3) * 0.5f;
    case 18: return ldexpf(x, -20 - i / 16 % 40);
    case 19: return (float)(i % 256) * 0x1p-8f - 0.4f;
    default: return x * 0.02f;
    }
}

void qn_codec_row(qn_random *r, int kind, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] = element(r, kind, (int)(i % 4096));
}

void qn_codec_importance(qn_random *r, float *w, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const float x = qn_random_normal(r);
        w[i] = pick(r, 5) ? x * x : 0.0f;
    }
}
