/* What quern report shows, read from the JSON of compare, perplexity and
 * quantize, several of them together: the data that is drawn, nothing of how.
 *
 * Everything is copied or viewed from the documents, which live as long as the
 * data; numbers that are absent are NaN. */
#ifndef QN_TOOLS_REPORT_DATA_H
#define QN_TOOLS_REPORT_DATA_H

#include <jansson.h>

#include "formats/base/alloc.h"
#include "formats/base/text.h"

typedef struct {
    double value, error;
} qn_figure;

#define QN_REPORT_PERCENTILES 13 /* as kl_statistics.h */

/* One text, or all together. */
typedef struct {
    const char *name;
    double tokens;
    qn_figure kld, ppl, ppl_reference, ppl_ratio, same_top, delta_p;
    double rms_delta_p;
    double kld_at[QN_REPORT_PERCENTILES];
} qn_report_figures;

typedef struct {
    const char *context, *token, *top_reference, *top;
    double kld, p_reference, p;
} qn_report_token;

typedef struct {
    const char *name; /* "embed", "layer.3", "final_norm" */
    double error;
} qn_report_layer;

typedef struct {
    const char *name, *type;
    double size_bytes, output_error;
    qn_figure gain; /* NaN: not tried */
} qn_report_tensor;

typedef struct {
    const char *name, *state; /* "max-kld"; "pass", "fail", "undecided" */
    double limit, mean, low, high, windows;
} qn_report_gate;

/* A figure beside that of an earlier result. */
typedef struct {
    const char *name;    /* "mean KLD", "PPL ratio" */
    const char *verdict; /* "same", "better", "worse", "untested" */
    double then;
    qn_figure now; /* the error is the difference's; NaN: untested */
} qn_report_change;

/* A model that was compared. */
typedef struct {
    const char *name, *path;
    const char *label; /* the name less .gguf and what it shares with the reference's */
    double size_bytes;
    qn_report_figures all;
    qn_report_figures *texts;
    size_t n_texts;
    qn_report_token *worst;
    size_t n_worst;
    qn_report_layer *layers;
    size_t n_layers;
    qn_report_tensor *tensors;
    size_t n_tensors;
    qn_report_gate *gates;
    size_t n_gates;
    const char *earlier, *earlier_version; /* the file that changes are from */
    qn_report_change *changes;
    size_t n_changes;
    const char **suggestion;
    size_t n_suggestion;
    double suggestion_bytes;
} qn_report_test;

/* Models that were compared with one reference on the same texts. */
typedef struct {
    const char *reference, *path;
    double size_bytes, n_ctx;
    const json_t *texts; /* [{file, sha256, windows}] */
    qn_report_test *tests;
    size_t n;
} qn_report_group;

/* A document as it came. */
typedef struct {
    const char *file, *schema;
    json_t *json;
    char sha256[65];
} qn_report_source;

typedef struct {
    qn_report_source *sources;
    size_t n_sources;
    qn_report_group *groups;
    size_t n_groups;
    qn_arena *arena;
} qn_report_data;

/* Adds a document, which becomes the data's own whether or not it is one (a
 * schema that is not quern's is QN_ERR_DATA).  file: where it came from. */
qn_status qn_report_data_add(qn_report_data *d, json_t *json, const char *file,
                             const char sha256[65], qn_error *err);

/* Fills the groups once all are added. */
qn_status qn_report_data_finish(qn_report_data *d, qn_error *err);
void qn_report_data_free(qn_report_data *d); /* {0} is fine */

/* Look-ups in a document: NaN, "" where there is none. */
double qn_report_number(const json_t *o, const char *key);
const char *qn_report_string(const json_t *o, const char *key);

#endif
