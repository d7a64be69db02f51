#include "formats/torch/pickle.h"

#include <string.h>

typedef qn_pickle_value value;

typedef struct {
    qn_pickle *out;
    qn_arena *arena;
    const uint8_t *start, *p, *end;
    const qn_pickle_global *globals;
    const char *where;
    qn_error *err;
    value **stack; /* NULL: a mark */
    size_t n_stack, stack_capacity;
    value **memo; /* NULL: never set */
    size_t n_memo, memo_capacity, n_memorized;
    bool stopped;
} machine;

/* ---- faults --------------------------------------------------------------------------- */

static unsigned long long place(const machine *m)
{
    return (unsigned long long)(m->p - m->start);
}

static qn_status fail_words(const machine *m, const char *words)
{
    return qn_fail(m->err, QN_ERR_DATA, "%s: its pickle %s at byte %llu", m->where, words,
                   place(m));
}

static qn_status fail_memory(const machine *m)
{
    return qn_fail_memory(m->err, m->where);
}

static const struct {
    uint8_t opcode;
    const char *name;
} opcodes[] = {
    {'i', "INST"},         {'o', "OBJ"},
    {0x82, "EXT1"},        {0x83, "EXT2"},
    {0x84, "EXT4"},        {'P', "PERSID"},
    {'I', "INT"},          {'L', "LONG"},
    {'S', "STRING"},       {'V', "UNICODE"},
    {'F', "FLOAT"},        {'d', "DICT"},
    {'l', "LIST"},         {'p', "PUT"},
    {'g', "GET"},          {0x92, "NEWOBJ_EX"},
    {0x8f, "EMPTY_SET"},   {0x90, "ADDITEMS"},
    {0x91, "FROZENSET"},   {0x96, "BYTEARRAY8"},
    {0x97, "NEXT_BUFFER"}, {0x98, "READONLY_BUFFER"},
};

static qn_status fail_opcode(const machine *m, uint8_t opcode)
{
    for (size_t i = 0; i < sizeof opcodes / sizeof *opcodes; i++)
        if (opcodes[i].opcode == opcode)
            return qn_fail(m->err, QN_ERR_UNSUPPORTED,
                           "%s: its pickle uses opcode %s at byte %llu, which is not followed (a "
                           "file of tensors does not need it)",
                           m->where, opcodes[i].name, place(m) - 1);
    return qn_fail(m->err, QN_ERR_DATA, "%s: its pickle has no opcode 0x%02x (byte %llu)", m->where,
                   opcode, place(m) - 1);
}

/* ---- bytes ---------------------------------------------------------------------------- */

static qn_status take(machine *m, uint64_t n, qn_str *out)
{
    if (n > (uint64_t)(m->end - m->p)) return fail_words(m, "ends too early");
    *out = qn_str_of((const char *)m->p, (size_t)n);
    m->p += n;
    return QN_OK;
}

/* A little-endian unsigned number of n bytes, up to 8. */
static qn_status take_number(machine *m, unsigned n, uint64_t *out)
{
    qn_str s;
    const qn_status status = take(m, n, &s);
    *out = 0;
    for (unsigned i = 0; !status && i < n; i++) *out |= (uint64_t)(uint8_t)s.s[i] << (8 * i);
    return status;
}

static qn_status take_line(machine *m, qn_str *out)
{
    const uint8_t *end = memchr(m->p, '\n', (size_t)(m->end - m->p));
    if (!end) return fail_words(m, "ends within a name");
    *out = qn_str_of((const char *)m->p, (size_t)(end - m->p));
    m->p = end + 1;
    return QN_OK;
}

/* ---- the stack ------------------------------------------------------------------------- */

/* One more place at the end of an array of values. */
static bool grow(value ***array, size_t *capacity, size_t n)
{
    if (n < *capacity) return true;
    const size_t wanted = qn_grow(*capacity, n + 32);
    value **grown = qn_resize(*array, wanted, sizeof(value *));
    if (!grown) return false;
    *array = grown;
    *capacity = wanted;
    return true;
}

static qn_status push(machine *m, value *v)
{
    if (!grow(&m->stack, &m->stack_capacity, m->n_stack)) return fail_memory(m);
    m->stack[m->n_stack++] = v;
    return QN_OK;
}

static qn_status push_new(machine *m, value v)
{
    value *mine = qn_arena_alloc(m->arena, 1, sizeof *mine);
    if (!mine) return fail_memory(m);
    *mine = v;
    return push(m, mine);
}

/* The topmost value, which is not a mark. */
static qn_status top(const machine *m, value **out)
{
    if (!m->n_stack || !m->stack[m->n_stack - 1])
        return fail_words(m, "takes a value from an empty stack");
    *out = m->stack[m->n_stack - 1];
    return QN_OK;
}

static qn_status pop(machine *m, value **out)
{
    const qn_status status = top(m, out);
    if (!status) m->n_stack--;
    return status;
}

/* Everything above the last mark, and the mark. The values stay where they are
 * until the next push. */
static qn_status pop_mark(machine *m, value ***items, size_t *n)
{
    size_t at = m->n_stack;
    while (at && m->stack[at - 1]) at--;
    if (!at) return fail_words(m, "looks for a mark that is not there");
    *items = m->stack + at;
    *n = m->n_stack - at;
    m->n_stack = at - 1;
    return QN_OK;
}

/* ---- containers ------------------------------------------------------------------------ */

/* Items' arrays double in the arena: at most twice what is needed is lost. */
static qn_status append(machine *m, value *to, value *const *items, size_t n)
{
    if (to->capacity - to->n_items < n) {
        const size_t capacity =
            to->n_items + n > 2 * to->capacity ? to->n_items + n : 2 * to->capacity;
        value **grown = qn_arena_alloc(m->arena, capacity, sizeof(value *));
        if (!grown) return fail_memory(m);
        if (to->n_items) memcpy(grown, to->items, to->n_items * sizeof(value *));
        to->items = grown;
        to->capacity = capacity;
    }
    if (n) memcpy(to->items + to->n_items, items, n * sizeof(value *));
    to->n_items += n;
    return QN_OK;
}

static qn_status push_tuple(machine *m, value *const *items, size_t n)
{
    value *t = qn_arena_alloc(m->arena, 1, sizeof *t);
    if (!t) return fail_memory(m);
    t->kind = QN_PICKLE_TUPLE;
    const qn_status status = append(m, t, items, n);
    return status ? status : push(m, t);
}

static qn_status short_tuple(machine *m, size_t n)
{
    if (m->n_stack < n) return fail_words(m, "takes a value from an empty stack");
    value *items[3];
    for (size_t i = 0; i < n; i++) {
        items[i] = m->stack[m->n_stack - n + i];
        if (!items[i]) return fail_words(m, "puts a mark in a tuple");
    }
    m->n_stack -= n;
    return push_tuple(m, items, n);
}

static qn_status append_to_top(machine *m, qn_pickle_kind kind, value *const *items, size_t n)
{
    value *to;
    const qn_status status = top(m, &to);
    if (status) return status;
    if (to->kind != kind)
        return fail_words(m, kind == QN_PICKLE_LIST ? "appends to what is no list"
                                                    : "sets an item of what is no dictionary");
    if (kind == QN_PICKLE_DICT && n % 2) return fail_words(m, "sets a key without a value");
    return append(m, to, items, n);
}

static qn_status append_last(machine *m, qn_pickle_kind kind, size_t n)
{
    value *items[2];
    qn_status status = QN_OK;
    for (size_t i = n; !status && i-- > 0;) status = pop(m, &items[i]);
    return status ? status : append_to_top(m, kind, items, n);
}

static qn_status append_marked(machine *m, qn_pickle_kind kind)
{
    value **items;
    size_t n;
    const qn_status status = pop_mark(m, &items, &n);
    return status ? status : append_to_top(m, kind, items, n);
}

/* ---- the memo --------------------------------------------------------------------------- */

/* The slot of that number, made if it was not there; NULL: no memory. */
static value **slot(machine *m, uint64_t index)
{
    while (m->n_memo <= index) {
        if (!grow(&m->memo, &m->memo_capacity, m->n_memo)) return NULL;
        m->memo[m->n_memo++] = NULL;
    }
    return m->memo ? &m->memo[index] : NULL;
}

static qn_status memorize(machine *m, uint64_t index)
{
    value *v;
    const qn_status status = top(m, &v);
    if (status) return status;
    /* every slot costs a byte of the pickle, so a table of its length is enough */
    if (index >= (uint64_t)(m->end - m->start))
        return fail_words(m, "numbers a value higher than it has bytes");
    value **at = slot(m, index);
    if (!at) return fail_memory(m);
    if (!*at) m->n_memorized++;
    *at = v;
    return QN_OK;
}

static qn_status recall(machine *m, uint64_t index)
{
    if (!m->memo || index >= m->n_memo || !m->memo[index])
        return fail_words(m, "asks for a value that it never stored");
    return push(m, m->memo[index]);
}

/* ---- globals and calls -------------------------------------------------------------------- */

static const qn_pickle_global *listed(const machine *m, qn_str module, qn_str name)
{
    for (const qn_pickle_global *g = m->globals; g->module; g++)
        if (qn_str_is(module, g->module) && qn_str_is(name, g->name)) return g;
    return NULL;
}

static qn_status push_global(machine *m, qn_str module, qn_str name)
{
    const qn_pickle_global *global = listed(m, module, name);
    if (!global)
        return qn_fail(m->err, QN_ERR_UNSUPPORTED,
                       "%s: its pickle names %.*s.%.*s, which is not touched (a file of tensors "
                       "does not need it)",
                       m->where, (int)(module.n < 100 ? module.n : 100), module.s,
                       (int)(name.n < 100 ? name.n : 100), name.s);
    return push_new(m, (value){.kind = QN_PICKLE_GLOBAL, .global = global});
}

static qn_status line_global(machine *m)
{
    qn_str module, name;
    qn_status status = take_line(m, &module);
    if (!status) status = take_line(m, &name);
    return status ? status : push_global(m, module, name);
}

static qn_status stack_global(machine *m)
{
    value *name, *module;
    qn_status status = pop(m, &name);
    if (!status) status = pop(m, &module);
    if (status) return status;
    if (name->kind != QN_PICKLE_TEXT || module->kind != QN_PICKLE_TEXT)
        return fail_words(m, "names a global by something that is not text");
    return push_global(m, module->text, name->text);
}

/* OrderedDict() or, from Python 2, OrderedDict([[key, value] ...]). */
static qn_status push_dictionary(machine *m, const value *arguments)
{
    value *dict = qn_arena_alloc(m->arena, 1, sizeof *dict);
    if (!dict) return fail_memory(m);
    dict->kind = QN_PICKLE_DICT;
    const value *pairs = arguments->n_items ? arguments->items[0] : NULL;
    if (arguments->n_items > 1 || (pairs && pairs->kind != QN_PICKLE_LIST))
        return fail_words(m, "makes a dictionary of something that is not a list");
    for (size_t i = 0; pairs && i < pairs->n_items; i++) {
        const value *pair = pairs->items[i];
        if ((pair->kind != QN_PICKLE_LIST && pair->kind != QN_PICKLE_TUPLE) || pair->n_items != 2)
            return fail_words(m, "makes a dictionary of something that is not pairs");
        const qn_status status = append(m, dict, pair->items, 2);
        if (status) return status;
    }
    return push(m, dict);
}

static qn_status call(machine *m)
{
    value *arguments, *callable;
    qn_status status = pop(m, &arguments);
    if (!status) status = pop(m, &callable);
    if (status) return status;
    if (callable->kind != QN_PICKLE_GLOBAL || arguments->kind != QN_PICKLE_TUPLE)
        return fail_words(m, "calls something that is not a function");
    if (callable->global->is_dictionary) return push_dictionary(m, arguments);
    return push_new(m, (value){.kind = QN_PICKLE_CALL,
                               .global = callable->global,
                               .items = arguments->items,
                               .n_items = arguments->n_items});
}

/* BUILD gives an object attributes.  A dictionary's (_metadata) say nothing
 * about tensors; no other object that we know has any. */
static qn_status build(machine *m)
{
    value *state, *object;
    qn_status status = pop(m, &state);
    if (!status) status = top(m, &object);
    if (status) return status;
    if (object->kind != QN_PICKLE_DICT)
        return qn_fail(m->err, QN_ERR_UNSUPPORTED,
                       "%s: its pickle sets the state of an object at byte %llu, which is not "
                       "followed",
                       m->where, place(m));
    return QN_OK;
}

static qn_status persistent(machine *m)
{
    qn_pickle *out = m->out;
    value *id;
    qn_status status = pop(m, &id);
    if (status) return status;
    if (id->kind != QN_PICKLE_TUPLE) return fail_words(m, "names a storage that is no tuple");
    status =
        push_new(m, (value){.kind = QN_PICKLE_STORAGE, .items = id->items, .n_items = id->n_items});
    if (status) return status;
    if (!grow(&out->storages, &out->capacity, out->n_storages)) return fail_memory(m);
    out->storages[out->n_storages++] = m->stack[m->n_stack - 1];
    return QN_OK;
}

/* ---- scalars ------------------------------------------------------------------------------ */

static qn_status push_int(machine *m, unsigned bytes, bool is_signed)
{
    uint64_t u;
    const qn_status status = take_number(m, bytes, &u);
    if (status) return status;
    const unsigned unused = 64 - 8 * bytes;
    const int64_t number = is_signed ? (int64_t)(u << unused) >> unused : (int64_t)u;
    return push_new(m, (value){.kind = QN_PICKLE_INT, .number = number});
}

static qn_status push_long(machine *m, unsigned size_bytes)
{
    uint64_t n;
    qn_str s = {0};
    qn_status status = take_number(m, size_bytes, &n);
    if (!status) status = take(m, n, &s);
    if (status) return status;
    if (n > 8) return push_new(m, (value){.kind = QN_PICKLE_LONG, .text = s});
    m->p -= n;
    return n ? push_int(m, (unsigned)n, true) : push_new(m, (value){.kind = QN_PICKLE_INT});
}

static bool is_utf8(qn_str s)
{
    unsigned cp;
    for (size_t used; s.n; s.s += used, s.n -= used)
        if (!(used = qn_utf8_decode(s.s, s.n, &cp))) return false;
    return true;
}

static qn_status push_text(machine *m, unsigned size_bytes, qn_pickle_kind kind)
{
    uint64_t n;
    qn_str s = {0};
    qn_status status = take_number(m, size_bytes, &n);
    if (!status) status = take(m, n, &s);
    if (status) return status;
    if (kind == QN_PICKLE_TEXT && !is_utf8(s)) return fail_words(m, "has text that is not UTF-8");
    return push_new(m, (value){.kind = kind, .text = s});
}

static qn_status skip(machine *m, unsigned n)
{
    qn_str unused;
    return take(m, n, &unused);
}

static qn_status push_float(machine *m)
{
    const qn_status status = skip(m, 8);
    return status ? status : push_new(m, (value){.kind = QN_PICKLE_FLOAT});
}

static qn_status protocol(machine *m)
{
    uint64_t n;
    const qn_status status = take_number(m, 1, &n);
    if (status) return status;
    if (n < 2 || n > 5)
        return qn_fail(m->err, QN_ERR_UNSUPPORTED,
                       "%s: its pickle has protocol %llu; 2 to 5 are read", m->where,
                       (unsigned long long)n);
    return QN_OK;
}

/* ---- opcodes ------------------------------------------------------------------------------ */

static qn_status memo_by(machine *m, unsigned bytes, qn_status (*act)(machine *, uint64_t))
{
    uint64_t index;
    const qn_status status = take_number(m, bytes, &index);
    return status ? status : act(m, index);
}

static qn_status stop(machine *m)
{
    const qn_status status = pop(m, &m->out->root);
    m->stopped = true;
    return status;
}

static qn_status duplicate(machine *m)
{
    value *v;
    const qn_status status = top(m, &v);
    return status ? status : push(m, v);
}

static qn_status drop(machine *m)
{
    if (!m->n_stack) return fail_words(m, "takes a value from an empty stack");
    m->n_stack--;
    return QN_OK;
}

static qn_status drop_marked(machine *m)
{
    value **items;
    size_t n;
    return pop_mark(m, &items, &n);
}

static qn_status marked_tuple(machine *m)
{
    value **items;
    size_t n;
    const qn_status status = pop_mark(m, &items, &n);
    return status ? status : push_tuple(m, items, n);
}

static qn_status step(machine *m, uint8_t opcode)
{
    switch (opcode) {
    case 0x80: return protocol(m);
    case 0x95: return skip(m, 8); /* FRAME: a hint for reading ahead */
    case '.': return stop(m);
    case '(': return push(m, NULL);
    case '0': return drop(m);
    case '1': return drop_marked(m);
    case '2': return duplicate(m);
    case 'N': return push_new(m, (value){.kind = QN_PICKLE_NONE});
    case 0x88: return push_new(m, (value){.kind = QN_PICKLE_BOOL, .number = 1});
    case 0x89: return push_new(m, (value){.kind = QN_PICKLE_BOOL});
    case 'J': return push_int(m, 4, true);
    case 'K': return push_int(m, 1, false);
    case 'M': return push_int(m, 2, false);
    case 0x8a: return push_long(m, 1);
    case 0x8b: return push_long(m, 4);
    case 'G': return push_float(m);
    case 'X': return push_text(m, 4, QN_PICKLE_TEXT);
    case 0x8c: return push_text(m, 1, QN_PICKLE_TEXT);
    case 0x8d: return push_text(m, 8, QN_PICKLE_TEXT);
    case 'U': return push_text(m, 1, QN_PICKLE_TEXT); /* Python 2's str */
    case 'T': return push_text(m, 4, QN_PICKLE_TEXT);
    case 'C': return push_text(m, 1, QN_PICKLE_BYTES);
    case 'B': return push_text(m, 4, QN_PICKLE_BYTES);
    case 0x8e: return push_text(m, 8, QN_PICKLE_BYTES);
    case ')': return push_new(m, (value){.kind = QN_PICKLE_TUPLE});
    case 't': return marked_tuple(m);
    case 0x85: return short_tuple(m, 1);
    case 0x86: return short_tuple(m, 2);
    case 0x87: return short_tuple(m, 3);
    case ']': return push_new(m, (value){.kind = QN_PICKLE_LIST});
    case 'a': return append_last(m, QN_PICKLE_LIST, 1);
    case 'e': return append_marked(m, QN_PICKLE_LIST);
    case '}': return push_new(m, (value){.kind = QN_PICKLE_DICT});
    case 's': return append_last(m, QN_PICKLE_DICT, 2);
    case 'u': return append_marked(m, QN_PICKLE_DICT);
    case 'q': return memo_by(m, 1, memorize);
    case 'r': return memo_by(m, 4, memorize);
    case 0x94: return memorize(m, m->n_memorized); /* MEMOIZE */
    case 'h': return memo_by(m, 1, recall);
    case 'j': return memo_by(m, 4, recall);
    case 'c': return line_global(m);
    case 0x93: return stack_global(m);
    case 'R':
    case 0x81: return call(m); /* NEWOBJ: a call by another name */
    case 'b': return build(m);
    case 'Q': return persistent(m);
    default: return fail_opcode(m, opcode);
    }
}

qn_status qn_pickle_parse(qn_pickle *out, qn_arena *arena, qn_str bytes,
                          const qn_pickle_global *globals, const char *where, qn_error *err)
{
    const uint8_t *p = (const uint8_t *)bytes.s;
    machine m = {.out = out,
                 .arena = arena,
                 .start = p,
                 .p = p,
                 .end = p + bytes.n,
                 .globals = globals,
                 .where = where,
                 .err = err};
    *out = (qn_pickle){0};
    qn_status status = QN_OK;
    while (!status && !m.stopped)
        status = m.p < m.end ? step(&m, *m.p++) : fail_words(&m, "ends without STOP");
    out->used = (size_t)(m.p - m.start);
    qn_free(m.stack);
    qn_free(m.memo);
    if (status) qn_pickle_free(out);
    return status;
}

void qn_pickle_free(qn_pickle *p)
{
    qn_free(p->storages);
    *p = (qn_pickle){0};
}

qn_pickle_value *qn_pickle_member(const qn_pickle_value *dict, const char *key)
{
    for (size_t i = dict->n_items; i >= 2; i -= 2)
        if (dict->items[i - 2]->kind == QN_PICKLE_TEXT && qn_str_is(dict->items[i - 2]->text, key))
            return dict->items[i - 1];
    return NULL;
}
