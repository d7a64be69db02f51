#include "formats/base/yaml.h"

#include <string.h>
#include <yaml.h>

#include "formats/base/alloc.h"

enum { DEEPEST = 64, MOST_ANCHORS = 1024, MOST_BYTES = 64 << 20 };

/* What a value is with its aliases written out: a few of them can say gigabytes. */
typedef struct {
    size_t height; /* levels of objects and arrays */
    size_t bytes;  /* of scalars, and one for each */
} extent;

typedef struct {
    char *name;
    json_t *value;
    extent extent;
} anchor;

/* An object or array that is being filled. */
typedef struct {
    json_t *value;
    char *key;     /* of an object: what the next value belongs to; NULL: a key comes next */
    char *anchor;  /* or NULL */
    extent extent; /* of what is in it so far */
} frame;

typedef struct {
    yaml_parser_t parser;
    const char *where;
    frame frames[DEEPEST];
    size_t depth;
    anchor anchors[MOST_ANCHORS];
    size_t n_anchors;
    json_t *root; /* once the document is complete */
} builder;

static qn_status fail_at(const builder *b, const yaml_mark_t *mark, const char *what, qn_error *err)
{
    return qn_fail(err, QN_ERR_DATA, "%s: line %zu: %s", b->where, mark->line + 1, what);
}

/* ---- anchors ----------------------------------------------------------------------- */

static qn_status remember(builder *b, const char *name, json_t *value, extent has,
                          const yaml_mark_t *mark, qn_error *err)
{
    if (!name) return QN_OK;
    if (b->n_anchors == MOST_ANCHORS) return fail_at(b, mark, "too many anchors", err);
    anchor *a = &b->anchors[b->n_anchors];
    if (!(a->name = qn_strdup(name))) return qn_fail_memory(err, b->where);
    a->value = json_incref(value);
    a->extent = has;
    b->n_anchors++;
    return QN_OK;
}

/* A name may be given again: the last one counts. */
static const anchor *find_anchor(const builder *b, const char *name)
{
    for (size_t i = b->n_anchors; i-- > 0;)
        if (!strcmp(b->anchors[i].name, name)) return &b->anchors[i];
    return NULL;
}

/* ---- values ------------------------------------------------------------------------- */

/* A value of that extent at its place; takes it over. */
static qn_status place(builder *b, json_t *value, extent has, const yaml_mark_t *mark,
                       qn_error *err)
{
    if (!value) return qn_fail_memory(err, b->where);
    if (!b->depth) {
        b->root = value;
        return QN_OK;
    }
    frame *f = &b->frames[b->depth - 1];
    int failed = 0;
    if (b->depth + has.height > DEEPEST) {
        json_decref(value);
        return fail_at(b, mark, "nested too deeply", err);
    }
    if (has.bytes > MOST_BYTES - f->extent.bytes) {
        json_decref(value);
        return fail_at(b, mark, "aliases that stand for more than 64 MiB", err);
    }
    if (has.height > f->extent.height) f->extent.height = has.height;
    f->extent.bytes += has.bytes;
    if (json_is_array(f->value)) {
        failed = json_array_append_new(f->value, value);
    } else if (f->key) {
        failed = json_object_set_new(f->value, f->key, value);
        qn_free(f->key);
        f->key = NULL;
    } else {
        const char *key = json_string_value(value);
        f->key = key ? qn_strdup(key) : NULL;
        failed = key && !f->key;
        json_decref(value);
        if (!key) return fail_at(b, mark, "a key that is no word", err);
    }
    return failed ? qn_fail_memory(err, b->where) : QN_OK;
}

/* Plain words that YAML 1.1 takes for null. */
static bool is_null(const yaml_event_t *e)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    const qn_str text = {(const char *)e->data.scalar.value, e->data.scalar.length};
    if (e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) return false;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (qn_str_is(text, words[i])) return true;
    return false;
}

static qn_status add_scalar(builder *b, const yaml_event_t *e, qn_error *err)
{
    const char *text = (const char *)e->data.scalar.value;
    const size_t n = e->data.scalar.length;
    if (memchr(text, 0, n)) return fail_at(b, &e->start_mark, "a NUL character", err);
    const bool is_key =
        b->depth && json_is_object(b->frames[b->depth - 1].value) && !b->frames[b->depth - 1].key;
    const extent one = {.bytes = n + 1};
    json_t *value = is_null(e) && !is_key ? json_null() : json_stringn(text, n);
    qn_status status =
        value ? remember(b, (const char *)e->data.scalar.anchor, value, one, &e->start_mark, err)
              : QN_OK;
    if (status)
        json_decref(value);
    else
        status = place(b, value, one, &e->start_mark, err);
    return status;
}

static qn_status add_alias(builder *b, const yaml_event_t *e, qn_error *err)
{
    const anchor *a = find_anchor(b, (const char *)e->data.alias.anchor);
    if (!a) return fail_at(b, &e->start_mark, "an alias of nothing", err);
    return place(b, json_incref(a->value), a->extent, &e->start_mark, err);
}

static qn_status begin(builder *b, json_t *empty, const yaml_char_t *name, const yaml_event_t *e,
                       qn_error *err)
{
    if (!empty) return qn_fail_memory(err, b->where);
    if (b->depth == DEEPEST) {
        json_decref(empty);
        return fail_at(b, &e->start_mark, "nested too deeply", err);
    }
    frame *f = &b->frames[b->depth++];
    *f = (frame){.value = empty};
    if (name && !(f->anchor = qn_strdup((const char *)name))) return qn_fail_memory(err, b->where);
    return QN_OK;
}

static qn_status end(builder *b, const yaml_event_t *e, qn_error *err)
{
    frame f = b->frames[--b->depth];
    f.extent.height++;
    f.extent.bytes++;
    qn_status status = remember(b, f.anchor, f.value, f.extent, &e->start_mark, err);
    if (status)
        json_decref(f.value);
    else
        status = place(b, f.value, f.extent, &e->start_mark, err);
    qn_free(f.anchor);
    return status;
}

static qn_status take(builder *b, const yaml_event_t *e, qn_error *err)
{
    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
        return b->root ? fail_at(b, &e->start_mark, "a second document", err) : QN_OK;
    case YAML_SCALAR_EVENT: return add_scalar(b, e, err);
    case YAML_ALIAS_EVENT: return add_alias(b, e, err);
    case YAML_SEQUENCE_START_EVENT:
        return begin(b, json_array(), e->data.sequence_start.anchor, e, err);
    case YAML_MAPPING_START_EVENT:
        return begin(b, json_object(), e->data.mapping_start.anchor, e, err);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: return end(b, e, err);
    default: return QN_OK;
    }
}

static qn_status build(builder *b, qn_error *err)
{
    const yaml_parser_t *p = &b->parser;
    yaml_event_t event;
    bool more = true;
    qn_status status = QN_OK;
    while (more && !status) {
        if (!yaml_parser_parse(&b->parser, &event)) {
            if (p->error == YAML_MEMORY_ERROR) return qn_fail_memory(err, b->where);
            const yaml_mark_t offset = {.line = p->problem_mark.line};
            return fail_at(b, &offset, p->problem ? p->problem : "not YAML", err);
        }
        more = event.type != YAML_STREAM_END_EVENT;
        status = take(b, &event, err);
        yaml_event_delete(&event);
    }
    return status;
}

static void release(builder *b)
{
    for (size_t i = 0; i < b->depth; i++) {
        json_decref(b->frames[i].value);
        qn_free(b->frames[i].key);
        qn_free(b->frames[i].anchor);
    }
    for (size_t i = 0; i < b->n_anchors; i++) {
        json_decref(b->anchors[i].value);
        qn_free(b->anchors[i].name);
    }
    json_decref(b->root);
    yaml_parser_delete(&b->parser);
    qn_free(b);
}

qn_status qn_yaml_parse(qn_str text, const char *where, json_t **out, qn_error *err)
{
    builder *b = qn_alloc(1, sizeof *b);
    if (!b) return qn_fail_memory(err, where);
    b->where = where;
    if (!yaml_parser_initialize(&b->parser)) {
        qn_free(b);
        return qn_fail_memory(err, where);
    }
    yaml_parser_set_encoding(&b->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&b->parser, (const unsigned char *)text.s, text.n);
    const qn_status status = build(b, err);
    if (!status) {
        *out = b->root ? b->root : json_null();
        b->root = NULL;
    }
    release(b);
    return status;
}
