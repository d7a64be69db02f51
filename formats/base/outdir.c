#include "formats/base/outdir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/base/alloc.h"
#include "formats/base/temporary.h"
#include "formats/base/text.h"

struct qn_outdir {
    char *path, *temporary, *parent;
    bool force, made;
};

/* ---- what is in a directory -------------------------------------------------------- */

typedef struct {
    size_t files, others;
    bool checkpoint; /* a config.json or model.safetensors is among the files */
} census;

static qn_status count(const char *path, census *out, qn_error *err)
{
    DIR *d = opendir(path);
    if (!d) return qn_fail_errno(err, "%s: cannot read the directory", path);
    *out = (census){0};
    for (struct dirent *e; (e = readdir(d));) {
        struct stat st;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        const bool plain = !fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) &&
                           (S_ISREG(st.st_mode) || S_ISLNK(st.st_mode));
        out->files += plain;
        out->others += !plain;
        out->checkpoint |= plain && (!strcmp(e->d_name, "config.json") ||
                                     !strncmp(e->d_name, "model.safetensors", 17));
    }
    closedir(d);
    return QN_OK;
}

/* The directory with the files in it, as far as that goes. */
static void remove_directory(const char *path)
{
    DIR *d = opendir(path);
    if (!d) return;
    for (struct dirent *e; (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    rmdir(path);
}

/* ---- creating ------------------------------------------------------------------------ */

qn_status qn_outdir_check(const char *path, bool force, qn_error *err)
{
    struct stat st;
    census c;
    if (lstat(path, &st)) {
        if (errno == ENOENT) return QN_OK;
        return qn_fail_errno(err, "%s: cannot write", path);
    }
    if (!S_ISDIR(st.st_mode))
        return qn_fail(err, QN_ERR_ARGUMENT, "%s: is there and no directory", path);
    const qn_status status = count(path, &c, err);
    if (status || c.files + c.others == 0) return status;
    if (!force)
        return qn_fail(err, QN_ERR_ARGUMENT, "%s: exists (--force replaces a checkpoint)", path);
    if (c.others || !c.checkpoint)
        return qn_fail(err, QN_ERR_ARGUMENT,
                       "%s: %s, so it is no plain checkpoint, which is all that --force replaces",
                       path, c.others ? "holds more than files" : "has no config.json");
    return QN_OK;
}

static qn_status make_temporary(qn_outdir *d, qn_error *err)
{
    for (int attempt = 0; attempt < 100; attempt++) {
        qn_free(d->temporary);
        d->temporary = NULL;
        const qn_status status = qn_temporary_name(d->path, &d->temporary, err);
        if (status) return status;
        d->made = !mkdir(d->temporary, 0777);
        if (d->made) return QN_OK;
        if (errno != EEXIST) break;
    }
    return qn_fail_errno(err, "%s: cannot make a temporary directory beside it", d->path);
}

static void release(qn_outdir *d)
{
    if (!d) return;
    qn_free(d->temporary);
    qn_free(d->parent);
    qn_free(d->path);
    qn_free(d);
}

void qn_outdir_abandon(qn_outdir *d)
{
    if (d && d->made) remove_directory(d->temporary);
    release(d);
}

qn_status qn_outdir_create(qn_outdir **out, const char *path, bool force, qn_error *err)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    qn_outdir *d = qn_alloc(1, sizeof *d);
    if (!d) return qn_fail_memory(err, path);
    qn_status status = QN_ERR_MEMORY;
    d->force = force;
    d->path = qn_strndup(path, n);
    d->parent = d->path ? qn_path_parent(d->path) : NULL;
    if (!d->parent) {
        qn_fail_memory(err, path);
        goto out;
    }
    if ((status = qn_outdir_check(d->path, force, err))) goto out;
    if ((status = make_temporary(d, err))) goto out;
    *out = d;
    d = NULL;
out:
    qn_outdir_abandon(d);
    return status;
}

const char *qn_outdir_path(const qn_outdir *d)
{
    return d->temporary;
}

/* ---- committing -------------------------------------------------------------------------- */

/* Where file systems cannot exchange two directories the old one goes aside. */
static int replace(qn_outdir *d)
{
    if (!renameat2(AT_FDCWD, d->temporary, AT_FDCWD, d->path, RENAME_EXCHANGE)) {
        remove_directory(d->temporary);
        return 0;
    }
    if (errno != EINVAL && errno != ENOSYS && errno != EXDEV) return -1;
    qn_text aside = {0};
    qn_text_addf(&aside, "%s.old", d->temporary);
    int result = aside.failed ? (errno = ENOMEM, -1) : rename(d->path, aside.s);
    if (!result && (result = rename(d->temporary, d->path))) {
        const int reason = errno;
        rename(aside.s, d->path);
        errno = reason;
    } else if (!result) {
        remove_directory(aside.s);
    }
    qn_text_free(&aside);
    return result;
}

/* An empty directory is replaced by rename() itself. */
static int move_into_place(qn_outdir *d)
{
    if (!rename(d->temporary, d->path)) return 0;
    if (!d->force || (errno != EEXIST && errno != ENOTEMPTY)) return -1;
    return replace(d);
}

qn_status qn_outdir_commit(qn_outdir *d, qn_error *err)
{
    qn_status status = qn_outdir_check(d->path, d->force, err);
    if (status) goto out;
    if (qn_sync_directory(d->temporary) || move_into_place(d)) {
        status =
            errno == EEXIST || errno == ENOTEMPTY
                ? qn_fail(err, QN_ERR_ARGUMENT, "%s: appeared while it was being written", d->path)
                : qn_fail_errno(err, "%s: cannot bring the directory into place", d->path);
        goto out;
    }
    d->made = false;
    if (qn_sync_directory(d->parent))
        status = qn_fail_errno(err, "%s: is written, but its parent cannot be synced", d->path);
out:
    qn_outdir_abandon(d);
    return status;
}
