/* The files beside an exported model.safetensors. */
#include <stdlib.h>
#include <string.h>

#include "formats/base/outfile.h"
#include "formats/carry.h"
#include "formats/export.h"
#include "formats/general_keys.h"
#include "formats/hf_config.h"
#include "formats/packed/scheme.h"

enum { MOST_BYTES = 256 << 20 }; /* of a file that is copied */

static qn_status write_file(const char *dir, const char *name, const char *bytes, size_t n,
                            qn_error *err)
{
    char *path = qn_path_join(dir, name);
    const qn_status status =
        path ? qn_outfile_whole(path, bytes, n, false, err) : qn_fail_memory(err, name);
    qn_free(path);
    return status;
}

/* *there is false, with QN_OK, when there is no such file to copy. */
static qn_status copy_file(const char *from, const char *dir, const char *name, bool *there,
                           qn_error *err)
{
    char *path = qn_path_join(from, name), *bytes = NULL;
    size_t n = 0;
    qn_status status = path ? QN_OK : qn_fail_memory(err, name);
    if (!status && (*there = qn_path_exists(path))) {
        status = qn_read_file(path, MOST_BYTES, &bytes, &n, err);
        if (!status) status = write_file(dir, name, bytes, n, err);
    }
    qn_free(bytes);
    qn_free(path);
    return status;
}

/* ---- config.json ------------------------------------------------------------------------ */

static const char *dtype_name(qn_outtype t)
{
    switch (t) {
    case QN_OUT_F32: return "float32";
    case QN_OUT_BF16: return "bfloat16";
    case QN_OUT_AUTO:
    case QN_OUT_F16:
    case QN_OUT_Q8_0: return "float16";
    }
    return "float16";
}

/* The checkpoint's own, but for the type of its tensors, which are no longer
 * packed. */
static qn_status own_config(const qn_model *m, qn_outtype t, json_t **out, qn_error *err)
{
    qn_hf_config *c = NULL;
    qn_status status = qn_hf_config_open(&c, m->directory, err);
    if (status) return status;
    qn_packing_forget(c->root);
    const char *key = json_object_get(c->root, "dtype") ? "dtype" : "torch_dtype";
    if (json_object_set_new(c->root, key, json_string(dtype_name(t))))
        status = qn_fail_memory(err, "config.json");
    if (!status) status = qn_carry_vocabulary(m, c->root, err);
    if (!status) *out = json_incref(c->root);
    qn_hf_config_close(c);
    return status;
}

/* As gpt-oss's releases have it. */
static qn_status say_packed(json_t *o, qn_error *err)
{
    json_t *said = json_pack("{s:s,s:[s,s,s,s]}", "quant_method", "mxfp4", "modules_to_not_convert",
                             "model.layers.*.self_attn", "model.layers.*.mlp.router",
                             "model.embed_tokens", "lm_head");
    return json_object_set_new(o, "quantization_config", said) ? qn_fail_memory(err, "config.json")
                                                               : QN_OK;
}

qn_status qn_export_made_config(const qn_model *m, qn_outtype t, json_t **out, qn_error *err)
{
    if (m->hparams.rope_scaling == QN_ROPE_LLAMA3 && m->hparams.rope_low_freq == 0)
        return qn_fail(err, QN_ERR_UNSUPPORTED,
                       "%s: the divisors in rope_freqs.weight follow no llama3 rule that "
                       "config.json could state",
                       m->path);
    json_t *o = NULL;
    qn_status status = qn_hf_config_make(m->family, &m->hparams, m->path, dtype_name(t), &o, err);
    if (status) return status;
    if (m->vocab) status = qn_vocab_config_ids(m->vocab, o, err);
    if (!status && qn_export_has_packed(m)) status = say_packed(o, err);
    if (status)
        json_decref(o);
    else
        *out = o;
    return status;
}

static qn_status write_config(const qn_model *m, const char *dir, qn_outtype t, qn_error *err)
{
    /* Nine digits tell every float32 apart, seventeen every double. */
    const size_t precision = m->from_gguf ? JSON_REAL_PRECISION(9) : JSON_REAL_PRECISION(17);
    json_t *config = NULL;
    qn_status status =
        m->from_gguf ? qn_export_made_config(m, t, &config, err) : own_config(m, t, &config, err);
    if (status) return status;
    char *text = json_dumps(config, JSON_INDENT(2) | precision);
    json_decref(config);
    status = text ? write_file(dir, "config.json", text, strlen(text), err)
                  : qn_fail_memory(err, "config.json");
    free(text); /* jansson's own */
    return status;
}

/* ---- from GGUF's keys ---------------------------------------------------------------------- */

static qn_status put(void *ctx, const char *name, qn_str text, qn_error *err)
{
    const char *const *dir = ctx;
    return write_file(*dir, name, text.s, text.n, err);
}

static qn_status write_generation(const qn_model *m, const char *dir, qn_error *err)
{
    json_t *o = json_object();
    qn_status status = o ? qn_vocab_generation_ids(m->vocab, o, err)
                         : qn_fail_memory(err, "generation_config.json");
    if (!status) status = qn_general_sampling(m->metadata, o, err);
    char *text = status ? NULL : json_dumps(o, JSON_INDENT(2));
    if (!status && !text) status = qn_fail_memory(err, "generation_config.json");
    if (!status && json_object_size(o))
        status = write_file(dir, "generation_config.json", text, strlen(text), err);
    free(text); /* jansson's own */
    json_decref(o);
    return status;
}

qn_status qn_export_vocabulary(const qn_model *m, const char *dir, qn_error *err)
{
    const qn_status status = qn_vocab_to_directory(m->vocab, m->path, put, &dir, err);
    return status ? status : write_generation(m, dir, err);
}

qn_status qn_export_check(const qn_model *m, qn_outtype outtype, qn_error *err)
{
    json_t *config = NULL;
    if (!m->from_gguf || !m->family) return QN_OK;
    const qn_status status = qn_export_made_config(m, outtype, &config, err);
    json_decref(config);
    if (status || !m->vocab) return status;
    return qn_vocab_to_directory(m->vocab, m->path, NULL, NULL, err);
}

/* ---- all ----------------------------------------------------------------------------------- */

qn_status qn_export_files(const qn_model *m, const char *dir, qn_outtype outtype, bool *tokenizer,
                          qn_error *err)
{
    qn_status status = QN_OK;
    *tokenizer = false;
    if (m->family) status = write_config(m, dir, outtype, err);
    if (!status && m->from_gguf && m->family && m->vocab) {
        status = qn_export_vocabulary(m, dir, err);
        *tokenizer = !status;
    }
    if (m->from_gguf || m->generic) return status;
    bool there = false;
    for (size_t i = 0; qn_tokenizer_files[i] && !status; i++) {
        const char *from = qn_carry_source(m, qn_tokenizer_files[i]);
        if (!from) continue;
        status = copy_file(from, dir, qn_tokenizer_files[i], &there, err);
        *tokenizer |=
            there && (!strncmp(qn_tokenizer_files[i], "tokenizer.", strlen("tokenizer.")) ||
                      !strcmp(qn_tokenizer_files[i], "vocab.json"));
    }
    if (status) return status;
    return copy_file(m->directory, dir, "generation_config.json", &there, err);
}
