/* Which tensor of a checkpoint an adapter's module means.  Adapters have the names
 * that modules had in transformers when they were trained; checkpoints may have
 * others: another prefix in a multimodal class, experts one by one. */
#ifndef QN_FORMATS_LORA_TARGETS_H
#define QN_FORMATS_LORA_TARGETS_H

#include "formats/families/family.h"
#include "formats/reader.h"

typedef struct {
    qn_reader *reader;
    const qn_family *family;  /* NULL: the reader's own names alone */
    bool tied;                /* the head is the embedding */
    qn_names *by_role;        /* a family's tensors by GGUF's name and "#expert" */
    uint32_t embedding, head; /* of the reader's tensors; UINT32_MAX: it has none */
    qn_arena *arena;
} qn_lora_targets;

/* On failure there is nothing to close. */
qn_status qn_lora_targets_open(qn_lora_targets *t, qn_reader *r, const qn_family *family, bool tied,
                               qn_error *err);
void qn_lora_targets_close(qn_lora_targets *t); /* {0} is fine */

/* "model.layers.0.self_attn.q_proj" and "weight"; NULL: there is no such tensor. */
qn_tensor *qn_lora_target(const qn_lora_targets *t, qn_str module, const char *parameter);

/* The embedding; the head, unless it is the embedding; NULL: there is none. */
qn_tensor *qn_lora_embedding(const qn_lora_targets *t);
qn_tensor *qn_lora_head(const qn_lora_targets *t);

/* Makes a tied head a tensor of the reader's, if it is none, and tied false.  It is
 * the embedding's, under the head's name.  May move the reader's tensors. */
qn_status qn_lora_add_head(qn_lora_targets *t, const qn_tensor *embedding, const qn_tensor **out,
                           qn_error *err);

/* The weight of an expert of "model.layers.0.mlp.experts" that a checkpoint has
 * one by one; NULL: there is none. */
typedef enum { QN_EXPERT_GATE, QN_EXPERT_UP, QN_EXPERT_DOWN } qn_lora_expert_part;
qn_tensor *qn_lora_expert_target(const qn_lora_targets *t, qn_str module, uint64_t expert,
                                 qn_lora_expert_part part);

#endif
