/* --against EARLIER.json: figures of now beside those of an earlier result, in pairs of
 * the same windows. */
#ifndef QN_TOOLS_AGAINST_H
#define QN_TOOLS_AGAINST_H

#include <jansson.h>

#include "formats/base/text.h"

typedef struct {
    const char *path; /* NULL: none was given */
    json_t *json;
} qn_earlier;

/* A result of that command ("compare"); else QN_ERR_DATA. */
qn_status qn_earlier_open(qn_earlier *out, const char *path, const char *command, qn_error *err);
void qn_earlier_close(qn_earlier *e); /* {0} is fine */

/* {"file", "quern_version"} */
json_t *qn_earlier_json(const qn_earlier *e);

/* QN_ERR_DATA unless what a field said then is what it is now: "EARLIER.json: its WHAT
 * is THEN, now it is NOW". */
qn_status qn_earlier_same(const qn_earlier *e, const char *what, const json_t *o, const char *key,
                          const char *now, qn_error *err);
qn_status qn_earlier_same_number(const qn_earlier *e, const char *what, const json_t *o,
                                 const char *key, double now, qn_error *err);

typedef enum {
    QN_AGAINST_SAME,
    QN_AGAINST_BETTER,
    QN_AGAINST_WORSE,
    QN_AGAINST_UNTESTED, /* a figure that no window has by itself: its error is not known */
} qn_against_verdict;

/* Means over n windows, and of their differences: of normally distributed differences one
 * standard error is the root of their variance over n, and one that exceeds Student's
 * quantile at `confidence` (one-sided, n - 1 degrees of freedom) times that is no chance. */
typedef struct {
    const char *what;
    size_t windows;
    double then, now, difference, error;
    double bound; /* what a difference must exceed */
    qn_against_verdict verdict;
} qn_against;

/* quern compare's: mean KLD, same top, log PPL ratio in pairs, then percentiles of KLD. */
enum { QN_N_AGAINST_PAIRED = 3, QN_N_AGAINST = 6 };

/* n >= 2.  sign: 1 where more is worse, -1 where less is. */
void qn_against_of(qn_against *out, const char *what, const double *then, const double *now,
                   size_t n, int sign, double confidence);

/* Exact for 1 and 2 degrees of freedom; for 3 half a percent short at 0.99, three at 0.999,
 * from 10 on below a thousandth. */
double qn_student_quantile(double confidence, size_t degrees);

/* Of all windows together, which are the same then and now: no verdict. */
void qn_against_untested(qn_against *out, const char *what, double then, double now,
                         size_t windows);

/* "mean KLD 0.0041, now 0.0052: +0.0011 +/- 0.0001 on 40 windows, worse" */
void qn_against_words(const qn_against *a, qn_text *out);
json_t *qn_against_json(const qn_against *a);

#endif
