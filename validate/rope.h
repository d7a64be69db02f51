/* Rotary position embedding (Su et al., 2021) on pairs of a head's elements: of
 * the d that rotate, 2j and 2j+1, as GGUF's llama architecture lays heads out,
 * or j and j + d/2, as most do, turn by
 *
 *     position * frequency[j],   frequency[j] = theta^(-2j/d)
 *
 * The rest of the head stays.
 *
 * Scalings (transformers, modeling_rope_utils.py):
 *   linear   frequency / factor
 *   llama3   frequency / divisor[j], the divisors as the file has them
 *   yarn     (Peng et al., 2023) between frequency / factor for the slow pairs
 *            and frequency for the fast ones, a ramp in j between the pairs
 *            that turn beta_slow and beta_fast times over the original
 *            context; cosines and sines are multiplied by a factor
 *   longrope (Ding et al., 2024) 1 / (divisor[j] theta^(2j/d)), with other divisors
 *            for contexts beyond the original length; cosines and sines are
 *            multiplied by a factor
 *   dynamic  theta grows with the sequence once it exceeds the trained
 *            length.  Up to there it is plain; beyond, results would depend
 *            on how the text was cut, so sessions refuse that.
 *
 * Frequencies are rounded to float32 at the places where transformers does;
 * angles, sines and cosines are computed in double (reals.h) and rounded once. */
#ifndef QN_VALIDATE_ROPE_H
#define QN_VALIDATE_ROPE_H

#include "formats/hparams.h"

#include <stddef.h>

/* frequency: rope_dims / 2 values.  divisors: as many, or NULL.  *factor:
 * what cosines and sines are multiplied by. */
void qn_rope_frequencies(const qn_hparams *h, const float *divisors, float *frequency,
                         float *factor);

/* turns[n][dims]: for each position first.., cosine and sine of each pair. */
void qn_rope_turns(const float *frequency, size_t dims, float factor, uint64_t first, size_t n,
                   float *turns);

/* Turns the first dims elements of each of n_heads heads, head_dim apart; halves:
 * the pairs are j and j + dims/2. */
void qn_rope_rotate(const float *turn, size_t dims, float *x, size_t n_heads, size_t head_dim,
                    bool halves);

#endif
