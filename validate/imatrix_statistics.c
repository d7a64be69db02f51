#include "validate/imatrix_statistics.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "validate/reals.h"

/* Below it a column counts as never used. */
static const double LEAST_ACTIVE = 1e-5;

/* "blk.12." into *layer, and what stands before ".weight". */
static void take_apart(const char *name, int64_t *layer, qn_str *role)
{
    const char *rest = name, *end = strstr(name, ".weight");
    *layer = -1;
    if (!strncmp(name, "blk.", 4)) {
        char *behind;
        const long long number = strtoll(name + 4, &behind, 10);
        if (behind > name + 4 && *behind == '.' && number >= 0) {
            *layer = number;
            rest = behind + 1;
        }
    }
    *role = end && end > rest ? qn_str_of(rest, (size_t)(end - rest)) : qn_str_z(rest);
}

/* The mean square of column i; negative: no row reached it. */
static double mean_square(const qn_imatrix_entry *e, uint64_t i)
{
    const int64_t count = qn_imatrix_count(e, i);
    return count ? (double)qn_imatrix_value(e, i) / (double)count : -1.0;
}

static void add_up(qn_imatrix_statistics *s)
{
    const qn_imatrix_entry *e = s->entry;
    double squares = 0.0;
    uint64_t active = 0;
    for (uint64_t i = 0; i < e->n_values; i++) {
        const double a = mean_square(e, i);
        if (a < 0.0) continue;
        s->least = s->n ? fmin(s->least, a) : a;
        s->most = fmax(s->most, a);
        s->total += a;
        squares += a * a;
        active += a > LEAST_ACTIVE;
        s->n++;
    }
    if (!s->n) return;
    const double n = (double)s->n;
    s->mean = s->total / n;
    s->deviation = sqrt(fmax(0.0, squares / n - s->mean * s->mean));
    s->active = (double)active / n;
}

static void spread(qn_imatrix_statistics *s)
{
    uint64_t high = 0;
    for (uint64_t i = 0; i < s->entry->n_values; i++) {
        const double a = mean_square(s->entry, i), p = s->total > 0.0 ? a / s->total : 0.0;
        if (a < 0.0) continue;
        if (p > 0.0) s->entropy -= p * qn_log(p) / qn_log(2.0);
        high += s->deviation > 0.0 && a - s->mean > s->deviation;
    }
    s->z_density = (double)high / (double)s->n;
}

static double likeness(const qn_imatrix_entry *a, const qn_imatrix_entry *b)
{
    double both = 0.0, of_a = 0.0, of_b = 0.0;
    for (uint64_t i = 0; i < a->n_values; i++) {
        const double x = (double)qn_imatrix_value(a, i), y = (double)qn_imatrix_value(b, i);
        both += x * y;
        of_a += x * x;
        of_b += y * y;
    }
    return of_a > 0.0 && of_b > 0.0 ? both / (sqrt(of_a) * sqrt(of_b)) : 0.0;
}

static void compare_with_before(const qn_imatrix *m, qn_imatrix_statistics *s)
{
    char name[512];
    if (s->layer < 1) return;
    snprintf(name, sizeof name, "blk.%lld.%s", (long long)s->layer - 1, s->role.s);
    const qn_imatrix_entry *before = qn_imatrix_find(m, name);
    if (before && before->n_values == s->entry->n_values) s->likeness = likeness(s->entry, before);
}

static int by_role_and_total(const void *a, const void *b)
{
    const qn_imatrix_statistics *x = a, *y = b;
    const size_t n = x->role.n < y->role.n ? x->role.n : y->role.n;
    const int roles = memcmp(x->role.s, y->role.s, n);
    if (roles || x->role.n != y->role.n) return roles ? roles : x->role.n < y->role.n ? -1 : 1;
    if (x->total != y->total) return x->total > y->total ? -1 : 1;
    return strcmp(x->entry->name, y->entry->name);
}

size_t qn_imatrix_statistics_of(const qn_imatrix *m, qn_imatrix_statistics *out)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n_entries; i++) {
        qn_imatrix_statistics s = {.entry = &m->entries[i]};
        add_up(&s);
        if (!s.n) continue;
        take_apart(s.entry->name, &s.layer, &s.role);
        spread(&s);
        compare_with_before(m, &s);
        out[n++] = s;
    }
    qsort(out, n, sizeof *out, by_role_and_total);
    return n;
}
