#include "tools/split_options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/sizes.h"

static bool parse_size(const char *text, uint64_t *out)
{
    static const char units[] = "KMG";
    char *end;
    uint64_t unit = 1;
    if (*text < '0' || *text > '9') return false;
    errno = 0;
    const unsigned long long n = strtoull(text, &end, 10);
    const char *at = *end ? strchr(units, *end) : NULL;
    for (ptrdiff_t i = at ? at - units : -1; i >= 0; i--) unit *= 1000;
    if (at) end++;
    return !errno && !*end && n && qn_mul_u64(n, unit, out);
}

qn_exit qn_split_limits(const qn_common *c, const char *size, uint64_t max_tensors,
                        qn_split_options *out)
{
    out->max_tensors = max_tensors;
    if (!size || parse_size(size, &out->max_bytes)) return QN_EXIT_FINE;
    return qn_usage(c, "--split-max-size wants a size such as 500M or 4G, not '%s'", size);
}
