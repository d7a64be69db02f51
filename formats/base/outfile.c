#include "formats/base/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/base/alloc.h"
#include "formats/base/temporary.h"
#include "formats/base/text.h"

typedef enum { NOT_YET, NEW, OVER } placing;

struct qn_outfile {
    char *path, *directory;
    char *temporary; /* what abandon() removes; NULL: nothing */
    qn_temporary *remembered;
    bool force;
    placing placed; /* OVER: temporary is what was at the path before */
    /* Under the lock: */
    int fd; /* -1: closed for now */
    unsigned users;
    bool resting;   /* to be closed when nobody uses it */
    int sync_error; /* errno of a closing or syncing that failed */
};

static pthread_mutex_t descriptors = PTHREAD_MUTEX_INITIALIZER;

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

/* False when the signal handler was faster: the file is gone. */
static bool forget(qn_outfile *f)
{
    if (!f->remembered) return true;
    const bool ours = qn_temporary_forget(f->remembered, f->temporary);
    f->remembered = NULL;
    if (!ours) f->temporary = NULL;
    return ours;
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
    if (forget(f) && f->temporary) unlink(f->temporary);
    release(f);
}

/* ---- creating ------------------------------------------------------------------ */

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

static qn_status open_temporary(qn_outfile *f, qn_error *err)
{
    for (int attempt = 0; attempt < 100; attempt++) {
        char *name = NULL;
        const qn_status status = qn_temporary_name(f->path, &name, err);
        if (status) return status;
        f->fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (f->fd >= 0) {
            f->temporary = name;
            return QN_OK;
        }
        const int reason = errno;
        qn_free(name);
        errno = reason;
        if (reason != EEXIST) break;
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
    f->force = force;
    f->path = qn_strdup(path);
    f->directory = qn_path_parent(path);
    if (!f->path || !f->directory) {
        status = qn_fail_memory(err, path);
        goto out;
    }
    if ((status = open_temporary(f, err))) goto out;
    if (!(f->remembered = qn_temporary_remember(f->temporary))) {
        status = qn_fail_memory(err, path);
        goto out;
    }
    *out = f;
    return QN_OK;
out:
    qn_outfile_abandon(f);
    return status;
}

/* ---- its descriptor ------------------------------------------------------------ */

/* The descriptor, for the caller until let_go(); -1 with errno.  wake: a rest ends,
 * and what was closed is opened again. */
static int hold(qn_outfile *f, bool wake)
{
    pthread_mutex_lock(&descriptors);
    errno = ENOENT;
    if (wake) f->resting = false;
    if (wake && f->fd < 0 && f->temporary)
        f->fd = open(f->temporary, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    const int fd = f->fd, reason = errno;
    f->users += fd >= 0;
    pthread_mutex_unlock(&descriptors);
    errno = reason;
    return fd;
}

static void close_if_idle(qn_outfile *f)
{
    if (f->users || !f->resting || f->fd < 0) return;
    if (close(f->fd) && errno != EINTR && !f->sync_error) f->sync_error = errno;
    f->fd = -1;
}

static void let_go(qn_outfile *f)
{
    const int reason = errno;
    pthread_mutex_lock(&descriptors);
    f->users--;
    close_if_idle(f);
    pthread_mutex_unlock(&descriptors);
    errno = reason;
}

void qn_outfile_rest(qn_outfile *f)
{
    const int fd = hold(f, false);
    if (fd < 0) return;
    sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    pthread_mutex_lock(&descriptors);
    f->resting = true;
    pthread_mutex_unlock(&descriptors);
    let_go(f);
}

/* ---- writing ------------------------------------------------------------------- */

qn_status qn_outfile_reserve(qn_outfile *f, uint64_t size, qn_error *err)
{
    if (size > INT64_MAX)
        return qn_fail(err, QN_ERR_UNSUPPORTED, "%s: %llu bytes are more than a file can have",
                       f->path, (unsigned long long)size);
    const int fd = must_fail() ? -1 : hold(f, true);
    if (fd < 0) goto failed;
    int result = -1;
    errno = EOPNOTSUPP;
    if (size) do
            result = fallocate(fd, 0, 0, (off_t)size);
        while (result && errno == EINTR);
    /* What the file system cannot reserve it can still be told the length of. */
    if (result && (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL)) {
        do result = ftruncate(fd, (off_t)size);
        while (result && errno == EINTR);
    }
    let_go(f);
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
    const int fd = must_fail() ? -1 : hold(f, true);
    while (fd >= 0 && left) {
        /* Linux moves at most this much in one call. */
        const size_t piece = left < 0x7ffff000 ? (size_t)left : 0x7ffff000;
        const ssize_t written = pwrite(fd, p, piece, (off_t)at);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) break;
        p += written;
        at += (uint64_t)written;
        left -= (uint64_t)written;
    }
    if (fd >= 0) let_go(f);
    if (fd >= 0 && !left) return QN_OK;
    return qn_fail_errno(err, "%s: cannot write %llu bytes at %llu", f->path,
                         (unsigned long long)left, (unsigned long long)at);
}

void qn_outfile_flush(qn_outfile *f, uint64_t offset, uint64_t n)
{
    if (offset > INT64_MAX || n > INT64_MAX) return;
    const int fd = hold(f, false);
    if (fd < 0) return;
    sync_file_range(fd, (off_t)offset, (off_t)n, SYNC_FILE_RANGE_WRITE);
    let_go(f);
}

/* ---- placing ------------------------------------------------------------------- */

/* The file is where it belongs; `old` is what was there before, or NULL. */
static int placed(qn_outfile *f, placing how, char *old)
{
    qn_free(f->temporary);
    f->temporary = old;
    f->placed = how;
    return 0;
}

/* The temporary under its final name, which nobody has.  Where the file system
 * cannot do that in one step a hard link can, and without links looking first has
 * to do. */
static int place_new(qn_outfile *f)
{
    if (!renameat2(AT_FDCWD, f->temporary, AT_FDCWD, f->path, RENAME_NOREPLACE))
        return placed(f, NEW, NULL);
    if (errno != EINVAL && errno != ENOSYS) return -1;
    if (!link(f->temporary, f->path)) {
        unlink(f->temporary);
        return placed(f, NEW, NULL);
    }
    if (errno == EEXIST) return -1;
    if (qn_path_exists(f->path)) {
        errno = EEXIST;
        return -1;
    }
    return rename(f->temporary, f->path) ? -1 : placed(f, NEW, NULL);
}

/* The two files change names; or, where the file system cannot do that, a hard link
 * keeps the old one.  So there is a file at the path at any time. */
static int place_over(qn_outfile *f)
{
    char *old = NULL;
    if (!renameat2(AT_FDCWD, f->temporary, AT_FDCWD, f->path, RENAME_EXCHANGE)) {
        f->placed = OVER;
        return 0;
    }
    if (errno != EINVAL && errno != ENOSYS) return -1;
    if (!qn_temporary_name(f->path, &old, NULL) && link(f->path, old)) {
        qn_free(old);
        old = NULL;
    }
    if (!rename(f->temporary, f->path)) return placed(f, OVER, old);
    const int reason = errno;
    if (old) unlink(old);
    qn_free(old);
    errno = reason;
    return -1;
}

static qn_status place(qn_outfile *f, qn_error *err)
{
    if (!f->temporary || must_fail()) goto failed;
    if (!place_new(f)) return QN_OK;
    if (errno != EEXIST) goto failed;
    if (!f->force)
        return qn_fail(err, QN_ERR_ARGUMENT,
                       "%s: appeared while it was being written (--force replaces it)", f->path);
    const qn_status status = check_target(f->path, true, err);
    if (status || !place_over(f)) return status;
failed:
    return qn_fail_errno(err, "%s: cannot rename the finished file to it", f->path);
}

/* err tells already why. */
static void take_back(qn_outfile *f, qn_error *err)
{
    qn_error before = {0};
    if (err) before = *err;
    if (f->placed == NEW) unlink(f->path);
    if (f->placed != OVER) return;
    if (f->temporary && !rename(f->temporary, f->path)) {
        placed(f, NOT_YET, NULL);
        return;
    }
    qn_record(err, before.status, "%s; %s is new already, and what it was is %s", before.message,
              f->path, f->temporary ? f->temporary : "gone");
    placed(f, OVER, NULL);
}

static qn_status place_all(qn_outfile *const *files, size_t n, qn_error *err)
{
    qn_status status = QN_OK;
    size_t i = 0;
    for (size_t j = 0; j < n; j++) forget(files[j]);
    while (i < n && !(status = place(files[i], err))) i++;
    while (status && i-- > 0) take_back(files[i], err);
    return status;
}

/* ---- committing ---------------------------------------------------------------- */

/* data_only: what the file has besides its bytes is left to another sync. */
static int sync_and_close(qn_outfile *f, bool data_only)
{
    const unsigned wait =
        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    const int fd = hold(f, true);
    if (fd < 0) return -1;
    if ((data_only ? sync_file_range(fd, 0, 0, wait) : fsync(fd)) && !f->sync_error)
        f->sync_error = errno;
    f->resting = true;
    let_go(f);
    errno = f->sync_error;
    return f->sync_error ? -1 : 0;
}

/* A file's own sync waits for the disk's cache.  Of many files on one file system
 * each has its bytes written, which tells its errors, and one sync is for all. */
static bool sync_together(qn_outfile *const *files, size_t n)
{
    enum { MANY = 16 };
    struct stat first, other;
    if (n < MANY || stat(files[0]->directory, &first)) return false;
    for (size_t i = 1; i < n; i++)
        if (strcmp(files[i]->directory, files[i - 1]->directory) != 0 &&
            (stat(files[i]->directory, &other) || other.st_dev != first.st_dev))
            return false;
    return true;
}

static int sync_file_system(qn_outfile *f)
{
    const int fd = hold(f, true);
    if (fd < 0) return -1;
    const int result = syncfs(fd);
    f->resting = true;
    let_go(f);
    return result;
}

static qn_status sync_all(qn_outfile *const *files, size_t n, qn_error *err)
{
    const bool together = sync_together(files, n);
    for (size_t i = 0; i < n; i++)
        if (must_fail() || sync_and_close(files[i], together))
            return qn_fail_errno(err, "%s: cannot bring it to the disk", files[i]->path);
    if (together && sync_file_system(files[0]))
        return qn_fail_errno(err, "%s: cannot bring its file system to the disk", files[0]->path);
    return QN_OK;
}

/* Once for neighbours in one directory. */
static qn_status sync_directories(qn_outfile *const *files, size_t n, qn_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (i && !strcmp(files[i]->directory, files[i - 1]->directory)) continue;
        if (qn_sync_directory(files[i]->directory))
            return qn_fail_errno(err, "%s: is written, but its directory cannot be synced",
                                 files[i]->path);
    }
    return QN_OK;
}

/* What was replaced goes last: until all is on the disk it could be put back. */
qn_status qn_outfile_commit_all(qn_outfile *const *files, size_t n, qn_error *err)
{
    qn_status status = sync_all(files, n, err);
    if (!status) status = place_all(files, n, err);
    if (!status) status = sync_directories(files, n, err);
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
