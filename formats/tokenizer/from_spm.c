/* A SentencePiece model (sentencepiece/src/sentencepiece_model.proto).  Read:
 *   ModelProto      1 pieces*, 2 trainer_spec, 3 normalizer_spec
 *   SentencePiece   1 piece, 2 score, 3 type
 *   TrainerSpec     3 model_type, 24 treat_whitespace_as_suffix, 40 unk_id,
 *                   41 bos_id, 42 eos_id, 43 pad_id
 *   NormalizerSpec  2 precompiled_charsmap, 3 add_dummy_prefix,
 *                   4 remove_extra_whitespaces, 5 escape_whitespaces */
#include <string.h>

#include "formats/base/wire.h"
#include "formats/tokenizer/vocab.h"

enum { MODEL_UNIGRAM = 1, MODEL_BPE = 2 };

typedef struct {
    uint64_t pieces;
    uint64_t model_type;
    int64_t id[4]; /* unk, bos, eos, pad; -1: none */
    bool dummy_prefix, trims_spaces, marks_spaces, suffix_space;
    qn_str charsmap;
} header;

static qn_status truncated(const char *where, qn_error *err)
{
    return qn_fail(err, QN_ERR_DATA, "%s: truncated, or no SentencePiece model", where);
}

static bool read_trainer(qn_str bytes, header *h)
{
    qn_wire w = qn_wire_of(bytes);
    qn_wire_field f;
    while (qn_wire_next(&w, &f)) {
        if (f.kind != QN_WIRE_VARINT) continue;
        if (f.number == 3) h->model_type = f.value;
        if (f.number == 24) h->suffix_space = f.value != 0;
        if (f.number >= 40 && f.number <= 43) h->id[f.number - 40] = (int64_t)f.value;
    }
    return !w.bad;
}

static bool read_normalizer(qn_str bytes, header *h)
{
    qn_wire w = qn_wire_of(bytes);
    qn_wire_field f;
    while (qn_wire_next(&w, &f)) {
        if (f.number == 2 && f.kind == QN_WIRE_BYTES) h->charsmap = f.bytes;
        if (f.number == 3 && f.kind == QN_WIRE_VARINT) h->dummy_prefix = f.value != 0;
        if (f.number == 4 && f.kind == QN_WIRE_VARINT) h->trims_spaces = f.value != 0;
        if (f.number == 5 && f.kind == QN_WIRE_VARINT) h->marks_spaces = f.value != 0;
    }
    return !w.bad;
}

static qn_status read_header(qn_str bytes, const char *where, header *h, qn_error *err)
{
    qn_wire w = qn_wire_of(bytes);
    qn_wire_field f;
    bool good = true;
    while (good && qn_wire_next(&w, &f)) {
        if (f.kind != QN_WIRE_BYTES) continue;
        if (f.number == 1) h->pieces++;
        if (f.number == 2) good = read_trainer(f.bytes, h);
        if (f.number == 3) good = read_normalizer(f.bytes, h);
    }
    if (!good || w.bad || !h->pieces) return truncated(where, err);
    if (h->model_type != MODEL_BPE && h->model_type != MODEL_UNIGRAM)
        return qn_fail(err, QN_ERR_UNSUPPORTED,
                       "%s: SentencePiece model type %llu is not supported, only 1 (unigram) and 2 "
                       "(BPE)",
                       where, (unsigned long long)h->model_type);
    return QN_OK;
}

static bool read_piece(qn_str bytes, qn_str *text, float *score, uint64_t *type)
{
    qn_wire w = qn_wire_of(bytes);
    qn_wire_field f;
    *text = qn_str_of("", 0);
    *score = 0.0F;
    *type = QN_PIECE_NORMAL;
    while (qn_wire_next(&w, &f)) {
        const uint32_t bits = (uint32_t)f.value;
        if (f.number == 1 && f.kind == QN_WIRE_BYTES) *text = f.bytes;
        if (f.number == 2 && f.kind == QN_WIRE_32) memcpy(score, &bits, sizeof *score);
        if (f.number == 3 && f.kind == QN_WIRE_VARINT) *type = f.value;
    }
    return !w.bad;
}

static qn_status set_piece(qn_vocab *v, uint32_t id, qn_str bytes, const char *where, qn_error *err)
{
    qn_str text;
    float score;
    uint64_t type;
    if (!read_piece(bytes, &text, &score, &type)) return truncated(where, err);
    if (type < QN_PIECE_NORMAL || type > QN_PIECE_BYTE || text.n == 0)
        return qn_fail(err, QN_ERR_DATA, "%s: piece %u has type %llu and %zu bytes", where, id,
                       (unsigned long long)type, text.n);
    const bool user = type == QN_PIECE_USER;
    const bool added = user || type == QN_PIECE_CONTROL || type == QN_PIECE_UNKNOWN;
    const qn_status status = qn_vocab_set(v, id, text, (qn_piece_type)type, score, err);
    if (status || !added) return status;
    v->added[v->added_count++] = (qn_added){.id = id,
                                            .text = v->pieces[id],
                                            .found = user ? QN_FOUND_OF_MODEL : QN_FOUND_RAW,
                                            .special = !user};
    return QN_OK;
}

static qn_status read_pieces(qn_vocab *v, qn_str bytes, const char *where, qn_error *err)
{
    qn_wire w = qn_wire_of(bytes);
    qn_wire_field f;
    uint32_t id = 0;
    v->added = qn_alloc(v->n, sizeof *v->added);
    if (!v->added) return qn_fail_memory(err, "the added tokens");
    while (qn_wire_next(&w, &f)) {
        if (f.number != 1 || f.kind != QN_WIRE_BYTES || id >= v->n) continue;
        const qn_status status = set_piece(v, id++, f.bytes, where, err);
        if (status) return status;
    }
    return QN_OK;
}

static void set_special(qn_vocab *v, qn_special_kind kind, int64_t id)
{
    if (id >= 0 && (uint64_t)id < v->n) v->special[kind] = (uint32_t)id;
}

qn_status qn_vocab_from_spm(qn_vocab **out, qn_str bytes, const char *where, uint64_t size,
                            uint64_t at_least, qn_error *err)
{
    header h = {.model_type = MODEL_UNIGRAM,
                .id = {0, 1, 2, -1},
                .dummy_prefix = true,
                .trims_spaces = true,
                .marks_spaces = true};
    qn_vocab *v = NULL;
    qn_status status = read_header(bytes, where, &h, err);
    const qn_vocab_kind kind = h.model_type == MODEL_BPE ? QN_VOCAB_SPM : QN_VOCAB_UNIGRAM;
    if (!size) size = h.pieces > at_least ? h.pieces : at_least;
    if (!status) status = qn_vocab_new(&v, kind, size, where, err);
    if (!status) status = read_pieces(v, bytes, where, err);
    if (!status) status = qn_vocab_keep_charsmap(v, h.charsmap, where, err);
    if (status) {
        qn_vocab_free(v);
        return status;
    }
    v->marks_spaces = h.marks_spaces;
    v->trims_spaces = h.trims_spaces;
    v->suffix_space = h.suffix_space;
    v->fuse_unknown = true;
    v->prefix = h.dummy_prefix ? QN_PREFIX_ALWAYS : QN_PREFIX_NONE;
    v->strip = h.trims_spaces ? QN_STRIP_EACH : h.dummy_prefix ? QN_STRIP_ONE : QN_STRIP_NONE;
    set_special(v, QN_SPECIAL_UNK, h.id[0]);
    set_special(v, QN_SPECIAL_BOS, h.id[1]);
    set_special(v, QN_SPECIAL_EOS, h.id[2]);
    set_special(v, QN_SPECIAL_PAD, h.id[3]);
    v->unknown = v->special[QN_SPECIAL_UNK];
    *out = v;
    return QN_OK;
}
