/* A vocabulary as the files of a checkpoint directory; inside this folder only.
 *
 * tokenizer.json is what the tokenizers library runs, tokenizer.model has the
 * scores that it has no room for.  Both are read back as the vocabulary they were
 * written from. */
#ifndef QN_FORMATS_TOKENIZER_WRITTEN_H
#define QN_FORMATS_TOKENIZER_WRITTEN_H

#include "formats/tokenizer/vocab.h"

/* tokenizer.json, appended; QN_ERR_UNSUPPORTED names what it cannot say. */
qn_status qn_vocab_to_json(const qn_vocab *v, const char *where, qn_text *out, qn_error *err);

/* tokenizer.model, appended: of scored vocabularies. */
qn_status qn_vocab_to_spm(const qn_vocab *v, qn_text *out, qn_error *err);

/* Merges that join as the scores do, allocated: of each piece the ways to make it
 * of two others, the higher score first, then the longer left part (transformers,
 * convert_slow_tokenizer.py, generate_merges).  Scores have ties that ranks do
 * not: two pieces of one score are refused, unless each repeats one character. */
qn_status qn_vocab_scored_merges(const qn_vocab *v, const char *where, qn_merge **out, size_t *n,
                                 qn_error *err);

/* "[PAD7]" of id 7: nobody's. */
bool qn_vocab_is_padding(const qn_vocab *v, uint32_t id);

/* An id of a key; without any keys, a usual one that is no piece of text. */
bool qn_vocab_has_id(const qn_vocab *v, unsigned kind);

/* Whether BOS stands between two texts, too: special.c reads there that no separator
 * is added, between the flags of BOS and EOS. */
bool qn_vocab_parts_pairs(const qn_vocab *v);

/* Added beside the model: without a score of it. */
bool qn_vocab_is_beside_model(const qn_vocab *v, uint32_t id);

#endif
