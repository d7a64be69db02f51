/* Gemma 4 at its released sizes: headers as they are, weights a hole in a sparse
 * file.  Names, counts, parameters and shapes are those of Google's uploads
 * (2,011 tensors of E2B, towers included; 1,188 of 31B in two shards). */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "formats/base/text.h"
#include "quant/plan.h"
#include "tests/support/files.h"
#include "tests/support/run.h"

typedef unsigned long long ull;

typedef struct {
    const char *name;
    ull hidden, layers, width, heads, kv, full_kv, window, shared, input, experts;
    unsigned period; /* each so manyeth layer is full */
    ull text, file;  /* tensors: of the text model, in the checkpoint */
    ull parameters;  /* of the text model */
    ull shards;
} size;

static const size sizes[] = {
    {"E2B", 1536, 35, 6144, 8, 1, 0, 512, 20, 256, 0, 5, 600, 2011, 4647449891, 1},
    {"E4B", 2560, 42, 10240, 8, 2, 0, 512, 18, 256, 0, 6, 719, 2130, 7518069034, 1},
    {"26B-A4B", 2816, 30, 2112, 16, 8, 2, 1024, 0, 0, 128, 6, 657, 1013, 25233141790, 2},
    {"31B", 5376, 60, 21504, 32, 16, 4, 1024, 0, 0, 0, 6, 832, 1188, 30697345340, 2},
    {"12B", 3840, 48, 15360, 16, 8, 1, 1024, 0, 0, 0, 6, 666, 677, 11907350320, 1},
};
enum { N_SIZES = sizeof sizes / sizeof *sizes };

/* ---- a checkpoint of that size ----------------------------------------------------------- */

typedef struct {
    const size *z;
    qn_text header, index;
    ull offset, tensors, shard;
    char directory[32];
} maker;

static void shard_name(const maker *m, char *out, size_t n)
{
    if (m->z->shards == 1)
        snprintf(out, n, "model.safetensors");
    else
        snprintf(out, n, "model-%05llu-of-%05llu.safetensors", m->shard + 1, m->z->shards);
}

static void begin(maker *m)
{
    qn_text_adds(&m->header, "{\"__metadata__\":{\"format\":\"pt\"}");
    m->offset = 0;
}

static void end(maker *m)
{
    char name[96];
    qn_text_adds(&m->header, "}");
    while (m->header.n % 8) qn_text_adds(&m->header, " ");
    snprintf(name, sizeof name, "%s/", m->directory);
    shard_name(m, name + strlen(name), sizeof name - strlen(name));
    const int fd = open(qn_test_path(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    const uint64_t n = m->header.n;
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, &n, 8), 8); /* little endian, as all of our machines */
    ck_assert_int_eq(write(fd, m->header.s, n), (ssize_t)n);
    ck_assert_int_eq(ftruncate(fd, (off_t)(8 + n + m->offset)), 0);
    close(fd);
    qn_text_free(&m->header);
    m->header = (qn_text){0};
    m->shard++;
}

static void add(maker *m, const char *name, ull a, ull b, ull c)
{
    char text[256], shape[64];
    const ull elements = a * (b ? b : 1) * (c ? c : 1);
    if (c)
        snprintf(shape, sizeof shape, "%llu,%llu,%llu", a, b, c);
    else if (b)
        snprintf(shape, sizeof shape, "%llu,%llu", a, b);
    else
        snprintf(shape, sizeof shape, "%llu", a);
    snprintf(text, sizeof text,
             ",\"model.%s\":{\"dtype\":\"BF16\",\"shape\":[%s],\"data_offsets\":[%llu,%llu]}", name,
             shape, m->offset, m->offset + 2 * elements);
    qn_text_adds(&m->header, text);
    shard_name(m, shape, sizeof shape);
    snprintf(text, sizeof text, "%s\"model.%s\":\"%s\"", m->index.n ? "," : "", name, shape);
    qn_text_adds(&m->index, text);
    m->offset += 2 * elements;
    m->tensors++;
}

static void add_to_layer(maker *m, ull layer, const char *rest, ull a, ull b, ull c)
{
    char name[160];
    snprintf(name, sizeof name, "language_model.layers.%llu.%s", layer, rest);
    add(m, name, a, b, c);
}

static void add_attention(maker *m, ull i, bool full)
{
    const size *z = m->z;
    const ull head = full ? 512 : 256, kv = full && z->full_kv ? z->full_kv : z->kv;
    add_to_layer(m, i, "self_attn.q_proj.weight", z->heads * head, z->hidden, 0);
    add_to_layer(m, i, "self_attn.k_proj.weight", kv * head, z->hidden, 0);
    if (!full || !z->full_kv)
        add_to_layer(m, i, "self_attn.v_proj.weight", kv * head, z->hidden, 0);
    add_to_layer(m, i, "self_attn.o_proj.weight", z->hidden, z->heads * head, 0);
    add_to_layer(m, i, "self_attn.q_norm.weight", head, 0, 0);
    add_to_layer(m, i, "self_attn.k_norm.weight", head, 0, 0);
}

static void add_experts(maker *m, ull i)
{
    const size *z = m->z;
    add_to_layer(m, i, "router.proj.weight", z->experts, z->hidden, 0);
    add_to_layer(m, i, "router.scale", z->hidden, 0, 0);
    add_to_layer(m, i, "router.per_expert_scale", z->experts, 0, 0);
    add_to_layer(m, i, "experts.gate_up_proj", z->experts, 1408, z->hidden);
    add_to_layer(m, i, "experts.down_proj", z->experts, z->hidden, 704);
    add_to_layer(m, i, "post_feedforward_layernorm_1.weight", z->hidden, 0, 0);
    add_to_layer(m, i, "post_feedforward_layernorm_2.weight", z->hidden, 0, 0);
    add_to_layer(m, i, "pre_feedforward_layernorm_2.weight", z->hidden, 0, 0);
}

static void add_layer(maker *m, ull i)
{
    const size *z = m->z;
    const bool wide = !strcmp(z->name, "E2B") && i >= z->layers - z->shared;
    const ull width = z->width * (wide ? 2 : 1);
    static const char *const norms[] = {"input_layernorm", "post_attention_layernorm",
                                        "pre_feedforward_layernorm", "post_feedforward_layernorm"};
    for (size_t n = 0; n < 4; n++) {
        char name[64];
        snprintf(name, sizeof name, "%s.weight", norms[n]);
        add_to_layer(m, i, name, z->hidden, 0, 0);
    }
    add_attention(m, i, (i + 1) % z->period == 0);
    add_to_layer(m, i, "mlp.gate_proj.weight", width, z->hidden, 0);
    add_to_layer(m, i, "mlp.up_proj.weight", width, z->hidden, 0);
    add_to_layer(m, i, "mlp.down_proj.weight", z->hidden, width, 0);
    add_to_layer(m, i, "layer_scalar", 1, 0, 0);
    if (z->experts) add_experts(m, i);
    if (!z->input) return;
    add_to_layer(m, i, "per_layer_input_gate.weight", z->input, z->hidden, 0);
    add_to_layer(m, i, "per_layer_projection.weight", z->hidden, z->input, 0);
    add_to_layer(m, i, "post_per_layer_input_norm.weight", z->hidden, 0, 0);
}

static void write_index(maker *m)
{
    char name[64];
    qn_text all = {0};
    qn_text_adds(&all, "{\"metadata\":{},\"weight_map\":{");
    qn_text_adds(&all, m->index.s);
    qn_text_adds(&all, "}}");
    snprintf(name, sizeof name, "%s/model.safetensors.index.json", m->directory);
    if (m->z->shards > 1) qn_test_file(name, all.s, all.n);
    qn_text_free(&all);
    qn_text_free(&m->index);
}

static void write_config(const maker *m)
{
    char text[2048], types[2048] = "", name[96];
    const size *z = m->z;
    size_t used = 0;
    for (ull i = 0; i < z->layers; i++)
        used += (size_t)snprintf(types + used, sizeof types - used, "%s\"%s_attention\"",
                                 i ? "," : "", (i + 1) % z->period ? "sliding" : "full");
    const int n = snprintf(
        text, sizeof text,
        "{\"architectures\":[\"Gemma4ForConditionalGeneration\"],\"model_type\":\"gemma4\","
        "\"text_config\":{\"hidden_size\":%llu,\"num_hidden_layers\":%llu,"
        "\"intermediate_size\":%llu,\"num_attention_heads\":%llu,\"num_key_value_heads\":%llu,"
        "\"num_global_key_value_heads\":%llu,\"attention_k_eq_v\":%s,\"head_dim\":256,"
        "\"global_head_dim\":512,\"sliding_window\":%llu,\"num_kv_shared_layers\":%llu,"
        "\"hidden_size_per_layer_input\":%llu,\"use_double_wide_mlp\":%s,"
        "\"expert_intermediate_size\":null,%s\"final_logit_softcapping\":30.0,"
        "\"layer_types\":[",
        z->hidden, z->layers, z->width, z->heads, z->kv, z->full_kv, z->full_kv ? "true" : "false",
        z->window, z->shared, z->input, strcmp(z->name, "E2B") ? "false" : "true",
        z->experts ? "\"num_experts\":128,\"top_k_experts\":8,\"moe_intermediate_size\":704,"
                     "\"enable_moe_block\":true,"
                   : "\"num_experts\":null,");
    qn_text all = {0};
    ck_assert_int_lt(n, (int)sizeof text);
    qn_text_adds(&all, text);
    qn_text_adds(&all, types);
    qn_text_adds(&all, "]}}");
    snprintf(name, sizeof name, "%s/config.json", m->directory);
    qn_test_file(name, all.s, all.n);
    qn_text_free(&all);
}

/* Towers are as many tensors as the uploads have besides the text. */
static void make(const size *z, char *directory, size_t n)
{
    maker m = {.z = z};
    snprintf(m.directory, sizeof m.directory, "%s", z->name);
    qn_test_subdirectory(m.directory);
    begin(&m);
    add(&m, "language_model.embed_tokens.weight", 262144, z->hidden, 0);
    add(&m, "language_model.norm.weight", z->hidden, 0, 0);
    if (z->input) {
        add(&m, "language_model.embed_tokens_per_layer.weight", 262144, z->layers * z->input, 0);
        add(&m, "language_model.per_layer_model_projection.weight", z->layers * z->input, z->hidden,
            0);
        add(&m, "language_model.per_layer_projection_norm.weight", z->input, 0, 0);
    }
    for (ull i = 0; i < z->layers; i++) {
        if (z->shards == 2 && i == z->layers / 2) {
            end(&m);
            begin(&m);
        }
        add_layer(&m, i);
    }
    ck_assert_uint_eq(m.tensors, z->text);
    while (m.tensors < z->file) {
        char name[64];
        snprintf(name, sizeof name, "vision_tower.encoder.tensor.%llu", m.tensors);
        add(&m, name, 1152, 1152, 0);
    }
    end(&m);
    write_index(&m);
    write_config(&m);
    snprintf(directory, n, "%s", qn_test_path(m.directory));
}

/* ---- memory ----------------------------------------------------------------------------------- */

/* Of this process, which is the test's own.  A sanitizer's is no measure. */
static ull resident_kib(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (ull)usage.ru_maxrss;
}

static bool sanitized(void)
{
#ifdef __SANITIZE_ADDRESS__
    return true;
#else
    return false;
#endif
}

/* ---- tests ------------------------------------------------------------------------------------ */

START_TEST(a_released_size_opens_and_is_planned)
{
    char directory[4096];
    qn_error err = {0};
    qn_model *m = NULL;
    qn_plan *p = NULL;
    const size *z = &sizes[_i];
    ull parameters = 0, fallbacks = 0;
    make(z, directory, sizeof directory);
    const ull before = resident_kib();
    const qn_model_options options = {.no_vocab = true};
    ck_assert_msg(!qn_model_open(&m, directory, &options, &err), "%s", err.message);
    ck_assert_uint_eq(m->n_towers, z->file - z->text);
    ck_assert_uint_eq(m->n_tensors, z->text + 1); /* rope_freqs */
    ck_assert_str_eq(m->tensors[0].name, "rope_freqs.weight");
    ck_assert_uint_eq(m->tensors[0].dims[0], 256);
    for (size_t i = 1; i < m->n_tensors; i++)
        parameters += m->tensors[i].rows->rows * m->tensors[i].rows->columns;
    ck_assert_msg(parameters == z->parameters, "%s has %llu parameters", z->name, parameters);
    const qn_quantize_options how = {.mix = qn_mix_by_name("Q4_K_M")};
    ck_assert_msg(!qn_plan_quantize(&p, m, &how, &err), "%s", err.message);
    for (size_t i = 0; i < p->n; i++) fallbacks += p->entries[i].fallback;
    /* Rows of 2,112 and of 704 are no whole blocks of 256. */
    ck_assert_uint_eq(fallbacks, z->experts ? 2 * z->layers : 0);
    /* Headers and the plan alone, of 61 GB as of 9. */
    const ull grown = resident_kib() - before;
    printf("%s: %llu KiB for the plan\n", z->name, grown);
    ck_assert_msg(sanitized() || grown < 16 * 1024, "%s took %llu KiB", z->name, grown);
    qn_plan_free(p);
    qn_model_close(m);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gemma 4 sizes");
    TCase *tc = qn_test_group(suite, "sizes");
    tcase_add_loop_test(tc, a_released_size_opens_and_is_planned, 0, N_SIZES);
    return qn_test_run_suite(suite);
}
