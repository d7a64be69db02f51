/* The divisors of Llama 3.1's rope scaling and of proportional rope, as GGUF
 * carries them in rope_freqs.weight.
 *
 * Proportional: factor for the first int(partial * pairs) pairs, for the others
 * 1e30, which leaves them where they are (conversion/gemma.py).
 *
 * llama3: with f_j = theta^(-2j/d), wavelength w_j = 2 pi / f_j and original context
 * length n: 1 where w < n/high; factor where w > n/low; between, with
 * s = (n/w - low) / (high - low), 1 / ((1-s)/factor + s).
 * (transformers modeling_rope_utils.py, _compute_llama3_parameters; in float32
 * and in the order of conversion/llama.py, generate_extra_tensors.) */
#ifndef QN_FORMATS_ROPE_DIVISORS_H
#define QN_FORMATS_ROPE_DIVISORS_H

#include "formats/hparams.h"

/* rope_dims / 2 floats for the rope scaling of h, one of the two. */
void qn_rope_divisors(const qn_hparams *h, float *out);

/* The way back: sets rope scaling, and what it is made of: for llama3 factor, low, high and original length when the divisors
 * are those of low 1, high 4 and a power of two, as released models have it.
 * False, and h untouched, when they are not. */
bool qn_rope_divisors_explain(const float *divisors, qn_hparams *h);

#endif
