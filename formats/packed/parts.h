/* What the builders share: finding a weight's parts, checking them, setting the
 * members of its qn_packed.  All messages name the tensor and what was wanted. */
#ifndef QN_FORMATS_PACKED_PARTS_H
#define QN_FORMATS_PACKED_PARTS_H

#include "formats/packed/build.h"

static inline uint64_t qn_divide_up(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

const char *qn_part_path(const qn_packed_build *b, const qn_tensor *t); /* of its file */

/* The tensor of this name and end, or NULL.  Up to 1,000 bytes of name. */
const qn_tensor *qn_find_beside(const qn_reader *r, qn_str base, const char *end);

/* The tensor of the base's name and this end, or NULL. */
const qn_tensor *qn_part_find(const qn_packed_build *b, const char *end);

/* t belongs to the weight and disappears into it. */
void qn_part_take(qn_packed_build *b, const qn_tensor *t);

/* Found and taken; QN_ERR_DATA when it is missing. */
qn_status qn_part_need(qn_packed_build *b, const char *end, const qn_tensor **out, qn_error *err);

/* ---- types and shapes ---- */

qn_status qn_fail_type(const qn_packed_build *b, const qn_tensor *t, const char *wanted,
                       qn_error *err);
qn_status qn_want_words(const qn_packed_build *b, const qn_tensor *t, qn_error *err);
qn_status qn_want_reals(const qn_packed_build *b, const qn_tensor *t, qn_error *err);
qn_status qn_want_shape(const qn_packed_build *b, const qn_tensor *t, unsigned rank,
                        const uint64_t *dims, qn_error *err);
qn_status qn_want_rank(const qn_packed_build *b, unsigned least, unsigned most, qn_error *err);

/* Words of a stream as values of so many bits; false: they hold no whole number. */
bool qn_words_to_values(uint64_t words, unsigned bits, uint64_t *values);
qn_status qn_fail_words(const qn_packed_build *b, uint64_t words, unsigned bits, qn_error *err);

/* ---- members of b->packed ---- */

/* packed.words: "int4, groups of 64", and more behind it; bits 0: none said. */
void qn_say_packing(qn_packed *p, const char *type, unsigned bits, const qn_packing_scheme *s,
                    const char *more);

/* rows, columns and codes, by b->rank and b->dims, which are checked. */
qn_status qn_set_shape(qn_packed_build *b, qn_error *err);

/* The same for codes of a byte each, which have the weight's own shape. */
qn_status qn_set_plain_codes(qn_packed_build *b, qn_error *err);

/* Scales in rows, as many as the scheme says; the shape of what lies alike. */
qn_status qn_set_scales(qn_packed_build *b, const qn_tensor *scales, const qn_packing_scheme *s,
                        qn_error *err);
qn_status qn_want_scales_shape(const qn_packed_build *b, const qn_tensor *t,
                               const qn_packing_scheme *s, qn_error *err);

/* g_idx, where a tensor of this end is there; its values are another matter. */
qn_status qn_set_order(qn_packed_build *b, const char *end, qn_error *err);
qn_status qn_check_order(const qn_packed_build *b, qn_error *err);

#endif
