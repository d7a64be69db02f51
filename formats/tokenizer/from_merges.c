/* vocab.json and merges.txt without a tokenizer.json (GPT-2, older Qwen): the
 * tokenizer.json that transformers makes of them (models/gpt2 and models/qwen2,
 * tokenization_*.py).  The files say nothing of how a text is split: the class
 * does, or --pre. */
#include <stdlib.h>
#include <string.h>

#include "formats/base/names.h"
#include "formats/tokenizer/from_merges.h"

enum { LARGEST_FILE = 1 << 28 };

/* By tokenizer_config.json's class, else by config.json's model_type. */
static const struct {
    const char *name, *pre;
} known[] = {
    {"GPT2Tokenizer", "gpt-2"},
    {"GPT2TokenizerFast", "gpt-2"},
    {"gpt2", "gpt-2"},
    {"Qwen2Tokenizer", "qwen2"},
    {"Qwen2TokenizerFast", "qwen2"},
    {"qwen2", "qwen2"},
    {"qwen2_moe", "qwen2"},
    {"qwen3", "qwen2"},
    {"qwen3_moe", "qwen2"},
};

/* Both classes' own, where the vocabulary has it. */
static const char end_of_text[] = "<|endoftext|>";

typedef struct {
    const qn_vocab_files *files;
    const char *where; /* of vocab.json */
    char *vocab, *merges;
    size_t vocab_bytes, merges_bytes;
    json_t *added;    /* id in digits -> an entry as added_tokens_decoder has it */
    json_t *specials; /* texts, in order */
    qn_names *added_names, *special_names; /* of these two */
    qn_names *names;                       /* of vocab.json */
    uint64_t next;                         /* free id */
    const qn_json_piece *pieces;
    size_t n_pieces;
} reading;

static qn_status no_memory(qn_error *err)
{
    return qn_fail_memory(err, "a vocabulary");
}

static const char *text_of(const json_t *token)
{
    return json_string_value(json_is_object(token) ? json_object_get(token, "content") : token);
}

/* ---- which tokens are special ---------------------------------------------------------- */

static bool is_in(const qn_names *names, const char *text)
{
    return qn_names_find(names, qn_str_z(text)) != QN_NO_ID;
}

static int add_special(const reading *r, const json_t *token)
{
    const char *text = text_of(token);
    if (!text || !*text || is_in(r->special_names, text)) return 0;
    json_t *kept = json_string(text);
    return json_array_append_new(r->specials, kept) ||
           qn_names_add(r->special_names, qn_str_z(json_string_value(kept)), 0, NULL);
}

/* "bos_token" and so on of tokenizer_config.json or special_tokens_map.json. */
static int add_specials(const reading *r, const json_t *file)
{
    static const char *const keys[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                       "pad_token", "cls_token", "mask_token"};
    static const char *const lists[] = {"additional_special_tokens", "extra_special_tokens"};
    int bad = 0;
    size_t i;
    json_t *token;
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
        bad |= add_special(r, json_object_get(file, keys[k]));
    for (size_t k = 0; k < sizeof lists / sizeof *lists; k++)
        json_array_foreach(json_object_get(file, lists[k]), i, token) bad |= add_special(r, token);
    return bad;
}

static qn_status load(const char *dir, const char *name, json_t **out, qn_error *err)
{
    char *path = qn_path_join(dir, name);
    if (!path) return no_memory(err);
    const qn_status status =
        qn_path_exists(path) ? qn_json_load(path, LARGEST_FILE, out, err) : QN_OK;
    qn_free(path);
    return status;
}

static qn_status find_specials(const reading *r, qn_error *err)
{
    json_t *map = NULL, *end = json_string(end_of_text);
    const qn_status status = load(r->files->dir, "special_tokens_map.json", &map, err);
    int bad = status ? 0 : add_specials(r, r->files->tokenizer_config) | add_specials(r, map);
    if (!status && qn_names_find(r->names, qn_str_z(end_of_text)) != QN_NO_ID)
        bad |= add_special(r, end);
    json_decref(map);
    json_decref(end);
    return status ? status : bad ? no_memory(err) : QN_OK;
}

/* ---- added tokens -------------------------------------------------------------------- */

static int add_token(reading *r, uint64_t id, json_t *token)
{
    if (id >= r->next) r->next = id + 1;
    char key[24];
    snprintf(key, sizeof key, "%llu", (unsigned long long)id);
    return json_object_set_new(r->added, key, token) ||
           qn_names_add(r->added_names, qn_str_z(text_of(token)), 0, NULL);
}

static json_t *plain_token(const reading *r, const char *text)
{
    const int special = is_in(r->special_names, text);
    return json_pack("{s:s,s:b,s:b,s:b,s:b,s:b}", "content", text, "single_word", 0, "lstrip", 0,
                     "rstrip", 0, "normalized", !special, "special", special);
}

/* {"text": id} of added_tokens.json. */
static qn_status add_listed(reading *r, qn_error *err)
{
    json_t *listed = NULL, *id;
    const char *text;
    int bad = 0;
    qn_status status = load(r->files->dir, "added_tokens.json", &listed, err);
    json_object_foreach(listed, text, id)
    {
        if (!status && (!json_is_integer(id) || json_integer_value(id) < 0))
            status = qn_fail(err, QN_ERR_DATA,
                             "%s/added_tokens.json: '%.64s' has no whole number for an id",
                             r->files->dir, text);
        if (!status && !is_in(r->added_names, text))
            bad |= add_token(r, (uint64_t)json_integer_value(id), plain_token(r, text));
    }
    json_decref(listed);
    return status ? status : bad ? no_memory(err) : QN_OK;
}

static qn_status find_added(reading *r, qn_error *err)
{
    const char *key;
    size_t i;
    json_t *token;
    int bad = 0;
    json_object_foreach(json_object_get(r->files->tokenizer_config, "added_tokens_decoder"), key,
                        token)
    {
        char *end;
        const unsigned long long id = strtoull(key, &end, 10);
        if (end == key || *end || !text_of(token))
            return qn_fail(err, QN_ERR_DATA,
                           "%s/tokenizer_config.json: added token '%.64s' needs a whole id and a "
                           "content",
                           r->files->dir, key);
        bad |= add_token(r, id, json_incref(token));
    }
    qn_status status = bad ? no_memory(err) : add_listed(r, err);
    json_array_foreach(r->specials, i, token)
    {
        const char *text = json_string_value(token);
        if (status || is_in(r->added_names, text)) continue;
        const uint32_t id = qn_names_find(r->names, qn_str_z(text));
        bad |= add_token(r, id == QN_NO_ID ? r->next : id, plain_token(r, text));
    }
    return status ? status : bad ? no_memory(err) : QN_OK;
}

/* ---- the text ------------------------------------------------------------------------------ */

static qn_status choose_pre(const reading *r, const char *pre, const qn_pre **out, qn_error *err)
{
    const char *class =
        json_string_value(json_object_get(r->files->tokenizer_config, "tokenizer_class"));
    const char *type = json_string_value(json_object_get(r->files->config, "model_type"));
    for (size_t i = 0; i < 2 * sizeof known / sizeof *known && !pre; i++) {
        const size_t row = i % (sizeof known / sizeof *known);
        const char *name = i == row ? class : type;
        if (name && !strcmp(name, known[row].name)) pre = known[row].pre;
    }
    *out = pre ? qn_pre_by_name(qn_str_z(pre)) : NULL;
    if (*out) return QN_OK;
    if (pre) return qn_fail(err, QN_ERR_ARGUMENT, "--pre %s: no such pre-tokenizer", pre);
    return qn_fail(
        err, QN_ERR_UNSUPPORTED,
        "%s: without a tokenizer.json only the class says how a text is split, and %s is "
        "not known; name a pre-tokenizer that splits alike with --pre NAME",
        r->where,
        class  ? class
        : type ? type
               : "none is named");
}

static void put_added(const reading *r, qn_text *out)
{
    const char *key, *before = "";
    json_t *token;
    qn_text_adds(out, "\"added_tokens\":[");
    json_object_foreach(r->added, key, token)
    {
        char *text = json_dumps(token, JSON_COMPACT);
        qn_text_addf(out, "%s{\"id\":%s,", before, key);
        if (json_is_object(token) && text)
            qn_text_adds(out, text + 1);
        else
            out->failed = true;
        free(text); /* jansson's own */
        before = ",";
    }
    qn_text_adds(out, "],");
}

static void put_steps(const qn_pre *pre, qn_text *out)
{
    qn_text_addf(out,
                 "\"normalizer\":%s,\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[",
                 pre->nfc ? "{\"type\":\"NFC\"}" : "null");
    for (size_t i = 0; i < QN_PRE_STEPS && pre->patterns[i]; i++) {
        qn_text_adds(out, "{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":");
        qn_json_add_string(out, qn_str_z(pre->patterns[i]));
        qn_text_adds(out, "}},");
    }
    qn_text_adds(out, "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]},"
                      "\"decoder\":{\"type\":\"ByteLevel\"},");
}

/* A line a merge, behind one that tells the version. */
static void put_merges(qn_str text, qn_text *out)
{
    const char *before = "";
    while (text.n) {
        const char *end = memchr(text.s, '\n', text.n);
        const size_t n = end ? (size_t)(end - text.s) : text.n;
        qn_str line = qn_str_of(text.s, n);
        text = qn_str_of(text.s + n + (end != NULL), text.n - n - (end != NULL));
        if (line.n && line.s[line.n - 1] == '\r') line.n--;
        if (!line.n || qn_str_starts(line, "#version")) continue;
        qn_text_adds(out, before);
        qn_json_add_string(out, line);
        before = ",";
    }
}

/* vocab.json stands in front: faults in it have their own lines. */
static qn_status write_text(const reading *r, const char *pre_name, qn_text *out, qn_error *err)
{
    const qn_pre *pre;
    const qn_status status = choose_pre(r, pre_name, &pre, err);
    if (status) return status;
    qn_text_adds(out, "{\"model\":{\"vocab\":");
    qn_text_add(out, r->vocab, r->vocab_bytes);
    qn_text_addf(out, ",\"type\":\"BPE\",\"ignore_merges\":%s,\"merges\":[",
                 pre->ignore_merges ? "true" : "false");
    put_merges(qn_str_of(r->merges, r->merges_bytes), out);
    qn_text_adds(out, "]},");
    put_steps(pre, out);
    put_added(r, out);
    qn_text_adds(out, "\"version\":\"1.0\"}");
    return out->failed ? no_memory(err) : QN_OK;
}

/* ---- the whole ---------------------------------------------------------------------------- */

static qn_status read_files(reading *r, const char *vocab, const char *merges, qn_error *err)
{
    qn_status status = qn_read_file(vocab, LARGEST_FILE, &r->vocab, &r->vocab_bytes, err);
    if (!status) status = qn_read_file(merges, LARGEST_FILE, &r->merges, &r->merges_bytes, err);
    if (!status && !qn_utf8_valid(qn_str_of(r->merges, r->merges_bytes)))
        status = qn_fail(err, QN_ERR_DATA, "%s: not UTF-8", merges);
    return status;
}

/* The pieces of vocab.json, by themselves. */
static qn_status name_pieces(reading *r, qn_tokenizer_json **file, qn_text *text, qn_error *err)
{
    qn_text_adds(text, "{\"model\":{\"vocab\":");
    qn_text_add(text, r->vocab, r->vocab_bytes);
    qn_text_adds(text, "}}");
    if (text->failed) return no_memory(err);
    const qn_status status = qn_tokenizer_json_read(file, text->s, text->n, r->where, err);
    if (status) return status;
    r->pieces = qn_tokenizer_json_pieces(*file, &r->n_pieces);
    if (!r->pieces || qn_tokenizer_json_has_scores(*file))
        return qn_fail(err, QN_ERR_DATA, "%s: not an object of pieces and ids", r->where);
    r->names = qn_names_new(r->n_pieces);
    if (!r->names) return no_memory(err);
    for (size_t i = 0; i < r->n_pieces; i++) {
        if (r->pieces[i].id >= (int64_t)r->next) r->next = (uint64_t)r->pieces[i].id + 1;
        if (qn_names_add(r->names, r->pieces[i].text, (uint32_t)i, NULL)) return no_memory(err);
    }
    return QN_OK;
}

static qn_status make(reading *r, const char *pre, qn_text *out, qn_error *err)
{
    qn_tokenizer_json *file = NULL;
    qn_text text = {0};
    qn_status status = name_pieces(r, &file, &text, err);
    if (!status) status = find_specials(r, err);
    if (!status) status = find_added(r, err);
    if (!status) status = write_text(r, pre, out, err);
    qn_tokenizer_json_free(file);
    qn_text_free(&text);
    return status;
}

qn_status qn_merges_to_json(const qn_vocab_files *files, const char *pre, qn_text *out, bool *there,
                            qn_error *err)
{
    char *vocab = qn_path_join(files->dir, "vocab.json");
    char *merges = qn_path_join(files->dir, "merges.txt");
    reading r = {.files = files,
                 .where = vocab,
                 .added = json_object(),
                 .specials = json_array(),
                 .added_names = qn_names_new(0),
                 .special_names = qn_names_new(0)};
    qn_status status = vocab && merges && r.added && r.specials && r.added_names && r.special_names
                           ? QN_OK
                           : no_memory(err);
    *there = !status && qn_path_exists(vocab) && qn_path_exists(merges);
    if (*there) status = read_files(&r, vocab, merges, err);
    if (*there && !status) status = make(&r, pre, out, err);
    qn_names_free(r.names);
    qn_names_free(r.special_names);
    qn_names_free(r.added_names);
    json_decref(r.specials);
    json_decref(r.added);
    qn_free(r.merges);
    qn_free(r.vocab);
    qn_free(merges);
    qn_free(vocab);
    return status;
}
