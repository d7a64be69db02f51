/* This process's anonymous memory (RssAnon of /proc/self/status): what
 * --max-memory limits and peak_memory_bytes reports.  Pages of mapped files
 * are not in it. */
#ifndef QN_TOOLS_MEMORY_H
#define QN_TOOLS_MEMORY_H

#include <stdint.h>

/* Now; 0 where the system does not tell. */
uint64_t qn_memory_now(void);

/* All that is resident, pages of mapped files too (VmRSS): what --max-memory limits
 * where models are run. */
uint64_t qn_memory_resident(void);

/* What the machine has; 0 where it does not tell. */
uint64_t qn_memory_of_machine(void);

/* Starts a thread that looks every few milliseconds.  Without one (no memory
 * for it) the peak is of the moments of qn_memory_peak() calls. */
void qn_memory_watch(void);

/* The most that was seen, this moment included. */
uint64_t qn_memory_peak(void);

/* Gives what was freed back to the system, so that it does not count. */
void qn_memory_trim(void);

#endif
