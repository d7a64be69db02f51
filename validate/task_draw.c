#include "validate/task_draw.h"

#define SEED 1
#define MIDDLE 397
#define UPPER 0x80000000u
#define LOWER 0x7fffffffu

qn_mersenne qn_mersenne_seeded(uint32_t seed)
{
    qn_mersenne m = {.at = QN_MERSENNE_WORDS};
    m.state[0] = seed;
    for (uint32_t i = 1; i < QN_MERSENNE_WORDS; i++)
        m.state[i] = 1812433253u * (m.state[i - 1] ^ (m.state[i - 1] >> 30)) + i;
    return m;
}

static void renew(qn_mersenne *m)
{
    for (size_t i = 0; i < QN_MERSENNE_WORDS; i++) {
        const uint32_t y = (m->state[i] & UPPER) | (m->state[(i + 1) % QN_MERSENNE_WORDS] & LOWER);
        m->state[i] =
            m->state[(i + MIDDLE) % QN_MERSENNE_WORDS] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0u);
    }
    m->at = 0;
}

uint32_t qn_mersenne_next(qn_mersenne *m)
{
    if (m->at == QN_MERSENNE_WORDS) renew(m);
    uint32_t y = m->state[m->at++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

/* 0 .. n - 1, 0 < n < 2^32, as libstdc++'s uniform_int_distribution since GCC
 * 11: the high half of a product, drawn again where the low half says that some
 * numbers would come too often (Lemire, "Fast random integer generation in an
 * interval", 2019). */
static uint32_t below(qn_mersenne *m, uint32_t n)
{
    uint64_t product = (uint64_t)qn_mersenne_next(m) * n;
    if ((uint32_t)product < n) {
        const uint32_t unfair = (0u - n) % n; /* 2^32 mod n */
        while ((uint32_t)product < unfair) product = (uint64_t)qn_mersenne_next(m) * n;
    }
    return (uint32_t)(product >> 32);
}

/* 0 .. n - 1 as (int)(2^-32f * next * n), in float32: not quite even. */
static size_t scaled(qn_mersenne *m, size_t n)
{
    const float share = 0x1p-32f * (float)qn_mersenne_next(m); /* may round up to 1 */
    const size_t i = (size_t)(share * (float)n);
    return i < n ? i : n - 1;
}

/* Each of those left is as likely, and the others keep their order.  A tree of
 * how many are left (Fenwick, "A new data structure for cumulative frequency
 * tables", 1994) finds the k-th. */
static qn_status draw_keeping_order(size_t n, size_t *order, size_t drawn, qn_error *err)
{
    size_t *tree = n < UINT32_MAX ? qn_alloc(n + 1, sizeof *tree) : NULL, top = 1;
    if (!tree) return qn_fail_memory(err, "tasks");
    for (size_t i = 1; i <= n; i++) tree[i] = i & (~i + 1);
    while (2 * top <= n) top *= 2;
    qn_mersenne random = qn_mersenne_seeded(SEED);
    for (size_t t = 0; t < drawn; t++) {
        size_t k = below(&random, (uint32_t)(n - t)), at = 0;
        for (size_t step = top; step; step /= 2)
            if (at + step <= n && tree[at + step] <= k) k -= tree[at += step];
        order[t] = at;
        for (size_t i = at + 1; i <= n; i += i & (~i + 1)) tree[i]--;
    }
    qn_free(tree);
    return QN_OK;
}

/* Each drawn one is replaced by the last of those left. */
static qn_status draw_swapping(size_t n, size_t *order, size_t drawn, qn_error *err)
{
    size_t *left = qn_alloc(n, sizeof *left);
    if (!left) return qn_fail_memory(err, "tasks");
    qn_mersenne random = qn_mersenne_seeded(SEED);
    for (size_t i = 0; i < n; i++) left[i] = i;
    for (size_t i = 0; i < drawn; i++) {
        const size_t at = scaled(&random, n);
        order[i] = left[at];
        left[at] = left[--n];
    }
    qn_free(left);
    return QN_OK;
}

qn_status qn_tasks_draw(qn_task_kind kind, size_t n, uint64_t at_most, size_t **order,
                        size_t *drawn, qn_error *err)
{
    const size_t count = at_most && at_most < n ? (size_t)at_most : n;
    size_t *list = qn_alloc(count, sizeof *list);
    if (!list) return qn_fail_memory(err, "tasks");
    qn_status status = QN_OK;
    if (kind == QN_TASKS_HELLASWAG)
        status = draw_keeping_order(n, list, count, err);
    else if (count < n)
        status = draw_swapping(n, list, count, err);
    else
        for (size_t i = 0; i < n; i++) list[i] = i;
    if (status) {
        qn_free(list);
        return status;
    }
    *order = list;
    *drawn = count;
    return QN_OK;
}
