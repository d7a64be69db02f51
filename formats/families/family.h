/* A model family is data: what it is called, which tensors it has under which
 * names and shapes, which hyperparameters stand under which keys.
 *
 * Opening a checkpoint, opening a GGUF file, converting and exporting all walk
 * these tables; a new family is one file of tables here and one row in
 * registry.c (docs/adding-a-family.md).  A '%' in a name stands for the number
 * of the layer, a '#' for that of an expert. */
#ifndef QN_FORMATS_FAMILIES_FAMILY_H
#define QN_FORMATS_FAMILIES_FAMILY_H

#include <stddef.h>

#include "formats/hparams.h"

/* Sizes that shapes are made of, in terms of qn_hparams. */
typedef enum {
    QN_NO_DIM = 0, /* ends a shape */
    QN_VOCAB,
    QN_HIDDEN,
    QN_FEED_FORWARD,
    QN_QUERIES,    /* heads x head size */
    QN_KEYS,       /* KV heads x head size */
    QN_VALUES,     /* KV heads x value size */
    QN_ATTENTION,  /* heads x value size */
    QN_ROPE_PAIRS, /* rotated elements of a head / 2 */
    QN_HEAD,       /* elements of a head */
    QN_HEADS,
    QN_QUERIES_KEYS_VALUES, /* these three, one behind the other */
    QN_GATE_UP,             /* 2 x feed-forward */
    QN_LAYER_INPUT,         /* width of each layer's own input */
    QN_ALL_INPUTS,          /* of all layers' */
    QN_INPUT_VOCAB,         /* rows of their table */
    QN_EXPERTS,
    QN_EXPERT_WIDTH,
    QN_EXPERT_GATE_UP, /* 2 x that */
    QN_SHARED_WIDTH,   /* of the expert that all tokens pass */
    QN_OTHER_STREAMS,  /* streams of alternating updates but the first */
    QN_STREAMS,
    QN_STREAMS_SQUARED,
    QN_LAUREL, /* rank of the learned augmented residual */
    QN_ONE
} qn_dim;

/* What becomes of a tensor's rows on the way from checkpoint to GGUF. */
typedef enum {
    QN_AS_IS = 0,
    QN_PERMUTE_Q,     /* qn_rows_permute by the number of heads */
    QN_PERMUTE_K,     /* by the number of KV heads */
    QN_ROPE_DIVISORS, /* not in the checkpoint: the llama3 divisors */
    QN_PLUS_ONE,      /* a norm's weights, stored as their distance from 1 */
    QN_LONG_FACTORS,  /* not in the checkpoint: config.json's */
    QN_SHORT_FACTORS,
    QN_FIRST_HALF, /* of the rows of each expert; the other half is another role's */
    QN_SECOND_HALF,
    QN_EVEN_ROWS, /* of each expert; the odd ones are another role's */
    QN_ODD_ROWS,
    QN_EVEN_COLUMNS,
    QN_ODD_COLUMNS,
    QN_TRANSPOSED, /* the checkpoint has columns as rows; so the next two */
    QN_TRANSPOSED_EVEN,
    QN_TRANSPOSED_ODD,
    QN_TRANSPOSED_FIRST,
    QN_TRANSPOSED_SECOND,
    QN_PAD_VOCAB /* rows of zeros behind it, up to the vocabulary's size */
} qn_transform;

typedef enum {
    QN_NEEDED = 0,
    QN_OPTIONAL,
    QN_IF_UNTIED,         /* optional when hparams.tied */
    QN_ONLY_UNTIED,       /* unknown when hparams.tied */
    QN_IF_OWN_KEYS,       /* optional in layers that share an earlier one's */
    QN_IF_OWN_VALUES,     /* so, too; unknown in full layers when hparams.value_is_key */
    QN_IF_LAYER_INPUTS,   /* unknown unless hparams.layer_input */
    QN_IF_ATTENTION_BIAS, /* unknown unless hparams.attention_bias */
    QN_IF_MLP_BIAS,
    QN_IF_EXPERTS, /* unknown unless hparams.n_experts */
    QN_IF_ROUTED,  /* unknown in layers without experts */
    QN_IF_DENSE,   /* unknown in layers with experts */
    QN_IF_SHARED   /* unknown unless hparams.shared_feed_forward */
} qn_need;

#define QN_ROLE_RANK 3

typedef struct {
    /* "model.layers.%.self_attn.q_proj.weight"; NULL: computed.  With a '#' the
     * checkpoint has the experts one by one, and shape's first size is their
     * number.  Several rows of one GGUF name are the ways in which checkpoints
     * may have it, the usual one first. */
    const char *checkpoint;
    const char *gguf;           /* "blk.%.attn_q.weight" */
    qn_dim shape[QN_ROLE_RANK]; /* outermost first */
    qn_transform transform;
    qn_need need;
} qn_role;

typedef enum {
    QN_FIELD_COUNT = 0,
    QN_FIELD_REAL,
    QN_FIELD_FLAG,
    QN_FIELD_NOT_FLAG, /* a flag that config.json has the other way round */
    QN_FIELD_SCALING,
    QN_FIELD_ACTIVATION,
    QN_FIELD_SPARSITY, /* config.json: the share of each layer's gates that is 0; GGUF: of which
                        * quantile of a normal distribution that is */
    QN_FIELD_REALS,    /* a list, in config.json alone */
    QN_FIELD_COUNTS,   /* one number, or a list with one for each layer */
    QN_FIELD_LAYERS,   /* flags of layers; config.json has the numbers of those that are set */
    QN_FIELD_SLIDES    /* config.json: "sliding_attention" ("chunked_attention" where windows are
                        * chunks) or "full_attention" for each layer; GGUF: flags, or the one
                        * number of a period */
} qn_field_kind;

/* Where config.json may have a key besides text_config and the root. */
typedef enum {
    QN_NO_ROPE = 0,
    QN_IN_ROPE,        /* rope_parameters or rope_scaling, or full_attention in it, first */
    QN_IN_SLIDING_ROPE /* sliding_attention in it, and nowhere else */
} qn_rope_place;

typedef enum {
    QN_WRITE_NEVER = 0,
    QN_WRITE_ALWAYS,
    QN_WRITE_SCALED,         /* only under linear or yarn scaling */
    QN_WRITE_YARN,           /* only under yarn */
    QN_WRITE_YARN_SET,       /* under yarn and when it is not 0 */
    QN_WRITE_YARN_UNUSUAL,   /* under yarn and when it is not gguf_else */
    QN_WRITE_SET,            /* when it is not 0 */
    QN_WRITE_UNUSUAL,        /* when it is not gguf_else */
    QN_WRITE_SLIDING,        /* when some layer slides */
    QN_WRITE_LONGROPE,       /* only under longrope */
    QN_WRITE_UNUSUAL_TURNS,  /* which layers have rope, when it is not by the period in gguf_else */
    QN_WRITE_UNUSUAL_SLIDES, /* which layers slide, when it is not by the period in gguf_else */
    QN_WRITE_UNUSUAL_SCALE,  /* an attention scale that runtimes do not take by themselves */
    QN_WRITE_UNUSUAL_NORM /* a norm behind rope that runtimes leave out, or the other way round */
} qn_write_when;

/* A default: what an absent key means. */
#define QN_REQUIRED (-1.0)

#define QN_CONFIG_NAMES 4

/* One hyperparameter: where config.json has it, where GGUF has it, which
 * member of qn_hparams it is.  A row without names says what the family always
 * is (QN_ALWAYS in parameters.h). */
typedef struct {
    const char *config[QN_CONFIG_NAMES]; /* the first that is there and not null */
    qn_rope_place in_rope;
    bool root_first; /* what the root says counts before text_config */
    qn_field_kind kind;
    bool whole;          /* a real that config.json has as an integer */
    bool may_be_zero;    /* a count that says "none" */
    bool null_is_zero;   /* null in config.json is how it says so, not that nothing is said */
    size_t field;        /* QN_HPARAM(...): uint64_t, double, bool, an enum */
    size_t list;         /* QN_HPARAM of the qn_layer_counts of QN_FIELD_COUNTS, QN_FIELD_SLIDES */
    double config_else;  /* what transformers takes when there is none; or QN_REQUIRED;
                          * 0 leaves what an earlier row said */
    const char *gguf[2]; /* behind "<architecture>.", newest first; {NULL}: GGUF has none */
    double gguf_else;    /* what llama.cpp takes; or QN_REQUIRED */
    qn_write_when write;
    bool first; /* written behind general.architecture, before all others */
} qn_parameter;

#define QN_HPARAM(member) offsetof(qn_hparams, member)

/* A key of config.json that would make the forward pass another one: must be
 * absent, null, or this (an empty list counts as 0). */
typedef struct {
    const char *key;
    const char *text; /* the one string it may be; NULL: see number */
    double number;    /* the one number (or false/true as 0/1) it may be */
    bool unsaid;      /* a string that is not written: absence means the same */
} qn_condition;

/* Checkpoint names that begin with `from` are those with `to` in its place. */
typedef struct {
    const char *from, *to;
} qn_prefix;

struct qn_family {
    const char *name;               /* --family */
    const char *architecture;       /* general.architecture */
    const char *key;                /* of several families with one architecture, the one whose
                                     * files have this behind "<architecture>."; NULL: any file */
    const char *const *classes;     /* "architectures" in config.json, NULL at the end */
    const char *const *model_types; /* "model_type", for files without the former */
    const char *pre; /* tokenizer.ggml.pre where its patterns have several names; NULL: the first */
    const qn_role *roles;
    size_t n_roles;
    const qn_prefix *prefixes; /* of multimodal classes */
    size_t n_prefixes;
    const char *const *towers;  /* beginnings of names of vision and audio tensors, which are left
                                * out; NULL at the end; NULL: none */
    const char *const *ignored; /* ends of checkpoint names nobody needs, NULL at the end */
    const qn_parameter *parameters; /* besides the common ones; written behind them */
    size_t n_parameters;
    /* The keys before general.file_type, in their order, NULL at the end; of a name
     * in both tables the family's own row counts.  NULL: all common ones. */
    const char *const *common_keys;
    unsigned shared_class; /* of classes and model_types that with an expert that all tokens pass */
    const qn_condition *conditions;
    size_t n_conditions;
};

/* What every decoder-only family has, in the order in which the reference
 * converter writes it (conversion/base.py, TextModel.set_gguf_parameters). */
extern const qn_parameter qn_common_parameters[];
extern const size_t qn_n_common_parameters;

/* common_keys of families whose heads are hidden size / heads, which no key says. */
extern const char *const qn_keys_without_head_size[];

/* Of those whose files say nothing of rope. */
extern const char *const qn_keys_without_rope[];

/* Of those that have no other theta for sliding layers, and own rows for some of these. */
extern const char *const qn_keys_of_one_rope[];

/* ignored of most families; of Llama's, of which older transformers saved more buffers;
 * of those whose head may be saved though it is the embedding. */
extern const char *const qn_ignored_usually[];
extern const char *const qn_ignored_buffers[];
extern const char *const qn_ignored_head[];

/* Common and own ones in one count, in the order of writing. */
size_t qn_family_n_parameters(const qn_family *f);
const qn_parameter *qn_family_parameter(const qn_family *f, size_t i);

/* The member of h that p stands for, by its kind; set takes a default. */
uint64_t qn_parameter_count(const qn_parameter *p, const qn_hparams *h);
double qn_parameter_real(const qn_parameter *p, const qn_hparams *h);
bool qn_parameter_flag(const qn_parameter *p, const qn_hparams *h);
void qn_parameter_set(const qn_parameter *p, double value, qn_hparams *h);
qn_layer_counts *qn_parameter_list(const qn_parameter *p, qn_hparams *h);

extern const qn_family qn_family_llama;
extern const qn_family qn_family_llama4;
extern const qn_family qn_family_mistral;
extern const qn_family qn_family_mistral3;
extern const qn_family qn_family_mistralsmall3;
extern const qn_family qn_family_mixtral;
extern const qn_family qn_family_phi3;
extern const qn_family qn_family_smollm3;
extern const qn_family qn_family_qwen2;
extern const qn_family qn_family_qwen2moe;
extern const qn_family qn_family_qwen3;
extern const qn_family qn_family_qwen3moe;
extern const qn_family qn_family_olmo2;
extern const qn_family qn_family_olmo3;
extern const qn_family qn_family_granite;
extern const qn_family qn_family_granitemoe;
extern const qn_family qn_family_gptoss;
extern const qn_family qn_family_gemma;
extern const qn_family qn_family_gemma2;
extern const qn_family qn_family_gemma3;
extern const qn_family qn_family_gemma4;
extern const qn_family qn_family_gemma3n;

/* NULL: there is none. */
const qn_family *qn_family_by_name(const char *name);
const qn_family *qn_family_by_class(const char *name);
const qn_family *qn_family_by_model_type(const char *name);
/* Of the families of that architecture the first whose `key` m has, else the one
 * without a key. */
const qn_family *qn_family_of_gguf(const char *architecture, const qn_metadata *m);

/* "llama, generic": what --family takes, for messages. */
const char *qn_family_names(char *buf, size_t n);

/* What --family says: *out is NULL for nothing and for "generic"; a name that nobody
 * has is QN_ERR_ARGUMENT. */
qn_status qn_family_asked_for(const char *name, const qn_family **out, qn_error *err);

/* Which layer, which expert; 0 where a name has none. */
typedef struct {
    uint64_t layer, expert;
} qn_place;

/* The role a name plays (is_gguf: GGUF's names, else the checkpoint's) and
 * where; NULL: unknown.  after: another one, behind this in the table; NULL: the
 * first. */
const qn_role *qn_family_role(const qn_family *f, const char *name, bool is_gguf,
                              const qn_role *after, qn_place *place);
/* Whether it belongs to a vision or audio tower. */
bool qn_family_is_tower(const qn_family *f, const char *name);
bool qn_family_ignores(const qn_family *f, const char *name);

/* pattern with the numbers for its '%' and '#', into buf, which is returned. */
const char *qn_role_name(const char *pattern, qn_place place, char *buf, size_t n);

/* What a transform takes of a tensor that holds two roles'. */
typedef struct {
    bool is_cut;      /* it does */
    bool columns;     /* two in each row, else in each group of rows */
    bool alternating; /* in turn, else one behind the other */
    bool second;
    bool transposed; /* the checkpoint's columns are the rows */
} qn_cut;

qn_cut qn_cut_of(qn_transform t);

/* The shape h asks for in that layer, in GGUF or in the checkpoint, outermost
 * first; returns the rank. */
unsigned qn_role_shape(const qn_role *role, const qn_hparams *h, uint64_t layer, bool is_gguf,
                       uint64_t dims[QN_ROLE_RANK]);

/* "heads x head size, hidden size": where the shape comes from. */
const char *qn_role_shape_words(const qn_role *role, bool is_gguf, char *buf, size_t n);

/* Of a stacked role, how many tensors of a checkpoint become one. */
uint64_t qn_role_parts(const qn_role *role, const qn_hparams *h);

/* Whether that layer of a model with h must have it; whether it may. */
bool qn_role_needed(const qn_role *role, const qn_hparams *h, uint64_t layer);
bool qn_role_allowed(const qn_role *role, const qn_hparams *h, uint64_t layer);

/* QN_ERR_DATA when a tensor that the family needs would be empty (no experts). */
qn_status qn_family_check_sizes(const qn_family *f, const qn_hparams *h, const char *where,
                                qn_error *err);

/* Whether the pattern has a layer in it; whether the checkpoint's has an expert. */
bool qn_role_is_layered(const qn_role *role);
bool qn_role_is_stacked(const qn_role *role);

#endif
