/* Gemma 2: Gemma with norms behind each branch, every second layer sliding, and
 * soft caps (conversion/gemma.py, transformers modeling_gemma2.py). */
#include "formats/families/roles.h"

static const char *const classes[] = {"Gemma2ForCausalLM", NULL};
static const char *const model_types[] = {"gemma2", NULL};

/* One row a line. */
/* clang-format off */
static const qn_role roles[] = {
    QN_ROLE_EMBEDDING,
    QN_ROLES_FOUR_NORMS(QN_PLUS_ONE),
    QN_ROLES_ATTENTION(QN_AS_IS, QN_AS_IS),
    QN_ROLES_MLP(QN_NEEDED),
    QN_ROLES_TIED_OUTPUT(QN_PLUS_ONE),
};
/* clang-format on */

static const char *const ignored[] = {"lm_head.weight", ".rotary_emb.inv_freq", NULL};

/* conversion/gemma.py, GemmaModel.set_gguf_parameters: no rope. */
static const char *const common_keys[] = {"context_length",
                                          "embedding_length",
                                          "block_count",
                                          "feed_forward_length",
                                          "attention.head_count",
                                          "attention.head_count_kv",
                                          "attention.layer_norm_rms_epsilon",
                                          "attention.key_length",
                                          "attention.value_length",
                                          NULL};

static const qn_parameter parameters[] = {
    {.config = {"attn_logit_softcapping"},
     .kind = QN_FIELD_REAL,
     .field = QN_HPARAM(attention_cap),
     .gguf = {"attn_logit_softcapping"},
     .gguf_else = 50,
     .write = QN_WRITE_ALWAYS},
    {.config = {"final_logit_softcapping"},
     .kind = QN_FIELD_REAL,
     .field = QN_HPARAM(final_cap),
     .gguf = {"final_logit_softcapping"},
     .gguf_else = 30,
     .write = QN_WRITE_ALWAYS},
    {.config = {"sliding_window"},
     .field = QN_HPARAM(window),
     .config_else = 4096,
     .gguf = {"attention.sliding_window"},
     .gguf_else = 4096,
     .write = QN_WRITE_ALWAYS},
    {.config = {"layer_types"},
     .kind = QN_FIELD_SLIDES,
     .field = QN_HPARAM(window_period),
     .list = QN_HPARAM(slides),
     .config_else = 2,
     .gguf = {"attention.sliding_window_pattern"},
     .gguf_else = 2,
     .write = QN_WRITE_UNUSUAL_SLIDES},
    {.config = {"query_pre_attn_scalar"},
     .kind = QN_FIELD_REAL,
     .whole = true,
     .field = QN_HPARAM(query_scalar),
     .config_else = 256},
    {.kind = QN_FIELD_REAL,
     .field = QN_HPARAM(attention_scale),
     .gguf = {"attention.scale"},
     .write = QN_WRITE_UNUSUAL_SCALE},
    QN_ALWAYS(QN_FIELD_COUNT, scale_by_hidden_at, 46), /* 27B, for runtimes */
    QN_COUNT_ELSE("head_dim", head_dim, 256),
    QN_COUNT_ELSE("vocab_size", n_vocab, QN_REQUIRED),
    QN_FLAG("tie_word_embeddings", tied, 1),
    QN_ALWAYS(QN_FIELD_FLAG, rope_halves, 1),
    QN_ALWAYS(QN_FIELD_FLAG, embedding_by_size, 1),
    QN_ALWAYS(QN_FIELD_ACTIVATION, activation, QN_GELU_TANH),
};

static const qn_condition conditions[] = {
    {.key = "hidden_activation", .text = "gelu_pytorch_tanh"},
    {.key = "attention_bias", .number = 0},
    {.key = "use_bidirectional_attention", .number = 0},
};

const qn_family qn_family_gemma2 = {
    .name = "gemma2",
    .architecture = "gemma2",
    .classes = classes,
    .model_types = model_types,
    .roles = roles,
    .n_roles = sizeof roles / sizeof *roles,
    .ignored = ignored,
    .parameters = parameters,
    .n_parameters = sizeof parameters / sizeof *parameters,
    .conditions = conditions,
    .n_conditions = sizeof conditions / sizeof *conditions,
    .common_keys = common_keys,
};
