/* Cutting text into words by a pre-tokenizer's patterns. */
#ifndef QN_FORMATS_TOKENIZER_SPLIT_H
#define QN_FORMATS_TOKENIZER_SPLIT_H

#include "formats/tokenizer/pre.h"

typedef struct qn_split qn_split;

qn_status qn_split_new(qn_split **out, const qn_pre *pre, qn_error *err);
void qn_split_free(qn_split *s); /* NULL is fine */

typedef qn_status (*qn_word_fn)(void *ctx, qn_str word, qn_error *err);

/* Hands every word of text to word, in order and without a gap; stops at the
 * first failure.  text is valid UTF-8. */
qn_status qn_split_each(qn_split *s, qn_str text, qn_word_fn word, void *ctx, qn_error *err);

#endif
