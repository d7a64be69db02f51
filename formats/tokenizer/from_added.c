/* Added tokens beside a tokenizer.model.  What is written follows the
 * reference converter: added_tokens.json, then tokenizer_config.json's
 * added_tokens_decoder over the model's pieces; for phi3 tokenizer.json's
 * added_tokens as well.  What is looked for in a text follows tokenizer.json
 * where there is one. */
#include <stdlib.h>

#include "formats/base/json.h"
#include "formats/tokenizer/pipeline.h"

typedef struct {
    qn_vocab *v;
    const char *dir;
    uint32_t *place; /* by id: place in v->added plus one */
} joining;

static qn_str content_of(const json_t *token)
{
    const json_t *content = json_is_string(token) ? token : json_object_get(token, "content");
    return qn_str_of(json_string_value(content), json_string_length(content));
}

static bool flag(const json_t *token, const char *key)
{
    return json_is_true(json_object_get(token, key));
}

qn_status qn_vocab_take_added(qn_vocab *v, const json_t *token, uint32_t id, qn_added *to,
                              qn_error *err)
{
    const qn_str text = qn_vocab_keep(v, content_of(token));
    if (!text.s) return qn_fail_memory(err, "the added tokens");
    *to = (qn_added){
        .id = id,
        .text = text,
        .special = flag(token, "special"),
        /* A special token is never hidden by what normalizing does to it. */
        .found = flag(token, "normalized") && !flag(token, "special") ? QN_FOUND_NORMALIZED
                                                                      : QN_FOUND_RAW,
        .lstrip = flag(token, "lstrip"),
        .rstrip = flag(token, "rstrip"),
        .single_word = flag(token, "single_word"),
    };
    return QN_OK;
}

static qn_status look_for(joining *j, const json_t *token, uint32_t id, qn_error *err)
{
    qn_vocab *v = j->v;
    if (!j->place[id]) j->place[id] = (uint32_t)++v->added_count;
    return qn_vocab_take_added(v, token, id, &v->added[j->place[id] - 1], err);
}

static qn_status bad_token(const joining *j, const char *file, const char *what, qn_error *err)
{
    return qn_fail(err, QN_ERR_DATA, "%s/%s: added token '%.64s' needs a whole id and a content",
                   j->dir, file, what);
}

/* ---- the three files -------------------------------------------------------------- */

static qn_status from_added_json(joining *j, const json_t *tokens, qn_error *err)
{
    json_t *all = (json_t *)(uintptr_t)tokens; /* jansson's iterators want it so */
    for (void *at = json_object_iter(all); at; at = json_object_iter_next(all, at)) {
        const qn_str text = qn_str_of(json_object_iter_key(at), json_object_iter_key_len(at));
        const json_t *id = json_object_iter_value(at);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || !text.n)
            return bad_token(j, "added_tokens.json", text.s, err);
        if ((uint64_t)json_integer_value(id) >= j->v->n) continue;
        const uint32_t i = (uint32_t)json_integer_value(id);
        qn_status status = qn_vocab_set(j->v, i, text, QN_PIECE_USER, QN_UNSCORED, err);
        json_t *token = status ? NULL : json_stringn(text.s, text.n);
        if (!status && !token) status = qn_fail_memory(err, "the added tokens");
        if (!status) status = look_for(j, token, i, err);
        json_decref(token);
        if (status) return status;
    }
    return QN_OK;
}

static qn_status set_decoded(joining *j, const json_t *token, uint32_t id, qn_error *err)
{
    qn_str text = content_of(token);
    const bool phi3 = qn_str_is(j->v->model_type, "phi3");
    const bool control = flag(token, "special") || (!phi3 && qn_vocab_looks_special(text));
    if (!control && !phi3) text = qn_vocab_spaces(j->v, text);
    if (!text.s) return qn_fail_memory(err, "the added tokens");
    return qn_vocab_set(j->v, id, text, control ? QN_PIECE_CONTROL : QN_PIECE_USER, QN_UNSCORED,
                        err);
}

static qn_status from_decoder(joining *j, const json_t *tokens, qn_error *err)
{
    const char *key;
    json_t *token;
    json_object_foreach((json_t *)(uintptr_t)tokens, key, token)
    {
        char *end;
        const unsigned long long id = strtoull(key, &end, 10);
        if (!key[0] || *end || content_of(token).n == 0)
            return bad_token(j, "tokenizer_config.json", key, err);
        if (id >= j->v->n) continue;
        qn_status status = set_decoded(j, token, (uint32_t)id, err);
        if (!status) status = look_for(j, token, (uint32_t)id, err);
        if (status) return status;
    }
    return QN_OK;
}

/* Only what tokenizer.json names is looked for; to it the model's user-defined
 * pieces are as others. */
static void forget_added(joining *j)
{
    qn_vocab *v = j->v;
    for (size_t i = 0; i < v->added_count; i++) {
        const qn_added *a = &v->added[i];
        j->place[a->id] = 0;
        if (a->found == QN_FOUND_OF_MODEL) v->types[a->id] = QN_PIECE_NORMAL;
    }
    v->added_count = 0;
}

static qn_status from_tokenizer(joining *j, const json_t *tokens, qn_error *err)
{
    size_t i;
    json_t *token;
    forget_added(j);
    json_array_foreach(tokens, i, token)
    {
        const json_t *id = json_object_get(token, "id");
        const qn_str text = content_of(token);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || text.n == 0)
            return bad_token(j, "tokenizer.json", text.n ? text.s : "", err);
        if ((uint64_t)json_integer_value(id) >= j->v->n) continue;
        const uint32_t at = (uint32_t)json_integer_value(id);
        qn_status status = QN_OK;
        if (!j->v->pieces[at].s || qn_str_is(j->v->model_type, "phi3"))
            status = set_decoded(j, token, at, err);
        if (!status) status = look_for(j, token, at, err);
        if (status) return status;
    }
    return QN_OK;
}

static qn_status join_pipeline(qn_vocab *v, const char *dir, const json_t *root, qn_error *err)
{
    qn_json_pipeline p;
    char *where = qn_path_join(dir, "tokenizer.json");
    if (!where) return qn_fail_memory(err, "a vocabulary");
    qn_status status = qn_json_pipeline_read(&p, root, where, err);
    if (!status && (p.byte_level || !p.marks_spaces))
        status = qn_fail(err, QN_ERR_UNSUPPORTED,
                         "%s: does another thing than the tokenizer.model beside it", where);
    if (!status) status = qn_json_pipeline_apply(&p, v, where, err);
    qn_free(where);
    return status;
}

qn_status qn_vocab_join_added(qn_vocab *v, const qn_vocab_files *files, const json_t *added,
                              qn_error *err)
{
    joining j = {v, files->dir, qn_alloc(v->n, sizeof *j.place)};
    if (!j.place) return qn_fail_memory(err, "the added tokens");
    for (size_t i = 0; i < v->added_count; i++) j.place[v->added[i].id] = (uint32_t)i + 1;
    const json_t *decoder = json_object_get(files->tokenizer_config, "added_tokens_decoder");
    qn_status status = QN_OK;
    if (added) status = from_added_json(&j, added, err);
    if (!status && json_is_object(decoder)) status = from_decoder(&j, decoder, err);
    if (!status && files->tokenizer)
        status = from_tokenizer(&j, json_object_get(files->tokenizer, "added_tokens"), err);
    if (!status && files->tokenizer) status = join_pipeline(v, files->dir, files->tokenizer, err);
    qn_free(j.place);
    return status;
}

/* ---- how many ids ------------------------------------------------------------------- */

static void raise_to(uint64_t *top, const json_t *id)
{
    if (json_is_integer(id) && json_integer_value(id) >= 0 &&
        (uint64_t)json_integer_value(id) >= *top)
        *top = (uint64_t)json_integer_value(id) + 1;
}

uint64_t qn_vocab_added_top(const qn_vocab_files *files, const json_t *added)
{
    uint64_t top = 0;
    const char *key;
    size_t i;
    json_t *token;
    json_object_foreach((json_t *)(uintptr_t)added, key, token) raise_to(&top, token);
    json_array_foreach(json_object_get(files->tokenizer, "added_tokens"), i, token)
        raise_to(&top, json_object_get(token, "id"));
    json_object_foreach(json_object_get(files->tokenizer_config, "added_tokens_decoder"), key,
                        token)
    {
        const unsigned long long id = strtoull(key, NULL, 10);
        if (id < UINT64_MAX && id >= top) top = id + 1;
    }
    return top;
}
