/* What opening a model accepts, refuses and finds. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "formats/model.h"
#include "tests/support/checkpoint.h"
#include "tests/support/files.h"
#include "tests/support/run.h"

static const qn_model_options plain = {.no_vocab = true};
static const qn_model_options generic = {.family = "generic"};

/* ---- config.json and tensors that contradict each other ------------------------------ */

static const struct {
    const char *from, *to; /* in config.json */
    const char *header_from, *header_to;
    qn_status status;
    const char *says;
} faults[] = {
    {"\"hidden_size\": 8,", "", NULL, NULL, QN_ERR_DATA, "\"hidden_size\" is missing"},
    {"\"hidden_size\": 8", "\"hidden_size\": null", NULL, NULL, QN_ERR_DATA,
     "\"hidden_size\" is missing"},
    {"\"vocab_size\": 6,", "", NULL, NULL, QN_ERR_DATA, "\"vocab_size\" is missing"},
    {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1152921504606846976", NULL, NULL,
     QN_ERR_DATA, "the number of layers is 1152921504606846976, not 1 to 1024"},
    {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1000", NULL, NULL, QN_ERR_DATA,
     "tensor \"model.layers.2.input_layernorm.weight\" is missing"},
    {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", NULL, NULL, QN_ERR_DATA,
     "\"model.layers.1.input_layernorm.weight\" has no place in a llama model of 1 layers"},
    {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 0", NULL, NULL, QN_ERR_DATA,
     "\"num_hidden_layers\" is 0"},
    {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": \"two\"", NULL, NULL, QN_ERR_DATA,
     "num_hidden_layers"},
    {"\"num_attention_heads\": 2", "\"num_attention_heads\": 0", NULL, NULL, QN_ERR_DATA,
     "\"num_attention_heads\" is 0"},
    {"\"num_attention_heads\": 2", "\"num_attention_heads\": -2", NULL, NULL, QN_ERR_DATA,
     "num_attention_heads"},
    {"\"num_attention_heads\": 2", "\"num_attention_heads\": 1e400", NULL, NULL, QN_ERR_DATA,
     "line 3"},
    {"\"num_key_value_heads\": 1, \"head_dim\": 4", "\"num_key_value_heads\": 3, \"head_dim\": 4",
     NULL, NULL, QN_ERR_DATA, "2 attention heads cannot share 3 KV heads evenly"},
    {"\"num_attention_heads\": 2,\n \"num_key_value_heads\": 1, \"head_dim\": 4",
     "\"num_attention_heads\": 3", NULL, NULL, QN_ERR_DATA,
     "hidden size 8 is not a multiple of 3 attention heads"},
    {"\"head_dim\": 4", "\"head_dim\": 3", NULL, NULL, QN_ERR_DATA, "head size 3 is odd"},
    {"1e-05", "-1e-05", NULL, NULL, QN_ERR_DATA, "epsilon is -1e-05, not a positive number"},
    {"1e-05", "NaN", NULL, NULL, QN_ERR_DATA, "line 5"},
    {"10000.0", "0.0", NULL, NULL, QN_ERR_DATA, "rope theta is 0"},
    {"\"silu\"", "\"gelu\"", NULL, NULL, QN_ERR_UNSUPPORTED,
     "\"hidden_act\" is \"gelu\"; only \"silu\" is supported"},
    {"\"hidden_act\"", "\"num_local_experts\": 8, \"hidden_act\"", NULL, NULL, QN_ERR_UNSUPPORTED,
     "\"num_local_experts\" is 8; only 0"},
    {"\"hidden_act\"", "\"rope_scaling\": {\"rope_type\": \"spiral\"}, \"hidden_act\"", NULL, NULL,
     QN_ERR_UNSUPPORTED, "rope scaling \"spiral\" is not one of"},
    {"\"hidden_act\"", "\"rope_scaling\": {\"rope_type\": \"linear\"}, \"hidden_act\"", NULL, NULL,
     QN_ERR_DATA, "the rope scaling factor is 0"},
    {"\"hidden_act\"", "\"quantization_config\": {\"quant_method\": \"vptq\"}, \"hidden_act\"",
     NULL, NULL, QN_ERR_UNSUPPORTED, "packed by vptq"},
    {"LlamaForCausalLM", "NopeForCausalLM", NULL, NULL, QN_ERR_UNSUPPORTED,
     "architecture NopeForCausalLM is not known; --family reads it as one that is, or with its "
     "tensors' own names (llama, "},
    {"\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\",", "", NULL, NULL,
     QN_ERR_DATA, "neither \"architectures\" nor \"model_type\""},
    {"{\"arch", "[\"arch", NULL, NULL, QN_ERR_DATA, "config.json"},
    {NULL, NULL, "layers.0.self_attn.q_proj.weight\":{\"dtype\":\"BF16\",\"shape\":[8,8]",
     "layers.0.self_attn.q_proj.weight\":{\"dtype\":\"BF16\",\"shape\":[4,16]", QN_ERR_DATA,
     "\"model.layers.0.self_attn.q_proj.weight\": shape [4, 16], but config.json says [8, 8] "
     "(heads x head size, hidden size)"},
    {NULL, NULL, "layers.1.mlp.up_proj", "layers.1.mlp.sideways_proj", QN_ERR_DATA,
     "\"model.layers.1.mlp.sideways_proj.weight\" has no place"},
    {NULL, NULL, "layers.1.", "layers.01.", QN_ERR_DATA,
     "\"model.layers.01.input_layernorm.weight\" has no place"},
    {NULL, NULL, "\"dtype\":\"BF16\"", "\"dtype\":\"I16\"", QN_ERR_UNSUPPORTED,
     "\"model.embed_tokens.weight\" is I16, not real numbers"},
    {NULL, NULL, "model.norm.weight", "model.norm.rotary_emb.inv_freq", QN_ERR_DATA,
     "tensor \"model.norm.weight\" is missing"},
    {NULL, NULL, "lm_head.weight", "spare.rotary_emb.inv_freq", QN_ERR_DATA,
     "tensor \"lm_head.weight\" is missing, and config.json does not say tie_word_embeddings"},
    {"\"attention_bias\": false", "\"attention_bias\": true", NULL, NULL, QN_ERR_DATA,
     "tensor \"model.layers.0.self_attn.q_proj.bias\" is missing"},
};

START_TEST(a_contradiction_is_one_line_that_names_it)
{
    qn_error err = {0};
    qn_model *m = NULL;
    checkpoint c = checkpoint_make(&checkpoint_small);
    if (faults[_i].from) checkpoint_replace(&c.config, faults[_i].from, faults[_i].to);
    if (faults[_i].header_from)
        checkpoint_replace(&c.header, faults[_i].header_from, faults[_i].header_to);
    const qn_status status = qn_model_open(&m, checkpoint_write(&c, "faulty"), &plain, &err);
    ck_assert_msg(status == faults[_i].status, "status %d: %s", status, err.message);
    ck_assert_msg(strstr(err.message, faults[_i].says) != NULL, "\"%s\" does not say \"%s\"",
                  err.message, faults[_i].says);
    ck_assert_ptr_null(strchr(err.message, '\n'));
    ck_assert_ptr_null(m);
    checkpoint_free(&c);
}
END_TEST

/* ---- what is fine -------------------------------------------------------------------------- */

static qn_model *open_checkpoint(const checkpoint *c, const char *name,
                                 const qn_model_options *options)
{
    qn_error err = {0};
    qn_model *m = NULL;
    ck_assert_msg(!qn_model_open(&m, checkpoint_write(c, name), options, &err), "%s", err.message);
    return m;
}

START_TEST(absent_sizes_follow_from_the_others)
{
    checkpoint c = checkpoint_make(&(checkpoint_shape){.vocab = 6,
                                                       .hidden = 8,
                                                       .layers = 2,
                                                       .heads = 2,
                                                       .kv_heads = 2,
                                                       .head_dim = 4,
                                                       .feed_forward = 12,
                                                       .tied = true});
    checkpoint_replace(&c.config, "\"num_key_value_heads\": 2, \"head_dim\": 4,", "");
    checkpoint_replace(&c.config, "\"max_position_embeddings\": 4096, \"rms_norm_eps\": 1e-05,\n",
                       "");
    checkpoint_replace(&c.config, "\"rope_theta\": 10000.0,", "");
    qn_model *m = open_checkpoint(&c, "short", &plain);
    ck_assert_uint_eq(m->hparams.n_kv_heads, 2);
    ck_assert_uint_eq(m->hparams.head_dim, 4);
    ck_assert_uint_eq(m->hparams.value_dim, 4);
    ck_assert_uint_eq(m->hparams.rope_dims, 4);
    ck_assert_uint_eq(m->hparams.n_ctx_train, 2048);
    ck_assert_double_eq(m->hparams.rope_theta, 10000);
    ck_assert_double_eq(m->hparams.rms_eps, (double)1e-6f);
    ck_assert(m->hparams.tied);
    ck_assert_ptr_null(qn_model_find(m, "output.weight"));
    qn_model_close(m);
    checkpoint_free(&c);
}
END_TEST

START_TEST(old_buffers_are_passed_over)
{
    checkpoint c = checkpoint_make(&checkpoint_small);
    checkpoint_add(&c, "model.layers.0.self_attn.rotary_emb.inv_freq", 2);
    qn_model *m = open_checkpoint(&c, "old", &plain);
    ck_assert_uint_eq(m->n_tensors, m->reader->n_tensors - 1);
    qn_model_close(m);
    checkpoint_free(&c);
}
END_TEST

START_TEST(layers_stand_in_the_order_of_their_names)
{
    checkpoint_shape shape = checkpoint_small;
    shape.layers = 11;
    checkpoint c = checkpoint_make(&shape);
    qn_model *m = open_checkpoint(&c, "eleven", &plain);
    ck_assert_str_eq(m->tensors[0].name, "output.weight");
    ck_assert_str_eq(m->tensors[1].name, "token_embd.weight");
    ck_assert_str_eq(m->tensors[2].name, "blk.0.attn_norm.weight");
    ck_assert_str_eq(m->tensors[2 + 9].name, "blk.1.attn_norm.weight");
    ck_assert_str_eq(m->tensors[2 + 18].name, "blk.10.attn_norm.weight");
    ck_assert_str_eq(m->tensors[2 + 27].name, "blk.2.attn_norm.weight");
    ck_assert_str_eq(m->tensors[m->n_tensors - 1].name, "output_norm.weight");
    qn_model_close(m);
    checkpoint_free(&c);
}
END_TEST

/* ---- biases --------------------------------------------------------------------------------- */

/* Query biases 0 1 2 3 of a head of four are 0 2 1 3 in GGUF. */
START_TEST(biases_are_permuted_like_the_rows_they_belong_to)
{
    static const float want[] = {0, 2, 1, 3, 4, 6, 5, 7};
    checkpoint_shape shape = checkpoint_small;
    shape.biases = true;
    checkpoint c = checkpoint_make(&shape);
    const char *path = checkpoint_write(&c, "biased");
    qn_error err = {0};
    qn_reader *r = NULL;
    ck_assert_msg(!qn_reader_open(&r, path, &err), "%s", err.message);
    const qn_tensor *t = qn_reader_find(r, "model.layers.1.self_attn.q_proj.bias");
    FILE *f = fopen(qn_test_path("biased/model.safetensors"), "r+b");
    ck_assert(f && !fseek(f, (long)t->offset, SEEK_SET));
    for (unsigned i = 0; i < 8; i++) { /* BF16 is a float's upper half */
        const float v = (float)i;
        ck_assert_uint_eq(fwrite((const char *)&v + 2, 2, 1, f), 1);
    }
    fclose(f);
    qn_reader_close(r);
    qn_model *m = NULL;
    ck_assert_msg(!qn_model_open(&m, path, &plain, &err), "%s", err.message);
    const qn_model_tensor *bias = qn_model_find(m, "blk.1.attn_q.bias");
    float got[8];
    ck_assert_ptr_nonnull(bias);
    ck_assert_uint_eq(bias->rank, 1);
    ck_assert(!bias->rows->decode(bias->rows, qn_kernels_best(), 0, 1, got, &err));
    for (unsigned i = 0; i < 8; i++) ck_assert_float_eq(got[i], want[i]);
    qn_model_close(m);
    checkpoint_free(&c);
}
END_TEST

/* ---- lone files and names kept ------------------------------------------------------------------ */

START_TEST(a_lone_file_belongs_to_the_config_beside_it)
{
    qn_error err = {0};
    qn_model *m = NULL;
    checkpoint c = checkpoint_make(&checkpoint_small);
    checkpoint_write(&c, "lone");
    const char *file = qn_test_path("lone/model.safetensors");
    ck_assert_msg(!qn_model_open(&m, file, &plain, &err), "%s", err.message);
    ck_assert_ptr_nonnull(qn_model_find(m, "blk.1.ffn_down.weight"));
    qn_str name;
    ck_assert(!qn_metadata_str(m->metadata, "general.name", &name, NULL, &err));
    ck_assert(qn_str_is(name, "Lone"));
    qn_model_close(m);
    checkpoint_free(&c);
}
END_TEST

START_TEST(without_config_the_names_can_be_kept)
{
    qn_error err = {0};
    qn_model *m = NULL;
    checkpoint c = checkpoint_make(&checkpoint_small);
    qn_text_free(&c.config);
    checkpoint_write(&c, "bare");
    const char *file = qn_test_path("bare/model.safetensors");
    ck_assert_int_eq(qn_model_open(&m, file, &plain, &err), QN_ERR_DATA);
    ck_assert_msg(strstr(err.message, "no config.json beside it; --family generic") != NULL, "%s",
                  err.message);
    ck_assert_msg(!qn_model_open(&m, file, &generic, &err), "%s", err.message);
    ck_assert_ptr_null(m->family);
    ck_assert_ptr_null(m->vocab);
    ck_assert_str_eq(m->architecture, "generic");
    ck_assert_ptr_nonnull(qn_model_find(m, "model.layers.1.mlp.down_proj.weight"));
    ck_assert_uint_eq(m->n_tensors, m->reader->n_tensors);
    qn_model_close(m);
    checkpoint_free(&c);
}
END_TEST

START_TEST(an_unknown_class_can_be_read_as_a_known_one)
{
    const qn_model_options as_llama = {.family = "llama", .no_vocab = true};
    const qn_model_options as_nothing = {.family = "lama", .no_vocab = true};
    qn_error err = {0};
    qn_model *m = NULL;
    checkpoint c = checkpoint_make(&checkpoint_small);
    checkpoint_replace(&c.config, "LlamaForCausalLM", "LlamaLikeForCausalLM");
    const char *path = checkpoint_write(&c, "like");
    ck_assert_int_eq(qn_model_open(&m, path, &as_nothing, &err), QN_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "no family is called \"lama\"; there are llama, "));
    ck_assert_msg(!qn_model_open(&m, path, &as_llama, &err), "%s", err.message);
    ck_assert_str_eq(m->architecture, "llama");
    qn_model_close(m);
    checkpoint_free(&c);
}
END_TEST

/* ---- size ------------------------------------------------------------------------------------------ */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static long peak_kib(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_maxrss;
}

/* 60 layers of 5376 x 21504, 30 thousand million weights, in a file of holes. */
START_TEST(a_model_of_sixty_gigabytes_opens_at_once_in_a_few_megabytes)
{
    checkpoint c = checkpoint_make(&(checkpoint_shape){.vocab = 262144,
                                                       .hidden = 5376,
                                                       .layers = 60,
                                                       .heads = 32,
                                                       .kv_heads = 16,
                                                       .head_dim = 128,
                                                       .feed_forward = 21504,
                                                       .tied = true});
    const char *path = checkpoint_write(&c, "large");
    qn_error err = {0};
    qn_model *m = NULL;
    if (!path) {
        printf("skip: no sparse file of %llu bytes here\n", (unsigned long long)c.bytes);
    } else {
        const long before = peak_kib();
        const double start = now();
        ck_assert_msg(!qn_model_open(&m, path, &plain, &err), "%s", err.message);
        const double seconds = now() - start;
        ck_assert_uint_eq(m->n_tensors, 60 * 9 + 2);
        ck_assert_msg(seconds < 1, "%.3f s", seconds);
        ck_assert_msg(peak_kib() - before < 16 * 1024, "%ld KiB", peak_kib() - before);
        qn_model_close(m);
    }
    checkpoint_free(&c);
}
END_TEST

/* ---- memory ---------------------------------------------------------------------------------------- */

START_TEST(memory_may_run_out_anywhere)
{
    checkpoint_shape shape = checkpoint_small;
    shape.biases = true;
    checkpoint c = checkpoint_make(&shape);
    checkpoint_replace(&c.config, "\"hidden_act\"",
                       "\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0, "
                       "\"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, "
                       "\"original_max_position_embeddings\": 64}, \"hidden_act\"");
    const char *path = checkpoint_write(&c, "scarce");
    qn_status status = QN_ERR_MEMORY;
    unsigned long n = 0;
    while (status == QN_ERR_MEMORY) {
        qn_error err = {0};
        qn_model *m = NULL;
        qn_alloc_fail_at(++n);
        status = qn_model_open(&m, path, &plain, &err);
        qn_alloc_fail_at(0);
        ck_assert_msg(status == QN_OK || status == QN_ERR_MEMORY, "allocation %lu: %s", n,
                      err.message);
        ck_assert((m != NULL) == (status == QN_OK));
        qn_model_close(m);
    }
    ck_assert_uint_gt(n, 50);
    checkpoint_free(&c);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("model");
    TCase *t = qn_test_group(s, "checkpoints");
    tcase_add_loop_test(t, a_contradiction_is_one_line_that_names_it, 0,
                        sizeof faults / sizeof *faults);
    tcase_add_test(t, absent_sizes_follow_from_the_others);
    tcase_add_test(t, old_buffers_are_passed_over);
    tcase_add_test(t, layers_stand_in_the_order_of_their_names);
    tcase_add_test(t, biases_are_permuted_like_the_rows_they_belong_to);
    tcase_add_test(t, a_lone_file_belongs_to_the_config_beside_it);
    tcase_add_test(t, without_config_the_names_can_be_kept);
    tcase_add_test(t, an_unknown_class_can_be_read_as_a_known_one);
    tcase_add_test(t, a_model_of_sixty_gigabytes_opens_at_once_in_a_few_megabytes);
    tcase_add_test(t, memory_may_run_out_anywhere);
    return qn_test_run_suite(s);
}
