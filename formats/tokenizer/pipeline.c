#include "formats/tokenizer/pipeline.h"

#include <string.h>

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

static qn_status read_normalizer(qn_json_pipeline *p, const json_t *step, const char *where,
                                 qn_error *err)
{
    const char *type = type_of(step);
    if (strcmp(type, "NFC") == 0) {
        p->nfc = true;
    } else if (strcmp(type, "Prepend") == 0 && is_string(json_object_get(step, "prepend"), MARK)) {
        p->prefix = QN_PREFIX_ALWAYS;
    } else if (strcmp(type, "Replace") == 0 &&
               is_string(json_object_get(json_object_get(step, "pattern"), "String"), " ") &&
               is_string(json_object_get(step, "content"), MARK)) {
        p->marks_spaces = true;
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
    if (!is_string(json_object_get(step, "replacement"), MARK) || !split || json_is_true(split))
        return unsupported(where, "pre_tokenizer", "Metaspace that splits", err);
    const json_t *scheme = json_object_get(step, "prepend_scheme");
    p->marks_spaces = true;
    if (is_string(scheme, "never"))
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
    if (status) return status;
    if (p.byte_level && (p.marks_spaces || p.prefix != QN_PREFIX_NONE))
        return unsupported(where, "pre_tokenizer", "ByteLevel behind U+2581 for spaces", err);
    *out = p;
    return QN_OK;
}
