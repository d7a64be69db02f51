/* What the files of quern compare share: its options and the job at hand.  compare.c
 * runs it, compare_base.c opens REF's file, compare_texts.c reads the texts,
 * compare_against.c pairs it with an earlier result, compare_report.c tells. */
#ifndef QN_TOOLS_COMPARE_H
#define QN_TOOLS_COMPARE_H

#include "tools/compare_damage.h"
#include "tools/compare_gates.h"
#include "tools/compare_windows.h"
#include "tools/loaded.h"
#include "validate/kl_statistics.h"

typedef struct {
    qn_common common;
    const char *pre, *activations;
    qn_texts files, families, lora;
    uint64_t n_ctx, chunks, worst, max_memory;
    qn_gate_limits limits;
    const char *junit, *markdown, *html;
    const char *base, *base_model, *against;
    const char *by;
    uint64_t budget;
} qn_compare_options;

typedef struct {
    const char *file;
    char sha256[65];
    size_t first_chunk, chunks;
} qn_compare_text;

typedef struct {
    const char *path;
    uint64_t bytes; /* of its files */
    qn_loaded loaded;
    qn_digests digests;
} qn_compare_model;

typedef struct {
    const qn_compare_options *o;
    qn_compare_model *models; /* the reference, then the tests */
    bool has_base;            /* the reference is a file of probabilities, one of the two: */
    qn_kld_base base;
    qn_compact_base compact;
    size_t n_models;
    qn_compare_text *texts;
    size_t n_texts;
    uint32_t *ids; /* of all texts' chunks, one behind the other */
    size_t n_ids, id_capacity;
    qn_chunks chunks;
    qn_shuffled mixed; /* with gates */
    qn_comparison seen;
    qn_compare_gates gates;              /* {0}: no limits were given */
    qn_earlier earlier;                  /* {0}: no --against */
    qn_against (*against)[QN_N_AGAINST]; /* [tests] */
    qn_damage_wanted wanted;
    qn_damage *damage; /* [tests], with --by */
    double seconds;
} qn_compare_job;

/* The model whose tokenizer speaks for all. */
static inline const qn_loaded *qn_compare_speaker(const qn_compare_job *j)
{
    return &j->models[j->has_base ? 1 : 0].loaded;
}

/* The number in the texts of the i-th window that was seen. */
static inline size_t qn_compare_window(const qn_compare_job *j, size_t i)
{
    return j->mixed.order ? j->mixed.order[i] : i;
}

static inline bool qn_compare_is_compact(const qn_compare_job *j)
{
    return j->compact.map.data != NULL;
}

/* Opens the file of the reference's probabilities. */
qn_status qn_compare_open_base(qn_compare_job *j, const char *path, qn_error *err);

/* Whether what a compact base is of fits the texts, tests and --base-model; else
 * QN_ERR_DATA, and which of them does not. */
qn_status qn_compare_check_base(const qn_compare_job *j, qn_error *err);

/* Fills texts, ids and chunks; every model must read the texts as the same ids. */
qn_status qn_compare_read_texts(qn_compare_job *j, qn_error *err);

/* Whether the earlier result is of the same texts, tokenizer, context and reference, and
 * has these tests (else QN_ERR_DATA, and what differs); after the run, the differences. */
qn_status qn_compare_against_check(const qn_compare_job *j, qn_error *err);
qn_status qn_compare_against_measure(qn_compare_job *j, qn_error *err);
qn_exit qn_compare_against_exit(const qn_compare_job *j); /* QN_EXIT_NO: one is worse */
void qn_compare_against_words(const qn_compare_job *j, size_t test, const char *prefix,
                              qn_text *out);
json_t *qn_compare_against_json(const qn_compare_job *j, size_t test);

/* The windows' figures that are paired, into a test's object. */
void qn_compare_add_windows(const qn_compare_job *j, size_t test, json_t *o);

/* For people, on stdout; or one JSON document. */
qn_status qn_compare_print(const qn_compare_job *j, qn_error *err);
qn_exit qn_compare_report(const qn_compare_job *j);

/* A table in Markdown, for a step's summary. */
qn_status qn_compare_markdown(const qn_compare_job *j, qn_text *out, qn_error *err);

/* The page that quern report makes of the JSON document. */
qn_status qn_compare_html(const qn_compare_job *j, qn_text *out, qn_error *err);

#endif
