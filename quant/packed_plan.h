/* Which tensors of a checkpoint become int4 or int8 with groups, in the format
 * of which ecosystem, and why: decided and checked before any work.
 *
 * docs/formats/packed-write.md has the rules and the layouts.  What is planned
 * here is a checkpoint again: the tensors' names are the checkpoint's, one
 * packed weight becomes several tensors (its parts), and everything else is
 * carried over. */
#ifndef QN_QUANT_PACKED_PLAN_H
#define QN_QUANT_PACKED_PLAN_H

#include "formats/model.h"
#include "formats/packed/quantization_config.h"
#include "quant/groupwise.h"
#include "quant/patterns.h"

typedef struct {
    qn_pack_format format;
    unsigned bits;  /* 4 or 8 */
    uint64_t group; /* columns; 0: the whole row */
    bool asymmetric;
    qn_clip clip;
    qn_patterns *ignore, *include; /* found in tensors' names; ignore is stronger */
    bool allow_requantize;         /* sources that are quantized already */
    bool tied;                     /* config.json: the head is the embedding */
    qn_dtype dtype;                /* config.json: of what is computed: unpacked, merged */
    const qn_reader *source;       /* of the tensors' source_name */
    uint64_t max_shard_bytes;      /* of a file's tensors; 0: files as the source has them */
} qn_packed_options;

/* QN_ERR_ARGUMENT, by name, for what the format's loaders do not take. */
qn_status qn_packed_options_check(const qn_packed_options *o, qn_error *err);

typedef enum {
    QN_PART_CODES,
    QN_PART_SCALES,
    QN_PART_ZEROS,
    QN_PART_BIASES,
    QN_PART_SHAPE, /* compressed-tensors: the weight's shape, int64 */
    QN_PART_INDEX  /* GPTQ: the group of each column, int32 */
} qn_part_kind;

enum { QN_MOST_PARTS = 4 };

typedef struct {
    qn_part_kind kind;
    const char *suffix; /* behind the module's name and a dot: "weight_packed" */
    qn_dtype dtype;
    unsigned rank;
    uint64_t dims[2];
} qn_packed_part;

typedef struct {
    const qn_model_tensor *tensor;
    bool packed;
    bool linear;      /* what the ecosystem would take for a matrix to quantize */
    bool head;        /* lm_head */
    qn_dtype dtype;   /* not packed: what is written */
    qn_groupwise how; /* packed */
    uint64_t bytes;   /* written for it */
    size_t shard;
    const char *reason; /* "linear", "embedding: kept" */
} qn_packed_entry;

typedef struct {
    const qn_model *model;
    qn_packed_options options;
    qn_packed_entry *entries; /* by shard, in each in the model's order */
    size_t n, n_packed;
    size_t n_stacked;       /* experts of a layer in one tensor of three dimensions: kept */
    uint64_t stacked_bytes; /* written for them */
    size_t n_shards;
    bool tied_head_named; /* --include asked for a head that is the embedding */
} qn_packed_plan;

/* m: a checkpoint opened as generic, or an exported model.  m and the patterns
 * outlive the plan. */
qn_status qn_packed_plan_new(qn_packed_plan **out, const qn_model *m,
                             const qn_packed_options *options, qn_error *err);
void qn_packed_plan_free(qn_packed_plan *p); /* NULL is fine */

/* The tensors that a packed entry becomes; how many. */
unsigned qn_packed_parts(const qn_packed_plan *p, const qn_packed_entry *e,
                         qn_packed_part parts[QN_MOST_PARTS]);

/* "model.layers.0.mlp.up_proj", which its parts' names begin with; of any entry
 * that ends in ".weight". */
qn_str qn_packed_module(const qn_packed_entry *e);

#endif
