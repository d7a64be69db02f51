/* formats/base: JSON as a document and as a walk. */
#include <check.h>
#include <string.h>

#include "formats/base/json.h"
#include "tests/support/run.h"

static qn_status parse(const char *text, json_t **out, qn_error *err)
{
    return qn_json_parse(text, strlen(text), "t.json", false, out, err);
}

START_TEST(bad_json_is_refused_with_its_line)
{
    static const char *const bad[] = {
        "{\"a\":1,\n\"a\":2}",
        "{\"a\":\n1}x",
        "{\"a\":\n\"\xff\"}",
        "{\"a\":\n1e999}",
        "",
        "{\"a\":\n\"\\u0000\"}",
        "3",
        "{\"a\":\n000000000000000000000001}",
        "{\"a\":\n1,}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        qn_error err = {0};
        json_t *root = NULL;
        ck_assert_msg(parse(bad[i], &root, &err) == QN_ERR_DATA, "%s", bad[i]);
        ck_assert_ptr_null(root);
        ck_assert_msg(strstr(err.message, "t.json: line "), "%s", err.message);
    }
}
END_TEST

START_TEST(integers_beyond_63_bits_become_reals)
{
    json_t *root;
    double v = 0;
    const char *text = "{\"s\": \"1000000000000000000019884624838656\\\"99999999999999999999\", "
                       "\"a\": 1000000000000000019884624838656, \"b\": [-9223372036854775809], "
                       "\"c\": 9223372036854775807, \"d\": 18446744073709551616}";
    ck_assert_int_eq(parse(text, &root, NULL), QN_OK);
    ck_assert_int_eq(qn_json_f64(root, "a", "t", &v, NULL, NULL), QN_OK);
    ck_assert_double_eq(v, 1e30);
    ck_assert_int_eq(qn_json_f64(root, "d", "t", &v, NULL, NULL), QN_OK);
    ck_assert_double_eq_tol(v, 18446744073709551616.0, 1e5);
    ck_assert_double_eq_tol(json_real_value(json_array_get(json_object_get(root, "b"), 0)),
                            -9223372036854775808.0, 1e5);
    uint64_t u = 0;
    ck_assert_int_eq(qn_json_u64(root, "c", "t", &u, NULL, NULL), QN_OK);
    ck_assert_uint_eq(u, 9223372036854775807u);
    qn_str s;
    ck_assert_int_eq(qn_json_str(root, "s", "t", &s, NULL, NULL), QN_OK);
    ck_assert(qn_str_is(s, "1000000000000000000019884624838656\"99999999999999999999"));
    json_decref(root);
}
END_TEST

/* Wherever it lies in a text that goes on behind it. */
START_TEST(a_huge_integer_ends_where_it_ends)
{
    static const char number[] = "99999999999999999999";
    for (size_t blanks = 0; blanks < 600; blanks++) {
        qn_text t = {0};
        json_error_t e;
        for (size_t i = 0; i < blanks; i++) qn_text_adds(&t, " ");
        qn_text_adds(&t, number);
        qn_text_adds(&t, " , [1,");
        json_t *v = qn_json_load_piece(t.s, t.n, &e);
        ck_assert_msg(v, "%zu blanks: %s", blanks, e.text);
        ck_assert_double_eq_tol(json_real_value(v), 1e20, 1e5);
        ck_assert_int_eq(e.position, (int)(blanks + sizeof number - 1));
        json_decref(v);
        qn_text_free(&t);
    }
}
END_TEST

START_TEST(a_missing_key_and_a_wrong_kind_are_told_apart)
{
    json_t *root;
    qn_error err = {0};
    uint64_t u = 5;
    bool found = true, b = false;
    ck_assert_int_eq(parse("{\"n\": null, \"s\": \"x\", \"m\": -1, \"t\": true}", &root, NULL),
                     QN_OK);
    ck_assert_int_eq(qn_json_u64(root, "n", "c", &u, &found, &err), QN_OK);
    ck_assert(!found);
    ck_assert_uint_eq(u, 5);
    ck_assert_int_eq(qn_json_u64(root, "q", "c.json", &u, NULL, &err), QN_ERR_DATA);
    ck_assert_str_eq(err.message, "c.json: \"q\" is missing");
    ck_assert_int_eq(qn_json_u64(root, "s", "c.json", &u, &found, &err), QN_ERR_DATA);
    ck_assert_str_eq(err.message, "c.json: \"s\" is a string, not an integer");
    ck_assert_int_eq(qn_json_u64(root, "m", "c.json", &u, &found, &err), QN_ERR_DATA);
    ck_assert_int_eq(qn_json_bool(root, "t", "c.json", &b, &found, &err), QN_OK);
    ck_assert(b && found);
    json_decref(root);
}
END_TEST

START_TEST(a_walk_sees_every_member_in_order)
{
    const char *text =
        " {\"a\" : {\"x\":1, \"y\":[2,\"}\"]} ,\"w\":{ \"k1\":\"v1\",\"k\\u00e9\":7} ,\n"
        "\"e\":{}, \"z\":null}  \n";
    qn_json_walk w;
    qn_text key = {0};
    bool more = false;
    json_t *v;
    static const char *const outer[] = {"a", "w", "e", "z"};
    ck_assert_int_eq(qn_json_walk_open(&w, text, strlen(text), "t", NULL), QN_OK);
    for (size_t i = 0; i < 4; i++) {
        ck_assert_int_eq(qn_json_walk_key(&w, &key, &more, NULL), QN_OK);
        ck_assert(more);
        ck_assert_str_eq(key.s, outer[i]);
        if (i == 1 || i == 2) {
            size_t members = 0;
            ck_assert_int_eq(qn_json_walk_enter(&w, NULL), QN_OK);
            while (qn_json_walk_key(&w, &key, &more, NULL) == QN_OK && more) {
                ck_assert_str_eq(key.s, members++ ? "k\xC3\xA9" : "k1");
                ck_assert_int_eq(qn_json_walk_value(&w, 100, &v, NULL), QN_OK);
                json_decref(v);
            }
            ck_assert_uint_eq(members, i == 1 ? 2 : 0);
        } else {
            ck_assert_int_eq(qn_json_walk_value(&w, 100, &v, NULL), QN_OK);
            if (i == 0) ck_assert_uint_eq(json_array_size(json_object_get(v, "y")), 2);
            json_decref(v);
        }
    }
    ck_assert_int_eq(qn_json_walk_key(&w, &key, &more, NULL), QN_OK);
    ck_assert(!more);
    ck_assert_int_eq(qn_json_walk_end(&w, NULL), QN_OK);
    qn_text_free(&key);
}
END_TEST

/* Each element of the list by itself and as a whole document of jansson's. */
START_TEST(strings_and_whole_numbers_are_what_jansson_reads)
{
    static const char *const texts[] = {
        "\"\"",
        "\"plain\"",
        "\"\\n\\\"\\\\\"",
        "\"\xE2\x96\x81x\"",
        "\"\\u2581\"",
        "\"\xED\xA0\x80\"",
        "\"\xC0\x80\"",
        "\"\x01\"",
        "\"\x7f\"",
        "\"\\u0000\"",
        "\"open",
        "\"\\",
        "0",
        "7",
        "123456789012345678",
        "01",
        "-1",
        "1.5",
        "1e3",
        "1234567890123456789",
        "9999999999999999999",
        "",
        "x",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char list[64];
        snprintf(list, sizeof list, "[%s]", texts[i]);
        json_t *whole = json_loads(list, 0, NULL);
        const json_t *expected = json_array_get(whole, 0);
        qn_json_walk w = {.text = list, .where = "t", .n = strlen(list)};
        qn_text scratch = {0};
        qn_str s;
        int64_t number;
        bool more = false;
        ck_assert_int_eq(qn_json_walk_enter_list(&w, NULL), QN_OK);
        ck_assert_int_eq(qn_json_walk_item(&w, &more, NULL), QN_OK);
        const bool is_string =
            more && qn_json_walk_kind(&w) == '"' && !qn_json_walk_string(&w, &scratch, &s, NULL);
        ck_assert_msg(is_string == json_is_string(expected), "%s", list);
        if (is_string)
            ck_assert(qn_str_equal(
                s, qn_str_of(json_string_value(expected), json_string_length(expected))));
        if (more && !is_string && qn_json_walk_whole(&w, &number)) {
            ck_assert_msg(json_is_integer(expected), "%s", list);
            ck_assert_int_eq(number, json_integer_value(expected));
        }
        qn_text_free(&scratch);
        json_decref(whole);
    }
}
END_TEST

/* The walk of a document that jansson refuses as a whole must fail, too. */
static qn_status walk_all(const char *text, size_t limit, qn_error *err)
{
    qn_json_walk w;
    qn_text key = {0};
    bool more = false;
    qn_status status = qn_json_walk_open(&w, text, strlen(text), "t", err);
    while (!status && !(status = qn_json_walk_key(&w, &key, &more, err)) && more) {
        json_t *v;
        if (!(status = qn_json_walk_value(&w, limit, &v, err))) json_decref(v);
    }
    if (!status) status = qn_json_walk_end(&w, err);
    qn_text_free(&key);
    return status;
}

START_TEST(a_walk_refuses_what_is_no_json)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1",
        "{\"a\":1,}",
        "{,\"a\":1}",
        "{\"a\" 1}",
        "{\"a\":1 \"b\":2}",
        "{a:1}",
        "{\"a\":1}x",
        "{\"a\":1}{}",
        "{\"a\":{\"b\":1,\"b\":2}}",
        "{\"a\":tru}",
        "{\"\xff\":1}",
        "{\"a\":1}}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(walk_all(bad[i], 1000, NULL) == QN_ERR_DATA, "%s", bad[i]);
    ck_assert_int_eq(walk_all("{}", 10, NULL), QN_OK);
}
END_TEST

START_TEST(a_walk_refuses_a_value_that_is_too_long)
{
    qn_error err = {0};
    ck_assert_int_eq(walk_all("{\"a\":\"123456\"}", 8, &err), QN_OK);
    ck_assert_int_eq(walk_all("{\"a\":\"1234567\"}", 8, &err), QN_ERR_DATA);
    ck_assert_str_eq(err.message, "t: at byte 5: a value longer than 8 bytes");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("base, JSON");
    TCase *t = qn_test_group(s, "json");
    tcase_add_test(t, bad_json_is_refused_with_its_line);
    tcase_add_test(t, integers_beyond_63_bits_become_reals);
    tcase_add_test(t, a_huge_integer_ends_where_it_ends);
    tcase_add_test(t, a_missing_key_and_a_wrong_kind_are_told_apart);
    tcase_add_test(t, a_walk_sees_every_member_in_order);
    tcase_add_test(t, strings_and_whole_numbers_are_what_jansson_reads);
    tcase_add_test(t, a_walk_refuses_what_is_no_json);
    tcase_add_test(t, a_walk_refuses_a_value_that_is_too_long);
    return qn_test_run_suite(s);
}
