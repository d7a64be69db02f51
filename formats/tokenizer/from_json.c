#include <string.h>

#include "formats/base/json.h"
#include "formats/base/names.h"
#include "formats/tokenizer/pipeline.h"

/* One reading of a tokenizer.json. */
typedef struct {
    const char *where;
    const json_t *model, *added; /* less the two lists */
    bool unigram, scored;
    const qn_json_piece *pieces;
    const qn_json_merge *merges;
    size_t n_pieces, n_merges;
    qn_json_pipeline pipeline;
    qn_vocab *v;
    qn_names *ids; /* piece -> id, of the model's vocabulary */
} reader;

static qn_str string_of(const json_t *s)
{
    return qn_str_of(json_string_value(s), json_string_length(s));
}

static int shown(qn_str s)
{
    return (int)qn_min_u64(s.n, 64);
}

static bool flag(const json_t *o, const char *key)
{
    return json_is_true(json_object_get(o, key));
}

/* ---- the model ----------------------------------------------------------------------- */

static bool is_set(const json_t *o, const char *key)
{
    const json_t *value = json_object_get(o, key);
    if (json_is_string(value)) return json_string_length(value) > 0;
    if (json_is_number(value)) return json_number_value(value) > 0;
    return json_is_true(value);
}

static qn_status check_model(const reader *r, qn_error *err)
{
    const char *type = json_string_value(json_object_get(r->model, "type"));
    if (type && strcmp(type, "BPE") != 0 && !r->unigram)
        return qn_fail(err, QN_ERR_UNSUPPORTED,
                       "%s: model '%s' is not supported, only BPE and Unigram", r->where, type);
    static const char *const foreign[] = {"dropout", "continuing_subword_prefix",
                                          "end_of_word_suffix"};
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++)
        if (is_set(r->model, foreign[i]))
            return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: model with %s is not supported", r->where,
                           foreign[i]);
    if (r->unigram && r->pipeline.byte_level)
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: ByteLevel before Unigram is not supported",
                       r->where);
    if (r->unigram && (!r->pieces || !r->scored))
        return qn_fail(err, QN_ERR_DATA, "%s: model needs a list 'vocab' of pieces with scores",
                       r->where);
    if (!r->unigram && (!r->pieces || r->scored || !r->merges))
        return qn_fail(err, QN_ERR_DATA, "%s: model needs an object 'vocab' and a list 'merges'",
                       r->where);
    return QN_OK;
}

/* The number of ids: one above the largest. */
static qn_status count_ids(const reader *r, uint64_t *out, qn_error *err)
{
    int64_t last = -1;
    size_t i;
    json_t *token;
    for (i = 0; i < r->n_pieces; i++)
        if (r->pieces[i].id > last) last = r->pieces[i].id;
    json_array_foreach(r->added, i, token)
    {
        const json_t *id = json_object_get(token, "id");
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            !json_is_string(json_object_get(token, "content")))
            return qn_fail(err, QN_ERR_DATA, "%s: added token %zu needs an 'id' and a 'content'",
                           r->where, i);
        if (json_integer_value(id) > last) last = json_integer_value(id);
    }
    *out = (uint64_t)last + 1;
    return QN_OK;
}

static qn_status read_pieces(reader *r, qn_error *err)
{
    r->ids = qn_names_new(r->n_pieces);
    if (!r->ids) return qn_fail_memory(err, "a vocabulary");
    const bool byte_fallback = flag(r->model, "byte_fallback");
    for (size_t i = 0; i < r->n_pieces; i++) {
        const uint32_t id = (uint32_t)r->pieces[i].id;
        const qn_str text = r->pieces[i].text;
        bool present;
        if (r->v->pieces[id].s)
            return qn_fail(err, QN_ERR_DATA, "%s: pieces '%.*s' and '%.*s' have the same id %u",
                           r->where, shown(r->v->pieces[id]), r->v->pieces[id].s, shown(text),
                           text.s, id);
        const bool byte = byte_fallback && qn_vocab_byte_of(text) >= 0;
        const qn_status status = qn_vocab_set(
            r->v, id, text, byte ? QN_PIECE_BYTE : QN_PIECE_NORMAL, (float)r->pieces[i].score, err);
        if (status) return status;
        if (qn_names_add(r->ids, r->v->pieces[id], id, &present))
            return qn_fail_memory(err, "a vocabulary");
        if (present)
            return qn_fail(err, QN_ERR_DATA, "%s: piece '%.*s' is there twice", r->where,
                           shown(text), text.s);
    }
    return QN_OK;
}

/* ---- merges --------------------------------------------------------------------------- */

static qn_status read_merges(reader *r, qn_error *err)
{
    qn_vocab *v = r->v;
    qn_text joined = {0};
    qn_status status = QN_OK;
    v->merges = qn_alloc(r->n_merges, sizeof *v->merges);
    if (!v->merges) return qn_fail_memory(err, "the merges");
    for (size_t i = 0; i < r->n_merges; i++) {
        const qn_str left = r->merges[i].left, right = r->merges[i].right;
        joined.n = 0;
        qn_text_add(&joined, left.s, left.n);
        qn_text_add(&joined, right.s, right.n);
        if (joined.failed) {
            status = qn_fail_memory(err, "the merges");
            break;
        }
        const qn_merge m = {qn_names_find(r->ids, left), qn_names_find(r->ids, right),
                            qn_names_find(r->ids, qn_str_of(joined.s, joined.n))};
        if (m.left == QN_NO_ID || m.right == QN_NO_ID || m.result == QN_NO_ID) {
            status = qn_fail(err, QN_ERR_DATA,
                             "%s: merge %zu ('%.*s' + '%.*s') names a piece that is not there",
                             r->where, i, shown(left), left.s, shown(right), right.s);
            break;
        }
        v->merges[v->merge_count++] = m;
    }
    qn_text_free(&joined);
    return status;
}

/* ---- added tokens --------------------------------------------------------------------- */

static qn_piece_type added_type(const qn_vocab *v, const json_t *token, uint32_t id)
{
    if (v->kind == QN_VOCAB_UNIGRAM && id == v->unknown) return QN_PIECE_UNKNOWN;
    const qn_str text = string_of(json_object_get(token, "content"));
    return flag(token, "special") || qn_vocab_looks_special(text) ? QN_PIECE_CONTROL
                                                                  : QN_PIECE_USER;
}

static qn_status read_added(reader *r, qn_error *err)
{
    qn_vocab *v = r->v;
    size_t i;
    json_t *token;
    v->added = qn_alloc(json_array_size(r->added), sizeof *v->added);
    if (!v->added) return qn_fail_memory(err, "the added tokens");
    json_array_foreach(r->added, i, token)
    {
        const uint32_t id = (uint32_t)json_integer_value(json_object_get(token, "id"));
        const qn_str text = string_of(json_object_get(token, "content"));
        const qn_str there = v->pieces[id];
        const uint32_t in_model = qn_names_find(r->ids, text);
        if ((there.s && !qn_str_equal(there, text)) || (in_model != QN_NO_ID && in_model != id))
            return qn_fail(err, QN_ERR_DATA,
                           "%s: added token '%.*s' has id %u, the vocabulary has '%.*s' there",
                           r->where, shown(text), text.s, id, shown(there), there.s);
        if (text.n == 0)
            return qn_fail(err, QN_ERR_DATA, "%s: added token %u is empty", r->where, id);
        qn_status status = qn_vocab_set(v, id, text, added_type(v, token, id), QN_UNSCORED, err);
        if (!status) status = qn_vocab_take_added(v, token, id, &v->added[v->added_count++], err);
        if (status) return status;
    }
    return QN_OK;
}

/* ---- the whole ------------------------------------------------------------------------ */

static qn_status choose_pre(reader *r, const char *pre, qn_error *err)
{
    const qn_json_pipeline *p = &r->pipeline;
    qn_vocab *v = r->v;
    if (v->kind != QN_VOCAB_BYTE_BPE) {
        if (p->pattern_count)
            return qn_fail(err, QN_ERR_UNSUPPORTED,
                           "%s: a pre_tokenizer pattern without ByteLevel is not supported",
                           r->where);
        return QN_OK;
    }
    v->pre = pre ? qn_pre_by_name(qn_str_z(pre))
                 : qn_pre_by_patterns(p->patterns, p->pattern_count, v->ignore_merges);
    if (v->pre) return QN_OK;
    if (pre) return qn_fail(err, QN_ERR_ARGUMENT, "--pre %s: no such pre-tokenizer", pre);
    const qn_str first = p->pattern_count ? p->patterns[0] : qn_str_of("(none)", 6);
    return qn_fail(err, QN_ERR_UNSUPPORTED,
                   "%s: unknown pre_tokenizer pattern '%.*s'; name one that splits alike with "
                   "--pre NAME",
                   r->where, (int)qn_min_u64(first.n, 300), first.s);
}

static qn_status read_unknown_id(reader *r, qn_error *err)
{
    uint64_t id = 0;
    bool found = false;
    const qn_status status = qn_json_u64(r->model, "unk_id", r->where, &id, &found, err);
    if (status || !found) return status;
    if (id >= r->n_pieces)
        return qn_fail(err, QN_ERR_DATA, "%s: unk_id is %llu, the vocabulary has %zu pieces",
                       r->where, (unsigned long long)id, r->n_pieces);
    r->v->unknown = (uint32_t)id;
    r->v->types[id] = QN_PIECE_UNKNOWN;
    return QN_OK;
}

static qn_status read_unknown(reader *r, qn_error *err)
{
    if (r->unigram) return read_unknown_id(r, err);
    const json_t *unknown = json_object_get(r->model, "unk_token");
    if (!json_is_string(unknown)) return QN_OK;
    const uint32_t id = qn_names_find(r->ids, string_of(unknown));
    if (id == QN_NO_ID)
        return qn_fail(err, QN_ERR_DATA, "%s: unk_token '%.64s' is not in the vocabulary", r->where,
                       json_string_value(unknown));
    r->v->unknown = id;
    return QN_OK;
}

static qn_status build(reader *r, uint64_t size, const char *pre, qn_error *err)
{
    uint64_t ids = 0;
    qn_status status = count_ids(r, &ids, err);
    if (status) return status;
    if (size && ids > size)
        return qn_fail(err, QN_ERR_DATA, "%s: ids up to %llu, but vocab_size is %llu", r->where,
                       (unsigned long long)(ids - 1), (unsigned long long)size);
    const qn_vocab_kind kind = r->unigram               ? QN_VOCAB_UNIGRAM
                               : r->pipeline.byte_level ? QN_VOCAB_BYTE_BPE
                                                        : QN_VOCAB_CHAR_BPE;
    status = qn_vocab_new(&r->v, kind, size ? size : ids, r->where, err);
    if (status) return status;
    r->v->ignore_merges = flag(r->model, "ignore_merges");
    r->v->fuse_unknown = r->unigram || flag(r->model, "fuse_unk");
    if ((status = qn_json_pipeline_apply(&r->pipeline, r->v, r->where, err)) ||
        (status = choose_pre(r, pre, err)) || (status = read_pieces(r, err)) ||
        (r->merges && (status = read_merges(r, err))) || (status = read_unknown(r, err)) ||
        (status = read_added(r, err)))
        return status;
    return qn_vocab_finish(r->v, r->where, err);
}

static qn_status begin(reader *r, const qn_tokenizer_json *file, const char *where, qn_error *err)
{
    const json_t *root = qn_tokenizer_json_rest(file);
    r->where = where;
    r->pieces = qn_tokenizer_json_pieces(file, &r->n_pieces);
    r->scored = qn_tokenizer_json_has_scores(file);
    r->merges = qn_tokenizer_json_merges(file, &r->n_merges);
    r->model = json_object_get(root, "model");
    r->added = json_object_get(root, "added_tokens");
    if (!json_is_object(r->model))
        return qn_fail(err, QN_ERR_DATA, "%s: there is no object 'model'", where);
    const char *type = json_string_value(json_object_get(r->model, "type"));
    r->unigram = type && strcmp(type, "Unigram") == 0;
    return qn_json_pipeline_read(&r->pipeline, root, where, err);
}

qn_status qn_vocab_from_json(qn_vocab **out, const qn_tokenizer_json *file, const char *where,
                             uint64_t size, const char *pre, qn_error *err)
{
    reader r = {0};
    qn_status status = begin(&r, file, where, err);
    if (!status) status = check_model(&r, err);
    if (!status) status = build(&r, size, pre, err);
    qn_names_free(r.ids);
    if (status) {
        qn_vocab_free(r.v);
        return status;
    }
    *out = r.v;
    return QN_OK;
}
