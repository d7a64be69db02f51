#include "tools/loaded.h"

#include <string.h>

#include "formats/base/alloc.h"
#include "formats/families/family.h"
#include "formats/model_digest.h"

static qn_status from_directory_of(qn_loaded *l, const char *path, const qn_vocab_options *how,
                                   qn_error *err)
{
    char *directory = qn_path_parent(path);
    if (!directory) return qn_fail_memory(err, path);
    const qn_status status = qn_vocab_from_directory(&l->owned, directory, how, err);
    qn_free(directory);
    return status;
}

static qn_status load_vocab(qn_loaded *l, const char *path, const qn_load_options *options,
                            qn_error *err)
{
    qn_vocab_options how = {.pre = options->pre};
    const qn_family *family;
    qn_status status = qn_family_asked_for(options->family, &family, err);
    if (status) return status;
    if (family) how.model_type = family->model_types[0];
    if (qn_path_is_dir(path)) return qn_vocab_from_directory(&l->owned, path, &how, err);
    status = qn_reader_open(&l->reader, path, err);
    if (status) return status;
    if (!l->reader->gguf_version) return from_directory_of(l, path, &how, err);
    return qn_vocab_from_metadata(&l->owned, l->reader->metadata, path, err);
}

qn_status qn_load_tokenizer(qn_loaded *l, const char *path, const qn_load_options *options,
                            qn_error *err)
{
    qn_status status = load_vocab(l, path, options, err);
    if (status) return status;
    l->vocab = l->owned;
    return qn_tokenizer_new(&l->tokenizer, l->vocab, err);
}

qn_status qn_load_model(qn_loaded *l, const qn_common *c, const char *path,
                        const qn_load_options *options, qn_error *err)
{
    qn_activations activations = QN_ACTIVATIONS_EXACT;
    if (options->activations && !qn_activations_by_name(options->activations, &activations))
        return qn_fail(err, QN_ERR_ARGUMENT, "--activations %s is neither exact nor q8",
                       options->activations);
    qn_loras loras;
    qn_status status = qn_loras_read(&options->lora, &loras, err);
    if (status) return status;
    const qn_model_options how = {.family = options->family,
                                  .pre = options->pre,
                                  .adapters = loras.of,
                                  .n_adapters = loras.n};
    status = qn_model_open(&l->model, path, &how, err);
    qn_loras_free(&loras);
    if (status) return status;
    l->vocab = l->model->vocab;
    if (l->vocab)
        status = qn_tokenizer_new(&l->tokenizer, l->vocab, err);
    else
        status = qn_fail(err, QN_ERR_UNSUPPORTED, "%s: no tokenizer: %s", path, l->model->no_vocab);
    if (status && options->needs_text) return status;
    status = qn_decoder_new(&l->decoder, l->model, qn_kernels_best(), (int)c->threads, err);
    if (!status) qn_decoder_set_activations(l->decoder, activations);
    return status;
}

qn_status qn_digests_of(const qn_loaded *l, qn_digests *out, qn_error *err)
{
    *out = (qn_digests){0};
    const qn_status status = qn_model_digest(l->model, qn_kernels_best(), out->model, err);
    return status || !l->vocab ? status : qn_vocab_digest(l->vocab, out->tokenizer, err);
}

void qn_unload(qn_loaded *l)
{
    qn_decoder_free(l->decoder);
    qn_tokenizer_free(l->tokenizer);
    qn_vocab_free(l->owned);
    qn_reader_close(l->reader);
    qn_model_close(l->model);
}

qn_status qn_encode_text(const qn_loaded *l, qn_str text, qn_encode_options how, uint32_t **ids,
                         size_t *n, qn_error *err)
{
    uint32_t *list = NULL;
    size_t count = 0, capacity = 0;
    const qn_status status =
        qn_tokenizer_encode(l->tokenizer, text, how, &list, &count, &capacity, err);
    if (status) {
        qn_free(list);
        return status;
    }
    *ids = list;
    *n = count;
    return QN_OK;
}
