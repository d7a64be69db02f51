/* Telling the user which tensors did not get the type or the importance that was
 * asked for.  of: which output this is about, when there are several; or NULL. */
#ifndef QN_TOOLS_FALLBACKS_H
#define QN_TOOLS_FALLBACKS_H

#include "quant/plan.h"
#include "tools/cli.h"

/* A remark per reason: how many tensors, the first one's name. */
qn_status qn_tell_fallbacks(const qn_plan *p, const char *of, const qn_common *c, qn_error *err);

/* Of which tensors a given matrix has no data; for a dry run, that one is needed
 * and was not given. */
void qn_tell_importance(const qn_plan *p, const char *of, const qn_common *c);

#endif
