/* A vocabulary from GGUF as a checkpoint's files: tokenizer.json, beside it
 * tokenizer.model where there are scores, and tokenizer_config.json.
 *
 * What the reference converter would read of them in which order (special.c) is
 * taken care of, so that the keys come back as they were: ids that stand in
 * ascending order of kind are named in tokenizer_config.json, what follows them
 * comes from config.json. */
#include <stdio.h>
#include <stdlib.h>

#include "formats/base/json.h"
#include "formats/tokenizer/written.h"

static const char *const names[QN_SPECIAL_COUNT] = {"bos", "eos",  "unk", "sep", "pad",
                                                    "cls", "mask", "eot", "eom"};

static json_t *text_value(qn_str s)
{
    return json_stringn(s.s, s.n);
}

static int set(json_t *o, const char *before, const char *name, const char *behind, json_t *value)
{
    char key[40];
    snprintf(key, sizeof key, "%s%s%s", before, name, behind);
    return json_object_set_new(o, key, value);
}

/* ---- ids ------------------------------------------------------------------------------ */

bool qn_vocab_has_id(const qn_vocab *v, unsigned kind)
{
    const uint32_t id = v->special[kind];
    for (size_t i = 0; i < v->special_count; i++)
        if (v->special_order[i] == kind) return true;
    return !v->special_count && id != QN_NO_ID &&
           (v->types[id] == QN_PIECE_CONTROL || v->types[id] == QN_PIECE_UNKNOWN);
}

/* The ids that tokenizer_config.json names. */
static size_t named(const qn_vocab *v, uint8_t out[QN_SPECIAL_COUNT])
{
    size_t n = 0;
    for (; n < v->special_count && (!n || v->special_order[n] > v->special_order[n - 1]); n++)
        out[n] = v->special_order[n];
    for (unsigned kind = 0; kind <= QN_SPECIAL_MASK && !v->special_count; kind++)
        if (qn_vocab_has_id(v, kind)) out[n++] = (uint8_t)kind;
    return n;
}

static int name_tokens(const qn_vocab *v, json_t *o)
{
    uint8_t kinds[QN_SPECIAL_COUNT];
    const size_t n = named(v, kinds);
    int bad = 0;
    for (size_t i = 0; i < n; i++)
        bad |= set(o, "", names[kinds[i]], "_token", text_value(v->pieces[v->special[kinds[i]]]));
    return bad;
}

qn_status qn_vocab_config_ids(const qn_vocab *v, json_t *config, qn_error *err)
{
    int bad = 0;
    for (unsigned kind = 0; kind <= QN_SPECIAL_MASK; kind++)
        if (qn_vocab_has_id(v, kind))
            bad |= set(config, "", names[kind], "_token_id", json_integer(v->special[kind]));
    return bad ? qn_fail_memory(err, "config.json") : QN_OK;
}

/* ---- tokenizer_config.json --------------------------------------------------------------- */

/* A flag that is true shows in tokenizer.json's post_processor, and so does a
 * separator in front of what comes last. */
static int say_flags(const qn_vocab *v, json_t *o)
{
    static const char *const adds[QN_ADD_COUNT] = {"bos", "eos", "sep"};
    int bad = 0;
    for (unsigned kind = 0; kind < QN_ADD_COUNT; kind++)
        if (kind == QN_ADD_SEP ? v->add[kind] >= 0 && !qn_vocab_parts_pairs(v) : v->add[kind] == 0)
            bad |= set(o, "add_", adds[kind], "_token", json_boolean(v->add[kind]));
    if (v->config_space_prefix >= 0)
        bad |= json_object_set_new(o, "add_prefix_space", json_boolean(v->config_space_prefix));
    return bad;
}

/* Tokens beside tokenizer.model. */
static int list_added(const qn_vocab *v, json_t *o)
{
    char id[16];
    json_t *list = json_object();
    int bad = 0;
    for (size_t i = 0; i < v->added_count; i++) {
        const qn_added *a = &v->added[i];
        if (!qn_vocab_is_beside_model(v, a->id)) continue;
        snprintf(id, sizeof id, "%u", a->id);
        bad |= json_object_set_new(list, id,
                                   json_pack("{s:o,s:b,s:b,s:b,s:b,s:b}", "content",
                                             text_value(a->text), "lstrip", a->lstrip, "normalized",
                                             0, "rstrip", a->rstrip, "single_word", a->single_word,
                                             "special", a->special));
    }
    return bad | json_object_set_new(o, "added_tokens_decoder", list);
}

/* Gemma 4's control tokens are those that are named. */
static int list_control(const qn_vocab *v, json_t *o)
{
    json_t *list = json_array();
    int bad = 0;
    for (size_t i = 0; i < v->added_count; i++)
        if (v->types[v->added[i].id] == QN_PIECE_CONTROL)
            bad |= json_array_append_new(list, text_value(v->added[i].text));
    return bad | json_object_set_new(o, "additional_special_tokens", list);
}

static int give_templates(const qn_vocab *v, json_t *o)
{
    if (!v->template_count) return 0;
    if (v->template_count == 1 && qn_str_is(v->templates->name, "default"))
        return json_object_set_new(o, "chat_template", text_value(v->templates->text));
    json_t *list = json_array();
    int bad = 0;
    for (size_t i = 0; i < v->template_count; i++)
        bad |= json_array_append_new(list, json_pack("{s:o,s:o}", "name",
                                                     text_value(v->templates[i].name), "template",
                                                     text_value(v->templates[i].text)));
    return bad | json_object_set_new(o, "chat_template", list);
}

static qn_status make_config(const qn_vocab *v, qn_text *out, qn_error *err)
{
    const bool scored = v->kind == QN_VOCAB_SPM || v->kind == QN_VOCAB_UNIGRAM;
    json_t *o = json_object();
    int bad = say_flags(v, o);
    if (scored) bad |= list_added(v, o);
    if (v->kind == QN_VOCAB_CHAR_BPE) bad |= list_control(v, o);
    bad |= name_tokens(v, o) | give_templates(v, o);
    bad |= json_object_set_new(o, "clean_up_tokenization_spaces", json_false());
    /* The class that runs tokenizer.json as it is. */
    bad |= json_object_set_new(o, "tokenizer_class", json_string("PreTrainedTokenizerFast"));
    char *text = bad ? NULL : json_dumps(o, JSON_INDENT(2));
    json_decref(o);
    if (!text) return qn_fail_memory(err, "tokenizer_config.json");
    qn_text_adds(out, text);
    free(text); /* jansson's own */
    return out->failed ? qn_fail_memory(err, "tokenizer_config.json") : QN_OK;
}

/* ---- generation_config.json ---------------------------------------------------------------- */

qn_status qn_vocab_generation_ids(const qn_vocab *v, json_t *config, qn_error *err)
{
    const uint32_t bos = v->special[QN_SPECIAL_BOS], pad = v->special[QN_SPECIAL_PAD];
    int bad = 0;
    if (bos != QN_NO_ID) bad |= json_object_set_new(config, "bos_token_id", json_integer(bos));
    if (pad != QN_NO_ID) bad |= json_object_set_new(config, "pad_token_id", json_integer(pad));
    json_t *ends = json_array();
    for (size_t i = 0; i < v->end_count; i++)
        bad |= json_array_append_new(ends, json_integer(v->ends[i]));
    if (v->end_count == 1)
        bad |= json_object_set(config, "eos_token_id", json_array_get(ends, 0));
    else if (v->end_count)
        bad |= json_object_set(config, "eos_token_id", ends);
    json_decref(ends);
    return bad ? qn_fail_memory(err, "generation_config.json") : QN_OK;
}

/* ---- all ------------------------------------------------------------------------------------ */

typedef struct {
    const char *name;
    qn_text text;
} file;

qn_status qn_vocab_to_directory(const qn_vocab *v, const char *where, qn_vocab_put put, void *ctx,
                                qn_error *err)
{
    file files[] = {
        {.name = "tokenizer.json"}, {.name = "tokenizer_config.json"}, {.name = "tokenizer.model"}};
    const bool scored = v->kind == QN_VOCAB_SPM || v->kind == QN_VOCAB_UNIGRAM;
    const size_t n = 2 + scored;
    qn_status status = qn_vocab_to_json(v, where, &files[0].text, err);
    if (!status) status = make_config(v, &files[1].text, err);
    if (!status && scored) status = qn_vocab_to_spm(v, &files[2].text, err);
    for (size_t i = 0; i < n && put && !status; i++)
        status = put(ctx, files[i].name, qn_str_of(files[i].text.s, files[i].text.n), err);
    for (size_t i = 0; i < 3; i++) qn_text_free(&files[i].text);
    return status;
}
