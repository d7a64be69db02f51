/* The page of results: well formed and harmless whatever stands in them. */
#include <check.h>
#include <math.h>
#include <string.h>

#include "formats/base/json.h"
#include "tests/support/run.h"
#include "tools/report_charts.h"
#include "tools/report_markup.h"
#include "tools/report_page.h"

/* Names and tokens as an attacker would have them. */
static const char evil[] = "</title><script>alert(1)</script>\\\"' onload='x\\u0001\\u202e&amp;]]>";

static void page_of(const char *const *documents, size_t n, qn_text *page)
{
    qn_report_data d = {0};
    qn_error err = {0};
    for (size_t i = 0; i < n; i++) {
        json_t *json = NULL;
        ck_assert_msg(
            !qn_json_parse(documents[i], strlen(documents[i]), "made", false, &json, &err), "%s",
            err.message);
        ck_assert_msg(!qn_report_data_add(&d, json, "made.json", NULL, &err), "%s", err.message);
    }
    ck_assert(!qn_report_data_finish(&d, &err));
    qn_report_page(&d, page);
    ck_assert(!page->failed);
    qn_report_data_free(&d);
}

/* Every element ends where it must, attributes are quoted, no bare & or <. */
static void check_balance(const qn_text *page)
{
    enum { DEPTH = 64, NAME = 16 };
    char open[DEPTH][NAME];
    size_t depth = 0;
    const char *p = strchr(page->s, '>') + 1; /* behind the document type */
    while (*p) {
        if (*p == '&') {
            const size_t n = strspn(p + 1, "#abcdefghijklmnopqrstuvwxyz0123456789");
            ck_assert_msg(n && p[1 + n] == ';', "a bare & at ...%.40s", p);
        }
        if (*p++ != '<') continue;
        const bool closes = *p == '/';
        char name[NAME] = "";
        size_t n = 0;
        for (p += closes; n + 1 < NAME && strchr("abcdefghijklmnopqrstuvwxyz0123456789", *p);)
            name[n++] = *p++;
        ck_assert_msg(n, "a bare < at ...%.40s", p);
        for (bool quoted = false; *p && (*p != '>' || quoted); p++) {
            if (*p == '"') quoted = !quoted;
            ck_assert_msg(*p != '<', "a < in the element %s", name);
        }
        if (closes) {
            ck_assert_msg(depth && !strcmp(open[depth - 1], name), "</%s> ends <%s>", name,
                          depth ? open[depth - 1] : "nothing");
            depth--;
        } else if (p[-1] != '/') {
            ck_assert_uint_lt(depth, DEPTH);
            memcpy(open[depth++], name, NAME);
        }
    }
    ck_assert_uint_eq(depth, 0);
}

static void add_figures(qn_text *t, double kld)
{
    qn_text_addf(t,
                 "\"tokens_scored\":100,\"mean_kld\":{\"value\":%g,\"error\":%g},"
                 "\"ppl\":{\"value\":9,\"error\":1},\"ppl_ratio\":{\"value\":1.01,\"error\":0.1},"
                 "\"same_top\":{\"value\":0.9,\"error\":0.01},\"kld_percentiles\":{\"50\":%g,"
                 "\"99\":%g,\"100\":%g}",
                 kld, kld / 20, kld / 2, kld * 5, kld * 50);
}

/* A result of compare with n models; name is in every place a file can name. */
static void make_result(qn_text *t, const char *name, size_t n)
{
    qn_text_addf(t,
                 "{\"schema\":\"quern.compare/1\",\"quern_version\":\"%s\",\"reference\":"
                 "{\"model\":\"%s\",\"size_bytes\":4000000,\"model_digest\":\"0d16e57\"},\"n_ctx\":"
                 "64,\"earlier\":{\"file\":\"dir/"
                 "%s.json\",\"quern_version\":\"0.0.9\"},\"texts\":[{\"file\":\"%s"
                 "\",\"sha256\":\"%s\",\"windows\":3}],\"tests\":[",
                 name, name, name, name, name);
    for (size_t i = 0; i < n; i++) {
        qn_text_addf(t, "%s{\"model\":\"m-%zu%s.gguf\",\"size_bytes\":%zu,\"all\":{", i ? "," : "",
                     i, name, 1000000 * (i + 1));
        add_figures(t, 0.5 / (double)(i + 1));
        qn_text_addf(t, "},\"texts\":[{\"text\":\"%s\",", name);
        add_figures(t, 0.4);
        qn_text_adds(t, "},{\"text\":\"b\",");
        add_figures(t, 0.3);
        qn_text_addf(
            t,
            "}],\"worst\":[{\"kld\":1.5,\"context\":\"%s\",\"token\":\"%s\",\"p\":0.1,"
            "\"p_reference\":0.5,\"top\":\"%s\",\"top_reference\":\"%s\"}],\"gates\":[{\"gate\":"
            "\"%s\",\"limit\":0.1,\"state\":\"%s\",\"mean\":0.2,\"low\":0.1,\"high\":0.3,"
            "\"windows\":3}],\"against\":[{\"measure\":\"mean KLD\",\"then\":0.25,\"now\":0.125,"
            "\"error\":0.0625,\"verdict\":\"better\"},{\"measure\":\"log PPL ratio\",\"then\":0,"
            "\"now\":0.69314718056,\"error\":0.25,\"verdict\":\"worse\"},{\"measure\":\"%s\","
            "\"then\":"
            "0.5,\"now\":0.75,\"error\":null,\"verdict\":\"untested\"}],\"layers\":[{\"name\":"
            "\"layer.0\",\"relative_error\":0.1}],"
            "\"tensors\":[{\"name\":\"blk.0.attn_q.weight\",\"type\":\"%s\",\"size_bytes\":9,"
            "\"output_error\":0.05,\"kld_gain\":0.01,\"kld_gain_error\":0.001},{\"name\":"
            "\"blk.99999999999999999999.%s\",\"type\":\"Q4_K\",\"output_error\":0.1}],"
            "\"suggestion\":{\"tensor_type\":[\"%s\"],\"more_bytes\":77}}",
            name, name, name, name, name, name, name, name, name, name);
    }
    qn_text_adds(t, "]}");
}

START_TEST(a_page_is_balanced_and_says_what_the_results_say)
{
    qn_text result = {0}, page = {0};
    make_result(&result, "plain", 3);
    page_of((const char *const[]){result.s}, 1, &page);
    check_balance(&page);
    static const char *const expected[] = {"3 models against plain",
                                           "0.500 <span",
                                           "class=\"frontier\"",
                                           "class=\"curve s2\"",
                                           "<code>0d16e57</code>",
                                           "class=\"cell\"",
                                           "976.6 KiB",
                                           "<h2>Gates</h2>",
                                           "<h2>Against plain.json (quern 0.0.9)</h2>",
                                           "<td>0.2500</td><td>0.1250</td>",
                                           "<td>1.0000</td><td>2.0000</td>",
                                           "<td class=\"fail\">worse</td>",
                                           "<mark>",
                                           "prefers-color-scheme:dark",
                                           "@media print",
                                           "--tensor-type"};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        ck_assert_msg(strstr(page.s, expected[i]) != NULL, "no %s", expected[i]);
    qn_text_free(&page);
    qn_text_free(&result);
}
END_TEST

START_TEST(nothing_hostile_gets_through)
{
    qn_text result = {0}, page = {0};
    make_result(&result, evil, 2);
    page_of((const char *const[]){result.s}, 1, &page);
    check_balance(&page);
    ck_assert_ptr_null(strstr(page.s, "<script"));
    ck_assert_ptr_null(strstr(page.s, "onload='"));
    ck_assert_ptr_null(strstr(page.s, "\x01"));
    ck_assert_ptr_null(strstr(page.s, "\xe2\x80\xae")); /* U+202E */
    ck_assert_ptr_nonnull(strstr(page.s, "&lt;script&gt;alert(1)"));
    ck_assert_ptr_null(strstr(page.s, "href="));
    ck_assert_ptr_null(strstr(page.s, "src="));
    qn_text_free(&page);
    qn_text_free(&result);
}
END_TEST

/* Keys that are missing or of another kind leave gaps, not faults. */
START_TEST(half_a_result_makes_a_page)
{
    static const char *const odd[] = {
        "{\"schema\":\"quern.compare/1\"}",
        "{\"schema\":\"quern.compare/1\",\"tests\":7}",
        "{\"schema\":\"quern.compare/1\",\"tests\":[7,null,{}],\"texts\":{},\"reference\":[]}",
        "{\"schema\":\"quern.compare/1\",\"n_ctx\":\"x\",\"tests\":[{\"model\":3,\"size_bytes\":"
        "-5,\"all\":{\"mean_kld\":1e308,\"kld_percentiles\":{\"50\":1e-308,\"100\":1e308}},"
        "\"texts\":[1,{}],\"worst\":[1],\"layers\":[{}],\"tensors\":[{},{\"name\":\"blk.\","
        "\"output_error\":1e300}],\"gates\":[3],\"against\":[3,{\"now\":1e308}]},{\"size_bytes\":"
        "1e300,\"all\":{\"mean_kld\":-1}}]"
        "}",
        "{\"schema\":\"quern.perplexity/1\",\"files\":[{}],\"task\":1,\"accuracy_95\":3}",
        "{\"schema\":\"quern.compare/1\",\"tests\":[{\"texts\":[{},{\"mean_kld\":{\"value\":2,"
        "\"error\":1}},{\"mean_kld\":{\"value\":-1e308,\"error\":1e308}}]}]}",
        "{\"schema\":\"quern.tasks/1\",\"task\":\"x\",\"accuracy_95\":[1e308,-1e308]}",
        "{\"schema\":\"quern.quantize/1\",\"outputs\":[{},4]}",
        "{\"schema\":\"quern.unheard/9\"}",
    };
    enum { N = sizeof odd / sizeof *odd };
    for (size_t i = 0; i <= N; i++) {
        qn_text page = {0};
        page_of(i < N ? odd + i : odd, i < N ? 1 : N, &page);
        check_balance(&page);
        ck_assert_msg(!strstr(page.s, "nan"), "result %zu: %.60s", i, strstr(page.s, "nan") - 20);
        ck_assert_msg(!strstr(page.s, ">inf"), "result %zu: %.60s", i, strstr(page.s, ">inf") - 20);
        qn_text_free(&page);
    }
}
END_TEST

START_TEST(results_of_one_reference_on_the_same_texts_stand_together)
{
    qn_text a = {0}, b = {0}, page = {0};
    make_result(&a, "plain", 2);
    make_result(&b, "other", 1);
    page_of((const char *const[]){a.s, b.s, a.s}, 3, &page);
    check_balance(&page);
    ck_assert_ptr_nonnull(strstr(page.s, "4 models against plain"));
    ck_assert_ptr_nonnull(strstr(page.s, "against other"));
    qn_text_free(&page);
    qn_text_free(&a);
    qn_text_free(&b);
}
END_TEST

START_TEST(what_is_no_result_is_refused)
{
    qn_report_data d = {0};
    qn_error err = {0};
    ck_assert_int_eq(
        qn_report_data_add(&d, json_pack("{s: s}", "schema", "other/1"), "x.json", NULL, &err),
        QN_ERR_DATA);
    ck_assert_str_eq(err.message, "x.json: not a result of quern: its schema is \"other/1\"");
    qn_report_data_free(&d);
}
END_TEST

/* ---- scales ------------------------------------------------------------------------------ */

START_TEST(ticks_are_round_and_inside)
{
    for (double low = 1e-7; low < 1e6; low *= 3.7) {
        for (int k = 0; k < 2; k++) {
            const qn_scale s = {low, low * 40, 0, 100, k == 1};
            double ticks[12];
            const size_t n = qn_scale_ticks(&s, ticks, 12);
            ck_assert_uint_ge(n, 2);
            for (size_t i = 0; i < n; i++) {
                const double at = qn_scale_at(&s, ticks[i]);
                ck_assert(at >= 0 && at <= 100);
                ck_assert(i == 0 || ticks[i] > ticks[i - 1]);
                const double digits = ticks[i] / pow(10, floor(log10(ticks[i]) + 1e-9)) * 10;
                ck_assert_double_eq_tol(digits, round(digits), 1e-6);
            }
        }
    }
}
END_TEST

START_TEST(labels_do_not_overlap)
{
    double places[] = {50, 51, 50, 10, 12, 90};
    qn_spread_labels(places, 6, 10, 0, 100);
    for (size_t i = 0; i < 6; i++) {
        ck_assert(places[i] >= 0 && places[i] <= 100);
        for (size_t k = 0; k < i; k++) ck_assert(fabs(places[i] - places[k]) > 9.5);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("report");
    TCase *tc = qn_test_group(suite, "report");
    tcase_add_test(tc, a_page_is_balanced_and_says_what_the_results_say);
    tcase_add_test(tc, nothing_hostile_gets_through);
    tcase_add_test(tc, half_a_result_makes_a_page);
    tcase_add_test(tc, results_of_one_reference_on_the_same_texts_stand_together);
    tcase_add_test(tc, what_is_no_result_is_refused);
    tcase_add_test(tc, ticks_are_round_and_inside);
    tcase_add_test(tc, labels_do_not_overlap);
    return qn_test_run_suite(suite);
}
