/* A model to a file, the plain way: one row after the other. */
#ifndef QN_TESTS_SUPPORT_WRITE_MODEL_H
#define QN_TESTS_SUPPORT_WRITE_MODEL_H

#include "formats/convert.h"
#include "formats/writer.h"

/* As qn_convert_* say for this outtype. */
void write_model(const qn_model *m, qn_outtype outtype, const qn_format *format, const char *path);

#endif
