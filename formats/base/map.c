#include "formats/base/map.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/base/alloc.h"
#include "formats/base/sizes.h"

static const char *kind_name(mode_t mode)
{
    if (S_ISDIR(mode)) return "a directory";
    if (S_ISFIFO(mode)) return "a pipe";
    if (S_ISSOCK(mode)) return "a socket";
    return "a device";
}

qn_status qn_map_open(qn_map *out, const char *path, qn_error *err)
{
    qn_status status;
    struct stat st;
    void *data = NULL;
    char *copy = NULL;
    /* O_NONBLOCK: opening a FIFO must not wait for its other end. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return qn_fail_errno(err, "%s: cannot open", path);
    if (fstat(fd, &st)) {
        status = qn_fail_errno(err, "%s: cannot look at it", path);
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        status = qn_fail(err, QN_ERR_ARGUMENT, "%s: is %s, not a regular file", path,
                         kind_name(st.st_mode));
        goto out;
    }
    if (st.st_size > 0) {
        data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            data = NULL;
            status = qn_fail_errno(err, "%s: cannot map %lld bytes", path, (long long)st.st_size);
            goto out;
        }
    }
    copy = qn_strdup(path);
    if (!copy) {
        status = qn_fail_memory(err, path);
        goto out;
    }
    *out = (qn_map){.data = data, .size = (uint64_t)st.st_size, .fd = fd, .path = copy};
    return QN_OK;
out:
    if (data) munmap(data, (size_t)st.st_size);
    close(fd);
    return status;
}

void qn_map_close(qn_map *m)
{
    if (!m->path) return;
    if (m->fd >= 0) {
        if (m->data) munmap((void *)(uintptr_t)m->data, (size_t)m->size);
        close(m->fd);
    }
    qn_free(m->path);
    *m = (qn_map){0};
}

/* Advice on the pages of [offset, offset+n), the first one whole; the last
 * one only when rounding up, because the next piece may begin in it. */
static void advise(const qn_map *m, uint64_t offset, uint64_t n, int advice, bool round_up)
{
    if (m->fd < 0 || offset >= m->size) return;
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t end = offset + qn_min_u64(n, m->size - offset);
    if (round_up || end == m->size) end = (end + page - 1) / page * page;
    const uint64_t first = offset / page * page, last = end / page * page;
    if (last > first) madvise((void *)(uintptr_t)(m->data + first), (size_t)(last - first), advice);
}

void qn_map_will_need(const qn_map *m, uint64_t offset, uint64_t n)
{
    advise(m, offset, n, MADV_WILLNEED, true);
}

void qn_map_done(const qn_map *m, uint64_t offset, uint64_t n)
{
    advise(m, offset, n, MADV_DONTNEED, false);
}
