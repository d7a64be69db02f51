/* compressed-tensors' matrices. */
#include <string.h>

#include "formats/packed/build.h"
#include "formats/packed/packing.h"
#include "formats/packed/parts.h"

static const char *sign_words(const qn_packing_scheme *s)
{
    return s->symmetric ? "" : ", asymmetric";
}

/* A symmetric scheme's zero points, where they are written, are all zero: as a
 * number, or packed, with the offset that codes have. */
static qn_status check_no_zeros(const qn_packed_build *b, const qn_tensor *t, unsigned offset,
                                qn_error *err)
{
    const uint8_t packed = (uint8_t)(b->packed.bits == 4 ? offset | offset << 4 : offset);
    const uint8_t *bytes = t->data;
    for (uint64_t i = 0; i < t->bytes; i++)
        if (bytes[i] && bytes[i] != packed)
            return qn_fail(err, QN_ERR_DATA, "%s: \"%s\" has zero points, its scheme is symmetric",
                           qn_part_path(b, t), t->name);
    return QN_OK;
}

/* Packed down the rows, or as one int8 each. */
static qn_status set_zeros(qn_packed_build *b, const qn_packing_scheme *s, unsigned offset,
                           qn_error *err)
{
    qn_packed *p = &b->packed;
    const qn_tensor *t;
    qn_status status;
    p->zero_layout = QN_ZERO_CONSTANT;
    p->zero = offset;
    if (s->symmetric) {
        if (!(t = qn_part_find(b, ".weight_zero_point"))) return QN_OK;
        qn_part_take(b, t);
        return check_no_zeros(b, t, offset, err);
    }
    if ((status = qn_part_need(b, ".weight_zero_point", &t, err))) return status;
    if (s->scale == QN_SCALE_OF_TENSOR || s->scale == QN_SCALE_OF_BLOCK)
        return qn_fail(err, QN_ERR_UNSUPPORTED,
                       "%s: \"%s\": zero points of a whole tensor or block are not read",
                       qn_part_path(b, t), t->name);
    p->zeros = *t;
    if (t->dtype == QN_I8) {
        p->zero_layout = QN_ZERO_SIGNED;
        return qn_want_scales_shape(b, t, s, err);
    }
    p->zero_layout = QN_ZERO_IN_COLUMNS;
    if (p->code_layout != QN_CODES_IN_ROWS || b->rank > 2) return qn_fail_type(b, t, "I8", err);
    if ((status = qn_want_words(b, t, err))) return status;
    return qn_want_shape(b, t, 2,
                         (const uint64_t[]){qn_packed_words(p->rows, p->bits), p->n_groups}, err);
}

/* weight_shape: what the words hold without their padding. */
static qn_status read_shape(qn_packed_build *b, qn_error *err)
{
    const qn_tensor *t;
    const uint64_t rank = b->codes->rank;
    qn_status status = qn_part_need(b, ".weight_shape", &t, err);
    if (status) return status;
    if (t->dtype != QN_I64 && t->dtype != QN_I32) return qn_fail_type(b, t, "I64", err);
    if ((status = qn_want_shape(b, t, 1, &rank, err))) return status;
    b->rank = b->codes->rank;
    for (unsigned i = 0; i < b->rank; i++) {
        int64_t n;
        int32_t narrow;
        if (t->dtype == QN_I64) {
            memcpy(&n, (const uint8_t *)t->data + i * sizeof n, sizeof n);
        } else {
            memcpy(&narrow, (const uint8_t *)t->data + i * sizeof narrow, sizeof narrow);
            n = narrow;
        }
        if (n < 1)
            return qn_fail(err, QN_ERR_DATA, "%s: \"%s\": dimension %u is %lld", qn_part_path(b, t),
                           t->name, i, (long long)n);
        b->dims[i] = (uint64_t)n;
    }
    return QN_OK;
}

/* The words are those of the weight's rows. */
static qn_status check_words(const qn_packed_build *b, uint64_t words, qn_error *err)
{
    char has[96], says[96];
    const qn_tensor *t = b->codes;
    const unsigned outer = b->rank - 1;
    if (!memcmp(t->dims, b->dims, outer * sizeof *b->dims) && t->dims[outer] == words) return QN_OK;
    return qn_fail(err, QN_ERR_DATA,
                   "%s: \"%s\": shape %s does not hold the %s values of %u bits that its "
                   "weight_shape says",
                   qn_part_path(b, t), t->name, qn_shape_text(t->dims, t->rank, has, sizeof has),
                   qn_shape_text(b->dims, b->rank, says, sizeof says), b->packed.bits);
}

/* -1 anywhere: the order was never set, columns stand as they are
 * (compressed_tensors/quantization/lifecycle/forward.py). */
static bool is_unset(const qn_tensor *order)
{
    for (uint64_t i = 0; i < order->bytes; i += 4) {
        int32_t g;
        memcpy(&g, (const uint8_t *)order->data + i, sizeof g);
        if (g == -1) return true;
    }
    return false;
}

qn_status qn_build_words(qn_packed_build *b, const qn_packing_scheme *s, qn_error *err)
{
    qn_packed *p = &b->packed;
    const qn_tensor *scales;
    qn_status status;
    qn_say_packing(p, "int", s->bits, s, sign_words(s));
    if ((status = qn_want_rank(b, 2, QN_MAX_RANK, err)) ||
        (status = qn_want_words(b, b->codes, err)) || (status = read_shape(b, err)))
        return status;
    if ((status = qn_set_shape(b, err))) return status;
    p->bits = s->bits;
    p->code_layout = QN_CODES_IN_ROWS;
    const uint64_t words = qn_packed_words(p->columns, s->bits);
    p->row_bytes = 4 * words;
    if ((status = check_words(b, words, err)) ||
        (status = qn_part_need(b, ".weight_scale", &scales, err)) ||
        (status = qn_set_scales(b, scales, s, err)) ||
        (status = set_zeros(b, s, 128U >> (8 - s->bits), err)) ||
        (status = qn_set_order(b, ".weight_g_idx", err)))
        return status;
    if (!p->g_idx.data) return QN_OK;
    if (is_unset(&p->g_idx)) {
        p->g_idx = (qn_tensor){0};
        return QN_OK;
    }
    qn_say_packing(p, "int", s->bits, s,
                   s->symmetric ? ", columns reordered" : ", asymmetric, reordered");
    return qn_check_order(b, err);
}

qn_status qn_build_plain(qn_packed_build *b, const qn_packing_scheme *s, qn_error *err)
{
    const qn_tensor *scales;
    const bool floats = b->codes->dtype != QN_I8;
    qn_status status;
    if (s->is_float != floats || (!floats && s->bits > 8))
        return qn_fail(err, QN_ERR_DATA, "%s: \"%s\" is %s, but config.json says %s of %u bits",
                       qn_part_path(b, b->codes), b->codes->name,
                       qn_dtype_facts(b->codes->dtype)->name, s->is_float ? "floats" : "integers",
                       s->bits);
    if ((status = qn_set_plain_codes(b, err)) ||
        (status = qn_part_need(b, ".weight_scale", &scales, err)))
        return status;
    qn_say_packing(&b->packed, floats ? qn_dtype_facts(b->codes->dtype)->name : "int",
                   floats ? 0 : s->bits, s, floats ? "" : sign_words(s));
    if ((status = qn_set_scales(b, scales, s, err))) return status;
    if (!floats) return set_zeros(b, s, 0, err);
    const qn_tensor *zeros = qn_part_find(b, ".weight_zero_point");
    if (zeros) qn_part_take(b, zeros);
    return QN_OK;
}
