/* Types that the user names for tensors: a list of PATTERN=TYPE, of which the
 * first whose pattern is found in a tensor's name counts.
 *
 * Patterns are ECMAScript's.  llama-quantize lowers their letters before it
 * looks (GGUF's names have no others), also in \D or \S; so do we, but for a
 * generic model, whose names are its checkpoint's. */
#ifndef QN_QUANT_TYPE_RULES_H
#define QN_QUANT_TYPE_RULES_H

#include "formats/base/regex.h"
#include "kernels/dtype.h"

typedef struct {
    char *pattern; /* as written */
    qn_regex *as_written, *lowered;
    qn_dtype dtype;
} qn_type_rule;

/* {0} is an empty list. */
typedef struct {
    qn_type_rule *at;
    size_t n, capacity;
} qn_type_rules;

/* "attn_v=q8_0".  The type is in any case; QN_ERR_ARGUMENT when it cannot be
 * written or the pattern is none. */
qn_status qn_type_rules_add(qn_type_rules *r, const char *text, qn_error *err);

/* A file of such texts between blanks and line feeds. */
qn_status qn_type_rules_add_file(qn_type_rules *r, const char *path, qn_error *err);
void qn_type_rules_free(qn_type_rules *r);

/* *out NULL: none.  Fails for a pattern that takes too long to look for. */
qn_status qn_type_rules_find(const qn_type_rules *r, const char *name, bool generic,
                             const qn_type_rule **out, qn_error *err);

#endif
