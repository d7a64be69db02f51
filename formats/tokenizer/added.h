/* Finding added tokens in a text: the leftmost match, of those the longest.
 *
 * A byte trie, walked from each position that starts some token, so the time
 * does not depend on how many tokens there are (10,000 cost what ten do).
 * The rules for single_word, lstrip and rstrip are those of the tokenizers
 * library (tokenizers/src/tokenizer/added_vocabulary.rs). */
#ifndef QN_FORMATS_TOKENIZER_ADDED_H
#define QN_FORMATS_TOKENIZER_ADDED_H

#include "formats/tokenizer/vocab.h"

typedef struct qn_added_set qn_added_set;

/* The tokens of v that are looked for there, normalized as the text will be, or
 * as_written; *out is NULL when there are none. */
qn_status qn_added_set_new(qn_added_set **out, const qn_vocab *v, qn_found found, bool as_written,
                           qn_error *err);
void qn_added_set_free(qn_added_set *s); /* NULL is fine */

/* The next token at or behind *scan.  Text before *start and behind *done is
 * plain.  False: none is left.  *scan and *done start at 0 and belong to the
 * search. */
bool qn_added_next(const qn_added_set *s, qn_str text, bool parse_special, size_t *scan,
                   size_t *done, size_t *start, uint32_t *id);

/* Length of the longest token that text begins with, 0 for none; s may be NULL. */
size_t qn_added_longest(const qn_added_set *s, qn_str text);
bool qn_added_begins(const qn_added_set *s, unsigned char byte); /* some token, with it */

#endif
