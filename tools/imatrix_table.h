/* The table of quern calibrate --show-statistics. */
#ifndef QN_TOOLS_IMATRIX_TABLE_H
#define QN_TOOLS_IMATRIX_TABLE_H

#include <jansson.h>

#include "formats/second_moments.h"
#include "tools/cli.h"

/* Reads the importance matrix at path and prints what it says of each tensor, and
 * of each layer on average; and of which inputs it has second moments. */
qn_exit qn_imatrix_table(const qn_common *c, const char *path);

/* {"block_size", "inputs": [{"tensors", "columns", "matrices"}]} */
json_t *qn_moments_json(const qn_moments_input *inputs, size_t n, uint64_t block);

#endif
