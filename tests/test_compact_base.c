/* Compact base files: what a row keeps against plain sums in double, the divergence's
 * bounds and lack of bias against the divergence itself, and damaged files. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "tests/support/data.h"
#include "tests/support/files.h"
#include "tests/support/golden.h"
#include "tests/support/random.h"
#include "tests/support/run.h"
#include "validate/compact_base.h"
#include "validate/compact_bits.h"
#include "validate/compact_kl.h"
#include "validate/perplexity.h"

enum { LARGE = 262144 };

typedef struct {
    qn_compact_row row;
    uint8_t *bytes;
    size_t length;
} written;

static written write_row(const float *logits, size_t n, uint32_t next, uint64_t seed)
{
    written w = {0};
    qn_compact_scratch *s = qn_compact_scratch_new(n);
    ck_assert_ptr_nonnull(s);
    w.bytes = qn_alloc(qn_compact_row_bytes(n), 1);
    w.row.ids = qn_alloc(qn_compact_row_ids(n), sizeof *w.row.ids);
    w.row.log_p = qn_alloc(qn_compact_row_ids(n), sizeof *w.row.log_p);
    w.length = qn_compact_row_put(s, qn_kernels_best(), logits, n, next, seed, w.bytes);
    ck_assert_uint_le(w.length, qn_compact_row_bytes(n));
    const char *wrong = qn_compact_row_get(&w.row, w.bytes, w.length, n);
    ck_assert_msg(!wrong, "%s", wrong);
    qn_compact_scratch_free(s);
    return w;
}

static void forget(const written *w)
{
    qn_free(w->bytes);
    qn_free(w->row.ids);
    qn_free(w->row.log_p);
}

/* Logits as models have them: a few far above a broad rest; sharp: how far. */
static float *make_logits(uint64_t seed, size_t n, float sharp)
{
    qn_random r = {seed};
    float *x = qn_alloc(n, sizeof *x);
    ck_assert_ptr_nonnull(x);
    for (size_t v = 0; v < n; v++) {
        x[v] = 1.5f * qn_random_normal(&r);
        if (qn_random_bits(&r) % 64 == 0) x[v] += sharp;
    }
    return x;
}

static float *noisy(const float *x, size_t n, float noise)
{
    qn_random r = {n + 17};
    float *y = qn_alloc(n, sizeof *y);
    ck_assert_ptr_nonnull(y);
    for (size_t v = 0; v < n; v++) y[v] = x[v] + noise * qn_random_normal(&r);
    return y;
}

static double log_sum(const float *x, size_t n)
{
    double max = (double)x[0], sum = 0;
    for (size_t v = 0; v < n; v++) max = fmax(max, (double)x[v]);
    for (size_t v = 0; v < n; v++) sum += exp((double)x[v] - max);
    return max + log(sum);
}

static double divergence(const float *a, const float *b, size_t n)
{
    const double la = log_sum(a, n), lb = log_sum(b, n);
    double kl = 0;
    for (size_t v = 0; v < n; v++)
        kl += exp((double)a[v] - la) * ((double)a[v] - la - (double)b[v] + lb);
    return kl;
}

/* ---- a row ------------------------------------------------------------------------------ */

static void check_row(const written *w, const float *x, size_t n, uint32_t next)
{
    const qn_compact_row *r = &w->row;
    const double total = log_sum(x, n);
    double mass = 0, tail = 0, tail_sum = 0, least = 0, largest_left = -1e30;
    uint32_t top = 0;
    size_t k = 0;
    for (uint32_t v = 0; v < n; v++) {
        const double log_p = (double)x[v] - total;
        if (x[v] > x[top]) top = v;
        if (k < r->kept && r->ids[k] == v) {
            ck_assert(fabs((double)r->log_p[k] - log_p) <= QN_COMPACT_STEP / 2 + 2e-6);
            least = fmin(least, log_p);
            mass += exp(log_p);
            k++;
        } else {
            tail += exp(log_p);
            tail_sum += exp(log_p) * log_p;
            largest_left = fmax(largest_left, log_p);
        }
    }
    ck_assert_uint_eq(k, r->kept);
    ck_assert_uint_eq(r->top, top);
    ck_assert(fabs((double)r->log_p_next - ((double)x[next] - total)) < 1e-5);
    ck_assert(fabs((double)r->tail - tail) < 1e-6 + 1e-4 * tail);
    if (tail > 0) ck_assert(fabs((double)r->tail_mean - tail_sum / tail) < 1e-3);
    ck_assert_msg(mass >= 0.99899 || r->kept == QN_COMPACT_KEPT, "%zu tokens have %g", r->kept,
                  mass);
    /* the most probable ones, to a 128th of a nat */
    ck_assert(least >= largest_left - 1.01 / 128);
    for (size_t i = 0; i < r->samples; i++) {
        const uint32_t id = r->ids[r->kept + i];
        ck_assert(fabs((double)r->log_p[r->kept + i] - ((double)x[id] - total)) <=
                  QN_COMPACT_STEP / 2 + 2e-6);
    }
}

START_TEST(a_row_keeps_the_most_probable_tokens_and_what_the_others_come_to)
{
    static const size_t sizes[] = {1, 2, 17, 512, 4096, 50257};
    static const float sharp[] = {0, 4, 8, 30};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t k = 0; k < sizeof sharp / sizeof *sharp; k++) {
            const size_t n = sizes[i];
            float *x = make_logits(i * 7 + k, n, sharp[k]);
            const uint32_t next = (uint32_t)(n / 3);
            const written w = write_row(x, n, next, k);
            check_row(&w, x, n, next);
            forget(&w);
            qn_free(x);
        }
}
END_TEST

/* A row of llama-perplexity's file takes 2 * (262144 + 4) bytes. */
START_TEST(no_row_of_a_large_vocabulary_takes_a_hundredth_of_its_16_bit_form)
{
    ck_assert_uint_lt(qn_compact_row_bytes(LARGE) + 4, 2 * (LARGE + 4) / 100);
    for (int kind = 0; kind < 2; kind++) {
        qn_random r = {(uint64_t)kind};
        float *x = qn_alloc(LARGE, sizeof *x);
        ck_assert_ptr_nonnull(x);
        for (size_t v = 0; v < LARGE && kind; v++)
            x[v] = kind == 1 ? qn_random_normal(&r) : (float)(v % 31);
        const written w = write_row(x, LARGE, 5, 0);
        check_row(&w, x, LARGE, 5);
        forget(&w);
        qn_free(x);
    }
}
END_TEST

START_TEST(bytes_are_the_same_for_every_instruction_set)
{
    const size_t n = 4096;
    float *x = make_logits(3, n, 6);
    const written w = write_row(x, n, 9, 4);
    qn_kernels k;
    bool runs;
    for (unsigned level = 0; qn_kernels_level(level, &k, &runs); level++) {
        qn_compact_scratch *s = qn_compact_scratch_new(n);
        uint8_t *bytes = qn_alloc(qn_compact_row_bytes(n), 1);
        ck_assert(s && bytes);
        ck_assert_uint_eq(qn_compact_row_put(s, &k, x, n, 9, 4, bytes), w.length);
        ck_assert_msg(!memcmp(bytes, w.bytes, w.length), "%s", k.isa);
        qn_free(bytes);
        qn_compact_scratch_free(s);
    }
    forget(&w);
    qn_free(x);
}
END_TEST

START_TEST(ascending_numbers_come_back)
{
    const uint32_t ids[] = {0, 0, 1, 5, 5, 70000, 262143};
    enum { N = sizeof ids / sizeof *ids };
    for (unsigned rice = 0; rice < 31; rice += 5) {
        uint8_t *bytes = qn_alloc(N * 8 + 262143, 1);
        uint32_t got[N];
        ck_assert_ptr_nonnull(bytes);
        qn_bit_writer w = {bytes, 0};
        qn_bits_put_ids(&w, ids, N, 0, rice);
        qn_bit_reader r = {bytes, 0, w.bit, false};
        ck_assert(qn_bits_get_ids(&r, got, N, 0, rice, 262144));
        ck_assert(!memcmp(got, ids, sizeof ids));
        r = (qn_bit_reader){bytes, 0, w.bit - 1, false};
        ck_assert(!qn_bits_get_ids(&r, got, N, 0, rice, 262144));
        r = (qn_bit_reader){bytes, 0, w.bit, false};
        ck_assert(!qn_bits_get_ids(&r, got, N, 0, rice, 262143));
        qn_free(bytes);
    }
}
END_TEST

/* ---- the divergence ------------------------------------------------------------------------ */

static qn_compact_kl kl_of(const written *w, const float *y, size_t n)
{
    qn_compact_kl kl;
    float *scratch = qn_alloc(n, sizeof *scratch);
    ck_assert_ptr_nonnull(scratch);
    qn_compact_kl_of(&kl, qn_kernels_best(), &w->row, y, scratch, n);
    qn_free(scratch);
    return kl;
}

START_TEST(the_divergence_lies_within_its_bounds)
{
    static const float noise[] = {0, 0.01f, 0.1f, 1, 4};
    static const float sharp[] = {0, 5, 9, 25};
    const size_t n = 8192;
    for (size_t i = 0; i < sizeof noise / sizeof *noise; i++)
        for (size_t k = 0; k < sizeof sharp / sizeof *sharp; k++) {
            float *x = make_logits(i, n, sharp[k]), *y = noisy(x, n, noise[i]);
            const written w = write_row(x, n, 1, i);
            const qn_compact_kl kl = kl_of(&w, y, n);
            const double exact = divergence(x, y, n), slack = 1e-6 * (1 + exact);
            ck_assert_msg(kl.least <= exact + slack && exact <= kl.most + slack,
                          "noise %g, sharp %g: %.9g is not within %.9g .. %.9g", (double)noise[i],
                          (double)sharp[k], exact, kl.least, kl.most);
            ck_assert(kl.kld >= kl.least && kl.variance >= 0);
            ck_assert(fabs(kl.total - log_sum(y, n)) < 1e-5);
            forget(&w);
            qn_free(x);
            qn_free(y);
        }
}
END_TEST

/* A tail that has half of the mass and moves as a whole, over many draws. */
START_TEST(the_estimate_has_no_bias_and_the_error_it_states)
{
    enum { N = 6000, DRAWS = 200 };
    float *x = make_logits(5, N, 1), *y = noisy(x, N, 0.4f);
    const double exact = divergence(x, y, N);
    double sum = 0, squares = 0, stated = 0;
    for (uint64_t seed = 0; seed < DRAWS; seed++) {
        const written w = write_row(x, N, 1, seed);
        const qn_compact_kl kl = kl_of(&w, y, N);
        ck_assert(w.row.tail > 0.2f);
        sum += kl.kld;
        squares += kl.kld * kl.kld;
        stated += kl.variance;
        forget(&w);
    }
    const double mean = sum / DRAWS, variance = squares / DRAWS - mean * mean;
    ck_assert_msg(fabs(mean - exact) < 4 * sqrt(variance / DRAWS) + 1e-6,
                  "mean of the estimates %.9g, KL %.9g", mean, exact);
    ck_assert_msg(variance < 2 * stated / DRAWS && variance > stated / DRAWS / 4,
                  "variance of the estimates %.3g, stated %.3g", variance, stated / DRAWS);
    qn_free(x);
    qn_free(y);
}
END_TEST

/* ---- files ---------------------------------------------------------------------------------- */

enum { CONTEXT = 32, WINDOWS = 2 };

static const char *written_base(int threads, const char *name)
{
    qn_model *m = NULL;
    qn_error err = {0};
    qn_perplexity_result p = {0};
    const char *model = qn_test_data("models/stories260K-hf"), *path = qn_test_path(name);
    uint32_t ids[CONTEXT * WINDOWS];
    ck_assert_msg(!qn_model_open(&m, model, NULL, &err), "%s", err.message);
    qn_decoder *d = qn_test_decoder(m, qn_kernels_best(), threads);
    for (size_t i = 0; i < CONTEXT * WINDOWS; i++) ids[i] = (uint32_t)(i * i * 7 % 509 + 1);
    qn_compact_writer w = {.path = path, .force = true};
    memset(w.of.model, 'a', 64);
    memset(w.of.tokenizer, 'b', 64);
    memset(w.of.text, '0', 64);
    const qn_logits_sink sink = {&w, qn_compact_writer_begin, qn_compact_writer_rows};
    const qn_perplexity_options how = {.n_ctx = CONTEXT, .sink = &sink};
    const qn_status status =
        qn_perplexity_run(d, ids, CONTEXT * WINDOWS, 1, true, &how, NULL, NULL, &p, &err);
    ck_assert_msg(!qn_compact_writer_end(&w, status, &err), "%s", err.message);
    qn_free(p.chunk_nll);
    qn_decoder_free(d);
    qn_model_close(m);
    return path;
}

static qn_status read_all(const char *path, qn_error *err)
{
    qn_compact_base b;
    qn_status status = qn_compact_base_open(&b, path, err);
    if (status) return status;
    uint32_t *ids = qn_alloc(qn_compact_row_ids(b.n_vocab), sizeof *ids);
    float *log_p = qn_alloc(qn_compact_row_ids(b.n_vocab), sizeof *log_p);
    qn_compact_row row = {.ids = ids, .log_p = log_p};
    for (size_t c = 0; c < b.n_chunks && !status; c++)
        for (size_t i = 0; i < b.scored && !status; i++)
            status = qn_compact_base_rows(&b, c, i, 1, &row, err);
    qn_free(ids);
    qn_free(log_p);
    qn_compact_base_close(&b);
    return status;
}

START_TEST(a_file_holds_what_it_is_of_whatever_the_threads)
{
    qn_compact_base b;
    qn_error err = {0};
    char *one, *three;
    size_t n_one, n_three;
    const char *path = written_base(1, "one.qkl"), *other = written_base(3, "three.qkl");
    ck_assert(!qn_read_file(path, 1 << 20, &one, &n_one, &err));
    ck_assert(!qn_read_file(other, 1 << 20, &three, &n_three, &err));
    ck_assert_uint_eq(n_one, n_three);
    ck_assert(!memcmp(one, three, n_one));
    ck_assert(qn_compact_base_is(path));
    ck_assert_msg(!qn_compact_base_open(&b, path, &err), "%s", err.message);
    ck_assert(b.n_ctx == CONTEXT && b.n_chunks == WINDOWS && b.n_vocab == 512);
    ck_assert(b.of.model[63] == 'a' && b.of.tokenizer[0] == 'b' && b.of.text[5] == '0');
    ck_assert_uint_eq(b.ids[3], 3 * 3 * 7 + 1);
    qn_compact_base_close(&b);
    ck_assert_msg(!read_all(path, &err), "%s", err.message);
    qn_free(one);
    qn_free(three);
}
END_TEST

/* Every byte matters, and none can be missing. */
START_TEST(a_damaged_or_truncated_file_is_refused)
{
    qn_error err = {0};
    char *bytes;
    size_t n;
    ck_assert(!qn_read_file(written_base(1, "whole.qkl"), 1 << 20, &bytes, &n, &err));
    for (size_t length = 0; length < n; length += length < 140 ? 11 : 1997) {
        const qn_status status = read_all(qn_test_file("cut.qkl", bytes, length), &err);
        ck_assert_msg(status == QN_ERR_DATA, "%zu of %zu bytes: status %d", length, n, status);
    }
    for (size_t at = 0; at < n; at += at < 140 ? 3 : 997) {
        bytes[at] = (char)(bytes[at] ^ 0x55);
        const qn_status status = read_all(qn_test_file("damaged.qkl", bytes, n), &err);
        bytes[at] = (char)(bytes[at] ^ 0x55);
        ck_assert_msg(status == QN_ERR_DATA || (at / 4 == 2 && status == QN_ERR_UNSUPPORTED),
                      "byte %zu of %zu: status %d", at, n, status);
    }
    qn_free(bytes);
}
END_TEST

/* Whatever the checks say: a row of anything is read within its bounds. */
START_TEST(a_hostile_row_ends_in_words)
{
    const size_t n = 3000;
    qn_random r = {11};
    float *x = make_logits(8, n, 5);
    written w = write_row(x, n, 1, 2);
    uint32_t *ids = w.row.ids;
    size_t refused = 0;
    for (size_t i = 0; i < 3000; i++) {
        uint8_t *copy = malloc(w.length); /* exactly, where a sanitizer sees a step too far */
        ck_assert_ptr_nonnull(copy);
        memcpy(copy, w.bytes, w.length);
        const size_t place = i % 2 ? 27 : w.length;
        for (size_t k = 0; k <= i % 3; k++)
            copy[qn_random_bits(&r) % place] = (uint8_t)qn_random_bits(&r);
        const size_t length = i % 5 ? w.length : qn_random_bits(&r) % w.length;
        if (qn_compact_row_get(&w.row, copy, length, n)) {
            refused++;
        } else {
            for (size_t k = 0; k < w.row.kept + w.row.samples; k++) ck_assert_uint_lt(ids[k], n);
            const qn_compact_kl kl = kl_of(&w, x, n);
            ck_assert(!isnan(kl.kld));
        }
        free(copy);
    }
    ck_assert_uint_gt(refused, 700);
    forget(&w);
    qn_free(x);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("compact_base");
    TCase *t = qn_test_group(s, "rows");
    tcase_add_test(t, a_row_keeps_the_most_probable_tokens_and_what_the_others_come_to);
    tcase_add_test(t, no_row_of_a_large_vocabulary_takes_a_hundredth_of_its_16_bit_form);
    tcase_add_test(t, bytes_are_the_same_for_every_instruction_set);
    tcase_add_test(t, ascending_numbers_come_back);
    tcase_add_test(t, a_hostile_row_ends_in_words);
    t = qn_test_group(s, "divergence");
    tcase_add_test(t, the_divergence_lies_within_its_bounds);
    tcase_add_test(t, the_estimate_has_no_bias_and_the_error_it_states);
    t = qn_test_group(s, "files");
    tcase_add_test(t, a_file_holds_what_it_is_of_whatever_the_threads);
    tcase_add_test(t, a_damaged_or_truncated_file_is_refused);
    return qn_test_run_suite(s);
}
