/* How quantize and convert read the model that they make a file of. */
#ifndef QN_TOOLS_SOURCE_OPTIONS_H
#define QN_TOOLS_SOURCE_OPTIONS_H

#include "tools/lora_options.h"

/* As on the command line; NULL: not given. */
typedef struct {
    const char *model_name, *metadata, *family, *pre;
    qn_texts lora;
} qn_source_options;

/* Their rows in a command's table; source is the qn_source_options of its options. */
/* clang-format off */
#define QN_SOURCE_OPTIONS(options, source)                                                  \
    {0, "model-name", "NAME", QN_OPT_TEXT, offsetof(options, source.model_name),            \
     "general.name (default: from the model card or the directory's name)"},                \
    {0, "metadata", "FILE", QN_OPT_TEXT, offsetof(options, source.metadata),                \
     "JSON object of general.* keys that replace what the model card and the names say"},   \
    {0, "family", "NAME", QN_OPT_TEXT, offsetof(options, source.family),                    \
     "llama, gemma4 ... or generic for any tensors: names kept, no tokenizer (default: by " \
     "config.json)"},                                                                       \
    {0, "pre", "NAME", QN_OPT_TEXT, offsetof(options, source.pre),                          \
     "GGUF's name of the pre-tokenizer (default: recognized by its patterns)"},             \
    QN_LORA_OPTIONS(options, source.lora)
/* clang-format on */

/* For qn_model_open; a view of both. */
static inline qn_model_options qn_source_how(const qn_source_options *o, const qn_loras *loras)
{
    return (qn_model_options){.family = o->family,
                              .model_name = o->model_name,
                              .metadata = o->metadata,
                              .pre = o->pre,
                              .adapters = loras->of,
                              .n_adapters = loras->n};
}

#endif
