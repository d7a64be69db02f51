/* How fast this machine is: its own limits, and our kernels beside them.
 *
 * Every figure is the best of repeated runs within a fraction of a second (the
 * first one is not counted), since everything else that runs only makes it
 * worse; one thread is timed by its own processor time, several by the clock.
 * 0 where memory is missing, the type has no such kernel. */
#ifndef QN_VALIDATE_SPEED_H
#define QN_VALIDATE_SPEED_H

#include "formats/model.h"
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

/* A forward pass of a window of QN_SPEED_TOKENS tokens through a llama of three
 * layers of 1024 with 16 heads on 4, its matrices of type t, with the logits of the
 * last QN_SPEED_SCORED over a vocabulary of 8192: operations of its matrix products
 * a second. */
#define QN_SPEED_SCORED 256
double qn_speed_forward(const qn_kernels *k, qn_dtype t, int threads);
/* The same through a model that is made of what a llama is: without experts or what
 * else Gemma 3n and 4 add.  0 too where it cannot be run. */
double qn_speed_forward_of(const qn_model *m, const qn_kernels *k, int threads);
bool qn_speed_counts(const qn_hparams *h);

/* Rows of QN_SPEED_ROW values, more than any cache holds, in bytes of float32 a
 * second: taken in by the encoder, without and with importance, given out by the
 * decoder. */
#define QN_SPEED_ROW 4096
double qn_speed_encode(const qn_kernels *k, qn_dtype t, int threads);
double qn_speed_encode_weighted(const qn_kernels *k, qn_dtype t, int threads);
double qn_speed_decode(const qn_kernels *k, qn_dtype t, int threads);

#endif
