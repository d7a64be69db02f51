#include "validate/compact_row.h"

#include <math.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "formats/base/sizes.h"
#include "validate/chunks.h"
#include "validate/compact_bits.h"
#include "validate/reals.h"

/* Tokens are told apart by their distance from the most probable one, in steps of 1/128
 * nat up to 32 nats: what lies deeper has no 0.1 % of any vocabulary's mass. */
enum { BUCKETS = 4096, BUCKETS_A_NAT = 128 };
enum { HEAD_BYTES = 27, KEPT_BITS = 15, SAMPLE_BITS = 16, DRAWN = 16 };
/* A tail that adds less than this to anything is not sampled. */
static const float smallest_tail = 0x1p-40f;

struct qn_compact_scratch {
    float *weights; /* [n_vocab]: e^(logit - max) */
    uint32_t ids[QN_COMPACT_KEPT + DRAWN];
    uint32_t count[BUCKETS];
    double mass[BUCKETS];
};

/* What is kept: buckets below `last`, and `partial` of `last` in the order of ids. */
typedef struct {
    size_t last, partial;
} cut;

/* What becomes of logits, and what is left of them. */
typedef struct {
    const float *logits, *weights;
    size_t n;
    float max;
    double total; /* log-sum-exp */
    cut kept;
    size_t n_kept;
    double tail, tail_sum; /* of weights, and of weights times (logit - max) */
} work;

size_t qn_compact_row_ids(size_t n_vocab)
{
    return (size_t)qn_min_u64(n_vocab, QN_COMPACT_KEPT) + QN_COMPACT_SAMPLES;
}

/* Of n of n_vocab ids ascending: the best code is no longer than this one. */
static size_t id_bits(size_t n, size_t n_vocab)
{
    const unsigned rice = n_vocab > n ? qn_bits_of((uint32_t)(n_vocab / n)) - 1 : 0;
    return n * (rice + 1) + (n_vocab >> rice);
}

size_t qn_compact_row_bytes(size_t n_vocab)
{
    const size_t kept = (size_t)qn_min_u64(n_vocab, QN_COMPACT_KEPT);
    const size_t bits =
        id_bits(kept, n_vocab) + kept * KEPT_BITS + id_bits(DRAWN, n_vocab) + DRAWN * SAMPLE_BITS;
    return HEAD_BYTES + (bits + 7) / 8;
}

qn_compact_scratch *qn_compact_scratch_new(size_t n_vocab)
{
    qn_compact_scratch *s = qn_alloc(1, sizeof *s);
    if (!s) return NULL;
    s->weights = qn_alloc(n_vocab, sizeof *s->weights);
    if (s->weights) return s;
    qn_free(s);
    return NULL;
}

void qn_compact_scratch_free(qn_compact_scratch *s)
{
    if (s) qn_free(s->weights);
    qn_free(s);
}

/* ---- choosing ------------------------------------------------------------------------ */

static size_t bucket_of(const work *w, size_t v)
{
    const float depth = (w->max - w->logits[v]) * BUCKETS_A_NAT;
    return depth < BUCKETS ? (size_t)depth : BUCKETS;
}

static cut choose(qn_compact_scratch *s, const work *w)
{
    double all = 0.0, mass = 0.0;
    memset(s->count, 0, sizeof s->count);
    memset(s->mass, 0, sizeof s->mass);
    for (size_t v = 0; v < w->n; v++) {
        const size_t b = bucket_of(w, v);
        all += (double)w->weights[v];
        if (b == BUCKETS) continue;
        s->count[b]++;
        s->mass[b] += (double)w->weights[v];
    }
    size_t kept = 0;
    for (size_t b = 0; b < BUCKETS; b++) {
        if (kept + s->count[b] > QN_COMPACT_KEPT) return (cut){b, QN_COMPACT_KEPT - kept};
        kept += s->count[b];
        mass += s->mass[b];
        if (mass >= QN_COMPACT_MASS * all) return (cut){b, s->count[b]};
    }
    return (cut){BUCKETS - 1, s->count[BUCKETS - 1]};
}

/* Ids of those kept, and what the others come to. */
static void part(qn_compact_scratch *s, work *w)
{
    size_t partial = w->kept.partial;
    for (size_t v = 0; v < w->n; v++) {
        const size_t b = bucket_of(w, v);
        if (b < w->kept.last || (b == w->kept.last && partial)) {
            partial -= b == w->kept.last;
            s->ids[w->n_kept++] = (uint32_t)v;
        } else {
            w->tail += (double)w->weights[v];
            w->tail_sum += (double)w->weights[v] * ((double)w->logits[v] - (double)w->max);
        }
    }
}

/* From 0 to 1: the fixed output function of SplitMix64 (Steele, Lea and Flood, Fast
 * splittable pseudorandom number generators, 2014). */
static double start_of(uint64_t seed)
{
    uint64_t z = (seed + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

/* A systematic sample of the tail, ids ascending: one id from each DRAWN-th part of the
 * tail's mass, all at the same place in theirs. */
static void draw(qn_compact_scratch *s, const work *w, uint64_t seed, uint32_t *out)
{
    const double part = w->tail / DRAWN, start = start_of(seed);
    double mass = 0.0;
    size_t drawn = 0, kept = 0;
    uint32_t last = 0;
    for (size_t v = 0; v < w->n && drawn < DRAWN; v++) {
        if (kept < w->n_kept && s->ids[kept] == v) {
            kept++;
            continue;
        }
        mass += (double)w->weights[v];
        if (w->weights[v] > 0) last = (uint32_t)v;
        while (drawn < DRAWN && mass > ((double)drawn + start) * part) out[drawn++] = (uint32_t)v;
    }
    while (drawn < DRAWN) out[drawn++] = last;
}

/* ---- writing ------------------------------------------------------------------------- */

static uint32_t code_of(const work *w, uint32_t id, uint32_t most)
{
    const double code = ((double)w->max - (double)w->logits[id]) / QN_COMPACT_STEP + 0.5;
    return code < most ? (uint32_t)code : most;
}

static unsigned code_bits(const work *w, const uint32_t *ids, size_t n, unsigned most)
{
    uint32_t largest = 0;
    for (size_t i = 0; i < n; i++) {
        const uint32_t code = code_of(w, ids[i], (1u << most) - 1);
        if (code > largest) largest = code;
    }
    return qn_bits_of(largest);
}

static void put_codes(qn_bit_writer *b, const work *w, const uint32_t *ids, size_t n, unsigned bits)
{
    for (size_t i = 0; i < n; i++) qn_bits_put(b, code_of(w, ids[i], (1u << bits) - 1), bits);
}

static size_t put_row(const qn_compact_scratch *s, const work *w, size_t samples, uint32_t next,
                      uint8_t *out)
{
    const uint32_t *drawn = s->ids + w->n_kept;
    const double all = qn_exp(w->total - (double)w->max);
    const double largest = (double)w->max - w->total;
    const float reals[4] = {(float)((double)w->logits[next] - w->total), (float)largest,
                            (float)(w->tail / all),
                            w->tail > 0 ? (float)(w->tail_sum / w->tail + largest) : 0.0f};
    uint32_t top = 0;
    while (w->logits[top] != w->max) top++;
    const uint16_t kept = (uint16_t)w->n_kept;
    const uint8_t codes[5] = {(uint8_t)samples, (uint8_t)qn_bits_best_rice(s->ids, w->n_kept, 1),
                              (uint8_t)code_bits(w, s->ids, w->n_kept, KEPT_BITS),
                              (uint8_t)qn_bits_best_rice(drawn, samples, 0),
                              (uint8_t)code_bits(w, drawn, samples, SAMPLE_BITS)};
    memset(out, 0, qn_compact_row_bytes(w->n));
    memcpy(out, reals, sizeof reals);
    memcpy(out + 16, &top, sizeof top);
    memcpy(out + 20, &kept, sizeof kept);
    memcpy(out + 22, codes, sizeof codes);
    qn_bit_writer b = {out + HEAD_BYTES, 0};
    qn_bits_put_ids(&b, s->ids, w->n_kept, 1, codes[1]);
    put_codes(&b, w, s->ids, w->n_kept, codes[2]);
    qn_bits_put_ids(&b, drawn, samples, 0, codes[3]);
    put_codes(&b, w, drawn, samples, codes[4]);
    return HEAD_BYTES + (b.bit + 7) / 8;
}

size_t qn_compact_row_put(qn_compact_scratch *s, const qn_kernels *k, const float *logits,
                          size_t n_vocab, uint32_t next, uint64_t seed, uint8_t *out)
{
    work w = {
        .logits = logits, .weights = s->weights, .n = n_vocab, .max = k->max(logits, n_vocab)};
    w.total = qn_log_sum_exp(k, logits, n_vocab, s->weights);
    w.kept = choose(s, &w);
    part(s, &w);
    const bool sampled = w.tail > (double)smallest_tail * qn_exp(w.total - (double)w.max);
    if (sampled) draw(s, &w, seed, s->ids + w.n_kept);
    return put_row(s, &w, sampled ? DRAWN : 0, next, out);
}

/* ---- reading -------------------------------------------------------------------------- */

static void get_codes(qn_bit_reader *b, float *out, size_t n, unsigned bits, float largest)
{
    for (size_t i = 0; i < n; i++)
        out[i] = largest - (float)qn_bits_get(b, bits) * (float)QN_COMPACT_STEP;
}

static bool is_log_p(float x)
{
    return x > -1e30f && x < 1e-3f;
}

static const char *check_reals(const qn_compact_row *r, float largest)
{
    if (!is_log_p(r->log_p_next) || !is_log_p(largest) || !is_log_p(r->tail_mean))
        return "a log-probability is none";
    if (!(r->tail >= 0.0f && r->tail < 1.001f)) return "a mass is no share";
    double sum = (double)r->tail;
    for (size_t i = 0; i < r->kept; i++) sum += qn_exp((double)r->log_p[i]);
    return fabs(sum - 1.0) < 1e-3 ? NULL : "its probabilities do not add up to 1";
}

const char *qn_compact_row_get(qn_compact_row *out, const uint8_t *bytes, size_t n, size_t n_vocab)
{
    if (n < HEAD_BYTES) return "it is too short";
    float reals[4];
    uint16_t kept;
    uint8_t codes[5];
    memcpy(reals, bytes, sizeof reals);
    memcpy(&out->top, bytes + 16, sizeof out->top);
    memcpy(&kept, bytes + 20, sizeof kept);
    memcpy(codes, bytes + 22, sizeof codes);
    out->log_p_next = reals[0];
    out->tail = reals[2];
    out->tail_mean = reals[3];
    out->kept = kept;
    out->samples = codes[0];
    if (!kept || kept > QN_COMPACT_KEPT || kept > n_vocab || out->samples > QN_COMPACT_SAMPLES)
        return "it keeps more than a row can, or nothing";
    if (codes[1] > 30 || codes[2] > KEPT_BITS || codes[3] > 30 || codes[4] > SAMPLE_BITS)
        return "a code is wider than any can be";
    qn_bit_reader b = {bytes + HEAD_BYTES, 0, 8 * (n - HEAD_BYTES), false};
    if (!qn_bits_get_ids(&b, out->ids, kept, 1, codes[1], n_vocab)) return "its ids are none";
    get_codes(&b, out->log_p, kept, codes[2], reals[1]);
    if (!qn_bits_get_ids(&b, out->ids + kept, out->samples, 0, codes[3], n_vocab))
        return "the ids of its sample are none";
    get_codes(&b, out->log_p + kept, out->samples, codes[4], reals[1]);
    if (b.bad || out->top >= n_vocab) return "it ends too soon";
    return check_reals(out, reals[1]);
}
