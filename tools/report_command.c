/* quern report: one page from the results of compare, perplexity and quantize. */
#include "formats/base/digest.h"
#include "formats/base/json.h"
#include "formats/base/outfile.h"
#include "tools/commands.h"
#include "tools/report_page.h"
#include "tools/text_input.h"

/* A result of 200,000 tensors is some 40 MB. */
#define MOST_BYTES ((size_t)1 << 30)

typedef struct {
    qn_common common;
    const char *output;
} options;

static const options defaults = {.output = NULL};

static const qn_opt table[] = {
    {'o', "output", "FILE", QN_OPT_TEXT, offsetof(options, output),
     "the page (needed); FILE is replaced"},
};

static qn_status add_file(qn_report_data *d, const char *path, qn_error *err)
{
    qn_text text = {0};
    json_t *json = NULL;
    char sha256[65];
    qn_status status = qn_text_from_file(path, &text, err);
    if (!status && text.n > MOST_BYTES)
        status =
            qn_fail(err, QN_ERR_DATA, "%s: %zu bytes are more than %zu", path, text.n, MOST_BYTES);
    if (!status) status = qn_json_parse(text.s ? text.s : "", text.n, path, false, &json, err);
    if (!status) {
        qn_sha256_hex(text.s, text.n, sha256);
        status = qn_report_data_add(d, json, path, sha256, err);
    }
    qn_text_free(&text);
    return status;
}

static qn_exit run(const void *given, char **args, size_t n)
{
    const options *o = given;
    qn_report_data data = {0};
    qn_text page = {0};
    qn_error err = {0};
    qn_status status = QN_OK;
    if (!o->output) return qn_usage(&o->common, "where to, please: -o report.html");
    for (size_t i = 0; i < n; i++)
        if (qn_path_same(args[i], o->output))
            return qn_usage(&o->common, "-o %s is one of the results", o->output);
    for (size_t i = 0; i < n && !status; i++) status = add_file(&data, args[i], &err);
    if (!status) status = qn_report_data_finish(&data, &err);
    if (!status) {
        qn_report_page(&data, &page);
        status = page.failed ? qn_fail_memory(&err, "a page")
                             : qn_outfile_whole(o->output, page.s, page.n, true, &err);
    }
    qn_text_free(&page);
    qn_report_data_free(&data);
    return status ? qn_complain(&o->common, &err) : QN_EXIT_FINE;
}

const qn_command qn_command_report = {
    .name = "report",
    .summary = "make one page of HTML from results",
    .synopsis = "RESULT.json... -o FILE",
    .about =
        "RESULT is what quern compare, perplexity, quantize or convert print with --json; results "
        "of one reference on the same texts are shown together. The page stands by itself: no "
        "script, nothing from elsewhere, dark and light as the reader's screen is, and it can be "
        "printed. It shows what the results have: size against divergence, percentiles, texts, "
        "layers and tensors (compare --by), the tokens that changed most, gates, tasks, recipes "
        "and hashes.",
    .examples =
        "  quern compare f16.gguf q8.gguf q4.gguf -f wiki.test.raw --by tensor --json >c.json\n"
        "  quern report c.json -o report.html\n",
    .options = table,
    .n_options = QN_COUNT_OF(table),
    .defaults = &defaults,
    .options_bytes = sizeof defaults,
    .least = 1,
    .most = SIZE_MAX,
    .run = run,
};
