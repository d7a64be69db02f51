#include "quant/tensor_kind.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static const char *const kind_names[QN_KIND_COUNT] = {
    [QN_KIND_OTHER] = "other",
    [QN_KIND_OUTPUT] = "output",
    [QN_KIND_EMBEDDING] = "token embedding",
    [QN_KIND_ATTN_V] = "attn_v",
    [QN_KIND_ATTN_K] = "attn_k",
    [QN_KIND_ATTN_Q] = "attn_q",
    [QN_KIND_ATTN_OUTPUT] = "attn_output",
    [QN_KIND_FFN_UP] = "ffn_up",
    [QN_KIND_FFN_GATE] = "ffn_gate",
    [QN_KIND_FFN_DOWN] = "ffn_down",
    [QN_KIND_LOW_RANK_Q] = "attn_q",
};

typedef enum { IS, CONTAINS } match_kind;

static bool matches(const char *name, match_kind kind, const char *text)
{
    return kind == IS ? !strcmp(name, text) : strstr(name, text) != NULL;
}

qn_tensor_kind qn_tensor_kind_of(const char *name)
{
    static const struct {
        const char *text;
        match_kind match;
        qn_tensor_kind kind;
    } names[] = {
        {"output.weight", IS, QN_KIND_OUTPUT},
        {"token_embd.weight", IS, QN_KIND_EMBEDDING},
        {"per_layer_token_embd.weight", IS, QN_KIND_EMBEDDING},
        {"attn_qkv.weight", CONTAINS, QN_KIND_ATTN_V},
        {"attn_kv_b.weight", CONTAINS, QN_KIND_ATTN_V},
        {"attn_v.weight", CONTAINS, QN_KIND_ATTN_V},
        {"attn_k.weight", CONTAINS, QN_KIND_ATTN_K},
        {"attn_q.weight", CONTAINS, QN_KIND_ATTN_Q},
        {"attn_output.weight", CONTAINS, QN_KIND_ATTN_OUTPUT},
        {"ffn_up", CONTAINS, QN_KIND_FFN_UP},
        {"ffn_gate", CONTAINS, QN_KIND_FFN_GATE},
        {"ffn_down", CONTAINS, QN_KIND_FFN_DOWN},
        {"attn_q_a", CONTAINS, QN_KIND_LOW_RANK_Q},
        {"attn_q_b", CONTAINS, QN_KIND_LOW_RANK_Q},
        {"nextn.eh_proj", CONTAINS, QN_KIND_LOW_RANK_Q},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (matches(name, names[i].match, names[i].text)) return names[i].kind;
    return QN_KIND_OTHER;
}

const char *qn_tensor_kind_name(qn_tensor_kind kind)
{
    return kind_names[kind];
}

/* ---- what is left alone ------------------------------------------------------- */

typedef struct {
    match_kind match;
    const char *text, *why;
} kept_name;

static const kept_name kept_everywhere[] = {
    {CONTAINS, "_norm.weight", "norm"},
    {CONTAINS, "ffn_gate_inp.weight", "router"},
    {CONTAINS, "ffn_gate_tid2eid.weight", "routing table"},
    {CONTAINS, "altup", "small"},
    {CONTAINS, "laurel", "small"},
    {CONTAINS, "per_layer_model_proj", "small"},
    {IS, "position_embd.weight", "positions"},
    {IS, "token_types.weight", "token types"},
    {CONTAINS, "ssm_conv1d", "convolution"},
    {CONTAINS, "shortconv.conv.weight", "convolution"},
    {CONTAINS, "indexer.k_proj.weight", "small"},
    {CONTAINS, "indexer.q_proj.weight", "small"},
    {CONTAINS, "attn_rel_b.weight", "positions"},
    {CONTAINS, ".position_embd", "positions"},
    {CONTAINS, "sam.pos_embd", "positions"},
    {CONTAINS, "sam.neck.", "image encoder"},
    {CONTAINS, "sam.net_", "image encoder"},
    {CONTAINS, ".rel_pos", "positions"},
    {CONTAINS, ".patch_embd", "image patches"},
    {CONTAINS, ".patch_merger", "image patches"},
    {CONTAINS, "a.rvq.codebook", "codebook"},
    {CONTAINS, "mm.a.code_embd", "codebook"},
    {CONTAINS, "time_mix_first.weight", "small"},
    {CONTAINS, "time_mix_w0.weight", "small"},
    {CONTAINS, "time_mix_w1.weight", "small"},
    {CONTAINS, "time_mix_w2.weight", "small"},
    {CONTAINS, "time_mix_v0.weight", "small"},
    {CONTAINS, "time_mix_v1.weight", "small"},
    {CONTAINS, "time_mix_v2.weight", "small"},
    {CONTAINS, "time_mix_a0.weight", "small"},
    {CONTAINS, "time_mix_a1.weight", "small"},
    {CONTAINS, "time_mix_a2.weight", "small"},
    {CONTAINS, "time_mix_g1.weight", "small"},
    {CONTAINS, "time_mix_g2.weight", "small"},
    {CONTAINS, "time_mix_decay_w1.weight", "small"},
    {CONTAINS, "time_mix_decay_w2.weight", "small"},
    {CONTAINS, "time_mix_lerp_fused.weight", "small"},
};

static const kept_name kept_in_glm5_next[] = {
    {CONTAINS, "hc_", "small"},
    {CONTAINS, "indexer.attn_q_b", "small"},
    {CONTAINS, "indexer.attn_k", "small"},
    {CONTAINS, "indexer.proj", "small"},
    {CONTAINS, "indexer_compressor_gate", "small"},
    {CONTAINS, "indexer_compressor_ape", "small"},
    {CONTAINS, "ssm_f_a.weight", "small"},
    {CONTAINS, "ssm_f_b.weight", "small"},
    {CONTAINS, "ssm_g_a.weight", "small"},
    {CONTAINS, "ssm_g_b.weight", "small"},
    {CONTAINS, "ssm_beta.weight", "small"},
    {CONTAINS, "attn_kv_a_mqa.weight", "small"},
    {CONTAINS, "attn_k_b.weight", "small"},
    {CONTAINS, "attn_v_b.weight", "small"},
};

static const char *find_kept(const kept_name *names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (matches(name, names[i].match, names[i].text)) return names[i].why;
    return NULL;
}

const char *qn_tensor_name_kept(const char *name, const char *architecture)
{
    static const char suffix[] = "weight";
    const size_t n = strlen(name), n_suffix = sizeof suffix - 1;
    if (n < n_suffix || strcmp(name + n - n_suffix, suffix) != 0) return "not a weight";
    const char *why =
        find_kept(kept_everywhere, sizeof kept_everywhere / sizeof *kept_everywhere, name);
    if (why || strcmp(architecture, "glm5-next") != 0) return why;
    return find_kept(kept_in_glm5_next, sizeof kept_in_glm5_next / sizeof *kept_in_glm5_next, name);
}
