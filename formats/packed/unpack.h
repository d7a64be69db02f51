/* A reader's packed tensors, seen as the weights that they stand for. */
#ifndef QN_FORMATS_PACKED_UNPACK_H
#define QN_FORMATS_PACKED_UNPACK_H

#include "formats/base/json.h"
#include "formats/reader.h"

/* By what config (config.json; where is its path, for messages) says of packing:
 * each group of packed tensors in r becomes one, "X.weight", of real shape and
 * type F32 (qn_tensor.packed), at the place of its codes; scales of activations
 * and of the KV cache disappear, since they are no weights.  r->packing says the
 * method and what was passed over.  Tensors that are not packed stay as they are.
 * config may be NULL: none.
 *
 * Everything is checked here, so rows can be decoded without further doubt.
 * QN_ERR_UNSUPPORTED: a method that is not read, or codes that config says nothing
 * of; QN_ERR_DATA names the tensor at fault, or the one that is missing.  r is unchanged then. */
qn_status qn_unpack_reader(qn_reader *r, const json_t *config, const char *where, qn_error *err);

/* The same by the config.json in the directory `path`, or beside the file
 * `path`, if there is one. */
qn_status qn_unpack_reader_at(qn_reader *r, const char *path, qn_error *err);

#endif
