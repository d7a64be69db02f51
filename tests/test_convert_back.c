/* From checkpoint to GGUF and back: hyperparameters, values, names; and what a
 * GGUF file is refused, or not run, for. */
#include <stdio.h>
#include <string.h>

#include "formats/export.h"
#include "formats/hf_config.h"
#include "tests/support/checkpoint.h"
#include "tests/support/data.h"
#include "tests/support/files.h"
#include "tests/support/run.h"
#include "tests/support/write_model.h"

static const qn_model_options plain = {.no_vocab = true};

static qn_model *open_model(const char *path, const qn_model_options *options)
{
    qn_error err = {0};
    qn_model *m = NULL;
    ck_assert_msg(!qn_model_open(&m, path, options, &err), "%s", err.message);
    return m;
}

static qn_model *small_model(const checkpoint_shape *shape, const char *rope)
{
    char text[256];
    checkpoint c = checkpoint_make(shape);
    snprintf(text, sizeof text, "\"rope_scaling\": %s, \"hidden_act\"", rope);
    checkpoint_replace(&c.config, "\"hidden_act\"", text);
    qn_model *m = open_model(checkpoint_write(&c, "small"), &plain);
    checkpoint_free(&c);
    return m;
}

/* ---- hyperparameters both ways --------------------------------------------------------- */

static void same_hparams(const qn_hparams *a, const qn_hparams *b)
{
    ck_assert_uint_eq(a->n_vocab, b->n_vocab);
    ck_assert_uint_eq(a->n_ctx_train, b->n_ctx_train);
    ck_assert_uint_eq(a->n_layers, b->n_layers);
    ck_assert_uint_eq(a->hidden, b->hidden);
    ck_assert_uint_eq(a->feed_forward, b->feed_forward);
    ck_assert_uint_eq(a->n_heads, b->n_heads);
    ck_assert_uint_eq(a->n_kv_heads, b->n_kv_heads);
    ck_assert_uint_eq(a->head_dim, b->head_dim);
    ck_assert_uint_eq(a->value_dim, b->value_dim);
    ck_assert_double_eq(a->rms_eps, b->rms_eps);
    ck_assert_uint_eq(a->rope_dims, b->rope_dims);
    ck_assert_double_eq(a->rope_theta, b->rope_theta);
    ck_assert_int_eq(a->rope_scaling, b->rope_scaling);
    ck_assert_double_eq(a->rope_factor, b->rope_factor);
    ck_assert_double_eq(a->rope_low_freq, b->rope_low_freq);
    ck_assert_double_eq(a->rope_high_freq, b->rope_high_freq);
    ck_assert_uint_eq(a->rope_original_ctx, b->rope_original_ctx);
    ck_assert_double_eq(a->yarn_beta_fast, b->yarn_beta_fast);
    ck_assert_double_eq(a->yarn_beta_slow, b->yarn_beta_slow);
    ck_assert_double_eq(a->yarn_attn_factor, b->yarn_attn_factor);
    ck_assert_int_eq(a->tied, b->tied);
    ck_assert_int_eq(a->attention_bias, b->attention_bias);
    ck_assert_int_eq(a->mlp_bias, b->mlp_bias);
}

static const char *const checkpoints[] = {"models/golden/llama",
                                          "models/golden/smollm2",
                                          "models/stories260K-hf",
                                          "models/trained/quern-demo-llama",
                                          "models/tiny-random/tiny_llama3",
                                          "models/golden/mistral",
                                          "models/golden/qwen2",
                                          "models/golden/qwen3-moe",
                                          "models/golden/phi3-longrope",
                                          "models/golden/gemma2",
                                          "models/golden/smollm3"};

START_TEST(gguf_gives_the_hyperparameters_of_config_json)
{
    const char *path = qn_test_data(checkpoints[_i]);
    if (!path) return;
    qn_model *m = open_model(path, &plain);
    const char *out = qn_test_path("out.gguf");
    write_model(m, QN_OUT_AUTO, &qn_format_gguf, out);
    qn_model *back = open_model(out, &plain);
    ck_assert_msg(back->family == m->family, "%s", back->not_runnable);
    same_hparams(&m->hparams, &back->hparams);
    qn_model_close(back);
    qn_model_close(m);
}
END_TEST

static const struct {
    const char *rope; /* in config.json */
    qn_rope_scaling kind;
    const char *keys; /* GGUF's rope keys, as the converter orders them */
} ropes[] = {
    {"null", QN_ROPE_NONE, "rope.freq_base rope.dimension_count "},
    {"{\"type\": \"linear\", \"factor\": 2.5}", QN_ROPE_LINEAR,
     "rope.scaling.type rope.scaling.factor rope.freq_base rope.dimension_count "},
    {"{\"rope_type\": \"yarn\", \"factor\": 4, \"original_max_position_embeddings\": 1024}",
     QN_ROPE_YARN,
     "rope.scaling.type rope.scaling.factor rope.scaling.original_context_length rope.freq_base "
     "rope.dimension_count "},
    {"{\"rope_type\": \"yarn\", \"factor\": 4.0, \"beta_slow\": 2, \"beta_fast\": 16, "
     "\"attention_factor\": 1.1}",
     QN_ROPE_YARN,
     "rope.scaling.type rope.scaling.factor rope.scaling.original_context_length "
     "rope.scaling.yarn_attn_factor rope.scaling.yarn_beta_fast rope.scaling.yarn_beta_slow "
     "rope.freq_base rope.dimension_count "},
    {"{\"rope_type\": \"llama3\", \"factor\": 32.0, \"low_freq_factor\": 1.0, "
     "\"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 8192}",
     QN_ROPE_LLAMA3, "rope.freq_base rope.dimension_count "},
};

START_TEST(rope_scaling_comes_back_from_gguf)
{
    checkpoint_shape shape = checkpoint_small;
    shape.head_dim = 128; /* pairs enough for each stretch of llama3's rule */
    shape.biases = _i % 2;
    qn_model *m = small_model(&shape, ropes[_i].rope);
    const char *out = qn_test_path("rope.gguf");
    write_model(m, QN_OUT_F16, &qn_format_gguf, out);
    qn_model *back = open_model(out, &plain);
    ck_assert_ptr_nonnull(back->family);
    ck_assert_int_eq(back->hparams.rope_scaling, ropes[_i].kind);
    same_hparams(&m->hparams, &back->hparams);
    qn_text keys = {0};
    for (size_t i = 0; i < qn_metadata_count(back->metadata); i++) {
        const qn_str key = qn_metadata_at(back->metadata, i)->key;
        if (qn_str_starts(key, "llama.rope."))
            qn_text_addf(&keys, "%.*s ", (int)key.n - 6, key.s + 6);
    }
    ck_assert_str_eq(keys.s, ropes[_i].keys);
    qn_text_free(&keys);
    qn_model_close(back);
    qn_model_close(m);
}
END_TEST

/* ---- values both ways --------------------------------------------------------------------- */

static void same_values(const qn_reader *a, const qn_reader *b)
{
    const qn_kernels *k = qn_kernels_best();
    ck_assert_uint_eq(a->n_tensors, b->n_tensors);
    qn_arena *arena = qn_arena_new();
    for (size_t i = 0; i < a->n_tensors; i++) {
        const qn_tensor *t = &a->tensors[i], *u = qn_reader_find(b, t->name);
        ck_assert_msg(u != NULL, "%s is gone", t->name);
        ck_assert_uint_eq(t->rank, u->rank);
        ck_assert_mem_eq(t->dims, u->dims, t->rank * sizeof *t->dims);
        const qn_rows *x = qn_rows_view(arena, a, t), *y = qn_rows_view(arena, b, u);
        const size_t n = (size_t)qn_tensor_elements(t);
        float *p = qn_alloc(n, sizeof *p), *q = qn_alloc(n, sizeof *q);
        ck_assert(!x->decode(x, k, 0, x->rows, p, NULL) && !y->decode(y, k, 0, y->rows, q, NULL));
        ck_assert_msg(!memcmp(p, q, n * sizeof *p), "%s: other values", t->name);
        qn_free(p);
        qn_free(q);
    }
    qn_arena_free(arena);
}

static void export_directory(const qn_model *m, const char *name, qn_outtype outtype,
                             bool *tokenizer)
{
    char file[64];
    qn_error err = {0};
    qn_model *e = NULL;
    qn_test_subdirectory(name);
    snprintf(file, sizeof file, "%s/model.safetensors", name);
    ck_assert_msg(!qn_export_open(&e, m, &err), "%s", err.message);
    write_model(e, outtype, &qn_format_safetensors, qn_test_path(file));
    qn_model_close(e);
    ck_assert_msg(!qn_export_files(m, qn_test_path(name), outtype, tokenizer, &err), "%s",
                  err.message);
}

/* Permuted on the way there, permuted back on the way home. */
START_TEST(a_checkpoint_comes_back_from_gguf_value_for_value)
{
    bool tokenizer = true;
    const char *path = qn_test_data(checkpoints[_i]);
    if (!path) return;
    qn_model *m = open_model(path, &plain);
    write_model(m, QN_OUT_F32, &qn_format_gguf, qn_test_path("there.gguf"));
    qn_model *there = open_model(qn_test_path("there.gguf"), &plain);
    export_directory(there, "home", QN_OUT_F32, &tokenizer);
    ck_assert(!tokenizer);
    qn_model *home = open_model(qn_test_path("home"), &plain);
    same_values(m->reader, home->reader);
    same_hparams(&m->hparams, &home->hparams);
    qn_model_close(home);
    qn_model_close(there);
    qn_model_close(m);
}
END_TEST

START_TEST(a_checkpoint_is_exported_with_its_own_files)
{
    bool tokenizer = false;
    const char *path = qn_test_data("models/golden/llama");
    if (!path) return;
    const qn_model_options options = {.pre = "llama-bpe"};
    qn_model *m = open_model(path, &options);
    export_directory(m, "copy", QN_OUT_BF16, &tokenizer);
    ck_assert(tokenizer);
    qn_model *copy = open_model(qn_test_path("copy"), &options);
    same_values(m->reader, copy->reader);
    same_hparams(&m->hparams, &copy->hparams);
    ck_assert_uint_eq(qn_vocab_size(copy->vocab), qn_vocab_size(m->vocab));
    for (size_t i = 0; i < copy->reader->n_tensors; i++)
        ck_assert_int_eq(copy->reader->tensors[i].dtype, QN_BF16);
    qn_error err = {0};
    ck_assert_int_ne(qn_export_files(m, qn_test_path("copy"), QN_OUT_F32, &tokenizer, &err), QN_OK);
    ck_assert_msg(strstr(err.message, "config.json") != NULL, "%s", err.message);
    qn_model_close(copy);
    qn_model_close(m);
}
END_TEST

START_TEST(biases_come_back_from_gguf)
{
    bool tokenizer;
    checkpoint_shape shape = checkpoint_small;
    shape.biases = true;
    qn_model *m = small_model(&shape, "null");
    export_directory(m, "biased", QN_OUT_F32, &tokenizer);
    qn_model *back = open_model(qn_test_path("biased"), &plain);
    ck_assert(back->hparams.attention_bias && back->hparams.mlp_bias);
    same_values(m->reader, back->reader);
    qn_model_close(back);
    qn_model_close(m);
}
END_TEST

/* Gemma 4's class has no lists. */
START_TEST(what_config_json_has_no_key_for_is_refused)
{
    qn_error err = {0};
    json_t *config = NULL;
    const char *path = qn_test_data("models/golden/gemma4-multimodal");
    if (!path) return;
    qn_model *m = open_model(path, &plain);
    qn_hparams h = m->hparams;
    ck_assert(!qn_hf_config_make(m->family, &h, "a.gguf", "float32", &config, &err));
    ck_assert(json_is_true(json_object_get(config, "use_double_wide_mlp")));
    ck_assert_int_eq(json_integer_value(json_object_get(config, "intermediate_size")), 128);
    json_decref(config);
    h.feed_forward_of.of[1] *= 2;
    ck_assert_int_eq(qn_hf_config_make(m->family, &h, "a.gguf", "float32", &config, &err),
                     QN_ERR_UNSUPPORTED);
    ck_assert_str_eq(
        err.message,
        "a.gguf: config.json of gemma4 cannot say these widths of MLPs: 128, and twice "
        "that in the last 2 layers only");
    h = m->hparams;
    for (h.n_kv_heads_of.n = 0; h.n_kv_heads_of.n < h.n_layers; h.n_kv_heads_of.n++)
        h.n_kv_heads_of.of[h.n_kv_heads_of.n] = 1 + h.n_kv_heads_of.n % 2;
    ck_assert_int_eq(qn_hf_config_make(m->family, &h, "a.gguf", "float32", &config, &err),
                     QN_ERR_UNSUPPORTED);
    ck_assert_msg(strstr(err.message, "cannot say these KV heads by layer"), "%s", err.message);
    qn_model_close(m);
}
END_TEST

/* ---- GGUF files with a fault ----------------------------------------------------------------- */

static const struct {
    const char *tensor, *renamed;
    const char *key;  /* a u32 key */
    uint32_t value;   /* 0: taken away */
    qn_status status; /* QN_OK: opens, but is not run */
    const char *says;
} faults[] = {
    {"blk.1.ffn_up.weight", "blk.1.ffn_sideways.weight", NULL, 0, QN_OK,
     "\"blk.1.ffn_sideways.weight\" has no place in a llama model of 2 layers"},
    {"blk.1.ffn_up.weight", "blk.2.ffn_up.weight", NULL, 0, QN_OK,
     "\"blk.2.ffn_up.weight\" has no place"},
    {NULL, NULL, "llama.block_count", 3, QN_ERR_DATA,
     "tensor \"blk.2.attn_norm.weight\" is missing"},
    {NULL, NULL, "llama.block_count", 0, QN_ERR_DATA, "key \"llama.block_count\" is missing"},
    {NULL, NULL, "llama.embedding_length", 12, QN_ERR_DATA,
     "\"output.weight\": shape [6, 8], but the metadata says [6, 12] (vocabulary, hidden size)"},
    {NULL, NULL, "llama.attention.head_count", 1u << 31, QN_ERR_DATA,
     "the number of attention heads is 2147483648, not 1 to 2147483647"},
    {NULL, NULL, "llama.attention.head_count_kv", 2, QN_ERR_DATA,
     "\"blk.0.attn_k.weight\": shape [4, 8], but the metadata says [8, 8]"},
    {NULL, NULL, "llama.attention.layer_norm_rms_epsilon", 0, QN_ERR_DATA,
     "key \"llama.attention.layer_norm_rms_epsilon\" is missing"},
};

START_TEST(a_faulty_gguf_file_is_refused_or_not_run)
{
    qn_error err = {0};
    qn_model *back = NULL;
    qn_model *m = small_model(&checkpoint_small, "null");
    for (size_t i = 0; i < m->n_tensors; i++)
        if (faults[_i].tensor && !strcmp(m->tensors[i].name, faults[_i].tensor))
            m->tensors[i].name = faults[_i].renamed;
    if (faults[_i].key && faults[_i].value)
        qn_metadata_set_u32(m->metadata, faults[_i].key, faults[_i].value, &err);
    else if (faults[_i].key)
        qn_metadata_remove(m->metadata, faults[_i].key);
    write_model(m, QN_OUT_F32, &qn_format_gguf, qn_test_path("faulty.gguf"));
    qn_model_close(m);
    const qn_status status = qn_model_open(&back, qn_test_path("faulty.gguf"), &plain, &err);
    ck_assert_msg(status == faults[_i].status, "status %d: %s", status, err.message);
    const char *said = status ? err.message : back->not_runnable;
    ck_assert_msg(strstr(said, faults[_i].says) != NULL, "\"%s\" does not say \"%s\"", said,
                  faults[_i].says);
    if (back) ck_assert_ptr_null(back->family);
    qn_model_close(back);
}
END_TEST

START_TEST(an_unknown_architecture_opens_for_quantizing_only)
{
    qn_error err = {0};
    qn_model *e = NULL;
    qn_model *m = small_model(&checkpoint_small, "null");
    qn_metadata_set_str(m->metadata, "general.architecture", qn_str_z("nope"), &err);
    write_model(m, QN_OUT_F16, &qn_format_gguf, qn_test_path("nope.gguf"));
    qn_model_close(m);
    qn_model *back = open_model(qn_test_path("nope.gguf"), &plain);
    ck_assert_ptr_null(back->family);
    ck_assert_msg(strstr(back->not_runnable, "architecture nope cannot be run") != NULL, "%s",
                  back->not_runnable);
    ck_assert_ptr_nonnull(qn_model_find(back, "blk.1.ffn_up.weight"));
    ck_assert_int_eq(qn_export_open(&e, back, &err), QN_ERR_UNSUPPORTED);
    ck_assert_msg(strstr(err.message, "--family generic") != NULL, "%s", err.message);
    qn_model_close(back);
}
END_TEST

/* llama.cpp's defaults, for files by other hands. */
START_TEST(absent_keys_mean_what_llama_cpp_takes)
{
    static const char *const optional[] = {"llama.attention.key_length",
                                           "llama.attention.value_length", "llama.vocab_size",
                                           "llama.rope.freq_base", "llama.rope.dimension_count"};
    qn_model *m = small_model(&checkpoint_small, "null");
    for (size_t i = 0; i < sizeof optional / sizeof *optional; i++) {
        ck_assert_ptr_nonnull(qn_metadata_find(m->metadata, optional[i]));
        qn_metadata_remove(m->metadata, optional[i]);
    }
    write_model(m, QN_OUT_F16, &qn_format_gguf, qn_test_path("terse.gguf"));
    qn_model *back = open_model(qn_test_path("terse.gguf"), &plain);
    ck_assert_msg(back->family != NULL, "%s", back->not_runnable);
    same_hparams(&m->hparams, &back->hparams);
    qn_model_close(back);
    qn_model_close(m);
}
END_TEST

int main(void)
{
    enum { N_CHECKPOINTS = sizeof checkpoints / sizeof *checkpoints };
    Suite *s = suite_create("convert back");
    TCase *t = qn_test_group(s, "round trips");
    tcase_add_loop_test(t, gguf_gives_the_hyperparameters_of_config_json, 0, N_CHECKPOINTS);
    tcase_add_loop_test(t, rope_scaling_comes_back_from_gguf, 0, sizeof ropes / sizeof *ropes);
    tcase_add_loop_test(t, a_checkpoint_comes_back_from_gguf_value_for_value, 0, N_CHECKPOINTS);
    tcase_add_test(t, a_checkpoint_is_exported_with_its_own_files);
    tcase_add_test(t, biases_come_back_from_gguf);
    tcase_add_test(t, what_config_json_has_no_key_for_is_refused);
    tcase_add_loop_test(t, a_faulty_gguf_file_is_refused_or_not_run, 0,
                        sizeof faults / sizeof *faults);
    tcase_add_test(t, an_unknown_architecture_opens_for_quantizing_only);
    tcase_add_test(t, absent_keys_mean_what_llama_cpp_takes);
    return qn_test_run_suite(s);
}
