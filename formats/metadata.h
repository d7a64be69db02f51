/* Typed key/value metadata as GGUF knows it, in order: what a reader found,
 * and what a writer will write.
 *
 * A value keeps its bytes exactly as they stand in a GGUF file (little
 * endian, strings as u64 length + bytes), so reading a 262,144-entry
 * vocabulary copies nothing and writing it is one memcpy. */
#ifndef QN_FORMATS_METADATA_H
#define QN_FORMATS_METADATA_H

#include "formats/base/error.h"
#include "formats/base/text.h"

#include <stdint.h>

/* The numbers are GGUF's. */
typedef enum {
    QN_META_U8 = 0,
    QN_META_I8,
    QN_META_U16,
    QN_META_I16,
    QN_META_U32,
    QN_META_I32,
    QN_META_F32,
    QN_META_BOOL,
    QN_META_STRING,
    QN_META_ARRAY,
    QN_META_U64,
    QN_META_I64,
    QN_META_F64,
    QN_META_TYPE_COUNT
} qn_meta_type;

typedef struct {
    qn_str key;
    qn_meta_type type;
    qn_meta_type element; /* of an array; else equal to type */
    uint64_t count;       /* elements of an array; 1 otherwise */
    qn_str bytes;         /* the value, or all elements back to back; a string
                             (also of an array) with its length before it */
} qn_meta_value;

typedef struct qn_metadata qn_metadata;

qn_metadata *qn_metadata_new(void); /* NULL: no memory */
void qn_metadata_free(qn_metadata *m);
qn_metadata *qn_metadata_copy(const qn_metadata *m); /* owns its bytes */

/* The file's name for messages: a view that outlives m; a copy has none.
 * "metadata" until set. */
void qn_metadata_set_where(qn_metadata *m, const char *where);
const char *qn_metadata_where(const qn_metadata *m);

size_t qn_metadata_count(const qn_metadata *m);
const qn_meta_value *qn_metadata_at(const qn_metadata *m, size_t i);          /* in order */
const qn_meta_value *qn_metadata_find(const qn_metadata *m, const char *key); /* or NULL */

/* Adds a value whose key and bytes are views that outlive m (a mapped file).
 * A key that is there already is QN_ERR_DATA. */
qn_status qn_metadata_add_view(qn_metadata *m, const qn_meta_value *v, qn_error *err);

/* Set: replaces the value where the key is there (it keeps its place), else
 * appends; bytes are copied.  Only memory can fail. */
qn_status qn_metadata_set(qn_metadata *m, const char *key, qn_meta_type type, qn_meta_type element,
                          uint64_t count, qn_str bytes, qn_error *err);
qn_status qn_metadata_set_u32(qn_metadata *m, const char *key, uint32_t v, qn_error *err);
qn_status qn_metadata_set_u64(qn_metadata *m, const char *key, uint64_t v, qn_error *err);
qn_status qn_metadata_set_f32(qn_metadata *m, const char *key, float v, qn_error *err);
qn_status qn_metadata_set_bool(qn_metadata *m, const char *key, bool v, qn_error *err);
qn_status qn_metadata_set_str(qn_metadata *m, const char *key, qn_str v, qn_error *err);
qn_status qn_metadata_set_f32s(qn_metadata *m, const char *key, const float *v, uint64_t n,
                               qn_error *err);
qn_status qn_metadata_set_i32s(qn_metadata *m, const char *key, const int32_t *v, uint64_t n,
                               qn_error *err);
qn_status qn_metadata_set_strs(qn_metadata *m, const char *key, const qn_str *v, uint64_t n,
                               qn_error *err);
void qn_metadata_remove(qn_metadata *m, const char *key);

/* Reading with conversion: any integer type that fits, any number as double.
 * Absent: *found false and *out untouched (found NULL: QN_ERR_DATA "no key").
 * Present with another kind: QN_ERR_DATA naming key and type. */
qn_status qn_metadata_u64(const qn_metadata *m, const char *key, uint64_t *out, bool *found,
                          qn_error *err);
qn_status qn_metadata_f64(const qn_metadata *m, const char *key, double *out, bool *found,
                          qn_error *err);
qn_status qn_metadata_bool(const qn_metadata *m, const char *key, bool *out, bool *found,
                           qn_error *err);
qn_status qn_metadata_str(const qn_metadata *m, const char *key, qn_str *out, bool *found,
                          qn_error *err);

/* Elements of an array of numbers (or a lone number as an array of one); a bool
 * counts as 0 or 1. */
qn_status qn_meta_number(const qn_meta_value *v, uint64_t i, double *out, qn_error *err);

/* Strings of a string array, in order: cursor starts as v->bytes.  False at
 * the end.  (The reader has checked the lengths.) */
bool qn_meta_next_string(qn_str *cursor, qn_str *out);

const char *qn_meta_type_name(qn_meta_type t); /* "u32", as GGUF's documents spell it */
size_t qn_meta_type_bytes(qn_meta_type t);     /* of one element; 0: str and array */

#endif
