/* A vector of floats, so that a search is written once and built for AVX2 and
 * for AVX-512: a register (reg.h says what each function does), or two where a
 * file defines VEC_PAIRS.  A search is a long chain of dependent steps; two
 * chains at once keep the processor busy while each waits for itself. */
#ifndef QN_KERNELS_X86_VEC_H
#define QN_KERNELS_X86_VEC_H

#include "kernels/x86/reg.h"

#if defined(VEC_PAIRS)

enum { LANES = 2 * REG_LANES };

typedef struct {
    reg a, b;
} vec;

typedef struct {
    reg_mask a, b;
} vec_mask;

/* f of each register. */
#define VEC_1(f, v) ((vec){f((v).a), f((v).b)})
#define VEC_2(f, v, w) ((vec){f((v).a, (w).a), f((v).b, (w).b)})
#define MASK_2(f, v, w) ((vec_mask){f((v).a, (w).a), f((v).b, (w).b)})

static inline vec vec_load(const float *p)
{
    return (vec){reg_load(p), reg_load(p + REG_LANES)};
}

static inline void vec_store(float *p, vec v)
{
    reg_store(p, v.a);
    reg_store(p + REG_LANES, v.b);
}

static inline vec vec_all_of(float x)
{
    return (vec){reg_all_of(x), reg_all_of(x)};
}

static inline vec vec_select(vec_mask m, vec yes, vec no)
{
    return (vec){reg_select(m.a, yes.a, no.a), reg_select(m.b, yes.b, no.b)};
}

static inline bool vec_all(vec_mask m)
{
    return reg_all(m.a) && reg_all(m.b);
}

static inline unsigned vec_bits(vec_mask m)
{
    return reg_bits(m.a) | reg_bits(m.b) << REG_LANES;
}

static inline float vec_largest(vec v)
{
    return reg_largest(reg_max(v.a, v.b));
}

static inline vec vec_lookup16(const float table[16], vec i)
{
    return (vec){reg_lookup16(table, i.a), reg_lookup16(table, i.b)};
}

static inline vec vec_near_index(vec v, float top)
{
    return (vec){reg_near_index(v.a, top), reg_near_index(v.b, top)};
}

static inline vec vec_code(vec v, int low, int high)
{
    return (vec){reg_code(v.a, low, high), reg_code(v.b, low, high)};
}

static inline void vec_store_bytes(uint8_t *out, vec v)
{
    reg_store_bytes(out, v.a);
    reg_store_bytes(out + REG_LANES, v.b);
}

#else

enum { LANES = REG_LANES };

typedef reg vec;
typedef reg_mask vec_mask;

#define VEC_1(f, v) f(v)
#define VEC_2(f, v, w) f(v, w)
#define MASK_2(f, v, w) f(v, w)

static inline vec vec_load(const float *p)
{
    return reg_load(p);
}

static inline void vec_store(float *p, vec v)
{
    reg_store(p, v);
}

static inline vec vec_all_of(float x)
{
    return reg_all_of(x);
}

static inline vec vec_select(vec_mask m, vec yes, vec no)
{
    return reg_select(m, yes, no);
}

static inline bool vec_all(vec_mask m)
{
    return reg_all(m);
}

static inline unsigned vec_bits(vec_mask m)
{
    return reg_bits(m);
}

static inline float vec_largest(vec v)
{
    return reg_largest(v);
}

static inline vec vec_lookup16(const float table[16], vec i)
{
    return reg_lookup16(table, i);
}

static inline vec vec_near_index(vec v, float top)
{
    return reg_near_index(v, top);
}

static inline vec vec_code(vec v, int low, int high)
{
    return reg_code(v, low, high);
}

static inline void vec_store_bytes(uint8_t *out, vec v)
{
    reg_store_bytes(out, v);
}

#endif

static inline vec vec_abs(vec v)
{
    return VEC_1(reg_abs, v);
}

static inline vec vec_nearest(vec v)
{
    return VEC_1(reg_nearest, v);
}

static inline vec vec_truncate(vec v)
{
    return VEC_1(reg_truncate, v);
}

static inline vec vec_truncate_byte(vec v)
{
    return VEC_1(reg_truncate_byte, v);
}

static inline vec vec_sqrt(vec v)
{
    return VEC_1(reg_sqrt, v);
}

static inline vec vec_negate(vec v)
{
    return VEC_1(reg_negate, v);
}

static inline vec vec_add(vec v, vec w)
{
    return VEC_2(reg_add, v, w);
}

static inline vec vec_sub(vec v, vec w)
{
    return VEC_2(reg_sub, v, w);
}

static inline vec vec_mul(vec v, vec w)
{
    return VEC_2(reg_mul, v, w);
}

static inline vec vec_div(vec v, vec w)
{
    return VEC_2(reg_div, v, w);
}

static inline vec vec_min(vec v, vec w)
{
    return VEC_2(reg_min, v, w);
}

static inline vec vec_max(vec v, vec w)
{
    return VEC_2(reg_max, v, w);
}

static inline vec_mask vec_less(vec v, vec w)
{
    return MASK_2(reg_less, v, w);
}

static inline vec_mask vec_equal(vec v, vec w)
{
    return MASK_2(reg_equal, v, w);
}

static inline vec_mask vec_and(vec_mask v, vec_mask w)
{
    return MASK_2(reg_and, v, w);
}

static inline vec_mask vec_or(vec_mask v, vec_mask w)
{
    return MASK_2(reg_or, v, w);
}

/* qn_nearest and a clamp for |v| < 2^22, as a float: less work than vec_code. */
static inline vec vec_near_code(vec v, float low, float high)
{
    return vec_min(vec_max(vec_nearest(v), vec_all_of(low)), vec_all_of(high));
}

#endif
