#include "formats/tokenizer/json_file.h"

#include <string.h>

#include "formats/base/alloc.h"

struct qn_tokenizer_json {
    const char *where;
    json_t *rest;
    qn_json_piece *pieces; /* NULL: there are none */
    bool scored;           /* pieces come with scores */
    qn_json_merge *merges; /* NULL: no list */
    size_t n_pieces, pieces_capacity, n_merges, merges_capacity;
    qn_arena *arena; /* of strings that do not stand in the text as they are */
    qn_text scratch;
};

static qn_status no_memory(qn_error *err)
{
    return qn_fail_memory(err, "tokenizer.json");
}

static qn_status take_string(qn_tokenizer_json *t, qn_json_walk *w, qn_str *out, qn_error *err)
{
    const qn_status status = qn_json_walk_string(w, &t->scratch, out, err);
    if (status || out->s != t->scratch.s) return status;
    out->s = qn_arena_strndup(t->arena, out->s, out->n);
    return out->s ? QN_OK : no_memory(err);
}

/* ---- the vocabulary ------------------------------------------------------------------- */

static qn_status take_id(const qn_tokenizer_json *t, qn_json_walk *w, qn_json_piece *piece,
                         qn_error *err)
{
    json_t *value;
    if (qn_json_walk_whole(w, &piece->id)) return QN_OK;
    const qn_status status = qn_json_walk_value(w, SIZE_MAX, &value, err);
    if (status) return status;
    const bool whole = json_is_integer(value) && json_integer_value(value) >= 0;
    piece->id = whole ? json_integer_value(value) : 0;
    json_decref(value);
    if (whole) return QN_OK;
    return qn_fail(err, QN_ERR_DATA, "%s: the id of piece '%.*s' is no whole number", t->where,
                   piece->text.n < 64 ? (int)piece->text.n : 64, piece->text.s);
}

/* The next one, still to be counted; NULL: no memory.  The first call makes the
 * list exist. */
static qn_json_piece *new_piece(qn_tokenizer_json *t)
{
    if (!t->pieces || t->n_pieces == t->pieces_capacity) {
        const size_t capacity = qn_grow(t->pieces_capacity, t->n_pieces + 1024);
        qn_json_piece *grown = qn_resize(t->pieces, capacity, sizeof *grown);
        if (!grown) return NULL;
        t->pieces = grown;
        t->pieces_capacity = capacity;
    }
    t->pieces[t->n_pieces] = (qn_json_piece){0};
    return &t->pieces[t->n_pieces];
}

static qn_status read_pieces(qn_tokenizer_json *t, qn_json_walk *w, qn_error *err)
{
    bool more = false;
    qn_status status = qn_json_walk_enter(w, err);
    for (; !status; t->n_pieces++) {
        qn_json_piece *piece = new_piece(t);
        if (!piece) return no_memory(err);
        if ((status = qn_json_walk_member(w, &more, err)) || !more) break;
        if ((status = take_string(t, w, &piece->text, err)) ||
            (status = qn_json_walk_colon(w, err)) || (status = take_id(t, w, piece, err)))
            break;
    }
    return status;
}

static qn_status no_score(const qn_tokenizer_json *t, qn_error *err)
{
    return qn_fail(err, QN_ERR_DATA, "%s: entry %zu of the vocabulary is no piece with a score",
                   t->where, t->n_pieces);
}

static qn_status take_score(const qn_tokenizer_json *t, qn_json_walk *w, double *out, qn_error *err)
{
    json_t *value;
    bool more = false;
    qn_status status = qn_json_walk_item(w, &more, err);
    if (status) return status;
    if (!more) return no_score(t, err);
    status = qn_json_walk_value(w, SIZE_MAX, &value, err);
    if (status) return status;
    const bool number = json_is_number(value);
    *out = json_number_value(value);
    json_decref(value);
    return number ? QN_OK : no_score(t, err);
}

/* ["piece", score] */
static qn_status take_scored(qn_tokenizer_json *t, qn_json_walk *w, qn_json_piece *piece,
                             qn_error *err)
{
    bool more = false;
    if (qn_json_walk_kind(w) != '[') return no_score(t, err);
    qn_status status = qn_json_walk_enter_list(w, err);
    if (!status) status = qn_json_walk_item(w, &more, err);
    if (status) return status;
    if (!more || qn_json_walk_kind(w) != '"') return no_score(t, err);
    piece->id = (int64_t)t->n_pieces;
    status = take_string(t, w, &piece->text, err);
    if (!status) status = take_score(t, w, &piece->score, err);
    if (!status) status = qn_json_walk_item(w, &more, err);
    return status ? status : more ? no_score(t, err) : QN_OK;
}

static qn_status read_scored(qn_tokenizer_json *t, qn_json_walk *w, qn_error *err)
{
    bool more = false;
    qn_status status = qn_json_walk_enter_list(w, err);
    t->scored = true;
    for (; !status; t->n_pieces++) {
        qn_json_piece *piece = new_piece(t);
        if (!piece) return no_memory(err);
        if ((status = qn_json_walk_item(w, &more, err)) || !more) break;
        status = take_scored(t, w, piece, err);
    }
    return status;
}

/* ---- the merges ----------------------------------------------------------------------- */

static qn_status no_pair(const qn_tokenizer_json *t, qn_error *err)
{
    return qn_fail(err, QN_ERR_DATA, "%s: merge %zu is no pair of pieces", t->where, t->n_merges);
}

static qn_status take_half(qn_tokenizer_json *t, qn_json_walk *w, qn_str *out, qn_error *err)
{
    bool more = false;
    const qn_status status = qn_json_walk_item(w, &more, err);
    if (status) return status;
    if (!more || qn_json_walk_kind(w) != '"') return no_pair(t, err);
    return take_string(t, w, out, err);
}

/* ["left", "right"] */
static qn_status take_pair(qn_tokenizer_json *t, qn_json_walk *w, qn_json_merge *m, qn_error *err)
{
    bool more = false;
    qn_status status = qn_json_walk_enter_list(w, err);
    if (!status) status = take_half(t, w, &m->left, err);
    if (!status) status = take_half(t, w, &m->right, err);
    if (!status) status = qn_json_walk_item(w, &more, err);
    return status ? status : more ? no_pair(t, err) : QN_OK;
}

/* "left right" (older files; a part holds no space) */
static qn_status take_joined(qn_tokenizer_json *t, qn_json_walk *w, qn_json_merge *m, qn_error *err)
{
    qn_str both;
    const qn_status status = take_string(t, w, &both, err);
    if (status) return status;
    const char *space = memchr(both.s, ' ', both.n);
    if (!space) return no_pair(t, err);
    const size_t n = (size_t)(space - both.s);
    m->left = qn_str_of(both.s, n);
    m->right = qn_str_of(space + 1, both.n - n - 1);
    return QN_OK;
}

/* As new_piece. */
static qn_json_merge *new_merge(qn_tokenizer_json *t)
{
    if (t->n_merges == t->merges_capacity) {
        const size_t capacity = qn_grow(t->merges_capacity, t->n_merges + 1024);
        qn_json_merge *grown = qn_resize(t->merges, capacity, sizeof *grown);
        if (!grown) return NULL;
        t->merges = grown;
        t->merges_capacity = capacity;
    }
    return &t->merges[t->n_merges];
}

static qn_status read_merges(qn_tokenizer_json *t, qn_json_walk *w, qn_error *err)
{
    bool more = false;
    qn_status status = qn_json_walk_enter_list(w, err);
    for (; !status; t->n_merges++) {
        qn_json_merge *merge = new_merge(t);
        if (!merge) return no_memory(err);
        if ((status = qn_json_walk_item(w, &more, err)) || !more) break;
        switch (qn_json_walk_kind(w)) {
        case '[': status = take_pair(t, w, merge, err); break;
        case '"': status = take_joined(t, w, merge, err); break;
        default: return no_pair(t, err);
        }
    }
    return status;
}

/* ---- the rest ------------------------------------------------------------------------- */

static qn_status fail_twice(const qn_tokenizer_json *t, const char *key, qn_error *err)
{
    return qn_fail(err, QN_ERR_DATA, "%s: \"%s\" is there twice", t->where, key);
}

static qn_status take_rest(const qn_tokenizer_json *t, json_t *object, const char *key,
                           qn_json_walk *w, qn_error *err)
{
    json_t *value;
    const qn_status status = qn_json_walk_value(w, SIZE_MAX, &value, err);
    if (status) return status;
    if (json_object_get(object, key)) {
        json_decref(value);
        return fail_twice(t, key, err);
    }
    return json_object_set_new(object, key, value) ? no_memory(err) : QN_OK;
}

static qn_status read_model(qn_tokenizer_json *t, qn_json_walk *w, json_t *model, qn_text *key,
                            qn_error *err)
{
    bool more = false;
    qn_status status = qn_json_walk_enter(w, err);
    while (!status && !(status = qn_json_walk_key(w, key, &more, err)) && more) {
        const char kind = qn_json_walk_kind(w);
        if ((kind == '{' || kind == '[') && !strcmp(key->s, "vocab"))
            status = t->pieces     ? fail_twice(t, key->s, err)
                     : kind == '{' ? read_pieces(t, w, err)
                                   : read_scored(t, w, err);
        else if (kind == '[' && !strcmp(key->s, "merges"))
            status = t->merges ? fail_twice(t, key->s, err) : read_merges(t, w, err);
        else
            status = take_rest(t, model, key->s, w, err);
    }
    return status;
}

static qn_status read_members(qn_tokenizer_json *t, qn_json_walk *w, qn_text *key, qn_error *err)
{
    bool more = false;
    qn_status status = QN_OK;
    while (!status && !(status = qn_json_walk_key(w, key, &more, err)) && more) {
        json_t *model = NULL;
        if (strcmp(key->s, "model") != 0 || qn_json_walk_kind(w) != '{' ||
            json_object_get(t->rest, "model"))
            status = take_rest(t, t->rest, key->s, w, err);
        else if (!(model = json_object()) || json_object_set_new(t->rest, "model", model))
            status = no_memory(err);
        else
            status = read_model(t, w, model, key, err);
    }
    return status ? status : qn_json_walk_end(w, err);
}

qn_status qn_tokenizer_json_read(qn_tokenizer_json **out, const char *text, size_t n,
                                 const char *where, qn_error *err)
{
    qn_json_walk w;
    qn_text key = {0};
    qn_tokenizer_json *t = qn_alloc(1, sizeof *t);
    if (!t) return no_memory(err);
    t->where = where;
    t->rest = json_object();
    t->arena = qn_arena_new();
    qn_status status = t->rest && t->arena ? QN_OK : no_memory(err);
    if (!status) status = qn_json_walk_open(&w, text, n, where, err);
    if (!status) status = read_members(t, &w, &key, err);
    qn_text_free(&key);
    if (status)
        qn_tokenizer_json_free(t);
    else
        *out = t;
    return status;
}

void qn_tokenizer_json_free(qn_tokenizer_json *t)
{
    if (!t) return;
    json_decref(t->rest);
    qn_free(t->pieces);
    qn_free(t->merges);
    qn_arena_free(t->arena);
    qn_text_free(&t->scratch);
    qn_free(t);
}

const json_t *qn_tokenizer_json_rest(const qn_tokenizer_json *t)
{
    return t->rest;
}

const qn_json_piece *qn_tokenizer_json_pieces(const qn_tokenizer_json *t, size_t *n)
{
    *n = t->n_pieces;
    return t->pieces;
}

bool qn_tokenizer_json_has_scores(const qn_tokenizer_json *t)
{
    return t->scored;
}

const qn_json_merge *qn_tokenizer_json_merges(const qn_tokenizer_json *t, size_t *n)
{
    *n = t->n_merges;
    return t->merges;
}
