/* model.safetensors.index.json: which tensor lies in which file of a
 * checkpoint (Hugging Face's sharding: {"metadata": ..., "weight_map":
 * {tensor: file}}).
 *
 * The index and the files must agree exactly, as the reference converter asks:
 * every tensor it lists is in the file it names, and the files hold no others. */
#ifndef QN_FORMATS_SHARDS_H
#define QN_FORMATS_SHARDS_H

#include "formats/reader.h"

typedef struct {
    const char *name;         /* a plain file name in the index's directory */
    const char *first_tensor; /* that the index puts there, for messages */
} qn_shard;

typedef struct {
    const char *tensor;
    size_t file; /* index into qn_shards.files */
} qn_shard_entry;

typedef struct {
    qn_shard *files; /* in order of their names */
    size_t n_files;
    qn_shard_entry *entries; /* in the index's order */
    size_t n_entries, capacity;
    qn_names *by_tensor; /* -> entries */
    qn_arena *arena;
} qn_shards;

/* text need not outlive the result; where is the index's path, for messages. */
qn_status qn_shards_parse(qn_shards **out, const char *text, size_t n, const char *where,
                          qn_error *err);
void qn_shards_free(qn_shards *s); /* NULL is fine */

/* r has the files of s, in their order. */
qn_status qn_shards_check(const qn_shards *s, const qn_reader *r, const char *where, qn_error *err);

/* The error of a directory without a safetensors checkpoint: what was looked
 * for and what is there instead. */
qn_status qn_shards_missing(const char *directory, qn_error *err);

#endif
