/* From a plan to a file, through the pipeline. */
#ifndef QN_TESTS_SUPPORT_WRITE_PLAN_H
#define QN_TESTS_SUPPORT_WRITE_PLAN_H

#include "quant/pipeline.h"

qn_status write_plan(const qn_plan *p, const char *path, const qn_pipeline_options *o,
                     qn_error *err);

#endif
