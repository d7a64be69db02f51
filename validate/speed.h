/* How fast this machine is: its own limits, and our kernels beside them.
 *
 * Every figure is the best of repeated runs within a fraction of a second (the
 * first one is not counted), since everything else that runs only makes it
 * worse; one thread is timed by its own processor time, several by the clock.
 * 0 where memory is missing, the type has no such kernel. */
#ifndef QN_VALIDATE_SPEED_H
#define QN_VALIDATE_SPEED_H

#include "kernels/kernels.h"

/* The limits: multiply-adds on registers (an addition and a multiplication,
 * two operations each) in operations a second; bytes copied a second, from
 * memory to memory; bytes read a second. */
double qn_speed_multiply_adds(const qn_kernels *k, int threads);
double qn_speed_copy(int threads);
double qn_speed_read(const qn_kernels *k, int threads);

/* qn_gemm_run of QN_SPEED_TOKENS tokens by a square matrix of type t, in
 * operations a second. */
#define QN_SPEED_TOKENS 512
#define QN_SPEED_SIZE 2048
double qn_speed_gemm(const qn_kernels *k, qn_dtype t, int threads);

/* The same of one token, as generation does it, by 64 MiB of weights in rows of
 * QN_SPEED_SIZE: bytes of them a second. */
double qn_speed_token(const qn_kernels *k, qn_dtype t, int threads);

/* Rows of QN_SPEED_ROW values, more than any cache holds, in bytes of float32 a
 * second: taken in by the encoder, without and with importance, given out by the
 * decoder. */
#define QN_SPEED_ROW 4096
double qn_speed_encode(const qn_kernels *k, qn_dtype t, int threads);
double qn_speed_encode_weighted(const qn_kernels *k, qn_dtype t, int threads);
double qn_speed_decode(const qn_kernels *k, qn_dtype t, int threads);

#endif
