#include "tools/prompt.h"

#include "formats/base/alloc.h"
#include "tools/text_input.h"

bool qn_prompt_is_one(const qn_common *c, const qn_prompt *p)
{
    if (!!p->ids + !!p->prompt + !!p->file <= 1) return true;
    qn_usage(c, "the text comes from --ids, -p or -f: only one of them");
    return false;
}

static qn_status encode(const qn_prompt *p, const qn_loaded *l, uint32_t **ids, size_t *n,
                        qn_error *err)
{
    qn_text text = {0};
    const qn_encode_options how = {.add_special = !p->no_bos, .parse_special = p->parse_special};
    qn_status status = qn_text_from(p->prompt, p->file, &text, err);
    if (!status)
        status = qn_encode_text(l, qn_str_of(text.s ? text.s : "", text.n), how, ids, n, err);
    qn_text_free(&text);
    return status;
}

qn_status qn_prompt_ids(const qn_prompt *p, const qn_loaded *l, uint32_t **ids, size_t *n,
                        qn_error *err)
{
    uint32_t *list = NULL;
    size_t count = 0;
    const qn_status status = p->ids ? qn_ids_from_text(qn_str_z(p->ids), &list, &count, err)
                                    : encode(p, l, &list, &count, err);
    if (status) return status;
    if (!count) {
        qn_free(list);
        return qn_fail(err, QN_ERR_ARGUMENT, "the prompt is empty");
    }
    *ids = list;
    *n = count;
    return QN_OK;
}
