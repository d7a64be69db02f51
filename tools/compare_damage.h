/* quern compare --by layer|tensor: where in a model the damage is done. */
#ifndef QN_TOOLS_COMPARE_DAMAGE_H
#define QN_TOOLS_COMPARE_DAMAGE_H

#include <jansson.h>

#include "tools/loaded.h"
#include "validate/output_errors.h"
#include "validate/put_back.h"

typedef struct {
    bool layers, tensors;
    uint64_t budget;     /* tokens of forward passes for the tensors of one test */
    uint64_t max_memory; /* as --max-memory */
} qn_damage_wanted;

/* What a budget is that nobody gave, and without the option. */
#define QN_DEFAULT_BUDGET 65536
#define QN_NO_BUDGET UINT64_MAX

/* by: "layer" or "tensor"; NULL: neither.  False, and said so: another word, a budget
 * without tensors, or one that is too small for windows of n_ctx. */
bool qn_damage_by(const qn_common *c, const char *by, uint64_t budget, uint64_t n_ctx,
                  qn_damage_wanted *out);

/* Of one test. */
typedef struct {
    const qn_model *reference, *test; /* NULL: nothing was asked for */
    size_t windows, n_ctx;            /* that errors are over */
    qn_output_errors errors;
    bool by_tensor;
    size_t kld_windows;
    double kld;        /* of the test on those */
    qn_put_back *list; /* [n], the largest gain first */
    size_t n, candidates;
} qn_damage;

qn_status qn_damage_measure(qn_damage *out, const qn_common *c, const qn_damage_wanted *wanted,
                            const qn_loaded *reference, const qn_loaded *test,
                            const qn_chunks *chunks, qn_error *err);
void qn_damage_free(qn_damage *d); /* {0} is fine */

/* For people, on stdout. */
void qn_damage_print(const qn_damage *d);

/* "layers", "tensors" and "suggestion" into a test's object. */
void qn_damage_json(const qn_damage *d, json_t *test);

#endif
