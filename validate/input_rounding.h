/* The inputs of matrix products as ggml's CPU kernels round them.
 *
 * ggml multiplies stored weights with activations in a type that belongs to the
 * weights' (ggml-cpu.c, type_traits_cpu, vec_dot_type): 8 bits in blocks of 32
 * with a float16 scale (Q8_0, Q8_1) or of 256 with a float32 one (Q8_K), float16
 * or bfloat16.  Products and sums behind that are exact to float32, as are
 * those here.  So with rounded inputs a figure is what a runtime's CPU path will
 * show, while without it is that of the weights alone.
 *
 * Per block, with a the largest |x|:
 *     Q8_0, Q8_1:  q = nearest(x * (127 / a)),  x' = float16(a / 127) * q
 *     Q8_K:        q = nearest(x * (127 / a)),  x' = 1 / (127 / a) * q
 * Halves go to even.  This is ggml's x86 path (arch/x86/quants.c,
 * quantize_row_q8_0, and repack.cpp, which rounds the same way); its reference
 * (ggml-quants.c) multiplies Q8_0 by 1 / (a / 127) and rounds halves away from
 * zero, which is another q once in some millions of values.  Q8_K's scale is
 * negative where the largest value is positive: nothing changes by that.  Q8_1 keeps
 * the block's sum in float16 for the weights' minimum: that rounding (2^-11 of
 * one term) is left out here. */
#ifndef QN_VALIDATE_INPUT_ROUNDING_H
#define QN_VALIDATE_INPUT_ROUNDING_H

#include "kernels/kernels.h"

typedef enum {
    QN_ACTIVATIONS_EXACT, /* float32, as computed */
    QN_ACTIVATIONS_Q8     /* rounded as above */
} qn_activations;

/* "exact", "q8"; false: neither. */
bool qn_activations_by_name(const char *name, qn_activations *out);

/* The type that ggml's kernels round inputs to: QN_F32 (nothing is rounded) for
 * weights that ggml has no such kernel for. */
qn_dtype qn_input_type(qn_dtype weights);

/* n values (a whole number of the type's blocks) rounded to a type of
 * qn_input_type; x and out do not overlap.  NaN and infinity stay no
 * numbers. */
void qn_round_input(const qn_kernels *k, qn_dtype type, const float *x, float *out, size_t n);

/* gate = gelu(gate) * up as ggml's CPU code has it (vec.h, ggml_vec_geglu_f32): from a
 * table of float16 for the gate in float16, and 0 or the gate itself from 10 on. */
void qn_gelu_mul_as_ggml(const qn_kernels *k, float *gate, const float *up, size_t n);

#endif
