/* Writing GGUF and safetensors: the bytes of the reference writers, and nothing
 * left behind when something fails. */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "formats/base/outfile.h"
#include "formats/writer.h"
#include "tests/support/data.h"
#include "tests/support/files.h"
#include "tests/support/run.h"

static qn_writer *created(const qn_format *f, const char *path, const qn_metadata *m,
                          uint64_t align)
{
    qn_writer *w = NULL;
    qn_error err = {0};
    ck_assert_msg(qn_writer_create(&w, f, path, true, m, align, &err) == QN_OK, "%s", err.message);
    return w;
}

static void declare(qn_writer *w, const char *name, qn_dtype t, unsigned rank, const uint64_t *dims)
{
    qn_error err = {0};
    ck_assert_msg(qn_writer_declare(w, name, t, rank, dims, &err) == QN_OK, "%s", err.message);
}

static void begin(qn_writer *w, uint64_t *total)
{
    qn_error err = {0};
    ck_assert_msg(qn_writer_plan(w, total, &err) == QN_OK, "%s", err.message);
    ck_assert_msg(qn_writer_begin(w, &err) == QN_OK, "%s", err.message);
}

static void put(qn_writer *w, size_t i, uint64_t offset, const void *bytes, uint64_t n)
{
    ck_assert_int_eq(qn_writer_put(w, i, offset, bytes, n, NULL), QN_OK);
}

static void check_same_file(const char *a, const char *b)
{
    char *x, *y;
    size_t n, m;
    ck_assert_int_eq(qn_read_file(a, 1 << 30, &x, &n, NULL), QN_OK);
    ck_assert_int_eq(qn_read_file(b, 1 << 30, &y, &m, NULL), QN_OK);
    ck_assert_msg(n == m, "%s has %zu bytes, %s has %zu", a, n, b, m);
    for (size_t i = 0; i < n; i++)
        if (x[i] != y[i]) ck_abort_msg("%s, %s: byte %zu", a, b, i);
    qn_free(x);
    qn_free(y);
}

/* Everything that the reader found, through the writer of its format. */
static void rewrite(const qn_reader *r, const char *path)
{
    uint64_t total;
    qn_writer *w = created(r->format, path, r->metadata, r->alignment);
    for (size_t i = 0; i < r->n_tensors; i++)
        declare(w, r->tensors[i].name, r->tensors[i].dtype, r->tensors[i].rank, r->tensors[i].dims);
    begin(w, &total);
    for (size_t i = r->n_tensors; i-- > 0;) {
        put(w, i, 0, r->tensors[i].data, r->tensors[i].bytes);
        qn_writer_flush(w, i);
    }
    ck_assert_int_eq(qn_writer_commit(w, NULL), QN_OK);
}

/* ---- the reference writers' bytes ---------------------------------------------------------- */

/* By ggml and by gguf-py, and by the official library. */
static const char *const reference_files[] = {
    "gguf-format/test-le-v3.gguf",
    "models/gguf/llama-2-tiny-random.gguf",
    "models/golden/llama/model.safetensors",
    "models/stories260K-hf/model.safetensors",
};

START_TEST(a_file_of_a_reference_writer_is_written_alike)
{
    qn_reader *r = NULL;
    qn_error err = {0};
    const char *path = qn_test_data(reference_files[_i]);
    if (!path) return;
    ck_assert_msg(qn_reader_open(&r, path, &err) == QN_OK, "%s", err.message);
    rewrite(r, qn_test_path("copy"));
    qn_reader_close(r);
    check_same_file(path, qn_test_path("copy"));
}
END_TEST

/* What safetensors 0.8.0 (Python, safetensors.numpy.save) makes of these. */
START_TEST(safetensors_headers_are_the_official_librarys)
{
    static const char want[] =
        "{\"__metadata__\":{\"format\":\"pt\",\"b\":\"1\",\"a\":\"2\"},"
        "\"z11\":{\"dtype\":\"U64\",\"shape\":[2],\"data_offsets\":[0,16]},"
        "\"z10\":{\"dtype\":\"I64\",\"shape\":[2],\"data_offsets\":[16,32]},"
        "\"z9\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[32,48]},"
        "\"z12\":{\"dtype\":\"C64\",\"shape\":[2],\"data_offsets\":[48,64]},"
        "\"a\\\"\\\\\xc3\xa9\\n\\u0001/"
        "\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[64,68]},"
        "\"z8\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[68,76]},"
        "\"z7\":{\"dtype\":\"U32\",\"shape\":[2],\"data_offsets\":[76,84]},"
        "\"z6\":{\"dtype\":\"I32\",\"shape\":[2],\"data_offsets\":[84,92]},"
        "\"z5\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[92,96]},"
        "\"z4\":{\"dtype\":\"U16\",\"shape\":[2],\"data_offsets\":[96,100]},"
        "\"z3\":{\"dtype\":\"I16\",\"shape\":[2],\"data_offsets\":[100,104]},"
        "\"z2\":{\"dtype\":\"I8\",\"shape\":[2],\"data_offsets\":[104,106]},"
        "\"z1\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[106,108]},"
        "\"z0\":{\"dtype\":\"BOOL\",\"shape\":[2],\"data_offsets\":[108,110]}} ";
    static const qn_dtype types[] = {QN_BOOL, QN_U8,  QN_I8,  QN_I16, QN_U16, QN_F16, QN_I32,
                                     QN_U32,  QN_F32, QN_F64, QN_I64, QN_U64, QN_C64};
    static const uint64_t two[] = {2};
    static const char zeros[16] = {0};
    qn_metadata *m = qn_metadata_new();
    ck_assert_int_eq(qn_metadata_set_str(m, "format", qn_str_z("pt"), NULL), QN_OK);
    ck_assert_int_eq(qn_metadata_set_str(m, "b", qn_str_z("1"), NULL), QN_OK);
    ck_assert_int_eq(qn_metadata_set_str(m, "a", qn_str_z("2"), NULL), QN_OK);
    qn_writer *w = created(&qn_format_safetensors, qn_test_path("s"), m, 0);
    for (size_t i = 0; i < 13; i++) {
        char name[4];
        snprintf(name, sizeof name, "z%zu", i);
        declare(w, name, types[i], 1, two);
    }
    declare(w, "a\"\\\xc3\xa9\n\x01/", QN_F32, 0, NULL);
    uint64_t total;
    begin(w, &total);
    ck_assert_uint_eq(total, 8 + sizeof want - 1 + 110);
    ck_assert_uint_eq(qn_writer_tensor_offset(w, 0), 8 + sizeof want - 1 + 108);
    for (size_t i = 0; i < 14; i++) put(w, i, 0, zeros, qn_writer_tensor_bytes(w, i));
    ck_assert_int_eq(qn_writer_commit(w, NULL), QN_OK);
    qn_metadata_free(m);
    char *bytes;
    size_t n;
    ck_assert_int_eq(qn_read_file(qn_test_path("s"), 10000, &bytes, &n, NULL), QN_OK);
    ck_assert_uint_eq(n, total);
    ck_assert_uint_eq((unsigned char)bytes[0] + 256u * (unsigned char)bytes[1], sizeof want - 1);
    ck_assert_int_eq(memcmp(bytes + 8, want, sizeof want - 1), 0);
    qn_free(bytes);
}
END_TEST

/* The order in which safetensors 0.8.0's serialize() laid out one tensor of each
 * of these types. */
START_TEST(data_lie_in_the_official_librarys_order_of_types)
{
    static const char *const order[] = {"U64",     "I64",     "F64", "C64", "F32", "U32",
                                        "I32",     "BF16",    "F16", "U16", "I16", "F8_E8M0",
                                        "F8_E4M3", "F8_E5M2", "I8",  "U8",  "F4",  "BOOL"};
    enum { N = sizeof order / sizeof order[0] };
    static const uint64_t dims[] = {3, 2};
    uint64_t total, at = 0;
    qn_writer *w = created(&qn_format_safetensors, qn_test_path("order"), NULL, 0);
    for (size_t i = 0; i < N; i++) { /* declared in another order */
        qn_dtype t;
        ck_assert(qn_dtype_by_safetensors(order[i * 7 % N], &t));
        declare(w, order[i * 7 % N], t, 2, dims);
    }
    ck_assert_int_eq(qn_writer_plan(w, &total, NULL), QN_OK);
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < N; j++)
            if (j * 7 % N == i) {
                ck_assert_msg(i == 0 || qn_writer_tensor_offset(w, j) == at, "%s", order[i]);
                at = qn_writer_tensor_offset(w, j) + qn_writer_tensor_bytes(w, j);
            }
    ck_assert_uint_eq(at, total);
    qn_writer_abandon(w);
}
END_TEST

/* ---- what comes back --------------------------------------------------------------------- */

START_TEST(what_was_written_is_read_back)
{
    static const qn_format *const formats[] = {&qn_format_gguf, &qn_format_safetensors};
    static const uint64_t shape[] = {2, 3, 5}, empty[] = {0, 7};
    float values[30];
    const uint16_t scalar = 0x3c00;
    for (int i = 0; i < 30; i++) values[i] = (float)i;
    for (size_t f = 0; f < 2; f++) {
        uint64_t total;
        qn_writer *w = created(formats[f], qn_test_path("back"), NULL, 0);
        declare(w, "scalar", QN_F16, 0, NULL);
        declare(w, "values", QN_F32, 3, shape);
        declare(w, "empty", QN_I8, 2, empty);
        begin(w, &total);
        put(w, 1, 60, &values[15], 60);
        put(w, 1, 0, values, 60);
        put(w, 0, 0, &scalar, 2);
        ck_assert_int_eq(qn_writer_commit(w, NULL), QN_OK);
        qn_reader *r = NULL;
        ck_assert_int_eq(qn_reader_open(&r, qn_test_path("back"), NULL), QN_OK);
        ck_assert_ptr_eq(r->format, formats[f]);
        ck_assert_uint_eq(r->files[0].size, total);
        const qn_tensor *t = qn_reader_find(r, "values");
        ck_assert(t->rank == 3 && !memcmp(t->dims, shape, sizeof shape));
        ck_assert_int_eq(memcmp(t->data, values, sizeof values), 0);
        ck_assert_int_eq(memcmp(qn_reader_find(r, "scalar")->data, &scalar, 2), 0);
        ck_assert_uint_eq(qn_reader_find(r, "empty")->dims[1], 7);
        qn_reader_close(r);
    }
}
END_TEST

START_TEST(tensors_are_aligned_as_asked)
{
    static const uint64_t align[] = {8, 64, 16384}, five[] = {5};
    for (size_t i = 0; i < 3; i++) {
        uint64_t total;
        qn_metadata *m = qn_metadata_new();
        ck_assert_int_eq(qn_metadata_set_u32(m, "general.alignment", (uint32_t)align[i], NULL),
                         QN_OK);
        qn_writer *w = created(&qn_format_gguf, qn_test_path("aligned"), m, align[i]);
        declare(w, "a", QN_F32, 1, five);
        declare(w, "b", QN_F32, 1, five);
        ck_assert_int_eq(qn_writer_plan(w, &total, NULL), QN_OK);
        ck_assert_uint_eq(qn_writer_tensor_offset(w, 0) % align[i], 0);
        ck_assert_uint_eq(qn_writer_tensor_offset(w, 1) % align[i], 0);
        ck_assert_uint_eq(total % align[i], 0);
        qn_writer_abandon(w);
        w = created(&qn_format_safetensors, qn_test_path("aligned"), NULL, align[i]);
        declare(w, "a", QN_F32, 1, five);
        ck_assert_int_eq(qn_writer_plan(w, &total, NULL), QN_OK);
        ck_assert_uint_eq(qn_writer_tensor_offset(w, 0) % align[i], 0);
        qn_writer_abandon(w);
        qn_metadata_free(m);
    }
}
END_TEST

/* ---- threads --------------------------------------------------------------------------------- */

enum { THREADS = 3, TENSORS = 30, TENSOR_BYTES = 5000 };

typedef struct {
    qn_writer *writer;
    size_t first;
} share;

static void *put_share(void *p)
{
    const share *s = p;
    for (size_t i = s->first; i < TENSORS; i += THREADS)
        for (uint64_t at = 0; at < TENSOR_BYTES; at += 100) {
            uint8_t piece[100];
            memset(piece, (int)(i * 8 + at / 100), sizeof piece);
            if (qn_writer_put(s->writer, i, at, piece, sizeof piece, NULL)) return p;
        }
    return NULL;
}

static void write_with(const char *path, bool threads)
{
    static const uint64_t dims[] = {TENSOR_BYTES};
    uint64_t total;
    pthread_t id[THREADS];
    share shares[THREADS];
    qn_writer *w = created(&qn_format_gguf, path, NULL, 0);
    for (size_t i = 0; i < TENSORS; i++) {
        char name[8];
        snprintf(name, sizeof name, "t%zu", i);
        declare(w, name, QN_I8, 1, dims);
    }
    begin(w, &total);
    for (size_t i = 0; i < THREADS; i++) {
        void *failed = NULL;
        shares[i] = (share){w, i};
        ck_assert_int_eq(pthread_create(&id[i], NULL, put_share, &shares[i]), 0);
        if (!threads) ck_assert_int_eq(pthread_join(id[i], &failed), 0);
        ck_assert_ptr_null(failed);
    }
    for (size_t i = 0; threads && i < THREADS; i++) {
        void *failed = NULL;
        ck_assert_int_eq(pthread_join(id[i], &failed), 0);
        ck_assert_ptr_null(failed);
    }
    ck_assert_int_eq(qn_writer_commit(w, NULL), QN_OK);
}

START_TEST(threads_that_put_together_write_the_same_bytes)
{
    write_with(qn_test_path("together"), true);
    write_with(qn_test_path("in-turn"), false);
    check_same_file(qn_test_path("together"), qn_test_path("in-turn"));
}
END_TEST

/* ---- refused --------------------------------------------------------------------------------- */

START_TEST(what_a_format_cannot_hold_is_refused)
{
    static const uint64_t dims[] = {1, 1, 1, 1, 32};
    char long_name[65] = {0};
    memset(long_name, 'n', 64);
    const struct {
        const qn_format *format;
        const char *name;
        qn_dtype dtype;
        unsigned rank;
        qn_status status;
        const char *words;
    } cases[] = {
        {&qn_format_gguf, "a", QN_U16, 1, QN_ERR_UNSUPPORTED, "tensor a: GGUF has no type U16"},
        {&qn_format_gguf, "a", QN_F32, 5, QN_ERR_UNSUPPORTED, "tensor a: 5 dimensions"},
        {&qn_format_gguf, long_name, QN_F32, 1, QN_ERR_UNSUPPORTED, "a name of 64 bytes"},
        {&qn_format_gguf, "", QN_F32, 1, QN_ERR_UNSUPPORTED, "a name of 0 bytes"},
        {&qn_format_gguf, "there", QN_F32, 1, QN_ERR_DATA, "tensor there would be there twice"},
        {&qn_format_gguf, "a", QN_Q4_0, 4, QN_ERR_DATA, "a row of 1 is not a whole number of Q4_0"},
        {&qn_format_safetensors, "a", QN_Q4_0, 5, QN_ERR_UNSUPPORTED,
         "safetensors has no type Q4_0"},
        {&qn_format_safetensors, "__metadata__", QN_F32, 1, QN_ERR_UNSUPPORTED, "cannot hold"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qn_error err = {0};
        qn_writer *w = created(cases[i].format, qn_test_path("refused"), NULL, 0);
        declare(w, "there", QN_F32, 1, dims);
        ck_assert_int_eq(
            qn_writer_declare(w, cases[i].name, cases[i].dtype, cases[i].rank, dims, &err),
            cases[i].status);
        ck_assert_msg(strstr(err.message, cases[i].words), "%s", err.message);
        qn_writer_abandon(w);
    }
    ck_assert(!qn_path_exists(qn_test_path("refused")));
}
END_TEST

START_TEST(an_alignment_that_metadata_contradict_is_refused)
{
    uint64_t total;
    qn_writer *w = created(&qn_format_gguf, qn_test_path("a"), NULL, 64);
    qn_error err = {0};
    ck_assert_int_eq(qn_writer_plan(w, &total, &err), QN_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "general.alignment is 32, the tensors are to be"));
    qn_writer_abandon(w);
    w = NULL;
    static const uint64_t bad[] = {1, 4, 12, 1ull << 32, UINT64_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_int_eq(qn_writer_create(&w, &qn_format_gguf, "a", true, NULL, bad[i], &err),
                         QN_ERR_ARGUMENT);
    ck_assert_ptr_null(w);
}
END_TEST

START_TEST(metadata_that_are_no_strings_do_not_go_into_safetensors)
{
    uint64_t total;
    qn_error err = {0};
    qn_metadata *m = qn_metadata_new();
    ck_assert_int_eq(qn_metadata_set_u32(m, "n", 1, NULL), QN_OK);
    qn_writer *w = created(&qn_format_safetensors, qn_test_path("a"), m, 0);
    ck_assert_int_eq(qn_writer_plan(w, &total, &err), QN_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "metadata \"n\" is of type u32"));
    qn_writer_abandon(w);
    qn_metadata_free(m);
}
END_TEST

/* ---- failures ---------------------------------------------------------------------------------- */

START_TEST(a_plan_touches_no_disk)
{
    static const uint64_t huge[] = {1ull << 30, 1ull << 20};
    uint64_t total;
    qn_test_subdirectory("plan");
    qn_writer *w = created(&qn_format_gguf, qn_test_path("plan/out"), NULL, 0);
    declare(w, "huge", QN_F32, 2, huge);
    ck_assert_int_eq(qn_writer_plan(w, &total, NULL), QN_OK);
    ck_assert_uint_gt(total, 1ull << 52);
    ck_assert_uint_eq(qn_test_count("plan"), 0);
    qn_writer_abandon(w);
}
END_TEST

START_TEST(a_tensor_without_all_its_bytes_is_not_committed)
{
    static const uint64_t dims[] = {8};
    uint64_t total;
    qn_error err = {0};
    qn_test_subdirectory("partial");
    qn_writer *w = created(&qn_format_gguf, qn_test_path("partial/out"), NULL, 0);
    declare(w, "a", QN_I8, 1, dims);
    begin(w, &total);
    put(w, 0, 0, "1234567", 7);
    ck_assert_int_eq(qn_writer_commit(w, &err), QN_ERR_DATA);
    ck_assert_ptr_nonnull(strstr(err.message, "tensor a: 7 of its 8 bytes were written"));
    ck_assert_uint_eq(qn_test_count("partial"), 0);
}
END_TEST

static qn_status write_small(const qn_format *format, const qn_metadata *m, const char *path)
{
    static const uint64_t dims[] = {8};
    qn_writer *w = NULL;
    uint64_t total;
    qn_status status = qn_writer_create(&w, format, path, true, m, 0, NULL);
    if (!status) status = qn_writer_declare(w, "a", QN_I8, 1, dims, NULL);
    if (!status) status = qn_writer_declare(w, "b", QN_F32, 1, dims, NULL);
    if (!status) status = qn_writer_plan(w, &total, NULL);
    if (!status) status = qn_writer_begin(w, NULL);
    if (!status) status = qn_writer_put(w, 0, 0, "12345678", 8, NULL);
    if (!status) status = qn_writer_put(w, 1, 0, "12345678123456781234567812345678", 32, NULL);
    if (!status) {
        status = qn_writer_commit(w, NULL);
        w = NULL;
    }
    qn_writer_abandon(w);
    return status;
}

/* The n-th allocation fails, or the n-th step of writing, until none does. */
START_TEST(a_failure_anywhere_leaves_nothing_behind)
{
    const qn_format *format = _i % 2 ? &qn_format_gguf : &qn_format_safetensors;
    const bool memory = _i / 2;
    qn_metadata *m = qn_metadata_new();
    ck_assert_int_eq(qn_metadata_set_str(m, "k", qn_str_z("v"), NULL), QN_OK);
    qn_test_subdirectory("failing");
    qn_status status = QN_ERR_MEMORY;
    unsigned long n = 0;
    while (status) {
        (memory ? qn_alloc_fail_at : qn_outfile_fail_at)(++n);
        status = write_small(format, m, qn_test_path("failing/out"));
        (memory ? qn_alloc_fail_at : qn_outfile_fail_at)(0);
        ck_assert(status == QN_OK || status == (memory ? QN_ERR_MEMORY : QN_ERR_SYSTEM));
        ck_assert_uint_eq(qn_test_count("failing"), status ? 0 : 1);
    }
    ck_assert_uint_ge(n, memory ? 10 : 6);
    qn_metadata_free(m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("writer");
    TCase *t = qn_test_group(s, "bytes");
    tcase_add_loop_test(t, a_file_of_a_reference_writer_is_written_alike, 0,
                        sizeof reference_files / sizeof *reference_files);
    tcase_add_test(t, safetensors_headers_are_the_official_librarys);
    tcase_add_test(t, data_lie_in_the_official_librarys_order_of_types);
    tcase_add_test(t, what_was_written_is_read_back);
    tcase_add_test(t, tensors_are_aligned_as_asked);
    tcase_add_test(t, threads_that_put_together_write_the_same_bytes);
    t = qn_test_group(s, "refused");
    tcase_add_test(t, what_a_format_cannot_hold_is_refused);
    tcase_add_test(t, an_alignment_that_metadata_contradict_is_refused);
    tcase_add_test(t, metadata_that_are_no_strings_do_not_go_into_safetensors);
    t = qn_test_group(s, "failures");
    tcase_add_test(t, a_plan_touches_no_disk);
    tcase_add_test(t, a_tensor_without_all_its_bytes_is_not_committed);
    tcase_add_loop_test(t, a_failure_anywhere_leaves_nothing_behind, 0, 4);
    return qn_test_run_suite(s);
}
