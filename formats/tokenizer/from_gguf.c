/* A vocabulary from GGUF's tokenizer.ggml.* keys (formats and defaults:
 * llama.cpp's src/llama-vocab.cpp). */
#include <stdio.h>
#include <string.h>

#include "formats/base/names.h"
#include "formats/tokenizer/vocab.h"

typedef struct {
    const qn_metadata *m;
    const char *where;
    qn_vocab *v;
    qn_names *ids;
} reader;

static qn_status find_array(const reader *r, const char *key, qn_meta_type element, bool needed,
                            const qn_meta_value **out, qn_error *err)
{
    const qn_meta_value *value = qn_metadata_find(r->m, key);
    *out = value;
    if (!value && !needed) return QN_OK;
    if (!value) return qn_fail(err, QN_ERR_DATA, "%s: no key %s", r->where, key);
    const bool fits = value->type == QN_META_ARRAY && value->element == element;
    /* Scores may be whole numbers. */
    const bool whole = element == QN_META_F32 && value->element == QN_META_I32;
    if (fits || (value->type == QN_META_ARRAY && whole)) return QN_OK;
    return qn_fail(err, QN_ERR_DATA, "%s: %s is no array of %s", r->where, key,
                   qn_meta_type_name(element));
}

static qn_status check_count(const reader *r, const char *key, const qn_meta_value *value,
                             qn_error *err)
{
    if (!value || value->count >= r->v->n) return QN_OK;
    return qn_fail(err, QN_ERR_DATA, "%s: %s has %llu elements for %zu tokens", r->where, key,
                   (unsigned long long)value->count, r->v->n);
}

/* ---- the lists ---------------------------------------------------------------------- */

static qn_piece_type type_at(const qn_meta_value *types, size_t i)
{
    if (!types) return QN_PIECE_NORMAL;
    int32_t type;
    memcpy(&type, types->bytes.s + i * sizeof type, sizeof type);
    return type >= QN_PIECE_NORMAL && type <= QN_PIECE_BYTE ? (qn_piece_type)type : QN_PIECE_NORMAL;
}

static qn_status read_scores(reader *r, qn_error *err)
{
    const qn_meta_value *scores;
    qn_status status = find_array(r, "tokenizer.ggml.scores", QN_META_F32, false, &scores, err);
    if (!status) status = check_count(r, "tokenizer.ggml.scores", scores, err);
    for (size_t i = 0; !status && scores && i < r->v->n; i++) {
        double score = 0;
        status = qn_meta_number(scores, i, &score, err);
        r->v->scores[i] = (float)score;
    }
    return status;
}

/* A user-defined piece of a SentencePiece model has the model's score; what was
 * added to one beside it has none. */
static qn_found found_of(const qn_vocab *v, uint32_t id)
{
    const bool scored = v->kind == QN_VOCAB_SPM || v->kind == QN_VOCAB_UNIGRAM;
    return scored && v->types[id] == QN_PIECE_USER && v->scores[id] != QN_UNSCORED
               ? QN_FOUND_OF_MODEL
               : QN_FOUND_RAW;
}

static qn_status read_pieces(reader *r, const qn_meta_value *tokens, qn_error *err)
{
    qn_vocab *v = r->v;
    const qn_meta_value *types;
    qn_status status = find_array(r, "tokenizer.ggml.token_type", QN_META_I32, false, &types, err);
    if (!status) status = check_count(r, "tokenizer.ggml.token_type", types, err);
    qn_str cursor = tokens->bytes, text;
    v->added = status ? NULL : qn_alloc(v->n, sizeof *v->added);
    if (!status && !v->added) status = qn_fail_memory(err, "the added tokens");
    for (uint32_t i = 0; !status && i < v->n; i++) {
        if (!qn_meta_next_string(&cursor, &text))
            return qn_fail(err, QN_ERR_DATA, "%s: tokenizer.ggml.tokens ends at %u of %zu",
                           r->where, i, v->n);
        char empty[32];
        if (text.n == 0)
            text = qn_str_of(empty, (size_t)snprintf(empty, sizeof empty, "[EMPTY_%u]", i));
        const qn_piece_type type = type_at(types, i);
        status = qn_vocab_set(v, i, text, type, v->scores[i], err);
        if (!status &&
            (type == QN_PIECE_CONTROL || type == QN_PIECE_UNKNOWN || type == QN_PIECE_USER))
            v->added[v->added_count++] = (qn_added){.id = i,
                                                    .text = v->pieces[i],
                                                    .found = found_of(v, i),
                                                    .special = type != QN_PIECE_USER};
    }
    return status;
}

static uint32_t find_joined(const reader *r, qn_text *scratch, qn_str left, qn_str right)
{
    scratch->n = 0;
    qn_text_add(scratch, left.s, left.n);
    qn_text_add(scratch, right.s, right.n);
    return scratch->failed ? QN_NO_ID : qn_names_find(r->ids, qn_str_of(scratch->s, scratch->n));
}

/* "left right": the first space behind the first byte parts them. */
static qn_status read_merge(const reader *r, qn_str text, size_t rank, qn_text *scratch,
                            qn_merge *out, qn_error *err)
{
    const char *space = text.n > 1 ? memchr(text.s + 1, ' ', text.n - 1) : NULL;
    const size_t n = space ? (size_t)(space - text.s) : text.n;
    const qn_str left = qn_str_of(text.s, n);
    const qn_str right = space ? qn_str_of(space + 1, text.n - n - 1) : qn_str_of("", 0);
    *out = (qn_merge){qn_names_find(r->ids, left), qn_names_find(r->ids, right),
                      find_joined(r, scratch, left, right)};
    if (scratch->failed) return qn_fail_memory(err, "the merges");
    if (out->left != QN_NO_ID && out->right != QN_NO_ID && out->result != QN_NO_ID) return QN_OK;
    return qn_fail(err, QN_ERR_DATA, "%s: merge %zu ('%.*s') names a piece that is not there",
                   r->where, rank, (int)qn_min_u64(text.n, 64), text.s);
}

static qn_status read_merges(reader *r, qn_error *err)
{
    qn_vocab *v = r->v;
    const qn_meta_value *merges;
    qn_text scratch = {0};
    qn_status status = find_array(r, "tokenizer.ggml.merges", QN_META_STRING, true, &merges, err);
    if (status) return status;
    if (merges->count >= UINT32_MAX)
        return qn_fail(err, QN_ERR_DATA, "%s: %llu merges", r->where,
                       (unsigned long long)merges->count);
    r->ids = qn_names_new(v->n);
    v->merges = qn_alloc((size_t)merges->count, sizeof *v->merges);
    if (!r->ids || !v->merges) return qn_fail_memory(err, "the merges");
    for (uint32_t i = 0; i < v->n; i++)
        if (qn_names_add(r->ids, v->pieces[i], i, NULL)) return qn_fail_memory(err, "the merges");
    qn_str cursor = merges->bytes, text;
    while (!status && v->merge_count < merges->count && qn_meta_next_string(&cursor, &text)) {
        status = read_merge(r, text, v->merge_count, &scratch, &v->merges[v->merge_count], err);
        v->merge_count += !status;
    }
    qn_text_free(&scratch);
    return status;
}

/* ---- ids, flags, templates ------------------------------------------------------------- */

static qn_status read_id(const reader *r, qn_special_kind kind, const char *key, qn_error *err)
{
    uint64_t id = 0;
    bool found = false;
    const qn_status status = qn_metadata_u64(r->m, key, &id, &found, err);
    if (status || !found) return status;
    /* Files with a padding id of -1 are about, and nobody pads. */
    if (id >= r->v->n && kind != QN_SPECIAL_BOS && kind != QN_SPECIAL_EOS) return QN_OK;
    if (id >= r->v->n)
        return qn_fail(err, QN_ERR_DATA, "%s: %s is %llu, the vocabulary has %zu", r->where, key,
                       (unsigned long long)id, r->v->n);
    r->v->special[kind] = (uint32_t)id;
    return QN_OK;
}

static qn_status read_ids(const reader *r, qn_error *err)
{
    static const struct {
        qn_special_kind kind;
        const char *key;
    } keys[] = {{QN_SPECIAL_BOS, "tokenizer.ggml.bos_token_id"},
                {QN_SPECIAL_EOS, "tokenizer.ggml.eos_token_id"},
                {QN_SPECIAL_UNK, "tokenizer.ggml.unknown_token_id"},
                {QN_SPECIAL_SEP, "tokenizer.ggml.seperator_token_id"},
                {QN_SPECIAL_PAD, "tokenizer.ggml.padding_token_id"},
                {QN_SPECIAL_MASK, "tokenizer.ggml.mask_token_id"},
                {QN_SPECIAL_EOT, "tokenizer.ggml.eot_token_id"},
                {QN_SPECIAL_EOM, "tokenizer.ggml.eom_token_id"}};
    qn_status status = QN_OK;
    for (size_t i = 0; !status && i < sizeof keys / sizeof keys[0]; i++)
        status = read_id(r, keys[i].kind, keys[i].key, err);
    return status;
}

/* Files that name no end of turn have one all the same; llama.cpp finds it by
 * its text, too. */
static bool ends_by_its_text(qn_str text)
{
    static const char *const texts[] = {"<|eot_id|>",    "<|im_end|>",      "<|end|>",
                                        "<|eom_id|>",    "<end_of_turn>",   "<turn|>",
                                        "<|endoftext|>", "<|end_of_text|>", "<EOT>",
                                        "<|return|>",    "<|call|>",        "<end_of_utterance>"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (qn_str_is(text, texts[i])) return true;
    return false;
}

static qn_status find_ends(qn_vocab *v, qn_error *err)
{
    static const qn_special_kind kinds[] = {QN_SPECIAL_EOS, QN_SPECIAL_EOT, QN_SPECIAL_EOM};
    qn_status status = QN_OK;
    for (size_t i = 0; !status && i < sizeof kinds / sizeof kinds[0]; i++)
        status = qn_vocab_add_end(v, v->special[kinds[i]], err);
    for (size_t i = 0; !status && i < v->added_count; i++)
        if (v->added[i].special && ends_by_its_text(v->added[i].text))
            status = qn_vocab_add_end(v, v->added[i].id, err);
    return status;
}

static qn_status read_flags(const reader *r, qn_error *err)
{
    qn_vocab *v = r->v;
    const bool spm = v->kind == QN_VOCAB_SPM, unigram = v->kind == QN_VOCAB_UNIGRAM;
    bool prefix = spm;
    v->adds_bos = spm || (v->pre && v->pre->adds_bos);
    v->adds_eos = unigram;
    qn_status status =
        qn_metadata_bool(r->m, "tokenizer.ggml.add_bos_token", &v->adds_bos, &(bool){0}, err);
    if (!status)
        status =
            qn_metadata_bool(r->m, "tokenizer.ggml.add_eos_token", &v->adds_eos, &(bool){0}, err);
    if (!status)
        status =
            qn_metadata_bool(r->m, "tokenizer.ggml.add_space_prefix", &prefix, &(bool){0}, err);
    if (!status && (spm || unigram))
        status = qn_metadata_bool(r->m, "tokenizer.ggml.remove_extra_whitespaces", &v->trims_spaces,
                                  &(bool){0}, err);
    v->prefix = (spm || unigram) && prefix ? QN_PREFIX_ALWAYS : QN_PREFIX_NONE;
    v->strip = v->trims_spaces               ? QN_STRIP_EACH
               : v->prefix == QN_PREFIX_NONE ? QN_STRIP_NONE
                                             : QN_STRIP_ONE;
    return status;
}

/* ---- what the converter read, in its order ------------------------------------------------ */

static void take_order(qn_vocab *v, qn_str key, const qn_meta_value *value, bool *behind)
{
    static const char *const ids[] = {
        [QN_SPECIAL_BOS] = "bos_token_id",     [QN_SPECIAL_EOS] = "eos_token_id",
        [QN_SPECIAL_UNK] = "unknown_token_id", [QN_SPECIAL_SEP] = "seperator_token_id",
        [QN_SPECIAL_PAD] = "padding_token_id", [QN_SPECIAL_MASK] = "mask_token_id"};
    static const char *const adds[QN_ADD_COUNT] = {"add_bos_token", "add_eos_token",
                                                   "add_sep_token"};
    const bool flag = value->type == QN_META_BOOL && value->bytes.n && value->bytes.s[0];
    for (unsigned kind = 0; kind < sizeof ids / sizeof *ids; kind++)
        if (ids[kind] && qn_str_is(key, ids[kind]) && v->special[kind] != QN_NO_ID)
            v->special_order[v->special_count++] = (uint8_t)kind;
    for (unsigned kind = 0; kind < QN_ADD_COUNT && !*behind; kind++)
        if (qn_str_is(key, adds[kind])) {
            v->add[kind] = flag;
            v->add_order[v->add_count++] = (uint8_t)kind;
        }
}

/* What stands in front of the model's name tokenizer_config.json said, and what
 * stands behind the chat templates a family's class did. */
static qn_status read_order(const reader *r, qn_error *err)
{
    static const char keys[] = "tokenizer.ggml.";
    bool begun = false, behind = false;
    for (size_t i = 0; i < qn_metadata_count(r->m); i++) {
        const qn_meta_value *value = qn_metadata_at(r->m, i);
        if (qn_str_starts(value->key, "tokenizer.chat_template")) behind = true;
        if (!qn_str_starts(value->key, keys)) continue;
        const qn_str key =
            qn_str_of(value->key.s + sizeof keys - 1, value->key.n - sizeof keys + 1);
        if (qn_str_is(key, "model")) begun = true;
        if (qn_str_is(key, "add_space_prefix")) {
            behind |= begun && r->v->kind != QN_VOCAB_UNIGRAM;
            bool prefix = false;
            const qn_status status =
                qn_metadata_bool(r->m, "tokenizer.ggml.add_space_prefix", &prefix, NULL, err);
            if (status) return status;
            if (!begun) r->v->config_space_prefix = prefix;
        }
        take_order(r->v, key, value, &behind);
    }
    return QN_OK;
}

static qn_status add_template(qn_vocab *v, qn_str name, qn_str text, qn_error *err)
{
    qn_chat_template *grown = qn_resize(v->templates, v->template_count + 1, sizeof *grown);
    if (!grown) return qn_fail_memory(err, "the chat templates");
    v->templates = grown;
    v->templates[v->template_count++] = (qn_chat_template){name, text};
    return QN_OK;
}

static qn_status read_templates(const reader *r, qn_error *err)
{
    static const char key[] = "tokenizer.chat_template";
    enum { NAME = sizeof key }; /* behind the dot */
    qn_status status = QN_OK;
    for (size_t i = 0; !status && i < qn_metadata_count(r->m); i++) {
        const qn_meta_value *value = qn_metadata_at(r->m, i);
        qn_str cursor = value->bytes, text;
        if (value->type != QN_META_STRING || !qn_str_starts(value->key, key) ||
            !qn_meta_next_string(&cursor, &text))
            continue;
        if (qn_str_is(value->key, key))
            status = add_template(r->v, qn_str_z("default"), text, err);
        else if (value->key.n > NAME && value->key.s[NAME - 1] == '.')
            status =
                add_template(r->v, qn_str_of(value->key.s + NAME, value->key.n - NAME), text, err);
    }
    return status;
}

/* ---- the whole -------------------------------------------------------------------------- */

static qn_status read_pre(const reader *r, const qn_pre **out, qn_error *err)
{
    qn_str name = qn_str_z("default");
    const qn_status status = qn_metadata_str(r->m, "tokenizer.ggml.pre", &name, &(bool){0}, err);
    if (status) return status;
    *out = qn_pre_by_name(name);
    if (*out) return QN_OK;
    return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: pre-tokenizer '%.*s' is not supported", r->where,
                   (int)qn_min_u64(name.n, 64), name.s);
}

static qn_status read_kind(const reader *r, qn_vocab_kind *out, qn_error *err)
{
    qn_str model = {"", 0};
    const qn_status status = qn_metadata_str(r->m, "tokenizer.ggml.model", &model, NULL, err);
    if (status) return status;
    if (qn_str_is(model, "llama"))
        *out = QN_VOCAB_SPM;
    else if (qn_str_is(model, "t5"))
        *out = QN_VOCAB_UNIGRAM;
    else if (qn_str_is(model, "gpt2"))
        *out = QN_VOCAB_BYTE_BPE;
    else if (qn_str_is(model, "gemma4"))
        *out = QN_VOCAB_CHAR_BPE;
    else
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: tokenizer model '%.*s' is not supported",
                       r->where, (int)qn_min_u64(model.n, 64), model.s);
    return QN_OK;
}

/* For the model "llama" quern writes the key, too; runtimes pass over it. */
static qn_status read_charsmap(const reader *r, qn_error *err)
{
    static const char key[] = "tokenizer.ggml.precompiled_charsmap";
    const qn_meta_value *value = qn_metadata_find(r->m, key);
    if (!value) return QN_OK;
    if (value->type != QN_META_ARRAY ||
        (value->element != QN_META_U8 && value->element != QN_META_I8))
        return qn_fail(err, QN_ERR_DATA, "%s: %s is no array of u8", r->where, key);
    return qn_vocab_keep_charsmap(r->v, value->bytes, r->where, err);
}

/* Where no key says otherwise. */
static void set_default_ids(qn_vocab *v)
{
    static const qn_special_kind spm[] = {QN_SPECIAL_UNK, QN_SPECIAL_BOS, QN_SPECIAL_EOS};
    static const qn_special_kind unigram[] = {QN_SPECIAL_PAD, QN_SPECIAL_EOS, QN_SPECIAL_UNK};
    for (uint32_t i = 0; i < 3 && i < v->n; i++) {
        if (v->kind == QN_VOCAB_SPM) v->special[spm[i]] = i;
        if (v->kind == QN_VOCAB_UNIGRAM) v->special[unigram[i]] = i;
    }
}

static qn_status fill(reader *r, const qn_meta_value *tokens, qn_error *err)
{
    qn_vocab *v = r->v;
    const bool ranked = v->kind == QN_VOCAB_CHAR_BPE || v->kind == QN_VOCAB_BYTE_BPE;
    qn_status status = read_scores(r, err);
    if (!status) status = read_pieces(r, tokens, err);
    if (!status && ranked) status = read_merges(r, err);
    if (!status && v->kind == QN_VOCAB_BYTE_BPE) status = read_pre(r, &v->pre, err);
    if (!status && !ranked) status = read_charsmap(r, err);
    if (status) return status;
    if (v->pre) {
        v->ignore_merges = v->pre->ignore_merges;
        v->form = v->pre->nfc ? QN_FORM_NFC : QN_FORM_NONE;
    } else {
        v->marks_spaces = true;
        v->fuse_unknown = true;
    }
    set_default_ids(v);
    status = read_ids(r, err);
    v->unknown = v->special[QN_SPECIAL_UNK];
    if (!status) status = read_flags(r, err);
    if (!status) status = find_ends(v, err);
    if (!status) status = read_order(r, err);
    if (!status) status = read_templates(r, err);
    return status ? status : qn_vocab_finish(v, r->where, err);
}

qn_status qn_vocab_from_metadata(qn_vocab **out, const qn_metadata *m, const char *where,
                                 qn_error *err)
{
    reader r = {.m = m, .where = where};
    qn_vocab_kind kind = QN_VOCAB_SPM;
    const qn_meta_value *tokens = NULL;
    qn_status status = read_kind(&r, &kind, err);
    if (!status)
        status = find_array(&r, "tokenizer.ggml.tokens", QN_META_STRING, true, &tokens, err);
    if (!status) status = qn_vocab_new(&r.v, kind, tokens->count, where, err);
    if (!status) status = fill(&r, tokens, err);
    qn_names_free(r.ids);
    if (status) {
        qn_vocab_free(r.v);
        return status;
    }
    *out = r.v;
    return QN_OK;
}
