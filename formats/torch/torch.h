/* What torch.save writes, in two containers (a zip archive; the legacy stream
 * of pickles): storages, and tensors that are views of them.
 * docs/formats/torch.md has the bytes and what is refused. */
#ifndef QN_FORMATS_TORCH_TORCH_H
#define QN_FORMATS_TORCH_TORCH_H

#include "formats/reader.h"
#include "formats/torch/pickle.h"

/* A storage: elements of one type in one piece. */
typedef struct {
    qn_str key;
    qn_dtype dtype; /* U8 for an untyped one */
    uint64_t bytes;
    const uint8_t *data; /* once placed; NULL when there are no bytes */
    uint64_t offset;     /* of data in the file, or QN_TORCH_COPY */
    bool placed;
} qn_torch_storage;

/* Not in the file as it is needed: unpacked, or with its bytes swapped. */
#define QN_TORCH_COPY UINT64_MAX

typedef struct qn_torch qn_torch;
struct qn_torch {
    qn_reader *r;
    uint32_t file;
    const qn_map *map;
    qn_arena *scratch; /* of the pickles' values */
    qn_torch_storage *storages;
    size_t n_storages, capacity;
    qn_names *by_key;
    bool big_endian;
    uint64_t copied;   /* bytes of tensors that had to be written out */
    uint64_t unpacked; /* bytes of storages that had to be */
    /* Finds the bytes of a storage: sets data and offset. */
    qn_status (*place)(qn_torch *t, qn_torch_storage *s, qn_error *err);
    void *container;
};

/* What a listed global is: qn_pickle_global.role; detail: a qn_dtype, or how
 * many arguments stand before the dtype. */
typedef enum {
    QN_TORCH_OTHER,
    QN_TORCH_STORAGE, /* detail: dtype */
    QN_TORCH_DTYPE,   /* detail: dtype */
    QN_TORCH_TENSOR,
    QN_TORCH_TENSOR_WITH_DTYPE,
    QN_TORCH_PARAMETER
} qn_torch_role;

extern const qn_pickle_global qn_torch_globals[];

/* ---- storages.c ---- */

/* Notes every storage that the pickle names; one key names one size. */
qn_status qn_torch_declare(qn_torch *t, const qn_pickle *pickle, qn_error *err);

/* The storage of a persistent id, placed, and which of its bytes the id means. */
qn_status qn_torch_storage_of(qn_torch *t, const qn_pickle_value *id, const qn_torch_storage **out,
                              uint64_t *first, uint64_t *bytes, qn_error *err);

/* Room for n bytes of a storage that are not in the file as they are needed.  Many
 * entries may name the same place, and a deflated one a thousand times its bytes: all
 * storages together get no more than weights come to. */
qn_status qn_torch_room(qn_torch *t, uint64_t n, uint8_t **out, qn_error *err);

/* ---- state_dict.c ---- */

/* Adds the tensors under root to t->r. */
qn_status qn_torch_add_tensors(qn_torch *t, qn_pickle_value *root, qn_error *err);

/* ---- legacy.c ---- */

bool qn_torch_is_legacy(const uint8_t *head, size_t n);
qn_status qn_torch_read_legacy(qn_torch *t, qn_error *err);

#endif
