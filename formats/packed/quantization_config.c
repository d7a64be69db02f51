#include "formats/packed/quantization_config.h"

#include <string.h>

static const char *const names[] = {
    [QN_PACK_COMPRESSED_TENSORS] = "compressed-tensors",
    [QN_PACK_GPTQ] = "gptq",
    [QN_PACK_AWQ] = "awq",
    [QN_PACK_MLX] = "mlx",
};

const char *qn_pack_format_name(qn_pack_format f)
{
    return names[f];
}

bool qn_pack_format_by_name(const char *name, qn_pack_format *out)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i])) {
            *out = (qn_pack_format)i;
            return true;
        }
    return false;
}

/* NULL, here and below: no memory. */
static json_t *kept_modules(const qn_quantization *q, bool head)
{
    json_t *list = json_array();
    for (size_t i = 0; i < q->n_kept; i++)
        if (json_array_append_new(list, json_string(q->kept[i]))) goto failed;
    if (head && json_array_append_new(list, json_string("lm_head"))) goto failed;
    return list;
failed:
    json_decref(list);
    return NULL;
}

/* compressed-tensors quantization/quant_config.py, quant_args.py. */
static json_t *compressed_tensors(const qn_quantization *q)
{
    json_t *weights = json_pack("{s: n, s: n, s: b, s: o, s: i, s: s, s: {}, s: s, s: b, s: s}",
                                "actorder", "block_structure", "dynamic", 0, "group_size",
                                q->group ? json_integer((json_int_t)q->group) : json_null(),
                                "num_bits", (int)q->bits, "observer", q->mse ? "mse" : "minmax",
                                "observer_kwargs", "strategy", q->group ? "group" : "channel",
                                "symmetric", !q->asymmetric, "type", "int");
    json_t *group = json_pack("{s: s, s: n, s: n, s: [s], s: o}", "format", "pack-quantized",
                              "input_activations", "output_activations", "targets", "Linear",
                              "weights", weights);
    return json_pack("{s: {s: o}, s: s, s: n, s: o, s: n, s: s, s: s}", "config_groups", "group_0",
                     group, "format", "pack-quantized", "global_compression_ratio", "ignore",
                     kept_modules(q, !q->head), "kv_cache_scheme", "quant_method",
                     "compressed-tensors", "quantization_status", "compressed");
}

/* "-:" and a regular expression: a module that is left alone (GPTQModel
 * quantization/config.py, "dynamic"; vLLM reads it, too). */
static json_t *left_alone(const qn_quantization *q)
{
    json_t *rules = json_object();
    for (size_t i = 0; i < q->n_kept; i++) {
        qn_text rule = {0};
        qn_text_adds(&rule, "-:^");
        for (const char *s = q->kept[i]; *s; s++) {
            if (*s == '.') qn_text_adds(&rule, "\\");
            qn_text_add(&rule, s, 1);
        }
        qn_text_adds(&rule, "$");
        const int failed = rule.failed || json_object_set_new(rules, rule.s, json_object());
        qn_text_free(&rule);
        if (!failed) continue;
        json_decref(rules);
        return NULL;
    }
    return rules;
}

/* transformers utils/quantization_config.py, GPTQConfig; GPTQModel. */
static json_t *gptq(const qn_quantization *q)
{
    json_t *o = json_pack("{s: i, s: s, s: b, s: I, s: b, s: {s: [s]}, s: s, s: s, s: b}", "bits",
                          (int)q->bits, "checkpoint_format", "gptq", "desc_act", 0, "group_size",
                          q->group ? (json_int_t)q->group : (json_int_t)-1, "lm_head", (int)q->head,
                          "meta", "quantizer", q->tool, "pack_dtype", "int32", "quant_method",
                          "gptq", "sym", (int)!q->asymmetric);
    if (o && q->n_kept && json_object_set_new(o, "dynamic", left_alone(q))) {
        json_decref(o);
        return NULL;
    }
    return o;
}

/* transformers utils/quantization_config.py, AwqConfig. */
static json_t *awq(const qn_quantization *q)
{
    return json_pack("{s: i, s: I, s: o, s: s, s: s, s: b}", "bits", (int)q->bits, "group_size",
                     q->group ? (json_int_t)q->group : (json_int_t)-1, "modules_to_not_convert",
                     q->n_kept ? kept_modules(q, true) : json_null(), "quant_method", "awq",
                     "version", "gemm", "zero_point", 1);
}

/* mlx-lm utils.py, quantize_model: what is not packed has no scales, and is
 * told by that. */
static json_t *mlx(const qn_quantization *q)
{
    return json_pack("{s: I, s: i, s: s}", "group_size", (json_int_t)q->group, "bits", (int)q->bits,
                     "mode", "affine");
}

/* mlx-lm's models read rope_theta and rope_scaling, not the rope_parameters that
 * transformers 5 writes, and go on without a word when there are none. */
static int spell_rope(json_t *o)
{
    json_t *rope = json_object_get(o, "rope_parameters");
    json_t *theta = json_object_get(rope, "rope_theta");
    const char *type = json_string_value(json_object_get(rope, "rope_type"));
    if (!json_is_number(theta) || json_object_get(o, "rope_theta")) return 0;
    if (json_object_set(o, "rope_theta", theta)) return -1;
    if (!type || !strcmp(type, "default") || json_object_get(o, "rope_scaling")) return 0;
    json_t *scaling = json_copy(rope);
    if (!scaling) return -1;
    json_object_del(scaling, "rope_theta");
    return json_object_set_new(o, "rope_scaling", scaling);
}

static int spell_for_mlx(json_t *root, json_t *quantization)
{
    json_t *text = json_object_get(root, "text_config");
    return json_object_set(root, "quantization", quantization) || spell_rope(root) ||
           (text && spell_rope(text));
}

qn_status qn_quantization_set(json_t *root, const qn_quantization *q, qn_error *err)
{
    static json_t *(*const makers[])(const qn_quantization *) = {
        [QN_PACK_COMPRESSED_TENSORS] = compressed_tensors,
        [QN_PACK_GPTQ] = gptq,
        [QN_PACK_AWQ] = awq,
        [QN_PACK_MLX] = mlx,
    };
    json_object_del(root, "quantization");
    json_object_del(root, "quantization_config");
    json_t *o = makers[q->format](q);
    if (!o) return qn_fail_memory(err, "config.json");
    if (q->format == QN_PACK_MLX && spell_for_mlx(root, o)) {
        json_decref(o);
        return qn_fail_memory(err, "config.json");
    }
    if (json_object_set_new(root, "quantization_config", o))
        return qn_fail_memory(err, "config.json");
    return QN_OK;
}
