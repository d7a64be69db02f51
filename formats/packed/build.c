#include "formats/packed/build.h"

#include <string.h>

#include "formats/base/sizes.h"
#include "formats/packed/packing.h"
#include "formats/packed/parts.h"

typedef unsigned long long ull;

/* ---- GPTQ and AWQ: [inputs][outputs], groups outermost ------------------------------------- */

/* Scales [groups][rows], and so the steps. */
static qn_status set_transposed_scales(qn_packed_build *b, const qn_tensor *scales, uint64_t group,
                                       qn_error *err)
{
    qn_packed *p = &b->packed;
    p->column_block = group && group < p->columns ? group : p->columns;
    p->n_groups = qn_divide_up(p->columns, p->column_block);
    p->row_block = p->row_step = 1;
    p->group_step = p->rows;
    p->scales = *scales;
    const qn_status status = qn_want_reals(b, scales, err);
    if (status) return status;
    return qn_want_shape(b, scales, 2, (const uint64_t[]){p->n_groups, p->rows}, err);
}

/* "dynamic" gives layers widths and groups of their own, by patterns; the shapes
 * say them, too. */
static void learn_scheme(const qn_packed_build *b, const qn_tensor *zeros, const qn_tensor *scales,
                         qn_packing_scheme *s)
{
    uint64_t columns, bits = 0;
    if (!b->how->varies || zeros->rank != 2 || scales->rank != 2) return;
    if (b->codes->dims[1] && qn_mul_u64(zeros->dims[1], 32, &bits)) bits /= b->codes->dims[1];
    if (bits != 2 && bits != 3 && bits != 4 && bits != 8) return;
    s->bits = (unsigned)bits;
    if (!qn_words_to_values(b->codes->dims[0], s->bits, &columns) || !scales->dims[0]) return;
    s->group = qn_divide_up(columns, scales->dims[0]);
    s->scale = s->group == columns ? QN_SCALE_OF_CHANNEL : QN_SCALE_OF_GROUP;
}

/* Rows of a group next to each other are no order of their own. */
static bool is_plain_order(const qn_packed *p)
{
    for (uint64_t i = 0; i < p->columns; i++) {
        int32_t g;
        memcpy(&g, (const uint8_t *)p->g_idx.data + 4 * i, sizeof g);
        if ((uint64_t)g != i / p->column_block) return false;
    }
    return true;
}

qn_status qn_build_gptq(qn_packed_build *b, qn_error *err)
{
    qn_packed *p = &b->packed;
    qn_packing_scheme s = b->how->schemes[0];
    const qn_tensor *scales, *zeros;
    qn_status status;
    if ((status = qn_want_rank(b, 2, 2, err)) || (status = qn_want_words(b, b->codes, err)) ||
        (status = qn_part_need(b, ".scales", &scales, err)) ||
        (status = qn_part_need(b, ".qzeros", &zeros, err)))
        return status;
    learn_scheme(b, zeros, scales, &s);
    b->rank = 2;
    b->dims[0] = b->codes->dims[1];
    if (!qn_words_to_values(b->codes->dims[0], s.bits, &b->dims[1]))
        return qn_fail_words(b, b->codes->dims[0], s.bits, err);
    if ((status = qn_set_shape(b, err))) return status;
    p->bits = s.bits;
    p->code_layout = QN_CODES_IN_COLUMNS;
    p->row_bytes = 4 * p->rows;
    p->zero_layout = QN_ZERO_IN_ROWS;
    p->zero = qn_gptq_zero_read(0, b->how->gptq_v1);
    p->zeros = *zeros;
    qn_say_packing(p, "int", s.bits, &s, "");
    if ((status = set_transposed_scales(b, scales, s.group, err)) ||
        (status = qn_want_words(b, zeros, err)) ||
        (status = qn_want_shape(b, zeros, 2,
                                (const uint64_t[]){p->n_groups, qn_packed_words(p->rows, p->bits)},
                                err)) ||
        (status = qn_set_order(b, ".g_idx", err)))
        return status;
    if (!p->g_idx.data) return QN_OK;
    if ((status = qn_check_order(b, err))) return status;
    if (is_plain_order(p))
        p->g_idx = (qn_tensor){0};
    else
        qn_say_packing(p, "int", s.bits, &s, ", columns reordered");
    return QN_OK;
}

qn_status qn_build_awq(qn_packed_build *b, qn_error *err)
{
    qn_packed *p = &b->packed;
    const qn_packing_scheme *s = &b->how->schemes[0];
    const qn_tensor *scales, *zeros;
    qn_status status;
    if ((status = qn_want_rank(b, 2, 2, err)) || (status = qn_want_words(b, b->codes, err)))
        return status;
    b->rank = 2;
    b->dims[1] = b->codes->dims[0];
    if (!qn_words_to_values(b->codes->dims[1], s->bits, &b->dims[0]))
        return qn_fail_words(b, b->codes->dims[1], s->bits, err);
    if ((status = qn_set_shape(b, err)) || (status = qn_part_need(b, ".scales", &scales, err)) ||
        (status = qn_part_need(b, ".qzeros", &zeros, err)))
        return status;
    p->bits = s->bits;
    p->code_layout = QN_CODES_AWQ;
    p->row_bytes = p->rows / 2;
    p->zero_layout = QN_ZERO_AWQ;
    p->zeros = *zeros;
    qn_say_packing(p, "int", s->bits, s, "");
    if ((status = set_transposed_scales(b, scales, s->group, err)) ||
        (status = qn_want_words(b, zeros, err)))
        return status;
    return qn_want_shape(b, zeros, 2, (const uint64_t[]){p->n_groups, p->rows / 8}, err);
}

/* ---- MLX and MXFP4 ---------------------------------------------------------------------- */

qn_status qn_build_mlx(qn_packed_build *b, qn_error *err)
{
    qn_packed *p = &b->packed;
    qn_packing_scheme s;
    const qn_tensor *scales, *biases;
    char module[512];
    snprintf(module, sizeof module, "%.*s", (int)b->base.n, b->base.s);
    qn_status status = qn_packing_of_module(b->how, module, &s, err);
    if (status || (status = qn_want_rank(b, 2, QN_MAX_RANK, err))) return status;
    b->rank = b->codes->rank;
    memcpy(b->dims, b->codes->dims, b->rank * sizeof *b->dims);
    const uint64_t words = b->dims[b->rank - 1];
    if (!qn_words_to_values(words, s.bits, &b->dims[b->rank - 1]))
        return qn_fail_words(b, words, s.bits, err);
    if ((status = qn_set_shape(b, err)) || (status = qn_part_need(b, ".scales", &scales, err)) ||
        (status = qn_part_need(b, ".biases", &biases, err)))
        return status;
    p->bits = s.bits;
    p->code_layout = QN_CODES_IN_ROWS;
    p->row_bytes = 4 * words;
    p->biases = *biases;
    qn_say_packing(p, "int", s.bits, &s, ", biases");
    if ((status = qn_set_scales(b, scales, &s, err)) ||
        (status = qn_want_scales_shape(b, biases, &s, err)))
        return status;
    return biases->dtype == scales->dtype ? QN_OK : qn_want_reals(b, biases, err);
}

qn_status qn_build_mxfp4(qn_packed_build *b, qn_error *err)
{
    enum { GROUP = 32, GROUP_BYTES = 16 };
    const qn_packing_scheme s = {.scale = QN_SCALE_OF_GROUP, .group = GROUP};
    qn_packed *p = &b->packed;
    const qn_tensor *scales, *t = b->codes;
    qn_status status = qn_want_rank(b, 3, QN_MAX_RANK, err);
    if (status) return status;
    if (t->dtype != QN_U8) return qn_fail_type(b, t, "U8", err);
    b->rank = t->rank - 1;
    memcpy(b->dims, t->dims, b->rank * sizeof *b->dims);
    if (t->dims[b->rank] != GROUP_BYTES ||
        !qn_mul_u64(t->dims[b->rank - 1], GROUP, &b->dims[b->rank - 1]))
        return qn_fail(err, QN_ERR_DATA, "%s: \"%s\": blocks of %llu bytes, not of %d",
                       qn_part_path(b, t), t->name, (ull)t->dims[b->rank], GROUP_BYTES);
    if ((status = qn_set_shape(b, err)) || (status = qn_part_need(b, "_scales", &scales, err)))
        return status;
    p->number = QN_F4;
    p->bits = 4;
    p->code_layout = QN_CODES_IN_ROWS;
    p->row_bytes = p->columns / 2;
    qn_say_packing(p, "MXFP4", 0, &s, "");
    if (scales->dtype != QN_U8) return qn_fail_type(b, scales, "U8", err);
    qn_tensor exponents = *scales;
    exponents.dtype = QN_F8_E8M0;
    return qn_set_scales(b, &exponents, &s, err);
}

/* ---- FP8 --------------------------------------------------------------------------------- */

qn_status qn_build_fp8(qn_packed_build *b, qn_error *err)
{
    qn_packing_scheme s = b->how->schemes[0];
    const qn_tensor *scales;
    const char *end =
        s.scale == QN_SCALE_OF_BLOCK || qn_part_find(b, "_scale_inv") ? "_scale_inv" : "_scale";
    qn_status status = qn_set_plain_codes(b, err);
    if (status || (status = qn_part_need(b, end, &scales, err))) return status;
    /* One scale, or one a row: the shape alone says which. */
    if (s.scale == QN_SCALE_OF_TENSOR && qn_tensor_elements(scales) > 1)
        s.scale = QN_SCALE_OF_CHANNEL;
    qn_say_packing(&b->packed, qn_dtype_facts(b->codes->dtype)->name, 0, &s, "");
    return qn_set_scales(b, scales, &s, err);
}
