#include "formats/torch/pickle.h"

#include "formats/torch/pickle_machine.h"

typedef qn_pickle_value value;

/* ---- globals and calls -------------------------------------------------------------------- */

static const qn_pickle_global *listed(const qn_pickle_machine *m, qn_str module, qn_str name)
{
    for (const qn_pickle_global *g = m->globals; g->module; g++)
        if (qn_str_is(module, g->module) && qn_str_is(name, g->name)) return g;
    return NULL;
}

static qn_status push_global(qn_pickle_machine *m, qn_str module, qn_str name)
{
    const qn_pickle_global *global = listed(m, module, name);
    if (!global)
        return qn_fail(m->err, QN_ERR_UNSUPPORTED,
                       "%s: its pickle names %.*s.%.*s, which is not touched (a file of tensors "
                       "does not need it)",
                       m->where, (int)(module.n < 100 ? module.n : 100), module.s,
                       (int)(name.n < 100 ? name.n : 100), name.s);
    return qn_machine_push_new(m, (value){.kind = QN_PICKLE_GLOBAL, .global = global});
}

static qn_status line_global(qn_pickle_machine *m)
{
    qn_str module, name;
    qn_status status = qn_machine_take_line(m, &module);
    if (!status) status = qn_machine_take_line(m, &name);
    return status ? status : push_global(m, module, name);
}

static qn_status stack_global(qn_pickle_machine *m)
{
    value *name, *module;
    qn_status status = qn_machine_pop(m, &name);
    if (!status) status = qn_machine_pop(m, &module);
    if (status) return status;
    if (name->kind != QN_PICKLE_TEXT || module->kind != QN_PICKLE_TEXT)
        return qn_machine_fail_words(m, "names a global by something that is not text");
    return push_global(m, module->text, name->text);
}

/* OrderedDict() or, from Python 2, OrderedDict([[key, value] ...]). */
static qn_status push_dictionary(qn_pickle_machine *m, const value *arguments)
{
    value *dict;
    qn_status status = qn_machine_make(m, (value){.kind = QN_PICKLE_DICT}, &dict);
    if (status) return status;
    const value *pairs = arguments->n_items ? arguments->items[0] : NULL;
    if (arguments->n_items > 1 || (pairs && pairs->kind != QN_PICKLE_LIST))
        return qn_machine_fail_words(m, "makes a dictionary of something that is not a list");
    /* every pair was written once; a list that is copied again and again is a trap */
    m->n_copied += pairs ? pairs->n_items : 0;
    if (m->n_copied > (size_t)(m->end - m->start))
        return qn_machine_fail_words(m, "makes more dictionaries of lists than it has bytes");
    for (size_t i = 0; pairs && i < pairs->n_items; i++) {
        const value *pair = pairs->items[i];
        if ((pair->kind != QN_PICKLE_LIST && pair->kind != QN_PICKLE_TUPLE) || pair->n_items != 2)
            return qn_machine_fail_words(m, "makes a dictionary of something that is not pairs");
        if ((status = qn_machine_append(m, dict, pair->items, 2))) return status;
    }
    return qn_machine_push(m, dict);
}

static qn_status call(qn_pickle_machine *m)
{
    value *arguments, *callable;
    qn_status status = qn_machine_pop(m, &arguments);
    if (!status) status = qn_machine_pop(m, &callable);
    if (status) return status;
    if (callable->kind != QN_PICKLE_GLOBAL || arguments->kind != QN_PICKLE_TUPLE)
        return qn_machine_fail_words(m, "calls something that is not a function");
    if (callable->global->is_dictionary) return push_dictionary(m, arguments);
    return qn_machine_push_new(m, (value){.kind = QN_PICKLE_CALL,
                                          .global = callable->global,
                                          .items = arguments->items,
                                          .n_items = arguments->n_items});
}

/* BUILD gives an object attributes.  A dictionary's (_metadata) say nothing
 * about tensors; no other object that we know has any. */
static qn_status build(qn_pickle_machine *m)
{
    value *state, *object;
    qn_status status = qn_machine_pop(m, &state);
    if (!status) status = qn_machine_top(m, &object);
    if (status) return status;
    if (object->kind != QN_PICKLE_DICT)
        return qn_fail(m->err, QN_ERR_UNSUPPORTED,
                       "%s: its pickle sets the state of an object at byte %llu, which is not "
                       "followed",
                       m->where, qn_machine_place(m));
    return QN_OK;
}

static qn_status persistent(qn_pickle_machine *m)
{
    qn_pickle *out = m->out;
    value *id;
    qn_status status = qn_machine_pop(m, &id);
    if (status) return status;
    if (id->kind != QN_PICKLE_TUPLE)
        return qn_machine_fail_words(m, "names a storage that is no tuple");
    status = qn_machine_push_new(
        m, (value){.kind = QN_PICKLE_STORAGE, .items = id->items, .n_items = id->n_items});
    if (status) return status;
    if (!qn_machine_grow(&out->storages, &out->capacity, out->n_storages))
        return qn_machine_fail_memory(m);
    out->storages[out->n_storages++] = m->stack[m->n_stack - 1];
    return QN_OK;
}

/* ---- scalars ------------------------------------------------------------------------------ */

static qn_status push_int(qn_pickle_machine *m, unsigned bytes, bool is_signed)
{
    uint64_t u;
    const qn_status status = qn_machine_take_number(m, bytes, &u);
    if (status) return status;
    const unsigned unused = 64 - 8 * bytes;
    const int64_t number = is_signed ? (int64_t)(u << unused) >> unused : (int64_t)u;
    return qn_machine_push_new(m, (value){.kind = QN_PICKLE_INT, .number = number});
}

static qn_status push_long(qn_pickle_machine *m, unsigned size_bytes)
{
    uint64_t n;
    qn_str s = {0};
    qn_status status = qn_machine_take_number(m, size_bytes, &n);
    if (!status) status = qn_machine_take(m, n, &s);
    if (status) return status;
    if (n > 8) return qn_machine_push_new(m, (value){.kind = QN_PICKLE_LONG, .text = s});
    m->p -= n;
    return n ? push_int(m, (unsigned)n, true)
             : qn_machine_push_new(m, (value){.kind = QN_PICKLE_INT});
}

static qn_status push_text(qn_pickle_machine *m, unsigned size_bytes, qn_pickle_kind kind)
{
    uint64_t n;
    qn_str s = {0};
    qn_status status = qn_machine_take_number(m, size_bytes, &n);
    if (!status) status = qn_machine_take(m, n, &s);
    if (status) return status;
    if (kind == QN_PICKLE_TEXT && !qn_utf8_valid(s))
        return qn_machine_fail_words(m, "has text that is not UTF-8");
    return qn_machine_push_new(m, (value){.kind = kind, .text = s});
}

static qn_status skip(qn_pickle_machine *m, unsigned n)
{
    qn_str unused;
    return qn_machine_take(m, n, &unused);
}

static qn_status push_float(qn_pickle_machine *m)
{
    const qn_status status = skip(m, 8);
    return status ? status : qn_machine_push_new(m, (value){.kind = QN_PICKLE_FLOAT});
}

static qn_status protocol(qn_pickle_machine *m)
{
    uint64_t n;
    const qn_status status = qn_machine_take_number(m, 1, &n);
    if (status) return status;
    if (n < 2 || n > 5)
        return qn_fail(m->err, QN_ERR_UNSUPPORTED,
                       "%s: its pickle has protocol %llu; 2 to 5 are read", m->where,
                       (unsigned long long)n);
    return QN_OK;
}

/* ---- opcodes ------------------------------------------------------------------------------ */

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

static qn_status fail_opcode(const qn_pickle_machine *m, uint8_t opcode)
{
    for (size_t i = 0; i < sizeof opcodes / sizeof *opcodes; i++)
        if (opcodes[i].opcode == opcode)
            return qn_fail(m->err, QN_ERR_UNSUPPORTED,
                           "%s: its pickle uses opcode %s at byte %llu, which is not followed (a "
                           "file of tensors does not need it)",
                           m->where, opcodes[i].name, qn_machine_place(m) - 1);
    return qn_fail(m->err, QN_ERR_DATA, "%s: its pickle has no opcode 0x%02x (byte %llu)", m->where,
                   opcode, qn_machine_place(m) - 1);
}

static qn_status memo_by(qn_pickle_machine *m, unsigned bytes,
                         qn_status (*act)(qn_pickle_machine *, uint64_t))
{
    uint64_t index;
    const qn_status status = qn_machine_take_number(m, bytes, &index);
    return status ? status : act(m, index);
}

static qn_status stop(qn_pickle_machine *m)
{
    const qn_status status = qn_machine_pop(m, &m->out->root);
    m->stopped = true;
    return status;
}

static qn_status duplicate(qn_pickle_machine *m)
{
    value *v;
    const qn_status status = qn_machine_top(m, &v);
    return status ? status : qn_machine_push(m, v);
}

static qn_status drop(qn_pickle_machine *m)
{
    if (!m->n_stack) return qn_machine_fail_words(m, "takes a value from an empty stack");
    m->n_stack--;
    return QN_OK;
}

static qn_status drop_marked(qn_pickle_machine *m)
{
    value **items;
    size_t n;
    return qn_machine_pop_mark(m, &items, &n);
}

static qn_status marked_tuple(qn_pickle_machine *m)
{
    value **items;
    size_t n;
    const qn_status status = qn_machine_pop_mark(m, &items, &n);
    return status ? status : qn_machine_push_tuple(m, items, n);
}

static qn_status step(qn_pickle_machine *m, uint8_t opcode)
{
    switch (opcode) {
    case 0x80: return protocol(m);
    case 0x95: return skip(m, 8); /* FRAME: a hint for reading ahead */
    case '.': return stop(m);
    case '(': return qn_machine_push(m, NULL);
    case '0': return drop(m);
    case '1': return drop_marked(m);
    case '2': return duplicate(m);
    case 'N': return qn_machine_push_new(m, (value){.kind = QN_PICKLE_NONE});
    case 0x88: return qn_machine_push_new(m, (value){.kind = QN_PICKLE_BOOL, .number = 1});
    case 0x89: return qn_machine_push_new(m, (value){.kind = QN_PICKLE_BOOL});
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
    case ')': return qn_machine_push_new(m, (value){.kind = QN_PICKLE_TUPLE});
    case 't': return marked_tuple(m);
    case 0x85: return qn_machine_short_tuple(m, 1);
    case 0x86: return qn_machine_short_tuple(m, 2);
    case 0x87: return qn_machine_short_tuple(m, 3);
    case ']': return qn_machine_push_new(m, (value){.kind = QN_PICKLE_LIST});
    case 'a': return qn_machine_append_last(m, QN_PICKLE_LIST, 1);
    case 'e': return qn_machine_append_marked(m, QN_PICKLE_LIST);
    case '}': return qn_machine_push_new(m, (value){.kind = QN_PICKLE_DICT});
    case 's': return qn_machine_append_last(m, QN_PICKLE_DICT, 2);
    case 'u': return qn_machine_append_marked(m, QN_PICKLE_DICT);
    case 'q': return memo_by(m, 1, qn_machine_memorize);
    case 'r': return memo_by(m, 4, qn_machine_memorize);
    case 0x94: return qn_machine_memorize(m, m->n_memorized); /* MEMOIZE */
    case 'h': return memo_by(m, 1, qn_machine_recall);
    case 'j': return memo_by(m, 4, qn_machine_recall);
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
    qn_pickle_machine m = {.out = out,
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
        status = m.p < m.end ? step(&m, *m.p++) : qn_machine_fail_words(&m, "ends without STOP");
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
