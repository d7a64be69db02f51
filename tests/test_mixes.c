/* The mixes, against llama-quantize's own decisions (tests/policy/types.txt) and
 * llama.cpp's tables. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/policy.h"
#include "tests/support/files.h"
#include "tests/support/imatrix_bytes.h"
#include "tests/support/made_model.h"
#include "tests/support/run.h"

enum { MIXES = 35, AT_ONCE = 48 };

/* ---- the lists ---------------------------------------------------------------- */

static const char types_path[] = "tests/policy/types.txt";
static char *types_text;
static char *types_lines[3000];
static int n_lines, first_types_line;
static qn_dtype dtype_of_letter[128];

static void read_types(void)
{
    size_t n;
    if (qn_read_file(types_path, 1 << 20, &types_text, &n, NULL)) exit(EXIT_FAILURE);
    for (char *s = strtok(types_text, "\n"); s; s = strtok(NULL, "\n")) {
        char letter, name[16];
        if (*s == '#') continue;
        if (sscanf(s, "letter %c %15s", &letter, name) == 2) {
            if (!qn_dtype_by_name(name, &dtype_of_letter[(int)letter])) exit(EXIT_FAILURE);
            continue;
        }
        if (!strncmp(s, "types ", 6) && !first_types_line) first_types_line = n_lines;
        types_lines[n_lines++] = s;
    }
}

static void add_tensors(qn_model *m, const char *pattern, const char *shape, unsigned layers)
{
    uint64_t dims[QN_MAX_RANK];
    unsigned rank = 0;
    for (char *end; *shape; shape = *end ? end + 1 : end) dims[rank++] = strtoull(shape, &end, 10);
    const char *star = strchr(pattern, '*');
    for (unsigned i = 0; i < (star ? layers : 1); i++) {
        char name[100];
        if (star)
            snprintf(name, sizeof name, "%.*s%u%s", (int)(star - pattern), pattern, i, star + 1);
        else
            snprintf(name, sizeof name, "%s", pattern);
        made_model_add(m, name, QN_F32, rank, dims, NULL);
    }
}

static qn_model *described_model(const char *wanted)
{
    qn_model *m = NULL;
    unsigned layers = 0, heads, kv_heads, experts;
    for (int i = 0; i < first_types_line; i++) {
        char name[32], architecture[32], shape[64], tensor[64];
        if (sscanf(types_lines[i], "model %31s %31s %u %u %u %u", name, architecture, &layers,
                   &heads, &kv_heads, &experts) == 6) {
            if (m) break;
            if (strcmp(name, wanted) != 0) continue;
            m = made_model_new(architecture);
            made_model_number(m, "block_count", layers);
            made_model_number(m, "attention.head_count", heads);
            made_model_number(m, "attention.head_count_kv", kv_heads);
            if (experts) made_model_number(m, "expert_count", experts);
        } else if (m && sscanf(types_lines[i], "tensor %63s %63s", tensor, shape) == 2) {
            add_tensors(m, tensor, shape, layers);
        }
    }
    ck_assert_ptr_nonnull(m);
    return m;
}

/* What `name` is in "a.weight=8 blk.*.b.weight=456"; F32 where it is not there. */
static qn_dtype expected_type(const char *list, const char *name)
{
    char pattern[100];
    const int64_t block = qn_policy_block(name);
    if (block < 0)
        snprintf(pattern, sizeof pattern, " %s=", name);
    else
        snprintf(pattern, sizeof pattern, " blk.*%s=", strchr(name + 4, '.'));
    const char *s = strstr(list, pattern);
    if (!s) return QN_F32;
    s += strlen(pattern);
    return dtype_of_letter[(int)(strcspn(s, " ") == 1 || block < 0 ? *s : s[block])];
}

/* ---- options as llama-quantize takes them --------------------------------------- */

typedef struct {
    qn_quantize_options o;
    qn_dtype output, embedding;
    qn_type_rules rules;
    qn_importance *importance;
} parsed_options;

/* Of another tensor: only that there is a matrix counts. */
static qn_importance *some_importance(void)
{
    const float values[32] = {1}, counts[] = {1};
    const made_entry e = {"other.weight", 32, 1, values, counts};
    qn_text t = made_imatrix(&e, 1, 1, 512);
    const char *path = qn_test_file("imatrix.gguf", t.s, t.n);
    qn_importance *m = NULL;
    ck_assert_int_eq(qn_importance_open(&m, &path, 1, NULL), QN_OK);
    qn_text_free(&t);
    return m;
}

static void parse_options(char *text, parsed_options *p)
{
    for (char *rest, *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        if (!strcmp(word, "--pure")) {
            p->o.pure = true;
        } else if (!strcmp(word, "--leave-output-tensor")) {
            p->o.leave_output_tensor = true;
        } else if (!strcmp(word, "--imatrix")) {
            p->o.importance = p->importance = some_importance();
        } else {
            const char *value = strtok_r(NULL, " ", &rest);
            ck_assert_ptr_nonnull(value);
            if (!strcmp(word, "--output-tensor-type")) {
                ck_assert(qn_dtype_by_name(value, &p->output));
                p->o.output_type = &p->output;
            } else if (!strcmp(word, "--token-embedding-type")) {
                ck_assert(qn_dtype_by_name(value, &p->embedding));
                p->o.embedding_type = &p->embedding;
            } else {
                ck_assert_str_eq(word, "--tensor-type");
                ck_assert_int_eq(qn_type_rules_add(&p->rules, value, NULL), QN_OK);
                p->o.rules = &p->rules;
            }
        }
    }
}

static qn_plan *plan_of(const qn_model *m, const qn_quantize_options *o)
{
    qn_plan *p = NULL;
    qn_error err;
    ck_assert_msg(qn_plan_quantize(&p, m, o, &err) == QN_OK, "%s", err.message);
    return p;
}

/* *model is of the line before, whose name is in model_name. */
static void expect_types(const char *line, qn_model **model, char model_name[32])
{
    char name[32], options[100] = "", mix[16];
    if (sscanf(line, "types | %31s | %99[^|] | %15s", name, options, mix) != 3)
        ck_assert_int_eq(sscanf(line, "types | %31s | | %15s", name, mix), 2);
    if (strcmp(name, model_name) != 0) {
        if (*model) made_model_free(*model);
        *model = described_model(strcpy(model_name, name));
    }
    const char *list = strrchr(line, '|') + 1;
    parsed_options parsed = {.o = {.mix = qn_mix_by_name(mix), .dry_run = true}};
    ck_assert_ptr_nonnull(parsed.o.mix);
    parse_options(options, &parsed);

    qn_plan *p = plan_of(*model, &parsed.o);
    ck_assert_uint_eq(p->n, (*model)->n_tensors);
    for (size_t i = 0; i < p->n; i++) {
        const qn_plan_entry *e = &p->entries[i];
        const qn_dtype expected = expected_type(list, e->tensor->name);
        ck_assert_msg(e->dtype == expected, "%s: %s is %s (%s), llama-quantize says %s", line,
                      e->tensor->name, qn_dtype_facts(e->dtype)->name, e->reason,
                      qn_dtype_facts(expected)->name);
    }
    qn_plan_free(p);
    qn_importance_close(parsed.importance);
    qn_type_rules_free(&parsed.rules);
}

START_TEST(every_tensor_gets_the_type_that_llama_quantize_gives_it)
{
    qn_model *model = NULL;
    char name[32] = "";
    const int first = first_types_line + _i * AT_ONCE;
    for (int i = first; i < n_lines && i < first + AT_ONCE; i++)
        expect_types(types_lines[i], &model, name);
    made_model_free(model);
}
END_TEST

/* ---- the table of mixes --------------------------------------------------------- */

START_TEST(a_mix_is_found_by_name_in_any_case)
{
    ck_assert_str_eq(qn_mix_by_name("q4_k_m")->name, "Q4_K_M");
    ck_assert_str_eq(qn_mix_by_name("Q4_K")->name, "Q4_K_M");
    ck_assert_str_eq(qn_mix_by_name("q5_k")->name, "Q5_K_M");
    ck_assert_str_eq(qn_mix_by_name("q3_k")->name, "Q3_K_M");
    ck_assert_ptr_null(qn_mix_by_name("Q4"));
    ck_assert_ptr_null(qn_mix_by_name(""));
    ck_assert_ptr_null(qn_mix_by_name("NVFP4"));
    size_t n = 0;
    for (; qn_mix_at(n); n++) ck_assert_ptr_eq(qn_mix_by_name(qn_mix_at(n)->name), qn_mix_at(n));
    ck_assert_uint_eq(n, MIXES + 1); /* and COPY */
}
END_TEST

START_TEST(a_mix_has_the_file_type_and_the_tensor_type_of_llama_cpp)
{
    /* include/llama.h, enum llama_ftype; src/llama-quant.cpp,
     * llama_ftype_get_default_type */
    static const struct {
        const char *name;
        unsigned number;
        const char *type;
    } types[MIXES] = {
        {"F32", 0, "f32"},        {"F16", 1, "f16"},          {"Q4_0", 2, "q4_0"},
        {"Q4_1", 3, "q4_1"},      {"Q8_0", 7, "q8_0"},        {"Q5_0", 8, "q5_0"},
        {"Q5_1", 9, "q5_1"},      {"Q2_K", 10, "q2_K"},       {"Q3_K_S", 11, "q3_K"},
        {"Q3_K_M", 12, "q3_K"},   {"Q3_K_L", 13, "q3_K"},     {"Q4_K_S", 14, "q4_K"},
        {"Q4_K_M", 15, "q4_K"},   {"Q5_K_S", 16, "q5_K"},     {"Q5_K_M", 17, "q5_K"},
        {"Q6_K", 18, "q6_K"},     {"IQ2_XXS", 19, "iq2_xxs"}, {"IQ2_XS", 20, "iq2_xs"},
        {"Q2_K_S", 21, "q2_K"},   {"IQ3_XS", 22, "iq3_s"},    {"IQ3_XXS", 23, "iq3_xxs"},
        {"IQ1_S", 24, "iq1_s"},   {"IQ4_NL", 25, "iq4_nl"},   {"IQ3_S", 26, "iq3_s"},
        {"IQ3_M", 27, "iq3_s"},   {"IQ2_S", 28, "iq2_xs"},    {"IQ2_M", 29, "iq2_s"},
        {"IQ4_XS", 30, "iq4_xs"}, {"IQ1_M", 31, "iq1_m"},     {"BF16", 32, "bf16"},
        {"TQ1_0", 36, "tq1_0"},   {"TQ2_0", 37, "tq2_0"},     {"MXFP4_MOE", 38, "mxfp4"},
        {"Q1_0", 40, "q1_0"},     {"Q2_0", 41, "q2_0"},
    };
    for (size_t i = 0; i < MIXES; i++) {
        const qn_mix *mix = qn_mix_by_name(types[i].name);
        qn_dtype t;
        ck_assert_ptr_nonnull(mix);
        ck_assert_uint_eq(mix->file_type, types[i].number);
        ck_assert(qn_dtype_by_name(types[i].type, &t) && t == mix->dtype);
    }
}
END_TEST

/* Llama 3 8B as its config.json has it. */
static qn_model *llama_3_8b(void)
{
    qn_model *m = made_model_new("llama");
    made_model_number(m, "block_count", 32);
    made_model_number(m, "attention.head_count", 32);
    made_model_number(m, "attention.head_count_kv", 8);
    add_tensors(m, "token_embd.weight", "128256x4096", 1);
    add_tensors(m, "output.weight", "128256x4096", 1);
    add_tensors(m, "output_norm.weight", "4096", 1);
    add_tensors(m, "blk.*.attn_norm.weight", "4096", 32);
    add_tensors(m, "blk.*.ffn_norm.weight", "4096", 32);
    add_tensors(m, "blk.*.attn_q.weight", "4096x4096", 32);
    add_tensors(m, "blk.*.attn_k.weight", "1024x4096", 32);
    add_tensors(m, "blk.*.attn_v.weight", "1024x4096", 32);
    add_tensors(m, "blk.*.attn_output.weight", "4096x4096", 32);
    add_tensors(m, "blk.*.ffn_gate.weight", "14336x4096", 32);
    add_tensors(m, "blk.*.ffn_up.weight", "14336x4096", 32);
    add_tensors(m, "blk.*.ffn_down.weight", "4096x14336", 32);
    return m;
}

static double bits_per_weight(const qn_plan *p)
{
    double bits = 0, weights = 0;
    for (size_t i = 0; i < p->n; i++) {
        const qn_rows *rows = p->entries[i].tensor->rows;
        uint64_t bytes;
        ck_assert(qn_dtype_row_bytes(p->entries[i].dtype, rows->columns, &bytes));
        bits += 8.0 * (double)bytes * (double)rows->rows;
        weights += (double)rows->columns * (double)rows->rows;
    }
    return bits / weights;
}

/* With importance where the star in its help says that it is needed. */
START_TEST(the_bits_and_the_star_told_of_a_mix_are_those_of_llama_3_8b)
{
    qn_model *m = llama_3_8b();
    qn_importance *importance = some_importance();
    double before = 33;
    for (size_t i = 0; i < MIXES; i++) {
        const qn_mix *mix = qn_mix_at(i);
        const bool star = strstr(mix->help, " *") != NULL;
        qn_quantize_options o = {.mix = mix};
        qn_plan *p = NULL;
        ck_assert_msg(!!qn_plan_quantize(&p, m, &o, NULL) == star, "%s: the star", mix->name);
        qn_plan_free(p);
        o.importance = star ? importance : NULL;
        p = plan_of(m, &o);
        const double bits = bits_per_weight(p);
        ck_assert_msg(fabs(bits - mix->bits) < 0.00501, "%s: %.3f bits, told %.3f", mix->name, bits,
                      mix->bits);
        ck_assert_msg(mix->bits <= before, "%s: %.2f bits behind %.2f", mix->name, mix->bits,
                      before);
        before = mix->bits;
        qn_plan_free(p);
    }
    qn_importance_close(importance);
    made_model_free(m);
}
END_TEST

/* ---- importance ----------------------------------------------------------------- */

static const uint64_t square[] = {256, 256};

/* Mixes in which some tensor of a layer needs importance, and one of its type. */
START_TEST(a_mix_that_needs_importance_is_refused_before_any_work)
{
    static const struct {
        const char *mix, *type;
    } cases[] = {{"IQ1_S", "IQ1_S"},     {"IQ1_M", "IQ1_M"},    {"IQ2_XXS", "IQ2_XXS"},
                 {"IQ2_XS", "IQ2_XS"},   {"IQ2_S", "IQ2_XS"},   {"IQ2_M", "IQ2_S"},
                 {"IQ3_XXS", "IQ3_XXS"}, {"IQ3_XS", "IQ3_XXS"}, {"Q2_K_S", "Q2_K"}};
    qn_model *m = made_model_new("llama");
    const char *name =
        strcmp(cases[_i].mix, "IQ3_XS") != 0 ? "blk.0.ffn_up.weight" : "blk.0.attn_q.weight";
    made_model_add(m, name, QN_F32, 2, square, NULL);
    qn_plan *p = NULL;
    qn_error err;
    char expected[200];
    qn_quantize_options o = {.mix = qn_mix_by_name(cases[_i].mix)};
    ck_assert_int_eq(qn_plan_quantize(&p, m, &o, &err), QN_ERR_ARGUMENT);
    snprintf(expected, sizeof expected, "made.gguf: \"%s\": %s needs an importance matrix", name,
             cases[_i].type);
    ck_assert_msg(!strncmp(err.message, expected, strlen(expected)), "%s", err.message);

    o.dry_run = true;
    p = plan_of(m, &o);
    ck_assert(p->entries[0].needs_importance);
    qn_plan_free(p);

    qn_importance *importance = some_importance();
    o = (qn_quantize_options){.mix = o.mix, .importance = importance};
    p = plan_of(m, &o);
    ck_assert(p->entries[0].needs_importance && p->entries[0].lacks_importance);
    ck_assert_ptr_eq(p->entries[0].importance, &qn_importance_even);
    qn_plan_free(p);
    qn_importance_close(importance);
    made_model_free(m);
}
END_TEST

START_TEST(no_other_mix_needs_importance_nor_what_is_copied_kept_or_an_embedding)
{
    static const char *const mixes[] = {"Q2_K",  "Q3_K_S", "IQ3_S", "IQ3_M", "IQ4_NL",
                                        "TQ1_0", "IQ4_XS", "Q1_0",  "Q2_0",  "MXFP4_MOE"};
    qn_model *m = made_model_new("llama");
    for (int i = 0; i < 9; i++) add_tensors(m, "blk.*.ffn_up.weight", "256x256", 9);
    made_model_add(m, "token_embd.weight", QN_F32, 2, square, NULL);
    for (size_t i = 0; i < sizeof mixes / sizeof *mixes; i++)
        qn_plan_free(plan_of(m, &(qn_quantize_options){.mix = qn_mix_by_name(mixes[i])}));
    made_model_free(m);

    const qn_dtype asked = QN_IQ1_S;
    m = made_model_new("llama");
    made_model_add(m, "token_embd.weight", QN_F32, 2, square, NULL);
    made_model_add(m, "blk.0.attn_norm.weight", QN_F32, 2, square, NULL);
    made_model_add(m, "blk.0.ffn_up.weight", QN_IQ1_S, 2, square, NULL);
    qn_plan_free(plan_of(
        m, &(qn_quantize_options){.mix = qn_mix_by_name("IQ1_S"), .embedding_type = &asked}));
    made_model_free(m);
}
END_TEST

START_TEST(a_matrix_without_data_counts_each_column_once)
{
    float w[5] = {0};
    qn_importance_weights(&qn_importance_even, 1000000, 5, w);
    for (int i = 0; i < 5; i++) ck_assert(w[i] == 1.0F);
    ck_assert_uint_eq(qn_importance_matrices(&qn_importance_even, 4096), 1);
}
END_TEST

/* ---- the page about blocks -------------------------------------------------------- */

START_TEST(the_page_about_blocks_says_what_the_tables_say)
{
    char *text;
    size_t n, rows = 0;
    ck_assert_int_eq(qn_read_file("docs/formats/blocks.md", 1 << 20, &text, &n, NULL), QN_OK);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char name[16], importance[16];
        double bits;
        unsigned number, weights, bytes;
        qn_dtype t;
        if (sscanf(line, "| %15s | %u | %lf | %u | %u | %15s |", name, &number, &bits, &weights,
                   &bytes, importance) != 6)
            continue;
        ck_assert_msg(qn_dtype_by_name(name, &t), "%s", line);
        const qn_dtype_info *facts = qn_dtype_facts(t);
        const char *heed = qn_needs_importance(qn_mix_by_name("Q8_0"), QN_KIND_OTHER, t) ? "needs"
                           : qn_importance_matters(t)                                    ? "heeds"
                                                                                         : "-";
        ck_assert_int_eq(number, facts->ggml_id);
        ck_assert_uint_eq(weights, facts->block_len);
        ck_assert_uint_eq(bytes, facts->block_bytes);
        ck_assert_msg(bits == 8.0 * bytes / weights, "%s", line);
        ck_assert_str_eq(importance, heed);
        rows++;
    }
    qn_free(text);
    size_t blocks = 0;
    for (int t = 0; t < QN_DTYPE_COUNT; t++)
        blocks +=
            qn_dtype_facts((qn_dtype)t)->ggml_id >= 0 && qn_dtype_facts((qn_dtype)t)->block_len > 1;
    ck_assert_uint_eq(rows, blocks);
}
END_TEST

/* ---- rows that are not whole blocks ----------------------------------------------- */

START_TEST(a_type_whose_blocks_do_not_fit_gives_way_to_smaller_ones)
{
    /* src/llama-quant.cpp, tensor_type_fallback; Q1_0 and NVFP4, for which it
     * gives up, as the header of mix_rules.h says */
    static const struct {
        qn_dtype from, to;
    } cases[] = {{QN_IQ1_S, QN_IQ4_NL},  {QN_IQ1_M, QN_IQ4_NL},  {QN_IQ2_XXS, QN_IQ4_NL},
                 {QN_IQ2_XS, QN_IQ4_NL}, {QN_IQ2_S, QN_IQ4_NL},  {QN_IQ3_XXS, QN_IQ4_NL},
                 {QN_IQ3_S, QN_IQ4_NL},  {QN_IQ4_XS, QN_IQ4_NL}, {QN_Q2_0, QN_Q4_0},
                 {QN_Q2_K, QN_Q4_0},     {QN_Q3_K, QN_Q4_0},     {QN_TQ1_0, QN_Q4_0},
                 {QN_TQ2_0, QN_Q4_0},    {QN_Q4_K, QN_Q5_0},     {QN_Q5_K, QN_Q5_1},
                 {QN_Q6_K, QN_Q8_0},     {QN_Q1_0, QN_Q4_0},     {QN_NVFP4, QN_Q4_0}};
    static const qn_dtype of_32[] = {QN_Q4_0, QN_Q4_1,  QN_Q5_0,  QN_Q5_1,
                                     QN_Q8_0, QN_MXFP4, QN_IQ4_NL};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ck_assert_int_eq(qn_fitting_type(cases[i].from, 1280), cases[i].from);
        ck_assert_int_eq(qn_fitting_type(cases[i].from, 1280 + 32), cases[i].to);
        ck_assert_int_eq(qn_fitting_type(cases[i].from, 1280 + 16), QN_F16);
    }
    for (size_t i = 0; i < sizeof of_32 / sizeof *of_32; i++) {
        ck_assert_int_eq(qn_fitting_type(of_32[i], 32), of_32[i]);
        ck_assert_int_eq(qn_fitting_type(of_32[i], 33), QN_F16);
    }
}
END_TEST

int main(void)
{
    read_types();
    Suite *s = suite_create("mixes");
    TCase *t = qn_test_group(s, "llama-quantize");
    tcase_add_loop_test(t, every_tensor_gets_the_type_that_llama_quantize_gives_it, 0,
                        (n_lines - first_types_line + AT_ONCE - 1) / AT_ONCE);
    t = qn_test_group(s, "table");
    tcase_add_test(t, a_mix_is_found_by_name_in_any_case);
    tcase_add_test(t, a_mix_has_the_file_type_and_the_tensor_type_of_llama_cpp);
    tcase_add_test(t, the_bits_and_the_star_told_of_a_mix_are_those_of_llama_3_8b);
    t = qn_test_group(s, "importance");
    tcase_add_loop_test(t, a_mix_that_needs_importance_is_refused_before_any_work, 0, 9);
    tcase_add_test(t, no_other_mix_needs_importance_nor_what_is_copied_kept_or_an_embedding);
    tcase_add_test(t, a_matrix_without_data_counts_each_column_once);
    t = qn_test_group(s, "blocks");
    tcase_add_test(t, a_type_whose_blocks_do_not_fit_gives_way_to_smaller_ones);
    tcase_add_test(t, the_page_about_blocks_says_what_the_tables_say);
    const int failed = qn_test_run_suite(s);
    qn_free(types_text);
    return failed;
}
