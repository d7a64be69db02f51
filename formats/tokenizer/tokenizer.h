/* Text to token ids and back, for the vocabularies language models use.
 *
 * A qn_vocab is what a tokenizer *is*, whatever file it came from: pieces with
 * scores and types, merges, split pattern, flags.  Three readers fill it
 * (tokenizer.json, tokenizer.model, GGUF keys); one writer turns it into GGUF
 * keys as the reference converter does; a qn_tokenizer runs it.  What cannot
 * be run exactly is refused with the part named. */
#ifndef QN_FORMATS_TOKENIZER_TOKENIZER_H
#define QN_FORMATS_TOKENIZER_TOKENIZER_H

#include "formats/base/json.h"
#include "formats/metadata.h"

typedef struct qn_vocab qn_vocab;
typedef struct qn_tokenizer qn_tokenizer;

/* From a checkpoint directory: tokenizer.model if there, else tokenizer.json
 * (beside a tokenizer.model it says which added tokens are looked for and where
 * spaces go); with tokenizer_config.json, added_tokens.json,
 * generation_config.json, config.json and chat_template.*.  how may be NULL. */
typedef struct {
    uint64_t size;          /* rows of the embedding: ids without a piece become [PADn]; 0: as
                               many as the files name */
    const char *pre;        /* a GGUF pre-tokenizer's name that overrides recognition, or NULL */
    const char *pre_name;   /* what the pre-tokenizer is called if it is one of several names for
                               what was recognized, or NULL */
    const char *model_type; /* instead of config.json's, or NULL */
    const char *base;       /* another directory, of config.json, generation_config.json and a
                               tokenizer.model that is not there; NULL: none */
} qn_vocab_options;

qn_status qn_vocab_from_directory(qn_vocab **out, const char *dir, const qn_vocab_options *how,
                                  qn_error *err);

/* From GGUF's tokenizer.ggml.* keys; the metadata outlives the vocabulary.
 * where: the file's name, for messages. */
qn_status qn_vocab_from_metadata(qn_vocab **out, const qn_metadata *m, const char *where,
                                 qn_error *err);
void qn_vocab_free(qn_vocab *v); /* NULL is fine */

/* Appends tokenizer.ggml.* and tokenizer.chat_template* to m, keys, order and
 * types as convert_hf_to_gguf.py writes them. */
qn_status qn_vocab_write_metadata(const qn_vocab *v, qn_metadata *m, qn_error *err);

/* v, which came from GGUF, as a checkpoint's tokenizer.json and
 * tokenizer_config.json (chat templates among it), and tokenizer.model where it
 * has scores: each is given to put, after all are made; put NULL only asks whether
 * they can be.  What the files cannot say is QN_ERR_UNSUPPORTED.  where: v's
 * file, for messages. */
typedef qn_status (*qn_vocab_put)(void *ctx, const char *name, qn_str text, qn_error *err);
qn_status qn_vocab_to_directory(const qn_vocab *v, const char *where, qn_vocab_put put, void *ctx,
                                qn_error *err);

/* Sets "bos_token_id" and so on, as config.json and generation_config.json have them:
 * there with all that end a generation. */
qn_status qn_vocab_config_ids(const qn_vocab *v, json_t *config, qn_error *err);
qn_status qn_vocab_generation_ids(const qn_vocab *v, json_t *config, qn_error *err);

uint64_t qn_vocab_size(const qn_vocab *v);
/* The piece as stored ("\u2581the", "<0x0A>", "Ġthe"); a view. */
qn_str qn_vocab_piece(const qn_vocab *v, uint32_t id);
/* UINT32_MAX: the vocabulary has none. */
uint32_t qn_vocab_bos(const qn_vocab *v);
uint32_t qn_vocab_eos(const qn_vocab *v);
bool qn_vocab_adds_bos(const qn_vocab *v);
bool qn_vocab_adds_eos(const qn_vocab *v);
/* End of generation: eos, eot, eom and the other ids that generation_config or
 * the metadata name. */
bool qn_vocab_ends(const qn_vocab *v, uint32_t id);

/* SHA-256, in hex, over what turns texts into ids: kind, pieces, merges, split
 * patterns, BOS and EOS and whether they are added.  The same for a checkpoint and a
 * GGUF file made from it; what chats and converters want besides (templates, types of
 * pieces, further special ids) does not count. */
qn_status qn_vocab_digest(const qn_vocab *v, char out[65], qn_error *err);

/* Builds the tables for running v, which outlives the tokenizer.  Refuses
 * (QN_ERR_UNSUPPORTED) what it could not run exactly. */
qn_status qn_tokenizer_new(qn_tokenizer **out, const qn_vocab *v, qn_error *err);
void qn_tokenizer_free(qn_tokenizer *t);

typedef struct {
    bool add_special;   /* BOS/EOS as the vocabulary asks */
    bool parse_special; /* text that spells a control token becomes it */
} qn_encode_options;

/* Appends to *ids (grown with qn_resize; *n of *capacity used).  Any bytes are
 * accepted; invalid UTF-8 becomes byte pieces where the vocabulary has them,
 * else U+FFFD's.  Linear, or n log n, in the text: no quadratic case.  Not
 * safe for two threads on one tokenizer. */
qn_status qn_tokenizer_encode(qn_tokenizer *t, qn_str text, qn_encode_options options,
                              uint32_t **ids, size_t *n, size_t *capacity, qn_error *err);

/* Appends the text of ids to out.  skip_special leaves control tokens out.
 * Pieces of bytes give their bytes; a leading space that encoding adds is
 * taken off again. */
qn_status qn_tokenizer_decode(const qn_tokenizer *t, const uint32_t *ids, size_t n,
                              bool skip_special, qn_text *out, qn_error *err);

#endif
