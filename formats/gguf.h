/* What the reader and the writer of GGUF share (docs/formats/gguf.md). */
#ifndef QN_FORMATS_GGUF_H
#define QN_FORMATS_GGUF_H

#include "formats/writer_ops.h"

enum {
    QN_GGUF_VERSION = 3,    /* as written */
    QN_GGUF_ALIGNMENT = 32, /* without general.alignment */
    QN_GGUF_MAX_RANK = 4,
    QN_GGUF_MAX_NAME = 63, /* bytes; ggml's buffer has 64 with the terminator */
};

extern const qn_writer_ops qn_gguf_writer;

#endif
