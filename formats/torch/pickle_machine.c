#include "formats/torch/pickle_machine.h"

#include <string.h>

/* ---- faults --------------------------------------------------------------------------- */

unsigned long long qn_machine_place(const qn_pickle_machine *m)
{
    return (unsigned long long)(m->p - m->start);
}

qn_status qn_machine_fail_words(const qn_pickle_machine *m, const char *words)
{
    return qn_fail(m->err, QN_ERR_DATA, "%s: its pickle %s at byte %llu", m->where, words,
                   qn_machine_place(m));
}

qn_status qn_machine_fail_memory(const qn_pickle_machine *m)
{
    return qn_fail_memory(m->err, m->where);
}

/* ---- bytes ---------------------------------------------------------------------------- */

qn_status qn_machine_take(qn_pickle_machine *m, uint64_t n, qn_str *out)
{
    if (n > (uint64_t)(m->end - m->p)) return qn_machine_fail_words(m, "ends too early");
    *out = qn_str_of((const char *)m->p, (size_t)n);
    m->p += n;
    return QN_OK;
}

/* A little-endian unsigned number of n bytes, up to 8. */
qn_status qn_machine_take_number(qn_pickle_machine *m, unsigned n, uint64_t *out)
{
    qn_str s;
    const qn_status status = qn_machine_take(m, n, &s);
    *out = 0;
    for (unsigned i = 0; !status && i < n; i++) *out |= (uint64_t)(uint8_t)s.s[i] << (8 * i);
    return status;
}

qn_status qn_machine_take_line(qn_pickle_machine *m, qn_str *out)
{
    const uint8_t *end = memchr(m->p, '\n', (size_t)(m->end - m->p));
    if (!end) return qn_machine_fail_words(m, "ends within a name");
    *out = qn_str_of((const char *)m->p, (size_t)(end - m->p));
    m->p = end + 1;
    return QN_OK;
}

/* ---- the stack ------------------------------------------------------------------------- */

/* One more place at the end of an array of values. */
bool qn_machine_grow(qn_pickle_value ***array, size_t *capacity, size_t n)
{
    if (n < *capacity) return true;
    const size_t wanted = qn_grow(*capacity, n + 32);
    qn_pickle_value **grown = qn_resize(*array, wanted, sizeof(qn_pickle_value *));
    if (!grown) return false;
    *array = grown;
    *capacity = wanted;
    return true;
}

qn_status qn_machine_push(qn_pickle_machine *m, qn_pickle_value *v)
{
    if (!qn_machine_grow(&m->stack, &m->stack_capacity, m->n_stack))
        return qn_machine_fail_memory(m);
    m->stack[m->n_stack++] = v;
    return QN_OK;
}

/* A value takes 64 bytes, and two or more in the pickle but for a few; a list of empty
 * lists, of a byte each, is a trap. */
qn_status qn_machine_make(qn_pickle_machine *m, qn_pickle_value v, qn_pickle_value **out)
{
    enum { FEW = 1024 };
    if (m->n_values++ > FEW + (size_t)(m->p - m->start) / 2)
        return qn_machine_fail_words(m, "makes more values than tensors need");
    qn_pickle_value *mine = qn_arena_alloc(m->arena, 1, sizeof *mine);
    if (!mine) return qn_machine_fail_memory(m);
    *mine = v;
    *out = mine;
    return QN_OK;
}

qn_status qn_machine_push_new(qn_pickle_machine *m, qn_pickle_value v)
{
    qn_pickle_value *mine;
    const qn_status status = qn_machine_make(m, v, &mine);
    return status ? status : qn_machine_push(m, mine);
}

/* The topmost value, which is not a mark. */
qn_status qn_machine_top(const qn_pickle_machine *m, qn_pickle_value **out)
{
    if (!m->n_stack || !m->stack[m->n_stack - 1])
        return qn_machine_fail_words(m, "takes a value from an empty stack");
    *out = m->stack[m->n_stack - 1];
    return QN_OK;
}

qn_status qn_machine_pop(qn_pickle_machine *m, qn_pickle_value **out)
{
    const qn_status status = qn_machine_top(m, out);
    if (!status) m->n_stack--;
    return status;
}

/* Everything above the last mark, and the mark. The values stay where they are
 * until the next push. */
qn_status qn_machine_pop_mark(qn_pickle_machine *m, qn_pickle_value ***items, size_t *n)
{
    size_t at = m->n_stack;
    while (at && m->stack[at - 1]) at--;
    if (!at) return qn_machine_fail_words(m, "looks for a mark that is not there");
    *items = m->stack + at;
    *n = m->n_stack - at;
    m->n_stack = at - 1;
    return QN_OK;
}

/* ---- containers ------------------------------------------------------------------------ */

/* Items' arrays double in the arena: at most twice what is needed is lost. */
qn_status qn_machine_append(qn_pickle_machine *m, qn_pickle_value *to,
                            qn_pickle_value *const *items, size_t n)
{
    if (to->capacity - to->n_items < n) {
        const size_t capacity =
            to->n_items + n > 2 * to->capacity ? to->n_items + n : 2 * to->capacity;
        qn_pickle_value **grown = qn_arena_alloc(m->arena, capacity, sizeof(qn_pickle_value *));
        if (!grown) return qn_machine_fail_memory(m);
        if (to->n_items) memcpy(grown, to->items, to->n_items * sizeof(qn_pickle_value *));
        to->items = grown;
        to->capacity = capacity;
    }
    if (n) memcpy(to->items + to->n_items, items, n * sizeof(qn_pickle_value *));
    to->n_items += n;
    return QN_OK;
}

qn_status qn_machine_push_tuple(qn_pickle_machine *m, qn_pickle_value *const *items, size_t n)
{
    qn_pickle_value *t;
    qn_status status = qn_machine_make(m, (qn_pickle_value){.kind = QN_PICKLE_TUPLE}, &t);
    if (!status) status = qn_machine_append(m, t, items, n);
    return status ? status : qn_machine_push(m, t);
}

qn_status qn_machine_short_tuple(qn_pickle_machine *m, size_t n)
{
    if (m->n_stack < n) return qn_machine_fail_words(m, "takes a value from an empty stack");
    qn_pickle_value *items[3];
    for (size_t i = 0; i < n; i++) {
        items[i] = m->stack[m->n_stack - n + i];
        if (!items[i]) return qn_machine_fail_words(m, "puts a mark in a tuple");
    }
    m->n_stack -= n;
    return qn_machine_push_tuple(m, items, n);
}

static qn_status append_to_top(qn_pickle_machine *m, qn_pickle_kind kind,
                               qn_pickle_value *const *items, size_t n)
{
    qn_pickle_value *to;
    const qn_status status = qn_machine_top(m, &to);
    if (status) return status;
    if (to->kind != kind)
        return qn_machine_fail_words(m, kind == QN_PICKLE_LIST
                                            ? "appends to what is no list"
                                            : "sets an item of what is no dictionary");
    if (kind == QN_PICKLE_DICT && n % 2)
        return qn_machine_fail_words(m, "sets a key without a value");
    return qn_machine_append(m, to, items, n);
}

qn_status qn_machine_append_last(qn_pickle_machine *m, qn_pickle_kind kind, size_t n)
{
    qn_pickle_value *items[2];
    qn_status status = QN_OK;
    for (size_t i = n; !status && i-- > 0;) status = qn_machine_pop(m, &items[i]);
    return status ? status : append_to_top(m, kind, items, n);
}

qn_status qn_machine_append_marked(qn_pickle_machine *m, qn_pickle_kind kind)
{
    qn_pickle_value **items;
    size_t n;
    const qn_status status = qn_machine_pop_mark(m, &items, &n);
    return status ? status : append_to_top(m, kind, items, n);
}

/* ---- the memo --------------------------------------------------------------------------- */

/* The slot of that number, made if it was not there; NULL: no memory. */
static qn_pickle_value **slot(qn_pickle_machine *m, uint64_t index)
{
    while (m->n_memo <= index) {
        if (!qn_machine_grow(&m->memo, &m->memo_capacity, m->n_memo)) return NULL;
        m->memo[m->n_memo++] = NULL;
    }
    return m->memo ? &m->memo[index] : NULL;
}

qn_status qn_machine_memorize(qn_pickle_machine *m, uint64_t index)
{
    qn_pickle_value *v;
    const qn_status status = qn_machine_top(m, &v);
    if (status) return status;
    /* every slot before it costs a byte of the pickle */
    if (index >= (uint64_t)(m->p - m->start))
        return qn_machine_fail_words(m, "numbers a value higher than it has bytes");
    qn_pickle_value **at = slot(m, index);
    if (!at) return qn_machine_fail_memory(m);
    if (!*at) m->n_memorized++;
    *at = v;
    return QN_OK;
}

qn_status qn_machine_recall(qn_pickle_machine *m, uint64_t index)
{
    if (!m->memo || index >= m->n_memo || !m->memo[index])
        return qn_machine_fail_words(m, "asks for a value that it never stored");
    return qn_machine_push(m, m->memo[index]);
}
