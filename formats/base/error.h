/* What went wrong, in words for a person: filled by whoever finds the fault,
 * owned by the caller, read only after a call failed.
 *
 * Messages are one line: file, tensor, the two numbers that disagree, and what
 * to do where that helps; nothing the caller already knows. */
#ifndef QN_FORMATS_BASE_ERROR_H
#define QN_FORMATS_BASE_ERROR_H

typedef enum {
    QN_OK = 0,
    QN_ERR_MEMORY,      /* allocation failed, or the memory limit is too small */
    QN_ERR_SYSTEM,      /* the operating system said no; the message ends with its reason */
    QN_ERR_DATA,        /* the input breaks its own format */
    QN_ERR_UNSUPPORTED, /* valid input that we do not handle */
    QN_ERR_ARGUMENT,    /* the user asked for something impossible */
    QN_ERR_CANCELLED    /* the watch callback said stop */
} qn_status;

/* No thread-local or global state: one per thread.  {0} is a fresh one. */
typedef struct {
    qn_status status;
    char message[512];
} qn_error;

/* Record the fault and hand its status back:
 *     return qn_fail(err, QN_ERR_DATA, "%s: header is %llu bytes", path, n);
 * err may be NULL when the caller does not want the words.  A message longer
 * than the buffer is cut; control characters in it (a hostile tensor name)
 * become '?'.
 *
 * A macro, so that compilers and analyzers see that what comes back is the
 * status and not perhaps QN_OK. */
#define qn_fail(err, status, ...) qn_failed(qn_record((err), (status), __VA_ARGS__), (status))

/* The same for QN_ERR_SYSTEM, with ": " and strerror(errno) behind the words. */
#define qn_fail_errno(err, ...) qn_failed(qn_record_errno((err), __VA_ARGS__), QN_ERR_SYSTEM)

/* Control characters, C1's in UTF-8 among them, become '?': a terminal obeys them. */
void qn_blank_controls(char *text);

/* What the two stand on; the result is err. */
qn_error *qn_record(qn_error *err, qn_status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
qn_error *qn_record_errno(qn_error *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static inline qn_status qn_failed(const qn_error *recorded, qn_status status)
{
    (void)recorded;
    return status;
}

/* Out of memory while making `what`. */
static inline qn_status qn_fail_memory(qn_error *err, const char *what)
{
    return qn_fail(err, QN_ERR_MEMORY, "out of memory: %s", what);
}

#endif
