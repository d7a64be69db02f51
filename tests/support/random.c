#include "tests/support/random.h"

/* SplitMix64 (Steele, Lea, Flood 2014). */
uint64_t qn_random_bits(qn_random *r)
{
    uint64_t z = r->state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static float uniform(qn_random *r)
{
    return (float)(qn_random_bits(r) >> 40) * 0x1p-24f - 0.5f;
}

float qn_random_normal(qn_random *r)
{
    float sum = 0.0f;
    for (int i = 0; i < 12; i++) sum += uniform(r);
    return sum;
}

static float element(qn_random *r, int kind, size_t i)
{
    const float x = qn_random_normal(r);
    switch (kind) {
    case 1: return x * x * x * 10.0f;
    case 2: return i == 5 ? 9000.0f : x * 1e-3f;
    case 3: return qn_random_bits(r) & 1 ? 0.0f : -0.0f;
    case 4: return x * 1e-39f;
    case 5: return qn_random_bits(r) & 1 ? 1.5f : -1.5f;
    case 6: return 0.75f;
    case 7: return i % 64 < 32 ? 0.0f : x;
    default: return x;
    }
}

void qn_random_row(qn_random *r, int kind, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] = element(r, kind, i);
}
