#include "tools/cli.h"

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "tools/hub.h"
#include "kernels/kernels.h"
#include "tools/cli_peers.h"
#include "tools/interrupt.h"
#include "tools/version.h"

const qn_opt qn_common_options[] = {
    {'t', "threads", "N", QN_OPT_COUNT, offsetof(qn_common, threads),
     "threads to use (default: the processors this process may run on)"},
    {0, "isa", "NAME", QN_OPT_TEXT, offsetof(qn_common, isa),
     "go no higher than this instruction set: scalar, avx2, avx512; results are the same"},
    {0, "json", NULL, QN_OPT_FLAG, offsetof(qn_common, json),
     "print one JSON document on standard output"},
    {'q', "quiet", NULL, QN_OPT_FLAG, offsetof(qn_common, quiet),
     "no progress, no remarks: the answer and errors only"},
    {'v', "verbose", NULL, QN_OPT_FLAG, offsetof(qn_common, verbose), "say more"},
    {'h', "help", NULL, QN_OPT_FLAG, offsetof(qn_common, help), "print this help"},
    {0, "version", NULL, QN_OPT_FLAG, offsetof(qn_common, version), "print the version"},
};
const size_t qn_n_common_options = QN_COUNT_OF(qn_common_options);

/* ---- words ------------------------------------------------------------------- */

/* One line, in which a name from a file commands nothing. */
__attribute__((format(printf, 2, 0))) static void say(const qn_common *c, const char *fmt,
                                                      va_list args)
{
    char words[8192];
    if (vsnprintf(words, sizeof words, fmt, args) < 0) return;
    qn_blank_controls(words);
    fprintf(stderr, "quern %s: %s\n", c->command, words);
}

qn_exit qn_usage(const qn_common *c, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    say(c, fmt, args);
    va_end(args);
    return QN_EXIT_USAGE;
}

void qn_remark(const qn_common *c, const char *fmt, ...)
{
    if (c->quiet) return;
    va_list args;
    va_start(args, fmt);
    say(c, fmt, args);
    va_end(args);
}

qn_exit qn_complain(const qn_common *c, const qn_error *err)
{
    static const qn_exit statuses[] = {
        [QN_OK] = QN_EXIT_FINE,
        [QN_ERR_MEMORY] = QN_EXIT_SYSTEM,
        [QN_ERR_SYSTEM] = QN_EXIT_SYSTEM,
        [QN_ERR_DATA] = QN_EXIT_INPUT,
        [QN_ERR_UNSUPPORTED] = QN_EXIT_INPUT,
        [QN_ERR_ARGUMENT] = QN_EXIT_USAGE,
        [QN_ERR_CANCELLED] = QN_EXIT_INTERRUPTED,
    };
    if (err->status == QN_ERR_CANCELLED) {
        qn_remark(c, "interrupted");
        return qn_interrupt_status();
    }
    fprintf(stderr, "quern %s: %s\n", c->command, err->message);
    return statuses[err->status];
}

qn_exit qn_no_memory(const qn_common *c, const char *what)
{
    qn_error err;
    qn_fail_memory(&err, what);
    return qn_complain(c, &err);
}

/* ---- suggestions -------------------------------------------------------------- */

enum { LONGEST = 64 };

size_t qn_edit_distance(const char *a, const char *b)
{
    size_t rows[3][LONGEST + 1];
    const size_t m = strlen(a), n = strlen(b);
    if (m > LONGEST || n > LONGEST) return m > n ? m : n;
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= n; j++) last[j] = before[j] = j;
    for (size_t i = 1; i <= m; i++) {
        now[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);
            if (last[j] + 1 < best) best = last[j] + 1;
            if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
        size_t *const oldest = before;
        before = last, last = now, now = oldest;
    }
    return last[n];
}

/* Option number i of a command, the common ones behind its own. */
static const qn_opt *option_at(const qn_command *c, size_t i)
{
    if (i < c->n_options) return &c->options[i];
    return i - c->n_options < qn_n_common_options ? &qn_common_options[i - c->n_options] : NULL;
}

static void unknown_option(const qn_command *c, const qn_common *common, const char *name)
{
    const qn_opt *nearest = NULL;
    size_t least = strlen(name) / 3 + 2; /* farther away is no slip of the fingers */
    for (size_t i = 0; option_at(c, i); i++) {
        const qn_opt *o = option_at(c, i);
        const size_t d = qn_edit_distance(name, o->name);
        if (d < least) least = d, nearest = o;
    }
    if (nearest)
        qn_usage(common, "unknown option --%s; did you mean --%s?", name, nearest->name);
    else
        qn_usage(common, "unknown option --%s; quern %s --help lists them", name, c->name);
}

/* ---- values -------------------------------------------------------------------- */

static bool parse_count(const char *text, uint64_t *out)
{
    if (*text < '0' || *text > '9') return false; /* strtoull takes signs and blanks */
    char *end;
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    if (errno || *end) return false;
    *out = value;
    return true;
}

static bool parse_real(const char *text, double *out)
{
    char *end;
    errno = 0;
    const double value = strtod(text, &end);
    if (end == text || *end || !isfinite(value)) return false;
    *out = value;
    return true;
}

static bool unit_of(const char *suffix, double *unit)
{
    static const char letters[] = "kmgt";
    *unit = 1;
    if (!*suffix || !strcasecmp(suffix, "b")) return true;
    const char *letter = strchr(letters, *suffix | 0x20);
    if (!letter) return false;
    const bool decimal = !strcasecmp(suffix + 1, "b");
    if (!decimal && suffix[1] && strcasecmp(suffix + 1, "ib") != 0) return false;
    for (const char *l = letters; l <= letter; l++) *unit *= decimal ? 1000 : 1024;
    return true;
}

bool qn_parse_size(const char *text, uint64_t *out)
{
    const size_t digits = strspn(text, "0123456789.");
    char number[32];
    double value, unit;
    if (!digits || digits >= sizeof number) return false;
    memcpy(number, text, digits);
    number[digits] = 0;
    if (!parse_real(number, &value) || !unit_of(text + digits, &unit)) return false;
    if (value * unit >= 0x1p63) return false;
    *out = (uint64_t)(value * unit);
    return true;
}

static bool add_text(qn_texts *t, const char *value, const char *option)
{
    const char **at = qn_resize(t->at, t->n + 1, sizeof(const char *));
    if (at) t->at = at;
    const char **by = qn_resize(t->by, t->n + 1, sizeof(const char *));
    if (by) t->by = by;
    if (!at || !by) return false;
    t->at[t->n] = value;
    t->by[t->n++] = option;
    return true;
}

static const char *const wanted[] = {
    [QN_OPT_FLAG] = "no value",
    [QN_OPT_TEXT] = "a text",
    [QN_OPT_TEXTS] = "a text",
    [QN_OPT_COUNT] = "a whole number",
    [QN_OPT_SIZE] = "a size such as 512M or 1.5G",
    [QN_OPT_REAL] = "a number",
};

static bool set_option(const qn_opt *o, const char *value, void *options)
{
    void *field = (char *)options + o->field;
    switch (o->kind) {
    case QN_OPT_FLAG: *(bool *)field = true; return true;
    case QN_OPT_TEXT: *(const char **)field = value; return true;
    case QN_OPT_TEXTS: return add_text(field, value, o->name);
    case QN_OPT_COUNT: return parse_count(value, field);
    case QN_OPT_SIZE: return qn_parse_size(value, field);
    case QN_OPT_REAL: return parse_real(value, field);
    }
    return false;
}

/* ---- parsing -------------------------------------------------------------------- */

typedef struct {
    const qn_command *command;
    int argc, at; /* at: the argument being looked at */
    char **argv;
    void *options;
    size_t n; /* positional arguments so far, at argv[1...] */
} parser;

static const qn_opt *by_name(const qn_command *c, const char *name)
{
    for (size_t i = 0; option_at(c, i); i++)
        if (!strcmp(option_at(c, i)->name, name)) return option_at(c, i);
    return NULL;
}

static const qn_opt *by_letter(const qn_command *c, char letter)
{
    for (size_t i = 0; option_at(c, i); i++)
        if (option_at(c, i)->letter == letter) return option_at(c, i);
    return NULL;
}

/* value: what stood in the same argument, or NULL. */
static bool take(parser *p, const qn_opt *o, const char *shown, const char *value)
{
    const qn_common *common = p->options;
    if (o->kind == QN_OPT_FLAG && value) {
        qn_usage(common, "%s takes no value, and got '%s'", shown, value);
        return false;
    }
    if (o->kind != QN_OPT_FLAG && !value) {
        if (p->at + 1 >= p->argc) {
            qn_usage(common, "%s wants %s", shown, wanted[o->kind]);
            return false;
        }
        value = p->argv[++p->at];
    }
    if (set_option(o, value, p->options)) return true;
    if (o->kind == QN_OPT_TEXTS)
        qn_usage(common, "no memory for one more %s", shown);
    else
        qn_usage(common, "%s wants %s, not '%s'", shown, wanted[o->kind], value);
    return false;
}

/* Of another program's option what it is here; false: nothing is known of it. */
static bool advise(const parser *p, const char *option)
{
    const char *advice = qn_peer_option(p->command->name, option);
    if (advice) qn_usage(p->options, "no option %s: %s", option, advice);
    return advice != NULL;
}

static bool take_long(parser *p, const char *argument)
{
    char name[LONGEST + 1], shown[LONGEST + 3];
    const char *equals = strchr(argument, '=');
    const size_t n = equals ? (size_t)(equals - argument) : strlen(argument);
    snprintf(name, sizeof name, "%.*s", (int)(n < LONGEST ? n : LONGEST), argument);
    for (char *s = name; *s; s++)
        if (*s == '_') *s = '-';
    const qn_opt *o = n <= LONGEST ? by_name(p->command, name) : NULL;
    snprintf(shown, sizeof shown, "--%s", name);
    if (!o) {
        if (!advise(p, shown)) unknown_option(p->command, p->options, name);
        return false;
    }
    return take(p, o, shown, equals ? equals + 1 : NULL);
}

static bool take_letters(parser *p, const char *letters)
{
    /* -ctk is no -c of tk */
    if (letters[1] && advise(p, letters - 1)) return false;
    for (; *letters; letters++) {
        const qn_opt *o = by_letter(p->command, *letters);
        const char shown[] = {'-', *letters, 0};
        if (!o) {
            if (advise(p, shown)) return false;
            qn_usage(p->options, "unknown option %s; quern %s --help lists them", shown,
                     p->command->name);
            return false;
        }
        if (o->kind != QN_OPT_FLAG) return take(p, o, shown, letters[1] ? letters + 1 : NULL);
        if (!take(p, o, shown, NULL)) return false;
    }
    return true;
}

static bool is_number(const char *s)
{
    return (*s >= '0' && *s <= '9') || (*s == '.' && s[1] >= '0' && s[1] <= '9');
}

bool qn_cli_parse(const qn_command *c, int argc, char **argv, void *options, size_t *n)
{
    parser p = {.command = c, .argc = argc, .argv = argv, .options = options};
    bool only_arguments = false;
    for (p.at = 1; p.at < argc; p.at++) {
        char *a = argv[p.at];
        if (only_arguments || a[0] != '-' || !a[1] || is_number(a + 1)) {
            argv[1 + p.n++] = a;
        } else if (!strcmp(a, "--")) {
            only_arguments = true;
        } else if (!(a[1] == '-' ? take_long(&p, a + 2) : take_letters(&p, a + 1))) {
            return false;
        }
    }
    *n = p.n;
    return true;
}

/* ---- running --------------------------------------------------------------------- */

/* OMP_NUM_THREADS where it is a plain number, since people set it; else the
 * processors that this process may use. */
static uint64_t default_threads(void)
{
    const char *asked = getenv("OMP_NUM_THREADS");
    uint64_t n;
    if (asked && parse_count(asked, &n) && n) return n;
    cpu_set_t set;
    if (!sched_getaffinity(0, sizeof set, &set) && CPU_COUNT(&set) > 0)
        return (uint64_t)CPU_COUNT(&set);
    return 1;
}

enum { MOST_THREADS = 256 };

static bool apply_common(const qn_command *c, qn_common *o)
{
    if (!o->threads) o->threads = default_threads();
    if (o->threads > MOST_THREADS) o->threads = MOST_THREADS;
    if (!o->isa || qn_kernels_cap(o->isa)) return true;
    qn_usage(o, "--isa %s: this program or this machine does not have it; quern %s --help", o->isa,
             c->name);
    return false;
}

static bool count_fits(const qn_command *c, const qn_common *o, char **args, size_t n)
{
    if (n < c->least)
        qn_usage(o, "something is missing: quern %s %s", c->name, c->synopsis);
    else if (n > c->most)
        qn_usage(o, "'%s' is one argument too many: quern %s %s", args[c->most], c->name,
                 c->synopsis);
    return n >= c->least && n <= c->most;
}

static void free_texts(const qn_command *c, void *options)
{
    for (size_t i = 0; i < c->n_options; i++) {
        if (c->options[i].kind != QN_OPT_TEXTS) continue;
        qn_texts *t = (qn_texts *)((char *)options + c->options[i].field);
        qn_free(t->at);
        qn_free(t->by);
        *t = (qn_texts){0};
    }
}

/* Names of the Hub become paths in its cache; those are to be freed. */
static qn_exit find_models(const qn_command *c, const qn_common *o, char **args, size_t n)
{
    qn_error err;
    for (size_t i = 0; i < n && i < c->models; i++) {
        char *path;
        if (qn_hub_resolve(args[i], &path, &err)) return qn_complain(o, &err);
        if (path) args[i] = path;
    }
    return QN_EXIT_FINE;
}

/* What was printed may not have arrived (a full disk behind a redirection). */
static qn_exit finish_output(const qn_common *o, qn_exit status)
{
    const bool failed = ferror(stdout);
    if (!fflush(stdout) && !failed) return status;
    qn_error err;
    qn_fail_errno(&err, "standard output");
    return qn_complain(o, &err);
}

static qn_exit run_on_models(const qn_command *c, const qn_common *o, char **args, size_t n)
{
    const size_t models = n < c->models ? n : c->models;
    char **given = qn_alloc(models, sizeof(char *));
    if (!given) return qn_no_memory(o, "the names of the models");
    for (size_t i = 0; i < models; i++) given[i] = args[i];
    qn_exit status = find_models(c, o, args, models);
    if (!status) status = c->run(o, args, n);
    for (size_t i = 0; i < models; i++)
        if (args[i] != given[i]) qn_free(args[i]);
    qn_free(given);
    return status;
}

qn_exit qn_cli_run(const qn_command *c, int argc, char **argv)
{
    size_t n = 0;
    qn_exit status = QN_EXIT_USAGE;
    qn_common *options = qn_alloc(1, c->options_bytes);
    if (!options) return qn_no_memory(&(qn_common){.command = c->name}, "the options");
    memcpy(options, c->defaults, c->options_bytes);
    options->command = c->name;
    if (!qn_cli_parse(c, argc, argv, options, &n)) goto out;
    status = QN_EXIT_FINE;
    if (options->help) {
        qn_cli_help(c);
    } else if (options->version) {
        puts("quern " QN_VERSION);
    } else {
        status = QN_EXIT_USAGE;
        if (!count_fits(c, options, argv + 1, n) || !apply_common(c, options)) goto out;
        qn_interrupt_install(c->name, options->quiet);
        status = run_on_models(c, options, argv + 1, n);
    }
    status = finish_output(options, status);
out:
    free_texts(c, options);
    qn_free(options);
    return status;
}
