#include "formats/base/map.h"

#include <sys/mman.h>
#include <unistd.h>

#include "formats/base/alloc.h"
#include "formats/base/regular.h"
#include "formats/base/sizes.h"

qn_status qn_map_open(qn_map *out, const char *path, qn_error *err)
{
    int fd = -1;
    uint64_t size = 0;
    void *data = NULL;
    char *copy = NULL;
    qn_status status = qn_open_regular(path, &fd, &size, err);
    if (status) return status;
    copy = qn_strdup(path);
    if (!copy) {
        status = qn_fail_memory(err, path);
        goto out;
    }
    if (size) {
        data = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            status =
                qn_fail_errno(err, "%s: cannot map %llu bytes", path, (unsigned long long)size);
            goto out;
        }
    }
    *out = (qn_map){.data = data, .size = size, .is_file = true, .path = copy};
    copy = NULL;
out:
    qn_free(copy);
    close(fd);
    return status;
}

void qn_map_close(qn_map *m)
{
    if (!m->path) return;
    if (m->is_file && m->data) munmap((void *)(uintptr_t)m->data, (size_t)m->size);
    qn_free(m->path);
    *m = (qn_map){0};
}

/* Touching a page maps those around it: 64 KiB, or from Linux 6.18 on the whole
 * folio that caches it, up to 2 MiB and aligned to its size.  So reading a piece
 * brings in parts of its neighbours, perhaps after those were given back.  All
 * go: who still reads there has them back for the price of a fault. */
void qn_map_done(const qn_map *m, uint64_t offset, uint64_t n)
{
    enum { LARGEST_FOLIO = 2 << 20 };
    if (!m->is_file || offset >= m->size || !n) return;
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    const uint64_t whole = (m->size + page - 1) / page * page; /* what is mapped */
    const uint64_t step = qn_max_u64(LARGEST_FOLIO, page), first = offset / step * step;
    const uint64_t end = offset + qn_min_u64(n, m->size - offset);
    const uint64_t last = qn_min_u64((end + step - 1) / step * step, whole);
    madvise((void *)(uintptr_t)(m->data + first), (size_t)(last - first), MADV_DONTNEED);
}
