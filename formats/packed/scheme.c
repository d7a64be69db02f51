#include "formats/packed/scheme.h"

#include <stdlib.h>
#include <string.h>

static const json_t *object(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_object(v) ? v : NULL;
}

/* The string under key, or otherwise. */
static const char *word(const json_t *o, const char *key, const char *otherwise)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : otherwise;
}

static qn_status refuse(const qn_packing *p, const char *key, const char *said, const char *known,
                        qn_error *err)
{
    return qn_fail(err, QN_ERR_UNSUPPORTED,
                   "%s: the weights are packed by %s with \"%s\" %.60s; only %s is read", p->where,
                   p->name, key, said, known);
}

/* bits and group_size, which GPTQ, AWQ and MLX all have. */
static qn_status read_group(const qn_packing *p, const json_t *o, qn_packing_scheme *s,
                            qn_error *err)
{
    uint64_t bits;
    const json_t *group = json_object_get(o, "group_size");
    qn_status status = qn_json_u64(o, "bits", p->where, &bits, NULL, err);
    if (status) return status;
    if (bits < 2 || bits > 8 || bits == 7)
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: %llu bits are not read from %s", p->where,
                       (unsigned long long)bits, p->name);
    s->bits = (unsigned)bits;
    if (!json_is_integer(group))
        return qn_fail(err, QN_ERR_DATA, "%s: \"group_size\" is %s", p->where,
                       group ? "not an integer" : "missing");
    s->scale = json_integer_value(group) == -1 ? QN_SCALE_OF_CHANNEL : QN_SCALE_OF_GROUP;
    if (s->scale == QN_SCALE_OF_GROUP && json_integer_value(group) < 1)
        return qn_fail(err, QN_ERR_DATA, "%s: \"group_size\" is %lld", p->where,
                       (long long)json_integer_value(group));
    s->group = s->scale == QN_SCALE_OF_GROUP ? (uint64_t)json_integer_value(group) : 0;
    return QN_OK;
}

/* ---- GPTQ and AWQ -------------------------------------------------------------------- */

static qn_status read_gptq(qn_packing *p, const json_t *o, qn_error *err)
{
    const char *key = json_object_get(o, "checkpoint_format") ? "checkpoint_format" : "format";
    const char *format = word(o, key, "gptq");
    qn_packing_scheme *s = &p->schemes[0];
    const qn_status status = read_group(p, o, s, err);
    if (status) return status;
    if (s->bits == 5 || s->bits == 6)
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: %u bits are not read from %s", p->where,
                       s->bits, p->name);
    if (json_is_true(json_object_get(o, "is_marlin_format"))) format = "marlin";
    if (strcmp(format, "gptq") != 0 && strcmp(format, "gptq_v2") != 0)
        return refuse(p, key, format, "gptq and gptq_v2", err);
    if (strcmp(word(o, "pack_dtype", "int32"), "int32") != 0)
        return refuse(p, "pack_dtype", word(o, "pack_dtype", ""), "int32", err);
    p->gptq_v1 = !strcmp(format, "gptq");
    p->varies = json_object_size(json_object_get(o, "dynamic")) > 0;
    return QN_OK;
}

static qn_status read_awq(qn_packing *p, const json_t *o, qn_error *err)
{
    static const char key[] = "version";
    const char *version = word(o, key, "gemm");
    const qn_status status = read_group(p, o, &p->schemes[0], err);
    if (status) return status;
    if (p->schemes[0].bits != 4)
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: AWQ has 4 bits, not %u", p->where,
                       p->schemes[0].bits);
    if (strcmp(version, "gemm") != 0 && strcmp(version, "GEMM") != 0)
        return refuse(p, key, version, "gemm", err);
    if (json_is_false(json_object_get(o, "zero_point")))
        return refuse(p, "zero_point", "false", "true", err);
    return QN_OK;
}

/* ---- MLX ----------------------------------------------------------------------------- */

static qn_status read_mlx_mode(const qn_packing *p, const json_t *o, qn_error *err)
{
    const char *mode = word(o, "mode", "affine");
    return strcmp(mode, "affine") != 0 ? refuse(p, "mode", mode, "affine", err) : QN_OK;
}

static qn_status read_mlx_scheme(const qn_packing *p, const json_t *o, qn_packing_scheme *s,
                                 qn_error *err)
{
    const qn_status status = read_mlx_mode(p, o, err);
    if (status) return status;
    return read_group(p, o, s, err);
}

static qn_status read_mlx(qn_packing *p, const json_t *o, qn_error *err)
{
    p->overrides = o;
    return read_mlx_scheme(p, o, &p->schemes[0], err);
}

qn_status qn_packing_of_module(const qn_packing *p, const char *module, qn_packing_scheme *out,
                               qn_error *err)
{
    const json_t *own = object(p->overrides, module);
    *out = p->schemes[0];
    return own ? read_mlx_scheme(p, own, out, err) : QN_OK;
}

/* ---- 8-bit floats --------------------------------------------------------------------- */

/* [rows, columns], or compressed-tensors' "128x128". */
static bool read_block(const json_t *v, uint64_t block[2])
{
    enum { MOST = 1 << 30 };
    const char *text = json_string_value(v);
    char *end;
    if (text) {
        block[0] = strtoull(text, &end, 10);
        if (*end != 'x') return false;
        block[1] = strtoull(end + 1, &end, 10);
        if (*end) return false;
    } else {
        if (json_array_size(v) != 2) return false;
        for (size_t i = 0; i < 2; i++)
            block[i] = (uint64_t)json_integer_value(json_array_get(v, i));
    }
    return block[0] && block[0] <= MOST && block[1] && block[1] <= MOST;
}

static qn_status read_fp8(qn_packing *p, const json_t *o, qn_error *err)
{
    const char *fmt = word(o, "fmt", "e4m3");
    const json_t *block = json_object_get(o, "weight_block_size");
    qn_packing_scheme *s = &p->schemes[0];
    if (strcmp(fmt, "e4m3") != 0 && strcmp(fmt, "e5m2") != 0)
        return refuse(p, "fmt", fmt, "e4m3 and e5m2", err);
    *s = (qn_packing_scheme){.is_float = true, .symmetric = true, .scale = QN_SCALE_OF_TENSOR};
    if (!strcmp(p->name, "fbgemm_fp8")) s->scale = QN_SCALE_OF_CHANNEL;
    if (!block || json_is_null(block)) return QN_OK;
    s->scale = QN_SCALE_OF_BLOCK;
    return read_block(block, s->block)
               ? QN_OK
               : qn_fail(err, QN_ERR_DATA, "%s: \"weight_block_size\" is not two sizes", p->where);
}

/* ---- compressed-tensors ----------------------------------------------------------------- */

static qn_status read_strategy(const qn_packing *p, const json_t *weights, qn_packing_scheme *s,
                               qn_error *err)
{
    static const struct {
        const char *name;
        qn_scale_of scale;
    } known[] = {{"group", QN_SCALE_OF_GROUP},
                 {"channel", QN_SCALE_OF_CHANNEL},
                 {"tensor", QN_SCALE_OF_TENSOR},
                 {"block", QN_SCALE_OF_BLOCK}};
    const bool grouped = json_is_integer(json_object_get(weights, "group_size"));
    const char *name = word(weights, "strategy", grouped ? "group" : "tensor");
    size_t i = 0;
    while (i < sizeof known / sizeof *known && strcmp(known[i].name, name) != 0) i++;
    if (i == sizeof known / sizeof *known)
        return refuse(p, "strategy", name, "group, channel, tensor or block", err);
    s->scale = known[i].scale;
    if (s->scale == QN_SCALE_OF_BLOCK &&
        !read_block(json_object_get(weights, "block_structure"), s->block))
        return qn_fail(err, QN_ERR_DATA, "%s: \"block_structure\" is not two sizes", p->where);
    if (s->scale != QN_SCALE_OF_GROUP) return QN_OK;
    const qn_status status = qn_json_u64(weights, "group_size", p->where, &s->group, NULL, err);
    if (status || s->group) return status;
    return qn_fail(err, QN_ERR_DATA, "%s: \"group_size\" is 0", p->where);
}

static qn_status read_weights(const qn_packing *p, const json_t *weights, qn_packing_scheme *s,
                              qn_error *err)
{
    uint64_t bits;
    bool said;
    const char *type = word(weights, "type", "int");
    qn_status status = qn_json_u64(weights, "num_bits", p->where, &bits, NULL, err);
    *s = (qn_packing_scheme){.symmetric = true};
    if (status) return status;
    s->is_float = !strcmp(type, "float");
    if (!s->is_float && strcmp(type, "int") != 0)
        return refuse(p, "type", type, "int and float", err);
    if (s->is_float ? bits != 8 : bits < 1 || bits > 8)
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: %s of %llu bits are not read from %s",
                       p->where, s->is_float ? "floats" : "integers", (unsigned long long)bits,
                       p->name);
    s->bits = (unsigned)bits;
    status = qn_json_bool(weights, "symmetric", p->where, &s->symmetric, &said, err);
    return status ? status : read_strategy(p, weights, s, err);
}

static qn_status check_format(const qn_packing *p, const json_t *o, qn_error *err)
{
    static const char *const known[] = {"pack-quantized",  "int-quantized", "float-quantized",
                                        "naive-quantized", "dense",         "mixed-precision"};
    const char *format = word(o, "format", "dense");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i], format)) return QN_OK;
    return refuse(p, "format", format, "pack-quantized, int-quantized and float-quantized", err);
}

static qn_status read_compressed_tensors(qn_packing *p, const json_t *o, qn_error *err)
{
    const char *name, *sparsity = word(object(o, "sparsity_config"), "format", "dense");
    json_t *group;
    qn_status status = check_format(p, o, err);
    if (status) return status;
    if (strcmp(sparsity, "dense") != 0) return refuse(p, "sparsity_config", sparsity, "dense", err);
    json_object_foreach((json_t *)object(o, "config_groups"), name, group)
    {
        const json_t *weights = object(group, "weights");
        if (!weights) continue; /* activations or the cache only */
        if (p->n_schemes == QN_MOST_SCHEMES)
            return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: more than %d \"config_groups\"", p->where,
                           QN_MOST_SCHEMES);
        if ((status = check_format(p, group, err)) ||
            (status = read_weights(p, weights, &p->schemes[p->n_schemes], err)))
            return status;
        p->n_schemes++;
    }
    return QN_OK;
}

/* ---- which -------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    qn_packed_method method;
    qn_status (*read)(qn_packing *p, const json_t *o, qn_error *err);
} methods[] = {
    {"compressed-tensors", QN_PACKED_COMPRESSED_TENSORS, read_compressed_tensors},
    {"gptq", QN_PACKED_GPTQ, read_gptq},
    {"awq", QN_PACKED_AWQ, read_awq},
    {"fp8", QN_PACKED_FP8, read_fp8},
    {"fbgemm_fp8", QN_PACKED_FP8, read_fp8},
    {"mxfp4", QN_PACKED_MXFP4, NULL},
};

/* quantization_config of the root, of the language model inside, or as
 * compressed-tensors called it first. */
static const json_t *find_config(const json_t *root)
{
    const json_t *o = object(root, "quantization_config");
    if (!o) o = object(object(root, "text_config"), "quantization_config");
    return o ? o : object(root, "compression_config");
}

qn_status qn_packing_read(const json_t *root, const char *where, qn_packing *out, qn_error *err)
{
    /* mlx-lm writes the same under both names. */
    const json_t *mlx = object(root, "quantization");
    const json_t *o = mlx ? mlx : find_config(root);
    *out = (qn_packing){.where = where, .name = "MLX"};
    if (!o) return QN_OK;
    out->n_schemes = 1;
    if (mlx) {
        out->method = QN_PACKED_MLX;
        return read_mlx(out, mlx, err);
    }
    out->name = word(o, "quant_method", "an unnamed method");
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        if (strcmp(methods[i].name, out->name) != 0) continue;
        out->method = methods[i].method;
        if (out->method == QN_PACKED_COMPRESSED_TENSORS) out->n_schemes = 0;
        return methods[i].read ? methods[i].read(out, o, err) : QN_OK;
    }
    return qn_fail(err, QN_ERR_UNSUPPORTED,
                   "%s: the weights are packed by %.60s (quantization_config), which is not read; "
                   "compressed-tensors, gptq, awq, fp8, mxfp4 and MLX's are",
                   where, out->name);
}

void qn_packing_forget(json_t *root)
{
    json_object_del(root, "quantization");
    json_object_del(root, "quantization_config");
    json_object_del(root, "compression_config");
    json_object_del(json_object_get(root, "text_config"), "quantization_config");
}
