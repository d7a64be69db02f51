/* What the files of quern calibrate share: its options and the job at hand. */
#ifndef QN_TOOLS_CALIBRATE_H
#define QN_TOOLS_CALIBRATE_H

#include "tools/calibrate_texts.h"
#include "tools/progress.h"
#include "validate/calibrate.h"

/* --output-frequency, where it was not given. */
#define QN_CALIBRATE_DEFAULT UINT64_MAX

typedef struct {
    qn_common common;
    qn_load_options load;
    const char *model, *output, *format;
    qn_texts files, in_files;
    const char *second_moments;
    uint64_t n_ctx, batch, chunks, from, output_frequency, save_frequency, max_memory, block_size;
    bool process_output, no_ppl, parse_special, resume, force, layer_streamed, statistics;
} qn_calibrate_options;

typedef struct {
    const qn_calibrate_options *o;
    qn_loaded l;
    qn_calibration *sums;
    qn_imatrix **in; /* [n_in]: open, since names of texts lie in them */
    size_t n_in;
    qn_str *datasets;
    size_t n_datasets;
    qn_calibrate_texts texts;
    qn_chunks chunks;  /* that are left to run */
    uint64_t done;     /* of texts.chunks, before this run */
    uint64_t held;     /* of them, in sums */
    uint64_t kept;     /* of them, in OUT */
    bool told_no;      /* to go on, between chunks */
    bool torn;         /* interrupted among the chunks that run together: sums are of no use */
    bool legacy, ours; /* ours: OUT is this run's and may be replaced */
    qn_perplexity_result ppl;
    double seconds;

    qn_linear_inputs inputs; /* of the model, with second moments */
    qn_moment_sums *moments; /* of a run; NULL: none */
    qn_moments **before;     /* [n_before]: those of the files it begins with; NULL: none */
    size_t n_before;
    qn_imatrix *round;          /* OUT as the chunks before left it, with --layer-streamed */
    double saved, save_seconds; /* when OUT was written last, and how long that took */
    qn_imatrix_contents contents;
    qn_metadata *where;        /* of contents */
    qn_imatrix_writer *writer; /* of OUT with second moments */

    char model_digest[65];
    qn_progress progress;
    bool listing;
    qn_status failed; /* while saving */
    qn_error why;
} qn_calibrate_job;

/* ---- calibrate_files.c: what is there before, and what is written ---- */

/* Begins the sums: with OUT's that is resumed, else with those of --in-file. */
qn_status qn_calibrate_start(qn_calibrate_job *j, qn_error *err);

/* OUT as it stands. */
qn_status qn_calibrate_write(qn_calibrate_job *j, bool unfinished, qn_error *err);

/* What OUT is about to hold: so many chunks. */
qn_imatrix_contents qn_calibrate_contents(const qn_calibrate_job *j, uint64_t chunks);

/* Where an unfinished file of so many chunks goes on, and of which text: keys for it;
 * allocated. */
qn_status qn_calibrate_where(const qn_calibrate_job *j, uint64_t held, qn_metadata **out,
                             qn_error *err);

/* Refuses copies that are there already, which the run would replace. */
qn_status qn_calibrate_check_copies(const qn_calibrate_job *j, qn_error *err);

/* OUT and its copies, where they are due after so many chunks `before`. */
qn_status qn_calibrate_save(qn_calibrate_job *j, uint64_t before, qn_error *err);

/* ---- calibrate_moments.c: second moments ---- */

/* OUT is written every so many chunks; 0: at the end. */
uint64_t qn_calibrate_every(const qn_calibrate_job *j);

/* Whether OUT gets any. */
bool qn_calibrate_has_moments(const qn_calibrate_job *j);
/* Behind qn_calibrate_start: the sums are ready and what is added to them fits. */
qn_status qn_calibrate_moments_start(qn_calibrate_job *j, qn_error *err);
/* What they take while the model runs. */
uint64_t qn_calibrate_moments_bytes(const qn_calibrate_job *j);
/* Before the run: OUT's space is taken. */
qn_status qn_calibrate_moments_begin(qn_calibrate_job *j, qn_error *err);
/* Behind it, or (unfinished) between chunks: OUT is written.  With --layer-streamed its
 * layers are then begun anew. */
qn_status qn_calibrate_moments_write(qn_calibrate_job *j, bool unfinished, qn_error *err);
void qn_calibrate_moments_free(qn_calibrate_job *j);

/* ---- calibrate_report.c: words ---- */

/* How many experts no token reached, and how many there are. */
uint64_t qn_calibrate_unseen_experts(const qn_calibrate_job *j, uint64_t *experts);
void qn_calibrate_warn_of_unseen(const qn_calibrate_job *j);
void qn_calibrate_tell_coverage(const qn_calibrate_job *j);
qn_exit qn_calibrate_say(const qn_calibrate_job *j);

#endif
