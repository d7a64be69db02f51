/* quern quantize IN OUT int4|int8: a checkpoint directory of packed weights. */
#ifndef QN_TOOLS_QUANTIZE_PACKED_H
#define QN_TOOLS_QUANTIZE_PACKED_H

#include "tools/cli.h"
#include "tools/lora_options.h"

/* As on the command line; NULL or false: not given. */
typedef struct {
    const qn_common *common;
    const char *in, *out, *type; /* "int4" */
    const char *group_size, *format, *clip, *family;
    bool asymmetric, allow_requantize, dry_run, force;
    qn_texts ignore, include;
    uint64_t max_memory, max_shard_size;
    const qn_loras *loras;
} qn_packed_request;

/* Whether a word is a type of these: int4, int8 in any case. */
bool qn_is_packed_type(const char *word);

qn_exit qn_quantize_packed(const qn_packed_request *r);

#endif
