/* Exponential, logarithm, sine and cosine of doubles with the same bits on
 * every machine.
 *
 * A C library chooses between variants with and without fused multiply-add,
 * and its versions differ in last digits; figures and sampled tokens must not.
 * These use nothing but separately rounded +, -, * and /, on Taylor series
 * after reducing the argument, and are within 3 units in the last place. */
#ifndef QN_VALIDATE_REALS_H
#define QN_VALIDATE_REALS_H

/* e^x; 0 below -708 (no denormal results), infinity above 709. */
double qn_exp(double x);

/* Natural logarithm of a positive, normal, finite x. */
double qn_log(double x);

/* base^power for a positive base: qn_exp(power * qn_log(base)), so its relative
 * error grows with the size of that product. */
double qn_power(double base, double power);

/* For |x| < 2^20 (a position times a frequency of at most 1). */
void qn_sine_cosine(double x, double *sine, double *cosine);

#endif
