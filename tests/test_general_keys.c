/* Model cards, names and override files become the general.* keys that gguf-py
 * makes of them (expected.json, written by tests/oracle/metadata-goldens.py). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/yaml.h"
#include "formats/general_keys.h"
#include "formats/gguf_name.h"
#include "tests/support/data.h"
#include "tests/support/files.h"
#include "tests/support/run.h"

static json_t *cases(void)
{
    json_error_t e;
    const char *path = qn_test_data("model-cards/expected.json");
    json_t *root = json_load_file(path, 0, &e);
    ck_assert_msg(json_is_array(root), "%s: %s", path, e.text);
    return root;
}

/* ---- values as expected.json has them ------------------------------------------------ */

static json_t *texts_of(const qn_meta_value *v)
{
    json_t *list = json_array();
    qn_str cursor = v->bytes, s;
    while (qn_meta_next_string(&cursor, &s)) json_array_append_new(list, json_stringn(s.s, s.n));
    return list;
}

static json_t *described(const qn_metadata *m, const qn_meta_value *v)
{
    char key[128];
    qn_str s;
    double number;
    snprintf(key, sizeof key, "%.*s", (int)v->key.n, v->key.s);
    if (v->type == QN_META_ARRAY) {
        ck_assert_int_eq(v->element, QN_META_STRING);
        return json_pack("[s, o]", "str[]", texts_of(v));
    }
    if (v->type == QN_META_STRING) {
        ck_assert_int_eq(qn_metadata_str(m, key, &s, NULL, NULL), QN_OK);
        return json_pack("[s, s%]", "str", s.s, s.n);
    }
    ck_assert_int_eq(qn_metadata_f64(m, key, &number, NULL, NULL), QN_OK);
    return json_pack("[s, f]", qn_meta_type_name(v->type), number);
}

/* Numbers are compared as the float32 that both are. */
static bool same(const json_t *got, const json_t *want)
{
    const json_t *g = json_array_get(got, 1), *w = json_array_get(want, 1);
    if (!json_equal(json_array_get(got, 0), json_array_get(want, 0))) return false;
    if (json_is_number(w)) return (float)json_number_value(g) == (float)json_number_value(w);
    return json_equal(g, w);
}

static void compare(const char *title, const qn_metadata *m, json_t *want)
{
    size_t i = 0;
    const char *key;
    json_t *value;
    json_object_foreach(want, key, value)
    {
        ck_assert_msg(i < qn_metadata_count(m), "%s: no %s", title, key);
        const qn_meta_value *v = qn_metadata_at(m, i++);
        ck_assert_msg(qn_str_is(v->key, key), "%s: key %zu is %.*s, expected %s", title, i,
                      (int)v->key.n, v->key.s, key);
        json_t *got = described(m, v);
        char *ours = json_dumps(got, 0), *theirs = json_dumps(value, 0);
        ck_assert_msg(same(got, value), "%s: %s is %s, expected %s", title, key, ours, theirs);
        free(ours);
        free(theirs);
        json_decref(got);
    }
    ck_assert_uint_eq(qn_metadata_count(m), i);
}

static void write_files(const char *directory, const json_t *files)
{
    char path[256];
    const char *name;
    json_t *text;
    qn_test_subdirectory(directory);
    json_object_foreach((json_t *)files, name, text)
    {
        snprintf(path, sizeof path, "%s/%s", directory, name);
        qn_test_file(path, json_string_value(text), json_string_length(text));
    }
}

static void check_case(json_t *c)
{
    const char *title = json_string_value(json_object_get(c, "directory"));
    json_t *files = json_object_get(c, "files"), *config = NULL;
    const char *text = json_string_value(json_object_get(files, "config.json"));
    char override[512];
    qn_error err = {0};
    qn_text remarks = {0};
    write_files(title, files);
    if (text) config = json_loads(text, 0, NULL);
    snprintf(override, sizeof override, "%s/override.json", qn_test_path(title));
    const qn_general_source source = {
        .dir = qn_test_path(title),
        .id = title,
        .override_path = json_object_get(files, "override.json") ? override : NULL,
        .model_name = json_string_value(json_object_get(c, "model_name")),
        .config = config,
        .parameters = (uint64_t)json_integer_value(json_object_get(c, "parameters")),
        .experts = (uint64_t)json_integer_value(json_object_get(c, "experts")),
        .of_one_expert = (uint64_t)json_integer_value(json_object_get(c, "of_one_expert")),
    };
    qn_metadata *m = qn_metadata_new();
    ck_assert_msg(!qn_general_keys(&source, m, &remarks, &err), "%s: %s", title, err.message);
    compare(title, m, json_object_get(c, "keys"));
    char *file = qn_gguf_file_name(m, "BF16");
    ck_assert_str_eq(file, json_string_value(json_object_get(c, "file")));
    qn_free(file);
    qn_metadata_free(m);
    qn_text_free(&remarks);
    json_decref(config);
}

START_TEST(a_files_name_has_no_path_and_no_command_in_it)
{
    qn_metadata *m = qn_metadata_new();
    ck_assert(!qn_metadata_set_str(m, "general.name", qn_str_z("../a\x1b[31m\nb\x7f"), NULL));
    char *file = qn_gguf_file_name(m, "BF16");
    ck_assert_str_eq(file, "..-a-[31m-b--BF16.gguf");
    qn_free(file);
    qn_metadata_free(m);
}
END_TEST

START_TEST(a_directory_has_the_keys_and_the_file_name_of_gguf_py)
{
    json_t *all = cases(), *c;
    size_t i;
    json_array_foreach(all, i, c) check_case(c);
    ck_assert_uint_gt(i, 25);
    json_decref(all);
}
END_TEST

/* ---- what cannot be read ---------------------------------------------------------------- */

/* Keys of a directory with this card and override file (NULL: none). */
static qn_status keys_of(const char *card, const char *override, qn_metadata **m, qn_text *remarks,
                         qn_error *err)
{
    static char path[512];
    qn_test_subdirectory("d");
    if (card) qn_test_file("d/README.md", card, strlen(card));
    if (override)
        snprintf(path, sizeof path, "%s", qn_test_file("d/o.json", override, strlen(override)));
    const qn_general_source source = {.dir = qn_test_path("d"),
                                      .id = "d",
                                      .override_path = override ? path : NULL,
                                      .parameters = 1000};
    *m = qn_metadata_new();
    return qn_general_keys(&source, *m, remarks, err);
}

static const struct {
    const char *card, *remark; /* a piece of it */
} bad_cards[] = {
    {"---\nlicense: [mit\n---\n", "README.md: line 2: "},
    {"---\na: b: c\n---\n", "mapping values are not allowed"},
    {"---\n- a\n- b\n---\n", "front matter that is no list of keys"},
    {"---\nwords\n---\n", "front matter that is no list of keys"},
    {"---\na: *b\n---\n", "line 1: an alias of nothing"},
    {"---\na: &x [*x]\n---\n", "an alias of nothing"},
    {"---\n? [a]\n: b\n---\n", "a key that is no word"},
    {"---\na: \"\\0\"\n---\n", "a NUL character"},
    {"---\na: 1\n--- \nb: 2\n---\n", "a second document"},
    {"---\na: \xff\n---\n", "README.md: line "},
};

START_TEST(a_card_that_is_no_yaml_is_passed_over_with_a_line)
{
    qn_metadata *m;
    qn_text remarks = {0};
    qn_error err = {0};
    ck_assert_int_eq(keys_of(bad_cards[_i].card, NULL, &m, &remarks, &err), QN_OK);
    ck_assert_uint_eq(qn_metadata_count(m), 2); /* name and size label */
    ck_assert_ptr_nonnull(remarks.s);
    ck_assert_msg(strstr(remarks.s, bad_cards[_i].remark) != NULL, "%s", remarks.s);
    ck_assert_msg(strstr(remarks.s, "the card is passed over\n") != NULL, "%s", remarks.s);
    qn_text_free(&remarks);
    qn_metadata_free(m);
}
END_TEST

/* Nested 1,000 times, and 64 levels in each of 60 anchors on top of each other:
 * an attack on whoever walks or frees such a value. */
START_TEST(a_card_does_not_nest_without_end)
{
    qn_text plain = {0}, aliased = {0}, remarks = {0};
    qn_metadata *m;
    qn_error err = {0};
    qn_text_adds(&plain, "---\na: ");
    for (int i = 0; i < 1000; i++) qn_text_adds(&plain, "[");
    qn_text_adds(&aliased, "---\nk0: &a0 x\n");
    for (int i = 1; i < 60; i++) {
        qn_text_addf(&aliased, "k%d: &a%d ", i, i);
        for (int k = 0; k < 20; k++) qn_text_adds(&aliased, "[");
        qn_text_addf(&aliased, "*a%d", i - 1);
        for (int k = 0; k < 20; k++) qn_text_adds(&aliased, "]");
        qn_text_adds(&aliased, "\n");
    }
    const char *const cards[] = {plain.s, aliased.s};
    for (size_t i = 0; i < 2; i++) {
        ck_assert_int_eq(keys_of(cards[i], NULL, &m, &remarks, &err), QN_OK);
        ck_assert_msg(remarks.s && strstr(remarks.s, "nested too deeply"), "%s", remarks.s);
        qn_text_free(&remarks);
        remarks = (qn_text){0};
        qn_metadata_free(m);
    }
    qn_text_free(&plain);
    qn_text_free(&aliased);
}
END_TEST

/* Ten to the 7th, or to the 9th, values on paper (the "billion laughs"): who writes a
 * value out would write that much. */
START_TEST(an_alias_costs_nothing_but_what_it_says_has_a_limit)
{
    const int levels = _i ? 9 : 7;
    qn_text t = {0};
    json_t *root = NULL;
    qn_error err = {0};
    qn_text_adds(&t, "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for (int i = 1; i < levels; i++) {
        qn_text_addf(&t, "a%d: &a%d [", i, i);
        for (int k = 0; k < 10; k++) qn_text_addf(&t, "%s*a%d", k ? ", " : "", i - 1);
        qn_text_adds(&t, "]\n");
    }
    const qn_status status = qn_yaml_parse(qn_str_of(t.s, t.n), "laughs", &root, &err);
    ck_assert_int_eq(status, _i ? QN_ERR_DATA : QN_OK);
    if (status)
        ck_assert_msg(strstr(err.message, "more than 64 MiB"), "%s", err.message);
    else
        ck_assert_ptr_eq(json_array_get(json_object_get(root, "a6"), 9),
                         json_object_get(root, "a5"));
    json_decref(root);
    qn_text_free(&t);
}
END_TEST

START_TEST(a_card_of_more_than_a_megabyte_is_passed_over)
{
    qn_text card = {0}, remarks = {0};
    qn_metadata *m;
    qn_error err = {0};
    qn_text_adds(&card, "---\n");
    for (int i = 0; i < 100000; i++) qn_text_adds(&card, "license: mit\n");
    ck_assert_int_eq(keys_of(card.s, NULL, &m, &remarks, &err), QN_OK);
    ck_assert_msg(remarks.s && strstr(remarks.s, "more than 1048576 bytes"), "%s", remarks.s);
    qn_text_free(&remarks);
    qn_text_free(&card);
    qn_metadata_free(m);
}
END_TEST

static const struct {
    const char *override, *message;
} bad_overrides[] = {
    {"{", "o.json: line 1: "},
    {"[]", "o.json: not a JSON object"},
    {"{\"general.name\": 1}", "the value for general.name is not a string"},
    {"{\"general.tags\": \"a\"}", "the value for general.tags is not a list of strings"},
    {"{\"general.tags\": [1]}", "the value for general.tags is not a list of strings"},
    {"{\"general.base_models\": [\"a\"]}", "general.base_models is not a list of objects"},
    {"{\"general.sampling.top_k\": 1.5}", "general.sampling.top_k is not an i32"},
    {"{\"general.sampling.top_k\": 3000000000}", "general.sampling.top_k is not an i32"},
    {"{\"general.sampling.top_p\": 1e300}",
     "general.sampling.top_p is not a number that float32 holds"},
    {"{\"general.sampling.temp\": \"1\"}", "general.sampling.temp is not a number"},
};

START_TEST(an_override_file_of_other_kinds_is_refused)
{
    qn_metadata *m;
    qn_text remarks = {0};
    qn_error err = {0};
    ck_assert_int_eq(keys_of(NULL, bad_overrides[_i].override, &m, &remarks, &err), QN_ERR_DATA);
    ck_assert_msg(strstr(err.message, bad_overrides[_i].message) != NULL, "%s", err.message);
    qn_text_free(&remarks);
    qn_metadata_free(m);
}
END_TEST

/* The converter has no way to give this one, and passes over unknown keys in
 * silence. */
START_TEST(an_override_file_gives_the_license_too_and_unknown_keys_are_told)
{
    qn_metadata *m;
    qn_text remarks = {0};
    qn_error err = {0};
    qn_str license;
    ck_assert_int_eq(keys_of("---\nlicense: mit\n---\n",
                             "{\"general.license\": \"apache-2.0\", \"general.nmae\": \"x\"}", &m,
                             &remarks, &err),
                     QN_OK);
    ck_assert_int_eq(qn_metadata_str(m, "general.license", &license, NULL, &err), QN_OK);
    ck_assert(qn_str_is(license, "apache-2.0"));
    ck_assert_msg(strstr(remarks.s, "\"general.nmae\" is none of the keys") != NULL, "%s",
                  remarks.s);
    qn_text_free(&remarks);
    qn_metadata_free(m);
}
END_TEST

/* A card's scalars are what is written there; the converter stops at the first
 * two, and leaves the third out. */
START_TEST(numbers_dates_and_norwegian_are_words)
{
    qn_metadata *m;
    qn_text remarks = {0};
    qn_error err = {0};
    static const char *const keys[][2] = {{"general.version", "1.10"},
                                          {"general.author", "2024-01-01"}};
    ck_assert_int_eq(keys_of("---\nversion: 1.10\nauthor: 2024-01-01\nlanguage: no\n---\n", NULL,
                             &m, &remarks, &err),
                     QN_OK);
    for (size_t i = 0; i < 2; i++) {
        qn_str s;
        ck_assert_int_eq(qn_metadata_str(m, keys[i][0], &s, NULL, &err), QN_OK);
        ck_assert(qn_str_is(s, keys[i][1]));
    }
    const qn_meta_value *languages = qn_metadata_find(m, "general.languages");
    ck_assert_ptr_nonnull(languages);
    qn_str cursor = languages->bytes, language;
    ck_assert(qn_meta_next_string(&cursor, &language));
    ck_assert(qn_str_is(language, "no"));
    qn_metadata_free(m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("general keys");
    TCase *t = qn_test_group(s, "gguf-py");
    tcase_add_test(t, a_directory_has_the_keys_and_the_file_name_of_gguf_py);
    tcase_add_test(t, a_files_name_has_no_path_and_no_command_in_it);
    tcase_add_loop_test(t, a_card_that_is_no_yaml_is_passed_over_with_a_line, 0,
                        sizeof bad_cards / sizeof *bad_cards);
    tcase_add_test(t, a_card_does_not_nest_without_end);
    tcase_add_loop_test(t, an_alias_costs_nothing_but_what_it_says_has_a_limit, 0, 2);
    tcase_add_test(t, a_card_of_more_than_a_megabyte_is_passed_over);
    tcase_add_loop_test(t, an_override_file_of_other_kinds_is_refused, 0,
                        sizeof bad_overrides / sizeof *bad_overrides);
    tcase_add_test(t, an_override_file_gives_the_license_too_and_unknown_keys_are_told);
    tcase_add_test(t, numbers_dates_and_norwegian_are_words);
    return qn_test_run_suite(s);
}
