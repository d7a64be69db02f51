/* A scored vocabulary as a SentencePiece model; the fields are from_spm.c's, and
 * TrainerSpec's 4 vocab_size and 35 byte_fallback. */
#include <string.h>

#include "formats/tokenizer/written.h"

static void put_varint(qn_text *out, uint64_t v)
{
    char bytes[10];
    size_t n = 0;
    for (; v >= 128; v >>= 7) bytes[n++] = (char)(v | 128);
    bytes[n++] = (char)v;
    qn_text_add(out, bytes, n);
}

static void put_number(qn_text *out, unsigned field, uint64_t v)
{
    put_varint(out, (uint64_t)field << 3);
    put_varint(out, v);
}

static void put_bytes(qn_text *out, unsigned field, qn_str bytes)
{
    put_varint(out, (uint64_t)field << 3 | 2);
    put_varint(out, bytes.n);
    qn_text_add(out, bytes.s, bytes.n);
}

static void put_float(qn_text *out, unsigned field, float v)
{
    uint32_t bits;
    char bytes[4];
    memcpy(&bits, &v, sizeof bits);
    for (int i = 0; i < 4; i++) bytes[i] = (char)(bits >> 8 * i);
    put_varint(out, (uint64_t)field << 3 | 5);
    qn_text_add(out, bytes, sizeof bytes);
}

/* What was added beside the model stands behind it, and in tokenizer_config.json. */
static size_t pieces_of_model(const qn_vocab *v)
{
    size_t n = v->n;
    while (n && (qn_vocab_is_padding(v, (uint32_t)n - 1) ||
                 qn_vocab_is_beside_model(v, (uint32_t)n - 1)))
        n--;
    return n;
}

static void put_piece(qn_text *out, qn_text *scratch, const qn_vocab *v, uint32_t id)
{
    scratch->n = 0;
    put_bytes(scratch, 1, v->pieces[id]);
    put_float(scratch, 2, v->scores[id]);
    if (v->types[id] != QN_PIECE_NORMAL) put_number(scratch, 3, v->types[id]);
    put_bytes(out, 1, qn_str_of(scratch->s, scratch->n));
}

static void put_trainer(qn_text *out, qn_text *scratch, const qn_vocab *v, size_t n)
{
    static const struct {
        unsigned field;
        qn_special_kind kind;
    } ids[] = {
        {40, QN_SPECIAL_UNK}, {41, QN_SPECIAL_BOS}, {42, QN_SPECIAL_EOS}, {43, QN_SPECIAL_PAD}};
    enum { UNIGRAM = 1, BPE = 2 };
    bool bytes = false;
    for (size_t i = 0; i < n; i++) bytes |= v->types[i] == QN_PIECE_BYTE;
    scratch->n = 0;
    put_number(scratch, 3, v->kind == QN_VOCAB_UNIGRAM ? UNIGRAM : BPE);
    put_number(scratch, 4, n);
    if (bytes) put_number(scratch, 35, 1);
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        const uint32_t id = ids[i].kind == QN_SPECIAL_UNK     ? v->unknown
                            : qn_vocab_has_id(v, ids[i].kind) ? v->special[ids[i].kind]
                                                              : QN_NO_ID;
        put_number(scratch, ids[i].field, id < n ? id : UINT64_MAX); /* -1 */
    }
    put_bytes(out, 2, qn_str_of(scratch->s, scratch->n));
}

static void put_normalizer(qn_text *out, qn_text *scratch, const qn_vocab *v)
{
    scratch->n = 0;
    put_bytes(scratch, 1, qn_str_z(v->charsmap.n ? "user_defined" : "identity"));
    if (v->charsmap.n) put_bytes(scratch, 2, v->charsmap);
    put_number(scratch, 3, v->prefix != QN_PREFIX_NONE);
    put_number(scratch, 4, v->trims_spaces);
    put_number(scratch, 5, v->marks_spaces);
    put_bytes(out, 3, qn_str_of(scratch->s, scratch->n));
}

qn_status qn_vocab_to_spm(const qn_vocab *v, qn_text *out, qn_error *err)
{
    const size_t n = pieces_of_model(v);
    qn_text scratch = {0};
    for (uint32_t id = 0; id < n; id++) put_piece(out, &scratch, v, id);
    put_trainer(out, &scratch, v, n);
    put_normalizer(out, &scratch, v);
    const bool failed = out->failed || scratch.failed;
    qn_text_free(&scratch);
    return failed ? qn_fail_memory(err, "tokenizer.model") : QN_OK;
}
