/* quern inspect: what is in a file, fast: only the header is read, unless more
 * is asked for. */
#include "tools/inspect.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "formats/base/digest.h"
#include "formats/packed/packed.h"
#include "formats/packed/unpack.h"
#include "formats/rows.h"
#include "quant/statistics.h"
#include "tools/commands.h"

typedef struct {
    qn_common common;
    bool stats, histogram, hash, all;
} options;

static const options defaults = {0};

static const qn_opt table[] = {
    {0, "stats", NULL, QN_OPT_FLAG, offsetof(options, stats),
     "each tensor's minimum, maximum, mean, standard deviation, zeros, NaN and infinity counts"},
    {0, "histogram", NULL, QN_OPT_FLAG, offsetof(options, histogram),
     "each tensor's values in 16 equal parts of their range"},
    {0, "hash", NULL, QN_OPT_FLAG, offsetof(options, hash),
     "XXH3 (64 bits) and SHA-256 of each tensor's bytes (of a packed weight, its codes)"},
    {'a', "all", NULL, QN_OPT_FLAG, offsetof(options, all),
     "whole arrays and strings of the metadata"},
};

enum { BINS = 16, BAR = 40 };

/* What was asked for besides the header. */
typedef struct {
    bool have_stats; /* false: not asked for, or an encoding that has no values */
    qn_statistics stats;
    uint64_t bins[BINS];
    uint64_t xxh3;
    char sha256[65];
} findings;

/* ---- looking -------------------------------------------------------------------------- */

static qn_status look_at_values(const options *o, const qn_reader *r, const qn_tensor *t,
                                findings *f, qn_error *err)
{
    const qn_kernels *k = qn_kernels_best();
    if (!k->decode[t->dtype]) return QN_OK;
    qn_arena *a = qn_arena_new();
    const qn_rows *rows = a ? qn_rows_view(a, r, t) : NULL;
    const int threads = (int)o->common.threads;
    qn_status status =
        rows ? qn_statistics_of(rows, k, threads, &f->stats, err) : qn_fail_memory(err, t->name);
    if (!status && o->histogram)
        status = qn_statistics_histogram(rows, k, threads, &f->stats, f->bins, BINS, err);
    qn_arena_free(a);
    f->have_stats = !status;
    return status;
}

static qn_status look_at(const options *o, const qn_reader *r, const qn_tensor *t, findings *f,
                         qn_error *err)
{
    *f = (findings){0};
    if (o->hash) {
        f->xxh3 = qn_xxh3(t->data, (size_t)t->bytes);
        qn_sha256_hex(t->data, (size_t)t->bytes, f->sha256);
        qn_map_done(&r->files[t->file], t->offset, t->bytes);
    }
    return o->stats || o->histogram ? look_at_values(o, r, t, f, err) : QN_OK;
}

/* ---- packed weights --------------------------------------------------------------------- */

/* "int4" of "int4, groups of 64" into buf; of a plain tensor its type. */
static const char *type_of(const qn_tensor *t, char buf[16])
{
    const char *words = t->packed ? t->packed->words : qn_dtype_facts(t->dtype)->name;
    snprintf(buf, 16, "%.*s", (int)strcspn(words, ","), words);
    return buf;
}

/* With what belongs to a packed weight. */
static uint64_t bytes_of(const qn_tensor *t)
{
    return t->packed ? t->packed->bytes : t->bytes;
}

/* Of a checkpoint whose packing cannot be read the stored tensors are shown. */
static void unpack(const options *o, qn_reader *r, const char *path)
{
    qn_error err = {0};
    if (r->gguf_version || !qn_unpack_reader_at(r, path, &err)) return;
    qn_remark(&o->common, "%s; tensors are shown as they are stored", err.message);
}

/* ---- sums ------------------------------------------------------------------------------ */

typedef struct {
    uint64_t file_bytes, tensor_bytes, elements;
    uint64_t count[QN_DTYPE_COUNT];
    double bits_per_weight;
} totals;

static totals add_up(const qn_reader *r)
{
    totals sum = {0};
    for (size_t i = 0; i < r->n_files; i++) sum.file_bytes += r->files[i].size;
    for (size_t i = 0; i < r->n_tensors; i++) {
        sum.tensor_bytes += bytes_of(&r->tensors[i]);
        sum.elements += qn_tensor_elements(&r->tensors[i]);
        if (!r->tensors[i].packed) sum.count[r->tensors[i].dtype]++;
    }
    if (sum.elements) sum.bits_per_weight = 8.0 * (double)sum.tensor_bytes / (double)sum.elements;
    return sum;
}

/* ---- text ------------------------------------------------------------------------------- */

static void print_header(const char *path, const qn_reader *r, const totals *sum)
{
    char size[32];
    printf("%s: %s", path, r->format->name);
    if (r->gguf_version) printf(" v%" PRIu64, r->gguf_version);
    if (r->n_files != 1) printf(" in %zu files", r->n_files);
    printf(", %s, %zu tensors, %" PRIu64 " weights, %.2f bits per weight\n",
           qn_human_size((double)sum->file_bytes, size), r->n_tensors, sum->elements,
           sum->bits_per_weight);
    const char *before = "types: ";
    for (int t = 0; t < QN_DTYPE_COUNT; t++) {
        if (!sum->count[t]) continue;
        printf("%s%s x %" PRIu64, before, qn_dtype_facts((qn_dtype)t)->name, sum->count[t]);
        before = ", ";
    }
    printf("%salignment %" PRIu64 "\n", strcmp(before, ", ") == 0 ? "; " : "", r->alignment);
    if (r->packing) printf("packed: %s\n", r->packing);
}

static void print_histogram(const findings *f)
{
    uint64_t most = 1;
    for (size_t i = 0; i < BINS; i++)
        if (f->bins[i] > most) most = f->bins[i];
    const double width = (f->stats.max - f->stats.min) / BINS;
    for (size_t i = 0; i < BINS; i++) {
        const int n = (int)((double)BAR * (double)f->bins[i] / (double)most + 0.5);
        printf("    %+.4e  %-*.*s %" PRIu64 "\n", f->stats.min + (double)i * width, BAR, n,
               "########################################", f->bins[i]);
    }
}

static void print_findings(const options *o, const findings *f)
{
    const qn_statistics *s = &f->stats;
    if (f->have_stats)
        printf("    min %.6g  max %.6g  mean %.6g  std %.6g  zeros %" PRIu64 "  NaN %" PRIu64
               "  infinite %" PRIu64 "\n",
               s->min, s->max, s->mean, s->deviation, s->zeros, s->nans, s->infinities);
    if (f->have_stats && o->histogram) print_histogram(f);
    if (o->hash) printf("    xxh3_64 %016" PRIx64 "  sha256 %s\n", f->xxh3, f->sha256);
}

static int widest_name(const qn_reader *r)
{
    size_t widest = 4;
    for (size_t i = 0; i < r->n_tensors; i++) {
        const size_t n = strlen(r->tensors[i].name);
        if (n > widest) widest = n;
    }
    return widest > 64 ? 64 : (int)widest;
}

static qn_status print_tensors(const options *o, const qn_reader *r, qn_error *err)
{
    const int width = widest_name(r);
    printf("\ntensors: %zu\n", r->n_tensors);
    for (size_t i = 0; i < r->n_tensors; i++) {
        const qn_tensor *t = &r->tensors[i];
        char shape[80], size[32], type[16];
        findings f;
        const qn_status status = look_at(o, r, t, &f, err);
        if (status) return status;
        printf("  ");
        qn_print_name(t->name, strlen(t->name), width);
        printf("  %-6s %-18s %10s  at %" PRIu64 "%s\n", type_of(t, type),
               qn_shape_text(t->dims, t->rank, shape, sizeof shape),
               qn_human_size((double)bytes_of(t), size), t->offset,
               t->packed ? t->packed->words + strcspn(t->packed->words, ",") : "");
        print_findings(o, &f);
    }
    return QN_OK;
}

/* ---- JSON -------------------------------------------------------------------------------- */

static json_t *bins_json(const findings *f)
{
    json_t *counts = json_array();
    for (size_t i = 0; i < BINS; i++) json_array_append_new(counts, qn_json_count(f->bins[i]));
    return counts;
}

static void add_findings(const options *o, const findings *f, json_t *to)
{
    const qn_statistics *s = &f->stats;
    if (f->have_stats)
        json_object_set_new(
            to, "stats",
            json_pack("{s: o, s: o, s: o, s: o, s: o, s: o, s: o}", "min", qn_json_number(s->min),
                      "max", qn_json_number(s->max), "mean", qn_json_number(s->mean), "std",
                      qn_json_number(s->deviation), "zeros", qn_json_count(s->zeros), "nan",
                      qn_json_count(s->nans), "infinite", qn_json_count(s->infinities)));
    if (f->have_stats && o->histogram) json_object_set_new(to, "histogram", bins_json(f));
    if (o->hash) {
        json_object_set_new(to, "xxh3_64", json_sprintf("%016" PRIx64, f->xxh3));
        json_object_set_new(to, "sha256", json_string(f->sha256));
    }
}

static qn_status tensors_json(const options *o, const qn_reader *r, json_t *tensors, qn_error *err)
{
    for (size_t i = 0; i < r->n_tensors; i++) {
        const qn_tensor *t = &r->tensors[i];
        char type[16];
        findings f;
        const qn_status status = look_at(o, r, t, &f, err);
        if (status) return status;
        json_t *one = json_pack("{s: o, s: s, s: o, s: o, s: o}", "name",
                                qn_json_text(t->name, strlen(t->name)), "type", type_of(t, type),
                                "shape", qn_json_shape(t->dims, t->rank), "offset",
                                qn_json_count(t->offset), "size_bytes", qn_json_count(bytes_of(t)));
        if (t->packed) json_object_set_new(one, "packing", json_string(t->packed->words));
        if (r->n_files > 1)
            json_object_set_new(
                one, "file", qn_json_text(r->files[t->file].path, strlen(r->files[t->file].path)));
        add_findings(o, &f, one);
        json_array_append_new(tensors, one);
    }
    return QN_OK;
}

static qn_exit report(const options *o, const char *path, const qn_reader *r, const totals *sum)
{
    qn_error err = {0};
    json_t *tensors = json_array(), *document = qn_report_new(&o->common);
    if (tensors_json(o, r, tensors, &err)) {
        json_decref(tensors);
        json_decref(document);
        return qn_complain(&o->common, &err);
    }
    json_object_set_new(document, "file", qn_json_text(path, strlen(path)));
    json_object_set_new(document, "format", json_string(r->format->name));
    if (r->gguf_version)
        json_object_set_new(document, "gguf_version", qn_json_count(r->gguf_version));
    json_object_set_new(document, "size_bytes", qn_json_count(sum->file_bytes));
    json_object_set_new(document, "alignment", qn_json_count(r->alignment));
    if (r->packing) json_object_set_new(document, "packing", json_string(r->packing));
    json_object_set_new(document, "weights", qn_json_count(sum->elements));
    json_object_set_new(document, "bits_per_weight", qn_json_number(sum->bits_per_weight));
    json_object_set_new(document, "metadata", qn_inspect_metadata_json(r->metadata, o->all));
    json_object_set_new(document, "tensors", tensors);
    return qn_report_print(&o->common, document);
}

static qn_exit run(const void *given, char **args, size_t n)
{
    const options *o = given;
    (void)n;
    qn_error err = {0};
    qn_reader *r = NULL;
    qn_exit exit = QN_EXIT_FINE;
    if (qn_reader_open(&r, args[0], &err)) return qn_complain(&o->common, &err);
    unpack(o, r, args[0]);
    const totals sum = add_up(r);
    if (o->common.json) {
        exit = report(o, args[0], r, &sum);
    } else {
        print_header(args[0], r, &sum);
        if (!o->common.quiet) {
            if (r->metadata) qn_inspect_print_metadata(r->metadata, o->all);
            if (print_tensors(o, r, &err)) exit = qn_complain(&o->common, &err);
        }
    }
    qn_reader_close(r);
    return exit;
}

const qn_command qn_command_inspect = {
    .name = "inspect",
    .summary = "show what is in a model file",
    .synopsis = "[options] FILE",
    .about =
        "FILE is a .gguf or .safetensors file, or a checkpoint directory. Prints format, "
        "metadata and tensors: name, type, shape (outermost dimension first), size, place. "
        "Packed weights (compressed-tensors, GPTQ, AWQ, MLX, FP8, MXFP4) are shown as the matrices "
        "they stand for, with what their codes are and what shares a scale. "
        "Only headers are read, so the size of the file does not matter; --stats, "
        "--histogram and --hash read the tensors. With --quiet only the first lines.",
    .examples = "  quern inspect model.gguf\n"
                "  quern inspect --stats --histogram checkpoint/\n"
                "  quern inspect --json --hash model.safetensors\n",
    .options = table,
    .n_options = QN_COUNT_OF(table),
    .defaults = &defaults,
    .options_bytes = sizeof defaults,
    .least = 1,
    .most = 1,
    .models = 1,
    .run = run,
};
