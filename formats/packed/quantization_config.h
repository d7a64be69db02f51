/* What config.json says about int4 and int8 weights, in the words of the
 * ecosystem that is to load them.  docs/formats/packed-write.md lists the keys
 * and where they are defined. */
#ifndef QN_FORMATS_PACKED_QUANTIZATION_CONFIG_H
#define QN_FORMATS_PACKED_QUANTIZATION_CONFIG_H

#include "formats/base/json.h"

typedef enum { QN_PACK_COMPRESSED_TENSORS, QN_PACK_GPTQ, QN_PACK_AWQ, QN_PACK_MLX } qn_pack_format;

/* "compressed-tensors", "gptq", "awq", "mlx". */
const char *qn_pack_format_name(qn_pack_format f);
bool qn_pack_format_by_name(const char *name, qn_pack_format *out);

typedef struct {
    qn_pack_format format;
    unsigned bits;
    uint64_t group; /* columns; 0: the whole row */
    bool asymmetric, mse;
    bool head;               /* lm_head is packed, too */
    const char *const *kept; /* modules with a matrix that is not packed, lm_head not among them */
    size_t n_kept;
    const char *tool; /* "quern 0.1": who quantized */
} qn_quantization;

/* Into config.json's root, in place of what it said.  QN_ERR_MEMORY. */
qn_status qn_quantization_set(json_t *root, const qn_quantization *q, qn_error *err);

#endif
