#include "formats/tensor.h"

#include <stdio.h>

uint64_t qn_tensor_rows(const qn_tensor *t)
{
    uint64_t rows = 1;
    for (unsigned i = 0; i + 1 < t->rank; i++) rows *= t->dims[i];
    return rows;
}

uint64_t qn_tensor_elements(const qn_tensor *t)
{
    return qn_tensor_rows(t) * qn_tensor_columns(t);
}

const char *qn_shape_text(const uint64_t *dims, unsigned rank, char *buf, size_t n)
{
    size_t used = 0;
    for (unsigned i = 0; i <= rank && used < n; i++) {
        const int wrote = i == rank ? snprintf(buf + used, n - used, "%s", rank ? "]" : "[]")
                                    : snprintf(buf + used, n - used, "%s%llu", i ? ", " : "[",
                                               (unsigned long long)dims[i]);
        used += wrote < 0 ? n : (size_t)wrote;
    }
    return buf;
}
