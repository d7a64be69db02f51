/* Opening what the commands that run a model need, and closing it again. */
#ifndef QN_TOOLS_LOADED_H
#define QN_TOOLS_LOADED_H

#include "tools/cli.h"
#include "tools/lora_options.h"
#include "validate/decoder.h"

typedef struct {
    qn_model *model;   /* NULL: only its vocabulary was asked for */
    qn_reader *reader; /* of a GGUF file whose vocabulary is ours */
    qn_vocab *owned;
    const qn_vocab *vocab;   /* NULL: the model has none that we know */
    qn_tokenizer *tokenizer; /* NULL: see qn_load_model */
    qn_decoder *decoder;
} qn_loaded;

/* How a model is read, part of a command's options; {0} is as it is by itself. */
typedef struct {
    const char *family;      /* as --family */
    const char *pre;         /* as --pre */
    const char *activations; /* as --activations; NULL: exact */
    qn_texts lora;           /* as --lora */
    bool needs_text; /* without a tokenizer that is an error, else l->tokenizer is NULL then */
} qn_load_options;

/* Rows of a command's table, for a const char * or, where there are several
 * models, a qn_texts. */
/* clang-format off */
#define QN_MODEL_OPTION(field)                                                        \
    {'m', "model", "MODEL", QN_OPT_TEXT, field, "the same as MODEL"}
#define QN_FAMILY_OPTION(kind, field, more)                                           \
    {0, "family", "NAME", kind, field,                                                \
     "read a model as one of this family: llama, gemma4 ... (default: by what it says" more ")"}
#define QN_PRE_OPTION(field)                                                          \
    {0, "pre", "NAME", QN_OPT_TEXT, field,                                            \
     "GGUF's name of the pre-tokenizer (default: recognized by its patterns)"}
#define QN_ACTIVATIONS_OPTION(field)                                                  \
    {0, "activations", "HOW", QN_OPT_TEXT, field,                                     \
     "the inputs of matrix products: exact, or q8: rounded as ggml's CPU kernels do " \
     "(default exact)"}
#define QN_LOAD_OPTIONS(options, load)                                                \
    QN_FAMILY_OPTION(QN_OPT_TEXT, offsetof(options, load.family), ""),                \
    QN_PRE_OPTION(offsetof(options, load.pre)),                                       \
    QN_LORA_OPTIONS(options, load.lora)
/* clang-format on */

/* The tokenizer of a GGUF file, a checkpoint directory (which needs no weights
 * for this), or the directory of a .safetensors file. */
qn_status qn_load_tokenizer(qn_loaded *l, const char *path, const qn_load_options *options,
                            qn_error *err);

/* A model ready to run. */
qn_status qn_load_model(qn_loaded *l, const qn_common *c, const char *path,
                        const qn_load_options *options, qn_error *err);

/* What tells models and tokenizers apart in results (model_digest.h, tokenizer.h);
 * empty: not known. */
typedef struct {
    char model[65], tokenizer[65];
} qn_digests;

qn_status qn_digests_of(const qn_loaded *l, qn_digests *out, qn_error *err);

void qn_unload(qn_loaded *l); /* {0} is fine */

/* The ids of text, with what the vocabulary puts around it; allocated. */
qn_status qn_encode_text(const qn_loaded *l, qn_str text, qn_encode_options how, uint32_t **ids,
                         size_t *n, qn_error *err);

#endif
