/* What fine-tuning does to a checkpoint's small files: the tokenizer keys are
 * those that the reference converter makes of them (expected.json, written by
 * tests/oracle/finetune-goldens.py), and what cannot be is refused by name. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "formats/base/json.h"
#include "formats/metadata.h"
#include "formats/tokenizer/tokenizer.h"
#include "tests/support/data.h"
#include "tests/support/files.h"
#include "tests/support/run.h"

/* ---- a golden checkpoint's small files, changed ------------------------------------------ */

static void put(const char *name, const char *text, size_t n)
{
    char path[256];
    snprintf(path, sizeof path, "tuned/%s", name);
    qn_test_file(path, text, n);
}

static json_t *load_tuned(const char *name)
{
    char path[256];
    json_error_t e;
    snprintf(path, sizeof path, "tuned/%s", name);
    json_t *root = json_load_file(qn_test_path(path), 0, &e);
    ck_assert_msg(root != NULL, "%s: %s", name, e.text);
    return root;
}

static void save_tuned(const char *name, const json_t *root)
{
    char *text = json_dumps(root, 0);
    put(name, text, strlen(text));
    free(text);
}

static void copy_golden(const char *base, const json_t *removed)
{
    static const char *const names[] = {
        "config.json",     "generation_config.json",  "tokenizer.json",     "tokenizer_config.json",
        "tokenizer.model", "special_tokens_map.json", "chat_template.jinja"};
    qn_test_subdirectory("tuned");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[256], *text = NULL;
        size_t n, k;
        const json_t *name;
        bool wanted = true;
        json_array_foreach(removed, k, name) wanted &=
            strcmp(json_string_value(name), names[i]) != 0;
        snprintf(path, sizeof path, "%s/%s", qn_test_data("models/golden"), base);
        char *from = qn_path_join(path, names[i]);
        if (wanted && qn_path_exists(from)) {
            ck_assert_int_eq(qn_read_file(from, 1 << 20, &text, &n, NULL), QN_OK);
            put(names[i], text, n);
        }
        qn_free(text);
        qn_free(from);
    }
}

static void write_files(const json_t *files)
{
    const char *name;
    json_t *text;
    json_object_foreach((json_t *)files, name, text)
    {
        char folder[256];
        const char *slash = strchr(name, '/');
        if (slash) {
            snprintf(folder, sizeof folder, "tuned/%.*s", (int)(slash - name), name);
            qn_test_subdirectory(folder);
        }
        put(name, json_string_value(text), json_string_length(text));
    }
}

static void change_files(const json_t *set, const json_t *append)
{
    const char *name, *key;
    json_t *values, *more;
    json_object_foreach((json_t *)set, name, values)
    {
        json_t *root = load_tuned(name);
        json_object_update(root, values);
        save_tuned(name, root);
        json_decref(root);
    }
    json_object_foreach((json_t *)append, name, values)
    {
        json_t *root = load_tuned(name);
        json_object_foreach(values, key, more) json_array_extend(json_object_get(root, key), more);
        save_tuned(name, root);
        json_decref(root);
    }
}

static void make(const json_t *c)
{
    copy_golden(json_string_value(json_object_get(c, "base")), json_object_get(c, "remove"));
    write_files(json_object_get(c, "write"));
    change_files(json_object_get(c, "set"), json_object_get(c, "append"));
}

static qn_metadata *keys_of_tuned(const char *title)
{
    json_t *config = load_tuned("config.json");
    const json_int_t n = json_integer_value(json_object_get(config, "vocab_size"));
    qn_vocab *v = NULL;
    qn_error err = {0};
    qn_metadata *m = qn_metadata_new();
    const qn_status status = qn_vocab_from_directory(
        &v, qn_test_path("tuned"), &(qn_vocab_options){.size = (uint64_t)n}, &err);
    ck_assert_msg(!status, "%s: %s", title, err.message);
    ck_assert_int_eq(qn_vocab_write_metadata(v, m, &err), QN_OK);
    qn_vocab_free(v);
    json_decref(config);
    return m;
}

/* ---- comparing --------------------------------------------------------------------------- */

/* Element i of a list of strings or numbers, or the value itself. */
static json_t *element(const qn_meta_value *v, uint64_t i)
{
    qn_str cursor = v->bytes, s = {"", 0};
    double number;
    if (v->element == QN_META_STRING) {
        for (uint64_t k = 0; k <= i; k++) qn_meta_next_string(&cursor, &s);
        return json_stringn(s.s, s.n);
    }
    if (v->element == QN_META_BOOL) return json_boolean(v->bytes.s[0]);
    ck_assert_int_eq(qn_meta_number(v, i, &number, NULL), QN_OK);
    return v->element == QN_META_F32 ? json_real(number) : json_integer((json_int_t)number);
}

static void expect_element(const char *title, const char *key, const qn_meta_value *v, uint64_t i,
                           const json_t *want)
{
    json_t *got = element(v, i);
    char *ours = json_dumps(got, JSON_ENCODE_ANY), *theirs = json_dumps(want, JSON_ENCODE_ANY);
    ck_assert_msg(json_equal(got, want), "%s: %s[%llu] is %s, expected %s", title, key,
                  (unsigned long long)i, ours, theirs);
    free(ours);
    free(theirs);
    json_decref(got);
}

static void expect_type(const char *title, const char *key, const qn_meta_value *v, const json_t *c)
{
    static const struct {
        const char *name;
        qn_meta_type type, element;
    } types[] = {
        {"STRING", QN_META_STRING, QN_META_STRING},
        {"UINT32", QN_META_U32, QN_META_U32},
        {"BOOL", QN_META_BOOL, QN_META_BOOL},
        {"ARRAY.STRING", QN_META_ARRAY, QN_META_STRING},
        {"ARRAY.INT32", QN_META_ARRAY, QN_META_I32},
        {"ARRAY.FLOAT32", QN_META_ARRAY, QN_META_F32},
    };
    const char *name = json_string_value(json_object_get(c, "type"));
    size_t i = 0;
    while (i < sizeof types / sizeof *types && strcmp(types[i].name, name) != 0) i++;
    ck_assert_msg(i < sizeof types / sizeof *types, "%s", name);
    ck_assert_msg(v->type == types[i].type && v->element == types[i].element, "%s: %s is no %s",
                  title, key, name);
}

/* Bytes of a list's first n elements. */
static size_t bytes_of(const qn_meta_value *v, uint64_t n)
{
    qn_str cursor = v->bytes, s;
    if (v->element != QN_META_STRING) return n * qn_meta_type_bytes(v->element);
    for (uint64_t k = 0; k < n; k++) qn_meta_next_string(&cursor, &s);
    return (size_t)(cursor.s - v->bytes.s);
}

static bool same_bytes(const qn_meta_value *a, const qn_meta_value *b)
{
    return a->type == b->type && a->count == b->count && qn_str_equal(a->bytes, b->bytes);
}

/* The change c of a key from its value before (NULL: none) to v. */
static void expect_change(const char *title, const char *key, const qn_meta_value *before,
                          const qn_meta_value *v, const json_t *c)
{
    const json_t *rest = json_object_get(c, "rest"), *item;
    const uint64_t common = (uint64_t)json_integer_value(json_object_get(c, "same"));
    size_t i;
    if (json_is_null(c)) {
        ck_assert_msg(!v, "%s: there is %s", title, key);
        return;
    }
    ck_assert_msg(v != NULL, "%s: no %s", title, key);
    expect_type(title, key, v, c);
    if (!rest) {
        expect_element(title, key, v, 0, json_object_get(c, "value"));
        return;
    }
    ck_assert_msg(v->count == common + json_array_size(rest), "%s: %s has %llu", title, key,
                  (unsigned long long)v->count);
    const size_t n = common ? bytes_of(v, common) : 0;
    ck_assert_msg(!n || (bytes_of(before, common) == n && !memcmp(before->bytes.s, v->bytes.s, n)),
                  "%s: the first %llu of %s changed", title, (unsigned long long)common, key);
    json_array_foreach(rest, i, item) expect_element(title, key, v, common + i, item);
}

/* order: the keys as they must stand; null: as before. */
static void expect_order(const char *title, const qn_metadata *before, const qn_metadata *after,
                         const json_t *order)
{
    const size_t n = json_is_array(order) ? json_array_size(order) : qn_metadata_count(before);
    for (size_t i = 0; i < n && i < qn_metadata_count(after); i++) {
        const qn_str got = qn_metadata_at(after, i)->key;
        const qn_str want = json_is_array(order)
                                ? qn_str_z(json_string_value(json_array_get(order, i)))
                                : qn_metadata_at(before, i)->key;
        ck_assert_msg(qn_str_equal(got, want), "%s: key %zu is %.*s, expected %.*s", title, i,
                      (int)got.n, got.s, (int)want.n, want.s);
    }
    ck_assert_msg(qn_metadata_count(after) == n, "%s: %zu keys, expected %zu", title,
                  qn_metadata_count(after), n);
}

static void check_case(const json_t *c)
{
    const char *title = json_string_value(json_object_get(c, "name")), *key;
    const json_t *changes = json_object_get(c, "keys");
    json_t *change;
    copy_golden(json_string_value(json_object_get(c, "base")), NULL);
    qn_metadata *before = keys_of_tuned(title);
    make(c);
    qn_metadata *after = keys_of_tuned(title);
    ck_assert_msg(json_is_object(changes), "%s: no keys", title);
    json_object_foreach((json_t *)changes, key, change) expect_change(
        title, key, qn_metadata_find(before, key), qn_metadata_find(after, key), change);
    for (size_t i = 0; i < qn_metadata_count(after); i++) {
        char name[128];
        const qn_meta_value *v = qn_metadata_at(after, i);
        snprintf(name, sizeof name, "%.*s", (int)v->key.n, v->key.s);
        const qn_meta_value *old = qn_metadata_find(before, name);
        if (json_object_get(changes, name)) continue;
        ck_assert_msg(old && same_bytes(old, v), "%s: %s is new or changed", title, name);
    }
    expect_order(title, before, after, json_object_get(c, "order"));
    qn_metadata_free(before);
    qn_metadata_free(after);
}

START_TEST(a_finetune_has_the_tokenizer_keys_of_the_converter)
{
    json_error_t e;
    json_t *all = json_load_file(qn_test_data("finetunes/expected.json"), 0, &e), *c;
    size_t i;
    ck_assert_msg(json_is_array(all), "%s", e.text);
    json_array_foreach(all, i, c) check_case(c);
    ck_assert_uint_gt(i, 30);
    json_decref(all);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("fine-tunes");
    TCase *t = qn_test_group(s, "converter");
    tcase_add_test(t, a_finetune_has_the_tokenizer_keys_of_the_converter);
    return qn_test_run_suite(s);
}
