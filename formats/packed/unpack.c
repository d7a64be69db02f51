#include "formats/packed/unpack.h"

#include <string.h>

#include "formats/packed/build.h"
#include "formats/packed/parts.h"

typedef struct {
    qn_reader *r;
    qn_packing how;
    const qn_tensor **made; /* of each stored tensor: the weight it is the codes of, or NULL */
    bool *taken;            /* stored tensors that disappear */
    size_t n_made, n_passed;
} job;

/* ---- which tensors are codes ------------------------------------------------------------ */

static bool is_any(qn_dtype t)
{
    (void)t;
    return true;
}

static bool is_u32(qn_dtype t)
{
    return t == QN_U32;
}

static bool is_float8(qn_dtype t)
{
    return t == QN_F8_E4M3 || t == QN_F8_E5M2;
}

static bool is_byte(qn_dtype t)
{
    return t == QN_I8 || is_float8(t);
}

/* With each scheme of compressed-tensors until one fits; what is wrong with the
 * first is told. */
static qn_status build_by_schemes(qn_packed_build *b, qn_error *err)
{
    const qn_packed_build fresh = *b;
    const bool words = !is_byte(b->codes->dtype);
    qn_status first = QN_OK;
    for (size_t i = 0; i < b->how->n_schemes; i++) {
        const qn_packing_scheme *s = &b->how->schemes[i];
        qn_error *tell = first ? NULL : err;
        *b = fresh;
        if (words && s->is_float) continue;
        const qn_status status = words ? qn_build_words(b, s, tell) : qn_build_plain(b, s, tell);
        if (!status) return QN_OK;
        if (!first) first = status;
    }
    if (first) return first;
    return qn_fail(err, QN_ERR_DATA, "%s: \"%s\" is packed, but nothing in config_groups says how",
                   b->how->where, b->codes->name);
}

static const struct {
    qn_packed_method method;
    const char *end;     /* of the codes' name */
    const char *becomes; /* the end of the weight's */
    bool (*is_code)(qn_dtype t);
    qn_status (*build)(qn_packed_build *b, qn_error *err);
} kinds[] = {
    {QN_PACKED_COMPRESSED_TENSORS, ".weight_packed", ".weight", is_any, build_by_schemes},
    {QN_PACKED_COMPRESSED_TENSORS, ".weight", ".weight", is_byte, build_by_schemes},
    {QN_PACKED_GPTQ, ".qweight", ".weight", is_any, qn_build_gptq},
    {QN_PACKED_AWQ, ".qweight", ".weight", is_any, qn_build_awq},
    {QN_PACKED_MLX, ".weight", ".weight", is_u32, qn_build_mlx},
    {QN_PACKED_FP8, "", "", is_float8, qn_build_fp8},
    {QN_PACKED_MXFP4, "_blocks", ".weight", is_any, qn_build_mxfp4},
};

/* ---- building ------------------------------------------------------------------------------ */

static size_t index_of(const job *j, const qn_tensor *t)
{
    return (size_t)(t - j->r->tensors);
}

static qn_status keep(job *j, const qn_packed_build *b, const char *end, qn_error *err)
{
    qn_arena *a = j->r->arena;
    qn_packed *p = qn_arena_alloc(a, 1, sizeof *p);
    qn_tensor *t = qn_arena_alloc(a, 1, sizeof *t);
    char *name = qn_arena_alloc(a, 1, b->base.n + strlen(end) + 1);
    if (!p || !t || !name) return qn_fail_memory(err, "the packed weights");
    memcpy(name, b->base.s, b->base.n);
    memcpy(name + b->base.n, end, strlen(end) + 1);
    *p = b->packed;
    *t = *b->codes;
    t->name = name;
    t->dtype = QN_F32;
    t->rank = b->rank;
    memcpy(t->dims, b->dims, sizeof t->dims);
    t->packed = p;
    j->made[index_of(j, b->codes)] = t;
    for (size_t i = 0; i < b->n_companions; i++) j->taken[index_of(j, b->companions[i])] = true;
    j->n_made++;
    return QN_OK;
}

static qn_status look_at(job *j, const qn_tensor *t, qn_error *err)
{
    const qn_str name = qn_str_z(t->name);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (kinds[i].method != j->how.method || !qn_str_ends(name, kinds[i].end) ||
            !kinds[i].is_code(t->dtype))
            continue;
        qn_packed_build b = {.reader = j->r, .how = &j->how, .codes = t};
        b.base = qn_str_of(name.s, name.n - strlen(kinds[i].end));
        b.packed.bytes = t->bytes;
        const qn_status status = kinds[i].build(&b, err);
        return status ? status : keep(j, &b, kinds[i].becomes, err);
    }
    return QN_OK;
}

/* Scales of activations and of the KV cache: compressed-tensors' names and those
 * of vLLM's fp8. */
static bool is_passed_over(const job *j, const char *name)
{
    static const char *const ends[] = {
        ".input_scale", ".input_zero_point",  ".input_global_scale", ".output_scale",
        ".k_scale",     ".output_zero_point", ".activation_scale",   ".v_scale",
        ".q_scale",     ".k_zero_point",      ".v_zero_point",
    };
    if (j->how.method != QN_PACKED_COMPRESSED_TENSORS && j->how.method != QN_PACKED_FP8)
        return false;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (qn_str_ends(qn_str_z(name), ends[i])) return true;
    return false;
}

static qn_status look_at_all(job *j, qn_error *err)
{
    qn_status status = QN_OK;
    for (size_t i = 0; i < j->r->n_tensors && !status; i++) {
        const qn_tensor *t = &j->r->tensors[i];
        if (is_passed_over(j, t->name)) {
            j->taken[i] = true;
            j->n_passed++;
        } else {
            status = look_at(j, t, err);
        }
    }
    return status;
}

/* ---- packed, but not as config.json says ------------------------------------------------------ */

static bool has_beside(const job *j, qn_str name, const char *without, const char *with)
{
    name.n -= strlen(without);
    return qn_find_beside(j->r, name, with) != NULL;
}

/* Codes of some method, by their type and what stands beside them. */
static bool looks_packed(const job *j, const qn_tensor *t)
{
    const qn_str name = qn_str_z(t->name);
    if (t->rank < 2) return false;
    if (is_byte(t->dtype))
        return has_beside(j, name, "", "_scale") || has_beside(j, name, "", "_scale_inv");
    if (t->dtype == QN_U8)
        return qn_str_ends(name, ".weight_packed") ||
               (qn_str_ends(name, "_blocks") && has_beside(j, name, "_blocks", "_scales"));
    if (t->dtype != QN_I32 && t->dtype != QN_U32) return false;
    return qn_str_ends(name, ".qweight") || qn_str_ends(name, ".weight_packed") ||
           (qn_str_ends(name, ".weight") && has_beside(j, name, ".weight", ".scales"));
}

/* Codes that were left would be taken for weights. */
static qn_status refuse_left(const job *j, qn_error *err)
{
    for (size_t i = 0; i < j->r->n_tensors; i++) {
        const qn_tensor *t = &j->r->tensors[i];
        if (j->taken[i] || j->made[i] || !looks_packed(j, t)) continue;
        const char *file = j->r->files[t->file].path;
        if (j->how.method == QN_PACKED_NONE)
            return qn_fail(err, QN_ERR_UNSUPPORTED,
                           "%s: \"%s\" is packed, but no quantization_config in config.json says "
                           "how",
                           file, t->name);
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: \"%s\" is packed otherwise than by %s (%s)",
                       file, t->name, j->how.name, j->how.where);
    }
    return QN_OK;
}

/* ---- the new list ---------------------------------------------------------------------------- */

static qn_status add(qn_names *names, qn_tensor *list, size_t *n, const job *j, const qn_tensor *t,
                     qn_error *err)
{
    bool present = false;
    const qn_status status = qn_names_add(names, qn_str_z(t->name), (uint32_t)*n, &present);
    if (status) return qn_fail_memory(err, "the packed weights");
    if (present)
        return qn_fail(err, QN_ERR_DATA, "%s: tensor %s is there both packed and plain",
                       j->r->files[t->file].path, t->name);
    list[(*n)++] = *t;
    return QN_OK;
}

static qn_status describe(job *j, qn_error *err)
{
    qn_text words = {0};
    qn_text_addf(&words, "%s, %zu packed weights", j->how.name, j->n_made);
    if (j->n_passed)
        qn_text_addf(&words, "; %zu scales of activations or the KV cache passed over",
                     j->n_passed);
    j->r->packing = words.failed ? NULL : qn_arena_strndup(j->r->arena, words.s, words.n);
    qn_text_free(&words);
    return j->r->packing ? QN_OK : qn_fail_memory(err, "the packed weights");
}

static qn_status replace(job *j, qn_error *err)
{
    qn_reader *r = j->r;
    size_t n = 0;
    qn_status status = QN_OK;
    qn_names *names = qn_names_new(r->n_tensors);
    qn_tensor *list = qn_alloc(r->n_tensors, sizeof *list);
    if (!names || !list) status = qn_fail_memory(err, "the packed weights");
    for (size_t i = 0; i < r->n_tensors && !status; i++)
        if (!j->taken[i])
            status = add(names, list, &n, j, j->made[i] ? j->made[i] : &r->tensors[i], err);
    if (!status) status = describe(j, err);
    if (!status) {
        qn_names *old_names = r->by_name;
        qn_tensor *old_list = r->tensors;
        r->capacity = r->n_tensors;
        r->tensors = list;
        r->n_tensors = n;
        r->by_name = names;
        names = old_names;
        list = old_list;
    }
    qn_names_free(names);
    qn_free(list);
    return status;
}

qn_status qn_unpack_reader(qn_reader *r, const json_t *config, const char *where, qn_error *err)
{
    job j = {.r = r};
    qn_status status = qn_packing_read(config, where, &j.how, err);
    if (status) return status;
    j.made = qn_alloc(r->n_tensors, sizeof(const qn_tensor *));
    j.taken = qn_alloc(r->n_tensors, sizeof *j.taken);
    status = j.made && j.taken ? look_at_all(&j, err) : qn_fail_memory(err, "the packed weights");
    if (!status) status = refuse_left(&j, err);
    if (!status && j.n_made + j.n_passed) status = replace(&j, err);
    qn_free(j.made);
    qn_free(j.taken);
    return status;
}

/* "dir/config.json" for "dir" and for "dir/model.safetensors"; allocated. */
static char *config_beside(const char *path)
{
    if (qn_path_is_dir(path)) return qn_path_join(path, "config.json");
    char *dir = qn_path_parent(path);
    char *config = dir ? qn_path_join(dir, "config.json") : NULL;
    qn_free(dir);
    return config;
}

qn_status qn_unpack_reader_at(qn_reader *r, const char *path, qn_error *err)
{
    enum { MOST_BYTES = 64 << 20 };
    json_t *config = NULL;
    char *where = config_beside(path);
    qn_status status = QN_OK;
    if (!where) return qn_fail_memory(err, "config.json");
    if (qn_path_exists(where)) status = qn_json_load(where, MOST_BYTES, &config, err);
    if (!status) status = qn_unpack_reader(r, config, where, err);
    if (config) json_decref(config);
    qn_free(where);
    return status;
}
