/* A and B of parameters that hold all experts of a layer (PEFT's
 * target_parameters): gate_up_proj [experts, 2 width, hidden] and down_proj
 * [experts, hidden, width] of transformers' modules, whether the checkpoint has
 * them so or one by one.
 *
 *     A [experts * rank, in]     expert e has rows e * rank ...
 *     B [out, rank * experts]    and columns e, e + experts, ...
 *
 * (peft/tuners/lora/layer.py, ParamWrapper.get_delta_weight).  The names of A and
 * B do not say which of the two parameters they are for; their shapes do. */
#include "formats/lora/adapter.h"

typedef struct {
    const qn_adapter *a;
    qn_str module;
    const qn_tensor *first, *second; /* A, B */
    uint64_t experts, rank;
    double scale;
} pair;

static bool fits(const pair *p, uint64_t out, uint64_t in)
{
    return p->first->dims[1] == in && p->second->dims[0] == out;
}

static qn_status read_scale(pair *p, const char *parameter, qn_error *err)
{
    const qn_status status =
        qn_lora_config_scaling(&p->a->config, p->module, parameter, &p->rank, &p->scale, err);
    if (status) return status;
    p->scale *= p->a->scale;
    return qn_adapter_check_ranks(p->a, p->first, p->second, p->rank, p->experts, err);
}

/* B A of expert e, from its row `from` on, onto t; or of all from e on, onto t's
 * groups. */
static qn_status add_expert(const pair *p, uint64_t e, uint64_t from, const qn_tensor *t,
                            bool transposed, qn_error *err)
{
    const uint64_t in = p->first->dims[1], step = p->second->dims[1];
    const qn_lora_factor first = {p->first, e * p->rank * in, 1, in, p->rank * in};
    const qn_lora_factor second = {p->second, e + from * step, step, p->experts, 1};
    const qn_lora_change c = {.rank = p->rank,
                              .scale = p->scale,
                              .left = transposed ? first : second,
                              .right = transposed ? second : first};
    return qn_adapter_note(p->a, t, &c, err);
}

/* ---- in one tensor -------------------------------------------------------------------- */

/* Whether A and B are for t, [experts, out, in] or, where the module has them so,
 * [experts, in, out]. */
static bool fits_stack(const pair *p, const qn_tensor *t, bool *transposed)
{
    const bool plain = fits(p, t->dims[1], t->dims[2]);
    const bool turned = !p->a->targets->family && fits(p, t->dims[2], t->dims[1]);
    *transposed = turned;
    return plain || turned;
}

static qn_status add_stack(pair *p, const char *parameter, const qn_tensor *t, bool transposed,
                           qn_error *err)
{
    p->experts = t->dims[0];
    qn_status status = read_scale(p, parameter, err);
    if (!status && transposed && t->dims[1] == t->dims[2])
        return qn_fail(err, QN_ERR_UNSUPPORTED,
                       "%s: \"%s\": whether the experts of \"%s\" are transposed shows neither in "
                       "their shape nor, without a family, in their name",
                       qn_adapter_path(p->a), p->first->name, t->name);
    return status ? status : add_expert(p, 0, 0, t, transposed, err);
}

/* ---- one by one ------------------------------------------------------------------------ */

static const qn_tensor *expert(const pair *p, uint64_t e, qn_lora_expert_part part)
{
    return qn_lora_expert_target(p->a->targets, p->module, e, part);
}

/* Expert e's rows from `from` on, for one of its matrices [out, in]. */
static qn_status add_part(const pair *p, uint64_t e, qn_lora_expert_part part, uint64_t from,
                          uint64_t out, uint64_t in, qn_error *err)
{
    const qn_tensor *t = expert(p, e, part);
    if (!t) return qn_adapter_no_place(p->a, p->first, err);
    if (t->rank != 2 || t->dims[0] != out || t->dims[1] != in)
        return qn_adapter_wrong_shape(p->a, p->first, t, err);
    return add_expert(p, e, from, t, false, err);
}

static qn_status add_each(pair *p, const qn_tensor *down, qn_error *err)
{
    const uint64_t hidden = down->dims[0], width = down->dims[1];
    const bool is_down = fits(p, hidden, width);
    if (!is_down && !fits(p, 2 * width, hidden))
        return qn_adapter_wrong_shape(p->a, p->first, down, err);
    while (expert(p, p->experts, QN_EXPERT_DOWN)) p->experts++;
    qn_status status = read_scale(p, is_down ? "down_proj" : "gate_up_proj", err);
    for (uint64_t e = 0; e < p->experts && !status; e++) {
        if (is_down) {
            status = add_part(p, e, QN_EXPERT_DOWN, 0, hidden, width, err);
            continue;
        }
        status = add_part(p, e, QN_EXPERT_GATE, 0, width, hidden, err);
        if (!status) status = add_part(p, e, QN_EXPERT_UP, width, width, hidden, err);
    }
    return status;
}

qn_status qn_adapter_experts(const qn_adapter *a, qn_str module, const qn_tensor *left,
                             const qn_tensor *right, qn_error *err)
{
    static const char *const parameters[] = {"gate_up_proj", "down_proj"};
    pair p = {.a = a, .module = module, .first = left, .second = right};
    const qn_tensor *stack = NULL;
    bool transposed;
    if (a->config.dora)
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: \"%s\": DoRA of experts, which PEFT lacks",
                       qn_adapter_path(a), left->name);
    if (left->rank != 2 || right->rank != 2) return qn_adapter_no_place(a, left, err);
    for (int i = 0; i < 2; i++) {
        const qn_tensor *t = qn_lora_target(a->targets, module, parameters[i]);
        if (!t || t->rank != 3 || !t->dims[0]) continue;
        stack = t;
        if (fits_stack(&p, t, &transposed)) return add_stack(&p, parameters[i], t, transposed, err);
    }
    if (stack) return qn_adapter_wrong_shape(a, left, stack, err);
    const qn_tensor *down = expert(&p, 0, QN_EXPERT_DOWN);
    if (!down || down->rank != 2) return qn_adapter_no_place(a, left, err);
    return add_each(&p, down, err);
}
