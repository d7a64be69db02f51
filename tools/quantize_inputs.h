/* What quantize's repeatable options name: importance, types, metadata. */
#ifndef QN_TOOLS_QUANTIZE_INPUTS_H
#define QN_TOOLS_QUANTIZE_INPUTS_H

#include "quant/plan.h"
#include "tools/cli.h"

/* As given; at most one of the lists of words is not empty. */
typedef struct {
    const qn_texts *files, *include, *exclude;
} qn_importance_options;

typedef struct {
    qn_importance *importance; /* NULL: none */
    qn_type_rules rules;
    qn_metadata *overrides;
} qn_quantize_inputs;

/* rules: PATTERN=TYPE, and files of such where the option was
 * --tensor-type-file.  On failure there is nothing to close. */
qn_status qn_quantize_inputs_open(qn_quantize_inputs *in, const qn_importance_options *importance,
                                  const qn_texts *rules, const qn_texts *overrides, qn_error *err);
void qn_quantize_inputs_close(qn_quantize_inputs *in); /* {0} is fine */

#endif
