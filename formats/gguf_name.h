/* A model's name taken apart the way gguf-py does it: general.name, basename,
 * finetune, version and size_label from a directory's or repository's name
 * (gguf-py metadata.py, get_model_id_components and id_to_title; utility.py,
 * size_label).  docs/formats/gguf-metadata.md has the rules in words. */
#ifndef QN_FORMATS_GGUF_NAME_H
#define QN_FORMATS_GGUF_NAME_H

#include <stdint.h>

#include "formats/base/alloc.h"
#include "formats/metadata.h"

/* Strings of the arena; NULL: the name says nothing about it. */
typedef struct {
    const char *name; /* without the organization, as written; qn_gguf_title makes it a title */
    const char *organization;
    const char *basename;
    const char *finetune;
    const char *version;
    const char *size_label;
} qn_gguf_name;

/* id: "SmolLM2-135M-Instruct" or "HuggingFaceTB/SmolLM2-135M-Instruct".
 * parameters: how many the model has, so that "128k" is not taken for its
 * size; 0: unknown.  Only memory can fail. */
qn_status qn_gguf_name_parse(qn_arena *a, const char *id, uint64_t parameters, qn_gguf_name *out,
                             qn_error *err);

/* "smollm2-135M-instruct" as "Smollm2 135M Instruct"; NULL: no memory. */
const char *qn_gguf_title(qn_arena *a, const char *name);

/* 4983552 as "5.0M", 134515008 as "135M". */
void qn_gguf_size_label(uint64_t parameters, char out[32]);

/* "NAME-SIZE-FINETUNE-VERSION-TYPE.gguf" by the GGUF naming convention, from a
 * checkpoint's general.* keys; NAME is the basename, or else the name.
 * Allocated (qn_free); NULL: no memory. */
char *qn_gguf_file_name(const qn_metadata *keys, const char *type);

#endif
