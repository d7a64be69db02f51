/* The user's own types and metadata: NAME=TYPE and KEY=TYPE:VALUE. */
#include <check.h>
#include <string.h>

#include "formats/metadata.h"
#include "quant/overrides.h"
#include "quant/type_rules.h"
#include "tests/support/files.h"
#include "tests/support/run.h"

/* ---- types -------------------------------------------------------------------------- */

static void add(qn_type_rules *r, const char *text)
{
    qn_error err = {0};
    ck_assert_msg(!qn_type_rules_add(r, text, &err), "%s", err.message);
}

/* The type's name, "none" without one. */
static const char *type_of(const qn_type_rules *r, const char *name, bool generic)
{
    const qn_type_rule *rule = NULL;
    qn_error err = {0};
    ck_assert_msg(!qn_type_rules_find(r, name, generic, &rule, &err), "%s", err.message);
    return rule ? qn_dtype_facts(rule->dtype)->name : "none";
}

START_TEST(the_first_pattern_found_in_the_name_counts)
{
    qn_type_rules r = {0};
    add(&r, "blk\\.1\\..*_v=q5_0");
    add(&r, "attn_v=Q8_0");
    add(&r, "attn=q6_K");
    ck_assert_str_eq(type_of(&r, "blk.1.attn_v.weight", false), "Q5_0");
    ck_assert_str_eq(type_of(&r, "blk.11.attn_v.weight", false), "Q8_0");
    ck_assert_str_eq(type_of(&r, "blk.1.attn_q.weight", false), "Q6_K");
    ck_assert_str_eq(type_of(&r, "blk.1.ffn_up.weight", false), "none");
    qn_type_rules_free(&r);
    ck_assert_str_eq(type_of(&r, "blk.1.attn_v.weight", false), "none");
}
END_TEST

START_TEST(letters_are_lowered_for_gguf_names_only)
{
    qn_type_rules r = {0};
    add(&r, "MLP=q8_0");
    add(&r, "\\D_proj=q4_0");
    ck_assert_str_eq(type_of(&r, "mlp", false), "Q8_0");
    ck_assert_str_eq(type_of(&r, "MLP", true), "Q8_0");
    ck_assert_str_eq(type_of(&r, "mlp", true), "none");
    ck_assert_str_eq(type_of(&r, "x_proj", true), "Q4_0");
    ck_assert_str_eq(type_of(&r, "x_proj", false), "none");
    ck_assert_str_eq(type_of(&r, "1_proj", false), "Q4_0");
    qn_type_rules_free(&r);
}
END_TEST

START_TEST(patterns_are_those_of_ecmascript)
{
    qn_type_rules r = {0};
    add(&r, "^[]a=q8_0");
    add(&r, "b$=q5_0");
    add(&r, "^(?:c|d)\\u0065=q4_0");
    ck_assert_str_eq(type_of(&r, "a", false), "none");
    ck_assert_str_eq(type_of(&r, "ab", false), "Q5_0");
    ck_assert_str_eq(type_of(&r, "ab\n", false), "none");
    ck_assert_str_eq(type_of(&r, "de", false), "Q4_0");
    qn_type_rules_free(&r);
}
END_TEST

START_TEST(a_file_holds_rules_between_blanks)
{
    static const char text[] = "  attn_v=q8_0\tattn_k=q5_0\r\n\n attn=q4_0 ";
    qn_type_rules r = {0};
    qn_error err = {0};
    const char *path = qn_test_file("types.txt", text, sizeof text - 1);
    ck_assert_msg(!qn_type_rules_add_file(&r, path, &err), "%s", err.message);
    ck_assert_uint_eq(r.n, 3);
    ck_assert_str_eq(type_of(&r, "attn_k", false), "Q5_0");
    ck_assert_str_eq(type_of(&r, "attn_q", false), "Q4_0");
    path = qn_test_file("bad.txt", "a=q8_0 b", 8);
    ck_assert_int_eq(qn_type_rules_add_file(&r, path, &err), QN_ERR_ARGUMENT);
    ck_assert_msg(strstr(err.message, "bad.txt: 'b' is not"), "%s", err.message);
    path = qn_test_file("zero.txt", "a=q8_0\0b", 8);
    ck_assert_int_eq(qn_type_rules_add_file(&r, path, &err), QN_ERR_DATA);
    qn_type_rules_free(&r);
}
END_TEST

static const char *const bad_rules[] = {"attn", "=q8_0", "attn=", "attn=q9", "(=q8_0", "a=f64x"};

START_TEST(what_is_no_rule_is_refused)
{
    qn_type_rules r = {0};
    qn_error err = {0};
    ck_assert_int_eq(qn_type_rules_add(&r, bad_rules[_i], &err), QN_ERR_ARGUMENT);
    ck_assert_uint_eq(r.n, 0);
    qn_type_rules_free(&r);
}
END_TEST

START_TEST(a_pattern_that_would_never_end_fails)
{
    qn_type_rules r = {0};
    const qn_type_rule *rule;
    qn_error err = {0};
    add(&r, "^((a+)+)+$=q8_0");
    ck_assert_int_eq(
        qn_type_rules_find(&r, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!",
                           false, &rule, &err),
        QN_ERR_UNSUPPORTED);
    qn_type_rules_free(&r);
}
END_TEST

/* ---- metadata ----------------------------------------------------------------------- */

START_TEST(an_override_has_the_type_that_llama_quantize_writes)
{
    qn_metadata *m = qn_metadata_new();
    qn_error err = {0};
    ck_assert_ptr_nonnull(m);
    static const char *const texts[] = {"a=int:-7",      "b=float:1.1", "c=bool:true",
                                        "d=str:x=int:1", "e=str:",      "a=int:4294967295"};
    for (size_t i = 0; i < 6; i++)
        ck_assert_msg(!qn_override_add(m, texts[i], &err), "%s", err.message);
    ck_assert_uint_eq(qn_metadata_count(m), 5);
    const qn_meta_value *b = qn_metadata_at(m, 0), *c = qn_metadata_at(m, 1),
                        *d = qn_metadata_at(m, 2), *e = qn_metadata_at(m, 3),
                        *a = qn_metadata_at(m, 4); /* set anew, so last */
    float f = 0;
    uint32_t u = 0;
    ck_assert_int_eq(a->type, QN_META_U32);
    memcpy(&u, a->bytes.s, sizeof u);
    ck_assert_uint_eq(u, UINT32_MAX);
    ck_assert_int_eq(b->type, QN_META_F32);
    memcpy(&f, b->bytes.s, sizeof f);
    ck_assert_float_eq(f, 1.1F);
    ck_assert_int_eq(c->type, QN_META_BOOL);
    ck_assert_int_eq(c->bytes.s[0], 1);
    ck_assert_int_eq(d->type, QN_META_STRING);
    ck_assert(qn_str_equal(qn_str_of(d->bytes.s + 8, d->bytes.n - 8), qn_str_z("x=int:1")));
    ck_assert_int_eq(e->type, QN_META_STRING);
    ck_assert_uint_eq(e->bytes.n, 8);
    qn_metadata_free(m);
}
END_TEST

static const char *const bad_overrides[] = {"a",          "=int:1",   "a=1",
                                            "a=u32:1",    "a=int:",   "a=int:1x",
                                            "a=int:1.5",  "a=float:", "a=float:1,5",
                                            "a=bool:yes", "a=bool:",  "a=int:4294967296",
                                            "\xff=int:1"};

START_TEST(what_is_no_override_is_refused)
{
    qn_metadata *m = qn_metadata_new();
    qn_error err = {0};
    ck_assert_int_eq(qn_override_add(m, bad_overrides[_i], &err), QN_ERR_ARGUMENT);
    ck_assert_uint_eq(qn_metadata_count(m), 0);
    qn_metadata_free(m);
}
END_TEST

START_TEST(texts_have_at_most_127_bytes)
{
    qn_metadata *m = qn_metadata_new();
    qn_error err = {0};
    char text[200] = "a=str:";
    memset(text + 6, 'x', 127);
    ck_assert_int_eq(qn_override_add(m, text, &err), QN_OK);
    text[6 + 127] = 'x';
    ck_assert_int_eq(qn_override_add(m, text, &err), QN_ERR_ARGUMENT);
    memset(text, 'k', 128);
    memcpy(text + 128, "=int:1", 7);
    ck_assert_int_eq(qn_override_add(m, text, &err), QN_ERR_ARGUMENT);
    ck_assert_int_eq(qn_override_add(m, text + 1, &err), QN_OK);
    qn_metadata_free(m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("type rules");
    TCase *t = qn_test_group(s, "types");
    tcase_add_test(t, the_first_pattern_found_in_the_name_counts);
    tcase_add_test(t, letters_are_lowered_for_gguf_names_only);
    tcase_add_test(t, patterns_are_those_of_ecmascript);
    tcase_add_test(t, a_file_holds_rules_between_blanks);
    tcase_add_loop_test(t, what_is_no_rule_is_refused, 0, 6);
    tcase_add_test(t, a_pattern_that_would_never_end_fails);
    t = qn_test_group(s, "metadata");
    tcase_add_test(t, an_override_has_the_type_that_llama_quantize_writes);
    tcase_add_loop_test(t, what_is_no_override_is_refused, 0, 13);
    tcase_add_test(t, texts_have_at_most_127_bytes);
    return qn_test_run_suite(s);
}
