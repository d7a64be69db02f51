#include "formats/task_file.h"

#include <stdio.h>
#include <string.h>

enum { HELLASWAG_LINES = 6, HELLASWAG_CHOICES = 4, MOST_ANSWERS = 100 };
/* Of a task's choices together: the question is in each. */
static const size_t MOST_TEXT = 16 << 20;

static qn_status make_choices(qn_arena *arena, qn_task *task, size_t n, qn_error *err)
{
    *task = (qn_task){n, qn_arena_alloc(arena, n, sizeof *task->choices)};
    return task->choices ? QN_OK : qn_fail_memory(err, "a task");
}

/* a, b and c, one behind the other. */
static qn_status join(qn_arena *arena, qn_str a, qn_str b, qn_str c, qn_str *out, qn_error *err)
{
    char *s = qn_arena_alloc(arena, a.n + b.n + c.n + 1, 1);
    if (!s) return qn_fail_memory(err, "a task");
    if (a.n) memcpy(s, a.s, a.n);
    if (b.n) memcpy(s + a.n, b.s, b.n);
    if (c.n) memcpy(s + a.n + b.n, c.s, c.n);
    *out = qn_str_of(s, a.n + b.n + c.n);
    return QN_OK;
}

/* ---- lines ------------------------------------------------------------------------------ */

/* The line at *at, which moves behind it; whole: a line feed ends it. */
static qn_str next_line(qn_str text, size_t *at, bool *whole)
{
    const char *s = text.s + *at;
    const char *feed = memchr(s, '\n', text.n - *at);
    const size_t n = feed ? (size_t)(feed - s) : text.n - *at;
    *at += n + (feed != NULL);
    *whole = feed != NULL;
    return qn_str_of(s, n);
}

/* A number of one digit between blanks; -1: something else. */
static int digit_of(qn_str s)
{
    while (s.n && (s.s[s.n - 1] == '\r' || s.s[s.n - 1] == ' ')) s.n--;
    while (s.n && *s.s == ' ') s.s++, s.n--;
    return s.n == 1 && *s.s >= '0' && *s.s <= '9' ? *s.s - '0' : -1;
}

/* A line that the format asks for, or (false, and why) none. */
typedef bool (*line_check)(qn_str line, const char **why);

/* The lines that pass into f->lines; the others are counted. */
static qn_status split(qn_task_file *f, line_check check, size_t *n, qn_error *err)
{
    qn_str text = f->bytes;
    size_t capacity = 0, number = 1;
    if (text.n && text.s[text.n - 1] == '\n') text.n--;
    *n = 0;
    for (size_t at = 0; at < text.n; number++) {
        bool whole;
        const char *why = "has no line feed behind it (llama-perplexity's rule: two end the file)";
        const qn_str line = next_line(text, &at, &whole);
        if (check && (!whole || !check(line, &why))) {
            if (!f->left_out++) snprintf(f->why, sizeof f->why, "line %zu %s", number, why);
            continue;
        }
        if (*n == capacity) {
            capacity = qn_grow(capacity, *n + 1);
            qn_str *more = qn_resize(f->lines, capacity, sizeof *more);
            if (!more) return qn_fail_memory(err, f->where);
            f->lines = more;
        }
        f->lines[(*n)++] = line;
    }
    return QN_OK;
}

/* ---- HellaSwag ---------------------------------------------------------------------------- */

static qn_status open_hellaswag(qn_task_file *f, qn_error *err)
{
    size_t n;
    const qn_status status = split(f, NULL, &n, err);
    if (status) return status;
    if (!n || n % HELLASWAG_LINES)
        return qn_fail(err, QN_ERR_DATA, "%s: %zu lines are no whole tasks of %d", f->where, n,
                       HELLASWAG_LINES);
    f->n = n / HELLASWAG_LINES;
    return QN_OK;
}

static qn_status read_hellaswag(const qn_task_file *f, size_t number, qn_arena *arena,
                                qn_task *task, qn_error *err)
{
    const qn_str *line = f->lines + HELLASWAG_LINES * number;
    const int right = digit_of(line[1]);
    if (right < 0 || right >= HELLASWAG_CHOICES)
        return qn_fail(err, QN_ERR_DATA,
                       "%s: line %zu: the right ending is \"%.*s\", not a number from 0 to 3",
                       f->where, HELLASWAG_LINES * number + 2,
                       (int)(line[1].n < 20 ? line[1].n : 20), line[1].s);
    qn_status status = make_choices(arena, task, HELLASWAG_CHOICES, err);
    for (size_t i = 0; i < HELLASWAG_CHOICES && !status; i++) {
        task->choices[i].right = i == (size_t)right;
        status = join(arena, line[0], qn_str_z(" "), line[2 + i], &task->choices[i].text, err);
    }
    return status;
}

/* ---- Winogrande ---------------------------------------------------------------------------- */

typedef struct {
    qn_str before, after, choice[2]; /* of '_' */
    int answer;
} winogrande;

/* False, and why: not a task. */
static bool parse_winogrande(qn_str line, winogrande *out, const char **why)
{
    enum { COMMAS = 4 };
    size_t comma[COMMAS], n = 0;
    bool quoted = false;
    for (size_t i = 0; i < line.n && n < COMMAS; i++) {
        if (line.s[i] == '"')
            quoted = !quoted;
        else if (line.s[i] == ',' && !quoted)
            comma[n++] = i;
    }
    *why = "has not four commas";
    if (n < COMMAS) return false;
    qn_str field[COMMAS];
    for (size_t i = 0; i < COMMAS; i++)
        field[i] = qn_str_of(line.s + comma[i] + 1,
                             (i + 1 < COMMAS ? comma[i + 1] : line.n) - comma[i] - 1);
    qn_str sentence = field[0];
    if (sentence.n >= 2 && *sentence.s == '"') sentence.s++, sentence.n -= 2;
    const char *gap = sentence.n ? memchr(sentence.s, '_', sentence.n) : NULL;
    *why = "has no _ in its sentence";
    if (!gap) return false;
    const size_t before = (size_t)(gap - sentence.s);
    *out = (winogrande){.before = qn_str_of(sentence.s, before),
                        .after = qn_str_of(gap + 1, sentence.n - before - 1),
                        .choice = {field[1], field[2]},
                        .answer = digit_of(field[3])};
    *why = "has an answer that is neither 1 nor 2";
    return out->answer == 1 || out->answer == 2;
}

static bool is_winogrande(qn_str line, const char **why)
{
    winogrande w;
    return parse_winogrande(line, &w, why);
}

static qn_status open_winogrande(qn_task_file *f, qn_error *err)
{
    const qn_status status = split(f, is_winogrande, &f->n, err);
    if (status || f->n) return status;
    return qn_fail(err, QN_ERR_DATA, "%s: no Winogrande tasks%s%s", f->where,
                   f->left_out ? ": " : "", f->why);
}

static qn_status read_winogrande(const qn_task_file *f, size_t number, qn_arena *arena,
                                 qn_task *task, qn_error *err)
{
    winogrande w;
    const char *why;
    qn_status status = make_choices(arena, task, 2, err);
    if (status || !parse_winogrande(f->lines[number], &w, &why)) return status;
    for (size_t i = 0; i < 2 && !status; i++) {
        qn_choice *c = &task->choices[i];
        c->right = (size_t)w.answer == i + 1;
        status = join(arena, w.before, w.choice[i], w.after, &c->text, err);
        c->head = qn_str_of(c->text.s, w.before.n + w.choice[i].n);
    }
    return status;
}

/* ---- multiple choice --------------------------------------------------------------------- */

typedef struct {
    const qn_task_file *file;
    size_t at, task; /* task: in messages, from 1 */
} cursor;

static qn_status take_u32(cursor *c, uint32_t *out, qn_error *err)
{
    const qn_str b = c->file->bytes;
    if (b.n - c->at < 4)
        return qn_fail(err, QN_ERR_DATA, "%s: task %zu: the file ends at byte %zu, in a number",
                       c->file->where, c->task, b.n);
    const uint8_t *p = (const uint8_t *)b.s + c->at;
    *out = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    c->at += 4;
    return QN_OK;
}

static qn_status take_string(cursor *c, qn_str *out, qn_error *err)
{
    uint32_t n;
    const qn_status status = take_u32(c, &n, err);
    if (status) return status;
    if (n > c->file->bytes.n - c->at)
        return qn_fail(err, QN_ERR_DATA,
                       "%s: task %zu: a string of %u bytes at byte %zu, the file has %zu",
                       c->file->where, c->task, n, c->at, c->file->bytes.n);
    *out = qn_str_of(c->file->bytes.s + c->at, n);
    c->at += n;
    return QN_OK;
}

typedef struct {
    size_t n;
    qn_str text[MOST_ANSWERS];
    bool right[MOST_ANSWERS];
} answers;

static qn_status take_answers(cursor *c, answers *out, qn_error *err)
{
    uint32_t n, label;
    qn_status status = take_u32(c, &n, err);
    if (status) return status;
    if (n > MOST_ANSWERS)
        return qn_fail(err, QN_ERR_DATA, "%s: task %zu: %u answers are more than %d",
                       c->file->where, c->task, n, MOST_ANSWERS);
    for (uint32_t i = 0; i < n && !status; i++) status = take_string(c, &out->text[i], err);
    for (uint32_t i = 0; i < n && !status; i++) {
        status = take_u32(c, &label, err);
        out->right[i] = !status && label == 1;
    }
    out->n = n;
    return status;
}

static qn_status open_multiple_choice(qn_task_file *f, qn_error *err)
{
    cursor c = {.file = f};
    uint32_t n;
    if (f->bytes.n < sizeof n)
        return qn_fail(err, QN_ERR_DATA, "%s: %zu bytes, the number of tasks alone takes %zu",
                       f->where, f->bytes.n, sizeof n);
    const qn_status status = take_u32(&c, &n, err);
    if (status) return status;
    if (!n || n > (f->bytes.n - c.at) / 4)
        return qn_fail(err, QN_ERR_DATA, "%s: %u tasks in %zu bytes", f->where, n, f->bytes.n);
    f->n = n;
    return QN_OK;
}

static qn_status seek(cursor *c, size_t number, qn_error *err)
{
    uint32_t position;
    c->at = 4 + 4 * number;
    const qn_status status = take_u32(c, &position, err);
    if (status) return status;
    if (position > c->file->bytes.n)
        return qn_fail(err, QN_ERR_DATA, "%s: task %zu is at byte %u, the file has %zu",
                       c->file->where, c->task, position, c->file->bytes.n);
    c->at = position;
    return QN_OK;
}

static qn_status read_multiple_choice(const qn_task_file *f, size_t number, qn_arena *arena,
                                      qn_task *task, qn_error *err)
{
    cursor c = {.file = f, .task = number + 1};
    qn_str question;
    answers one, several;
    qn_status status = seek(&c, number, err);
    if (!status) status = take_string(&c, &question, err);
    if (!status) status = take_answers(&c, &one, err);
    if (!status) status = take_answers(&c, &several, err);
    if (status) return status;
    if (!question.n || !one.n)
        return qn_fail(err, QN_ERR_DATA, "%s: task %zu has no %s", f->where, c.task,
                       question.n ? "answers" : "question");
    size_t bytes = 0; /* 100 strings of less than 2^32 each: no overflow */
    for (size_t i = 0; i < one.n; i++) {
        if (!one.text[i].n)
            return qn_fail(err, QN_ERR_DATA, "%s: task %zu: answer %zu is empty", f->where, c.task,
                           i + 1);
        bytes += question.n + 1 + one.text[i].n;
    }
    if (bytes > MOST_TEXT)
        return qn_fail(err, QN_ERR_DATA, "%s: task %zu: %zu texts of %zu bytes, more than %zu",
                       f->where, c.task, one.n, bytes, MOST_TEXT);
    status = make_choices(arena, task, one.n, err);
    for (size_t i = 0; i < one.n && !status; i++) {
        task->choices[i].right = one.right[i];
        status = join(arena, question, qn_str_z(" "), one.text[i], &task->choices[i].text, err);
    }
    return status;
}

/* ---- all three ------------------------------------------------------------------------------ */

static const struct {
    qn_status (*open)(qn_task_file *f, qn_error *err);
    qn_status (*read)(const qn_task_file *f, size_t number, qn_arena *arena, qn_task *task,
                      qn_error *err);
} formats[] = {
    [QN_TASKS_HELLASWAG] = {open_hellaswag, read_hellaswag},
    [QN_TASKS_WINOGRANDE] = {open_winogrande, read_winogrande},
    [QN_TASKS_MULTIPLE_CHOICE] = {open_multiple_choice, read_multiple_choice},
};

qn_status qn_task_file_open(qn_task_file *out, qn_task_kind kind, qn_str bytes, const char *where,
                            qn_error *err)
{
    qn_task_file f = {.kind = kind, .bytes = bytes, .where = where};
    const qn_status status = formats[kind].open(&f, err);
    if (status)
        qn_task_file_close(&f);
    else
        *out = f;
    return status;
}

void qn_task_file_close(qn_task_file *f)
{
    qn_free(f->lines);
    *f = (qn_task_file){0};
}

qn_status qn_task_read(const qn_task_file *f, size_t number, qn_arena *arena, qn_task *out,
                       qn_error *err)
{
    return formats[f->kind].read(f, number, arena, out, err);
}
