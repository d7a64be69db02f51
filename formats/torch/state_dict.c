/* Which tensors a checkpoint holds, and which bytes each of them is. */
#include <string.h>

#include "formats/base/sizes.h"
#include "formats/torch/torch.h"

/* Modules nest by dots in names; dictionaries in dictionaries are rare. */
enum { MAX_DEPTH = 32 };

/* What is written out (transposed, expanded) may take as much as the file and
 * this: a file of a kilobyte can claim 2^62 elements. */
static const uint64_t repeated_limit = 16u * 1024 * 1024;

typedef struct {
    qn_torch *t;
    qn_text name; /* of what is being added: keys joined by dots */
    size_t found;
    qn_error *err;
} walk;

/* ---- one tensor -------------------------------------------------------------------------- */

typedef struct {
    qn_tensor tensor;
    uint64_t strides[QN_MAX_RANK], first; /* in elements */
} view;

static qn_status fail(const walk *w, const char *words)
{
    return qn_fail(w->err, QN_ERR_DATA, "%s: tensor %s: %s", w->t->map->path, w->name.s, words);
}

/* A call that makes a tensor, perhaps in the call that makes it a parameter. */
static const qn_pickle_value *tensor_call(const qn_pickle_value *v)
{
    for (int i = 0; i < 2; i++) {
        if (v->kind != QN_PICKLE_CALL) return NULL;
        if (v->global->role == QN_TORCH_TENSOR || v->global->role == QN_TORCH_TENSOR_WITH_DTYPE)
            return v;
        if (v->global->role != QN_TORCH_PARAMETER || !v->n_items) return NULL;
        v = v->items[0];
    }
    return NULL;
}

static bool read_sizes(const qn_pickle_value *tuple, uint64_t out[QN_MAX_RANK])
{
    for (size_t i = 0; i < tuple->n_items; i++) {
        const qn_pickle_value *v = tuple->items[i];
        if (v->kind != QN_PICKLE_INT || v->number < 0) return false;
        out[i] = (uint64_t)v->number;
    }
    return true;
}

static qn_status read_shape(const walk *w, const qn_pickle_value *size,
                            const qn_pickle_value *stride, view *v)
{
    if (size->kind != QN_PICKLE_TUPLE || stride->kind != QN_PICKLE_TUPLE ||
        size->n_items != stride->n_items)
        return fail(w, "its sizes and strides are not two tuples of one length");
    if (size->n_items > QN_MAX_RANK)
        return qn_fail(w->err, QN_ERR_UNSUPPORTED,
                       "%s: tensor %s: %zu dimensions, at most %d are read", w->t->map->path,
                       w->name.s, size->n_items, QN_MAX_RANK);
    v->tensor.rank = (unsigned)size->n_items;
    if (!read_sizes(size, v->tensor.dims) || !read_sizes(stride, v->strides))
        return fail(w, "its shape or strides hold something that is not a size");
    return QN_OK;
}

/* The dtype: the storage's, or the seventh argument of _rebuild_tensor_v3. */
static qn_status read_dtype(const walk *w, const qn_pickle_value *call, qn_dtype of_storage,
                            qn_dtype *out)
{
    *out = of_storage;
    if (call->global->role == QN_TORCH_TENSOR) return QN_OK;
    const qn_pickle_value *dtype = call->n_items > 6 ? call->items[6] : NULL;
    if (!dtype || dtype->kind != QN_PICKLE_GLOBAL || dtype->global->role != QN_TORCH_DTYPE)
        return fail(w, "its type is missing");
    *out = (qn_dtype)dtype->global->detail;
    if (w->t->big_endian && qn_dtype_facts(*out)->block_bytes > 1)
        return qn_fail(w->err, QN_ERR_UNSUPPORTED,
                       "%s: tensor %s: an untyped storage in big-endian order", w->t->map->path,
                       w->name.s);
    return QN_OK;
}

/* The last element it touches lies in the storage's `bytes`. */
static qn_status check_reach(const walk *w, const view *v, uint64_t bytes)
{
    const qn_tensor *t = &v->tensor;
    const uint64_t width = qn_dtype_facts(t->dtype)->block_bytes, elements = bytes / width;
    uint64_t last = v->first;
    bool fits = true;
    for (unsigned d = 0; fits && d < t->rank; d++) {
        uint64_t step;
        fits = qn_mul_u64(t->dims[d] - 1, v->strides[d], &step) && qn_add_u64(last, step, &last);
    }
    if (fits && last < elements) return QN_OK;
    char shape[256];
    return qn_fail(w->err, QN_ERR_DATA,
                   "%s: tensor %s: %s from element %llu of its storage reaches behind the %llu "
                   "that are there",
                   w->t->map->path, w->name.s, qn_shape_text(t->dims, t->rank, shape, sizeof shape),
                   (unsigned long long)v->first, (unsigned long long)elements);
}

static bool is_contiguous(const view *v)
{
    uint64_t expected = 1;
    for (unsigned d = v->tensor.rank; d-- > 0; expected *= v->tensor.dims[d])
        if (v->tensor.dims[d] != 1 && v->strides[d] != expected) return false;
    return true;
}

/* Its elements row by row. */
static void gather(const view *v, const uint8_t *storage, uint8_t *out)
{
    const qn_tensor *t = &v->tensor;
    const size_t width = qn_dtype_facts(t->dtype)->block_bytes;
    uint64_t index[QN_MAX_RANK] = {0}, at = v->first;
    for (uint64_t done = 0; done < t->bytes; done += width) {
        memcpy(out + done, storage + at * width, width);
        for (unsigned d = t->rank; d-- > 0;) {
            at += v->strides[d];
            if (++index[d] < t->dims[d]) break;
            at -= v->strides[d] * t->dims[d];
            index[d] = 0;
        }
    }
}

static qn_status write_out(const walk *w, view *v, const uint8_t *storage, uint64_t storage_bytes)
{
    qn_tensor *t = &v->tensor;
    const uint64_t limit = w->t->map->size + repeated_limit;
    if (t->bytes > limit || w->t->copied > limit - t->bytes)
        return qn_fail(w->err, QN_ERR_UNSUPPORTED,
                       "%s: tensor %s: %llu bytes written out of a storage of %llu make more than "
                       "the file's %llu",
                       w->t->map->path, w->name.s, (unsigned long long)t->bytes,
                       (unsigned long long)storage_bytes, (unsigned long long)w->t->map->size);
    w->t->copied += t->bytes;
    uint8_t *copy = qn_arena_alloc(w->t->r->arena, (size_t)t->bytes, 1);
    if (!copy) return qn_fail_memory(w->err, w->t->map->path);
    gather(v, storage, copy);
    t->data = copy;
    t->offset = w->t->map->size;
    return QN_OK;
}

/* Finds the bytes of a tensor that has some. */
static qn_status find_bytes(const walk *w, view *v, const qn_torch_storage *s, uint64_t first,
                            uint64_t bytes)
{
    qn_tensor *t = &v->tensor;
    const qn_status status = check_reach(w, v, bytes);
    if (status) return status;
    if (!is_contiguous(v)) return write_out(w, v, s->data + first, s->bytes);
    const uint64_t begin = first + v->first * qn_dtype_facts(t->dtype)->block_bytes;
    t->data = s->data + begin;
    t->offset = s->offset == QN_TORCH_COPY ? w->t->map->size : s->offset + begin;
    return QN_OK;
}

static qn_status add_tensor(walk *w, const qn_pickle_value *call)
{
    const qn_torch_storage *s = NULL;
    uint64_t first = 0, bytes = 0;
    view v = {.tensor = {.file = w->t->file}};
    qn_tensor *t = &v.tensor;
    if (call->n_items < 4 || call->items[0]->kind != QN_PICKLE_STORAGE ||
        call->items[1]->kind != QN_PICKLE_INT || call->items[1]->number < 0)
        return fail(w, "it is not made of a storage and a place in it");
    v.first = (uint64_t)call->items[1]->number;
    qn_status status = read_shape(w, call->items[2], call->items[3], &v);
    if (!status) status = qn_torch_storage_of(w->t, call->items[0], &s, &first, &bytes, w->err);
    if (!status) status = read_dtype(w, call, s->dtype, &t->dtype);
    if (!status)
        status = qn_tensor_measure(w->t->map->path, w->name.s, t->dtype, t->rank, t->dims,
                                   &t->bytes, w->err);
    if (!status && t->bytes) status = find_bytes(w, &v, s, first, bytes);
    if (status) return status;
    t->name = qn_arena_strndup(w->t->r->arena, w->name.s, w->name.n);
    if (!t->name) return qn_fail_memory(w->err, w->t->map->path);
    w->found++;
    return qn_reader_add_at(w->t->r, t, w->err);
}

/* ---- dictionaries -------------------------------------------------------------------------- */

static qn_status push_key(walk *w, qn_str key)
{
    /* each tensor of a dictionary has the dictionary's name in its own */
    enum { LONGEST = 4096 };
    if (key.n > LONGEST || w->name.n + key.n > LONGEST)
        return qn_fail(w->err, QN_ERR_DATA, "%s: a tensor's name of %zu bytes, at most %d are read",
                       w->t->map->path, w->name.n + key.n, LONGEST);
    if (memchr(key.s, 0, key.n))
        return qn_fail(w->err, QN_ERR_DATA, "%s: a tensor's name holds a NUL byte",
                       w->t->map->path);
    if (w->name.n) qn_text_add(&w->name, ".", 1);
    qn_text_add(&w->name, key.s, key.n);
    return w->name.failed ? qn_fail_memory(w->err, w->t->map->path) : QN_OK;
}

static void pop_key(walk *w, size_t n)
{
    w->name.n = n;
    if (w->name.s) w->name.s[n] = 0;
}

static qn_status walk_dict(walk *w, qn_pickle_value *dict, int depth);

static qn_status walk_member(walk *w, const qn_pickle_value *key, qn_pickle_value *v, int depth)
{
    const qn_pickle_value *call = tensor_call(v);
    if (key->kind != QN_PICKLE_TEXT || (!call && v->kind != QN_PICKLE_DICT)) return QN_OK;
    const size_t n = w->name.n;
    qn_status status = push_key(w, key->text);
    if (!status) status = call ? add_tensor(w, call) : walk_dict(w, v, depth + 1);
    pop_key(w, n);
    return status;
}

static qn_status walk_dict(walk *w, qn_pickle_value *dict, int depth)
{
    if (depth > MAX_DEPTH || dict->visited)
        return qn_fail(w->err, QN_ERR_DATA, "%s: dictionary %s %s", w->t->map->path, w->name.s,
                       dict->visited ? "is there twice" : "lies too deep");
    dict->visited = true;
    qn_status status = QN_OK;
    for (size_t i = 0; !status && i + 1 < dict->n_items; i += 2)
        status = walk_member(w, dict->items[i], dict->items[i + 1], depth);
    return status;
}

/* Training checkpoints keep the model beside the optimizer; their names for it. */
static const char *const wrappers[] = {"state_dict", "model_state_dict", "model", "module"};

static qn_pickle_value *unwrap(qn_pickle_value *dict)
{
    for (size_t depth = 0, i = 0; depth < MAX_DEPTH && i < sizeof wrappers / sizeof *wrappers;) {
        qn_pickle_value *inner = qn_pickle_member(dict, wrappers[i++]);
        if (!inner || inner->kind != QN_PICKLE_DICT) continue;
        dict = inner;
        depth++;
        i = 0;
    }
    return dict;
}

qn_status qn_torch_add_tensors(qn_torch *t, qn_pickle_value *root, qn_error *err)
{
    walk w = {.t = t, .err = err};
    qn_status status = QN_OK;
    if (root->kind == QN_PICKLE_DICT) status = walk_dict(&w, unwrap(root), 0);
    qn_text_free(&w.name);
    if (!status && !w.found)
        status = qn_fail(err, QN_ERR_DATA, "%s: holds no tensors by name", t->map->path);
    return status;
}
