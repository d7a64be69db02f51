/* Which file of a split model each tensor of a plan goes to. */
#ifndef QN_QUANT_SPLIT_H
#define QN_QUANT_SPLIT_H

#include "quant/plan.h"

typedef struct {
    bool keep; /* the files of the source; the plan has their order */
    /* Tensors are added to a file until it would hold more; 0: any number.
     * Bytes are of tensors with their padding, as llama-gguf-split counts. */
    uint64_t max_bytes, max_tensors;
} qn_split_options;

/* Sets the entries' parts, p->n_parts and the keys that tell of the split.  A
 * plan for which one file is enough stays as it is. */
qn_status qn_plan_split(qn_plan *p, const qn_split_options *options, qn_error *err);

/* For a checkpoint directory: tensors are added to a file until it would hold more
 * than max_bytes of them, as transformers' save_pretrained does.  The files' keys are
 * all the plan's. */
qn_status qn_plan_shard(qn_plan *p, uint64_t max_bytes, qn_error *err);

/* The number of the source's file that holds the tensor; 0 of a computed one. */
uint32_t qn_source_file(const qn_model *m, const qn_model_tensor *t);

#endif
