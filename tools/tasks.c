#include "tools/tasks.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/base/digest.h"
#include "tools/loaded.h"
#include "tools/progress.h"
#include "tools/report.h"
#include "tools/text_input.h"
#include "tools/window_memory.h"
#include "validate/task_draw.h"
#include "validate/tasks.h"

/* Of a normal distribution, 95 % lie within so many standard deviations. */
#define Z95 1.95996398454

typedef struct {
    const qn_common *c;
    const char *model, *file;
    qn_task_kind kind;
    char sha256[65];
    qn_digests digests;
    qn_text text;
    qn_task_file tasks;
    size_t *order, n;
    qn_task_result *results; /* [n] */
    qn_progress progress;
    size_t told, right, choices; /* of the first `told` */
    double started, seconds;
} job;

static const char *const names[] = {[QN_TASKS_HELLASWAG] = "hellaswag",
                                    [QN_TASKS_WINOGRANDE] = "winogrande",
                                    [QN_TASKS_MULTIPLE_CHOICE] = "multiple_choice"};

static qn_task_kind kind_of(const qn_task_options *o)
{
    return o->hellaswag    ? QN_TASKS_HELLASWAG
           : o->winogrande ? QN_TASKS_WINOGRANDE
                           : QN_TASKS_MULTIPLE_CHOICE;
}

bool qn_task_options_agree(const qn_common *c, const qn_task_options *o)
{
    if (o->hellaswag + o->winogrande + o->multiple_choice <= 1) return true;
    qn_usage(c, "--hellaswag, --winogrande and --multiple-choice: only one of them");
    return false;
}

/* ---- words -------------------------------------------------------------------------------- */

/* Standard error of a share, of n draws. */
static double share_error(double share, size_t n)
{
    return n > 1 ? sqrt(share * (1 - share) / (double)(n - 1)) : (double)NAN;
}

/* A line a task, as llama-perplexity's of its kind. */
static void print_task(const job *j, size_t i)
{
    const qn_task_result *r = &j->results[i];
    const double percent = 100.0 * (double)j->right / (double)j->told;
    double low, high;
    if (j->kind == QN_TASKS_HELLASWAG) {
        qn_wilson(j->right, j->told, Z95, &low, &high);
        printf("%zu\t%.8f%%\t[%.4f%%, %.4f%%]\n", j->told, percent, 100 * low, 100 * high);
    } else if (j->kind == QN_TASKS_WINOGRANDE) {
        printf("%zu\t%.4f\t%10.6f  %10.6f  %zu  %d\n", j->told, percent, r->scores[0], r->scores[1],
               r->chosen + 1, r->right_choices[0] & 1 ? 1 : 2);
    } else {
        printf("%zu\t%.8f\n", j->told, percent);
    }
}

static bool tell(void *ctx, const qn_task_result *results, size_t done)
{
    job *j = ctx;
    const bool listing = !j->c->json && !j->c->quiet;
    if (listing) qn_progress_end(&j->progress);
    while (j->told < done) {
        const size_t i = j->told++;
        j->right += results[i].right;
        j->choices += results[i].n;
        if (listing) print_task(j, i);
    }
    if (listing) fflush(stdout);
    snprintf(j->progress.note, sizeof j->progress.note, "%.2f %%",
             100.0 * (double)j->right / (double)done);
    return qn_progress_tell(&j->progress, done, j->n);
}

static void print_result(const job *j)
{
    const size_t n = j->n;
    const double share = (double)j->right / (double)n, chance = (double)n / (double)j->choices;
    double low, high;
    qn_wilson(j->right, n, Z95, &low, &high);
    printf("Final result: %.4f +/- %.4f  (%zu of %zu tasks; 95 %%: %.4f to %.4f; chance %.4f)\n",
           100 * share, 100 * share_error(share, n), j->right, n, 100 * low, 100 * high,
           100 * chance);
}

static json_t *rows_json(const job *j)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < j->n; i++) {
        const qn_task_result *r = &j->results[i];
        json_t *scores = json_array(), *right = json_array();
        for (size_t k = 0; k < r->n; k++) {
            json_array_append_new(scores, qn_json_number(r->scores[k]));
            if (r->right_choices[k / 64] >> k % 64 & 1)
                json_array_append_new(right, qn_json_count(k));
        }
        json_array_append_new(rows, json_pack("{s: o, s: o, s: o, s: b, s: o}", "task",
                                              qn_json_count(r->task), "right_choices", right,
                                              "chosen", qn_json_count(r->chosen), "right",
                                              (int)r->right, "scores", scores));
    }
    return rows;
}

static qn_exit report(const job *j)
{
    json_t *document = qn_report_new(j->c);
    const double n = (double)j->n, share = (double)j->right / n;
    double low, high;
    qn_wilson(j->right, j->n, Z95, &low, &high);
    json_object_set_new(document, "model", qn_json_text(j->model, strlen(j->model)));
    qn_report_digests(document, j->digests.model, j->digests.tokenizer);
    json_object_set_new(document, "task", json_string(names[j->kind]));
    json_object_set_new(document, "file", qn_json_text(j->file, strlen(j->file)));
    json_object_set_new(document, "file_sha256", json_string(j->sha256));
    json_object_set_new(document, "tasks", qn_json_count(j->n));
    json_object_set_new(document, "tasks_in_file", qn_json_count(j->tasks.n));
    json_object_set_new(document, "lines_left_out", qn_json_count(j->tasks.left_out));
    json_object_set_new(document, "right", qn_json_count(j->right));
    json_object_set_new(document, "accuracy", qn_json_number(share));
    json_object_set_new(document, "accuracy_stderr", qn_json_number(share_error(share, j->n)));
    json_object_set_new(document, "accuracy_95",
                        json_pack("[o, o]", qn_json_number(low), qn_json_number(high)));
    json_object_set_new(document, "chance", qn_json_number(n / (double)j->choices));
    json_object_set_new(document, "elapsed_s", qn_json_number(j->seconds));
    json_object_set_new(document, "rows", rows_json(j));
    return qn_report_print(j->c, document);
}

/* ---- the job ------------------------------------------------------------------------------ */

static qn_status read_tasks(job *j, const qn_task_options *o, qn_error *err)
{
    const uint64_t at_most[] = {[QN_TASKS_HELLASWAG] = o->hellaswag_tasks,
                                [QN_TASKS_WINOGRANDE] = o->winogrande_tasks,
                                [QN_TASKS_MULTIPLE_CHOICE] = o->multiple_choice_tasks};
    qn_status status = qn_text_from_file(j->file, &j->text, err);
    if (status) return status;
    const qn_str bytes = qn_str_of(j->text.s ? j->text.s : "", j->text.n);
    qn_sha256_hex(bytes.s, bytes.n, j->sha256);
    if ((status = qn_task_file_open(&j->tasks, j->kind, bytes, j->file, err)) ||
        (status = qn_tasks_draw(j->kind, j->tasks.n, at_most[j->kind], &j->order, &j->n, err)))
        return status;
    if (j->tasks.left_out)
        qn_remark(j->c, "%s: %zu lines left out: %s", j->file, j->tasks.left_out, j->tasks.why);
    qn_remark(j->c, "%s: %zu of %zu tasks", j->file, j->n, j->tasks.n);
    j->results = qn_alloc(j->n, sizeof *j->results);
    return j->results ? QN_OK : qn_fail_memory(err, "results");
}

static qn_status score(job *j, const qn_load_options *how, uint64_t max_memory, qn_error *err)
{
    qn_loaded l = {0};
    qn_tasks_memory memory = {0};
    qn_status status = qn_load_model(&l, j->c, j->model, how, err);
    if (!status && j->c->json) status = qn_digests_of(&l, &j->digests, err);
    if (!status) status = qn_scratch_memory(j->c, max_memory, &l.decoder, 1, &memory.limit, err);
    if (!status) {
        j->started = qn_seconds();
        qn_progress_start(&j->progress, j->c, j->file, "tasks");
        status = qn_tasks_score(&j->tasks, j->order, j->n, l.decoder, l.tokenizer, &memory,
                                j->results, tell, j, err);
        qn_progress_end(&j->progress);
        j->seconds = qn_seconds() - j->started;
        qn_scratch_remark(j->c, j->file, (const qn_decoder *[]){l.decoder}, 1, memory.scratch);
    }
    qn_unload(&l);
    return status;
}

qn_exit qn_tasks_run(const qn_common *c, const qn_task_options *o, const char *model,
                     const qn_load_options *how, uint64_t max_memory, const char *file)
{
    qn_error err = {0};
    job j = {.c = c, .model = model, .file = file, .kind = kind_of(o)};
    qn_status status = read_tasks(&j, o, &err);
    if (!status) status = score(&j, how, max_memory, &err);
    qn_exit exit = QN_EXIT_FINE;
    if (status)
        exit = qn_complain(c, &err);
    else if (c->json)
        exit = report(&j);
    else
        print_result(&j);
    for (size_t i = 0; j.results && i < j.n; i++) qn_free(j.results[i].scores);
    qn_free(j.results);
    qn_free(j.order);
    qn_task_file_close(&j.tasks);
    qn_text_free(&j.text);
    return exit;
}
