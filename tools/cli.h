/* Commands and their options, described by tables: parsing, help, suggestions
 * and the test of the man page all read these.
 *
 * A command is a qn_command; its options land in a struct of its own whose
 * first member is qn_common.  Options may stand anywhere:
 *
 *     --name VALUE   --name=VALUE   -n VALUE   -nVALUE   -ab (flags)   --
 *
 * A negative number is a value or a positional argument, never an option.
 * '_' in an option's name is as good as '-'. */
#ifndef QN_TOOLS_CLI_H
#define QN_TOOLS_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/base/error.h"

/* Exit statuses: promised to scripts, listed in quern(1). */
typedef enum {
    QN_EXIT_FINE = 0,
    QN_EXIT_NO = 1,        /* the answer is no: a gate failed, files differ */
    QN_EXIT_USAGE = 2,     /* the command line asks for something impossible */
    QN_EXIT_INPUT = 3,     /* bad or unsupported input */
    QN_EXIT_SYSTEM = 4,    /* disk full, no permission, memory limit */
    QN_EXIT_UNDECIDED = 5, /* a gate that could not be settled */
    QN_EXIT_INTERRUPTED = 130
} qn_exit;

typedef enum {
    QN_OPT_FLAG,  /* bool */
    QN_OPT_TEXT,  /* const char *: the last one counts */
    QN_OPT_TEXTS, /* qn_texts: all of them, in order */
    QN_OPT_COUNT, /* uint64_t */
    QN_OPT_SIZE,  /* uint64_t bytes: 512M, 1.5G */
    QN_OPT_REAL   /* double */
} qn_opt_kind;

typedef struct {
    char letter; /* 0: none */
    const char *name;
    const char *value; /* its placeholder in the help; NULL for a flag */
    qn_opt_kind kind;
    size_t field; /* offsetof in the command's options */
    const char *help;
} qn_opt;

typedef struct {
    const char **at;
    const char **by; /* which option gave it: several may share a field */
    size_t n;
} qn_texts;

/* What every command knows. */
typedef struct {
    const char *command; /* for messages and reports */
    bool help, version, quiet, verbose, json;
    uint64_t threads; /* resolved: at least 1 */
    const char *isa;  /* as asked for; NULL: the best */
} qn_common;

typedef struct {
    const char *name;
    const char *summary;     /* what it does, for the list of commands */
    const char *synopsis;    /* "[options] IN [OUT] TYPE" */
    const char *about;       /* paragraphs */
    void (*more_help)(void); /* prints what comes from tables, behind about; NULL: nothing */
    const char *examples;    /* lines */
    const qn_opt *options;
    size_t n_options;
    const void *defaults; /* options_bytes of them */
    size_t options_bytes;
    size_t least, most; /* positional arguments */
    size_t models;      /* how many of the first ones name models, perhaps by the Hub's names */
    qn_exit (*run)(const void *options, char **args, size_t n);
} qn_command;

#define QN_COUNT_OF(array) (sizeof(array) / sizeof *(array))

extern const qn_opt qn_common_options[];
extern const size_t qn_n_common_options;

/* argv[0] is the command's name.  Parses, answers --help and --version, and
 * runs it. */
qn_exit qn_cli_run(const qn_command *c, int argc, char **argv);

/* Fills options from argv and moves the positional arguments to its front,
 * *n of them.  Prints what is wrong and returns false when something is. */
bool qn_cli_parse(const qn_command *c, int argc, char **argv, void *options, size_t *n);

/* On stdout. */
void qn_cli_help(const qn_command *c);

/* "512", "512M", "1.5G", "64KiB": powers of 1024, of 1000 with a B alone
 * ("64KB").  False when it is no such thing or does not fit. */
bool qn_parse_size(const char *text, uint64_t *out);

/* How many letters must change to make one of the other (optimal string
 * alignment: insert, delete, replace, swap neighbours). */
size_t qn_edit_distance(const char *a, const char *b);

/* ---- words on stderr -------------------------------------------------------- */

/* "quern quantize: " and the message; returns QN_EXIT_USAGE. */
qn_exit qn_usage(const qn_common *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The error's message; returns the exit status that stands for it. */
qn_exit qn_complain(const qn_common *c, const qn_error *err);

/* That there was none for `what`; returns QN_EXIT_SYSTEM. */
qn_exit qn_no_memory(const qn_common *c, const char *what);

/* A remark, unless --quiet. */
void qn_remark(const qn_common *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
