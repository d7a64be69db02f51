/* An adapter on its way into a base: its tensors taken apart by their names, and
 * what each of them does noted. */
#ifndef QN_FORMATS_LORA_ADAPTER_H
#define QN_FORMATS_LORA_ADAPTER_H

#include "formats/lora/adapter_config.h"
#include "formats/lora/merge.h"
#include "formats/lora/targets.h"

typedef struct {
    const qn_reader *reader; /* its tensors */
    qn_lora_config config;
    qn_lora_targets *targets;
    struct qn_lora_merge **merges; /* of each tensor of the base; NULL: it stays */
    qn_arena *arena;               /* of merges and changes */
    double scale;
} qn_adapter;

/* What stands behind the module's name. */
typedef enum {
    QN_LORA_WHOLE = 0,  /* takes the base's place: modules_to_save, a bias */
    QN_LORA_BASE_LAYER, /* the base's, saved with it */
    QN_LORA_A,
    QN_LORA_B,
    QN_LORA_B_BIAS,
    QN_LORA_MAGNITUDE, /* DoRA's */
    QN_LORA_EMBEDDING_A,
    QN_LORA_EMBEDDING_B,
    QN_LORA_TOKENS,
    QN_LORA_COPY, /* of what is there under another name, too */
    QN_LORA_UNKNOWN
} qn_lora_part_kind;

typedef struct {
    const qn_tensor *tensor;
    qn_lora_part_kind kind;
    qn_str module;         /* "model.layers.0.self_attn.q_proj" */
    const char *suffix;    /* behind it: ".lora_A.weight"; NULL: none of LoRA's */
    const char *parameter; /* of the module: "weight" or "bias" */
} qn_lora_part;

qn_lora_part qn_adapter_part(const qn_adapter *a, const qn_tensor *t);

/* That tensor of the adapter takes a tensor's place: first of all tensors of it. */
qn_status qn_adapter_replace(const qn_adapter *a, const qn_lora_part *p, qn_error *err);

/* What else p does.  A pair is noted when its first half is given; its second
 * half only has to have one. */
qn_status qn_adapter_change(const qn_adapter *a, const qn_lora_part *p, qn_error *err);

/* What t is going to be; NULL: no memory. */
struct qn_lora_merge *qn_adapter_merge(const qn_adapter *a, const qn_tensor *t);

/* t, or what took its place. */
const qn_tensor *qn_adapter_now(const qn_adapter *a, const qn_tensor *t);

/* Notes it, behind what changes t already. */
qn_status qn_adapter_note(const qn_adapter *a, const qn_tensor *t, const qn_lora_change *change,
                          qn_error *err);

/* A and B of a module with experts (PEFT's target_parameters). */
qn_status qn_adapter_experts(const qn_adapter *a, qn_str module, const qn_tensor *left,
                             const qn_tensor *right, qn_error *err);

/* Same type, shape and bytes. */
bool qn_lora_same_tensor(const qn_tensor *a, const qn_tensor *b);

/* ---- embedding and head --------------------------------------------------------------- */

/* Whether p is for the embedding or the head, which may get another number of rows. */
bool qn_adapter_is_vocabulary(const qn_adapter *a, const qn_lora_part *p, const qn_tensor *base);

/* Before the rest: the head of a tied model gets a tensor of its own if the adapter
 * makes another one of it.  May move the reader's tensors. */
qn_status qn_adapter_untie(const qn_adapter *a, qn_error *err);

/* After the rest: QN_ERR_DATA when embedding and head have other numbers of rows. */
qn_status qn_adapter_check_vocabulary(const qn_adapter *a, qn_error *err);

/* ---- faults -------------------------------------------------------------------------- */

const char *qn_adapter_path(const qn_adapter *a);

/* QN_ERR_DATA: a tensor that the base has no place for. */
qn_status qn_adapter_no_place(const qn_adapter *a, const qn_tensor *t, qn_error *err);

/* QN_ERR_DATA: a shape that does not fit the base's tensor. */
qn_status qn_adapter_wrong_shape(const qn_adapter *a, const qn_tensor *t, const qn_tensor *base,
                                 qn_error *err);

/* Whether A [parts * rank, ...] and B [..., parts * rank] have the rank that the
 * configuration says. */
qn_status qn_adapter_check_ranks(const qn_adapter *a, const qn_tensor *first,
                                 const qn_tensor *second, uint64_t rank, uint64_t parts,
                                 qn_error *err);

#endif
