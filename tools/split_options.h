/* --split-max-size and --split-max-tensors, which quantize and convert share. */
#ifndef QN_TOOLS_SPLIT_OPTIONS_H
#define QN_TOOLS_SPLIT_OPTIONS_H

#include "quant/split.h"
#include "tools/cli.h"

/* Their rows in a command's table: size is the text, tensors the count of its options. */
/* clang-format off */
#define QN_SPLIT_OPTIONS(options, size, tensors)                                                \
    {0, "split-max-size", "N(M|G)", QN_OPT_TEXT, offsetof(options, size),                       \
     "begin another file, NAME-00002-of-00003.gguf, where one would hold more bytes of tensors"}, \
    {0, "split-max-tensors", "N", QN_OPT_COUNT, offsetof(options, tensors),                     \
     "begin another file where one would hold more tensors"}
/* clang-format on */

/* size: "4G", "500M" (of 1000, as llama-gguf-split and the reference converter
 * read it) or a number of bytes; NULL: no limit. */
qn_exit qn_split_limits(const qn_common *c, const char *size, uint64_t max_tensors,
                        qn_split_options *out);

#endif
