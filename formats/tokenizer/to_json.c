/* A vocabulary as tokenizer.json (the tokenizers library's serialization). */
#include <stdio.h>
#include <string.h>

#include "formats/base/base64.h"
#include "formats/base/json.h"
#include "formats/tokenizer/written.h"

#define MARK "\u2581"

typedef struct {
    const qn_vocab *v;
    const char *where;
    qn_text *out;
} writer;

static void put(const writer *w, const char *text)
{
    qn_text_adds(w->out, text);
}

static void put_string(const writer *w, qn_str text)
{
    qn_json_add_string(w->out, text);
}

static void put_piece(const writer *w, uint32_t id)
{
    put_string(w, w->v->pieces[id]);
}

static qn_status cannot(const writer *w, const char *what, qn_error *err)
{
    return qn_fail(err, QN_ERR_UNSUPPORTED,
                   "%s: tokenizer.json cannot say %s; OUT.safetensors takes the tensors alone",
                   w->where, what);
}

bool qn_vocab_is_padding(const qn_vocab *v, uint32_t id)
{
    char text[32];
    if (v->types[id] != QN_PIECE_UNUSED) return false;
    snprintf(text, sizeof text, "[PAD%u]", id);
    return qn_str_is(v->pieces[id], text);
}

bool qn_vocab_is_beside_model(const qn_vocab *v, uint32_t id)
{
    const uint8_t type = v->types[id];
    return v->scores[id] == QN_UNSCORED &&
           (type == QN_PIECE_USER || type == QN_PIECE_CONTROL || type == QN_PIECE_UNKNOWN);
}

/* ---- added tokens -------------------------------------------------------------------- */

/* Pieces that SentencePiece takes whole out of the normalized text are added tokens
 * of the raw one, which is the same where normalizing leaves it alone. */
static qn_status check_added(const writer *w, qn_error *err)
{
    const qn_vocab *v = w->v;
    const bool same = v->prefix == QN_PREFIX_NONE && !v->charsmap.n && !v->trims_spaces;
    for (size_t i = 0; i < v->added_count && !same; i++)
        if (v->added[i].found == QN_FOUND_OF_MODEL)
            return cannot(w,
                          "user-defined pieces of a model that puts a space before the text or "
                          "replaces characters",
                          err);
    return QN_OK;
}

static qn_status put_added(const writer *w, qn_error *err)
{
    const qn_vocab *v = w->v;
    put(w, "\"added_tokens\":[");
    for (size_t i = 0; i < v->added_count; i++) {
        const qn_added *a = &v->added[i];
        qn_text_addf(w->out, "%s\n{\"id\":%u,\"content\":", i ? "," : "", a->id);
        put_string(w, a->text);
        qn_text_addf(w->out,
                     ",\"single_word\":%s,\"lstrip\":%s,\"rstrip\":%s,\"normalized\":%s,"
                     "\"special\":%s}",
                     a->single_word ? "true" : "false", a->lstrip ? "true" : "false",
                     a->rstrip ? "true" : "false",
                     a->found == QN_FOUND_NORMALIZED ? "true" : "false",
                     a->special ? "true" : "false");
    }
    put(w, "],\n");
    return check_added(w, err);
}

/* ---- the steps around the model ---------------------------------------------------------- */

static void put_charsmap(const writer *w)
{
    put(w, "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"");
    qn_base64_encode(w->v->charsmap, w->out);
    put(w, "\"},");
}

/* Replacements that pipeline.c knows, in SentencePiece's order. */
static void put_sentence_normalizer(const writer *w)
{
    const qn_vocab *v = w->v;
    put(w, "{\"type\":\"Sequence\",\"normalizers\":[");
    if (v->charsmap.n) put_charsmap(w);
    if (v->trims_spaces)
        put(w, "{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":true},"
               "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" {2,}\"},\"content\":\" \"},");
    if (v->prefix == QN_PREFIX_ALWAYS) put(w, "{\"type\":\"Prepend\",\"prepend\":\"" MARK "\"},");
    put(w, "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" MARK "\"}]}");
}

static void put_normalizer(const writer *w)
{
    static const char *const forms[] = {[QN_FORM_NFC] = "NFC",
                                        [QN_FORM_NFD] = "NFD",
                                        [QN_FORM_NFKC] = "NFKC",
                                        [QN_FORM_NFKD] = "NFKD"};
    put(w, "\"normalizer\":");
    if (w->v->kind != QN_VOCAB_BYTE_BPE)
        put_sentence_normalizer(w);
    else if (w->v->form == QN_FORM_NONE)
        put(w, "null");
    else
        qn_text_addf(w->out, "{\"type\":\"%s\"}", forms[w->v->form]);
    put(w, ",\n");
}

static void put_pre_tokenizer(const writer *w)
{
    const qn_pre *pre = w->v->pre;
    put(w, "\"pre_tokenizer\":");
    if (w->v->kind == QN_VOCAB_BYTE_BPE) {
        put(w, "{\"type\":\"Sequence\",\"pretokenizers\":[");
        for (size_t i = 0; i < QN_PRE_STEPS && pre->patterns[i]; i++) {
            put(w, "{\"type\":\"Split\",\"pattern\":{\"Regex\":");
            put_string(w, qn_str_z(pre->patterns[i]));
            put(w, "},\"behavior\":\"Isolated\",\"invert\":false},");
        }
        put(w, "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,"
               "\"use_regex\":false}]}");
    } else {
        put(w, "null");
    }
    put(w, ",\n");
}

static void put_special(const writer *w, uint32_t id, unsigned type_id)
{
    put(w, "{\"SpecialToken\":{\"id\":");
    put_piece(w, id);
    qn_text_addf(w->out, ",\"type_id\":%u}}", type_id);
}

bool qn_vocab_parts_pairs(const qn_vocab *v)
{
    size_t bos = v->add_count, eos = v->add_count, sep = v->add_count;
    for (size_t i = 0; i < v->add_count; i++)
        *(v->add_order[i] == QN_ADD_BOS ? &bos : v->add_order[i] == QN_ADD_EOS ? &eos : &sep) = i;
    return v->add[QN_ADD_BOS] > 0 && v->add[QN_ADD_SEP] == 0 && bos < sep &&
           (sep < eos || v->add[QN_ADD_EOS] > 0);
}

static void put_template(const writer *w, bool pair, uint32_t bos, uint32_t eos)
{
    qn_text_addf(w->out, "\"%s\":[", pair ? "pair" : "single");
    if (bos != QN_NO_ID) put_special(w, bos, 0), put(w, ",");
    put(w, "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}");
    if (pair && qn_vocab_parts_pairs(w->v)) put(w, ","), put_special(w, bos, 1);
    if (pair) put(w, ",{\"Sequence\":{\"id\":\"B\",\"type_id\":1}}");
    if (eos != QN_NO_ID) put(w, ","), put_special(w, eos, pair);
    put(w, "],");
}

static void put_token_of_template(const writer *w, uint32_t id)
{
    put_piece(w, id);
    put(w, ":{\"id\":");
    put_piece(w, id);
    qn_text_addf(w->out, ",\"ids\":[%u],\"tokens\":[", id);
    put_piece(w, id);
    put(w, "]}");
}

/* Only what stands for itself in the files: what a family adds whatever they say
 * (Gemma 4's BOS) is not the tokenizer's. */
static bool adds(const qn_vocab *v, qn_add_kind kind, bool does)
{
    return v->add[kind] >= 0 ? v->add[kind] > 0 : does && v->kind != QN_VOCAB_CHAR_BPE;
}

static void put_post_processor(const writer *w)
{
    const qn_vocab *v = w->v;
    const uint32_t bos = adds(v, QN_ADD_BOS, v->adds_bos) ? v->special[QN_SPECIAL_BOS] : QN_NO_ID;
    const uint32_t eos = adds(v, QN_ADD_EOS, v->adds_eos) ? v->special[QN_SPECIAL_EOS] : QN_NO_ID;
    put(w, "\"post_processor\":");
    if (bos == QN_NO_ID && eos == QN_NO_ID) {
        put(w, "null,\n");
        return;
    }
    put(w, "{\"type\":\"TemplateProcessing\",");
    put_template(w, false, bos, eos);
    put_template(w, true, bos, eos);
    put(w, "\"special_tokens\":{");
    if (bos != QN_NO_ID) put_token_of_template(w, bos);
    if (bos != QN_NO_ID && eos != QN_NO_ID && eos != bos) put(w, ",");
    if (eos != QN_NO_ID && eos != bos) put_token_of_template(w, eos);
    put(w, "}},\n");
}

static void put_decoder(const writer *w)
{
    put(w, "\"decoder\":");
    if (w->v->kind == QN_VOCAB_BYTE_BPE) {
        put(w, "{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true,"
               "\"use_regex\":true},\n");
        return;
    }
    put(w, "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":"
           "\"" MARK "\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}");
    if (w->v->strip != QN_STRIP_NONE)
        put(w, ",{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}");
    put(w, "]},\n");
}

/* ---- the model ----------------------------------------------------------------------- */

static bool has_bytes(const qn_vocab *v)
{
    for (size_t i = 0; i < v->n; i++)
        if (v->types[i] == QN_PIECE_BYTE) return true;
    return false;
}

static void put_merges(const writer *w, const qn_merge *merges, size_t n)
{
    put(w, "\"merges\":[");
    for (size_t i = 0; i < n; i++) {
        put(w, i ? ",\n[" : "\n[");
        put_piece(w, merges[i].left);
        put(w, ",");
        put_piece(w, merges[i].right);
        put(w, "]");
    }
    put(w, "]}");
}

static void put_ranked_pieces(const writer *w)
{
    const qn_vocab *v = w->v;
    const char *before = "\n";
    put(w, "\"vocab\":{");
    for (uint32_t id = 0; id < v->n; id++) {
        if (qn_vocab_is_padding(v, id)) continue;
        put(w, before);
        put_piece(w, id);
        qn_text_addf(w->out, ":%u", id);
        before = ",\n";
    }
    put(w, "},\n");
}

static qn_status put_bpe(const writer *w, qn_error *err)
{
    const qn_vocab *v = w->v;
    qn_merge *made = NULL;
    size_t n = v->merge_count;
    if (v->kind == QN_VOCAB_SPM) {
        const qn_status status = qn_vocab_scored_merges(v, w->where, &made, &n, err);
        if (status) return status;
    }
    put(w, "{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":");
    if (v->kind == QN_VOCAB_BYTE_BPE || v->unknown == QN_NO_ID)
        put(w, "null");
    else
        put_piece(w, v->unknown);
    qn_text_addf(w->out,
                 ",\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":%s,"
                 "\"byte_fallback\":%s,\"ignore_merges\":%s,",
                 v->kind != QN_VOCAB_BYTE_BPE && v->fuse_unknown ? "true" : "false",
                 has_bytes(v) ? "true" : "false", v->ignore_merges ? "true" : "false");
    put_ranked_pieces(w);
    put_merges(w, made ? made : v->merges, n);
    qn_free(made);
    return QN_OK;
}

/* Ids are places in the list. */
static qn_status put_unigram(const writer *w, qn_error *err)
{
    const qn_vocab *v = w->v;
    size_t n = v->n;
    while (n && qn_vocab_is_padding(v, (uint32_t)n - 1)) n--;
    qn_text_addf(w->out, "{\"type\":\"Unigram\",\"unk_id\":");
    if (v->unknown == QN_NO_ID)
        put(w, "null");
    else
        qn_text_addf(w->out, "%u", v->unknown);
    qn_text_addf(w->out, ",\"byte_fallback\":%s,\"vocab\":[", has_bytes(v) ? "true" : "false");
    for (uint32_t id = 0; id < n; id++) {
        if (v->types[id] == QN_PIECE_UNUSED)
            return cannot(w, "that a unigram model's piece is unused", err);
        put(w, id ? ",\n[" : "\n[");
        put_piece(w, id);
        qn_text_addf(w->out, ",%.9g]",
                     qn_vocab_is_beside_model(v, id) ? 0.0 : (double)v->scores[id]);
    }
    put(w, "]}");
    return QN_OK;
}

/* ---- the whole --------------------------------------------------------------------------- */

static qn_status check_pieces(const writer *w, qn_error *err)
{
    for (uint32_t id = 0; id < w->v->n; id++)
        if (!qn_utf8_valid(w->v->pieces[id]))
            return qn_fail(err, QN_ERR_UNSUPPORTED,
                           "%s: tokenizer.json cannot hold piece %u, which is no UTF-8", w->where,
                           id);
    return QN_OK;
}

qn_status qn_vocab_to_json(const qn_vocab *v, const char *where, qn_text *out, qn_error *err)
{
    const writer w = {v, where, out};
    qn_status status = check_pieces(&w, err);
    if (status) return status;
    put(&w, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\n");
    status = put_added(&w, err);
    if (status) return status;
    put_normalizer(&w);
    put_pre_tokenizer(&w);
    put_post_processor(&w);
    put_decoder(&w);
    put(&w, "\"model\":");
    status = v->kind == QN_VOCAB_UNIGRAM ? put_unigram(&w, err) : put_bpe(&w, err);
    if (status) return status;
    put(&w, "}\n");
    return out->failed ? qn_fail_memory(err, "tokenizer.json") : QN_OK;
}
