/* quern compare's limits: several gates per test, and what they end in. */
#ifndef QN_TOOLS_COMPARE_GATES_H
#define QN_TOOLS_COMPARE_GATES_H

#include <jansson.h>

#include "tools/against.h"
#include "tools/cli.h"
#include "validate/compare.h"
#include "validate/gate.h"

/* As given; NaN: not given. */
typedef struct {
    double max_kld, max_p99_kld, max_p999_kld, min_same_top, max_ppl_ratio;
    double confidence;
} qn_gate_limits;

enum { QN_N_GATES = 5 };

typedef struct {
    size_t n_tests;
    qn_gate (*gates)[QN_N_GATES]; /* of each test; those not given have most == 0 */
    double given[QN_N_GATES];     /* the limits as given */
} qn_compare_gates;

/* Whether any limit is given. */
bool qn_gates_given(const qn_gate_limits *l);

/* Says what is wrong with a limit and returns QN_EXIT_USAGE, or makes the gates. */
qn_exit qn_gates_start(qn_compare_gates *g, const qn_common *c, const qn_gate_limits *l,
                       size_t n_tests);
void qn_gates_free(qn_compare_gates *g); /* {0} is fine */

/* The window that was just filled: positions first .. first + scored - 1.  True
 * when nothing more can change. */
bool qn_gates_see(qn_compare_gates *g, const qn_comparison *c, size_t first);

/* QN_EXIT_FINE: all pass; QN_EXIT_NO: one fails; else QN_EXIT_UNDECIDED. */
qn_exit qn_gates_exit(const qn_compare_gates *g);

/* "--max-kld 0.02: pass after 12 windows ..." lines of one test, each with prefix. */
void qn_gates_words(const qn_compare_gates *g, size_t test, const char *prefix, qn_text *out);
json_t *qn_gates_json(const qn_compare_gates *g, size_t test);

/* A JUnit report: a suite of each model, a case of each gate and of each difference from
 * an earlier result (NULL: none). */
void qn_gates_junit(const qn_compare_gates *g, const char *const *models, size_t n_models,
                    const qn_against (*against)[QN_N_AGAINST], qn_text *out);

#endif
