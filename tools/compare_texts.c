/* The texts of quern compare as windows of ids, the same for all models. */
#include <string.h>

#include "formats/base/alloc.h"
#include "formats/base/digest.h"
#include "tools/compare.h"
#include "tools/text_input.h"

/* Every model must read the text as the same ids. */
static qn_status check_ids(const qn_compare_job *j, qn_str text, const uint32_t *ids, size_t n,
                           qn_error *err)
{
    const qn_encode_options how = {.add_special = true};
    for (size_t m = 1; m < j->n_models; m++) {
        uint32_t *other = NULL;
        size_t n_other = 0, same = 0;
        const qn_status status =
            qn_encode_text(&j->models[m].loaded, text, how, &other, &n_other, err);
        if (status) return status;
        while (same < n && same < n_other && other[same] == ids[same]) same++;
        qn_free(other);
        if (same < n || n != n_other)
            return qn_fail(err, QN_ERR_DATA,
                           "%s: its tokenizer differs from %s's: %zu tokens and %zu, the first "
                           "that differs is number %zu",
                           j->models[m].path, j->models->path, n_other, n, same + 1);
    }
    return QN_OK;
}

static qn_status add_ids(qn_compare_job *j, const uint32_t *ids, size_t n, qn_error *err)
{
    if (j->id_capacity - j->n_ids < n) {
        const size_t capacity = qn_grow(j->id_capacity, j->n_ids + n);
        uint32_t *grown = qn_resize(j->ids, capacity, sizeof *grown);
        if (!grown) return qn_fail_memory(err, "the texts");
        j->ids = grown;
        j->id_capacity = capacity;
    }
    memcpy(j->ids + j->n_ids, ids, n * sizeof *ids);
    j->n_ids += n;
    return QN_OK;
}

static qn_status cut(const qn_compare_job *j, const uint32_t *ids, size_t n, qn_chunks *out,
                     qn_error *err)
{
    const qn_compare_options *o = j->o;
    const qn_vocab *v = qn_compare_speaker(j)->vocab;
    const qn_chunk_options how = {.n_ctx = (size_t)o->n_ctx, .chunks = o->chunks};
    const uint32_t bos = qn_vocab_bos(v);
    return qn_chunks_cut(out, ids, n, bos, qn_vocab_adds_bos(v) && bos != UINT32_MAX, &how, err);
}

/* Adds the whole chunks of one text. */
static qn_status add_text(qn_compare_job *j, qn_compare_text *t, qn_str text, qn_error *err)
{
    const qn_encode_options how = {.add_special = true};
    uint32_t *ids = NULL;
    size_t n = 0;
    qn_chunks chunks;
    qn_status status = qn_encode_text(&j->models->loaded, text, how, &ids, &n, err);
    if (!status) status = check_ids(j, text, ids, n, err);
    if (!status) status = cut(j, ids, n, &chunks, err);
    if (!status) {
        t->first_chunk = j->n_ids / chunks.n_ctx;
        t->chunks = chunks.chunks;
        status = add_ids(j, ids, chunks.chunks * chunks.n_ctx, err);
    }
    qn_free(ids);
    return status;
}

static qn_status read_text(qn_compare_job *j, qn_compare_text *t, qn_error *err)
{
    qn_text text = {0};
    qn_error why = {0};
    qn_status status = qn_text_from_file(t->file, &text, err);
    if (status) return status;
    qn_sha256_hex(text.s, text.n, t->sha256);
    status = add_text(j, t, qn_str_of(text.s ? text.s : "", text.n), &why);
    if (status) status = qn_fail(err, status, "%s: %s", t->file, why.message);
    qn_text_free(&text);
    return status;
}

/* A file of probabilities has its text in it, cut as it is. */
static qn_status read_base(qn_compare_job *j, qn_error *err)
{
    const bool compact = qn_compare_is_compact(j);
    const size_t n_ctx = compact ? j->compact.n_ctx : j->base.n_ctx;
    const size_t all = compact ? j->compact.n_chunks : j->base.n_chunks;
    const uint32_t *ids = compact ? j->compact.ids : j->base.ids;
    const size_t chunks = j->o->chunks && j->o->chunks < all ? (size_t)j->o->chunks : all;
    const qn_vocab *v = qn_compare_speaker(j)->vocab;
    const uint32_t bos = qn_vocab_bos(v);
    const qn_chunk_options how = {.n_ctx = n_ctx};
    if (!j->texts->file) j->texts->file = j->models->path;
    if (compact)
        memcpy(j->texts->sha256, j->compact.of.text, sizeof j->texts->sha256);
    else
        qn_sha256_hex(ids, 4 * n_ctx * all, j->texts->sha256);
    j->texts->chunks = chunks;
    const qn_status status = add_ids(j, ids, chunks * n_ctx, err);
    return status ? status
                  : qn_chunks_cut(&j->chunks, j->ids, j->n_ids, bos,
                                  qn_vocab_adds_bos(v) && bos != UINT32_MAX, &how, err);
}

qn_status qn_compare_read_texts(qn_compare_job *j, qn_error *err)
{
    qn_status status = QN_OK;
    if (j->has_base) return read_base(j, err);
    for (size_t i = 0; i < j->n_texts && !status; i++) status = read_text(j, &j->texts[i], err);
    if (status) return status;
    /* all chunks of all texts, whatever --chunks says of each */
    qn_compare_options all = *j->o;
    all.chunks = 0;
    const qn_compare_options *given = j->o;
    j->o = &all;
    status = cut(j, j->ids, j->n_ids, &j->chunks, err);
    j->o = given;
    return status;
}
