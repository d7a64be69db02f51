#include "validate/reals.h"

#include <math.h>

/* ln 2 in two parts: the first has 32 significant bits, so that a whole number
 * below 2^21 times it is exact. */
#define LN2_HIGH 0x1.62e42feep-1
#define LN2_LOW 0x1.a39ef35793c76p-33

/* pi/2 in three parts, the first two of 33 bits, so that whole numbers below
 * 2^20 times them are exact (Cody and Waite, 1980). */
#define HALF_PI_1 0x1.921fb544p+0
#define HALF_PI_2 0x1.0b4611a6p-34
#define HALF_PI_3 0x1.3198a2e037073p-69
#define TWO_OVER_PI 0x1.45f306dc9c883p-1

double qn_exp(double x)
{
    if (isnan(x)) return x;
    if (x > 709.0) return (double)INFINITY;
    if (x < -708.0) return 0.0;
    const double n = rint(x * (1.0 / 0.6931471805599453));
    const double r = (x - n * LN2_HIGH) - n * LN2_LOW;
    /* |r| <= ln(2)/2: the remainder r^15/15! is below 1e-19. */
    double sum = 1.0;
    for (int i = 14; i > 0; i--) sum = 1.0 + r * sum / i;
    return ldexp(sum, (int)n);
}

double qn_log(double x)
{
    int exponent;
    double m = frexp(x, &exponent);
    if (m < 0.70710678118654752) {
        m *= 2.0;
        exponent--;
    }
    /* log m = 2 atanh(t), |t| <= 0.1716: the remainder t^24/25 is below 1e-19. */
    const double t = (m - 1.0) / (m + 1.0), t2 = t * t;
    double sum = 0.0;
    for (int i = 23; i > 1; i -= 2) sum = (sum + 1.0 / i) * t2;
    return exponent * LN2_HIGH + (exponent * LN2_LOW + 2.0 * t * sum + 2.0 * t);
}

double qn_power(double base, double power)
{
    return qn_exp(power * qn_log(base));
}

void qn_sine_cosine(double x, double *sine, double *cosine)
{
    const double n = rint(x * TWO_OVER_PI);
    const double r = ((x - n * HALF_PI_1) - n * HALF_PI_2) - n * HALF_PI_3;
    const double r2 = r * r;
    /* |r| <= pi/4: the remainders r^19/19! and r^18/18! are below 3e-18. */
    double s = 0.0, c = 0.0;
    for (int i = 16; i > 0; i -= 2) {
        s = -r2 / (i * (i + 1)) * (1.0 + s);
        c = -r2 / (i * (i - 1)) * (1.0 + c);
    }
    s = r + r * s;
    c = 1.0 + c;
    const int quadrant = (int)((long long)n & 3);
    *sine = quadrant & 1 ? c : s;
    *cosine = quadrant & 1 ? s : c;
    if (quadrant & 2) *sine = -*sine;
    if (quadrant == 1 || quadrant == 2) *cosine = -*cosine;
}
