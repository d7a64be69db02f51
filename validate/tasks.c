#include "validate/tasks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/sizes.h"
#include "validate/chunks.h"
#include "validate/session.h"

/* Tasks that are sorted by their beginnings before they run, fewer if they have more
 * tokens than that; results come after each. */
#define WAVE_TASKS 128
#define WAVE_TOKENS ((size_t)1 << 20)
/* Tokens run together where memory has no limit: the forward pass's own block. */
#define GROUP_TOKENS 2048
#define LOGIT_FLOATS ((size_t)1 << 24)
#define LEAST_ROWS 16
/* Winogrande's tokens behind the common beginning with which the word itself counts. */
#define FEW_TOKENS 3

/* One choice of a task. */
typedef struct {
    uint32_t *ids;
    size_t n;
    size_t from, to;     /* tokens that count, each predicted at the position before it */
    bool lends, borrows; /* the next choice's first token is predicted at our last position */
    double sum;          /* of the log-probabilities */
    size_t task, choice; /* numbers in the file, from 1 */
    size_t parent;       /* of its task in the group */
} sequence;

typedef struct {
    size_t number;       /* in the order they are scored in */
    size_t shared;       /* tokens that all choices begin with */
    size_t n;            /* choices */
    sequence *sequences; /* [n] */
} item;

/* A logit that is wanted: of the next id at a position of a sequence. */
typedef struct {
    size_t row; /* sequence of the group * positions run, plus the position */
    uint32_t id;
    sequence *owner;
} ask;

typedef struct {
    const qn_task_file *file;
    const size_t *order;
    const qn_decoder *d;
    qn_tokenizer *tokenizer;
    qn_tasks_memory *memory;
    qn_task_result *results;
    item items[WAVE_TASKS];
    size_t n_items;

    sequence **group; /* the sequences that run together */
    size_t n_group, group_capacity, n_parents;
    ask *asks;
    size_t n_asks, ask_capacity;
    size_t *rows; /* [logit_rows] */
    size_t logit_rows;
    float *logits;
    double *found; /* [logit_rows] */
} job;

/* ---- tokens ------------------------------------------------------------------------------ */

static qn_status encode(const job *j, qn_str text, uint32_t **ids, size_t *n, qn_error *err)
{
    size_t capacity = 0;
    const qn_encode_options how = {.add_special = true};
    return qn_tokenizer_encode(j->tokenizer, text, how, ids, n, &capacity, err);
}

/* Tokens of BOS and a text's head. */
static qn_status head_tokens(const job *j, qn_str head, size_t *n, qn_error *err)
{
    uint32_t *ids = NULL;
    *n = 0;
    const qn_status status = encode(j, head, &ids, n, err);
    qn_free(ids);
    return status;
}

static size_t shared_tokens(const item *t)
{
    const sequence *first = t->sequences;
    for (size_t k = 0; k < first->n; k++)
        for (size_t i = 1; i < t->n; i++)
            if (k == t->sequences[i].n || t->sequences[i].ids[k] != first->ids[k]) return k;
    return first->n;
}

/* Where Winogrande's choices count from and to. */
static qn_status winogrande_range(const job *j, const qn_task *task, item *t, qn_error *err)
{
    sequence *s = t->sequences;
    const bool behind_word = s[0].n - t->shared > FEW_TOKENS && s[1].n - t->shared > FEW_TOKENS;
    for (size_t i = 0; i < 2; i++) {
        s[i].from = t->shared;
        if (behind_word) {
            const qn_status status = head_tokens(j, task->choices[i].head, &s[i].from, err);
            if (status) return status;
        }
        s[i].to = s[i].n > s[i].from + 1 ? s[i].n - 1 : s[i].n;
    }
    s[0].lends = s[1].borrows = !behind_word && s[1].from < s[1].to;
    return QN_OK;
}

static qn_status prepare(const job *j, const qn_task *task, item *t, qn_error *err)
{
    const size_t number = j->order[t->number] + 1;
    qn_status status = QN_OK;
    t->sequences = qn_alloc(task->n, sizeof *t->sequences);
    if (!t->sequences) return qn_fail_memory(err, "a task");
    for (t->n = 0; t->n < task->n && !status; t->n++) {
        sequence *s = &t->sequences[t->n];
        s->task = number;
        s->choice = t->n + 1;
        status = encode(j, task->choices[t->n].text, &s->ids, &s->n, err);
    }
    if (status) return status;
    t->shared = shared_tokens(t);
    for (size_t i = 0; i < t->n; i++) {
        t->sequences[i].from = t->shared;
        t->sequences[i].to = t->sequences[i].n;
    }
    if (j->file->kind == QN_TASKS_WINOGRANDE && (status = winogrande_range(j, task, t, err)))
        return status;
    for (size_t i = 0; i < t->n; i++) {
        sequence *s = &t->sequences[i];
        const uint64_t most = j->d->hparams->n_ctx_train;
        if (!s->from) s->from = 1; /* nothing predicts a first token */
        if (most && s->n > most)
            return qn_fail(err, QN_ERR_DATA,
                           "%s: task %zu: choice %zu is %zu tokens, the model was trained on %llu",
                           j->file->where, number, i + 1, s->n, (unsigned long long)most);
        if (s->from >= s->to)
            return qn_fail(
                err, QN_ERR_DATA,
                "%s: task %zu: choice %zu has no tokens of its own: %zu, and %zu that do "
                "not count",
                j->file->where, number, i + 1, s->n, s->from);
    }
    return QN_OK;
}

static void forget_items(job *j)
{
    for (size_t t = 0; t < j->n_items; t++) {
        for (size_t i = 0; i < j->items[t].n; i++) qn_free(j->items[t].sequences[i].ids);
        qn_free(j->items[t].sequences);
    }
    j->n_items = 0;
}

/* ---- groups ------------------------------------------------------------------------------ */

static size_t longest(const item *t)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n; i++)
        if (t->sequences[i].n > n) n = t->sequences[i].n;
    return n;
}

/* Positions before the first that is asked, in all choices alike. */
static size_t trunk_of(const item *t)
{
    size_t first = t->shared;
    for (size_t i = 0; i < t->n; i++)
        if (t->sequences[i].from < first) first = t->sequences[i].from;
    return first ? first - 1 : 0;
}

static int by_beginning(const void *a, const void *b)
{
    const item *x = a, *y = b;
    const size_t p = trunk_of(x), q = trunk_of(y), m = longest(x), n = longest(y);
    if (p != q) return p < q ? -1 : 1;
    if (m != n) return m < n ? -1 : 1;
    return x->number < y->number ? -1 : 1;
}

/* What running so many together takes: what is shared once, then all choices. */
static uint64_t group_bytes(const job *j, size_t n, size_t trunk, size_t sequences,
                            size_t positions)
{
    const qn_decoder *d = j->d;
    double all = (double)j->logit_rows * (double)d->hparams->n_vocab * sizeof *j->logits;
    all += (double)qn_session_bytes(d, sequences, positions);
    if (trunk) all += (double)qn_session_bytes(d, n, trunk);
    return all < 0x1p60 ? (uint64_t)all : UINT64_MAX;
}

/* Whether a group may become so large. */
static bool fits(const job *j, size_t n, size_t trunk, size_t sequences, size_t positions)
{
    if (!j->memory->limit) return n * trunk + sequences * (positions - trunk) <= GROUP_TOKENS;
    return group_bytes(j, n, trunk, sequences, positions) <= j->memory->limit;
}

/* How many items from `first` on run together, and their trunk and positions. */
static size_t group_size(const job *j, size_t first, size_t *trunk, size_t *positions)
{
    size_t sequences = 0, n = 0;
    *trunk = trunk_of(&j->items[first]); /* the least: they are sorted */
    *positions = 0;
    for (; first + n < j->n_items; n++) {
        const item *t = &j->items[first + n];
        const size_t most = longest(t) > *positions ? longest(t) : *positions;
        if (n && !fits(j, n + 1, *trunk, sequences + t->n, most)) break;
        *positions = most;
        sequences += t->n;
    }
    return n;
}

static qn_status gather(job *j, item *items, size_t n, qn_error *err)
{
    size_t need = 0;
    for (size_t t = 0; t < n; t++) need += items[t].n;
    if (need > j->group_capacity) {
        sequence **more = qn_resize(j->group, need, sizeof(sequence *));
        if (!more) return qn_fail_memory(err, "tasks");
        j->group = more;
        j->group_capacity = need;
    }
    j->n_parents = n;
    j->n_group = 0;
    for (size_t t = 0; t < n; t++)
        for (size_t i = 0; i < items[t].n; i++) {
            items[t].sequences[i].parent = t;
            j->group[j->n_group++] = &items[t].sequences[i];
        }
    return QN_OK;
}

/* ids[sequence][n] of positions from.. of the sequences; past their end the last again. */
static void fill(const job *j, bool parents, size_t from, size_t n, uint32_t *ids)
{
    size_t row = 0;
    for (size_t s = 0; s < j->n_group; s++) {
        const sequence *q = j->group[s];
        if (parents && s && j->group[s - 1]->parent == q->parent) continue;
        for (size_t i = 0; i < n; i++)
            ids[row * n + i] = q->ids[from + i < q->n ? from + i : q->n - 1];
        row++;
    }
}

/* What the choices of each task share, then the choices. */
static qn_status run_sessions(const job *j, size_t trunk, size_t positions, qn_session **out,
                              qn_error *err)
{
    qn_session *roots = NULL, *leaves = NULL;
    const size_t rest = positions - trunk;
    size_t *parents = qn_alloc(j->n_group, sizeof *parents);
    uint32_t *ids = qn_alloc(j->n_group, qn_max_u64(trunk, rest) * sizeof *ids);
    qn_status status = parents && ids ? QN_OK : qn_fail_memory(err, "tasks");
    if (!status) status = qn_session_new(&leaves, j->d, j->n_group, positions, err);
    if (!status && trunk) {
        for (size_t s = 0; s < j->n_group; s++) parents[s] = j->group[s]->parent;
        fill(j, true, 0, trunk, ids);
        status = qn_session_new(&roots, j->d, j->n_parents, trunk, err);
        if (!status) qn_session_ask_from(roots, trunk); /* for keys and values alone */
        if (!status) status = qn_session_run(roots, ids, trunk, NULL, NULL, err);
        if (!status) qn_session_branch(leaves, roots, parents);
    }
    if (!status) {
        fill(j, false, trunk, rest, ids);
        status = qn_session_run(leaves, ids, rest, NULL, NULL, err);
    }
    qn_session_free(roots);
    qn_free(ids);
    qn_free(parents);
    if (status)
        qn_session_free(leaves);
    else
        *out = leaves;
    return status;
}

/* ---- scores -------------------------------------------------------------------------------- */

static qn_status list_asks(job *j, size_t trunk, size_t positions, qn_error *err)
{
    const size_t rest = positions - trunk;
    if (j->ask_capacity < j->n_group * rest) {
        ask *more = qn_resize(j->asks, j->n_group * rest, sizeof *more);
        if (!more) return qn_fail_memory(err, "tasks");
        j->asks = more;
        j->ask_capacity = j->n_group * rest;
    }
    j->n_asks = 0;
    for (size_t s = 0; s < j->n_group; s++) {
        sequence *q = j->group[s];
        const size_t row = s * rest - trunk;
        for (size_t i = q->from + q->borrows; i < q->to; i++)
            j->asks[j->n_asks++] = (ask){row + i - 1, q->ids[i], q};
        if (q->lends) {
            sequence *next = j->group[s + 1];
            j->asks[j->n_asks++] = (ask){row + q->n - 1, next->ids[next->from], next};
        }
    }
    return QN_OK;
}

static qn_status see(const job *j, qn_session *session, const ask *asks, size_t n, qn_error *err)
{
    const size_t n_vocab = (size_t)j->d->hparams->n_vocab;
    for (size_t i = 0; i < n; i++) j->rows[i] = asks[i].row;
    const qn_status status = qn_session_logits_at(session, j->rows, n, j->logits, err);
    if (status) return status;
#pragma omp parallel for num_threads(j->d->threads)
    for (size_t i = 0; i < n; i++) {
        const float *logits = j->logits + i * n_vocab;
        j->found[i] =
            j->d->k->finite(logits, n_vocab)
                ? (double)logits[asks[i].id] - qn_log_sum_exp(j->d->k, logits, n_vocab, NULL)
                : (double)NAN;
    }
    for (size_t i = 0; i < n; i++) {
        if (isnan(j->found[i]))
            return qn_fail(err, QN_ERR_DATA,
                           "%s: the head gives a number that is not finite for choice %zu of task "
                           "%zu",
                           j->d->model->path, asks[i].owner->choice, asks[i].owner->task);
        asks[i].owner->sum += j->found[i];
    }
    return QN_OK;
}

static void decide(const job *j, const item *t)
{
    qn_task_result *r = &j->results[t->number];
    for (size_t i = 0; i < t->n; i++) {
        const sequence *s = &t->sequences[i];
        r->scores[i] = s->sum / (double)(s->to - s->from);
        if (r->scores[i] > r->scores[r->chosen]) r->chosen = i;
    }
    /* llama-perplexity asks whether choice 1 is better, so that choice 2 wins a tie */
    if (j->file->kind == QN_TASKS_WINOGRANDE) r->chosen = !(r->scores[0] > r->scores[1]);
    r->right = r->right_choices[r->chosen / 64] >> r->chosen % 64 & 1;
}

static qn_status run_group(job *j, size_t first, size_t n, size_t trunk, size_t positions,
                           qn_error *err)
{
    qn_session *session = NULL;
    qn_error why = {0};
    qn_status status = gather(j, j->items + first, n, err);
    if (status) return status;
    const sequence *s = j->group[0];
    const uint64_t bytes = group_bytes(j, n, trunk, j->n_group, positions);
    if (j->memory->limit && bytes > j->memory->limit)
        return qn_fail(err, QN_ERR_MEMORY, "task %zu takes %.1f MiB of memory, %.1f MiB are left",
                       s->task, (double)bytes / 0x1p20, (double)j->memory->limit / 0x1p20);
    if (bytes > j->memory->scratch) j->memory->scratch = bytes;
    if ((status = list_asks(j, trunk, positions, err))) return status;
    if ((status = run_sessions(j, trunk, positions, &session, &why)))
        return qn_fail(err, status, "tasks that run with task %zu: %s", s->task, why.message);
    for (size_t at = 0; at < j->n_asks && !status; at += j->logit_rows)
        status =
            see(j, session, j->asks + at, (size_t)qn_min_u64(j->logit_rows, j->n_asks - at), err);
    qn_session_free(session);
    for (size_t t = 0; t < n && !status; t++) decide(j, &j->items[first + t]);
    return status;
}

static qn_status add_item(job *j, size_t number, qn_error *err)
{
    qn_task_result *r = &j->results[number];
    item *t = &j->items[j->n_items++];
    qn_task task = {0};
    qn_arena *arena = qn_arena_new(); /* of its texts */
    *t = (item){.number = number};
    qn_status status = arena ? QN_OK : qn_fail_memory(err, "a task");
    if (!status) status = qn_task_read(j->file, j->order[number], arena, &task, err);
    if (!status && !(r->scores = qn_alloc(task.n, sizeof *r->scores)))
        status = qn_fail_memory(err, "scores");
    if (!status) status = prepare(j, &task, t, err);
    r->task = j->order[number];
    r->n = task.n;
    for (size_t i = 0; i < task.n; i++)
        if (task.choices[i].right) r->right_choices[i / 64] |= (uint64_t)1 << i % 64;
    qn_arena_free(arena);
    return status;
}

static size_t tokens_of(const item *t)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n; i++) n += t->sequences[i].n;
    return n;
}

/* The first .. of those to be scored, *n of them and fewer if they are long. */
static qn_status run_wave(job *j, size_t first, size_t *most, qn_error *err)
{
    qn_status status = QN_OK;
    size_t n = 0;
    for (size_t tokens = 0; n < *most && tokens < WAVE_TOKENS && !status; n++) {
        status = add_item(j, first + n, err);
        tokens += tokens_of(&j->items[n]);
    }
    *most = n;
    if (!status) qsort(j->items, n, sizeof(item), by_beginning);
    for (size_t at = 0; at < n && !status;) {
        size_t trunk, positions;
        const size_t size = group_size(j, at, &trunk, &positions);
        status = run_group(j, at, size, trunk, positions, err);
        at += size;
    }
    forget_items(j);
    return status;
}

static qn_status start(job *j, qn_error *err)
{
    const size_t n_vocab = (size_t)j->d->hparams->n_vocab;
    j->logit_rows = (size_t)qn_max_u64(LOGIT_FLOATS / n_vocab, LEAST_ROWS);
    j->logit_rows = (size_t)qn_min_u64(j->logit_rows, GROUP_TOKENS);
    j->rows = qn_alloc(j->logit_rows, sizeof *j->rows);
    j->found = qn_alloc(j->logit_rows, sizeof *j->found);
    j->logits = qn_alloc(j->logit_rows * n_vocab, sizeof *j->logits);
    return j->rows && j->found && j->logits ? QN_OK : qn_fail_memory(err, "logits");
}

/* Whatever is wrong with a task is said before the work begins. */
static qn_status read_all(const job *j, size_t n, qn_error *err)
{
    qn_status status = QN_OK;
    for (size_t i = 0; i < n && !status; i++) {
        qn_task task;
        qn_arena *arena = qn_arena_new();
        if (!arena) return qn_fail_memory(err, "tasks");
        status = qn_task_read(j->file, j->order[i], arena, &task, err);
        qn_arena_free(arena);
    }
    return status;
}

qn_status qn_tasks_score(const qn_task_file *file, const size_t *order, size_t n,
                         const qn_decoder *d, qn_tokenizer *t, qn_tasks_memory *memory,
                         qn_task_result *results, qn_tasks_fn progress, void *ctx, qn_error *err)
{
    job *j = qn_alloc(1, sizeof *j);
    if (!j) return qn_fail_memory(err, "tasks");
    *j = (job){
        .file = file, .order = order, .d = d, .tokenizer = t, .memory = memory, .results = results};
    qn_status status = read_all(j, n, err);
    if (!status) status = start(j, err);
    for (size_t at = 0; at < n && !status;) {
        size_t wave = (size_t)qn_min_u64(WAVE_TASKS, n - at);
        status = run_wave(j, at, &wave, err);
        at += wave;
        if (!status && progress && !progress(ctx, results, at))
            status = qn_fail(err, QN_ERR_CANCELLED, "cancelled after %zu of %zu tasks", at, n);
    }
    qn_free(j->group);
    qn_free(j->asks);
    qn_free(j->rows);
    qn_free(j->found);
    qn_free(j->logits);
    qn_free(j);
    return status;
}

void qn_wilson(size_t right, size_t n, double z, double *low, double *high)
{
    const double count = (double)n, share = (double)right / count, over = z * z / count;
    const double middle = (share + over / 2) / (1 + over);
    const double half = z / (1 + over) * sqrt(share * (1 - share) / count + over / (4 * count));
    *low = middle - half;
    *high = middle + half;
}
