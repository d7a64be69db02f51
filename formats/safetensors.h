/* What the reader and the writer of safetensors share
 * (docs/formats/safetensors.md). */
#ifndef QN_FORMATS_SAFETENSORS_H
#define QN_FORMATS_SAFETENSORS_H

#include "formats/writer_ops.h"

enum {
    QN_SAFETENSORS_MAX_HEADER = 100 * 1000 * 1000, /* bytes; the official library's limit */
    QN_SAFETENSORS_ALIGNMENT = 8,
};

extern const qn_writer_ops qn_safetensors_writer;

#endif
