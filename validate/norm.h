/* Root mean square normalization of a row: the kernels' rms_norm, and another's. */
#ifndef QN_VALIDATE_NORM_H
#define QN_VALIDATE_NORM_H

#include <stddef.h>

/* out may be x; weight NULL: 1 everywhere. */
typedef void (*qn_norm_fn)(const float *x, const float *weight, double eps, float *out, size_t n);

/* As ggml's CPU code has it (ops.cpp, ggml_compute_forward_rms_norm): the squares, their
 * mean and its root in float32.  The last bit of a row's scale decides where many of
 * its values are rounded to when 8 bits are made of it (input_rounding.h). */
void qn_rms_norm_as_ggml(const float *x, const float *weight, double eps, float *out, size_t n);

#endif
