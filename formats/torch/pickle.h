/* Python pickles, read as inert values: nothing is imported, built or called.
 * What a pickle would call becomes a QN_PICKLE_CALL, a node with a name and
 * arguments; names that the caller has not listed are refused, and so is every
 * opcode that torch.save does not write for tensors
 * (https://docs.python.org/3/library/pickletools.html, protocols 2 to 5). */
#ifndef QN_FORMATS_TORCH_PICKLE_H
#define QN_FORMATS_TORCH_PICKLE_H

#include <stdbool.h>
#include <stdint.h>

#include "formats/base/alloc.h"
#include "formats/base/text.h"

typedef enum {
    QN_PICKLE_NONE,
    QN_PICKLE_BOOL,   /* number */
    QN_PICKLE_INT,    /* number; up to 64 bits */
    QN_PICKLE_LONG,   /* text: a longer integer, little-endian two's complement */
    QN_PICKLE_FLOAT,  /* its value is not kept */
    QN_PICKLE_TEXT,   /* text, UTF-8 */
    QN_PICKLE_BYTES,  /* text */
    QN_PICKLE_TUPLE,  /* items */
    QN_PICKLE_LIST,   /* items */
    QN_PICKLE_DICT,   /* items: key, value, key, value ... */
    QN_PICKLE_GLOBAL, /* global */
    QN_PICKLE_CALL,   /* global: what would be called; items: the arguments */
    QN_PICKLE_STORAGE /* a persistent id; items: those of its tuple */
} qn_pickle_kind;

/* A global that may be named.  A call of a dictionary gives a QN_PICKLE_DICT. */
typedef struct {
    const char *module, *name;
    bool is_dictionary;
    int role, detail; /* the caller's own */
} qn_pickle_global;

/* Lists and dictionaries may hold themselves; whoever walks them marks where
 * it is with `visited`. */
typedef struct qn_pickle_value {
    qn_pickle_kind kind;
    bool visited;
    int64_t number;
    qn_str text;
    const qn_pickle_global *global;
    struct qn_pickle_value **items;
    size_t n_items, capacity;
} qn_pickle_value;

typedef struct {
    qn_pickle_value *root;
    qn_pickle_value **storages; /* every persistent id, in order of appearance */
    size_t n_storages, capacity;
    size_t used; /* bytes up to and with STOP */
} qn_pickle;

/* Values live in the arena and point into bytes; qn_pickle_free frees the rest.  globals ends with {0}.
 * QN_ERR_DATA for what breaks the format, QN_ERR_UNSUPPORTED for an opcode or a
 * global that is not followed; where stands before the message. */
qn_status qn_pickle_parse(qn_pickle *out, qn_arena *arena, qn_str bytes,
                          const qn_pickle_global *globals, const char *where, qn_error *err);

void qn_pickle_free(qn_pickle *p); /* the list of storages; {0} is fine */

/* The value of a text key, or NULL. The last one of several. */
qn_pickle_value *qn_pickle_member(const qn_pickle_value *dict, const char *key);

#endif
