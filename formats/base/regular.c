#include "formats/base/regular.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *kind_name(mode_t mode)
{
    if (S_ISDIR(mode)) return "a directory";
    if (S_ISFIFO(mode)) return "a pipe";
    if (S_ISSOCK(mode)) return "a socket";
    return "a device";
}

qn_status qn_open_regular(const char *path, int *fd, uint64_t *size, qn_error *err)
{
    qn_status status;
    struct stat st;
    /* O_NONBLOCK: opening a FIFO must not wait for its other end. */
    const int opened = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (opened < 0) return qn_fail_errno(err, "%s: cannot open", path);
    if (fstat(opened, &st))
        status = qn_fail_errno(err, "%s: cannot look at it", path);
    else if (!S_ISREG(st.st_mode))
        status = qn_fail(err, QN_ERR_ARGUMENT, "%s: is %s, not a regular file", path,
                         kind_name(st.st_mode));
    else {
        *fd = opened;
        *size = (uint64_t)st.st_size;
        return QN_OK;
    }
    close(opened);
    return status;
}
