/* Kudo's unigram model (2018): of all ways to cut a text into pieces the one
 * with the largest sum of scores, found from left to right (Viterbi).
 *
 * To the last bit as sentencepiece/src/unigram_model.cc, EncodeOptimized: sums
 * are float, in the order of the text; a character that is no piece costs the
 * least score less 10, and a user-defined piece of n bytes has n times the
 * greatest score less 0.1.  Ties: the piece that begins first.
 *
 * Where no piece spans a place, every way goes through it: what lies before is
 * settled there, so only the stretch between two such places is remembered. */
#include <float.h>
#include <string.h>

#include "formats/tokenizer/run.h"

enum { NOT_REACHED = UINT32_MAX };

static const float unknown_penalty = 10.0F;

/* ---- tables ----------------------------------------------------------------------- */

static bool is_found(const qn_tokenizer *t, uint32_t id)
{
    const uint8_t type = t->v->types[id];
    return (type == QN_PIECE_NORMAL || type == QN_PIECE_USER) && qn_is_reachable(t, id);
}

static void score_pieces(qn_tokenizer *t)
{
    const qn_vocab *v = t->v;
    float least = FLT_MAX, greatest = FLT_MIN;
    for (size_t i = 0; i < v->n; i++) {
        if (v->types[i] != QN_PIECE_NORMAL) continue;
        if (v->scores[i] < least) least = v->scores[i];
        if (v->scores[i] > greatest) greatest = v->scores[i];
    }
    t->unknown_score = least - unknown_penalty;
    for (size_t i = 0; i < v->n; i++)
        t->scores[i] = v->types[i] == QN_PIECE_USER
                           ? (float)((double)((float)v->pieces[i].n * greatest) - 0.1)
                           : v->scores[i];
}

qn_status qn_unigram_build(qn_tokenizer *t, qn_error *err)
{
    size_t n = 0;
    t->scores = qn_alloc(t->v->n, sizeof *t->scores);
    qn_trie_key *keys = qn_alloc(t->v->n, sizeof *keys);
    if (!t->scores || !keys) {
        qn_free(keys);
        return qn_fail_memory(err, "a tokenizer");
    }
    score_pieces(t);
    for (uint32_t id = 0; id < t->v->n; id++)
        if (is_found(t, id)) keys[n++] = (qn_trie_key){t->raw[id], (int32_t)id};
    const qn_status status = qn_trie_build(&t->trie, keys, n, err);
    qn_free(keys);
    return status;
}

/* ---- ways through a text ------------------------------------------------------------ */

typedef struct {
    qn_tokenizer *t;
    qn_str text;
    size_t begin; /* the stretch; places are counted from here */
    size_t reach; /* the furthest place a piece ends at */
    bool unknown; /* the id before was the unknown piece */
} stretch;

/* Makes places up to `to` ones that nothing has reached. */
static qn_status extend(stretch *s, size_t to, qn_error *err)
{
    qn_tokenizer *t = s->t;
    if (to >= t->place_capacity) {
        const size_t capacity = qn_grow(t->place_capacity, to + 1024);
        qn_lattice_node *grown = qn_resize(t->places, capacity, sizeof *grown);
        if (!grown) return qn_fail_memory(err, "encoding a text");
        t->places = grown;
        t->place_capacity = capacity;
    }
    while (s->reach < to) t->places[++s->reach].from = NOT_REACHED;
    return QN_OK;
}

static qn_status offer(stretch *s, size_t from, size_t to, float sum, uint32_t id, qn_error *err)
{
    if (to > s->reach && extend(s, to, err)) return QN_ERR_MEMORY;
    qn_lattice_node *place = &s->t->places[to];
    if (place->from != NOT_REACHED && sum <= place->sum) return QN_OK;
    *place = (qn_lattice_node){.sum = sum, .from = (uint32_t)from, .id = id};
    return QN_OK;
}

/* Every piece that begins at place `at`, which holds a character of n bytes. */
static qn_status begin_pieces(stretch *s, size_t at, size_t n, qn_error *err)
{
    const qn_tokenizer *t = s->t;
    const float sum = t->places[at].sum;
    bool whole = false;
    uint32_t node = 0;
    for (size_t i = s->begin + at; i < s->text.n; i++) {
        node = qn_trie_step(&t->trie, node, (unsigned char)s->text.s[i]);
        if (!node) break;
        const int32_t id = t->trie.cells[node].value;
        if (id == QN_TRIE_NONE) continue;
        const size_t to = i + 1 - s->begin;
        if (offer(s, at, to, t->scores[id] + sum, (uint32_t)id, err)) return QN_ERR_MEMORY;
        whole |= to == at + n;
    }
    if (whole) return QN_OK;
    return offer(s, at, at + n, t->unknown_score + sum, QN_NO_ID, err);
}

/* The best way from the stretch's begin to `end`, which becomes the next one's. */
static qn_status settle(stretch *s, size_t end, const qn_ids_out *out, qn_error *err)
{
    qn_lattice_node *places = s->t->places;
    for (size_t to = end; to > 0; to = places[to].from) places[places[to].from].next = (uint32_t)to;
    for (size_t from = 0; from < end; from = places[from].next) {
        const size_t to = places[from].next;
        const uint32_t id = places[to].id;
        qn_status status;
        if (id == QN_NO_ID) {
            const qn_str text = qn_str_of(s->text.s + s->begin + from, to - from);
            status = qn_push_unknown(s->t, text, &s->unknown, out, err);
        } else {
            s->unknown = false;
            status = qn_ids_push(out, id, err);
        }
        if (status) return status;
    }
    places[0] = places[end];
    s->begin += end;
    s->reach = 0;
    return QN_OK;
}

qn_status qn_unigram_encode(qn_tokenizer *t, qn_str text, const qn_ids_out *out, qn_error *err)
{
    stretch s = {.t = t, .text = text};
    if (extend(&s, 1, err)) return QN_ERR_MEMORY;
    s.reach = 0;
    t->places[0] = (qn_lattice_node){0};
    qn_status status = QN_OK;
    for (size_t at = 0, n; !status && s.begin + at < text.n;) {
        n = qn_character(t, text.s + s.begin + at, text.n - s.begin - at);
        status = begin_pieces(&s, at, n, err);
        at += n;
        if (status || at < s.reach) continue;
        status = settle(&s, at, out, err);
        at = 0;
    }
    return status;
}
