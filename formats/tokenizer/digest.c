#include "formats/base/digest.h"

#include <inttypes.h>

#include "formats/tokenizer/vocab.h"

static void add_u32s(qn_text *t, const uint32_t *x, size_t n)
{
    qn_text_add(t, (const char *)x, n * sizeof *x);
}

static void add_string(qn_text *t, qn_str s)
{
    qn_text_addf(t, "%zu:", s.n);
    qn_text_add(t, s.s, s.n);
}

static void add_patterns(qn_text *t, const qn_pre *pre)
{
    for (size_t i = 0; i < QN_PRE_STEPS && pre->patterns[i]; i++)
        add_string(t, qn_str_z(pre->patterns[i]));
}

qn_status qn_vocab_digest(const qn_vocab *v, char out[65], qn_error *err)
{
    qn_text all = {0};
    qn_text_addf(&all, "%d %zu %zu %" PRIu32 " %" PRIu32 " %d %d\n", (int)v->kind, v->n,
                 v->merge_count, qn_vocab_bos(v), qn_vocab_eos(v), (int)qn_vocab_adds_bos(v),
                 (int)qn_vocab_adds_eos(v));
    for (size_t i = 0; i < v->n; i++) add_string(&all, v->pieces[i]);
    for (size_t i = 0; i < v->merge_count; i++)
        add_u32s(&all, (const uint32_t[]){v->merges[i].left, v->merges[i].right}, 2);
    if (v->pre) add_patterns(&all, v->pre);
    const bool failed = all.failed;
    if (!failed) qn_sha256_hex(all.s, all.n, out);
    qn_text_free(&all);
    return failed ? qn_fail_memory(err, "a vocabulary") : QN_OK;
}
