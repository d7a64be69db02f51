/* Alternating updates (Baykal et al., 2023) and learned augmented residuals, as
 * Gemma 3n has them (transformers modeling_gemma3n.py).
 *
 * There are A residual streams, of which layers compute with the first.  With
 * m(y) = tanh(router . norm(y) / hidden), [A]:
 *
 *     begin    s[0] = x,  s[j] = in[j] . x, as long as x
 *     predict  p[o] = s[o] + sum over i of P[o][i] s[i],   P = predict . m(s[0])
 *     ... the layer makes t of p[0] ...
 *     correct  s[j] = p[j] + (1 + c[j]) (t - p[0]),         c = correct . m(t)
 *     end      x = mean of s[0] and out[j] . s[j], as long as s[0]
 *
 * "As long": scaled to the same root mean square.  The augmented residual is
 * added to attention's: (x + y + norm(right . left . y)) / sqrt(2), y the normed
 * input of attention. */
#ifndef QN_VALIDATE_ALTUP_H
#define QN_VALIDATE_ALTUP_H

#include "validate/session.h"

/* Of all tokens: s->x becomes the first of the streams; and the way back. */
qn_status qn_altup_begin(qn_session *s, size_t tokens, qn_error *err);
qn_status qn_altup_end(qn_session *s, size_t tokens, qn_error *err);

/* Around a layer, whose block b->x goes from p[0] to t. */
qn_status qn_altup_predict(qn_session *s, size_t layer, const qn_block *b, qn_error *err);
qn_status qn_altup_correct(qn_session *s, size_t layer, const qn_block *b, qn_error *err);

/* Before attention, into s->laurel; and behind it, onto b->x. */
qn_status qn_laurel_make(qn_session *s, size_t layer, const qn_block *b, qn_error *err);
void qn_laurel_add(qn_session *s, const qn_block *b);

#endif
