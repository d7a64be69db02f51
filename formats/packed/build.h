/* From stored tensors to a qn_packed: companions found, types and shapes checked. */
#ifndef QN_FORMATS_PACKED_BUILD_H
#define QN_FORMATS_PACKED_BUILD_H

#include "formats/packed/packed.h"
#include "formats/packed/scheme.h"

enum { QN_MOST_COMPANIONS = 4 };

/* One weight being put together. */
typedef struct {
    const qn_reader *reader;
    const qn_packing *how;
    const qn_tensor *codes;
    qn_str base; /* of its name: "model.layers.0.mlp.up_proj"; FP8: with ".weight" */
    unsigned rank;
    uint64_t dims[QN_MAX_RANK]; /* of the weight */
    const qn_tensor *companions[QN_MOST_COMPANIONS];
    size_t n_companions;
    qn_packed packed;
} qn_packed_build;

/* b has reader, how, codes, base and packed.bytes (the codes' own); the rest is
 * zero.  Fills the rest.  Which one: by the method, and by the end of the codes'
 * name. */
qn_status qn_build_gptq(qn_packed_build *b, qn_error *err);
qn_status qn_build_awq(qn_packed_build *b, qn_error *err);
qn_status qn_build_mlx(qn_packed_build *b, qn_error *err);
qn_status qn_build_mxfp4(qn_packed_build *b, qn_error *err);
qn_status qn_build_fp8(qn_packed_build *b, qn_error *err);
/* compressed-tensors, with one of the schemes: integers in words; int8 or floats. */
qn_status qn_build_words(qn_packed_build *b, const qn_packing_scheme *s, qn_error *err);
qn_status qn_build_plain(qn_packed_build *b, const qn_packing_scheme *s, qn_error *err);

#endif
