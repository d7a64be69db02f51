/* A file of probabilities as quern compare's reference: does it fit what is compared? */
#include <string.h>

#include "formats/base/digest.h"
#include "formats/model_digest.h"
#include "tools/compare.h"

qn_status qn_compare_open_base(qn_compare_job *j, const char *path, qn_error *err)
{
    qn_compare_model *reference = j->models;
    reference->path = path;
    if (!qn_compact_base_is(path)) {
        if (qn_path_exists(path) && !qn_kld_base_is(path))
            return qn_fail(err, QN_ERR_DATA, "%s: is no base file", path);
        const qn_status status = qn_kld_base_open(&j->base, path, err);
        reference->bytes = j->base.map.size;
        return status;
    }
    const qn_status status = qn_compact_base_open(&j->compact, path, err);
    if (status) return status;
    reference->bytes = j->compact.map.size;
    memcpy(reference->digests.model, j->compact.of.model, sizeof reference->digests.model);
    memcpy(reference->digests.tokenizer, j->compact.of.tokenizer,
           sizeof reference->digests.tokenizer);
    return QN_OK;
}

static qn_status check_text(const qn_compare_job *j, const char *file, qn_error *err)
{
    char sha256[65];
    const qn_status status = qn_sha256_file(file, sha256, err);
    if (status || !strcmp(sha256, j->compact.of.text)) return status;
    return qn_fail(err, QN_ERR_DATA,
                   "%s: is of another text than %s (SHA-256 %.12s..., not %.12s...)",
                   j->models->path, file, j->compact.of.text, sha256);
}

static qn_status check_model(const qn_compare_job *j, const char *path, qn_error *err)
{
    const qn_model_options how = {.family = j->o->families.n ? j->o->families.at[0] : NULL,
                                  .no_vocab = true};
    char digest[65];
    qn_model *m = NULL;
    qn_status status = qn_model_open(&m, path, &how, err);
    if (!status) status = qn_model_digest(m, qn_kernels_best(), digest, err);
    qn_model_close(m);
    if (status || !strcmp(digest, j->compact.of.model)) return status;
    return qn_fail(err, QN_ERR_DATA,
                   "%s: is of another model than %s (digest %.12s..., not %.12s...)",
                   j->models->path, path, j->compact.of.model, digest);
}

qn_status qn_compare_check_base(const qn_compare_job *j, qn_error *err)
{
    const qn_compare_options *o = j->o;
    const qn_compact_base *b = &j->compact;
    const char *path = j->models->path;
    if (o->n_ctx && o->n_ctx != b->n_ctx)
        return qn_fail(err, QN_ERR_DATA, "%s: has windows of %zu tokens, --ctx-size is %zu", path,
                       b->n_ctx, (size_t)o->n_ctx);
    for (size_t m = 1; m < j->n_models; m++) {
        const char *digest = j->models[m].digests.tokenizer;
        if (strcmp(digest, b->of.tokenizer) != 0)
            return qn_fail(err, QN_ERR_DATA,
                           "%s: is of another tokenizer than %s (digest %.12s..., not %.12s...)",
                           path, j->models[m].path, b->of.tokenizer, digest);
    }
    const qn_status status = o->files.n ? check_text(j, o->files.at[0], err) : QN_OK;
    return status || !o->base_model ? status : check_model(j, o->base_model, err);
}
