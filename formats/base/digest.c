#include "formats/base/digest.h"

#include <errno.h>
#include <sha2.h>
#include <sys/types.h>
#include <unistd.h>
#include <xxhash.h>

#include "formats/base/regular.h"

uint64_t qn_xxh3(const void *bytes, size_t n)
{
    return XXH3_64bits(n ? bytes : "", n);
}

static void finish(SHA2_CTX *context, char out[65])
{
    static const char hex[] = "0123456789abcdef";
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256Final(digest, context);
    for (size_t i = 0; i < sizeof digest; i++) {
        out[2 * i] = hex[digest[i] >> 4];
        out[2 * i + 1] = hex[digest[i] & 15];
    }
    out[64] = '\0';
}

void qn_sha256_hex(const void *bytes, size_t n, char out[65])
{
    SHA2_CTX context;
    SHA256Init(&context);
    if (n) SHA256Update(&context, bytes, n);
    finish(&context, out);
}

qn_status qn_sha256_file(const char *path, char out[65], qn_error *err)
{
    int fd = -1;
    uint64_t size;
    uint8_t buffer[64 * 1024];
    SHA2_CTX context;
    qn_status status = qn_open_regular(path, &fd, &size, err);
    if (status) return status;
    SHA256Init(&context);
    for (;;) {
        const ssize_t n = read(fd, buffer, sizeof buffer);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            status = qn_fail_errno(err, "%s: cannot read", path);
            goto out;
        }
        if (n == 0) break;
        SHA256Update(&context, buffer, (size_t)n);
    }
    finish(&context, out);
out:
    close(fd);
    return status;
}
