/* Models that are larger than the memory they are given: the limit holds, the
 * figures are the same to the last bit, and a window that does not fit is refused. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "tests/support/checkpoint.h"
#include "tests/support/files.h"
#include "tests/support/golden.h"
#include "tests/support/run.h"
#include "validate/perplexity.h"

static const qn_model_options no_vocab = {.no_vocab = true};

/* 32 layers of 6.3 MiB. */
static const checkpoint_shape deep = {.vocab = 512,
                                      .hidden = 512,
                                      .layers = 32,
                                      .heads = 8,
                                      .kv_heads = 4,
                                      .head_dim = 64,
                                      .feed_forward = 1664,
                                      .tied = true};
static const uint64_t limit = 64 << 20;

/* Whose own memory counts, too. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { sanitized = 1 };
#else
enum { sanitized = 0 };
#endif

static uint64_t peak_memory(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (uint64_t)r.ru_maxrss * 1024;
}

static qn_status measure(qn_decoder *d, const uint32_t *ids, size_t n, uint64_t memory,
                         qn_perplexity_result *out, qn_error *err)
{
    const qn_perplexity_options options = {.n_ctx = 64, .memory = memory};
    return qn_perplexity_run(d, ids, n, 0, false, &options, NULL, NULL, out, err);
}

START_TEST(a_model_larger_than_the_limit_stays_below_it)
{
    enum { TOKENS = 64 * 8 };
    static uint32_t ids[TOKENS];
    qn_error err = {0};
    qn_model *m;
    qn_perplexity_result r;
    checkpoint c = checkpoint_make(&deep);
    ck_assert_uint_gt(c.bytes, 3 * limit);
    const char *path = checkpoint_write(&c, "deep");
    ck_assert_msg(!qn_model_open(&m, path, &no_vocab, &err), "%s", err.message);
    qn_decoder *d = qn_test_decoder(m, qn_kernels_best(), 2);
    qn_decoder_give_back(d);
    const uint64_t before = sanitized ? limit / 2 : peak_memory();
    ck_assert_uint_lt(before, limit);
    ck_assert_msg(!measure(d, ids, TOKENS, limit - before, &r, &err), "%s", err.message);
    ck_assert_double_eq_tol(r.ppl, 512.0, 1e-9); /* all logits are 0 */
    if (!sanitized) ck_assert_uint_le(peak_memory(), limit);
    qn_free(r.chunk_nll);
    qn_decoder_free(d);
    qn_model_close(m);
    checkpoint_free(&c);
}
END_TEST

/* With no limit: all weights, and the scratch as it is stated. */
START_TEST(what_is_resident_is_the_weights_and_the_stated_scratch)
{
    enum { TOKENS = 64 * 8, OTHERS = 3 << 20 /* threads, the allocator, stdio */ };
    static uint32_t ids[TOKENS];
    qn_error err = {0};
    qn_model *m;
    qn_perplexity_result r;
    checkpoint c = checkpoint_make(&deep);
    ck_assert_msg(!qn_model_open(&m, checkpoint_write(&c, "deep"), &no_vocab, &err), "%s",
                  err.message);
    qn_decoder *d = qn_test_decoder(m, qn_kernels_best(), 2);
    const uint64_t before = peak_memory();
    ck_assert_msg(!measure(d, ids, TOKENS, 0, &r, &err), "%s", err.message);
    const uint64_t weights = qn_decoders_held_bytes((const qn_decoder *[]){d}, 1);
    const uint64_t stated = before + weights + r.scratch, peak = peak_memory();
    ck_assert_uint_gt(weights, 32ull * 6 << 20);
    ck_assert_msg(sanitized || peak <= stated + OTHERS, "%llu bytes, stated %llu",
                  (unsigned long long)peak, (unsigned long long)stated);
    /* a statement is no use if it says anything: 512 tokens, the widest layer's 8 KiB each */
    ck_assert_uint_lt(r.scratch, 32 << 20);
    qn_free(r.chunk_nll);
    qn_decoder_free(d);
    qn_model_close(m);
    checkpoint_free(&c);
}
END_TEST

START_TEST(less_memory_does_not_change_a_bit)
{
    static const uint64_t limits[] = {0, 12 << 20, 16 << 20, 1 << 30};
    qn_test_golden g;
    size_t n;
    double expected = 0;
    if (!qn_test_golden_open(&g, "models/golden/llama")) return;
    const uint32_t *ids = qn_test_golden_tensor(&g, "ppl.tokens", &n);
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        qn_error err = {0};
        qn_perplexity_result r;
        qn_decoder *d = qn_test_decoder(g.model, qn_kernels_best(), 2);
        if (limits[i]) qn_decoder_give_back(d);
        ck_assert_msg(!measure(d, ids, n, limits[i], &r, &err), "%s", err.message);
        if (!i) expected = r.ppl;
        ck_assert_mem_eq(&r.ppl, &expected, sizeof expected);
        qn_free(r.chunk_nll);
        qn_decoder_free(d);
    }
    qn_test_golden_close(&g);
}
END_TEST

START_TEST(a_window_that_does_not_fit_is_refused_with_both_numbers)
{
    uint32_t ids[64] = {0};
    qn_error err = {0};
    qn_model *m;
    qn_perplexity_result r;
    checkpoint c = checkpoint_make(&deep);
    ck_assert(!qn_model_open(&m, checkpoint_write(&c, "deep"), &no_vocab, &err));
    qn_decoder *d = qn_test_decoder(m, qn_kernels_best(), 2);
    qn_decoder_give_back(d);
    ck_assert_int_eq(measure(d, ids, 64, 1 << 20, &r, &err), QN_ERR_MEMORY);
    ck_assert_ptr_nonnull(strstr(err.message, "one window of 64 tokens takes "));
    ck_assert_ptr_nonnull(strstr(err.message, " 1.0 MiB are left"));
    qn_decoder_free(d);
    qn_model_close(m);
    checkpoint_free(&c);
}
END_TEST

/* ---- numbers that are none ------------------------------------------------------------ */

/* A NaN as the first weight of a tensor. */
static void spoil(const char *path, const char *tensor)
{
    static const unsigned char nan[] = {0xc0, 0x7f};
    qn_reader *r = NULL;
    ck_assert(!qn_reader_open(&r, path, NULL));
    const qn_tensor *t = qn_reader_find(r, tensor);
    ck_assert_ptr_nonnull(t);
    FILE *f = fopen(qn_test_path("spoilt/model.safetensors"), "r+b");
    ck_assert(f && !fseek(f, (long)t->offset, SEEK_SET));
    ck_assert_uint_eq(fwrite(nan, sizeof nan, 1, f), 1);
    fclose(f);
    qn_reader_close(r);
}

/* Positions 8.. of 16 are scored, so that the last layer, 1, is run for those only. */
static const struct {
    const char *tensor, *says;
} spoilt[] = {
    {"model.layers.1.mlp.down_proj.weight", "layer 1 gives a number that is not finite at "
                                            "position 8 of sequence 0"},
    {"model.layers.0.mlp.down_proj.weight", "layer 0 gives a number that is not finite at "
                                            "position 0 of sequence 0"},
    {"model.embed_tokens.weight", "layer 0 gives a number that is not finite at position 5 of "
                                  "sequence 0"},
    {"lm_head.weight", "the head gives a number that is not finite at position 8 of sequence 0"},
};

START_TEST(a_number_that_is_none_is_placed)
{
    uint32_t ids[16] = {1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    qn_error err = {0};
    qn_model *m;
    qn_perplexity_result r;
    const qn_perplexity_options options = {.n_ctx = 16};
    checkpoint_shape shape = checkpoint_small;
    shape.tied = false;
    checkpoint c = checkpoint_make(&shape);
    const char *path = checkpoint_write(&c, "spoilt");
    spoil(path, spoilt[_i].tensor);
    ck_assert_msg(!qn_model_open(&m, path, &no_vocab, &err), "%s", err.message);
    qn_decoder *d = qn_test_decoder(m, qn_kernels_best(), 2);
    const qn_status status =
        qn_perplexity_run(d, ids, 16, 0, false, &options, NULL, NULL, &r, &err);
    ck_assert_int_eq(status, QN_ERR_DATA);
    ck_assert_msg(strstr(err.message, spoilt[_i].says) != NULL, "\"%s\" does not say \"%s\"",
                  err.message, spoilt[_i].says);
    qn_decoder_free(d);
    qn_model_close(m);
    checkpoint_free(&c);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("memory limit");
    TCase *tc = qn_test_group(suite, "memory limit");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, a_model_larger_than_the_limit_stays_below_it);
    tcase_add_test(tc, what_is_resident_is_the_weights_and_the_stated_scratch);
    tcase_add_test(tc, less_memory_does_not_change_a_bit);
    tcase_add_test(tc, a_window_that_does_not_fit_is_refused_with_both_numbers);
    tcase_add_loop_test(tc, a_number_that_is_none_is_placed, 0,
                        (int)(sizeof spoilt / sizeof *spoilt));
    return qn_test_run_suite(suite);
}
