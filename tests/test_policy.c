/* Plans by hand: what llama-quantize's lists (test_mixes.c) do not show. */
#include "quant/policy.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/made_model.h"
#include "tests/support/run.h"

static const uint64_t square[] = {256, 256};

static qn_plan *plan_of(const qn_model *m, const qn_quantize_options *o)
{
    qn_plan *p = NULL;
    qn_error err;
    ck_assert_msg(qn_plan_quantize(&p, m, o, &err) == QN_OK, "%s", err.message);
    return p;
}

START_TEST(tensors_come_by_block_number_then_by_name)
{
    static const char *const given[] = {"blk.10.a.weight", "blk.2.b.weight", "output.weight",
                                        "blk.2.a.weight", "Output.weight"};
    static const char *const expected[] = {"Output.weight", "output.weight", "blk.2.a.weight",
                                           "blk.2.b.weight", "blk.10.a.weight"};
    qn_model *m = made_model_new("llama");
    for (int i = 0; i < 5; i++) made_model_add(m, given[i], QN_F32, 2, square, NULL);
    qn_plan *p = plan_of(m, &(qn_quantize_options){.mix = qn_mix_by_name("Q8_0")});
    for (int i = 0; i < 5; i++) ck_assert_str_eq(p->entries[i].tensor->name, expected[i]);
    qn_plan_free(p);
    made_model_free(m);
}
END_TEST

START_TEST(a_block_number_is_what_stands_behind_blk)
{
    ck_assert_int_eq(qn_policy_block("blk.0.attn_q.weight"), 0);
    ck_assert_int_eq(qn_policy_block("blk.127.ffn_up.weight"), 127);
    ck_assert_int_eq(qn_policy_block("blk..weight"), -1);
    ck_assert_int_eq(qn_policy_block("blk.-1.weight"), -1);
    ck_assert_int_eq(qn_policy_block("v.blk.3.weight"), -1);
    ck_assert_int_gt(qn_policy_block("blk.99999999999999999999999999.weight"), INT32_MAX);
}
END_TEST

START_TEST(what_is_no_matrix_of_weights_is_kept)
{
    /* from the list in llama-quant.cpp, tensor_allows_quantization */
    static const char *const names[] = {"blk.0.attn_norm.weight",
                                        "blk.0.ffn_gate_inp.weight",
                                        "position_embd.weight",
                                        "blk.0.altup_proj.weight",
                                        "blk.0.laurel_l.weight",
                                        "per_layer_model_proj.weight",
                                        "token_types.weight",
                                        "blk.0.ssm_conv1d.weight",
                                        "blk.0.shortconv.conv.weight",
                                        "blk.0.indexer.k_proj.weight",
                                        "blk.0.attn_rel_b.weight",
                                        "v.position_embd.weight",
                                        "blk.0.time_mix_w1.weight",
                                        "v.patch_embd.weight",
                                        "blk.0.attn_q.bias",
                                        "blk.0.time_mix_lerp_fused.weight",
                                        "v.patch_merger.weight",
                                        "a.rvq.codebook.weight",
                                        "blk.0.ffn_gate_tid2eid.weight"};
    enum { N = sizeof names / sizeof *names };
    static const uint64_t vector[] = {1, 1, 256};
    qn_model *m = made_model_new("llama");
    for (int i = 0; i < N; i++) made_model_add(m, names[i], QN_BF16, 2, square, NULL);
    made_model_add(m, "blk.0.attn_q.weight", QN_BF16, 3, vector, NULL);
    qn_plan *p = plan_of(m, &(qn_quantize_options){.mix = qn_mix_by_name("Q4_K_M")});
    for (size_t i = 0; i < p->n; i++) {
        const qn_plan_entry *e = &p->entries[i];
        ck_assert_msg(e->dtype == QN_BF16 && e->copy && !e->fallback, "%s", e->tensor->name);
        ck_assert_msg(strstr(e->reason, "kept") != NULL, "%s: %s", e->tensor->name, e->reason);
    }
    qn_plan_free(p);
    made_model_free(m);
}
END_TEST

START_TEST(a_fallback_is_flagged_and_names_both_types)
{
    static const uint64_t odd[] = {4, 4095}, half[] = {4, 576};
    qn_model *m = made_model_new("llama");
    made_model_add(m, "blk.0.attn_q.weight", QN_F32, 2, odd, NULL);
    made_model_add(m, "blk.1.attn_q.weight", QN_F32, 2, half, NULL);
    made_model_add(m, "blk.2.attn_q.weight", QN_F32, 2, square, NULL);
    qn_plan *p = plan_of(m, &(qn_quantize_options){.mix = qn_mix_by_name("Q4_K_M")});
    ck_assert(p->entries[0].fallback && p->entries[1].fallback && !p->entries[2].fallback);
    ck_assert_str_eq(p->entries[0].reason, "4095 columns: F16 instead of Q4_K");
    ck_assert_str_eq(p->entries[1].reason, "576 columns: Q5_0 instead of Q4_K");
    ck_assert_str_eq(p->entries[2].reason, "mix: Q4_K");
    qn_plan_free(p);
    made_model_free(m);
}
END_TEST

START_TEST(quantizing_twice_needs_permission)
{
    qn_model *m = made_model_new("llama");
    made_model_add(m, "blk.0.attn_k.weight", QN_Q4_0, 2, square, NULL);
    made_model_add(m, "blk.0.attn_q.weight", QN_Q8_0, 2, square, NULL);
    qn_quantize_options o = {.mix = qn_mix_by_name("Q4_0")};
    qn_plan *p = NULL;
    qn_error err;
    ck_assert_int_eq(qn_plan_quantize(&p, m, &o, &err), QN_ERR_ARGUMENT);
    ck_assert_ptr_null(p);
    ck_assert_str_eq(err.message, "made.gguf: \"blk.0.attn_q.weight\" is quantized already, to "
                                  "Q8_0; making it Q4_0 needs --allow-requantize");
    o.allow_requantize = true;
    p = plan_of(m, &o);
    ck_assert(p->entries[0].copy && !p->entries[1].copy);
    qn_plan_free(p);
    made_model_free(m);
}
END_TEST

START_TEST(a_generic_tensor_needs_no_name)
{
    static const uint64_t vector[] = {256};
    qn_model *m = made_model_new("generic");
    made_model_add(m, "anything", QN_F32, 2, square, NULL);
    made_model_add(m, "blk.0.attn_norm.weight", QN_F32, 2, square, NULL);
    made_model_add(m, "counts", QN_I32, 2, square, NULL);
    made_model_add(m, "vector", QN_F32, 1, vector, NULL);
    qn_plan *p = plan_of(m, &(qn_quantize_options){.mix = qn_mix_by_name("Q4_K_M")});
    static const qn_dtype expected[] = {QN_Q4_K, QN_I32, QN_F32, QN_Q4_K};
    for (int i = 0; i < 4; i++) ck_assert_int_eq(p->entries[i].dtype, expected[i]);
    qn_plan_free(p);
    made_model_free(m);
}
END_TEST

START_TEST(a_type_that_gguf_does_not_have_is_refused)
{
    qn_model *m = made_model_new("generic");
    made_model_add(m, "mask", QN_BOOL, 2, square, NULL);
    qn_plan *p = NULL;
    qn_error err;
    qn_quantize_options o = {.mix = qn_mix_by_name("Q8_0")};
    ck_assert_int_eq(qn_plan_quantize(&p, m, &o, &err), QN_ERR_UNSUPPORTED);
    ck_assert_str_eq(err.message, "made.gguf: \"mask\" is BOOL, a type that GGUF does not have");
    made_model_free(m);
}
END_TEST

START_TEST(a_type_asked_for_that_does_not_fit_is_refused)
{
    static const uint64_t odd[] = {4, 100};
    qn_model *m = made_model_new("llama");
    made_model_add(m, "output.weight", QN_F32, 2, odd, NULL);
    const qn_dtype asked = QN_Q6_K;
    qn_plan *p = NULL;
    qn_error err;
    qn_quantize_options o = {.mix = qn_mix_by_name("Q8_0"), .output_type = &asked};
    ck_assert_int_eq(qn_plan_quantize(&p, m, &o, &err), QN_ERR_ARGUMENT);
    ck_assert_str_eq(err.message, "made.gguf: \"output.weight\": 100 columns are not whole blocks "
                                  "of Q6_K (256)");
    made_model_free(m);
}
END_TEST

/* ---- metadata ----------------------------------------------------------------- */

static void set_u32(qn_model *m, const char *key, uint32_t v)
{
    ck_assert_int_eq(qn_metadata_set_u32(m->metadata, key, v, NULL), QN_OK);
}

static uint64_t number_in(const qn_plan *p, const char *key)
{
    uint64_t v = 0;
    ck_assert_int_eq(qn_metadata_u64(p->metadata, key, &v, NULL, NULL), QN_OK);
    return v;
}

START_TEST(version_and_file_type_go_to_the_end_and_split_keys_away)
{
    static const char *const expected[] = {"general.architecture", "general.name", "last.key",
                                           "general.quantization_version", "general.file_type"};
    qn_model *m = made_model_new("llama");
    set_u32(m, "general.file_type", 1);
    set_u32(m, "general.name", 7);
    set_u32(m, "split.no", 0);
    set_u32(m, "general.quantization_version", 1);
    set_u32(m, "split.count", 0);
    set_u32(m, "split.tensors.count", 1);
    set_u32(m, "last.key", 3);
    qn_plan *p = plan_of(m, &(qn_quantize_options){.mix = qn_mix_by_name("Q5_K_S")});
    ck_assert_uint_eq(qn_metadata_count(p->metadata), 5);
    for (size_t i = 0; i < 5; i++)
        ck_assert(qn_str_is(qn_metadata_at(p->metadata, i)->key, expected[i]));
    ck_assert_uint_eq(number_in(p, "general.quantization_version"), 2);
    ck_assert_uint_eq(number_in(p, "general.file_type"), 16);
    ck_assert_uint_eq(p->align, 32);
    qn_plan_free(p);
    made_model_free(m);
}
END_TEST

START_TEST(the_alignment_key_agrees_with_the_alignment)
{
    /* the file's key, --align, what comes out; 0: no key */
    static const struct {
        uint64_t stored, asked, key, align;
    } cases[] = {{0, 0, 0, 32},   {0, 16384, 16384, 16384}, {64, 0, 64, 64}, {64, 32, 0, 32},
                 {32, 0, 32, 32}, {64, 4096, 4096, 4096},   {4, 0, 0, 32},   {0, 32, 0, 32}};
    qn_model *m = made_model_new("llama");
    if (cases[_i].stored) set_u32(m, "general.alignment", (uint32_t)cases[_i].stored);
    qn_plan *p =
        plan_of(m, &(qn_quantize_options){.mix = qn_mix_by_name("Q8_0"), .align = cases[_i].asked});
    ck_assert_uint_eq(p->align, cases[_i].align);
    if (cases[_i].key)
        ck_assert_uint_eq(number_in(p, "general.alignment"), cases[_i].key);
    else
        ck_assert_ptr_null(qn_metadata_find(p->metadata, "general.alignment"));
    qn_plan_free(p);
    made_model_free(m);
}
END_TEST

START_TEST(an_alignment_that_is_no_power_of_two_is_refused)
{
    static const uint64_t bad[] = {1, 4, 33, 48, UINT64_C(1) << 32, UINT64_MAX};
    qn_model *m = made_model_new("llama");
    qn_plan *p = NULL;
    qn_error err;
    qn_quantize_options o = {.mix = qn_mix_by_name("Q8_0"), .align = bad[_i]};
    ck_assert_int_eq(qn_plan_quantize(&p, m, &o, &err), QN_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "power of two"));
    made_model_free(m);
}
END_TEST

START_TEST(a_plan_without_memory_says_so_and_leaks_nothing)
{
    qn_model *m = made_model_new("llama");
    for (unsigned i = 0; i < 16; i++) {
        char name[32];
        snprintf(name, sizeof name, "blk.%u.attn_v.weight", i);
        made_model_add(m, name, QN_F32, 2, square, NULL);
    }
    unsigned long n = 1;
    for (;; n++) {
        qn_plan *p = NULL;
        qn_error err;
        qn_alloc_fail_at(n);
        qn_status status = qn_plan_quantize(
            &p, m, &(qn_quantize_options){.mix = qn_mix_by_name("Q4_K_M"), .align = 64}, &err);
        qn_alloc_fail_at(0);
        qn_plan_free(p);
        if (!status) break;
        ck_assert_int_eq(status, QN_ERR_MEMORY);
        ck_assert_ptr_null(p);
    }
    ck_assert_uint_gt(n, 3);
    made_model_free(m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("policy");
    TCase *t = tcase_create("rules");
    tcase_add_test(t, tensors_come_by_block_number_then_by_name);
    tcase_add_test(t, a_block_number_is_what_stands_behind_blk);
    tcase_add_test(t, what_is_no_matrix_of_weights_is_kept);
    tcase_add_test(t, a_fallback_is_flagged_and_names_both_types);
    tcase_add_test(t, quantizing_twice_needs_permission);
    tcase_add_test(t, a_generic_tensor_needs_no_name);
    tcase_add_test(t, a_type_that_gguf_does_not_have_is_refused);
    tcase_add_test(t, a_type_asked_for_that_does_not_fit_is_refused);
    suite_add_tcase(s, t);
    t = tcase_create("metadata");
    tcase_add_test(t, version_and_file_type_go_to_the_end_and_split_keys_away);
    tcase_add_loop_test(t, the_alignment_key_agrees_with_the_alignment, 0, 8);
    tcase_add_loop_test(t, an_alignment_that_is_no_power_of_two_is_refused, 0, 6);
    tcase_add_test(t, a_plan_without_memory_says_so_and_leaks_nothing);
    suite_add_tcase(s, t);
    return qn_test_run_suite(s);
}
