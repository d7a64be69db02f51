/* PyTorch checkpoints: every form that torch.save writes gives the bytes that
 * torch itself reads (expected.json), and files that imitate attacks are
 * refused (hostile/expected.json). */
#include <check.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "formats/base/digest.h"
#include "formats/base/json.h"
#include "formats/reader.h"
#include "tests/support/data.h"
#include "tests/support/run.h"

static const char folder[] = "models/torch-checkpoints";

/* Where a file of the folder lies. */
static const char *data(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return qn_test_data(path);
}

/* The files that such a list describes; the whole list in *all. */
static json_t *files_of(const char *list, json_t **all)
{
    const char *path = data(list);
    qn_error err = {0};
    ck_assert_ptr_nonnull(path);
    ck_assert_msg(!qn_json_load(path, 1 << 20, all, &err), "%s", err.message);
    return json_object_get(*all, "files");
}

static void check_tensor(const char *file, const qn_tensor *t, const char *name, const json_t *want)
{
    char sum[65];
    ck_assert_msg(t, "%s: no tensor %s", file, name);
    ck_assert_msg(!strcmp(qn_dtype_facts(t->dtype)->safetensors,
                          json_string_value(json_object_get(want, "dtype"))),
                  "%s: %s: its type", file, name);
    const json_t *shape = json_object_get(want, "shape");
    ck_assert_msg(t->rank == json_array_size(shape), "%s: %s: its rank", file, name);
    for (unsigned i = 0; i < t->rank; i++)
        ck_assert_msg((json_int_t)t->dims[i] == json_integer_value(json_array_get(shape, i)),
                      "%s: %s: its shape", file, name);
    qn_sha256_hex(t->data, (size_t)t->bytes, sum);
    ck_assert_msg(!strcmp(sum, json_string_value(json_object_get(want, "sha256"))),
                  "%s: %s: its bytes", file, name);
}

START_TEST(every_form_of_checkpoint_gives_the_bytes_that_torch_gives)
{
    json_t *all;
    const char *name, *tensor;
    json_t *file, *want;
    size_t read = 0;
    json_t *files = files_of("expected.json", &all);
    json_object_foreach(files, name, file)
    {
        const char *path = data(name);
        json_t *tensors = json_object_get(file, "tensors");
        qn_reader *r = NULL;
        qn_error err = {0};
        if (!path) continue;
        ck_assert_msg(!qn_reader_open(&r, path, &err), "%s", err.message);
        ck_assert_str_eq(r->format->name, "pytorch");
        ck_assert_msg(r->n_tensors == json_object_size(tensors), "%s: %zu tensors", name,
                      r->n_tensors);
        json_object_foreach(tensors, tensor, want)
            check_tensor(name, qn_reader_find(r, tensor), tensor, want);
        qn_reader_close(r);
        read++;
    }
    ck_assert_uint_ge(read, 20);
    json_decref(all);
}
END_TEST

/* The global that "reduce-os-system.pt" names is os.system, as its `why` says. */
static void check_words(const char *name, const json_t *file, const char *message)
{
    const json_t *must = json_object_get(file, "must");
    char wanted[64];
    if (!must || !strstr(json_string_value(must), "message names the global")) return;
    const char *why = strchr(json_string_value(json_object_get(file, "why")), ' ') + 1;
    snprintf(wanted, sizeof wanted, "names %.*s,", (int)strcspn(why, " ("), why);
    ck_assert_msg(strstr(message, wanted) != NULL, "%s: says only: %s", name, message);
}

START_TEST(hostile_files_are_refused_and_run_nothing)
{
    json_t *all, *file;
    const char *name;
    size_t read = 0;
    json_t *files = files_of("hostile/expected.json", &all);
    json_object_foreach(files, name, file)
    {
        char path[256];
        qn_reader *r = NULL;
        qn_error err = {0};
        snprintf(path, sizeof path, "hostile/%s", name);
        const char *where = data(path);
        ck_assert_ptr_nonnull(where);
        const qn_status status = qn_reader_open(&r, where, &err);
        if (status) {
            ck_assert_msg(status == QN_ERR_DATA || status == QN_ERR_UNSUPPORTED, "%s: %s", name,
                          err.message);
            ck_assert_ptr_nonnull(strstr(err.message, where));
            check_words(name, file, err.message);
        } else {
            ck_assert_msg(
                !strcmp(json_string_value(json_object_get(file, "expect")), "refuse or read"),
                "%s was read", name);
        }
        qn_reader_close(r);
        read++;
    }
    ck_assert_uint_ge(read, 94);
    json_decref(all);
}
END_TEST

static qn_text file_bytes(const char *name)
{
    qn_text t = {0};
    qn_error err = {0};
    const char *path = data(name);
    ck_assert_ptr_nonnull(path);
    ck_assert_msg(!qn_read_file(path, 1 << 20, &t.s, &t.n, &err), "%s", err.message);
    return t;
}

/* Cut anywhere, changed anywhere: refused, or read within bounds (the
 * sanitizers look on); never a crash or another status. */
static void damage(const char *name)
{
    qn_text t = file_bytes(name);
    for (size_t n = 1; n < t.n; n++) {
        qn_reader *r = NULL;
        char *cut = qn_strndup(t.s, n); /* of its own size, so that a sanitizer sees the end */
        qn_status status = qn_reader_open_memory(&r, cut, n, name, NULL);
        ck_assert_msg(status == QN_ERR_DATA || status == QN_ERR_UNSUPPORTED || !status,
                      "%s cut at %zu", name, n);
        qn_reader_close(r);
        qn_free(cut);
        t.s[n] = (char)~t.s[n];
        r = NULL;
        status = qn_reader_open_memory(&r, t.s, t.n, name, NULL);
        ck_assert_msg(status == QN_ERR_DATA || status == QN_ERR_UNSUPPORTED || !status,
                      "%s changed at %zu", name, n);
        qn_reader_close(r);
        t.s[n] = (char)~t.s[n];
    }
    qn_text_free(&t);
}

START_TEST(damaged_files_are_refused_or_read_within_bounds)
{
    damage("protocol4.pt");
    damage("protocol4-legacy.pt");
    damage("deflated.pt");
}
END_TEST

START_TEST(an_allocation_that_fails_is_reported_and_leaks_nothing)
{
    static const char *const names[] = {"parameters.pt", "parameters-legacy.pt", "deflated.pt"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        qn_text t = file_bytes(names[i]);
        qn_status status = QN_ERR_MEMORY;
        unsigned long n = 0;
        while (status == QN_ERR_MEMORY) {
            qn_reader *r = NULL;
            qn_alloc_fail_at(++n);
            status = qn_reader_open_memory(&r, t.s, t.n, names[i], NULL);
            qn_alloc_fail_at(0);
            qn_reader_close(r);
        }
        ck_assert_int_eq(status, QN_OK);
        ck_assert_uint_ge(n, 10);
        qn_text_free(&t);
    }
}
END_TEST

/* ---- small files that would become large ------------------------------------------------- */

static void add(qn_text *t, const char *bytes)
{
    qn_text_adds(t, bytes);
}

static void add_number(qn_text *t, uint64_t v, size_t bytes)
{
    qn_text_add(t, (const char *)&v, bytes);
}

static void add_string(qn_text *t, const char *s, size_t n)
{
    add(t, "X");
    add_number(t, n, 4);
    qn_text_add(t, s, n);
}

/* A tensor of so many floats, all of storage `key`. */
static void add_tensor(qn_text *t, const char *key, uint32_t floats)
{
    add(t, "ctorch._utils\n_rebuild_tensor_v2\n((");
    add_string(t, "storage", 7);
    add(t, "ctorch\nFloatStorage\n");
    add_string(t, key, strlen(key));
    add_string(t, "cpu", 3);
    add(t, "J");
    add_number(t, floats, 4);
    qn_text_add(t, "tQK\0(J", 6);
    add_number(t, floats, 4);
    add(t, "t(K\1t\x89)tR");
}

/* An entry of a zip archive: its name and what its data are. */
typedef struct {
    const char *name;
    const void *bytes;
    uint32_t stored, size, crc;
    uint16_t method;
} entry;

/* What the local header and the directory have in common. */
static void add_facts(qn_text *t, const entry *e)
{
    add_number(t, 20, 4); /* version, no flags */
    add_number(t, e->method, 2);
    add_number(t, 0, 4); /* time and date */
    add_number(t, e->crc, 4);
    add_number(t, e->stored, 4);
    add_number(t, e->size, 4);
    add_number(t, strlen(e->name), 2);
    add_number(t, 0, 2);
}

/* The last entry is there n times by number, all in one place. */
static qn_text zip_of(const entry *entries, size_t n_entries, size_t n)
{
    qn_text t = {0}, directory = {0};
    const size_t all = n_entries + n - 1;
    size_t at = 0;
    for (size_t i = 0; i < all; i++) {
        entry e = entries[i < n_entries ? i : n_entries - 1];
        char name[32];
        snprintf(name, sizeof name, e.name, i < n_entries ? 0 : i - n_entries + 1);
        e.name = name;
        if (i < n_entries) {
            at = t.n;
            add(&t, "PK\3\4");
            add_facts(&t, &e);
            add(&t, name);
            qn_text_add(&t, e.bytes, e.stored);
        }
        add(&directory, "PK\1\2");
        add_number(&directory, 20, 2);
        add_facts(&directory, &e);
        add_number(&directory, 0, 8);
        add_number(&directory, 0, 2);
        add_number(&directory, at, 4);
        add(&directory, name);
    }
    const size_t start = t.n;
    qn_text_add(&t, directory.s, directory.n);
    add(&t, "PK\5\6");
    add_number(&t, 0, 4);
    add_number(&t, all | all << 16, 4);
    add_number(&t, directory.n, 4);
    add_number(&t, start, 4);
    add_number(&t, 0, 2);
    qn_text_free(&directory);
    return t;
}

static entry entry_of(const char *name, const void *bytes, size_t n)
{
    return (entry){name, bytes, (uint32_t)n, (uint32_t)n, (uint32_t)crc32(0, bytes, (uInt)n), 0};
}

static void refused(const qn_text *t, const char *words)
{
    qn_reader *r = NULL;
    qn_error err = {0};
    const qn_status status = qn_reader_open_memory(&r, t->s, t->n, "bomb", &err);
    ck_assert_msg(status == QN_ERR_DATA || status == QN_ERR_UNSUPPORTED, "status %d: %s", status,
                  err.message);
    ck_assert_msg(strstr(err.message, words), "'%s' lacks '%s'", err.message, words);
}

/* 40 storages are one entry of 1 MiB: to be turned round, or of a kilobyte deflated. */
START_TEST(storages_in_one_place_are_not_copied_again_and_again)
{
    enum { BYTES = 1 << 20, STORAGES = 40 };
    uint8_t *zeros = qn_alloc(BYTES, 1), *deflated = qn_alloc(BYTES, 1);
    uLongf n = BYTES;
    qn_text pickle = {0};
    ck_assert(!compress2(deflated, &n, zeros, BYTES, 9));
    add(&pickle, "\x80\2}(");
    for (unsigned i = 0; i < STORAGES; i++) {
        char key[8];
        snprintf(key, sizeof key, "%u", i);
        add_string(&pickle, key, strlen(key));
        add_tensor(&pickle, key, BYTES / 4);
    }
    add(&pickle, "u.");
    entry entries[] = {entry_of("a/data.pkl", pickle.s, pickle.n),
                       entry_of("a/byteorder", _i ? "little" : "big", _i ? 6 : 3),
                       entry_of("a/data/%zu", zeros, BYTES)};
    if (_i) { /* without zlib's frame */
        entries[2].bytes = deflated + 2;
        entries[2].stored = (uint32_t)n - 6;
        entries[2].method = 8;
    }
    qn_text t = zip_of(entries, 3, STORAGES);
    refused(&t, "storages unpacked to more than");
    qn_text_free(&t);
    qn_text_free(&pickle);
    qn_free(deflated);
    qn_free(zeros);
}
END_TEST

/* torch.save's old form up to its object. */
static qn_text legacy_head(void)
{
    static const char head[] = "\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
                               "\x80\2M\xe9\3."
                               "\x80\2}.";
    qn_text t = {0};
    qn_text_add(&t, head, sizeof head - 1);
    return t;
}

START_TEST(a_pickle_of_nothing_but_values_is_refused)
{
    qn_text t = legacy_head();
    add(&t, "\x80\2(");
    for (int i = 0; i < 10000; i++) add(&t, "]");
    add(&t, "t.");
    refused(&t, "makes more values than tensors need");
    qn_text_free(&t);
}
END_TEST

START_TEST(a_name_as_long_as_the_file_is_not_given_to_each_tensor)
{
    char name[5000];
    qn_text t = legacy_head();
    memset(name, 'n', sizeof name);
    add(&t, "\x80\2}(");
    add_string(&t, name, sizeof name);
    add(&t, "}(");
    add_string(&t, "a", 1);
    add_tensor(&t, "0", 1);
    add(&t, "uu.\x80\2](");
    add_string(&t, "0", 1);
    qn_text_add(&t, "e.\1\0\0\0\0\0\0\0\0\0\0\0", 14);
    refused(&t, "a tensor's name of 5000 bytes, at most 4096 are read");
    qn_text_free(&t);
}
END_TEST

START_TEST(shards_of_pytorch_files_are_one_checkpoint)
{
    qn_reader *r = NULL;
    qn_error err = {0};
    const char *path = data("smollm2-sharded");
    ck_assert_ptr_nonnull(path);
    ck_assert_msg(!qn_reader_open(&r, path, &err), "%s", err.message);
    ck_assert_uint_eq(r->n_files, 3);
    qn_reader *whole = NULL;
    const char *safetensors = qn_test_data("models/golden/smollm2");
    ck_assert_ptr_nonnull(safetensors);
    ck_assert_msg(!qn_reader_open(&whole, safetensors, &err), "%s", err.message);
    for (size_t i = 0; i < whole->n_tensors; i++) {
        const qn_tensor *want = &whole->tensors[i], *got = qn_reader_find(r, want->name);
        ck_assert_msg(got && got->bytes == want->bytes, "%s", want->name);
        ck_assert_msg(!memcmp(got->data, want->data, (size_t)want->bytes), "%s", want->name);
    }
    qn_reader_close(whole);
    qn_reader_close(r);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("torch");
    TCase *t = qn_test_group(s, "checkpoints");
    tcase_add_test(t, every_form_of_checkpoint_gives_the_bytes_that_torch_gives);
    tcase_add_test(t, shards_of_pytorch_files_are_one_checkpoint);
    t = qn_test_group(s, "hostile");
    tcase_add_test(t, hostile_files_are_refused_and_run_nothing);
    tcase_add_test(t, damaged_files_are_refused_or_read_within_bounds);
    tcase_add_loop_test(t, storages_in_one_place_are_not_copied_again_and_again, 0, 2);
    tcase_add_test(t, a_pickle_of_nothing_but_values_is_refused);
    tcase_add_test(t, a_name_as_long_as_the_file_is_not_given_to_each_tensor);
    tcase_add_test(t, an_allocation_that_fails_is_reported_and_leaks_nothing);
    return qn_test_run_suite(s);
}
