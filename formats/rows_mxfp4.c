/* ggml's MXFP4 blocks as checkpoints have them: codes with neighbours in a byte,
 * scales by themselves (transformers, integrations/mxfp4.py). */
#include "formats/rows.h"
#include "kernels/blocks.h"

/* Row r of the codes is block r of all rows below. */
static void codes_repack(const qn_rows *s, uint64_t r, void *out)
{
    const qn_block_mxfp4 *row = s->below->raw(s->below, r / s->number);
    const uint8_t *q = row[r % s->number].q;
    uint8_t *codes = out;
    for (int j = 0; j < 8; j++) {
        codes[j] = (uint8_t)((q[2 * j] & 15) | (q[2 * j + 1] & 15) << 4);
        codes[8 + j] = (uint8_t)(q[2 * j] >> 4 | (q[2 * j + 1] & 0xf0));
    }
}

static void codes_done(const qn_rows *s, uint64_t r0, uint64_t r1)
{
    s->below->done(s->below, r0 / s->number, r1 / s->number);
}

static void scales_repack(const qn_rows *s, uint64_t r, void *out)
{
    const qn_block_mxfp4 *row = s->below->raw(s->below, r);
    uint8_t *scales = out;
    for (uint64_t g = 0; g < s->number; g++) scales[g] = row[g].e;
}

static void scales_done(const qn_rows *s, uint64_t r0, uint64_t r1)
{
    s->below->done(s->below, r0, r1);
}

static const qn_rows *new_bytes(qn_arena *a, const qn_rows *below, qn_rows like)
{
    qn_rows *s = qn_arena_alloc(a, 1, sizeof *s);
    if (!s) return NULL;
    *s = like;
    s->dtype = QN_F32;
    s->blocks = QN_U8;
    s->below = below;
    s->number = below->columns / 32;
    return s;
}

const qn_rows *qn_rows_mxfp4_codes(qn_arena *a, const qn_rows *below)
{
    return new_bytes(a, below,
                     (qn_rows){.rows = below->rows * (below->columns / 32),
                               .columns = 16,
                               .source_bytes = below->source_bytes / 17 * 16,
                               .repack = codes_repack,
                               .done = codes_done});
}

const qn_rows *qn_rows_mxfp4_scales(qn_arena *a, const qn_rows *below)
{
    return new_bytes(a, below,
                     (qn_rows){.rows = below->rows,
                               .columns = below->columns / 32,
                               .source_bytes = below->source_bytes / 17,
                               .repack = scales_repack,
                               .done = scales_done});
}
