/* A vocabulary as GGUF keys: names, types and order of
 * convert_hf_to_gguf.py (conversion/base.py and llama.py, gguf-py's
 * SpecialVocab.add_to_gguf).  Two deliberate differences:
 *   a vocabulary of ranked character merges gets the score -rank for the
 *   piece a merge makes, where the reference gives every piece -1000 and loses
 *   the order;
 *   templates with names come in the order of the file, where the reference
 *   lists them in the order of a Python set. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "formats/base/names.h"
#include "formats/tokenizer/vocab.h"

/* The keys' middle parts; there is none for CLS. */
static const char *const id_names[QN_SPECIAL_COUNT] = {
    "bos", "eos", "unknown", "seperator", "padding", NULL, "mask", "eot", "eom"};
static const char *const add_names[QN_ADD_COUNT] = {"bos", "eos", "sep"};

/* Families whose converter class adds what LlamaModel.set_vocab adds. */
static bool has_llama_rules(const qn_vocab *v)
{
    static const char *const types[] = {"llama",    "mistral", "ministral3",
                                        "mistral3", "mixtral", "smollm3"};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (qn_str_is(v->model_type, types[i])) return true;
    return false;
}

/* ---- lists ------------------------------------------------------------------------- */

/* "Pre-normalized", as the loader wants added tokens. */
static qn_status stored_text(const qn_vocab *v, uint32_t id, qn_arena *scratch, qn_str *out,
                             qn_error *err)
{
    *out = v->pieces[id];
    if (v->types[id] != QN_PIECE_USER || v->scores[id] != QN_UNSCORED) return QN_OK;
    char *copy = qn_arena_strndup(scratch, out->s, out->n);
    if (!copy) return qn_fail_memory(err, "the vocabulary's keys");
    *out = qn_str_of(copy, qn_mark_to_space(copy, copy, out->n));
    return QN_OK;
}

static qn_status write_pieces(const qn_vocab *v, qn_arena *scratch, qn_metadata *m, qn_error *err)
{
    qn_str *texts = qn_arena_alloc(scratch, v->n, sizeof *texts);
    qn_names *seen = texts ? qn_names_new(v->n) : NULL;
    if (!seen) return qn_fail_memory(err, "the vocabulary's keys");
    qn_status status = QN_OK;
    for (uint32_t i = 0; !status && i < v->n; i++) {
        bool present = false;
        status = stored_text(v, i, scratch, &texts[i], err);
        if (!status && qn_names_add(seen, texts[i], i, &present))
            status = qn_fail_memory(err, "the vocabulary's keys");
        if (!status && present)
            status = qn_fail(err, QN_ERR_DATA, "ids %u and %u would have the same piece '%.*s'",
                             qn_names_find(seen, texts[i]), i, (int)qn_min_u64(texts[i].n, 64),
                             texts[i].s);
    }
    qn_names_free(seen);
    return status ? status : qn_metadata_set_strs(m, "tokenizer.ggml.tokens", texts, v->n, err);
}

static qn_status write_scores(const qn_vocab *v, qn_arena *scratch, qn_metadata *m, qn_error *err)
{
    if (v->kind == QN_VOCAB_BYTE_BPE) return QN_OK;
    if (v->kind != QN_VOCAB_CHAR_BPE)
        return qn_metadata_set_f32s(m, "tokenizer.ggml.scores", v->scores, v->n, err);
    float *scores = qn_arena_alloc(scratch, v->n, sizeof *scores);
    if (!scores) return qn_fail_memory(err, "the vocabulary's keys");
    memcpy(scores, v->scores, v->n * sizeof *scores);
    if (qn_vocab_is_gemma4(v)) {
        for (size_t i = 0; i < v->n; i++) scores[i] = QN_UNSCORED;
        return qn_metadata_set_f32s(m, "tokenizer.ggml.scores", scores, v->n, err);
    }
    for (size_t rank = v->merge_count; rank-- > 0;) {
        const uint32_t id = v->merges[rank].result;
        if (v->types[id] == QN_PIECE_NORMAL) scores[id] = -(float)rank;
    }
    return qn_metadata_set_f32s(m, "tokenizer.ggml.scores", scores, v->n, err);
}

static qn_status write_types(const qn_vocab *v, qn_arena *scratch, qn_metadata *m, qn_error *err)
{
    int32_t *types = qn_arena_alloc(scratch, v->n, sizeof *types);
    if (!types) return qn_fail_memory(err, "the vocabulary's keys");
    for (size_t i = 0; i < v->n; i++) types[i] = v->types[i];
    return qn_metadata_set_i32s(m, "tokenizer.ggml.token_type", types, v->n, err);
}

/* A space inside a part would end it: it becomes U+0120, as everywhere in the
 * byte alphabet. */
static char *put_part(char *out, qn_str part)
{
    for (size_t i = 0; i < part.n; i++) {
        if (part.s[i] == ' ') {
            *out++ = '\xc4';
            *out++ = '\xa0';
        } else {
            *out++ = part.s[i];
        }
    }
    return out;
}

static qn_status write_merges(const qn_vocab *v, qn_arena *scratch, qn_metadata *m, qn_error *err)
{
    if ((v->kind != QN_VOCAB_BYTE_BPE && !qn_vocab_is_gemma4(v)) || !v->merge_count) return QN_OK;
    qn_str *merges = qn_arena_alloc(scratch, v->merge_count, sizeof *merges);
    if (!merges) return qn_fail_memory(err, "the merges");
    for (size_t i = 0; i < v->merge_count; i++) {
        const qn_str left = v->pieces[v->merges[i].left], right = v->pieces[v->merges[i].right];
        char *text = qn_arena_alloc(scratch, 2 * (left.n + right.n) + 1, 1);
        if (!text) return qn_fail_memory(err, "the merges");
        char *end = put_part(text, left);
        *end++ = ' ';
        end = put_part(end, right);
        merges[i] = qn_str_of(text, (size_t)(end - text));
    }
    return qn_metadata_set_strs(m, "tokenizer.ggml.merges", merges, v->merge_count, err);
}

/* ---- single keys ---------------------------------------------------------------------- */

static qn_status write_specials(const qn_vocab *v, qn_metadata *m, qn_error *err)
{
    char key[64];
    qn_status status = QN_OK;
    for (size_t i = 0; !status && i < v->special_count; i++) {
        const unsigned kind = v->special_order[i];
        if (!id_names[kind]) continue;
        snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", id_names[kind]);
        status = qn_metadata_set_u32(m, key, v->special[kind], err);
    }
    for (size_t i = 0; !status && i < v->add_count; i++) {
        const unsigned kind = v->add_order[i];
        snprintf(key, sizeof key, "tokenizer.ggml.add_%s_token", add_names[kind]);
        status = qn_metadata_set_bool(m, key, v->add[kind] > 0, err);
    }
    return status;
}

/* The converter keeps ASCII letters and digits of a template's name. */
static qn_str clean_name(qn_arena *scratch, qn_str name)
{
    char *copy = qn_arena_strndup(scratch, name.s, name.n);
    for (size_t i = 0; copy && i < name.n; i++)
        if ((unsigned char)copy[i] > 0x7f || !isalnum((unsigned char)copy[i])) copy[i] = '_';
    return qn_str_of(copy, name.n);
}

static qn_status write_named_template(qn_str name, qn_str text, qn_metadata *m, qn_error *err)
{
    qn_text key = {0};
    qn_text_adds(&key, "tokenizer.chat_template.");
    qn_text_add(&key, name.s, name.n);
    if (key.failed) return qn_fail_memory(err, "the chat templates");
    const qn_status status = text.n ? qn_metadata_set_str(m, key.s, text, err) : QN_OK;
    qn_text_free(&key);
    return status;
}

static bool is_among(qn_str name, const qn_str *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (qn_str_equal(names[i], name)) return true;
    return false;
}

static qn_status write_templates(const qn_vocab *v, qn_arena *scratch, qn_metadata *m,
                                 qn_error *err)
{
    const qn_chat_template *unnamed = NULL;
    qn_str *names = qn_arena_alloc(scratch, v->template_count, sizeof *names);
    size_t named = 0;
    if (!names) return qn_fail_memory(err, "the chat templates");
    for (size_t i = 0; i < v->template_count; i++) {
        const qn_chat_template *t = &v->templates[i];
        if (qn_str_is(t->name, "default")) {
            unnamed = t;
            continue;
        }
        names[named] = clean_name(scratch, t->name);
        if (!names[named].s) return qn_fail_memory(err, "the chat templates");
        const qn_status status = write_named_template(names[named], t->text, m, err);
        if (status) return status;
        named += !is_among(names[named], names, named); /* the last one of a name counts */
    }
    qn_status status = QN_OK;
    if (named) status = qn_metadata_set_strs(m, "tokenizer.chat_templates", names, named, err);
    if (!status && unnamed && unnamed->text.n)
        status = qn_metadata_set_str(m, "tokenizer.chat_template", unnamed->text, err);
    return status;
}

static const char remove_key[] = "tokenizer.ggml.remove_extra_whitespaces";

static qn_status write_charsmap(const qn_vocab *v, qn_metadata *m, qn_error *err)
{
    if (!v->charsmap.n) return QN_OK;
    return qn_metadata_set(m, "tokenizer.ggml.precompiled_charsmap", QN_META_ARRAY, QN_META_U8,
                           v->charsmap.n, v->charsmap, err);
}

/* The normalizer of a unigram model (conversion/t5.py, T5Model.set_vocab). */
static qn_status write_normalizer(const qn_vocab *v, qn_metadata *m, qn_error *err)
{
    if (v->kind != QN_VOCAB_UNIGRAM) return QN_OK;
    const bool prefix = v->prefix != QN_PREFIX_NONE;
    qn_status status = qn_metadata_set_bool(m, "tokenizer.ggml.add_space_prefix", prefix, err);
    if (!status) status = qn_metadata_set_bool(m, remove_key, v->trims_spaces, err);
    return status ? status : write_charsmap(v, m, err);
}

/* What GGUF has no key for, and what would be another tokenizer without. */
static qn_status check_carried(const qn_vocab *v, qn_error *err)
{
    const char *what = v->suffix_space ? "treat_whitespace_as_suffix"
                       : v->kind != QN_VOCAB_BYTE_BPE && !v->marks_spaces
                           ? "spaces that are not escaped"
                           : NULL;
    if (!what) return QN_OK;
    return qn_fail(err, QN_ERR_UNSUPPORTED, "GGUF has no key for the tokenizer's %s", what);
}

/* What the converter's class of a family adds at the end.  The ids are the
 * converter's own constants. */
static qn_status write_family(const qn_vocab *v, qn_metadata *m, qn_error *err)
{
    enum { CODE_LLAMA_SIZE = 32016, CODE_LLAMA_EOT = 32010, GRANITE_SIZE = 49152, GEMMA_EOT = 107 };
    const bool llama = has_llama_rules(v);
    qn_status status = QN_OK;
    if (llama && v->n == CODE_LLAMA_SIZE)
        status = qn_metadata_set_u32(m, "tokenizer.ggml.eot_token_id", CODE_LLAMA_EOT, err);
    if (!status && llama && v->n == GRANITE_SIZE)
        status = qn_metadata_set_bool(m, "tokenizer.ggml.add_bos_token", false, err);
    if (!status && qn_str_is(v->model_type, "gemma"))
        status = qn_metadata_set_u32(m, "tokenizer.ggml.eot_token_id", GEMMA_EOT, err);
    const bool unigram = v->kind == QN_VOCAB_UNIGRAM; /* has said it all */
    if (!status && !unigram && v->kind != QN_VOCAB_BYTE_BPE && v->prefix == QN_PREFIX_NONE)
        status = qn_metadata_set_bool(m, "tokenizer.ggml.add_space_prefix", false, err);
    if (!status && qn_vocab_is_gemma4(v))
        status = qn_metadata_set_bool(m, "tokenizer.ggml.add_bos_token", true, err);
    /* The converter leaves these out for the model type "llama", and llama.cpp
     * doesn't ask for them there; without them the file would be another tokenizer. */
    if (!status && !unigram && v->trims_spaces)
        status = qn_metadata_set_bool(m, remove_key, true, err);
    return status || unigram ? status : write_charsmap(v, m, err);
}

static const char *model_of(const qn_vocab *v)
{
    if (qn_vocab_is_gemma4(v)) return "gemma4";
    if (v->kind == QN_VOCAB_UNIGRAM) return "t5";
    return v->kind == QN_VOCAB_BYTE_BPE ? "gpt2" : "llama";
}

static qn_status write_all(const qn_vocab *v, qn_arena *scratch, qn_metadata *m, qn_error *err)
{
    const bool bytes = v->kind == QN_VOCAB_BYTE_BPE;
    const qn_str pre = qn_str_z(bytes ? v->pre->name : "default");
    qn_status status = check_carried(v, err);
    if (!status && has_llama_rules(v) && v->kind != QN_VOCAB_UNIGRAM && v->config_space_prefix >= 0)
        status = qn_metadata_set_bool(m, "tokenizer.ggml.add_space_prefix",
                                      v->config_space_prefix > 0, err);
    if (!status)
        status = qn_metadata_set_str(m, "tokenizer.ggml.model", qn_str_z(model_of(v)), err);
    if (!status && !qn_vocab_is_gemma4(v))
        status = qn_metadata_set_str(m, "tokenizer.ggml.pre", pre, err);
    if (!status) status = write_pieces(v, scratch, m, err);
    if (!status) status = write_scores(v, scratch, m, err);
    if (!status) status = write_types(v, scratch, m, err);
    if (!status) status = write_normalizer(v, m, err);
    if (!status) status = write_merges(v, scratch, m, err);
    if (!status) status = write_specials(v, m, err);
    if (!status) status = write_templates(v, scratch, m, err);
    if (!status) status = write_family(v, m, err);
    return status;
}

qn_status qn_vocab_write_metadata(const qn_vocab *v, qn_metadata *m, qn_error *err)
{
    qn_arena *scratch = qn_arena_new();
    if (!scratch) return qn_fail_memory(err, "the vocabulary's keys");
    const qn_status status = write_all(v, scratch, m, err);
    qn_arena_free(scratch);
    return status;
}
