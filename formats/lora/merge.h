/* What adapters make of one tensor, and the rows of the result. */
#ifndef QN_FORMATS_LORA_MERGE_H
#define QN_FORMATS_LORA_MERGE_H

#include "formats/rows.h"

/* A matrix of an adapter, whichever way it lies: element (i, k) of group g, k
 * counting ranks, is first + i * step + k * rank_step + g * group_step of the
 * tensor, which is F32, F16 or BF16.  tensor NULL: every element is 1. */
typedef struct {
    const qn_tensor *tensor;
    uint64_t first, step, rank_step, group_step;
} qn_lora_factor;

typedef struct {
    uint64_t token, row;
} qn_lora_token;

/* Of the tensor's rows, i in its group (an expert of a stack; else all rows are one):
 *
 *     w[i][j] += scale * sum over k < rank of left(i, k) * right(j, k)
 *
 * and with magnitude, where w0 is what the changes began with and d this sum (DoRA,
 * Liu et al., 2024; several adapters as PEFT merges them):
 *
 *     w[i][j] = magnitude[i] / |w0[i] + d[i]| * (w[i][j] + d[i][j])
 *
 * or, with tokens, of those rows alone: w[token][j] = right(j, row). */
typedef struct qn_lora_change qn_lora_change;
struct qn_lora_change {
    qn_lora_change *next; /* comes after it */
    uint64_t rank;
    double scale;
    qn_lora_factor left, right;
    const qn_tensor *magnitude;  /* [rows]; NULL: plain LoRA */
    const qn_lora_token *tokens; /* n_tokens of them, by token; NULL: a sum */
    uint64_t n_tokens;
};

/* The most changes of a tensor that have a magnitude. */
#define QN_LORA_MOST_MAGNITUDES 4

struct qn_lora_merge {
    const qn_reader *reader; /* of base */
    qn_tensor base;          /* the checkpoint's, or what an adapter has in its place */
    qn_lora_change *changes; /* in their order; NULL: none */
    qn_lora_change *last;    /* of them */
    unsigned n_magnitudes;   /* of the changes that have one */
};

/* Rows of base with the changes: what they add to a weight is summed in double, in
 * the order of the changes and of k, and the result rounded to float32 once.
 * (Products of two floats are exact in double, so fused or not makes no
 * difference.)  In the arena; NULL: no memory. */
const qn_rows *qn_lora_rows(qn_arena *a, const struct qn_lora_merge *m);

#endif
