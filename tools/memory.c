#include "tools/memory.h"

#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static atomic_ullong peak;

/* A line of /proc/self/status, in bytes. */
static uint64_t status_line(const char *name)
{
    char text[4096]; /* the line stands within the first 1.5 kB */
    const int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    const ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0) return 0;
    text[n] = 0;
    const char *line = strstr(text, name);
    return line ? 1024 * strtoull(line + strlen(name), NULL, 10) : 0;
}

uint64_t qn_memory_now(void)
{
    return status_line("\nRssAnon:");
}

uint64_t qn_memory_resident(void)
{
    return status_line("\nVmRSS:");
}

uint64_t qn_memory_peak(void)
{
    const unsigned long long now = qn_memory_now();
    unsigned long long seen = atomic_load(&peak);
    while (now > seen && !atomic_compare_exchange_weak(&peak, &seen, now)) {}
    return now > seen ? now : seen;
}

uint64_t qn_memory_of_machine(void)
{
    const long pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);
    return pages > 0 && bytes > 0 ? (uint64_t)pages * (uint64_t)bytes : 0;
}

static void *sample(void *unused)
{
    const struct timespec pause = {.tv_nsec = 5000000};
    for (;;) {
        qn_memory_peak();
        nanosleep(&pause, NULL);
    }
    return unused;
}

void qn_memory_watch(void)
{
    pthread_t thread;
    pthread_attr_t attributes;
    sigset_t all, before;
    if (pthread_attr_init(&attributes)) return;
    pthread_attr_setstacksize(&attributes, 64 * 1024);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    /* Signals belong to the main thread. */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    (void)!pthread_create(&thread, &attributes, sample, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
}

void qn_memory_trim(void)
{
    malloc_trim(0);
}
