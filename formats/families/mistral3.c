/* Ministral 3, text alone or inside the multimodal class, which Mistral Small 3
 * is in, too: a Mistral whose queries grow with the position
 * (conversion/mistral3.py, transformers modeling_ministral3.py). */
#include "formats/families/parameters.h"
#include "formats/families/roles.h"

static const char *const classes[] = {"Ministral3ForCausalLM", "Mistral3ForConditionalGeneration",
                                      NULL};
static const char *const model_types[] = {"ministral3", "mistral3", NULL};
/* Of files: what transformers calls the same without that. */
static const char *const plain_classes[] = {"MistralForCausalLM", NULL};
static const char *const plain_model_types[] = {"mistral", NULL};

/* One row a line. */
/* clang-format off */
static const qn_role roles[] = {
    QN_ROLES_LLAMA,
    QN_ROLES_MLP(QN_NEEDED),
    QN_ROLES_OUTPUT,
};
/* clang-format on */

static const qn_prefix prefixes[] = {QN_PREFIXES_INNER, QN_PREFIXES_OUTER};
static const char *const towers[] = {QN_TOWERS_VISION, NULL};

static const qn_parameter parameters[] = {
    QN_VOCAB_SIZE_ELSE(131072),
    QN_ROPE_DIMENSIONS,
    /* Of runtimes' formula mscale is 1. */
    {.config = {"mscale_all_dim"},
     .in_rope = QN_IN_ROPE,
     .kind = QN_FIELD_REAL,
     .field = QN_HPARAM(yarn_mscale_all),
     .gguf = {"rope.scaling.yarn_log_multiplier"},
     .write = QN_WRITE_YARN_SET},
    {.config = {"llama_4_scaling_beta"},
     .in_rope = QN_IN_ROPE,
     .kind = QN_FIELD_REAL,
     .field = QN_HPARAM(temperature_scale),
     .gguf = {"attention.temperature_scale"},
     .write = QN_WRITE_SET},
    {.config = {"mscale"},
     .in_rope = QN_IN_ROPE,
     .kind = QN_FIELD_REAL,
     .field = QN_HPARAM(yarn_mscale),
     .gguf = {"rope.scaling.yarn_mscale"},
     .gguf_else = 1,
     .write = QN_WRITE_YARN_UNUSUAL},
    QN_ALWAYS(QN_FIELD_FLAG, yarn_mscale_keys, 1),
    QN_WINDOW_ELSE(0, QN_WRITE_SET),
    QN_THETA_ELSE(QN_REQUIRED),
    QN_COUNT_ELSE("max_position_embeddings", n_ctx_train, 262144),
    QN_COUNT_ELSE("num_key_value_heads", n_kv_heads, 8),
    QN_COUNT_ELSE("head_dim", head_dim, 128),
    QN_REAL_ELSE("rms_norm_eps", rms_eps, 1e-5),
    {.config = {"tie_word_embeddings"},
     .root_first = true,
     .kind = QN_FIELD_FLAG,
     .field = QN_HPARAM(tied)},
};

static const qn_condition conditions[] = {
    {.key = "hidden_act", .text = "silu"},
};

const qn_family qn_family_mistral3 = {
    .name = "mistral3",
    .architecture = "mistral3",
    .key = "attention.temperature_scale",
    .classes = classes,
    .model_types = model_types,
    .prefixes = prefixes,
    .n_prefixes = sizeof prefixes / sizeof *prefixes,
    .towers = towers,
    .roles = roles,
    .n_roles = sizeof roles / sizeof *roles,
    .ignored = qn_ignored_usually,
    .parameters = parameters,
    .n_parameters = sizeof parameters / sizeof *parameters,
    .conditions = conditions,
    .n_conditions = sizeof conditions / sizeof *conditions,
};

const qn_family qn_family_mistralsmall3 = {
    .name = "mistral-small3",
    .architecture = "mistral3",
    .classes = plain_classes,
    .model_types = plain_model_types,
    .roles = roles,
    .n_roles = sizeof roles / sizeof *roles,
    .ignored = qn_ignored_usually,
    .parameters = parameters,
    .n_parameters = sizeof parameters / sizeof *parameters,
    .conditions = conditions,
    .n_conditions = sizeof conditions / sizeof *conditions,
};
