/* Packed checkpoints as sources: their values bit for bit, their logits, and what
 * is refused. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "formats/base/digest.h"
#include "formats/export.h"
#include "formats/packed/packed.h"
#include "formats/packed/unpack.h"
#include "tests/support/data.h"
#include "tests/support/files.h"
#include "tests/support/golden.h"
#include "tests/support/random.h"
#include "tests/support/run.h"

static const char *const samples[] = {
    "quantized-inputs/ct-pack-int4-sym",
    "quantized-inputs/ct-pack-int4-asym",
    "quantized-inputs/ct-pack-int8-channel",
    "quantized-inputs/ct-int8-channel",
    "quantized-inputs/ct-fp8-channel",
    "quantized-inputs/ct-fp8-tensor",
    "quantized-inputs/fp8-block",
    "quantized-inputs/gptq-int4-actorder",
    "quantized-inputs/gptq-int8",
    "quantized-inputs/awq-int4",
    "quantized-inputs/gptoss-mxfp4",
    "tiny-random/tiny_qwen3_sharded",
};
enum { N_SAMPLES = sizeof samples / sizeof *samples, N_LLAMAS = 10 };

/* ---- values ------------------------------------------------------------------------- */

static const char *folder_of(int sample)
{
    char name[128];
    snprintf(name, sizeof name, "models/%s", samples[sample]);
    return qn_test_data(name);
}

static json_t *load(const char *folder, const char *name)
{
    char path[512];
    json_error_t e;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    json_t *root = json_load_file(path, 0, &e);
    ck_assert_msg(root != NULL, "%s: %s", path, e.text);
    return root;
}

static qn_reader *open_unpacked(const char *folder)
{
    qn_error err = {0};
    qn_reader *r = NULL;
    ck_assert_msg(!qn_reader_open(&r, folder, &err), "%s", err.message);
    ck_assert_msg(!qn_unpack_reader_at(r, folder, &err), "%s", err.message);
    return r;
}

/* All rows at once; then must be the same: three at a time, and gathered from the
 * last to the first. */
static float *decode_in_all_ways(const qn_rows *rows)
{
    const qn_kernels *k = qn_kernels_best();
    const uint64_t n = rows->rows, columns = rows->columns;
    float *all = qn_alloc(n * columns, sizeof *all), *some = qn_alloc(n * columns, sizeof *some);
    uint64_t *order = qn_alloc(n, sizeof *order);
    ck_assert(all && some && order);
    ck_assert(!rows->decode(rows, k, 0, n, all, NULL));
    for (uint64_t r = 0; r < n; r += 3) {
        const uint64_t end = r + 3 < n ? r + 3 : n;
        ck_assert(!rows->decode(rows, k, r, end, some + r * columns, NULL));
    }
    ck_assert(!memcmp(all, some, n * columns * sizeof *all));
    for (uint64_t r = 0; r < n; r++) order[r] = n - 1 - r;
    ck_assert(!rows->gather(rows, k, order, n, some, NULL));
    for (uint64_t r = 0; r < n; r++)
        ck_assert(!memcmp(all + r * columns, some + (n - 1 - r) * columns, columns * sizeof *all));
    qn_free(order);
    qn_free(some);
    return all;
}

START_TEST(weights_are_the_ecosystems_floats)
{
    const char *folder = folder_of(_i), *name;
    if (!folder) return;
    json_t *sums = load(folder, "dequantized.json"), *sum;
    qn_reader *r = open_unpacked(folder);
    qn_arena *a = qn_arena_new();
    ck_assert_uint_gt(json_object_size(sums), 0);
    json_object_foreach(sums, name, sum)
    {
        char hex[65];
        const qn_tensor *t = qn_reader_find(r, name);
        ck_assert_msg(t && t->packed, "%s: no packed %s", folder, name);
        const qn_rows *rows = qn_rows_view(a, r, t);
        const uint64_t n = rows->rows * rows->columns;
        ck_assert_uint_eq(n, qn_tensor_elements(t));
        float *values = decode_in_all_ways(rows);
        for (uint64_t i = 0; i < n; i++) values[i] += 0.0F; /* no -0, as in the sums */
        qn_sha256_hex(values, n * sizeof *values, hex);
        ck_assert_msg(!strcmp(hex, json_string_value(sum)), "%s: %s differs", folder, name);
        rows->done(rows, 0, rows->rows);
        qn_free(values);
    }
    for (size_t i = 0; i < r->n_tensors; i++) /* nothing is left of the parts */
        ck_assert_msg(qn_dtype_facts(r->tensors[i].dtype)->is_float, "%s", r->tensors[i].name);
    qn_arena_free(a);
    qn_reader_close(r);
    json_decref(sums);
}
END_TEST

/* transformers' logits with the float values as weights. */
START_TEST(a_packed_llama_has_the_floats_logits)
{
    enum { N = 16 };
    uint32_t ids[N], argmax[N];
    const char *folder = folder_of(_i);
    if (!folder) return;
    json_t *golden = load(folder, "golden.json");
    const qn_model_options options = {.no_vocab = true};
    qn_error err = {0};
    qn_model *m = NULL;
    ck_assert_msg(!qn_model_open(&m, folder, &options, &err), "%s", err.message);
    ck_assert_uint_eq(qn_test_ids(json_object_get(golden, "ids"), ids, N), N);
    ck_assert_uint_eq(qn_test_ids(json_object_get(golden, "argmax"), argmax, N), N);
    double *last = malloc(m->hparams.n_vocab * sizeof *last);
    ck_assert_uint_eq(
        qn_test_numbers(json_object_get(golden, "logits_last"), last, m->hparams.n_vocab),
        m->hparams.n_vocab);
    qn_decoder *d = qn_test_decoder(m, qn_kernels_best(), 2);
    float *logits = qn_test_logits(d, m, ids, N);
    for (size_t i = 0; i < N; i++) {
        const float *at = logits + i * m->hparams.n_vocab;
        size_t best = 0;
        for (size_t v = 1; v < m->hparams.n_vocab; v++)
            if (at[v] > at[best]) best = v;
        ck_assert_uint_eq(best, argmax[i]);
        for (size_t v = 0; i == N - 1 && v < m->hparams.n_vocab; v++)
            ck_assert_msg(fabs((double)at[v] - last[v]) < 1e-5, "logit %zu: %.9g, not %.9g", v,
                          (double)at[v], last[v]);
    }
    free(logits);
    qn_decoder_free(d);
    free(last);
    qn_model_close(m);
    json_decref(golden);
}
END_TEST

START_TEST(a_config_of_floats_says_nothing_of_packing)
{
    const char *folder = folder_of(_i);
    if (!folder) return;
    const qn_model_options options = {.no_vocab = true};
    qn_error err = {0};
    qn_model *m = NULL;
    bool tokenizer;
    qn_test_subdirectory("out");
    ck_assert_msg(!qn_model_open(&m, folder, &options, &err), "%s", err.message);
    ck_assert_msg(!qn_export_files(m, qn_test_path("out"), QN_OUT_F32, &tokenizer, &err), "%s",
                  err.message);
    json_t *config = load(qn_test_path("out"), "config.json");
    ck_assert_ptr_null(json_object_get(config, "quantization_config"));
    ck_assert_str_eq(json_string_value(json_object_get(config, "dtype")), "float32");
    json_decref(config);
    qn_model_close(m);
}
END_TEST

/* ---- faults -------------------------------------------------------------------------- */

/* A sample in memory: its file and its config.json. */
typedef struct {
    char *file, *config;
    size_t n, n_config;
} sample_bytes;

static void read_all(const char *folder, const char *name, char **bytes, size_t *n)
{
    char path[512];
    qn_error err = {0};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    ck_assert_msg(!qn_read_file(path, 1 << 24, bytes, n, &err), "%s", err.message);
}

static bool read_sample(const char *name, sample_bytes *s)
{
    char path[128];
    snprintf(path, sizeof path, "models/quantized-inputs/%s", name);
    const char *folder = qn_test_data(path);
    if (!folder) return false;
    read_all(folder, "model.safetensors", &s->file, &s->n);
    read_all(folder, "config.json", &s->config, &s->n_config);
    return true;
}

static void free_sample(sample_bytes *s)
{
    qn_free(s->file);
    qn_free(s->config);
}

/* Replaces text by text of the same length. */
static void patch(char *bytes, size_t n, const char *from, const char *to)
{
    const size_t k = strlen(from);
    ck_assert_uint_eq(k, strlen(to));
    char *at = memmem(bytes, n, from, k);
    ck_assert_msg(at != NULL, "\"%s\" is not there", from);
    memcpy(at, to, k);
}

/* Opens, unpacks and decodes every row of what comes of it. */
static qn_status use(const sample_bytes *s, qn_error *err)
{
    json_t *config = NULL;
    qn_reader *r = NULL;
    qn_arena *a = qn_arena_new();
    qn_status status = qn_json_parse(s->config, s->n_config, "config.json", false, &config, err);
    if (!status) status = qn_reader_open_memory(&r, s->file, s->n, "model.safetensors", err);
    if (!status) status = qn_unpack_reader(r, config, "config.json", err);
    for (size_t i = 0; !status && i < r->n_tensors; i++) {
        if (!r->tensors[i].packed) continue;
        const qn_rows *rows = qn_rows_view(a, r, &r->tensors[i]);
        float *values = qn_alloc(rows->rows * rows->columns, sizeof *values);
        status = rows->decode(rows, qn_kernels_best(), 0, rows->rows, values, err);
        qn_free(values);
    }
    if (config) json_decref(config);
    qn_reader_close(r);
    qn_arena_free(a);
    return status;
}

static const struct {
    const char *sample, *from, *to, *words;
    bool config; /* the text stands in config.json */
} faults[] = {
    {"gptq-int8", "down_proj.scales\"", "down_proj.scalez\"",
     "lacks \"model.layers.0.mlp.down_proj.scales\", which gptq needs", false},
    {"gptq-int8", "up_proj.qzeros\"", "up_proj.qzeroz\"", "up_proj.qzeros\", which", false},
    {"gptq-int8", "\"shape\":[3,128]", "\"shape\":[128,3]",
     "shape [128, 3], but \"model.layers.0.mlp.down_proj.qweight\" of [48, 128] (int8, groups of "
     "64) "
     "asks for [3, 128]",
     false},
    {"gptq-int8", "\"bits\": 8", "\"bits\": 4", "shape", true},
    {"gptq-int8", "\"bits\": 8", "\"bits\": 9", "9 bits are not read", true},
    {"gptq-int8", "\"group_size\": 64", "\"group_size\": 32", "asks for [6, 128]", true},
    {"gptq-int8", "\"group_size\": 64", "\"group_size\":  0", "\"group_size\" is 0", true},
    {"gptq-int8", "\"checkpoint_format\": \"gptq\"", "\"checkpoint_format\": \"exl2\"",
     "\"checkpoint_format\" exl2; only gptq and gptq_v2 is read", true},
    {"gptq-int8", "\"quant_method\": \"gptq\"", "\"quant_method\": \"vptq\"",
     "packed by vptq (quantization_config), which is not read", true},
    {"awq-int4", "\"version\": \"gemm\"", "\"version\": \"gemv\"", "\"version\" gemv; only gemm",
     true},
    {"awq-int4", "\"zero_point\": true\n", "\"zero_point\":false\n", "\"zero_point\" false", true},
    {"awq-int4", "down_proj.qzeros\"", "down_proj.qzeroz\"", "down_proj.qzeros\", which awq",
     false},
    {"awq-int4", "\"shape\":[192,16]", "\"shape\":[96, 32]", "asks for", false},
    {"ct-pack-int4-asym", "down_proj.weight_zero_point\"", "down_proj.weight_zero_poinz\"",
     "down_proj.weight_zero_point\", which compressed-tensors needs", false},
    {"ct-pack-int4-asym", "down_proj.weight_shape\"", "down_proj.weight_shapz\"", "weight_shape",
     false},
    {"ct-pack-int4-sym", "\"num_bits\": 4", "\"num_bits\": 8", "does not hold", true},
    {"ct-pack-int4-sym", "\"num_bits\": 4", "\"num_bits\": 9", "9 bits are not read", true},
    {"ct-pack-int4-sym", "pack-quantized", "marlin-24_____", "marlin-24", true},
    {"ct-pack-int4-sym", "\"strategy\": \"group\"", "\"strategy\": \"grope\"", "\"strategy\" grope",
     true},
    {"ct-fp8-channel", "\"type\": \"float\"", "\"type\": \"int\"  ", "is F8_E4M3, but config.json",
     true},
    {"ct-fp8-channel", "down_proj.weight_scale\"", "down_proj.weight_scalz\"", "weight_scale",
     false},
    {"ct-int8-channel", "down_proj.weight_scale\"", "down_proj.weight_scalz\"", "weight_scale",
     false},
    {"fp8-block", "down_proj.weight_scale_inv\"", "down_proj.weight_scale_inz\"",
     "down_proj.weight_scale_inv\", which fp8 needs", false},
    {"fp8-block", "\"quant_method\": \"fp8\"", "\"quant_method\": \"fpx\"", "packed by fpx", true},
    {"fp8-block", "\"quant_method\": \"fp8\"", "\"quant_method\": \"awq\"", "\"bits\" is missing",
     true},
    {"fp8-block", "\"quantization_config\"", "\"quantization_konfig\"",
     "down_proj.weight\" is packed, but no quantization_config", true},
    {"ct-int8-channel", "\"quantization_config\"", "\"quantization_konfig\"", "is packed, but no",
     true},
    {"ct-pack-int4-sym", "\"quantization_config\"", "\"quantization_konfig\"", "is packed, but no",
     true},
    {"awq-int4", "\"quantization_config\"", "\"quantization_konfig\"", "qweight\" is packed, but",
     true},
    {"gptoss-mxfp4", "\"quantization_config\"", "\"quantization_konfig\"",
     "blocks\" is packed, but", true},
    {"gptoss-mxfp4", "\"quant_method\": \"mxfp4\"", "\"quant_method\": \"fp8\"  ",
     "blocks\" is packed otherwise than by fp8 (config.json)", true},
    {"gptoss-mxfp4", "down_proj_scales\"", "down_proj_scalez\"", "down_proj_scales\"", false},
    {"gptoss-mxfp4", "\"shape\":[4,128,2]", "\"shape\":[4,64, 4]", "shape [4, 64, 4]", false},
};

START_TEST(a_fault_is_named)
{
    sample_bytes s;
    qn_error err = {0};
    if (!read_sample(faults[_i].sample, &s)) return;
    if (faults[_i].config)
        patch(s.config, s.n_config, faults[_i].from, faults[_i].to);
    else
        patch(s.file, s.n, faults[_i].from, faults[_i].to);
    ck_assert_msg(use(&s, &err) != QN_OK, "fault %d was not seen", _i);
    ck_assert_msg(strstr(err.message, faults[_i].words) != NULL, "fault %d: %s", _i, err.message);
    ck_assert_ptr_null(strchr(err.message, '\n'));
    free_sample(&s);
}
END_TEST

/* Each allocation in turn fails: said as such, nothing leaks (the sanitizers look). */
START_TEST(running_out_of_memory_is_told)
{
    sample_bytes s;
    const char *name = strchr(samples[_i], '/') + 1;
    json_t *config = NULL;
    if (!read_sample(name, &s)) return;
    ck_assert(!qn_json_parse(s.config, s.n_config, "config.json", false, &config, NULL));
    qn_status status = QN_ERR_MEMORY;
    unsigned long n = 0;
    while (status == QN_ERR_MEMORY) {
        qn_reader *r = NULL;
        ck_assert(!qn_reader_open_memory(&r, s.file, s.n, "model.safetensors", NULL));
        qn_alloc_fail_at(++n);
        status = qn_unpack_reader(r, config, "config.json", NULL);
        qn_alloc_fail_at(0);
        qn_reader_close(r);
    }
    ck_assert_int_eq(status, QN_OK);
    ck_assert_uint_gt(n, 4);
    json_decref(config);
    free_sample(&s);
}
END_TEST

/* The stored data of a tensor in a sample's bytes. */
static char *data_of(const sample_bytes *s, const char *name)
{
    qn_reader *r = NULL;
    ck_assert(!qn_reader_open_memory(&r, s->file, s->n, "model.safetensors", NULL));
    const qn_tensor *t = qn_reader_find(r, name);
    ck_assert_msg(t != NULL, "%s", name);
    char *data = s->file + t->offset;
    qn_reader_close(r);
    return data;
}

START_TEST(groups_out_of_range_are_refused)
{
    static const int32_t wrong[] = {3, -1, INT32_MAX, INT32_MIN};
    sample_bytes s;
    qn_error err = {0};
    if (!read_sample("gptq-int4-actorder", &s)) return;
    memcpy(data_of(&s, "model.layers.0.mlp.down_proj.g_idx") + 4 * 191, &wrong[_i], 4);
    ck_assert_int_eq(use(&s, &err), QN_ERR_DATA);
    ck_assert_msg(strstr(err.message, "g_idx\": column 191 is in group ") != NULL, "%s",
                  err.message);
    free_sample(&s);
}
END_TEST

START_TEST(a_lying_shape_is_refused)
{
    static const int64_t wrong[][2] = {{128, 193},
                                       {127, 192},
                                       {0, 192},
                                       {-128, -192},
                                       {128, 200},
                                       {INT64_MAX, INT64_MAX},
                                       {1LL << 32, 1LL << 31}};
    sample_bytes s;
    qn_error err = {0};
    if (!read_sample("ct-pack-int4-sym", &s)) return;
    memcpy(data_of(&s, "model.layers.0.mlp.down_proj.weight_shape"), wrong[_i], 16);
    ck_assert_int_eq(use(&s, &err), QN_ERR_DATA);
    ck_assert_msg(strstr(err.message, "model.layers.0.mlp.down_proj") != NULL, "%s", err.message);
    free_sample(&s);
}
END_TEST

/* Bytes changed at random in the header, in config.json and in the data: what is
 * read without complaint is read within its bounds (the sanitizers look). */
START_TEST(random_damage_breaks_nothing)
{
    enum { ROUNDS = 150, HEAD = 4000 };
    sample_bytes s;
    qn_random random = {(uint64_t)_i + 1};
    const char *name = strchr(samples[_i], '/') + 1;
    if (!read_sample(name, &s)) return;
    char *file = malloc(s.n), *config = malloc(s.n_config);
    memcpy(file, s.file, s.n);
    memcpy(config, s.config, s.n_config);
    for (int i = 0; i < ROUNDS; i++) {
        static const char digits[] = "0123456789,:[]\"{} ";
        for (int j = 0; j < 1 + i % 4; j++) {
            const uint64_t bits = qn_random_bits(&random);
            const bool in_config = i % 3 == 0;
            char *bytes = in_config ? s.config : s.file;
            const size_t n = in_config ? s.n_config : i % 3 == 1 ? HEAD : s.n;
            bytes[(bits >> 8) % n] = i % 3 == 2 ? (char)bits : digits[bits % (sizeof digits - 1)];
        }
        (void)use(&s, NULL);
        memcpy(s.file, file, s.n);
        memcpy(s.config, config, s.n_config);
    }
    ck_assert(!use(&s, NULL));
    free(file);
    free(config);
    free_sample(&s);
}
END_TEST

/* A copy of a sample with one more tensor, F16 [64], in the test's directory. */
static const char *with_bias(const sample_bytes *s, uint16_t element)
{
    static const char entry[] = "{\"model.layers.0.self_attn.q_proj.bias\":{\"dtype\":\"F16\","
                                "\"shape\":[64],\"data_offsets\":[%zu,%zu]},";
    uint64_t n;
    char head[256];
    uint16_t values[64] = {[63] = element};
    qn_text file = {0};
    memcpy(&n, s->file, sizeof n);
    const size_t data = s->n - sizeof n - n;
    snprintf(head, sizeof head, entry, data, data + sizeof values);
    const uint64_t more = n - 1 + strlen(head);
    qn_text_add(&file, (const char *)&more, sizeof more);
    qn_text_adds(&file, head);
    qn_text_add(&file, s->file + 9, s->n - 9); /* behind the brace */
    qn_text_add(&file, (const char *)values, sizeof values);
    qn_test_subdirectory("biased");
    qn_test_file("biased/config.json", s->config, s->n_config);
    qn_test_file("biased/model.safetensors", file.s, file.n);
    qn_text_free(&file);
    return qn_test_path("biased");
}

START_TEST(a_bias_of_zeros_that_gptq_adds_is_left_out)
{
    const qn_model_options options = {.no_vocab = true};
    sample_bytes s;
    qn_error err = {0};
    qn_model *m = NULL;
    if (!read_sample("gptq-int8", &s)) return;
    ck_assert_msg(!qn_model_open(&m, with_bias(&s, 0), &options, &err), "%s", err.message);
    ck_assert_ptr_null(qn_model_find(m, "blk.0.attn_q.bias"));
    qn_model_close(m);
    m = NULL;
    ck_assert_int_eq(qn_model_open(&m, with_bias(&s, 1), &options, &err), QN_ERR_DATA);
    ck_assert_msg(strstr(err.message, "q_proj.bias\" has no place") != NULL, "%s", err.message);
    free_sample(&s);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("packed");
    TCase *t = qn_test_group(s, "packed");
    tcase_add_loop_test(t, weights_are_the_ecosystems_floats, 0, N_SAMPLES);
    tcase_add_loop_test(t, a_packed_llama_has_the_floats_logits, 0, N_LLAMAS);
    tcase_add_loop_test(t, a_config_of_floats_says_nothing_of_packing, 0, 1);
    tcase_add_loop_test(t, a_fault_is_named, 0, sizeof faults / sizeof *faults);
    tcase_add_loop_test(t, groups_out_of_range_are_refused, 0, 4);
    tcase_add_loop_test(t, a_lying_shape_is_refused, 0, 7);
    tcase_add_test(t, a_bias_of_zeros_that_gptq_adds_is_left_out);
    tcase_add_loop_test(t, running_out_of_memory_is_told, 0, N_SAMPLES - 1);
    tcase_add_loop_test(t, random_damage_breaks_nothing, 0, N_SAMPLES - 1);
    return qn_test_run_suite(s);
}
