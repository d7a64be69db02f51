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

/* The tokenizer of a GGUF file, a checkpoint directory (which needs no weights
 * for this), or the directory of a .safetensors file. */
qn_status qn_load_tokenizer(qn_loaded *l, const char *path, const char *pre, qn_error *err);

typedef struct {
    const char *pre;         /* as --pre */
    const char *activations; /* as --activations; NULL: exact */
    const qn_texts *lora;    /* as --lora; NULL: no adapters */
    bool needs_text; /* without a tokenizer that is an error, else l->tokenizer is NULL then */
} qn_load_options;

/* A model ready to run. */
qn_status qn_load_model(qn_loaded *l, const qn_common *c, const char *path,
                        const qn_load_options *options, qn_error *err);

void qn_unload(qn_loaded *l); /* {0} is fine */

/* The ids of text, with what the vocabulary puts around it; allocated. */
qn_status qn_encode_text(const qn_loaded *l, qn_str text, qn_encode_options how, uint32_t **ids,
                         size_t *n, qn_error *err);

#endif
