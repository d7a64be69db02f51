/* quern quantize: smaller types for a model's tensors, by llama-quantize's rules. */
#include <stdio.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "tools/commands.h"
#include "tools/memory.h"
#include "tools/output_name.h"
#include "tools/progress.h"
#include "tools/quantize_inputs.h"
#include "tools/quantize_packed.h"
#include "tools/source_options.h"
#include "tools/split_options.h"
#include "tools/write_model.h"

typedef struct {
    qn_common common;
    bool dry_run, force, pure, leave_output_tensor, allow_requantize, allow_nan, keep_split;
    const char *output_type, *embedding_type;
    qn_source_options source;
    qn_texts imatrix, include_weights, exclude_weights, tensor_types, overrides;
    const char *split_max_size;
    bool asymmetric;
    const char *group_size, *format, *clip;
    qn_texts ignore, include;
    uint64_t max_memory, max_shard_size, align, split_max_tensors;
} options;

static const options defaults = {.max_memory = QN_DEFAULT_MEMORY};

static const qn_opt table[] = {
    {0, "dry-run", NULL, QN_OPT_FLAG, offsetof(options, dry_run),
     "print which tensor becomes what and why, and the size; write nothing"},
    {0, "force", NULL, QN_OPT_FLAG, offsetof(options, force), "replace an existing output"},
    {0, "pure", NULL, QN_OPT_FLAG, offsetof(options, pure),
     "no mix: every tensor that is quantized gets TYPE"},
    {0, "leave-output-tensor", NULL, QN_OPT_FLAG, offsetof(options, leave_output_tensor),
     "leave output.weight in the type it has"},
    {0, "output-tensor-type", "TYPE", QN_OPT_TEXT, offsetof(options, output_type),
     "this type for output.weight"},
    {0, "token-embedding-type", "TYPE", QN_OPT_TEXT, offsetof(options, embedding_type),
     "this type for the token embedding"},
    {0, "tensor-type", "NAME=TYPE", QN_OPT_TEXTS, offsetof(options, tensor_types),
     "this type for tensors in whose name the regular expression NAME is found, when TYPE is "
     "made of blocks; the first that fits counts (repeatable)"},
    {0, "tensor-type-file", "FILE", QN_OPT_TEXTS, offsetof(options, tensor_types),
     "a file of NAME=TYPE, between blanks or line feeds (repeatable)"},
    {0, "override-kv", "KEY=TYPE:VALUE", QN_OPT_TEXTS, offsetof(options, overrides),
     "metadata to set in the output; TYPE is int, float, bool or str (repeatable)"},
    {0, "imatrix", "FILE", QN_OPT_TEXTS, offsetof(options, imatrix),
     "importance matrix of llama-imatrix, .gguf or .dat; given several times, they are merged"},
    {0, "include-weights", "TEXT", QN_OPT_TEXTS, offsetof(options, include_weights),
     "of the importance matrix only entries whose name contains TEXT (repeatable)"},
    {0, "exclude-weights", "TEXT", QN_OPT_TEXTS, offsetof(options, exclude_weights),
     "of the importance matrix no entries whose name contains TEXT (repeatable)"},
    {0, "group-size", "N", QN_OPT_TEXT, offsetof(options, group_size),
     "int4, int8: columns that share a scale: 32, 64, 128, or channel for a whole row (default "
     "128, mlx 64)"},
    {0, "asym", NULL, QN_OPT_FLAG, offsetof(options, asymmetric),
     "int4, int8: a zero point for each group (mlx: a bias)"},
    {0, "format", "NAME", QN_OPT_TEXT, offsetof(options, format),
     "int4, int8: compressed-tensors, gptq, awq or mlx (default compressed-tensors)"},
    {0, "clip", "HOW", QN_OPT_TEXT, offsetof(options, clip),
     "int4, int8: the range of a group: minmax, or mse for the part of it that loses least "
     "(default minmax)"},
    {0, "ignore", "PATTERN", QN_OPT_TEXTS, offsetof(options, ignore),
     "int4, int8: leave tensors as they are in whose name the regular expression is found "
     "(repeatable)"},
    {0, "include", "PATTERN", QN_OPT_TEXTS, offsetof(options, include),
     "int4, int8: quantize these, too: lm_head, say (repeatable)"},
    {0, "max-shard-size", "SIZE", QN_OPT_SIZE, offsetof(options, max_shard_size),
     "int4, int8: begin another file, model-00002-of-00003.safetensors, where one would hold more "
     "bytes of tensors: 5GB, say (default: as many files as the source has)"},
    {0, "allow-requantize", NULL, QN_OPT_FLAG, offsetof(options, allow_requantize),
     "also quantize tensors that are quantized already; loses more than starting from 16 or 32 "
     "bits"},
    {0, "allow-nan", NULL, QN_OPT_FLAG, offsetof(options, allow_nan),
     "let NaN and infinity through to F32, F16 and BF16 tensors; blocks cannot hold them"},
    QN_WRITE_MEMORY_OPTION(offsetof(options, max_memory)),
    {0, "align", "N", QN_OPT_SIZE, offsetof(options, align),
     "alignment of each tensor in the file, a power of two; 16384 lets phones map pages (default "
     "32)"},
    {0, "keep-split", NULL, QN_OPT_FLAG, offsetof(options, keep_split),
     "as many files as the source has, each with the tensors of one"},
    QN_SPLIT_OPTIONS(options, split_max_size, split_max_tensors),
    QN_SOURCE_OPTIONS(options, source),
};

/* ---- arguments ------------------------------------------------------------------- */

typedef struct {
    const char *in, *out; /* out NULL: not given */
    const qn_mix **mixes; /* allocated */
    size_t n;
    qn_split_options split;
} arguments;

static qn_exit unknown_type(const qn_common *c, const char *word)
{
    const char *nearest = NULL;
    size_t least = 3;
    for (size_t i = 0; qn_mix_at(i); i++) {
        const size_t d = qn_edit_distance(word, qn_mix_at(i)->name);
        if (d < least) least = d, nearest = qn_mix_at(i)->name;
    }
    if (nearest) return qn_usage(c, "unknown type '%s'; did you mean %s?", word, nearest);
    return qn_usage(c, "unknown type '%s'; quern quantize --help lists them", word);
}

static bool is_digits(const char *s)
{
    return *s && s[strspn(s, "0123456789")] == 0;
}

/* Whether the word, or what stands before its first comma, is a type. */
static bool begins_with_type(const char *word)
{
    char first[32];
    const size_t n = strcspn(word, ",");
    if (n >= sizeof first) return false;
    memcpy(first, word, n);
    first[n] = 0;
    return qn_mix_by_name(first) != NULL;
}

static qn_exit take_type(const qn_common *c, const char *word, arguments *a)
{
    const qn_mix *mix = qn_mix_by_name(word);
    if (!mix) return unknown_type(c, word);
    for (size_t i = 0; i < a->n; i++)
        if (a->mixes[i] == mix) return qn_usage(c, "type %s is asked for twice", mix->name);
    a->mixes[a->n++] = mix;
    return QN_EXIT_FINE;
}

/* TYPE,TYPE...; cuts the word into pieces. */
static qn_exit take_types(const qn_common *c, char *word, arguments *a)
{
    qn_exit exit = QN_EXIT_FINE;
    for (char *next; word && !exit; word = next) {
        next = strchr(word, ',');
        if (next) *next++ = 0;
        exit = take_type(c, word, a);
    }
    return exit;
}

/* IN [OUT] TYPE..., where llama-quantize takes a number of threads behind it. */
static qn_exit sort_arguments(const qn_common *c, char **args, size_t n, arguments *a)
{
    const size_t first = begins_with_type(args[1]) ? 1 : 2;
    size_t most = 0;
    qn_exit exit = QN_EXIT_FINE;
    *a = (arguments){.in = args[0], .out = first == 2 ? args[1] : NULL};
    if (first == 2 && n == 2) return unknown_type(c, args[1]);
    for (size_t i = first; i < n; i++) most += strlen(args[i]);
    a->mixes = qn_alloc(most, sizeof(const qn_mix *));
    if (!a->mixes) return qn_complain(c, &(qn_error){QN_ERR_MEMORY, "not enough memory"});
    for (size_t i = first; i < n && !exit; i++) {
        if (i > first && is_digits(args[i]))
            return qn_usage(c, "'%s' is one argument too many; for threads say --threads %s",
                            args[i], args[i]);
        exit = take_types(c, args[i], a);
    }
    if (!exit && a->n > 1 && a->out && !qn_output_is_for_many(a->out))
        exit = qn_usage(c, "'%s' must be a directory or hold {type}, to stand for %zu files",
                        a->out, a->n);
    return exit;
}

/* *set is storage for *out, which stays NULL when the option was not given. */
static qn_exit dtype_option(const qn_common *c, const char *option, const char *word, qn_dtype *set,
                            const qn_dtype **out)
{
    *out = NULL;
    if (!word) return QN_EXIT_FINE;
    if (!qn_dtype_by_name(word, set) || !qn_kernels_best()->encode[*set])
        return qn_usage(c, "--%s %s: no type that can be written", option, word);
    *out = set;
    return QN_EXIT_FINE;
}

/* ---- the job ----------------------------------------------------------------------- */

/* What one output is made of. */
typedef struct {
    qn_plan *plan;
    char *path;
} made;

static qn_status plan_one(const arguments *a, const qn_model *m, const qn_quantize_options *rules,
                          made *out, qn_error *err)
{
    qn_status status = qn_output_path(m->path, NULL, a->out, rules->mix->name, &out->path, err);
    if (!status) status = qn_plan_quantize(&out->plan, m, rules, err);
    return status ? status : qn_plan_split(out->plan, &a->split, err);
}

static qn_status plan_and_write(const options *o, const arguments *a, const qn_model *m,
                                qn_quantize_options rules, made *all, json_t *outputs,
                                qn_error *err)
{
    const qn_write_options write = {
        .common = &o->common,
        .format = &qn_format_gguf,
        .dry_run = o->dry_run,
        .force = o->force,
        .allow_nan = o->allow_nan,
        .max_memory = o->max_memory,
        .source_bytes = qn_source_bytes(m),
    };
    qn_status status = QN_OK;
    qn_write_target *targets = qn_alloc(a->n, sizeof *targets);
    if (!targets) return qn_fail_memory(err, "the list of outputs");
    for (size_t i = 0; i < a->n && !status; i++) {
        rules.mix = a->mixes[i];
        status = plan_one(a, m, &rules, &all[i], err);
        targets[i] =
            (qn_write_target){.plan = all[i].plan, .path = all[i].path, .type = rules.mix->name};
    }
    if (!status) status = qn_write_models(targets, a->n, &write, outputs, err);
    qn_free(targets);
    return status;
}

static qn_status quantize_model(const options *o, const arguments *a, const qn_model *m,
                                const qn_quantize_options *rules, json_t *outputs, qn_error *err)
{
    made *all = qn_alloc(a->n, sizeof *all);
    if (!all) return qn_fail_memory(err, "the list of outputs");
    const qn_status status = plan_and_write(o, a, m, *rules, all, outputs, err);
    for (size_t i = 0; i < a->n; i++) {
        qn_plan_free(all[i].plan);
        qn_free(all[i].path);
    }
    qn_free(all);
    return status;
}

static qn_exit quantize(const options *o, const arguments *a, const qn_quantize_options *given,
                        const qn_loras *loras)
{
    const double started = qn_seconds();
    const qn_model_options how = qn_source_how(&o->source, loras);
    qn_error err = {0};
    qn_model *model = NULL;
    qn_quantize_inputs inputs = {0};
    const qn_importance_options importance = {&o->imatrix, &o->include_weights,
                                              &o->exclude_weights};
    json_t *outputs = json_array();
    qn_exit exit = QN_EXIT_FINE;
    qn_memory_watch();
    qn_status status =
        qn_quantize_inputs_open(&inputs, &importance, &o->tensor_types, &o->overrides, &err);
    qn_quantize_options rules = *given;
    rules.importance = inputs.importance;
    rules.rules = &inputs.rules;
    rules.overrides = inputs.overrides;
    if (!status) status = qn_model_open(&model, a->in, &how, &err);
    if (!status) status = quantize_model(o, a, model, &rules, outputs, &err);
    if (status)
        exit = qn_complain(&o->common, &err);
    else if (o->common.json)
        exit = qn_report_print(&o->common, qn_write_report(&o->common, model, json_incref(outputs),
                                                           o->dry_run, started));
    json_decref(outputs);
    qn_model_close(model);
    qn_quantize_inputs_close(&inputs);
    return exit;
}

static qn_exit check_weights(const options *o)
{
    if (!o->imatrix.n && (o->include_weights.n || o->exclude_weights.n))
        return qn_usage(&o->common, "--include-weights and --exclude-weights need --imatrix");
    if (o->include_weights.n && o->exclude_weights.n)
        return qn_usage(&o->common, "--include-weights and --exclude-weights exclude each other");
    return QN_EXIT_FINE;
}

static qn_exit split_options(const options *o, qn_split_options *out)
{
    *out = (qn_split_options){.keep = o->keep_split};
    if (o->keep_split && (o->split_max_size || o->split_max_tensors))
        return qn_usage(&o->common, "--keep-split and --split-max-... exclude each other");
    return qn_split_limits(&o->common, o->split_max_size, o->split_max_tensors, out);
}

/* ---- int4 and int8 ------------------------------------------------------------------- */

/* The first option given that is for GGUF's types only, or NULL. */
static const char *only_for_gguf(const options *o)
{
    const struct {
        bool given;
        const char *name;
    } all[] = {
        {o->pure, "pure"},
        {o->leave_output_tensor, "leave-output-tensor"},
        {o->output_type, "output-tensor-type"},
        {o->embedding_type, "token-embedding-type"},
        {o->tensor_types.n, "tensor-type"},
        {o->overrides.n, "override-kv"},
        {o->imatrix.n, "imatrix"},
        {o->include_weights.n, "include-weights"},
        {o->exclude_weights.n, "exclude-weights"},
        {o->allow_nan, "allow-nan"},
        {o->align, "align"},
        {o->keep_split, "keep-split"},
        {o->split_max_size, "split-max-size"},
        {o->split_max_tensors, "split-max-tensors"},
        {o->source.model_name, "model-name"},
        {o->source.metadata, "metadata"},
        {o->source.pre, "pre"},
    };
    for (size_t i = 0; i < QN_COUNT_OF(all); i++)
        if (all[i].given) return all[i].name;
    return NULL;
}

static const char *only_for_integers(const options *o)
{
    if (o->group_size) return "group-size";
    if (o->asymmetric) return "asym";
    if (o->format) return "format";
    if (o->clip) return "clip";
    if (o->max_shard_size) return "max-shard-size";
    if (o->ignore.n) return "ignore";
    return o->include.n ? "include" : NULL;
}

/* IN [OUT] int4|int8: its place, or 0 when no type is one of these. */
static size_t packed_type(char **args, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (qn_is_packed_type(args[i])) return i;
    return 0;
}

static qn_exit run_packed(const options *o, char **args, size_t n, size_t type,
                          const qn_loras *loras)
{
    const char *other = only_for_gguf(o);
    if (type > 2 || n > type + 1)
        return qn_usage(&o->common,
                        "int4 and int8 make a directory each: IN [OUT] and one of them");
    if (other)
        return qn_usage(&o->common, "--%s is for GGUF's types, not for %s", other, args[type]);
    const qn_packed_request request = {
        .common = &o->common,
        .in = args[0],
        .out = type == 2 ? args[1] : NULL,
        .type = strchr(args[type], '4') ? "int4" : "int8",
        .group_size = o->group_size,
        .format = o->format,
        .clip = o->clip,
        .family = o->source.family,
        .asymmetric = o->asymmetric,
        .allow_requantize = o->allow_requantize,
        .dry_run = o->dry_run,
        .force = o->force,
        .ignore = o->ignore,
        .include = o->include,
        .max_memory = o->max_memory,
        .max_shard_size = o->max_shard_size,
        .loras = loras,
    };
    return qn_quantize_packed(&request);
}

static qn_exit run_blocks(const options *o, char **args, size_t n, const qn_loras *loras)
{
    if (only_for_integers(o))
        return qn_usage(&o->common, "--%s is for int4 and int8", only_for_integers(o));
    arguments a;
    qn_dtype output, embedding;
    qn_quantize_options rules = {
        .pure = o->pure,
        .allow_requantize = o->allow_requantize,
        .leave_output_tensor = o->leave_output_tensor,
        .keep_split = o->keep_split,
        .dry_run = o->dry_run,
        .align = o->align,
    };
    qn_exit exit = sort_arguments(&o->common, args, n, &a);
    if (!exit)
        exit = dtype_option(&o->common, "output-tensor-type", o->output_type, &output,
                            &rules.output_type);
    if (!exit)
        exit = dtype_option(&o->common, "token-embedding-type", o->embedding_type, &embedding,
                            &rules.embedding_type);
    if (!exit) exit = check_weights(o);
    if (!exit) exit = split_options(o, &a.split);
    if (!exit) exit = quantize(o, &a, &rules, loras);
    qn_free(a.mixes);
    return exit;
}

static qn_exit run(const void *given, char **args, size_t n)
{
    const options *o = given;
    const size_t integers = packed_type(args, n);
    qn_loras loras;
    qn_error err = {0};
    if (qn_loras_read(&o->source.lora, &loras, &err)) return qn_complain(&o->common, &err);
    const qn_exit exit =
        integers ? run_packed(o, args, n, integers, &loras) : run_blocks(o, args, n, &loras);
    qn_loras_free(&loras);
    return exit;
}

static void print_types(void)
{
    puts("\ntypes, and the bits that a weight of Llama 3 8B takes on average:");
    for (size_t i = 0; qn_mix_at(i); i++) {
        const qn_mix *mix = qn_mix_at(i);
        char bits[16] = "";
        if (mix->bits > 0) snprintf(bits, sizeof bits, "%.2f", mix->bits);
        printf("  %-9s %5s  %s\n", mix->name, bits, mix->help);
    }
    puts("* needs an importance matrix (--imatrix); --dry-run does without");
    puts("int4, int8: safetensors, a scale for each group of columns (--group-size)");
}

const qn_command qn_command_quantize = {
    .name = "quantize",
    .summary = "turn a model into a smaller one",
    .synopsis = "[options] IN [OUT] TYPE[,TYPE...]",
    .about =
        "IN is a checkpoint directory (config.json, model.safetensors or shards, tokenizer), a "
        "lone .safetensors file, or a .gguf file. OUT is a .gguf file, or a directory to put "
        "NAME-TYPE.gguf into; without it that file is made in the current directory. {type} in "
        "OUT stands for the type's name. It appears whole under its name, or not at all.\n\n"
        "Several types (Q8_0,Q4_K_M or as words of their own) give several files in one pass over "
        "IN: all of them or none.\n\n"
        "int4 and int8 make a checkpoint directory instead, of safetensors with a scale for each "
        "group of columns (without OUT: NAME-int4-g128), which loads where checkpoints of its "
        "--format do. compressed-tensors, gptq and awq quantize the decoder's linears, mlx "
        "embeddings "
        "and the head, too; everything else is carried over.\n\n"
        "The other types and mixes are llama.cpp's, chosen per tensor by its rules. A tensor whose "
        "rows are "
        "not whole blocks of its type gets another one, which is told. The same input gives the "
        "same bytes on every machine and for any number of threads.",
    .more_help = print_types,
    .examples = "  quern quantize SmolLM2-135M-Instruct/ Q4_K_M\n"
                "  quern quantize --dry-run model.gguf Q4_K_M\n"
                "  quern quantize llama/ phone-{type}.gguf Q8_0,Q4_K_M,Q4_0\n"
                "  quern quantize --max-memory 256M --align 16384 llama/ phone.gguf Q4_0\n"
                "  quern quantize llama/ llama-int4/ int4 --group-size 32 --clip mse\n"
                "  quern quantize llama/ int4 --asym --format mlx\n"
                "  quern quantize --family generic --pure weights.safetensors Q8_0\n",
    .options = table,
    .n_options = QN_COUNT_OF(table),
    .defaults = &defaults,
    .options_bytes = sizeof defaults,
    .least = 2,
    .most = SIZE_MAX,
    .models = 1,
    .run = run,
};
