/* Strings: a view, a growing string, path pieces. */
#ifndef QN_FORMATS_BASE_TEXT_H
#define QN_FORMATS_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "formats/base/error.h"

/* n bytes at s, not terminated, never owned. */
typedef struct {
    const char *s;
    size_t n;
} qn_str;

static inline qn_str qn_str_of(const char *s, size_t n)
{
    return (qn_str){s, n};
}

qn_str qn_str_z(const char *s); /* of a terminated string */
bool qn_str_is(qn_str a, const char *b);
bool qn_str_equal(qn_str a, qn_str b);
bool qn_str_starts(qn_str a, const char *prefix);
bool qn_str_ends(qn_str a, const char *suffix);

/* A growing string.  {0} is empty; s is terminated once anything was added.
 * The first failed allocation sets `failed` and later calls do nothing, so a
 * builder checks once, at the end. */
typedef struct {
    char *s;
    size_t n, capacity;
    bool failed;
} qn_text;

void qn_text_add(qn_text *t, const char *s, size_t n);
void qn_text_adds(qn_text *t, const char *s);
void qn_text_addf(qn_text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void qn_text_free(qn_text *t);

/* The string itself, allocated (qn_free), "" when nothing was added; t is {0} again.
 * NULL: something failed. */
char *qn_text_take(qn_text *t);

/* dir/name, allocated; NULL: no memory. */
char *qn_path_join(const char *dir, const char *name);

/* The part behind the last slash (trailing slashes ignored), allocated. */
char *qn_path_base(const char *path);

/* The same as a view; of a path that ends in a slash, all of it. */
const char *qn_path_name(const char *path);

/* What is before the last slash, "." if nothing is, allocated. */
char *qn_path_parent(const char *path);

/* A whole regular file in memory, terminated by a 0 that *n does not count.
 * Refuses files above limit bytes.  Free with qn_free. */
qn_status qn_read_file(const char *path, size_t limit, char **out, size_t *n, qn_error *err);

bool qn_path_exists(const char *path);
bool qn_path_is_dir(const char *path);
/* Whether both lead to one file that is there, by whatever names. */
bool qn_path_same(const char *a, const char *b);

/* Length of the UTF-8 sequence at s (1..4) when it is valid within n bytes
 * (no overlong forms, no surrogates, at most U+10FFFF), its code point in *cp;
 * 0 when it is not. */
size_t qn_utf8_decode(const char *s, size_t n, unsigned *cp);
bool qn_utf8_valid(qn_str s);                    /* nothing but such sequences */
size_t qn_utf8_encode(unsigned cp, char out[4]); /* bytes written, 1..4 */

#endif
