/* What a checkpoint's config.json says about its packed weights:
 * quantization_config (transformers) or quantization (mlx-lm), checked and in
 * numbers.  docs/formats/packed.md lists the keys and who defines them. */
#ifndef QN_FORMATS_PACKED_SCHEME_H
#define QN_FORMATS_PACKED_SCHEME_H

#include "formats/base/json.h"

typedef enum {
    QN_PACKED_NONE = 0, /* plain weights */
    QN_PACKED_COMPRESSED_TENSORS,
    QN_PACKED_GPTQ,
    QN_PACKED_AWQ,
    QN_PACKED_MLX,
    QN_PACKED_FP8,
    QN_PACKED_MXFP4
} qn_packed_method;

/* What shares a scale. */
typedef enum {
    QN_SCALE_OF_GROUP = 0, /* group columns of a row */
    QN_SCALE_OF_CHANNEL,   /* a row */
    QN_SCALE_OF_TENSOR,
    QN_SCALE_OF_BLOCK /* block[0] rows times block[1] columns */
} qn_scale_of;

/* One way in which matrices are packed. */
typedef struct {
    unsigned bits; /* of an integer code: 2..8 */
    bool is_float; /* codes are 8-bit floats */
    bool symmetric;
    qn_scale_of scale;
    uint64_t group;
    uint64_t block[2];
} qn_packing_scheme;

enum { QN_MOST_SCHEMES = 16 };

typedef struct {
    qn_packed_method method;
    const char *name;  /* "gptq": as config.json says it */
    const char *where; /* config.json's path, for messages */
    /* compressed-tensors may have several, one a group of layers; all others
     * have one. */
    qn_packing_scheme schemes[QN_MOST_SCHEMES];
    size_t n_schemes;
    bool gptq_v1;            /* stored zeros are one too small */
    bool varies;             /* GPTQ: "dynamic" changes widths and groups of some layers */
    const json_t *overrides; /* MLX: modules with their own bits and group_size; or NULL */
} qn_packing;

/* root: config.json, which outlives *out.  Plain weights give QN_PACKED_NONE; a
 * method that we don't read, or an unknown form of one, is QN_ERR_UNSUPPORTED and
 * named. */
qn_status qn_packing_read(const json_t *root, const char *where, qn_packing *out, qn_error *err);

/* The scheme of an MLX module ("model.layers.0.mlp.up_proj"). */
qn_status qn_packing_of_module(const qn_packing *p, const char *module, qn_packing_scheme *out,
                               qn_error *err);

/* Without what says that weights are packed: for a config.json whose weights no
 * longer are. */
void qn_packing_forget(json_t *root);

#endif
