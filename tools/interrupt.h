/* Ctrl-C and its kin (SIGTERM, SIGHUP).
 *
 * While somebody watches, the first one is only remembered: the job stops at its
 * next watch point, removes its temporary file and gives status 130.  A second
 * one, or the first where nobody watches, removes the temporary files at once
 * and ends the process with the same status and words. */
#ifndef QN_TOOLS_INTERRUPT_H
#define QN_TOOLS_INTERRUPT_H

#include <stdbool.h>

#include "tools/cli.h"

/* quiet: nothing is said. */
void qn_interrupt_install(const char *command, bool quiet);

/* From now on (or no longer) somebody asks qn_interrupted() regularly. */
void qn_interrupt_watched(bool watched);
bool qn_interrupted(void);

/* 128 + the signal's number: 130 after Ctrl-C. */
qn_exit qn_interrupt_status(void);

#endif
