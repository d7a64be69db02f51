#include "formats/base/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/base/alloc.h"
#include "formats/base/text.h"

struct qn_outfile {
    char *path, *temporary, *directory;
    int fd;
    int slot; /* in temporaries; -1: not registered */
    bool force;
};

/* Names of the temporary files that exist, for abandon_all().  Whoever takes a
 * name out of its slot may unlink it; so a signal handler and a commit never
 * both believe that it is theirs. */
enum { MAX_TEMPORARIES = 512 };
static _Atomic(char *) temporaries[MAX_TEMPORARIES];

/* Names that abandon_all() took: it may still be using them. */
static _Atomic(char *) abandoned[MAX_TEMPORARIES];

static atomic_ulong fail_countdown;

void qn_outfile_fail_at(unsigned long n)
{
    atomic_store(&fail_countdown, n);
}

/* True, with errno set, when a test wants this step to fail. */
static bool must_fail(void)
{
    if (!atomic_load_explicit(&fail_countdown, memory_order_relaxed)) return false;
    if (atomic_fetch_sub(&fail_countdown, 1) != 1) return false;
    errno = ENOSPC;
    return true;
}

static bool register_temporary(qn_outfile *f)
{
    for (int i = 0; i < MAX_TEMPORARIES; i++) {
        char *expected = NULL;
        if (atomic_compare_exchange_strong(&temporaries[i], &expected, f->temporary)) {
            f->slot = i;
            return true;
        }
    }
    return false;
}

/* False when abandon_all() was faster: the name is then being used by it and
 * must stay allocated. */
static bool unregister_temporary(qn_outfile *f)
{
    if (f->slot < 0) return true;
    const bool ours = atomic_exchange(&temporaries[f->slot], NULL) == f->temporary;
    f->slot = -1;
    if (!ours) f->temporary = NULL;
    return ours;
}

void qn_outfile_abandon_all(void)
{
    const int saved = errno;
    for (int i = 0; i < MAX_TEMPORARIES; i++) {
        char *name = atomic_exchange(&temporaries[i], NULL);
        if (!name) continue;
        atomic_store(&abandoned[i], name);
        unlink(name);
    }
    errno = saved;
}

static void release(qn_outfile *f)
{
    if (!f) return;
    if (f->fd >= 0) close(f->fd);
    qn_free(f->temporary);
    qn_free(f->directory);
    qn_free(f->path);
    qn_free(f);
}

void qn_outfile_abandon(qn_outfile *f)
{
    if (!f) return;
    const bool registered = f->slot >= 0;
    if (unregister_temporary(f) && registered) unlink(f->temporary);
    release(f);
}

/* ---- creating ------------------------------------------------------------------ */

static char *directory_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash) return qn_strdup(".");
    return qn_strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

static qn_status check_target(const char *path, bool force, qn_error *err)
{
    struct stat st;
    const size_t n = strlen(path);
    if (n == 0 || path[n - 1] == '/')
        return qn_fail(err, QN_ERR_ARGUMENT, "'%s': not the name of a file to write", path);
    if (lstat(path, &st)) {
        if (errno == ENOENT) return QN_OK;
        return qn_fail_errno(err, "%s: cannot write", path);
    }
    if (S_ISDIR(st.st_mode))
        return qn_fail(err, QN_ERR_ARGUMENT, "%s: is a directory, not a file to write", path);
    if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
        return qn_fail(err, QN_ERR_ARGUMENT, "%s: is there and not a regular file", path);
    if (!force) return qn_fail(err, QN_ERR_ARGUMENT, "%s: exists (--force replaces it)", path);
    return QN_OK;
}

/* Not mkstemp(): its files are private whatever the umask says, and the umask
 * cannot be asked for without changing it. */
static qn_status open_temporary(qn_outfile *f, qn_error *err)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz012345"; /* 32 */
    const char *slash = strrchr(f->path, '/');
    const char *name = slash ? slash + 1 : f->path;
    const int kept = (int)strnlen(name, NAME_MAX - 16); /* a long name is cut */
    for (int attempt = 0; attempt < 100; attempt++) {
        uint8_t random[6];
        char suffix[7] = {0};
        if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
            return qn_fail_errno(err, "%s: no random numbers for a temporary name", f->path);
        for (int i = 0; i < 6; i++) suffix[i] = letters[random[i] & 31];
        qn_text base = {0};
        qn_text_addf(&base, ".%.*s.%s.tmp", kept, name, suffix);
        qn_free(f->temporary);
        f->temporary = base.failed ? NULL : qn_path_join(f->directory, base.s);
        qn_text_free(&base);
        if (!f->temporary) return qn_fail_memory(err, f->path);
        f->fd = open(f->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (f->fd >= 0) return QN_OK;
        if (errno != EEXIST) break;
    }
    return qn_fail_errno(err, "%s: cannot make a temporary file beside it", f->path);
}

qn_status qn_outfile_create(qn_outfile **out, const char *path, bool force, qn_error *err)
{
    qn_status status = check_target(path, force, err);
    if (status) return status;
    qn_outfile *f = qn_alloc(1, sizeof *f);
    if (!f) return qn_fail_memory(err, path);
    f->fd = -1;
    f->slot = -1;
    f->force = force;
    f->path = qn_strdup(path);
    f->directory = directory_of(path);
    if (!f->path || !f->directory) {
        status = qn_fail_memory(err, path);
        goto out;
    }
    if ((status = open_temporary(f, err))) goto out;
    if (!register_temporary(f)) {
        unlink(f->temporary);
        status = qn_fail(err, QN_ERR_UNSUPPORTED, "%s: %d files are being written already", path,
                         MAX_TEMPORARIES);
        goto out;
    }
    *out = f;
    return QN_OK;
out:
    release(f);
    return status;
}

/* ---- writing ------------------------------------------------------------------- */

qn_status qn_outfile_reserve(qn_outfile *f, uint64_t size, qn_error *err)
{
    if (size > INT64_MAX)
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: %llu bytes are more than a file can have",
                       f->path, (unsigned long long)size);
    if (must_fail()) goto failed;
    int result = -1;
    errno = EOPNOTSUPP;
    if (size) do
            result = fallocate(f->fd, 0, 0, (off_t)size);
        while (result && errno == EINTR);
    /* What the file system cannot reserve it can still be told the length of. */
    if (result && (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL)) {
        do result = ftruncate(f->fd, (off_t)size);
        while (result && errno == EINTR);
    }
    if (!result) return QN_OK;
failed:
    return qn_fail_errno(err, "%s: cannot reserve %llu bytes", f->path, (unsigned long long)size);
}

qn_status qn_outfile_write(qn_outfile *f, uint64_t offset, const void *bytes, uint64_t n,
                           qn_error *err)
{
    const char *p = bytes;
    uint64_t at = offset, left = n;
    if (offset > INT64_MAX || n > INT64_MAX - offset)
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: offset %llu + %llu is too large", f->path,
                       (unsigned long long)offset, (unsigned long long)n);
    if (must_fail()) goto failed;
    while (left) {
        /* Linux moves at most this much in one call. */
        const size_t piece = left < 0x7ffff000 ? (size_t)left : 0x7ffff000;
        const ssize_t written = pwrite(f->fd, p, piece, (off_t)at);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) goto failed;
        p += written;
        at += (uint64_t)written;
        left -= (uint64_t)written;
    }
    return QN_OK;
failed:
    return qn_fail_errno(err, "%s: cannot write %llu bytes at %llu", f->path,
                         (unsigned long long)left, (unsigned long long)at);
}

void qn_outfile_flush(qn_outfile *f, uint64_t offset, uint64_t n)
{
    if (offset > INT64_MAX || n > INT64_MAX) return;
    sync_file_range(f->fd, (off_t)offset, (off_t)n, SYNC_FILE_RANGE_WRITE);
}

/* ---- committing ---------------------------------------------------------------- */

/* The temporary under its final name, which nobody may have taken meanwhile
 * unless force.  Where the file system cannot do that in one step a hard link
 * can, and without links looking first has to do. */
static int move_into_place(const qn_outfile *f)
{
    if (f->force) return rename(f->temporary, f->path);
    if (!renameat2(AT_FDCWD, f->temporary, AT_FDCWD, f->path, RENAME_NOREPLACE)) return 0;
    if (errno != EINVAL && errno != ENOSYS) return -1;
    if (!link(f->temporary, f->path)) {
        unlink(f->temporary);
        return 0;
    }
    if (errno == EEXIST) return -1;
    if (qn_path_exists(f->path)) {
        errno = EEXIST;
        return -1;
    }
    return rename(f->temporary, f->path);
}

/* Makes the new name itself durable; some file systems cannot, and say so. */
static int sync_directory(const char *directory)
{
    const int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return errno == EACCES ? 0 : -1; /* writable but not readable */
    int result = fsync(fd);
    if (result && (errno == EINVAL || errno == ENOTSUP || errno == EROFS)) result = 0;
    const int saved = errno;
    close(fd);
    errno = saved;
    return result;
}

static int sync_and_close(qn_outfile *f)
{
    const int synced = fsync(f->fd), reason = errno;
    const int closed = close(f->fd);
    f->fd = -1;
    if (synced) errno = reason;
    return synced || closed ? -1 : 0;
}

/* Renames into place those that are synced.  When one cannot be, those before it
 * are taken back, but for what replaced another file. */
static qn_status place_all(qn_outfile *const *files, size_t n, qn_error *err)
{
    for (size_t i = 0; i < n; i++) {
        qn_outfile *f = files[i];
        if (!move_into_place(f)) {
            unregister_temporary(f);
            continue;
        }
        const int reason = errno;
        for (size_t j = 0; j < i; j++)
            if (!files[j]->force) unlink(files[j]->path);
        errno = reason;
        return reason == EEXIST
                   ? qn_fail(err, QN_ERR_ARGUMENT,
                             "%s: appeared while it was being written (--force replaces it)",
                             f->path)
                   : qn_fail_errno(err, "%s: cannot rename the finished file to it", f->path);
    }
    return QN_OK;
}

qn_status qn_outfile_commit_all(qn_outfile *const *files, size_t n, qn_error *err)
{
    qn_status status = QN_OK;
    for (size_t i = 0; i < n && !status; i++)
        if (must_fail() || sync_and_close(files[i]))
            status = qn_fail_errno(err, "%s: cannot bring it to the disk", files[i]->path);
    if (!status) status = place_all(files, n, err);
    for (size_t i = 0; i < n && !status; i++)
        if (sync_directory(files[i]->directory))
            status = qn_fail_errno(err, "%s: is written, but its directory cannot be synced",
                                   files[i]->path);
    for (size_t i = 0; i < n; i++) qn_outfile_abandon(files[i]);
    return status;
}

qn_status qn_outfile_commit(qn_outfile *f, qn_error *err)
{
    return qn_outfile_commit_all(&f, 1, err);
}

qn_status qn_outfile_whole(const char *path, const void *bytes, uint64_t n, bool force,
                           qn_error *err)
{
    qn_outfile *f = NULL;
    qn_status status = qn_outfile_create(&f, path, force, err);
    if (status) return status;
    if ((status = qn_outfile_reserve(f, n, err)) ||
        (status = qn_outfile_write(f, 0, bytes, n, err))) {
        qn_outfile_abandon(f);
        return status;
    }
    return qn_outfile_commit(f, err);
}
