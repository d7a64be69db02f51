#include "formats/base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/base/alloc.h"
#include "formats/base/regular.h"

qn_str qn_str_z(const char *s)
{
    return (qn_str){s, strlen(s)};
}

bool qn_str_equal(qn_str a, qn_str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.s, b.s, a.n) == 0);
}

bool qn_str_is(qn_str a, const char *b)
{
    return qn_str_equal(a, qn_str_z(b));
}

bool qn_str_starts(qn_str a, const char *prefix)
{
    const size_t n = strlen(prefix);
    return a.n >= n && qn_str_equal((qn_str){a.s, n}, (qn_str){prefix, n});
}

bool qn_str_ends(qn_str a, const char *suffix)
{
    const size_t n = strlen(suffix);
    return a.n >= n && qn_str_equal((qn_str){a.s + (a.n - n), n}, (qn_str){suffix, n});
}

/* ---- the growing string --------------------------------------------------- */

/* Room for n more bytes and the terminator. */
static bool make_room(qn_text *t, size_t n)
{
    if (t->failed) return false;
    if (n < t->capacity - t->n) return true;
    char *grown = NULL;
    size_t capacity = 0;
    if (n < SIZE_MAX - t->n) {
        capacity = qn_grow(t->capacity, t->n + n + 1);
        grown = qn_resize(t->s, capacity, 1);
    }
    if (!grown) {
        t->failed = true;
        return false;
    }
    t->s = grown;
    t->capacity = capacity;
    return true;
}

void qn_text_add(qn_text *t, const char *s, size_t n)
{
    if (!make_room(t, n)) return;
    if (n) memcpy(t->s + t->n, s, n);
    t->n += n;
    t->s[t->n] = '\0';
}

void qn_text_adds(qn_text *t, const char *s)
{
    qn_text_add(t, s, strlen(s));
}

void qn_text_addf(qn_text *t, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    const int n = vsnprintf(NULL, 0, fmt, args);
    if (n < 0) t->failed = true;
    if (n >= 0 && make_room(t, (size_t)n)) {
        vsnprintf(t->s + t->n, (size_t)n + 1, fmt, again);
        t->n += (size_t)n;
    }
    va_end(again);
    va_end(args);
}

void qn_text_free(qn_text *t)
{
    qn_free(t->s);
    *t = (qn_text){0};
}

char *qn_text_take(qn_text *t)
{
    qn_text_add(t, "", 0);
    if (t->failed) qn_text_free(t);
    char *s = t->s;
    *t = (qn_text){0};
    return s;
}

/* ---- paths and whole files -------------------------------------------------- */

char *qn_path_join(const char *dir, const char *name)
{
    const size_t d = strlen(dir);
    qn_text path = {0};
    qn_text_add(&path, dir, d);
    if (d && dir[d - 1] != '/') qn_text_adds(&path, "/");
    qn_text_adds(&path, name);
    return qn_text_take(&path);
}

const char *qn_path_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

char *qn_path_parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash) return qn_strdup(".");
    return qn_strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

char *qn_path_base(const char *path)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/') start--;
    if (start == end && end) start = 0; /* "/" is its own base */
    return qn_strndup(path + start, end - start);
}

bool qn_path_exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

bool qn_path_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool qn_path_same(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static qn_status read_all(int fd, const char *path, char *bytes, size_t n, qn_error *err)
{
    for (size_t got = 0; got < n;) {
        const ssize_t r = read(fd, bytes + got, n - got);
        if (r < 0 && errno == EINTR) continue;
        if (r < 0) return qn_fail_errno(err, "%s: cannot read", path);
        if (r == 0)
            return qn_fail(err, QN_ERR_SYSTEM,
                           "%s: became shorter while being read: %zu of %zu bytes", path, got, n);
        got += (size_t)r;
    }
    return QN_OK;
}

qn_status qn_read_file(const char *path, size_t limit, char **out, size_t *n, qn_error *err)
{
    int fd = -1;
    uint64_t size = 0;
    char *bytes = NULL;
    qn_status status = qn_open_regular(path, &fd, &size, err);
    if (status) return status;
    if (size > limit || size >= SIZE_MAX) {
        status = qn_fail(err, QN_ERR_UNSUPPORTED, "%s: %llu bytes, at most %zu are read", path,
                         (unsigned long long)size, limit);
        goto out;
    }
    bytes = qn_alloc((size_t)size + 1, 1);
    if (!bytes) {
        status = qn_fail(err, QN_ERR_MEMORY, "%s: no memory for its %llu bytes", path,
                         (unsigned long long)size);
        goto out;
    }
    if ((status = read_all(fd, path, bytes, (size_t)size, err))) goto out;
    *out = bytes;
    *n = (size_t)size;
    bytes = NULL;
out:
    qn_free(bytes);
    close(fd);
    return status;
}
