/* Gemma 3, text alone or inside the multimodal class: Gemma 2's norms, norms of
 * queries and keys, five layers of six sliding with a rope of their own
 * (conversion/gemma.py, transformers modeling_gemma3.py). */
#include "formats/families/parameters.h"
#include "formats/families/roles.h"

static const char *const classes[] = {"Gemma3ForCausalLM", "Gemma3ForConditionalGeneration", NULL};
static const char *const model_types[] = {"gemma3_text", "gemma3", NULL};

/* One row a line. */
/* clang-format off */
static const qn_role roles[] = {
    QN_ROLE_EMBEDDING,
    QN_ROLES_FOUR_NORMS(QN_PLUS_ONE),
    QN_ROLES_ATTENTION(QN_AS_IS, QN_AS_IS),
    QN_ROLES_HEAD_NORMS(QN_PLUS_ONE, QN_NEEDED),
    QN_ROLES_MLP(QN_NEEDED),
    QN_ROLES_TIED_OUTPUT(QN_PLUS_ONE),
};
/* clang-format on */

static const qn_prefix prefixes[] = {QN_PREFIXES_INNER, QN_PREFIXES_OUTER};
static const char *const towers[] = {QN_TOWERS_VISION, NULL};

static const qn_parameter parameters[] = {
    QN_GEMMA_FINAL_CAP(0, QN_WRITE_SET),
    {.config = {"sliding_window"},
     .field = QN_HPARAM(window),
     .config_else = 4096,
     .gguf = {"attention.sliding_window"},
     .write = QN_WRITE_SLIDING},
    {.config = {"sliding_window_pattern", "_sliding_window_pattern"},
     .field = QN_HPARAM(window_period),
     .config_else = 6},
    QN_LAYER_TYPES(0, 6, QN_WRITE_UNUSUAL_SLIDES),
    QN_GEMMA_QUERY_SCALAR(62),
    /* Older files and configurations do not say it. */
    QN_SLIDING_THETA_ELSE(10000),
    {.config = {"rope_local_base_freq"}, .kind = QN_FIELD_REAL, .field = QN_HPARAM(rope_theta_swa)},
    QN_THETA_ELSE(1e6),
    QN_COUNT_ELSE("max_position_embeddings", n_ctx_train, 131072),
    QN_COUNT_ELSE("num_attention_heads", n_heads, 8),
    QN_COUNT_ELSE("num_key_value_heads", n_kv_heads, 4),
    QN_COUNT_ELSE("head_dim", head_dim, 256),
    QN_COUNT_ELSE("vocab_size", n_vocab, 262208),
    QN_GEMMA_ALWAYS,
};

static const qn_condition conditions[] = {
    {.key = "hidden_activation", .text = "gelu_pytorch_tanh"},
    {.key = "attn_logit_softcapping", .number = 0},
    {.key = "attention_bias", .number = 0},
    {.key = "use_bidirectional_attention", .number = 0},
};

const qn_family qn_family_gemma3 = {
    .name = "gemma3",
    .architecture = "gemma3",
    .classes = classes,
    .model_types = model_types,
    .prefixes = prefixes,
    .n_prefixes = sizeof prefixes / sizeof *prefixes,
    .towers = towers,
    .roles = roles,
    .n_roles = sizeof roles / sizeof *roles,
    .ignored = qn_ignored_head,
    .parameters = parameters,
    .n_parameters = sizeof parameters / sizeof *parameters,
    .conditions = conditions,
    .n_conditions = sizeof conditions / sizeof *conditions,
};
