/* A checkpoint packed in four layouts: every integer, scale, zero point and bias
 * found by the layouts' own formulas, bit by bit, and equal to what the row's
 * quantizer gives; the same bytes for any memory and number of threads. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/half.h"
#include "quant/packed_run.h"
#include "tests/support/files.h"
#include "tests/support/random.h"
#include "tests/support/run.h"

/* ---- a source --------------------------------------------------------------------- */

enum { OUT = 40, IN = 192 };

typedef struct {
    const char *name;
    qn_dtype dtype;
    unsigned rank;
    uint64_t dims[3];
} source_tensor;

static const source_tensor sources[] = {
    {"model.embed_tokens.weight", QN_BF16, 2, {16, IN}},
    {"model.layers.0.self_attn.q_proj.weight", QN_BF16, 2, {OUT, IN}},
    {"model.layers.0.self_attn.q_proj.bias", QN_BF16, 1, {OUT}},
    {"model.layers.1.mlp.up_proj.weight", QN_F32, 2, {OUT, IN}},
    {"model.layers.1.mlp.gate.weight", QN_BF16, 2, {8, IN}},
    {"model.layers.1.mlp.experts.3.down_proj.weight", QN_BF16, 2, {OUT, IN}},
    {"model.layers.1.mlp.experts.gate_up_proj.weight", QN_BF16, 3, {2, 8, IN}},
    {"model.layers.1.input_layernorm.weight", QN_BF16, 1, {IN}},
    {"model.vision_tower.layers.0.mlp.fc1.weight", QN_BF16, 2, {OUT, IN}},
    {"model.per_layer_model_projection.weight", QN_BF16, 2, {OUT, IN}},
    {"lm_head.weight", QN_BF16, 2, {16, IN}},
};
enum { N_SOURCES = sizeof sources / sizeof *sources };

static void ok(qn_status status, const qn_error *err)
{
    ck_assert_msg(!status, "%s", err->message);
}

static const char *write_source(void)
{
    qn_error err = {0};
    qn_writer *w = NULL;
    uint64_t total;
    qn_random random = {5};
    const char *path = qn_test_path("source.safetensors");
    ok(qn_writer_create(&w, &qn_format_safetensors, path, true, NULL, 0, &err), &err);
    for (size_t i = 0; i < N_SOURCES; i++)
        ok(qn_writer_declare(w, sources[i].name, sources[i].dtype, sources[i].rank, sources[i].dims,
                             &err),
           &err);
    ok(qn_writer_plan(w, &total, &err), &err);
    ok(qn_writer_begin(w, &err), &err);
    for (size_t i = 0; i < N_SOURCES; i++) {
        const uint64_t bytes = qn_writer_tensor_bytes(w, i);
        const bool wide = sources[i].dtype == QN_F32;
        uint8_t *data = malloc(bytes);
        for (uint64_t j = 0; j < bytes / (wide ? 4 : 2); j++) {
            const float v = 0.02F * qn_random_normal(&random);
            const qn_bfloat16 b = qn_bfloat16_of(v);
            memcpy(data + j * (wide ? 4 : 2), wide ? (const void *)&v : (const void *)&b,
                   wide ? 4 : 2);
        }
        ok(qn_writer_put(w, i, 0, data, bytes, &err), &err);
        free(data);
    }
    ok(qn_writer_commit(w, &err), &err);
    return path;
}

static qn_model *open_source(void)
{
    qn_error err = {0};
    qn_model *m = NULL;
    const qn_model_options how = {.family = "generic"};
    ok(qn_model_open(&m, write_source(), &how, &err), &err);
    return m;
}

/* ---- packing it --------------------------------------------------------------------- */

static qn_patterns none, include, ignore;

static qn_packed_options options_of(const qn_model *m, qn_pack_format f, unsigned bits, bool asym)
{
    return (qn_packed_options){.format = f,
                               .bits = bits,
                               .group = 64,
                               .asymmetric = asym,
                               .ignore = &none,
                               .include = &none,
                               .source = m->reader};
}

static const char *write_packed(const qn_packed_plan *p, const char *name, int threads,
                                bool little_memory)
{
    qn_error err = {0};
    qn_packed_shard *s = NULL;
    qn_writer *w = NULL;
    uint64_t total;
    const char *path = qn_test_path(name);
    ck_assert_uint_eq(p->n_shards, 1);
    ok(qn_packed_shard_new(&s, p, 0, &err), &err);
    const qn_pipeline_options how = {
        .threads = threads,
        .memory_bytes = little_memory ? qn_packed_shard_least_memory(s, threads) : 0};
    ok(qn_writer_create(&w, &qn_format_safetensors, path, true, NULL, 0, &err), &err);
    ok(qn_packed_shard_declare(s, w, &err), &err);
    ok(qn_writer_plan(w, &total, &err), &err);
    ok(qn_writer_begin(w, &err), &err);
    ok(qn_packed_shard_run(s, w, &how, NULL, &err), &err);
    ok(qn_writer_commit(w, &err), &err);
    qn_packed_shard_free(s);
    return path;
}

/* ---- reading it back, a bit at a time -------------------------------------------------- */

typedef struct {
    const qn_reader *r;
    const char *module;
    qn_pack_format format;
    unsigned bits;
    uint64_t out, in, groups;
} packed;

static const qn_tensor *part(const packed *p, const char *suffix)
{
    char name[128];
    snprintf(name, sizeof name, "%s.%s", p->module, suffix);
    const qn_tensor *t = qn_reader_find(p->r, name);
    ck_assert_msg(t != NULL, "%s", name);
    return t;
}

/* `bits` bits from bit `at` of row-major words [..][columns], word (y, x). */
static unsigned field(const qn_tensor *t, uint64_t y, uint64_t x, uint64_t at, unsigned bits)
{
    uint32_t word = 0;
    ck_assert_uint_lt(y, t->dims[0]);
    ck_assert_uint_lt(x, t->dims[1]);
    memcpy(&word, (const uint8_t *)t->data + 4 * (y * t->dims[1] + x), 4);
    return word >> at & ((1U << bits) - 1);
}

static const unsigned awq_bit[8] = {0, 16, 4, 20, 8, 24, 12, 28};

static unsigned code_of(const packed *p, uint64_t o, uint64_t i)
{
    const uint64_t each = p->bits == 8 ? 4 : 8, low = i % each * p->bits;
    switch (p->format) {
    case QN_PACK_COMPRESSED_TENSORS:
        return field(part(p, "weight_packed"), o, i / each, low, p->bits);
    case QN_PACK_MLX: return field(part(p, "weight"), o, i / each, low, p->bits);
    case QN_PACK_GPTQ: return field(part(p, "qweight"), i / each, o, low, p->bits);
    case QN_PACK_AWQ: return field(part(p, "qweight"), i, o / 8, awq_bit[o % 8], 4);
    }
    return 0;
}

static unsigned zero_of(const packed *p, uint64_t o, uint64_t g, bool symmetric)
{
    const uint64_t each = p->bits == 8 ? 4 : 8, low = o % each * p->bits;
    switch (p->format) {
    case QN_PACK_COMPRESSED_TENSORS:
        if (symmetric) return 1U << (p->bits - 1);
        return field(part(p, "weight_zero_point"), o / each, g, low, p->bits);
    case QN_PACK_GPTQ: return field(part(p, "qzeros"), g, o / each, low, p->bits) + 1;
    case QN_PACK_AWQ: return field(part(p, "qzeros"), g, o / 8, awq_bit[o % 8], 4);
    case QN_PACK_MLX: break;
    }
    return 0;
}

static float real_at(const qn_tensor *t, uint64_t y, uint64_t x)
{
    float v;
    qn_half h;
    const uint64_t i = y * t->dims[1] + x;
    ck_assert_uint_lt(x, t->dims[1]);
    memcpy(&h, (const uint8_t *)t->data + 2 * i, 2);
    if (t->dtype == QN_F16) return qn_half_value(h);
    if (t->dtype == QN_BF16) return qn_bfloat16_value(h);
    memcpy(&v, (const uint8_t *)t->data + 4 * i, 4);
    return v;
}

static float scale_of(const packed *p, uint64_t o, uint64_t g)
{
    if (p->format == QN_PACK_COMPRESSED_TENSORS) return real_at(part(p, "weight_scale"), o, g);
    if (p->format == QN_PACK_MLX) return real_at(part(p, "scales"), o, g);
    return real_at(part(p, "scales"), g, o);
}

static void check_weight(const packed *p, const qn_packed_entry *e, bool symmetric)
{
    for (uint64_t o = 0; o < p->out; o++) {
        float x[IN], scales[IN], biases[IN];
        uint8_t codes[IN], zeros[IN];
        uint64_t bad;
        qn_error err = {0};
        const qn_groupwise_row row = {codes, scales, zeros, biases};
        const qn_rows *rows = e->tensor->rows;
        ok(rows->decode(rows, qn_kernels_best(), o, o + 1, x, &err), &err);
        ck_assert(qn_groupwise_encode(&e->how, x, p->in, &row, &bad));
        for (uint64_t i = 0; i < p->in; i++) ck_assert_uint_eq(code_of(p, o, i), codes[i]);
        for (uint64_t g = 0; g < p->groups; g++) {
            ck_assert(scale_of(p, o, g) == scales[g]);
            if (p->format == QN_PACK_MLX)
                ck_assert(real_at(part(p, "biases"), o, g) == biases[g]);
            else
                ck_assert_uint_eq(zero_of(p, o, g, symmetric), zeros[g]);
        }
    }
    if (p->format == QN_PACK_COMPRESSED_TENSORS) {
        const int64_t shape[2] = {(int64_t)p->out, (int64_t)p->in};
        ck_assert(!memcmp(part(p, "weight_shape")->data, shape, sizeof shape));
    }
    for (uint64_t i = 0; p->format == QN_PACK_GPTQ && i < p->in; i++) {
        int32_t group;
        memcpy(&group, (const uint8_t *)part(p, "g_idx")->data + 4 * i, 4);
        ck_assert_int_eq(group, (int32_t)(i / e->how.group));
    }
}

static void check_file(const qn_packed_plan *plan, const char *path)
{
    qn_error err = {0};
    qn_reader *r = NULL;
    ok(qn_reader_open(&r, path, &err), &err);
    for (size_t i = 0; i < plan->n; i++) {
        const qn_packed_entry *e = &plan->entries[i];
        const qn_model_tensor *t = e->tensor;
        char module[96];
        const qn_str m = qn_packed_module(e);
        if (!e->packed) {
            const qn_tensor *kept = qn_reader_find(r, t->name);
            ck_assert_msg(kept != NULL, "%s", t->name);
            ck_assert_mem_eq(kept->data, t->rows->raw(t->rows, 0), kept->bytes);
            continue;
        }
        snprintf(module, sizeof module, "%.*s", (int)m.n, m.s);
        const packed p = {.r = r,
                          .module = module,
                          .format = plan->options.format,
                          .bits = plan->options.bits,
                          .out = t->rows->rows,
                          .in = t->rows->columns,
                          .groups = t->rows->columns / e->how.group};
        check_weight(&p, e, !plan->options.asymmetric);
    }
    qn_reader_close(r);
}

static const struct {
    qn_pack_format format;
    unsigned bits;
    bool asymmetric;
} layouts[] = {
    {QN_PACK_COMPRESSED_TENSORS, 4, false},
    {QN_PACK_COMPRESSED_TENSORS, 4, true},
    {QN_PACK_COMPRESSED_TENSORS, 8, true},
    {QN_PACK_GPTQ, 4, false},
    {QN_PACK_GPTQ, 4, true},
    {QN_PACK_GPTQ, 8, true},
    {QN_PACK_AWQ, 4, false},
    {QN_PACK_AWQ, 4, true},
    {QN_PACK_MLX, 4, true},
    {QN_PACK_MLX, 8, true},
};
enum { N_LAYOUTS = sizeof layouts / sizeof *layouts };

START_TEST(every_number_is_where_its_layout_says)
{
    qn_error err = {0};
    qn_model *m = open_source();
    qn_packed_plan *p = NULL;
    qn_packed_options o =
        options_of(m, layouts[_i].format, layouts[_i].bits, layouts[_i].asymmetric);
    static const char *const experts[] = {"experts"};
    ok(qn_patterns_compile(&ignore, experts, o.format == QN_PACK_MLX, &err), &err);
    o.ignore = &ignore;
    ok(qn_packed_plan_new(&p, m, &o, &err), &err);
    check_file(p, write_packed(p, "packed.safetensors", 1, false));
    check_file(p, write_packed(p, "packed.safetensors", 3, true));
    qn_packed_plan_free(p);
    qn_patterns_free(&ignore);
    qn_model_close(m);
}
END_TEST

/* ---- what is packed ------------------------------------------------------------------------ */

/* As digits, in the order of sources, which of them are packed. */
static const char *packed_ones(const qn_model *m, const qn_packed_options *o)
{
    static char digits[N_SOURCES + 1];
    qn_error err = {0};
    qn_packed_plan *p = NULL;
    ok(qn_packed_plan_new(&p, m, o, &err), &err);
    for (size_t i = 0; i < N_SOURCES; i++)
        for (size_t j = 0; j < p->n; j++)
            if (!strcmp(p->entries[j].tensor->name, sources[i].name))
                digits[i] = p->entries[j].packed ? '1' : '0';
    qn_packed_plan_free(p);
    return digits;
}

START_TEST(only_the_decoders_linears_are_packed_and_for_mlx_embeddings_too)
{
    qn_error err = {0};
    qn_model *m = open_source();
    static const char *const experts[] = {"experts\\.3", "q_proj"};
    static const char *const more[] = {"lm_head", "fc1", "gate\\.weight$"};
    qn_packed_options o = options_of(m, QN_PACK_GPTQ, 4, true);
    ck_assert_str_eq(packed_ones(m, &o), "01010100000");
    o.format = QN_PACK_MLX;
    ok(qn_patterns_compile(&ignore, experts, 1, &err), &err);
    o.ignore = &ignore;
    ck_assert_str_eq(packed_ones(m, &o), "11010000011");
    o.tied = true;
    ck_assert_str_eq(packed_ones(m, &o), "11010000010");
    qn_patterns_free(&ignore);
    ok(qn_patterns_compile(&ignore, experts, 2, &err), &err);
    ok(qn_patterns_compile(&include, more, 3, &err), &err);
    o.format = QN_PACK_COMPRESSED_TENSORS;
    o.include = &include;
    ck_assert_str_eq(packed_ones(m, &o), "00011000100");
    o.tied = false;
    ck_assert_str_eq(packed_ones(m, &o), "00011000101");
    qn_patterns_free(&ignore);
    qn_patterns_free(&include);
    qn_model_close(m);
}
END_TEST

START_TEST(what_no_loader_takes_is_refused_by_name)
{
    static const struct {
        qn_pack_format format;
        const char *include, *says;
    } cases[] = {
        {QN_PACK_AWQ, "lm_head", "\"lm_head.weight\": loaders of awq take no packed head"},
        {QN_PACK_GPTQ, "embed", "\"model.embed_tokens.weight\": loaders of gptq take no packed"},
        {QN_PACK_MLX, "nothing", "experts.3.down_proj.weight\": mlx-lm stacks"},
    };
    qn_model *m = open_source();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qn_error err = {0};
        qn_packed_plan *p = NULL;
        qn_packed_options o = options_of(m, cases[i].format, 4, true);
        ok(qn_patterns_compile(&include, &cases[i].include, 1, &err), &err);
        o.include = &include;
        ck_assert_int_eq(qn_packed_plan_new(&p, m, &o, &err), QN_ERR_ARGUMENT);
        ck_assert_msg(strstr(err.message, cases[i].says) != NULL, "%s", err.message);
        qn_patterns_free(&include);
    }
    qn_model_close(m);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("packed_write");
    TCase *tc = qn_test_group(suite, "packed_write");
    tcase_add_loop_test(tc, every_number_is_where_its_layout_says, 0, N_LAYOUTS);
    tcase_add_test(tc, only_the_decoders_linears_are_packed_and_for_mlx_embeddings_too);
    tcase_add_test(tc, what_no_loader_takes_is_refused_by_name);
    return qn_test_run_suite(suite);
}
