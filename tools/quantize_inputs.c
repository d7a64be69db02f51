#include "tools/quantize_inputs.h"

#include <string.h>

#include "quant/overrides.h"

static qn_status open_importance(const qn_importance_options *o, qn_importance **out, qn_error *err)
{
    if (!o->files->n) return QN_OK;
    const bool include = o->include->n > 0;
    const qn_texts *words = include ? o->include : o->exclude;
    const qn_status status = qn_importance_open(out, o->files->at, o->files->n, err);
    if (status || !words->n) return status;
    return qn_importance_filter(*out, words->at, words->n, include, err);
}

static qn_status read_rules(const qn_texts *texts, qn_type_rules *out, qn_error *err)
{
    qn_status status = QN_OK;
    for (size_t i = 0; !status && i < texts->n; i++)
        status = strcmp(texts->by[i], "tensor-type-file") != 0
                     ? qn_type_rules_add(out, texts->at[i], err)
                     : qn_type_rules_add_file(out, texts->at[i], err);
    return status;
}

static qn_status read_overrides(const qn_texts *texts, qn_metadata **out, qn_error *err)
{
    qn_status status = QN_OK;
    if (!(*out = qn_metadata_new())) return qn_fail_memory(err, "the metadata");
    for (size_t i = 0; !status && i < texts->n; i++)
        status = qn_override_add(*out, texts->at[i], err);
    return status;
}

qn_status qn_quantize_inputs_open(qn_quantize_inputs *in, const qn_importance_options *importance,
                                  const qn_texts *rules, const qn_texts *overrides, qn_error *err)
{
    qn_quantize_inputs made = {0};
    qn_status status = read_rules(rules, &made.rules, err);
    if (!status) status = read_overrides(overrides, &made.overrides, err);
    if (!status) status = open_importance(importance, &made.importance, err);
    if (status)
        qn_quantize_inputs_close(&made);
    else
        *in = made;
    return status;
}

void qn_quantize_inputs_close(qn_quantize_inputs *in)
{
    qn_importance_close(in->importance);
    qn_metadata_free(in->overrides);
    qn_type_rules_free(&in->rules);
    *in = (qn_quantize_inputs){0};
}
