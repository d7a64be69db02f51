/* A checkpoint's config.json: which family it names, and its hyperparameters.
 *
 * A key is looked for in text_config before the root, rope's keys before both
 * in rope_parameters (transformers 5) or rope_scaling (before).  null is as
 * good as absent.  per_layer_config (transformers 5) may give layers a head
 * size, KV heads and an MLP width of their own. */
#ifndef QN_FORMATS_HF_CONFIG_H
#define QN_FORMATS_HF_CONFIG_H

#include "formats/base/json.h"
#include "formats/families/family.h"

typedef struct {
    char *path; /* of config.json, for messages */
    json_t *root;
    const json_t *text; /* text_config, or root */
    const json_t *rope; /* of full layers, and of all where nothing else is said; NULL: none */
    const json_t *sliding_rope; /* NULL: none of their own */
} qn_hf_config;

/* dir: the checkpoint's. */
qn_status qn_hf_config_open(qn_hf_config **out, const char *dir, qn_error *err);
void qn_hf_config_close(qn_hf_config *c); /* NULL is fine */

/* By the first of "architectures", else by "model_type".  An unknown one is
 * QN_ERR_UNSUPPORTED and says what --family takes. */
qn_status qn_hf_config_family(const qn_hf_config *c, const qn_family **out, qn_error *err);

/* By the family's table, its conditions checked, completed. */
qn_status qn_hf_config_hparams(const qn_hf_config *c, const qn_family *family, qn_hparams *out,
                               qn_error *err);

/* The same way back: what transformers needs to load the family with h, as a
 * new object for the caller to json_decref.  dtype: "bfloat16", "float16",
 * "float32".  What differs by layer in a way that the family's class has no key
 * for is QN_ERR_UNSUPPORTED; where: h's file, for messages. */
qn_status qn_hf_config_make(const qn_family *family, const qn_hparams *h, const char *where,
                            const char *dtype, json_t **out, qn_error *err);

#endif
