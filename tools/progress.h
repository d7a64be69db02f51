/* How far a long job is, on stderr: on a terminal one line, redrawn at most
 * ten times a second, with rate and time left; elsewhere a line per 10 %;
 * nothing with --quiet.  Colour only without NO_COLOR. */
#ifndef QN_TOOLS_PROGRESS_H
#define QN_TOOLS_PROGRESS_H

#include <stdint.h>

#include "formats/base/watch.h"
#include "tools/cli.h"

typedef struct {
    const qn_common *common;
    const char *what; /* "model.gguf" */
    const char *unit; /* "chunks"; NULL: bytes */
    bool terminal, colour, drawn;
    double started, last; /* seconds; when the line was drawn last */
    uint64_t tenths;      /* of the whole, told so far */
    char note[48];        /* shown behind the rest; the caller's to fill */
} qn_progress;

void qn_progress_start(qn_progress *p, const qn_common *c, const char *what, const char *unit);

/* A qn_watch's call; ctx is the qn_progress.  False once interrupted. */
bool qn_progress_tell(void *ctx, uint64_t done, uint64_t total);

/* Clears the line; to be called before anything else is printed. */
void qn_progress_end(qn_progress *p);

/* Seconds of a clock that never jumps. */
double qn_seconds(void);

#endif
