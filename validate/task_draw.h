/* Which tasks of a file are scored, and in which order: llama-perplexity's
 * choice, drawn with the Mersenne Twister MT19937 (Matsumoto and Nishimura,
 * 1998; C++'s std::mt19937) seeded with 1. */
#ifndef QN_VALIDATE_TASK_DRAW_H
#define QN_VALIDATE_TASK_DRAW_H

#include "formats/task_file.h"

#define QN_MERSENNE_WORDS 624

typedef struct {
    uint32_t state[QN_MERSENNE_WORDS];
    size_t at;
} qn_mersenne;

qn_mersenne qn_mersenne_seeded(uint32_t seed);
uint32_t qn_mersenne_next(qn_mersenne *m); /* 0 .. 2^32 - 1 */

/* The numbers of at_most (0: all) of n tasks into *order, allocated; *drawn of
 * them.  HellaSwag's are always shuffled; the others' stand in the file's order
 * unless there are fewer than all. */
qn_status qn_tasks_draw(qn_task_kind kind, size_t n, uint64_t at_most, size_t **order,
                        size_t *drawn, qn_error *err);

#endif
