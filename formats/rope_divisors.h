/* The divisors of Llama 3.1's rope scaling, as GGUF carries them in
 * rope_freqs.weight.
 *
 * With f_j = theta^(-2j/d), wavelength w_j = 2 pi / f_j and original context
 * length n: 1 where w < n/high; factor where w > n/low; between, with
 * s = (n/w - low) / (high - low), 1 / ((1-s)/factor + s).
 * (transformers modeling_rope_utils.py, _compute_llama3_parameters; in float32
 * and in the order of conversion/llama.py, generate_extra_tensors.) */
#ifndef QN_FORMATS_ROPE_DIVISORS_H
#define QN_FORMATS_ROPE_DIVISORS_H

#include "formats/hparams.h"

/* rope_dims / 2 floats from theta, factor, low, high and the original length. */
void qn_rope_divisors(const qn_hparams *h, float *out);

/* The way back: sets factor, low, high and original length when the divisors
 * are those of low 1, high 4 and a power of two, as released models have it.
 * False, and h untouched, when they are not. */
bool qn_rope_divisors_explain(const float *divisors, qn_hparams *h);

#endif
