/* The stack machine that a pickle runs on: its bytes, stack and memo.  What
 * the opcodes mean is in pickle.c.
 *
 * Every function that can fail has recorded why, with the place in the pickle. */
#ifndef QN_FORMATS_TORCH_PICKLE_MACHINE_H
#define QN_FORMATS_TORCH_PICKLE_MACHINE_H

#include "formats/torch/pickle.h"

typedef struct {
    qn_pickle *out;
    qn_arena *arena; /* of all values */
    const uint8_t *start, *p, *end;
    const qn_pickle_global *globals;
    const char *where;
    qn_error *err;
    qn_pickle_value **stack; /* NULL: a mark */
    size_t n_stack, stack_capacity;
    qn_pickle_value **memo; /* NULL: never set */
    size_t n_memo, memo_capacity, n_memorized;
    size_t n_values; /* that were made */
    size_t n_copied; /* items that dictionaries took over from lists */
    bool stopped;
} qn_pickle_machine;

/* "PATH: its pickle WORDS at byte N" */
qn_status qn_machine_fail_words(const qn_pickle_machine *m, const char *words);
qn_status qn_machine_fail_memory(const qn_pickle_machine *m);
unsigned long long qn_machine_place(const qn_pickle_machine *m);

/* The next n bytes; a little-endian number of up to 8; the rest of a line. */
qn_status qn_machine_take(qn_pickle_machine *m, uint64_t n, qn_str *out);
qn_status qn_machine_take_number(qn_pickle_machine *m, unsigned n, uint64_t *out);
qn_status qn_machine_take_line(qn_pickle_machine *m, qn_str *out);

qn_status qn_machine_push(qn_pickle_machine *m, qn_pickle_value *v);
/* A value that is nowhere yet. */
qn_status qn_machine_make(qn_pickle_machine *m, qn_pickle_value v, qn_pickle_value **out);
qn_status qn_machine_push_new(qn_pickle_machine *m, qn_pickle_value v);
qn_status qn_machine_top(const qn_pickle_machine *m, qn_pickle_value **out);
qn_status qn_machine_pop(qn_pickle_machine *m, qn_pickle_value **out);
/* Everything above the last mark, and the mark; good until the next push. */
qn_status qn_machine_pop_mark(qn_pickle_machine *m, qn_pickle_value ***items, size_t *n);

qn_status qn_machine_append(qn_pickle_machine *m, qn_pickle_value *to,
                            qn_pickle_value *const *items, size_t n);
qn_status qn_machine_push_tuple(qn_pickle_machine *m, qn_pickle_value *const *items, size_t n);
qn_status qn_machine_short_tuple(qn_pickle_machine *m, size_t n); /* of the n topmost, up to 3 */
/* The n topmost values, or those above the mark, to the list or dictionary below them. */
qn_status qn_machine_append_last(qn_pickle_machine *m, qn_pickle_kind kind, size_t n);
qn_status qn_machine_append_marked(qn_pickle_machine *m, qn_pickle_kind kind);

qn_status qn_machine_memorize(qn_pickle_machine *m, uint64_t index);
qn_status qn_machine_recall(qn_pickle_machine *m, uint64_t index);

/* One more place behind n values of an array; false: no memory. */
bool qn_machine_grow(qn_pickle_value ***array, size_t *capacity, size_t n);

#endif
