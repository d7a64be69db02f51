/* Telling the user which tensors did not get the type that was asked for. */
#ifndef QN_TOOLS_FALLBACKS_H
#define QN_TOOLS_FALLBACKS_H

#include "quant/plan.h"
#include "tools/cli.h"

/* A remark per reason: how many tensors, the first one's name.  of: which output
 * this is about, when there are several; or NULL. */
qn_status qn_tell_fallbacks(const qn_plan *p, const char *of, const qn_common *c, qn_error *err);

#endif
