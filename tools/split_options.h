/* --split-max-size and --split-max-tensors, which quantize and convert share. */
#ifndef QN_TOOLS_SPLIT_OPTIONS_H
#define QN_TOOLS_SPLIT_OPTIONS_H

#include "quant/split.h"
#include "tools/cli.h"

/* size: "4G", "500M" (of 1000, as llama-gguf-split and the reference converter
 * read it) or a number of bytes; NULL: no limit. */
qn_exit qn_split_limits(const qn_common *c, const char *size, uint64_t max_tensors,
                        qn_split_options *out);

#endif
