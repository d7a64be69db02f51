#include "formats/base/temporary.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "formats/base/alloc.h"
#include "formats/base/text.h"

/* Not mkstemp(): its files are private whatever the umask says, and the umask
 * cannot be asked for without changing it. */
qn_status qn_temporary_name(const char *path, char **out, qn_error *err)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz012345"; /* 32 */
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    const int kept = (int)strnlen(name, NAME_MAX - 16); /* a long name is cut */
    uint8_t random[6];
    char suffix[7] = {0};
    qn_text t = {0};
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return qn_fail_errno(err, "%s: no random numbers for a temporary name", path);
    for (int i = 0; i < 6; i++) suffix[i] = letters[random[i] & 31];
    qn_text_add(&t, path, (size_t)(name - path));
    qn_text_addf(&t, ".%.*s.%s.tmp", kept, name, suffix);
    if (t.failed) {
        qn_text_free(&t);
        return qn_fail_memory(err, path);
    }
    *out = t.s;
    return QN_OK;
}

int qn_sync_directory(const char *path)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return errno == EACCES ? 0 : -1; /* writable but not readable */
    int result = fsync(fd);
    if (result && (errno == EINVAL || errno == ENOTSUP || errno == EROFS)) result = 0;
    const int reason = errno;
    close(fd);
    errno = reason;
    return result;
}

/* ---- what a signal handler removes ---------------------------------------------- */

/* Whoever takes a name out of its place may unlink it; so a signal handler and a
 * commit never both believe that it is theirs. */
struct qn_temporary {
    _Atomic(char *) name;
    _Atomic(char *) removed; /* which remove_all() took: it may still be using it */
};

/* Blocks stay for ever, since a handler may be in them at any time. */
typedef struct block {
    qn_temporary places[512];
    _Atomic(struct block *) next;
} block;

static block first_block;
static _Atomic(block *) recent = &first_block; /* where the last place was free */

static qn_temporary *take_place(block *b, char *name)
{
    for (size_t i = 0; i < sizeof b->places / sizeof *b->places; i++) {
        char *expected = NULL;
        qn_temporary *t = &b->places[i];
        if (!atomic_load(&t->name) && atomic_compare_exchange_strong(&t->name, &expected, name))
            return t;
    }
    return NULL;
}

static block *add_block(void)
{
    block *fresh = qn_alloc(1, sizeof *fresh);
    block *last = &first_block;
    while (fresh && last) {
        block *next = NULL;
        if (atomic_compare_exchange_strong(&last->next, &next, fresh)) break;
        last = next;
    }
    return fresh;
}

qn_temporary *qn_temporary_remember(char *name)
{
    block *const from = atomic_load(&recent);
    block *b = from;
    for (;;) {
        qn_temporary *t = take_place(b, name);
        if (t) {
            atomic_store(&recent, b);
            return t;
        }
        if (!(b = atomic_load(&b->next))) b = &first_block;
        if (b == from && !(b = add_block())) return NULL;
    }
}

bool qn_temporary_forget(qn_temporary *t, const char *name)
{
    return atomic_exchange(&t->name, NULL) == name;
}

void qn_temporary_remove_all(void)
{
    const int saved = errno;
    for (block *b = &first_block; b; b = atomic_load(&b->next))
        for (size_t i = 0; i < sizeof b->places / sizeof *b->places; i++) {
            char *name = atomic_exchange(&b->places[i].name, NULL);
            if (!name) continue;
            atomic_store(&b->places[i].removed, name);
            unlink(name);
        }
    errno = saved;
}
