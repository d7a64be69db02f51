/* --lora and --lora-scale, which all commands share that open a checkpoint. */
#ifndef QN_TOOLS_LORA_OPTIONS_H
#define QN_TOOLS_LORA_OPTIONS_H

#include "formats/model.h"
#include "tools/cli.h"

/* Their rows in a command's table; given is the qn_texts of its options that takes
 * both, in their order. */
/* clang-format off */
#define QN_LORA_OPTIONS(options, given)                                                   \
    {0, "lora", "DIR", QN_OPT_TEXTS, offsetof(options, given),                            \
     "a LoRA adapter of PEFT's, merged into the checkpoint's weights as they are read; "  \
     "several are merged in order (repeatable)"},                                         \
    {0, "lora-scale", "X", QN_OPT_TEXTS, offsetof(options, given),                        \
     "this much of the --lora before it (default 1)"}
/* clang-format on */

typedef struct {
    qn_lora_request *of; /* allocated */
    char **paths;        /* of those found in the Hugging Face cache; allocated */
    size_t n;
} qn_loras;

/* Directories, or names in the Hugging Face cache.  QN_ERR_ARGUMENT: words that
 * make no sense.  On failure there is nothing to free. */
qn_status qn_loras_read(const qn_texts *given, qn_loras *out, qn_error *err);
void qn_loras_free(qn_loras *l); /* {0} is fine */

#endif
