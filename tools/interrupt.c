#include "tools/interrupt.h"

#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "formats/base/temporary.h"

static atomic_int received; /* the first signal's number; 0: none yet */
static atomic_bool watched;

static void on_signal(int number)
{
    int none = 0;
    const bool first = atomic_compare_exchange_strong(&received, &none, number);
    if (first && number != SIGPIPE && atomic_load(&watched)) return;
    qn_temporary_remove_all();
    _exit(128 + number);
}

void qn_interrupt_install(void)
{
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
