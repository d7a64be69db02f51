/* PyTorch checkpoints: every form that torch.save writes gives the bytes that
 * torch itself reads (expected.json), and files that imitate attacks are
 * refused (hostile/expected.json). */
#include <check.h>
#include <stdio.h>
#include <string.h>

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
    tcase_add_test(t, an_allocation_that_fails_is_reported_and_leaks_nothing);
    return qn_test_run_suite(s);
}
