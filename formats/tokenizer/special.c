/* Special ids and the flags that say which are added, gathered from a
 * checkpoint's files by the reference converter's rules (gguf-py/gguf/vocab.py,
 * SpecialVocab): names in tokenizer_config.json looked up among the added
 * tokens come first, then the ids of config.json for what is still missing;
 * post_processor's template decides about BOS and EOS before
 * tokenizer_config's add_bos_token does. */
#include <stdio.h>
#include <string.h>

#include "formats/base/json.h"
#include "formats/tokenizer/vocab.h"

static const char *const names[QN_SPECIAL_COUNT] = {"bos", "eos",  "unk", "sep", "pad",
                                                    "cls", "mask", "eot", "eom"};

typedef struct {
    qn_vocab *v;
    const char *where;
    qn_str token[QN_SPECIAL_COUNT]; /* texts; n is 0 for none */
    bool looked_for[QN_SPECIAL_COUNT];
    bool configured; /* there is a tokenizer_config.json */
    bool by_name;    /* texts are looked up: among the added tokens of a tokenizer.json only */
} gathering;

static void set_add(qn_vocab *v, qn_add_kind kind, bool value, bool only_if_unset)
{
    if (v->add[kind] < 0)
        v->add_order[v->add_count++] = (uint8_t)kind;
    else if (only_if_unset)
        return;
    v->add[kind] = value;
}

static void set_special(qn_vocab *v, qn_special_kind kind, uint64_t id)
{
    for (size_t i = 0; i < v->special_count; i++)
        if (v->special_order[i] == kind) return;
    if (id >= v->n) return;
    v->special[kind] = (uint32_t)id;
    v->special_order[v->special_count++] = (uint8_t)kind;
}

static qn_str text_of(const json_t *value)
{
    if (json_is_object(value)) value = json_object_get(value, "content");
    if (!json_is_string(value)) return qn_str_of("", 0);
    return qn_str_of(json_string_value(value), json_string_length(value));
}

static const json_t *with_suffix(const json_t *o, const char *prefix, const char *name,
                                 const char *suffix)
{
    char key[32];
    const int n = snprintf(key, sizeof key, "%s%s%s", prefix, name, suffix);
    return n > 0 ? json_object_get(o, key) : NULL;
}

/* ---- post_processor ---------------------------------------------------------------- */

static qn_str special_id(const json_t *entry)
{
    return text_of(json_object_get(json_object_get(entry, "SpecialToken"), "id"));
}

static void take_first(gathering *g, qn_str first)
{
    qn_str *bos = &g->token[QN_SPECIAL_BOS], *cls = &g->token[QN_SPECIAL_CLS];
    if (!g->configured || !bos->n) *bos = first;
    if (!qn_str_equal(first, *bos) && !cls->n) *cls = first;
    set_add(g->v, QN_ADD_BOS, qn_str_equal(first, *bos) || qn_str_equal(first, *cls), false);
}

static void take_last(gathering *g, qn_str last)
{
    qn_str *eos = &g->token[QN_SPECIAL_EOS];
    if (g->configured && eos->n && !qn_str_equal(last, *eos)) {
        /* What was the end of the sequence becomes the end of a turn. */
        const qn_special_kind kind =
            g->looked_for[QN_SPECIAL_EOT] ? QN_SPECIAL_EOM : QN_SPECIAL_EOT;
        g->looked_for[kind] = true;
        g->token[kind] = *eos;
    }
    *eos = last;
    set_add(g->v, QN_ADD_EOS, true, false);
}

/* A <sep> B in the template for pairs: is the separator added? */
static void take_pair(gathering *g, const json_t *pair, bool first, bool last)
{
    size_t from = 0, to = json_array_size(pair);
    from += first && special_id(json_array_get(pair, 0)).n;
    to -= last && to > from && special_id(json_array_get(pair, to - 1)).n;
    bool adds = false;
    for (size_t i = from + 1; i + 1 < to; i++) {
        const qn_str id = special_id(json_array_get(pair, i));
        const bool separates = id.n && (qn_str_equal(id, g->token[QN_SPECIAL_SEP]) ||
                                        qn_str_equal(id, g->token[QN_SPECIAL_EOS]));
        if (separates && (i > from + 1 || !last)) adds = true;
    }
    if (to > from + 2) set_add(g->v, QN_ADD_SEP, adds, false);
}

static qn_status read_template(gathering *g, const json_t *processor, qn_error *err)
{
    const json_t *single = json_object_get(processor, "single");
    const size_t n = json_array_size(single);
    qn_str first = {"", 0}, last = {"", 0};
    size_t specials = 0;
    for (size_t i = 0; i < n; i++) specials += special_id(json_array_get(single, i)).n > 0;
    if (n > 1) {
        first = special_id(json_array_get(single, 0));
        last = special_id(json_array_get(single, n - 1));
    }
    if (specials > (size_t)(first.n > 0) + (last.n > 0))
        return qn_fail(err, QN_ERR_UNSUPPORTED,
                       "%s: post_processor adds %zu tokens; at most one before and one behind the "
                       "text are supported",
                       g->where, specials);
    if (first.n) take_first(g, first);
    if (last.n) take_last(g, last);
    take_pair(g, json_object_get(processor, "pair"), first.n > 0, last.n > 0);
    return QN_OK;
}

static qn_status read_post_processor(gathering *g, const json_t *post, qn_error *err)
{
    const json_t *list = json_object_get(post, "processors");
    const size_t n = list ? json_array_size(list) : (size_t)json_is_object(post);
    for (size_t i = 0; i < n; i++) {
        const json_t *processor = list ? json_array_get(list, i) : post;
        const char *type = json_string_value(json_object_get(processor, "type"));
        if (!type) continue;
        if (strcmp(type, "ByteLevel") == 0) {
            set_add(g->v, QN_ADD_BOS, false, true);
            set_add(g->v, QN_ADD_EOS, false, true);
        } else if (strcmp(type, "TemplateProcessing") == 0) {
            const qn_status status = read_template(g, processor, err);
            if (status) return status;
        } else {
            return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: post_processor '%s' is not supported",
                           g->where, type);
        }
    }
    return QN_OK;
}

/* ---- the files ---------------------------------------------------------------------- */

static void read_tokenizer_config(gathering *g, const json_t *config)
{
    static const int add_kind[] = {QN_ADD_BOS, QN_ADD_EOS, -1, QN_ADD_SEP};
    qn_vocab *v = g->v;
    for (size_t k = 0; k < QN_SPECIAL_COUNT; k++) {
        if (!g->looked_for[k]) continue;
        const json_t *add = with_suffix(config, "add_", names[k], "_token");
        if (k < sizeof add_kind / sizeof add_kind[0] && add_kind[k] >= 0 && json_is_boolean(add))
            set_add(v, (qn_add_kind)add_kind[k], json_is_true(add), true);
        for (size_t i = 0; g->by_name && g->token[k].n && i < v->added_count; i++) {
            if (!qn_str_equal(v->added[i].text, g->token[k])) continue;
            set_special(v, (qn_special_kind)k, v->added[i].id);
            break;
        }
    }
    /* As transformers 5 has it: not for BPE, where it would lose text. */
    const char *for_bpe = "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output";
    v->cleans_up = json_is_true(json_object_get(config, "clean_up_tokenization_spaces")) &&
                   (v->kind == QN_VOCAB_UNIGRAM || json_is_true(json_object_get(config, for_bpe)));
    const json_t *prefix = json_object_get(config, "add_prefix_space");
    if (json_is_boolean(prefix)) v->config_space_prefix = json_is_true(prefix);
}

static void read_config(gathering *g, const json_t *config)
{
    const json_t *text = json_object_get(config, "text_config");
    for (size_t k = 0; k < QN_SPECIAL_COUNT; k++) {
        if (!g->looked_for[k]) continue;
        const json_t *id = with_suffix(config, "", names[k], "_token_id");
        if (!id || json_is_null(id)) id = with_suffix(text, "", names[k], "_token_id");
        if (json_is_integer(id) && json_integer_value(id) >= 0)
            set_special(g->v, (qn_special_kind)k, (uint64_t)json_integer_value(id));
    }
}

static qn_status add_ends(qn_vocab *v, const json_t *config, qn_error *err)
{
    const json_t *ids = json_object_get(config, "eos_token_id");
    const size_t n = json_is_array(ids) ? json_array_size(ids) : 1;
    qn_status status = QN_OK;
    for (size_t i = 0; !status && i < n; i++) {
        const json_t *id = json_is_array(ids) ? json_array_get(ids, i) : ids;
        if (json_is_integer(id) && json_integer_value(id) >= 0)
            status = qn_vocab_add_end(v, (uint64_t)json_integer_value(id), err);
    }
    return status;
}

/* The end that tokenizer_config.json names, which need not be an added token. */
static qn_status add_named_end(qn_vocab *v, const json_t *config, qn_error *err)
{
    const qn_str name = text_of(json_object_get(config, "eos_token"));
    for (size_t i = 0; name.n && i < v->n; i++)
        if (qn_str_equal(v->pieces[i], name)) return qn_vocab_add_end(v, i, err);
    return QN_OK;
}

/* ---- Gemma 4 -------------------------------------------------------------------------- */

bool qn_vocab_is_gemma4(const qn_vocab *v)
{
    static const char begin[] = "gemma4";
    return v->kind == QN_VOCAB_CHAR_BPE && v->model_type.n >= sizeof begin - 1 &&
           !memcmp(v->model_type.s, begin, sizeof begin - 1);
}

static bool lists(const json_t *list, qn_str text)
{
    size_t i;
    const json_t *element;
    const char *key;
    json_array_foreach(list, i, element) if (qn_str_equal(text_of(element), text)) return true;
    json_object_foreach((json_t *)list, key,
                        element) if (qn_str_equal(text_of(element), text)) return true;
    return false;
}

/* "sot_token": "<|turn>" and the like, or in a list of further special tokens. */
static bool is_named(const json_t *config, qn_str text)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)config, key,
                        value) if (qn_str_ends(qn_str_z(key), "_token") &&
                                   qn_str_equal(text_of(value), text)) return true;
    return lists(json_object_get(config, "extra_special_tokens"), text) ||
           lists(json_object_get(config, "additional_special_tokens"), text);
}

/* The converter's types of added tokens: those that a chat's parser has to see
 * are user-defined, control those that tokenizer_config.json names, others
 * normal (conversion/gemma.py, Gemma4Model.set_vocab). */
static void set_gemma4_types(qn_vocab *v, const json_t *config)
{
    static const char *const visible[] = {"<|channel>",   "<channel|>",       "<|tool_call>",
                                          "<tool_call|>", "<|tool_response>", "<tool_response|>",
                                          "<|\"|>"};
    for (size_t i = 0; i < v->added_count; i++) {
        const qn_added *a = &v->added[i];
        uint8_t type = is_named(config, a->text) ? QN_PIECE_CONTROL : QN_PIECE_NORMAL;
        for (size_t j = 0; j < sizeof visible / sizeof *visible; j++)
            if (qn_str_is(a->text, visible[j])) type = QN_PIECE_USER;
        if (v->types[a->id] != QN_PIECE_BYTE) v->types[a->id] = type;
    }
}

/* The model's own ids, where no file named others: unigram models have them
 * at different places, so nobody can guess them. */
static void name_ids(qn_vocab *v)
{
    static const qn_special_kind kinds[] = {QN_SPECIAL_BOS, QN_SPECIAL_EOS, QN_SPECIAL_UNK,
                                            QN_SPECIAL_PAD};
    if (v->special[QN_SPECIAL_UNK] == QN_NO_ID) v->special[QN_SPECIAL_UNK] = v->unknown;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        set_special(v, kinds[i], v->special[kinds[i]]);
}

qn_status qn_vocab_read_specials(qn_vocab *v, const qn_vocab_files *files, qn_error *err)
{
    gathering g = {.v = v,
                   .where = files->dir,
                   .configured = files->tokenizer_config != NULL,
                   .by_name = files->tokenizer != NULL};
    for (size_t k = 0; k <= QN_SPECIAL_MASK; k++) g.looked_for[k] = true;
    for (size_t k = 0; k < QN_SPECIAL_COUNT; k++)
        g.token[k] = text_of(with_suffix(files->tokenizer_config, "", names[k], "_token"));
    qn_status status = QN_OK;
    if (files->tokenizer) {
        qn_str *bos = &g.token[QN_SPECIAL_BOS], *eos = &g.token[QN_SPECIAL_EOS];
        if (!bos->n) *bos = g.token[QN_SPECIAL_CLS];
        if (!eos->n) *eos = g.token[QN_SPECIAL_SEP];
        status = read_post_processor(&g, json_object_get(files->tokenizer, "post_processor"), err);
    }
    if (status) return status;
    if (files->tokenizer_config) read_tokenizer_config(&g, files->tokenizer_config);
    if (files->config) read_config(&g, files->config);
    v->adds_bos = v->add[QN_ADD_BOS] < 0 ? v->kind == QN_VOCAB_SPM : v->add[QN_ADD_BOS];
    if (v->kind == QN_VOCAB_UNIGRAM) name_ids(v);
    /* Unset means yes for GGUF's unigram models, and no to a tokenizer.json. */
    if (v->kind == QN_VOCAB_UNIGRAM && files->tokenizer) set_add(v, QN_ADD_EOS, false, true);
    v->adds_eos = v->add[QN_ADD_EOS] < 0 ? v->kind == QN_VOCAB_UNIGRAM : v->add[QN_ADD_EOS];
    if (qn_vocab_is_gemma4(v)) { /* whatever the files say; so do runtimes */
        v->adds_bos = true;
        set_gemma4_types(v, files->tokenizer_config);
    }
    for (int k = QN_SPECIAL_EOS; !status && k <= QN_SPECIAL_EOM; k++)
        if (k == QN_SPECIAL_EOS || k >= QN_SPECIAL_EOT)
            status = qn_vocab_add_end(v, v->special[k], err);
    if (!status) status = add_ends(v, files->config, err);
    if (!status) status = add_ends(v, files->generation_config, err);
    if (!status && !files->tokenizer) status = add_named_end(v, files->tokenizer_config, err);
    return status;
}
