#include "tools/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "tools/interrupt.h"
#include "tools/report.h"

static const double REDRAW = 0.1;

double qn_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool is_set(const char *variable)
{
    const char *value = getenv(variable);
    return value && *value;
}

void qn_progress_start(qn_progress *p, const qn_common *c, const char *what, const char *unit)
{
    const char *term = getenv("TERM");
    *p = (qn_progress){.common = c, .what = what, .unit = unit};
    p->terminal = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
    p->colour = !is_set("NO_COLOR");
    p->started = p->last = qn_seconds();
}

static size_t terminal_width(void)
{
    struct winsize w;
    return !ioctl(STDERR_FILENO, TIOCGWINSZ, &w) && w.ws_col >= 20 ? w.ws_col : 80;
}

/* "312 MiB/s, 0:04 left" */
static void rate_and_left(const qn_progress *p, uint64_t done, uint64_t total, double seconds,
                          char *out, size_t n)
{
    char rate[32], left[32];
    const double per_second = seconds > 0 ? (double)done / seconds : 0;
    if (p->unit)
        snprintf(rate, sizeof rate, "%.3g %s/s", per_second, p->unit);
    else
        snprintf(rate, sizeof rate, "%s/s", qn_human_size(per_second, left));
    if (per_second > 0)
        snprintf(out, n, "%s, %s left", rate,
                 qn_human_time((double)(total - done) / per_second, left));
    else
        snprintf(out, n, "%s", rate);
}

/* As many of the columns as name and numbers leave free, 10 to 30, are a bar;
 * where they leave fewer, only the numbers are shown. */
static void draw(qn_progress *p, uint64_t done, uint64_t total, double now)
{
    char right[192], rate[96], bar[32];
    rate_and_left(p, done, total, now - p->started, rate, sizeof rate);
    const unsigned percent = (unsigned)(100 * (double)done / (double)total);
    snprintf(right, sizeof right, " %3u %%  %s%s%s", percent, rate, *p->note ? "  " : "", p->note);
    const size_t width = terminal_width() - 1;
    const size_t used = strlen(right) + strlen(p->what) + 3;
    size_t cells = used + 10 <= width ? width - used : 0;
    if (cells > 30) cells = 30;
    const size_t full = (size_t)((double)cells * (double)done / (double)total);
    memset(bar, '#', full);
    memset(bar + full, '.', cells - full);
    bar[cells] = 0;
    char line[512];
    if (cells)
        snprintf(line, sizeof line, "%s [%s]%s", p->what, bar, right);
    else
        snprintf(line, sizeof line, "%s", right + 1);
    line[width < sizeof line ? width : sizeof line - 1] = 0;
    fprintf(stderr, p->colour ? "\r\033[32m%s\033[0m\033[K" : "\r%s\033[K", line);
    fflush(stderr);
    p->drawn = true;
}

bool qn_progress_tell(void *ctx, uint64_t done, uint64_t total)
{
    qn_progress *p = ctx;
    if (qn_interrupted()) return false;
    if (p->common->quiet || !total || done > total) return true;
    const double now = qn_seconds();
    if (p->terminal) {
        if (now - p->last < REDRAW && done < total) return true;
        p->last = now;
        draw(p, done, total, now);
        return true;
    }
    const uint64_t tenths = (uint64_t)(10 * (double)done / (double)total);
    if (tenths > p->tenths) {
        char rate[96];
        p->tenths = tenths;
        rate_and_left(p, done, total, now - p->started, rate, sizeof rate);
        fprintf(stderr, "quern %s: %s: %u %%, %s%s%s\n", p->common->command, p->what,
                (unsigned)tenths * 10, rate, *p->note ? ", " : "", p->note);
    }
    return true;
}

void qn_progress_end(qn_progress *p)
{
    if (!p->drawn) return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
    p->drawn = false;
}
