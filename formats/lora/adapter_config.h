/* An adapter's adapter_config.json: what of it decides how its tensors are merged. */
#ifndef QN_FORMATS_LORA_ADAPTER_CONFIG_H
#define QN_FORMATS_LORA_ADAPTER_CONFIG_H

#include "formats/base/json.h"
#include "formats/base/regex.h"

/* A value for modules whose name, or its end after a dot, the pattern matches. */
typedef struct {
    qn_regex *regex;
    double value;
} qn_lora_pattern;

typedef struct {
    qn_lora_pattern *of;
    size_t n;
} qn_lora_patterns;

typedef struct {
    char *where; /* the file, for messages */
    json_t *root;
    double rank, alpha;
    qn_lora_patterns ranks, alphas; /* the first that fits a module counts */
    bool rslora, dora, fan_in_fan_out;
} qn_lora_config;

/* Of the directory.  QN_ERR_UNSUPPORTED names the field that asks for more than
 * LoRA.  On failure there is nothing to close. */
qn_status qn_lora_config_open(qn_lora_config *c, const char *directory, qn_error *err);
void qn_lora_config_close(qn_lora_config *c); /* {0} is fine */

/* What the adapter multiplies B A by for this module, and its rank.  parameter:
 * its own name, for patterns that spell it behind the module's. */
qn_status qn_lora_config_scaling(const qn_lora_config *c, qn_str module, const char *parameter,
                                 uint64_t *rank, double *scaling, qn_error *err);

/* trainable_token_indices for the module, a list; NULL: there is none. */
const json_t *qn_lora_config_tokens(const qn_lora_config *c, qn_str module);

#endif
