/* What the reference converter does after mapping names: which type each
 * tensor gets for an --outtype, and the metadata that goes with it
 * (llama.cpp convert_hf_to_gguf.py; gguf-py metadata.py). */
#ifndef QN_FORMATS_CONVERT_H
#define QN_FORMATS_CONVERT_H

#include "formats/model.h"

typedef enum {
    QN_OUT_AUTO = 0, /* BF16 or F16 by the first tensor of rank 2 and up */
    QN_OUT_F32,
    QN_OUT_F16,
    QN_OUT_BF16,
    QN_OUT_Q8_0
} qn_outtype;

/* AUTO resolved for this model; others unchanged. */
qn_outtype qn_convert_resolve(const qn_model *m, qn_outtype t);

/* Whether a tensor of this GGUF name stays F32 whatever the outtype: 1-D
 * tensors, norms, what has not ".weight" at its end, and a list. */
bool qn_convert_stays_f32(const char *name, unsigned rank);

/* The stored type of tensor t under outtype (not AUTO): F32 for those, F16
 * where rows are not whole blocks. From a GGUF source as well. */
qn_dtype qn_convert_dtype(const qn_model_tensor *t, qn_outtype outtype);

/* general.file_type of an outtype (GGUF's LlamaFileType numbers); weights that stay
 * MXFP4 have a number of their own, but in Q8_0 files. */
uint32_t qn_convert_file_type(const qn_model *m, qn_outtype t);

/* The metadata of the converted file, keys in the converter's order:
 * a new copy for the caller to free. */
qn_status qn_convert_metadata(const qn_model *m, qn_outtype t, qn_metadata **out, qn_error *err);

#endif
