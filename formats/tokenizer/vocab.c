#include "formats/tokenizer/vocab.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/base/names.h"
#include "formats/tokenizer/charsmap.h"

qn_status qn_vocab_new(qn_vocab **out, qn_vocab_kind kind, uint64_t n, const char *where,
                       qn_error *err)
{
    if (n == 0) return qn_fail(err, QN_ERR_DATA, "%s: the vocabulary is empty", where);
    if (n > QN_VOCAB_MAX)
        return qn_fail(err, QN_ERR_DATA, "%s: a vocabulary of %llu pieces; at most %llu make sense",
                       where, (unsigned long long)n, (unsigned long long)QN_VOCAB_MAX);
    qn_vocab *v = qn_alloc(1, sizeof *v);
    if (!v) return qn_fail_memory(err, "a vocabulary");
    v->kind = kind;
    v->n = (size_t)n;
    v->arena = qn_arena_new();
    v->pieces = qn_alloc(v->n, sizeof *v->pieces);
    v->scores = qn_alloc(v->n, sizeof *v->scores);
    v->types = qn_alloc(v->n, sizeof *v->types);
    v->config_space_prefix = -1;
    v->unknown = QN_NO_ID;
    for (size_t i = 0; i < QN_SPECIAL_COUNT; i++) v->special[i] = QN_NO_ID;
    for (size_t i = 0; i < QN_ADD_COUNT; i++) v->add[i] = -1;
    if (!v->arena || !v->pieces || !v->scores || !v->types) {
        qn_vocab_free(v);
        return qn_fail_memory(err, "a vocabulary");
    }
    *out = v;
    return QN_OK;
}

void qn_vocab_free(qn_vocab *v)
{
    if (!v) return;
    qn_free(v->templates);
    qn_free(v->ends);
    qn_free(v->added);
    qn_free(v->merges);
    qn_free(v->types);
    qn_free(v->scores);
    qn_free(v->pieces);
    qn_arena_free(v->arena);
    qn_free(v);
}

qn_str qn_vocab_keep(qn_vocab *v, qn_str text)
{
    return qn_str_of(qn_arena_strndup(v->arena, text.n ? text.s : "", text.n), text.n);
}

qn_status qn_vocab_set(qn_vocab *v, uint32_t id, qn_str text, qn_piece_type type, float score,
                       qn_error *err)
{
    const qn_str kept = qn_vocab_keep(v, text);
    if (!kept.s) return qn_fail_memory(err, "a vocabulary");
    v->pieces[id] = kept;
    v->types[id] = (uint8_t)type;
    v->scores[id] = score;
    return QN_OK;
}

qn_status qn_vocab_keep_charsmap(qn_vocab *v, qn_str bytes, const char *where, qn_error *err)
{
    qn_charsmap *charsmap = NULL;
    if (!bytes.n) return QN_OK;
    const qn_status status = qn_charsmap_new(&charsmap, bytes, where, err);
    qn_charsmap_free(charsmap);
    if (status) return status;
    v->charsmap = qn_vocab_keep(v, bytes);
    return v->charsmap.s ? QN_OK : qn_fail_memory(err, "a normalizer");
}

/* -10000 is the reference converter's score of a piece that is not there. */
static qn_status pad(qn_vocab *v, qn_error *err)
{
    for (size_t i = 0; i < v->n; i++) {
        if (v->pieces[i].s) continue;
        char text[32];
        const int length = snprintf(text, sizeof text, "[PAD%zu]", i);
        const qn_str name = qn_str_of(text, (size_t)length);
        if (qn_vocab_set(v, (uint32_t)i, name, QN_PIECE_UNUSED, -10000.0F, err)) return err->status;
    }
    return QN_OK;
}

qn_status qn_vocab_finish(qn_vocab *v, const char *where, qn_error *err)
{
    qn_error unheard = {0};
    if (!err) err = &unheard;
    if (pad(v, err)) return err->status;
    qn_names *names = qn_names_new(v->n);
    qn_status status = names ? QN_OK : qn_fail_memory(err, "a vocabulary");
    for (uint32_t i = 0; !status && i < v->n; i++) {
        bool present = false;
        if (qn_names_add(names, v->pieces[i], i, &present))
            status = qn_fail_memory(err, "a vocabulary");
        else if (present)
            status = qn_fail(err, QN_ERR_DATA, "%s: ids %u and %u have the same piece '%.*s'",
                             where, qn_names_find(names, v->pieces[i]), i,
                             (int)qn_min_u64(v->pieces[i].n, 64), v->pieces[i].s);
        else if (isnan(v->scores[i]))
            status = qn_fail(err, QN_ERR_DATA, "%s: the score of id %u is not a number", where, i);
    }
    qn_names_free(names);
    return status;
}

qn_status qn_vocab_add_end(qn_vocab *v, uint64_t id, qn_error *err)
{
    if (id >= v->n || qn_vocab_ends(v, (uint32_t)id)) return QN_OK;
    uint32_t *grown = qn_resize(v->ends, v->end_count + 1, sizeof *grown);
    if (!grown) return qn_fail_memory(err, "a vocabulary");
    v->ends = grown;
    v->ends[v->end_count++] = (uint32_t)id;
    return QN_OK;
}

/* ---- texts of pieces ------------------------------------------------------------ */

bool qn_vocab_looks_special(qn_str text)
{
    static const char *const whole[] = {"<pad>", "<mask>", "<2mass>", "[@BOS@]"};
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++)
        if (qn_str_is(text, whole[i])) return true;
    return (qn_str_starts(text, "<|") && qn_str_ends(text, "|>")) ||
           (qn_str_starts(text, "<\uff5c") && qn_str_ends(text, "\uff5c>")) ||
           (qn_str_starts(text, "<unused") && qn_str_ends(text, ">"));
}

qn_str qn_vocab_spaces(qn_vocab *v, qn_str text)
{
    char *copy = qn_arena_strndup(v->arena, text.s, text.n);
    if (!copy) return qn_str_of(NULL, 0);
    return qn_str_of(copy, qn_mark_to_space(copy, text.s, text.n));
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

int qn_vocab_byte_of(qn_str piece)
{
    if (piece.n != 6 || memcmp(piece.s, "<0x", 3) != 0 || piece.s[5] != '>') return -1;
    const int high = hex_digit(piece.s[3]), low = hex_digit(piece.s[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

size_t qn_mark_to_space(char *out, const char *text, size_t n)
{
    size_t written = 0;
    for (size_t i = 0; i < n;) {
        const bool mark =
            text[i] == '\xe2' && n - i >= 3 && text[i + 1] == '\x96' && text[i + 2] == '\x81';
        out[written++] = mark ? ' ' : text[i];
        i += mark ? 3 : 1;
    }
    return written;
}

/* ---- what users ask -------------------------------------------------------------- */

uint64_t qn_vocab_size(const qn_vocab *v)
{
    return v->n;
}

qn_str qn_vocab_piece(const qn_vocab *v, uint32_t id)
{
    return id < v->n ? v->pieces[id] : qn_str_of("", 0);
}

uint32_t qn_vocab_bos(const qn_vocab *v)
{
    return v->special[QN_SPECIAL_BOS];
}

uint32_t qn_vocab_eos(const qn_vocab *v)
{
    return v->special[QN_SPECIAL_EOS];
}

bool qn_vocab_adds_bos(const qn_vocab *v)
{
    return v->adds_bos && v->special[QN_SPECIAL_BOS] != QN_NO_ID;
}

bool qn_vocab_adds_eos(const qn_vocab *v)
{
    return v->adds_eos && v->special[QN_SPECIAL_EOS] != QN_NO_ID;
}

bool qn_vocab_ends(const qn_vocab *v, uint32_t id)
{
    for (size_t i = 0; i < v->end_count; i++)
        if (v->ends[i] == id) return true;
    return false;
}
