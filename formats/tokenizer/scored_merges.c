#include <stdlib.h>
#include <string.h>

#include "formats/base/names.h"
#include "formats/tokenizer/written.h"

/* Pieces are tried at every cut; no vocabulary in use has one of 300 bytes. */
enum { LONGEST_PIECE = 1024 };

typedef struct {
    qn_merge merge;
    float score;
    uint32_t left_length; /* in characters */
} scored_merge;

typedef struct {
    const qn_vocab *v;
    const char *where;
    qn_names *names; /* pieces that merges join and make */
    scored_merge *merges;
    size_t n, capacity;
} search;

/* What text comes to by merges: no token that is cut out of it before. */
static bool is_made(const qn_vocab *v, uint32_t id)
{
    return v->types[id] == QN_PIECE_NORMAL && !memchr(v->pieces[id].s, ' ', v->pieces[id].n);
}

static qn_status name_pieces(search *s, qn_error *err)
{
    const qn_vocab *v = s->v;
    s->names = qn_names_new(v->n);
    if (!s->names) return qn_fail_memory(err, "the merges");
    for (uint32_t id = 0; id < v->n; id++)
        if (is_made(v, id) && qn_names_add(s->names, v->pieces[id], id, NULL))
            return qn_fail_memory(err, "the merges");
    return QN_OK;
}

static size_t first_character(qn_str text)
{
    unsigned code_point;
    const size_t n = qn_utf8_decode(text.s, text.n, &code_point);
    return n ? n : 1;
}

static qn_status add(search *s, const scored_merge *m, qn_error *err)
{
    if (s->n == s->capacity) {
        const size_t capacity = qn_grow(s->capacity, s->n + 4096);
        scored_merge *grown = qn_resize(s->merges, capacity, sizeof *grown);
        if (!grown) return qn_fail_memory(err, "the merges");
        s->merges = grown;
        s->capacity = capacity;
    }
    s->merges[s->n++] = *m;
    return QN_OK;
}

/* Symbols begin as characters: one that is no piece never joins by ranks, but may
 * by scores. */
static qn_status check_part(const search *s, uint32_t id, qn_str part, qn_error *err)
{
    if (first_character(part) < part.n || qn_names_find(s->names, part) != QN_NO_ID) return QN_OK;
    return qn_fail(
        err, QN_ERR_UNSUPPORTED,
        "%s: tokenizer.json has no merges for piece %u ('%.*s'): the character '%.*s' in "
        "it is no piece",
        s->where, id, (int)qn_min_u64(s->v->pieces[id].n, 64), s->v->pieces[id].s, (int)part.n,
        part.s);
}

static qn_status cut(search *s, uint32_t id, qn_error *err)
{
    const qn_str piece = s->v->pieces[id];
    qn_status status = QN_OK;
    if (piece.n > LONGEST_PIECE)
        return qn_fail(err, QN_ERR_UNSUPPORTED,
                       "%s: piece %u has %zu bytes; merges are made of at most %d", s->where, id,
                       piece.n, LONGEST_PIECE);
    uint32_t characters = 1;
    for (size_t at = first_character(piece); at < piece.n && !status; characters++) {
        const qn_str left = qn_str_of(piece.s, at), right = qn_str_of(piece.s + at, piece.n - at);
        const uint32_t l = qn_names_find(s->names, left), r = qn_names_find(s->names, right);
        if (l != QN_NO_ID && r != QN_NO_ID) {
            const scored_merge m = {{l, r, id}, s->v->scores[id], characters};
            status = add(s, &m, err);
        } else if (l != QN_NO_ID || r != QN_NO_ID) {
            status = check_part(s, id, l == QN_NO_ID ? left : right, err);
        }
        at += first_character(right);
    }
    return status;
}

/* ---- order -------------------------------------------------------------------------- */

static int by_score(const void *left, const void *right)
{
    const scored_merge *a = left, *b = right;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    if (a->merge.result != b->merge.result) return a->merge.result < b->merge.result ? -1 : 1;
    return (a->left_length < b->left_length) - (a->left_length > b->left_length);
}

/* "\n\n\n": whichever of such goes first, a run of that character is joined from
 * the left. */
static bool repeats(qn_str piece)
{
    const size_t n = first_character(piece);
    for (size_t at = n; at < piece.n; at += n)
        if (piece.n - at < n || memcmp(piece.s + at, piece.s, n) != 0) return false;
    return true;
}

static qn_status check_ties(const search *s, qn_error *err)
{
    const qn_vocab *v = s->v;
    for (size_t i = 1; i < s->n; i++) {
        const uint32_t a = s->merges[i - 1].merge.result, b = s->merges[i].merge.result;
        if (a == b || s->merges[i - 1].score != s->merges[i].score ||
            (repeats(v->pieces[a]) && repeats(v->pieces[b])))
            continue;
        return qn_fail(err, QN_ERR_UNSUPPORTED,
                       "%s: tokenizer.json cannot say that pieces %u ('%.*s') and %u ('%.*s') have "
                       "the same score, %g",
                       s->where, a, (int)qn_min_u64(v->pieces[a].n, 32), v->pieces[a].s, b,
                       (int)qn_min_u64(v->pieces[b].n, 32), v->pieces[b].s,
                       (double)s->merges[i].score);
    }
    return QN_OK;
}

static qn_status find_all(search *s, qn_error *err)
{
    qn_status status = name_pieces(s, err);
    for (uint32_t id = 0; id < s->v->n && !status; id++)
        if (is_made(s->v, id)) status = cut(s, id, err);
    if (status || !s->n) return status;
    qsort(s->merges, s->n, sizeof *s->merges, by_score);
    return check_ties(s, err);
}

qn_status qn_vocab_scored_merges(const qn_vocab *v, const char *where, qn_merge **out, size_t *n,
                                 qn_error *err)
{
    search s = {.v = v, .where = where};
    qn_status status = find_all(&s, err);
    qn_merge *merges = status ? NULL : qn_alloc(s.n + 1, sizeof *merges);
    if (!status && !merges) status = qn_fail_memory(err, "the merges");
    for (size_t i = 0; i < s.n && !status; i++) merges[i] = s.merges[i].merge;
    qn_names_free(s.names);
    qn_free(s.merges);
    if (status) return status;
    *out = merges;
    *n = s.n;
    return QN_OK;
}
