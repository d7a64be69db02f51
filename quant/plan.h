/* Which type each tensor of an output gets, and why: decided before any work
 * is done, by llama-quantize's rules (policy.c) or the converter's. */
#ifndef QN_QUANT_PLAN_H
#define QN_QUANT_PLAN_H

#include "formats/convert.h"
#include "formats/model.h"
#include "quant/importance.h"
#include "quant/mix.h"
#include "quant/type_rules.h"

typedef struct {
    const qn_model_tensor *tensor;
    qn_dtype dtype;                        /* to be written */
    bool copy;                             /* the raw bytes are taken as they are */
    bool repack;                           /* so, in another arrangement of the codes */
    bool fallback;                         /* not the type the mix asked for: told to the user */
    const qn_type_rule *rule;              /* of the user for this tensor, or NULL */
    const qn_importance_entry *importance; /* NULL: none, or the type takes no notice */
    size_t part;                           /* of the output's files, ascending (split.h) */
    bool needs_importance;                 /* llama-quantize refuses to go without */
    bool lacks_importance; /* a matrix is given, the type heeds it, but it has no data of this:
                              each column counts 1 where the type needs importance */
    char reason[96];       /* "mix: output", "1-D: kept", "4095 columns: Q5_K instead of Q4_K" */
} qn_plan_entry;

typedef struct {
    const qn_model *model;
    qn_plan_entry *entries; /* in the order of the output file */
    size_t n;
    qn_metadata *metadata; /* of the output file */
    uint64_t align;
    size_t n_parts;              /* files; 1 unless split (split.h) */
    qn_metadata **more_metadata; /* n_parts - 1: of those behind the first */
} qn_plan;

typedef struct {
    const qn_mix *mix;
    bool pure; /* no mix, only the default type */
    bool allow_requantize;
    bool leave_output_tensor;
    bool keep_split; /* the order of the source's files instead of llama.cpp's own */
    bool dry_run;    /* nothing will be written: a type that needs importance may go without */
    const qn_dtype *output_type; /* NULL: not given */
    const qn_dtype *embedding_type;
    const qn_importance *importance; /* NULL: none; outlives the plan */
    const qn_type_rules *rules;      /* NULL: none; outlives the plan */
    const qn_metadata *overrides;    /* keys for the file; the model's numbers that the rules ask
                                        for are these, too.  NULL: none */
    uint64_t align;                  /* 0: the format's default */
} qn_quantize_options;

/* llama-quantize's output for this model: from a checkpoint the metadata and
 * types it would make of the file that the converter's --outtype auto gives,
 * always from the values as stored; order by block number, then name. */
qn_status qn_plan_quantize(qn_plan **out, const qn_model *m, const qn_quantize_options *options,
                           qn_error *err);

/* The converter's output for this model: GGUF. */
qn_status qn_plan_convert(qn_plan **out, const qn_model *m, qn_outtype outtype, uint64_t align,
                          qn_error *err);
void qn_plan_free(qn_plan *p); /* NULL is fine */

#endif
