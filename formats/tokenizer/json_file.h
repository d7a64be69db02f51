/* tokenizer.json in memory: the vocabulary and the merges, which are nearly all
 * of it (33 MB of a vocabulary of 262,144), as lists of views; the rest as a
 * tree. */
#ifndef QN_FORMATS_TOKENIZER_JSON_FILE_H
#define QN_FORMATS_TOKENIZER_JSON_FILE_H

#include "formats/base/json.h"

typedef struct {
    qn_str text;
    int64_t id;
    double score; /* of a list of [piece, score] pairs, whose ids are places; else 0 */
} qn_json_piece;

typedef struct {
    qn_str left, right;
} qn_json_merge;

typedef struct qn_tokenizer_json qn_tokenizer_json;

/* text outlives the result.  Refuses an id that is no whole number and a merge
 * that is no pair of strings. */
qn_status qn_tokenizer_json_read(qn_tokenizer_json **out, const char *text, size_t n,
                                 const char *where, qn_error *err);
void qn_tokenizer_json_free(qn_tokenizer_json *t); /* NULL is fine */

/* Everything else; model.vocab and model.merges are in it where they are neither
 * an object nor a list. */
const json_t *qn_tokenizer_json_rest(const qn_tokenizer_json *t);

/* In the file's order; NULL, with *n 0, where there is none. */
const qn_json_piece *qn_tokenizer_json_pieces(const qn_tokenizer_json *t, size_t *n);
bool qn_tokenizer_json_has_scores(const qn_tokenizer_json *t); /* a list of pairs */
const qn_json_merge *qn_tokenizer_json_merges(const qn_tokenizer_json *t, size_t *n);

#endif
