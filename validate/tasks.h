/* Which choice of a task a model finds the most probable, scored as
 * llama-perplexity's --hellaswag, --winogrande and --multiple-choice do.
 *
 * A choice's score is the mean log-probability of the tokens of its text behind
 * those that all choices of the task begin with; the largest wins, the first of
 * equals.  Winogrande: of the tokens behind the choice's own word where both
 * texts have more than three behind what they share; the very last token is left
 * out where another is left; and where the word's own tokens count, choice 2's
 * first one is taken from the distribution behind choice 1's last token (an
 * oversight there, repeated so that figures can be compared).
 *
 * Tasks of a like beginning run together: what the choices of a task share is
 * evaluated once, and their sequences branch off. */
#ifndef QN_VALIDATE_TASKS_H
#define QN_VALIDATE_TASKS_H

#include "formats/task_file.h"
#include "validate/decoder.h"

typedef struct {
    size_t task;    /* its number in the file */
    size_t n;       /* choices */
    double *scores; /* [n]; allocated (qn_free) */
    size_t chosen;
    bool right;
    uint64_t right_choices[2]; /* bit i % 64 of [i / 64]: choice i is right */
} qn_task_result;

/* Called when results of the first `done` tasks are there; false: stop with QN_ERR_CANCELLED. */
typedef bool (*qn_tasks_fn)(void *ctx, const qn_task_result *results, size_t done);

typedef struct {
    uint64_t limit;   /* bytes of scratch; 0: any.  With fewer fewer tasks run at a time */
    uint64_t scratch; /* out: the most that one took */
} qn_tasks_memory;

/* Of tasks order[0..n) into results[n], zeroed before, whose scores are to be
 * freed also after a failure.  All are read once before any is run; a choice
 * without a token of its own is QN_ERR_DATA, a task that the limit leaves no room
 * for QN_ERR_MEMORY.  Scores have the same bits for any limit. */
qn_status qn_tasks_score(const qn_task_file *file, const size_t *order, size_t n,
                         const qn_decoder *d, qn_tokenizer *t, qn_tasks_memory *memory,
                         qn_task_result *results, qn_tasks_fn progress, void *ctx, qn_error *err);

/* Wilson's interval for `right` of n, at z standard deviations of a normal
 * distribution ("Probable inference, the law of succession, and statistical
 * inference", 1927). */
void qn_wilson(size_t right, size_t n, double z, double *low, double *high);

#endif
