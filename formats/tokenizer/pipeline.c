#include "formats/tokenizer/pipeline.h"

#include <string.h>

#include "formats/base/base64.h"

#define MARK "\u2581"

static const char *type_of(const json_t *step)
{
    const char *type = json_string_value(json_object_get(step, "type"));
    return type ? type : "(no type)";
}

static bool is_true(const json_t *o, const char *key)
{
    return json_is_true(json_object_get(o, key));
}

static bool is_string(const json_t *value, const char *expected)
{
    const char *text = json_string_value(value);
    return text && strcmp(text, expected) == 0;
}

static qn_status unsupported(const char *where, const char *part, const char *type, qn_error *err)
{
    return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: %s '%s' is not supported", where, part, type);
}

typedef qn_status (*read_fn)(qn_json_pipeline *p, const json_t *step, const char *where,
                             qn_error *err);

/* A part is null, one step, or a Sequence of steps (of plain steps only: no
 * tokenizer nests them). */
static qn_status each_step(qn_json_pipeline *p, const json_t *part, const char *list, read_fn read,
                           const char *where, qn_error *err)
{
    if (!part || json_is_null(part)) return QN_OK;
    if (strcmp(type_of(part), "Sequence") != 0) return read(p, part, where, err);
    size_t i;
    json_t *step;
    json_array_foreach(json_object_get(part, list), i, step)
    {
        const qn_status status = read(p, step, where, err);
        if (status) return status;
    }
    return QN_OK;
}

/* What transformers makes of SentencePiece's normalizer: a replacement each,
 * and what it does. */
typedef enum { MARKS, JOINS, STRIPS, DOUBLES_MARK } replace_kind;

static const struct {
    const char *kind, *pattern, *content;
    replace_kind does;
} replacements[] = {
    {"String", " ", MARK, MARKS},
    {"Regex", " {2,}", " ", JOINS},
    {"Regex", " {2,}", MARK, JOINS},
    {"Regex", "\\A +| +\\z", "", STRIPS},
    {"Regex", "\\A" MARK, MARK MARK, DOUBLES_MARK},
};

static qn_status read_replace(qn_json_pipeline *p, const json_t *step, const char *where,
                              qn_error *err)
{
    const json_t *pattern = json_object_get(step, "pattern");
    const json_t *content = json_object_get(step, "content");
    for (size_t i = 0; i < sizeof replacements / sizeof *replacements; i++) {
        if (!is_string(json_object_get(pattern, replacements[i].kind), replacements[i].pattern) ||
            !is_string(content, replacements[i].content))
            continue;
        switch (replacements[i].does) {
        case MARKS: p->marks_spaces = true; break;
        case JOINS: p->joins_spaces = true; break;
        case STRIPS: p->strips_left = p->strips_right = true; break;
        case DOUBLES_MARK: p->doubles_mark = true; break;
        }
        return QN_OK;
    }
    return unsupported(where, "normalizer", "Replace with this pattern and content", err);
}

static qn_form form_of(const char *type)
{
    static const char *const names[] = {[QN_FORM_NFC] = "NFC",
                                        [QN_FORM_NFD] = "NFD",
                                        [QN_FORM_NFKC] = "NFKC",
                                        [QN_FORM_NFKD] = "NFKD"};
    for (int i = QN_FORM_NFC; i <= QN_FORM_NFKD; i++)
        if (strcmp(type, names[i]) == 0) return (qn_form)i;
    return QN_FORM_NONE;
}

static qn_status read_normalizer(qn_json_pipeline *p, const json_t *step, const char *where,
                                 qn_error *err)
{
    const char *type = type_of(step);
    const qn_form form = form_of(type);
    if (strcmp(type, "Replace") == 0) return read_replace(p, step, where, err);
    if (form != QN_FORM_NONE && p->form == QN_FORM_NONE) {
        p->form = form;
    } else if (strcmp(type, "Prepend") == 0 && is_string(json_object_get(step, "prepend"), MARK)) {
        p->prefix = QN_PREFIX_ALWAYS;
    } else if (strcmp(type, "Strip") == 0) {
        p->strips_left |= is_true(step, "strip_left");
        p->strips_right |= is_true(step, "strip_right");
    } else if (strcmp(type, "Precompiled") == 0) {
        const json_t *charsmap = json_object_get(step, "precompiled_charsmap");
        if (!json_is_string(charsmap) || p->charsmap.n)
            return unsupported(where, "normalizer", "Precompiled without a charsmap", err);
        p->charsmap = qn_str_of(json_string_value(charsmap), json_string_length(charsmap));
    } else {
        return unsupported(where, "normalizer", type, err);
    }
    return QN_OK;
}

static qn_status add_pattern(qn_json_pipeline *p, qn_str pattern, const char *where, qn_error *err)
{
    if (p->pattern_count == QN_PRE_STEPS)
        return unsupported(where, "pre_tokenizer", "Sequence of more than four steps", err);
    p->patterns[p->pattern_count++] = pattern;
    return QN_OK;
}

static qn_status read_split(qn_json_pipeline *p, const json_t *step, const char *where,
                            qn_error *err)
{
    const json_t *pattern = json_object_get(step, "pattern");
    /* The normalizer has left no space for it to find (Gemma). */
    if (p->marks_spaces && is_string(json_object_get(pattern, "String"), " ")) return QN_OK;
    const json_t *regex = json_object_get(pattern, "Regex");
    if (!json_is_string(regex) || is_true(step, "invert") ||
        !is_string(json_object_get(step, "behavior"), "Isolated"))
        return unsupported(where, "pre_tokenizer", "Split with this pattern and behavior", err);
    return add_pattern(p, qn_str_of(json_string_value(regex), json_string_length(regex)), where,
                       err);
}

static qn_status read_metaspace(qn_json_pipeline *p, const json_t *step, const char *where,
                                qn_error *err)
{
    const json_t *split = json_object_get(step, "split");
    const json_t *scheme = json_object_get(step, "prepend_scheme");
    if (!is_string(json_object_get(step, "replacement"), MARK))
        return unsupported(where, "pre_tokenizer", "Metaspace with another mark", err);
    p->marks_spaces = true;
    p->splits_spaces = !split || json_is_true(split);
    if (is_string(scheme, "never") ||
        (!scheme && json_is_false(json_object_get(step, "add_prefix_space"))))
        p->prefix = QN_PREFIX_NONE;
    else if (is_string(scheme, "first"))
        p->prefix = QN_PREFIX_FIRST;
    else
        p->prefix = QN_PREFIX_UNLESS_SPACE;
    return QN_OK;
}

static qn_status read_pre_tokenizer(qn_json_pipeline *p, const json_t *step, const char *where,
                                    qn_error *err)
{
    const char *type = type_of(step);
    if (strcmp(type, "Split") == 0) return read_split(p, step, where, err);
    if (strcmp(type, "Metaspace") == 0) return read_metaspace(p, step, where, err);
    if (strcmp(type, "WhitespaceSplit") == 0) {
        p->white_spaces = p->joins_spaces = p->strips_left = p->strips_right = true;
        return QN_OK;
    }
    if (strcmp(type, "Digits") == 0 && is_true(step, "individual_digits"))
        return add_pattern(p, qn_str_z("\\p{N}"), where, err);
    if (strcmp(type, "ByteLevel") != 0) return unsupported(where, "pre_tokenizer", type, err);
    if (is_true(step, "add_prefix_space"))
        return unsupported(where, "pre_tokenizer", "ByteLevel with add_prefix_space", err);
    p->byte_level = true;
    const json_t *use_regex = json_object_get(step, "use_regex");
    if (use_regex && !json_is_true(use_regex)) return QN_OK;
    return add_pattern(p, qn_str_z(qn_pre_gpt2_pattern), where, err);
}

static qn_status read_decoder(qn_json_pipeline *p, const json_t *step, const char *where,
                              qn_error *err)
{
    const char *type = type_of(step);
    const bool known = strcmp(type, "ByteLevel") == 0 || strcmp(type, "Replace") == 0 ||
                       strcmp(type, "ByteFallback") == 0 || strcmp(type, "Fuse") == 0 ||
                       strcmp(type, "Metaspace") == 0 || strcmp(type, "Strip") == 0;
    if (!known) return unsupported(where, "decoder", type, err);
    if (strcmp(type, "Strip") == 0)
        p->strip =
            json_integer_value(json_object_get(step, "start")) > 0 ? QN_STRIP_ONE : QN_STRIP_NONE;
    if (strcmp(type, "Metaspace") == 0 &&
        !is_string(json_object_get(step, "prepend_scheme"), "never"))
        p->strip = QN_STRIP_FIRST_PIECE;
    return QN_OK;
}

/* Steps that make sense together only. */
static qn_status check_together(qn_json_pipeline *p, const char *where, qn_error *err)
{
    const bool words = p->white_spaces || p->strips_left || p->strips_right || p->joins_spaces ||
                       p->doubles_mark || p->charsmap.n;
    if (p->byte_level && (words || p->marks_spaces || p->prefix != QN_PREFIX_NONE))
        return unsupported(where, "pre_tokenizer", "ByteLevel behind U+2581 for spaces", err);
    if (!p->byte_level && p->form != QN_FORM_NONE)
        return unsupported(where, "normalizer", "NFC or the like without ByteLevel", err);
    /* A single space before a text is the prefix, where there is one. */
    const bool strips = p->strips_right && (p->strips_left || p->prefix != QN_PREFIX_NONE);
    if ((p->strips_left || p->strips_right || p->joins_spaces) && !(p->joins_spaces && strips))
        return unsupported(where, "normalizer", "Strip without joining spaces, or the reverse",
                           err);
    /* WhitespaceSplit's words get a prefix each, and without one their spaces are lost. */
    if (p->white_spaces && p->prefix != QN_PREFIX_UNLESS_SPACE)
        return unsupported(where, "pre_tokenizer", "WhitespaceSplit without Metaspace, always",
                           err);
    /* SentencePiece's prefix comes before a literal U+2581, too.  Its normalizer
     * is meant where extra spaces go, Metaspace or not. */
    if ((p->doubles_mark || p->joins_spaces) && p->prefix == QN_PREFIX_UNLESS_SPACE)
        p->prefix = QN_PREFIX_ALWAYS;
    return QN_OK;
}

qn_status qn_json_pipeline_read(qn_json_pipeline *out, const json_t *root, const char *where,
                                qn_error *err)
{
    qn_json_pipeline p = {.prefix = QN_PREFIX_NONE};
    qn_status status = each_step(&p, json_object_get(root, "normalizer"), "normalizers",
                                 read_normalizer, where, err);
    if (!status)
        status = each_step(&p, json_object_get(root, "pre_tokenizer"), "pretokenizers",
                           read_pre_tokenizer, where, err);
    if (!status)
        status =
            each_step(&p, json_object_get(root, "decoder"), "decoders", read_decoder, where, err);
    if (!status) status = check_together(&p, where, err);
    if (status) return status;
    *out = p;
    return QN_OK;
}

static qn_status apply_charsmap(const qn_json_pipeline *p, qn_vocab *v, const char *where,
                                qn_error *err)
{
    qn_text bytes = {0};
    qn_status status = QN_OK;
    if (!qn_base64_decode(p->charsmap, &bytes))
        status = qn_fail(err, QN_ERR_DATA, "%s: precompiled_charsmap is no base64", where);
    else if (bytes.failed)
        status = qn_fail_memory(err, "a normalizer");
    else
        status = qn_vocab_keep_charsmap(v, qn_str_of(bytes.s, bytes.n), where, err);
    qn_text_free(&bytes);
    return status;
}

qn_status qn_json_pipeline_apply(const qn_json_pipeline *p, qn_vocab *v, const char *where,
                                 qn_error *err)
{
    v->form = p->form;
    v->prefix = p->prefix;
    v->strip = p->strip;
    v->marks_spaces = p->marks_spaces;
    v->trims_spaces = p->joins_spaces;
    v->white_spaces = p->white_spaces;
    v->splits_spaces = p->splits_spaces;
    return apply_charsmap(p, v, where, err);
}
