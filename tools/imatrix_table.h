/* The table of quern calibrate --show-statistics. */
#ifndef QN_TOOLS_IMATRIX_TABLE_H
#define QN_TOOLS_IMATRIX_TABLE_H

#include "tools/cli.h"

/* Reads the importance matrix at path and prints what it says of each tensor, and
 * of each layer on average. */
qn_exit qn_imatrix_table(const qn_common *c, const char *path);

#endif
