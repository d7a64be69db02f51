/* Regular expressions; the only file over PCRE2. */
#ifndef QN_FORMATS_BASE_REGEX_H
#define QN_FORMATS_BASE_REGEX_H

#include <stdbool.h>

#include "formats/base/text.h"

typedef struct qn_regex qn_regex;

typedef enum {
    /* Ours: PCRE2's own dialect over valid UTF-8 with Unicode's properties,
     * compiled to machine code where that can be had, without limits. */
    QN_REGEX_TRUSTED,
    /* A user's: bytes, ECMAScript's dialect as far as PCRE2 has it, and a search
     * that would take too long fails. */
    QN_REGEX_ECMASCRIPT
} qn_regex_kind;

/* QN_ERR_ARGUMENT, with the reason, when the pattern is none. */
qn_status qn_regex_new(qn_regex **out, const char *pattern, qn_regex_kind kind, qn_error *err);
void qn_regex_free(qn_regex *r); /* NULL is fine */

/* The first match at or behind `from`: text[*start .. *end).  One thread at a
 * time. */
qn_status qn_regex_find(qn_regex *r, qn_str text, size_t from, size_t *start, size_t *end,
                        bool *found, qn_error *err);

#endif
