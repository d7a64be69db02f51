/* The general.* keys that say what a model is called, where it comes from and how
 * it wants to be sampled, as the reference converter finds them: the model card
 * (model_card.h), config.json's _name_or_path, the directory's name,
 * generation_config.json, the override file, the number of parameters (gguf-py
 * metadata.py, Metadata.load and set_gguf_meta_model). */
#ifndef QN_FORMATS_GENERAL_KEYS_H
#define QN_FORMATS_GENERAL_KEYS_H

#include "formats/base/alloc.h"
#include "formats/base/json.h"
#include "formats/metadata.h"

typedef struct {
    const char *dir; /* the checkpoint's: where README.md and generation_config.json may be */
    const char *id;  /* what to take the name apart from: the directory's name */
    const char *override_path; /* a JSON object of keys and values; NULL: none */
    const char *model_name;    /* overrides general.name; NULL: not given */
    const json_t *config;      /* config.json, for _name_or_path; NULL: none */
    uint64_t parameters;
    uint64_t experts, of_one_expert; /* parameters if there were one expert, not so many */
} qn_general_source;

/* Appends general.sampling.*, name ... languages, in the converter's order.
 * remarks gets a line for each thing that was passed over: a card that can't be
 * read, a key of the override file that nobody knows. */
qn_status qn_general_keys(const qn_general_source *source, qn_metadata *m, qn_text *remarks,
                          qn_error *err);

/* What general.sampling.* says, as generation_config.json has it, set in generation. */
qn_status qn_general_sampling(const qn_metadata *m, json_t *generation, qn_error *err);

/* The name of the directory that path leads to ("." is asked of the system),
 * in the arena; NULL: no memory. */
const char *qn_directory_name(qn_arena *a, const char *path);

#endif
