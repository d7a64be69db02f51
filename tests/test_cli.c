/* Command lines: what is understood, what is refused, what is suggested. */
#include "tools/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "tests/support/run.h"
#include "tools/output_name.h"
#include "tools/report.h"
#include "tools/text_input.h"

typedef struct {
    qn_common common;
    bool pure;
    const char *name;
    qn_texts files;
    uint64_t chunks, memory;
    double temperature;
} options;

static const qn_opt table[] = {
    {'p', "pure", NULL, QN_OPT_FLAG, offsetof(options, pure), "no mix"},
    {'n', "model-name", "NAME", QN_OPT_TEXT, offsetof(options, name), "name"},
    {'f', "file", "FILE", QN_OPT_TEXTS, offsetof(options, files), "text"},
    {'c', "chunks", "N", QN_OPT_COUNT, offsetof(options, chunks), "chunks"},
    {0, "max-memory", "SIZE", QN_OPT_SIZE, offsetof(options, memory), "memory"},
    {0, "temp", "X", QN_OPT_REAL, offsetof(options, temperature), "temperature"},
};

static const qn_command command = {
    .name = "grind",
    .options = table,
    .n_options = QN_COUNT_OF(table),
};

static options given;
static char *words[16];
static size_t n_arguments;

/* Splits the line at blanks and parses it as "grind ...". */
static bool parse(const char *line)
{
    static char text[256];
    char *state;
    int n = 0;
    qn_free(given.files.at);
    given = (options){.common.command = "grind"};
    ck_assert_int_lt(snprintf(text, sizeof text, "grind %s", line), (int)sizeof text);
    for (char *w = strtok_r(text, " ", &state); w; w = strtok_r(NULL, " ", &state)) words[n++] = w;
    return qn_cli_parse(&command, n, words, &given, &n_arguments);
}

START_TEST(options_may_stand_anywhere_and_in_every_spelling)
{
    ck_assert(parse("in -p --chunks 5 out --model-name=a=b -f x -fy --file z Q8_0"));
    ck_assert_uint_eq(n_arguments, 3);
    ck_assert_str_eq(words[1], "in");
    ck_assert_str_eq(words[2], "out");
    ck_assert_str_eq(words[3], "Q8_0");
    ck_assert(given.pure);
    ck_assert_uint_eq(given.chunks, 5);
    ck_assert_str_eq(given.name, "a=b");
    ck_assert_uint_eq(given.files.n, 3);
    ck_assert_str_eq(given.files.at[0], "x");
    ck_assert_str_eq(given.files.at[1], "y");
    ck_assert_str_eq(given.files.at[2], "z");
}
END_TEST

START_TEST(letters_may_share_a_dash)
{
    ck_assert(parse("-qpt4 in"));
    ck_assert(given.pure && given.common.quiet);
    ck_assert_uint_eq(given.common.threads, 4);
}
END_TEST

START_TEST(behind_two_dashes_all_is_an_argument)
{
    ck_assert(parse("a -- --pure -x --"));
    ck_assert_uint_eq(n_arguments, 4);
    ck_assert_str_eq(words[2], "--pure");
    ck_assert_str_eq(words[4], "--");
    ck_assert(!given.pure);
}
END_TEST

START_TEST(a_negative_number_is_a_value_or_an_argument)
{
    ck_assert(parse("--temp -0.5 -7 -.5 -"));
    ck_assert_double_eq(given.temperature, -0.5);
    ck_assert_uint_eq(n_arguments, 3);
    ck_assert_str_eq(words[1], "-7");
}
END_TEST

START_TEST(underscores_are_dashes)
{
    ck_assert(parse("--model_name x --max_memory=1K"));
    ck_assert_str_eq(given.name, "x");
    ck_assert_uint_eq(given.memory, 1024);
}
END_TEST

static const char *const wrong[] = {
    "--pur",
    "--pure=yes",
    "-x",
    "--chunks",
    "--chunks -1",
    "--chunks 1x",
    "--chunks= 4",
    "--chunks 18446744073709551616",
    "--max-memory many",
    "--temp warm",
    "--temp nan",
    "--temp inf",
    "-f",
    "--=3",
    "--0123456789012345678901234567890123456789012345678901234567890123456789",
};

START_TEST(a_wrong_line_is_refused)
{
    ck_assert_ptr_nonnull(freopen("/dev/null", "w", stderr));
    ck_assert_msg(!parse(wrong[_i]), "'%s' was accepted", wrong[_i]);
}
END_TEST

static const struct {
    const char *text;
    uint64_t bytes;
} sizes[] = {
    {"0", 0},         {"123", 123},    {"512M", UINT64_C(512) << 20}, {"1.5G", UINT64_C(3) << 29},
    {"64KiB", 65536}, {"64KB", 64000}, {"2t", UINT64_C(2) << 40},     {"7b", 7},
};

START_TEST(sizes_have_units)
{
    uint64_t bytes = 1;
    ck_assert(qn_parse_size(sizes[_i].text, &bytes));
    ck_assert_uint_eq(bytes, sizes[_i].bytes);
}
END_TEST

static const char *const no_sizes[] = {"",      "M",   "-1",       "1X",   "1MM",   "1 M",
                                       "1.2.3", "1e3", "9999999T", "0x10", "1KiBs", "1Ki"};

START_TEST(what_is_no_size_is_refused)
{
    uint64_t bytes = 77;
    ck_assert_msg(!qn_parse_size(no_sizes[_i], &bytes), "'%s' was accepted", no_sizes[_i]);
    ck_assert_uint_eq(bytes, 77);
}
END_TEST

START_TEST(edit_distance_counts_slips)
{
    ck_assert_uint_eq(qn_edit_distance("pure", "pure"), 0);
    ck_assert_uint_eq(qn_edit_distance("pure", "pur"), 1);
    ck_assert_uint_eq(qn_edit_distance("pure", "prue"), 1);
    ck_assert_uint_eq(qn_edit_distance("kitten", "sitting"), 3);
    ck_assert_uint_eq(qn_edit_distance("", "abc"), 3);
}
END_TEST

static const struct {
    const char *in, *out, *path;
} outputs[] = {
    {"models/SmolLM2-135M-Instruct.Q4_1.gguf", NULL, "SmolLM2-135M-Instruct-Q8_0.gguf"},
    {"llama-7b-Q4_K_M.gguf", NULL, "llama-7b-Q8_0.gguf"},
    {"a/b/model.safetensors", NULL, "model-Q8_0.gguf"},
    {"tests/data/models/stories260K-hf/", NULL, "stories260K-hf-Q8_0.gguf"},
    {"x-bf16.gguf", "out.gguf", "out.gguf"},
    {"x-bf16.gguf", "tests", "tests/x-Q8_0.gguf"},
    {"x-bf16.gguf", "new/", "new/x-Q8_0.gguf"},
    {"Q4_0.gguf", NULL, "Q4_0-Q8_0.gguf"},
    {"a.b-c_d.gguf", NULL, "a.b-c_d-Q8_0.gguf"},
};

START_TEST(an_output_is_named_after_its_input)
{
    char *path = NULL;
    ck_assert_int_eq(qn_output_path(outputs[_i].in, NULL, outputs[_i].out, "Q8_0", &path, NULL),
                     QN_OK);
    ck_assert_str_eq(path, outputs[_i].path);
    qn_free(path);
}
END_TEST

static const char *const id_lists[] = {"1,2,30", "[1, 2, 30]", " 1 2\n30\n"};

START_TEST(ids_come_in_several_spellings)
{
    uint32_t *ids = NULL;
    size_t n = 0;
    ck_assert_int_eq(qn_ids_from_text(qn_str_z(id_lists[_i]), &ids, &n, NULL), QN_OK);
    ck_assert_uint_eq(n, 3);
    ck_assert_uint_eq(ids[0], 1);
    ck_assert_uint_eq(ids[2], 30);
    qn_free(ids);
}
END_TEST

static const char *const no_ids[] = {"a", "1,-2", "1;2", "4294967295", "99999999999999999999",
                                     "1x"};

START_TEST(what_is_no_id_is_refused)
{
    uint32_t *ids = NULL;
    size_t n;
    ck_assert_int_eq(qn_ids_from_text(qn_str_z(no_ids[_i]), &ids, &n, NULL), QN_ERR_ARGUMENT);
    ck_assert_ptr_null(ids);
}
END_TEST

START_TEST(sizes_and_times_are_short)
{
    char buf[32];
    ck_assert_str_eq(qn_human_size(0, buf), "0 B");
    ck_assert_str_eq(qn_human_size(1023, buf), "1023 B");
    ck_assert_str_eq(qn_human_size(1024, buf), "1.00 KiB");
    ck_assert_str_eq(qn_human_size(98.07 * 1024 * 1024, buf), "98.1 MiB");
    ck_assert_str_eq(qn_human_size(1023.99 * 1024, buf), "1.00 MiB");
    ck_assert_str_eq(qn_human_time(0.4242, buf), "0.42 s");
    ck_assert_str_eq(qn_human_time(59.6, buf), "1:00");
    ck_assert_str_eq(qn_human_time(3661, buf), "1:01:01");
}
END_TEST

START_TEST(json_takes_what_is_not_utf8_and_not_finite)
{
    json_t *text = qn_json_text("a\xff"
                                "b",
                                3);
    ck_assert_str_eq(json_string_value(text), "a\xef\xbf\xbd"
                                              "b");
    json_decref(text);
    ck_assert(json_is_null(qn_json_number(0.0 / 0.0)));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cli");
    TCase *t = qn_test_group(s, "cli");
    tcase_add_test(t, options_may_stand_anywhere_and_in_every_spelling);
    tcase_add_test(t, letters_may_share_a_dash);
    tcase_add_test(t, behind_two_dashes_all_is_an_argument);
    tcase_add_test(t, a_negative_number_is_a_value_or_an_argument);
    tcase_add_test(t, underscores_are_dashes);
    tcase_add_loop_test(t, a_wrong_line_is_refused, 0, (int)QN_COUNT_OF(wrong));
    tcase_add_loop_test(t, sizes_have_units, 0, (int)QN_COUNT_OF(sizes));
    tcase_add_loop_test(t, what_is_no_size_is_refused, 0, (int)QN_COUNT_OF(no_sizes));
    tcase_add_test(t, edit_distance_counts_slips);
    tcase_add_loop_test(t, an_output_is_named_after_its_input, 0, (int)QN_COUNT_OF(outputs));
    tcase_add_loop_test(t, ids_come_in_several_spellings, 0, (int)QN_COUNT_OF(id_lists));
    tcase_add_loop_test(t, what_is_no_id_is_refused, 0, (int)QN_COUNT_OF(no_ids));
    tcase_add_test(t, sizes_and_times_are_short);
    tcase_add_test(t, json_takes_what_is_not_utf8_and_not_finite);
    return qn_test_run_suite(s);
}
