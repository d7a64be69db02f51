#include "tools/interrupt.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "formats/base/temporary.h"

static atomic_int received; /* the first signal's number; 0: none yet */
static atomic_bool watched;

/* What is said by who ends at once; written before the handler is there. */
static char words[64];
static size_t n_words;

static void say(int number)
{
    if (number != SIGPIPE && n_words && write(STDERR_FILENO, words, n_words) < 0) n_words = 0;
}

static void on_signal(int number)
{
    int none = 0;
    const bool first = atomic_compare_exchange_strong(&received, &none, number);
    if (first && number != SIGPIPE && atomic_load(&watched)) return;
    qn_temporary_remove_all();
    say(number);
    _exit(128 + number);
}

void qn_interrupt_install(const char *command, bool quiet)
{
    const char *line_end = isatty(STDERR_FILENO) ? "\n" : ""; /* of progress */
    if (!quiet) snprintf(words, sizeof words, "%squern %s: interrupted\n", line_end, command);
    n_words = strlen(words);
    static const int numbers[] = {SIGINT, SIGTERM, SIGPIPE, SIGHUP};
    struct sigaction old, action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < QN_COUNT_OF(numbers); i++) {
        /* nohup means it; a shell that starts us with & ignores SIGINT, too,
         * but there whoever sends it means us. */
        const bool keep =
            numbers[i] == SIGHUP && !sigaction(SIGHUP, NULL, &old) && old.sa_handler == SIG_IGN;
        if (!keep) sigaction(numbers[i], &action, NULL);
    }
    /* Then a file size limit is an error of write(), with words. */
    signal(SIGXFSZ, SIG_IGN);
}

void qn_interrupt_watched(bool on)
{
    atomic_store(&watched, on);
}

bool qn_interrupted(void)
{
    return atomic_load(&received) != 0;
}

qn_exit qn_interrupt_status(void)
{
    const int number = atomic_load(&received);
    return number ? (qn_exit)(128 + number) : QN_EXIT_INTERRUPTED;
}
