/* What is wrong with a checkpoint of a family is said in one line, before any
 * work: numbers that make no sense, a configuration that its tensors contradict,
 * a tensor that is missing. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/support/data.h"
#include "tests/support/families.h"
#include "tests/support/files.h"
#include "tests/support/run.h"

/* Nonsense for everybody who reads the key: `from` is changed where it first
 * stands in the text model's part.  unread: models to which it says nothing. */
static const struct {
    const char *from, *to, *unread;
} nonsense[] = {
    {"\"num_attention_heads\": ", "\"num_attention_heads\": 0, \"was\": ", NULL},
    {"\"num_attention_heads\": ", "\"num_attention_heads\": -4, \"was\": ", NULL},
    {"\"num_attention_heads\": ", "\"num_attention_heads\": 1e400, \"was\": ", NULL},
    {"\"num_key_value_heads\": ", "\"num_key_value_heads\": 7, \"was\": ", NULL},
    {"\"num_hidden_layers\": ", "\"num_hidden_layers\": 1000000000, \"was\": ", NULL},
    {"\"num_hidden_layers\": ", "\"num_hidden_layers\": 0, \"was\": ", NULL},
    {"\"num_hidden_layers\": ", "\"num_hidden_layers\": 900, \"was\": ", NULL},
    {"\"hidden_size\": ", "\"hidden_size\": 9223372036854775807, \"was\": ", NULL},
    {"\"hidden_size\": ", "\"hidden_size\": 96, \"was\": ", NULL},
    {"\"intermediate_size\": ", "\"intermediate_size\": 0, \"was\": ", NULL},
    {"\"intermediate_size\": ", "\"intermediate_size\": 17, \"was\": ", "qwen2-moe qwen3-moe"},
    {"\"rms_norm_eps\": ", "\"rms_norm_eps\": -1, \"was\": ", NULL},
    {"\"rms_norm_eps\": ", "\"rms_norm_eps\": NaN, \"was\": ", NULL},
    {"\"rope_theta\": ", "\"rope_theta\": NaN, \"was\": ", NULL},
    {"\"rope_theta\": ", "\"rope_theta\": -10000.0, \"was\": ", NULL},
    {"\"vocab_size\": ", "\"vocab_size\": 641, \"was\": ", NULL},
    {"\"sliding_window\": ", "\"sliding_window\": -16, \"was\": ", "smollm3 qwen2-moe"},
    {"\"sliding_window\": ", "\"sliding_window\": \"wide\", \"was\": ",
     "qwen2 qwen2-moe qwen3 qwen3-moe qwen3-moe-dense smollm3"},
    {"\"num_kv_shared_layers\": ", "\"num_kv_shared_layers\": 1000, \"was\": ", NULL},
    {"\"num_kv_shared_layers\": ", "\"num_kv_shared_layers\": -1, \"was\": ", NULL},
    {"\"sliding_attention\"", "\"chunked_attention\"", NULL},
    {"\"partial_rotary_factor\": ", "\"partial_rotary_factor\": 2.5, \"was\": ", NULL},
    {"\"num_experts\": ", "\"num_experts\": 5000, \"was\": ", NULL},
    {"\"top_k_experts\": ", "\"top_k_experts\": 99, \"was\": ", "gemma4-e2b gemma4-31b"},
    {"\"num_experts_per_tok\": ", "\"num_experts_per_tok\": 99, \"was\": ", NULL},
    {"\"layer_types\": [", "\"layer_types\": [\"full_attention\", ",
     "qwen2 qwen2-moe qwen3 qwen3-moe qwen3-moe-dense smollm3"},
    {"\"final_logit_softcapping\": ", "\"final_logit_softcapping\": -3.0, \"was\": ", NULL},
    {"\"num_local_experts\": ", "\"num_local_experts\": 5000, \"was\": ", NULL},
    {"\"num_local_experts\": ", "\"num_local_experts\": 4, \"was\": ", NULL},
    {"\"num_experts\": ", "\"num_experts\": 2, \"was\": ", NULL},
    {"\"num_experts_per_tok\": ", "\"num_experts_per_tok\": 0, \"was\": ", NULL},
    {"\"moe_intermediate_size\": ", "\"moe_intermediate_size\": 31, \"was\": ",
     "gemma4-e2b gemma4-31b"},
    {"\"shared_expert_intermediate_size\": ", "\"shared_expert_intermediate_size\": -8, \"was\": ",
     NULL},
    {"\"shared_intermediate_size\": ", "\"shared_intermediate_size\": 48, \"was\": ", NULL},
    {"\"mlp_only_layers\": [", "\"mlp_only_layers\": [-1", NULL},
    {"\"mlp_only_layers\": [", "\"mlp_only_layers\": 0, \"was\": [", NULL},
    {"\"decoder_sparse_step\": ", "\"decoder_sparse_step\": 0, \"was\": ", NULL},
    {"\"decoder_sparse_step\": ", "\"decoder_sparse_step\": 3, \"was\": ", NULL},
    {"\"moe_layers\": [", "\"moe_layers\": [\"all\", ", NULL},
    {"\"moe_layers\": [", "\"moe_layers\": [], \"was\": [", NULL},
    {"\"intermediate_size_mlp\": ", "\"intermediate_size_mlp\": 31, \"was\": ",
     "llama4-multimodal"},
    {"\"attention_chunk_size\": ", "\"attention_chunk_size\": 0, \"was\": ", NULL},
    {"\"attention_chunk_size\": ", "\"attention_chunk_size\": 4294967296, \"was\": ", NULL},
    {"\"floor_scale\": ", "\"floor_scale\": 0, \"was\": ", NULL},
    {"\"attn_scale\": ", "\"attn_scale\": NaN, \"was\": ", NULL},
    {"\"chunked_attention\"", "\"sliding_attention\"", NULL},
    {"\"no_rope_layers\": [", "\"no_rope_layers\": [1, ", NULL},
    {"\"llama_4_scaling_beta\": ", "\"llama_4_scaling_beta\": -0.1, \"was\": ", NULL},
    {"\"mscale_all_dim\": ", "\"mscale_all_dim\": -1, \"was\": ", NULL},
    {"\"rope_type\": \"yarn\"", "\"rope_type\": \"alibi\"", NULL},
    {"\"swiglu_limit\": ", "\"swiglu_limit\": -7.0, \"was\": ", NULL},
    {"\"logits_scaling\": ", "\"logits_scaling\": NaN, \"was\": ", NULL},
    {"\"attention_multiplier\": ", "\"attention_multiplier\": -0.5, \"was\": ", NULL},
    {"\"hidden_size_per_layer_input\": ", "\"hidden_size_per_layer_input\": 31, \"was\": ", NULL},
};
enum { N_NONSENSE = sizeof nonsense / sizeof *nonsense };

/* Names in the header that become others of the same length: a tensor that is
 * missing, or an expert. */
static const char *const lost[][2] = {
    {"layers.0.mlp.down_proj.", "layers.0.mlp.down_prok."},
    {"layers.1.self_attn.q_proj.", "layers.1.self_attn.z_proj."},
    {"norm.weight", "morn.weight"},
    {"layers.1.layer_scalar", "layers.1.layer_scalax"},
    {"layers.0.experts.down_proj", "layers.0.experts.down_prok"},
    {"experts.1.up_proj", "experts.9.up_proj"},
    {"experts.2.w3.", "experts.9.w3."},
    {"layers.1.mlp.shared_expert_gate.", "layers.1.mlp.shared_expert_date."},
    {"layers.1.block_sparse_moe.gate.", "layers.1.block_sparse_moe.date."},
    {"moe.router.layer.", "moe.router.liyer."},
    {"moe.output_linear.", "moe.output_linaer."},
    {"layers.0.shared_mlp.input_linear.", "layers.0.shared_mlp.input_linaer."},
    {"layers.1.self_attn.sinks", "layers.1.self_attn.sinkz"},
    {"layers.1.mlp.router.bias", "layers.1.mlp.router.bios"},
    {"layers.0.mlp.experts.down_proj_bias", "layers.0.mlp.experts.down_proj_bios"},
    {"layers.0.mlp.experts.gate_up_proj_blocks", "layers.0.mlp.experts.gate_up_proj_bricks"},
    {"layers.1.feed_forward.router.", "layers.1.feed_forward.rooter."},
    {"layers.1.feed_forward.experts.down_proj", "layers.1.feed_forward.experts.down_prok"},
    {"layers.1.feed_forward.experts.gate_up_proj", "layers.1.feed_forward.experts.gate_up_prok"},
    {"layers.1.feed_forward.shared_expert.up_proj.",
     "layers.1.feed_forward.shared_export.up_proj."},
    {"model.layers.0.feed_forward.down_proj.", "model.layers.0.feed_forward.down_prok."},
    {"altup_projections.2.", "altup_projections.3."},
    {"embed_tokens.weight", "embed_tokenz.weight"},
};
enum { N_LOST = sizeof lost / sizeof *lost };

typedef struct {
    char *bytes;
    size_t n;
} file;

static file read_golden(const qn_test_family *f, const char *name)
{
    char path[160];
    file r = {0};
    snprintf(path, sizeof path, "models/golden/%s/%s", f->model, name);
    const char *found = qn_test_data(path);
    if (found) ck_assert(!qn_read_file(found, 1 << 28, &r.bytes, &r.n, NULL));
    return r;
}

static bool replace(file *f, const char *from, const char *to)
{
    const char *text = f->n ? strstr(f->bytes, "\"text_config\"") : NULL;
    const char *at = f->n ? strstr(text ? text : f->bytes, from) : NULL;
    if (!at) return false;
    const size_t before = (size_t)(at - f->bytes), n = strlen(to), skip = strlen(from);
    char *bytes = qn_alloc(f->n + n + 32, 1);
    size_t used = (size_t)sprintf(bytes, "%.*s%s", (int)before, f->bytes, to);
    memcpy(bytes + used, at + skip, f->n - before - skip);
    qn_free(f->bytes);
    f->bytes = bytes;
    f->n = used + f->n - before - skip;
    return true;
}

/* named: what the line must hold, or NULL. */
static void expect_refusal(const qn_test_family *f, const char *what, const char *named)
{
    qn_error err = {0};
    qn_model *m = NULL;
    struct timespec t0, t1;
    const qn_model_options options = {.family = f->family, .no_vocab = true};
    const char *path = qn_test_path("refused");
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t0);
    const qn_status status = qn_model_open(&m, path, &options, &err);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t1);
    const double took = (double)(t1.tv_sec - t0.tv_sec) + 1e-9 * (double)(t1.tv_nsec - t0.tv_nsec);
    ck_assert_msg(status == QN_ERR_DATA || status == QN_ERR_UNSUPPORTED, "%s, %s: status %d: %s",
                  f->model, what, status, err.message);
    ck_assert_msg(!strncmp(err.message, path, strlen(path)), "%s, %s: %s", f->model, what,
                  err.message);
    ck_assert_ptr_null(strchr(err.message, '\n'));
    ck_assert_msg(!named || strstr(err.message, named), "%s, %s is not named: %s", f->model, what,
                  err.message);
    ck_assert_msg(took < 0.5, "%s, %s: %.3f s", f->model, what, took);
    ck_assert_ptr_null(m);
}

/* Whether the words, one space between them, hold that one. */
static bool among(const char *words, const char *word)
{
    const size_t n = strlen(word);
    for (const char *p = words; p && *p; p = strchr(p, ' ') ? strchr(p, ' ') + 1 : NULL)
        if (!strncmp(p, word, n) && (p[n] == ' ' || !p[n])) return true;
    return false;
}

static bool is_single(const qn_test_family *f)
{
    char path[160];
    snprintf(path, sizeof path, "models/golden/%s/model.safetensors", f->model);
    return qn_test_data(path) != NULL;
}

START_TEST(nonsense_in_a_configuration_is_refused_by_every_family)
{
    const qn_test_family *f = &qn_test_families[_i];
    size_t tried = 0;
    if (!is_single(f)) return;
    file weights = read_golden(f, "model.safetensors");
    qn_test_subdirectory("refused");
    qn_test_file("refused/model.safetensors", weights.bytes, weights.n);
    for (size_t i = 0; i < N_NONSENSE; i++) {
        if (among(nonsense[i].unread, f->model)) continue;
        file config = read_golden(f, "config.json");
        if (replace(&config, nonsense[i].from, nonsense[i].to)) {
            qn_test_file("refused/config.json", config.bytes, config.n);
            expect_refusal(f, nonsense[i].to, NULL);
            tried++;
        }
        qn_free(config.bytes);
    }
    ck_assert_uint_gt(tried, 10);
    qn_free(weights.bytes);
}
END_TEST

/* The last two sizes of a matrix change places in the header, which stays as long
 * as it is; done twice they are as before.  false: it has not two different ones. */
static bool turn_shape(char *header, const char *name, const json_t *tensor)
{
    char key[192], old[48], turned[48];
    const json_t *shape = json_object_get(tensor, "shape");
    const size_t rank = json_array_size(shape);
    const json_int_t a = json_integer_value(json_array_get(shape, rank - 2));
    const json_int_t b = json_integer_value(json_array_get(shape, rank - 1));
    if (rank < 2 || a == b) return false;
    snprintf(key, sizeof key, "\"%s\":{", name);
    snprintf(old, sizeof old, "%lld,%lld]", (long long)a, (long long)b);
    snprintf(turned, sizeof turned, "%lld,%lld]", (long long)b, (long long)a);
    char *at = strstr(strstr(header, key), "\"shape\":["), *was = strstr(at, old),
         *is = strstr(at, turned);
    if (was && (!is || was < is))
        memcpy(was, turned, strlen(turned));
    else
        memcpy(is, old, strlen(old));
    return true;
}

/* Of layer 1's tensors, and those of no layer. */
static bool is_tried(const char *name)
{
    static const char *const towers[] = {"vision", "audio", "multi_modal", "__metadata__"};
    for (size_t i = 0; i < sizeof towers / sizeof *towers; i++)
        if (strstr(name, towers[i])) return false;
    return strstr(name, "layers.1.") || !strstr(name, "layers.");
}

START_TEST(a_wrong_shape_is_named_by_every_family)
{
    const qn_test_family *f = &qn_test_families[_i];
    size_t tried = 0;
    uint64_t n;
    const char *name;
    json_t *tensor;
    if (!is_single(f)) return;
    file config = read_golden(f, "config.json"), weights = read_golden(f, "model.safetensors");
    memcpy(&n, weights.bytes, sizeof n);
    json_t *header = json_loadb(weights.bytes + sizeof n, (size_t)n, 0, NULL);
    qn_test_subdirectory("refused");
    qn_test_file("refused/config.json", config.bytes, config.n);
    qn_test_file("refused/model.safetensors", weights.bytes, weights.n);
    json_object_foreach(header, name, tensor)
    {
        if (!is_tried(name) || !turn_shape(weights.bytes + sizeof n, name, tensor)) continue;
        FILE *out = fopen(qn_test_path("refused/model.safetensors"), "r+b");
        ck_assert(out && fwrite(weights.bytes, sizeof n + n, 1, out) == 1 && !fclose(out));
        expect_refusal(f, name, name);
        turn_shape(weights.bytes + sizeof n, name, tensor);
        tried++;
    }
    ck_assert_uint_gt(tried, 2);
    json_decref(header);
    qn_free(weights.bytes);
    qn_free(config.bytes);
}
END_TEST

START_TEST(a_missing_tensor_is_named_by_every_family)
{
    const qn_test_family *f = &qn_test_families[_i];
    size_t tried = 0;
    if (!is_single(f)) return;
    file config = read_golden(f, "config.json");
    for (size_t i = 0; i < N_LOST; i++) {
        file weights = read_golden(f, "model.safetensors");
        char *at = memmem(weights.bytes, weights.n, lost[i][0], strlen(lost[i][0]));
        if (at) {
            memcpy(at, lost[i][1], strlen(lost[i][1]));
            qn_test_subdirectory("refused");
            qn_test_file("refused/config.json", config.bytes, config.n);
            qn_test_file("refused/model.safetensors", weights.bytes, weights.n);
            expect_refusal(f, lost[i][1], lost[i][1]);
            tried++;
        }
        qn_free(weights.bytes);
    }
    ck_assert_uint_gt(tried, 2);
    qn_free(config.bytes);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("families refuse");
    TCase *tc = qn_test_group(suite, "families");
    tcase_add_loop_test(tc, nonsense_in_a_configuration_is_refused_by_every_family, 0,
                        qn_test_n_families);
    tcase_add_loop_test(tc, a_wrong_shape_is_named_by_every_family, 0, qn_test_n_families);
    tcase_add_loop_test(tc, a_missing_tensor_is_named_by_every_family, 0, qn_test_n_families);
    return qn_test_run_suite(suite);
}
