#include "tools/calibrate_texts.h"

#include <string.h>

#include "formats/base/alloc.h"
#include "formats/base/digest.h"
#include "formats/base/sizes.h"
#include "tools/text_input.h"

/* Appends a text's whole chunks to *ids, of which *n are there. */
static qn_status read_one(qn_calibrate_texts *t, qn_calibrate_text *one, const qn_loaded *l,
                          bool parse_special, size_t *n, qn_error *err)
{
    const qn_encode_options how = {.add_special = true, .parse_special = parse_special};
    qn_text text = {0};
    uint32_t *ids = NULL;
    qn_status status = qn_text_from_file(one->file, &text, err);
    if (!status)
        status = qn_encode_text(l, qn_str_of(text.s ? text.s : "", text.n), how, &ids, &one->tokens,
                                err);
    qn_text_free(&text);
    if (status) return status;
    one->chunks = one->tokens / t->n_ctx;
    one->start = *n;
    const size_t more = one->chunks * t->n_ctx;
    uint32_t *all = qn_resize(t->ids, *n + more + 1, sizeof *all);
    if (all) {
        t->ids = all;
        memcpy(all + *n, ids, more * sizeof *all);
        *n += more;
    }
    qn_free(ids);
    return all ? QN_OK : qn_fail_memory(err, one->file);
}

/* Which chunks of each text count. */
static qn_status deal(qn_calibrate_texts *t, uint64_t skip, uint64_t most, qn_error *err)
{
    uint64_t all = 0, rest = 0, before = 0;
    for (size_t i = 0; i < t->n; i++) all += t->texts[i].chunks;
    if (!all)
        return qn_fail(err, QN_ERR_ARGUMENT,
                       "%s is %zu tokens, too short for one chunk of %zu: give more text or a "
                       "smaller context",
                       t->texts[0].file, t->texts[0].tokens, t->n_ctx);
    if (all <= skip)
        return qn_fail(err, QN_ERR_ARGUMENT,
                       "the texts are %llu chunks of %zu tokens, --from-chunk leaves out %llu",
                       (unsigned long long)all, t->n_ctx, (unsigned long long)skip);
    rest = all - skip;
    most = most ? qn_min_u64(most, rest) : rest;
    for (size_t i = 0; i < t->n; i++) {
        qn_calibrate_text *one = &t->texts[i];
        one->first = (size_t)qn_min_u64(skip, one->chunks);
        skip -= one->first;
        const uint64_t left = one->chunks - one->first;
        one->used = (size_t)((before + left) * most / rest - before * most / rest);
        before += left;
        t->chunks += one->used;
    }
    return QN_OK;
}

static void keep_used(qn_calibrate_texts *t)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n; i++) {
        qn_calibrate_text *one = &t->texts[i];
        const size_t used = one->used * t->n_ctx;
        memmove(t->ids + n, t->ids + one->start + one->first * t->n_ctx, used * sizeof *t->ids);
        one->start = n;
        n += used;
    }
    t->ids[n] = (uint32_t)t->n_ctx;
    qn_sha256_hex(t->ids, (n + 1) * sizeof *t->ids, t->sha256);
}

qn_status qn_calibrate_texts_read(qn_calibrate_texts *out, const qn_loaded *l,
                                  const char *const *files, size_t n, size_t n_ctx, uint64_t skip,
                                  uint64_t most, bool parse_special, qn_error *err)
{
    qn_calibrate_texts t = {.n = n, .n_ctx = n_ctx, .texts = qn_alloc(n, sizeof *t.texts)};
    size_t ids = 0;
    qn_status status = t.texts ? QN_OK : qn_fail_memory(err, "texts");
    for (size_t i = 0; i < n && !status; i++) {
        t.texts[i].file = files[i];
        status = read_one(&t, &t.texts[i], l, parse_special, &ids, err);
    }
    if (!status) status = deal(&t, skip, most, err);
    if (status) {
        qn_calibrate_texts_free(&t);
        return status;
    }
    keep_used(&t);
    *out = t;
    return QN_OK;
}

void qn_calibrate_texts_free(qn_calibrate_texts *t)
{
    qn_free(t->texts);
    qn_free(t->ids);
    *t = (qn_calibrate_texts){0};
}

uint64_t qn_calibrate_texts_seen(const qn_calibrate_texts *t, uint64_t n_vocab)
{
    uint64_t seen = 0;
    bool *has = qn_alloc((size_t)n_vocab, sizeof *has);
    if (!has) return n_vocab;
    for (size_t i = 0; i < t->chunks * t->n_ctx; i++) {
        if (t->ids[i] >= n_vocab || has[t->ids[i]]) continue;
        has[t->ids[i]] = true;
        seen++;
    }
    qn_free(has);
    return seen;
}
