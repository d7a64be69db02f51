#include "formats/tokenizer/added.h"

#include <string.h>

#include "formats/tokenizer/normalize.h"

typedef struct {
    uint32_t child, sibling; /* 0: none; node 0 is the root */
    uint32_t token;          /* place in the vocabulary's list plus one, 0 for none */
    unsigned char byte;
} node;

struct qn_added_set {
    const qn_added *tokens; /* the vocabulary's */
    node *nodes;
    size_t count, capacity;
    uint32_t first[256]; /* the root's children by byte */
};

static uint32_t find_child(const qn_added_set *s, uint32_t parent, unsigned char byte)
{
    if (parent == 0) return s->first[byte];
    uint32_t at = s->nodes[parent].child;
    while (at && s->nodes[at].byte != byte) at = s->nodes[at].sibling;
    return at;
}

static qn_status add_child(qn_added_set *s, uint32_t parent, unsigned char byte, uint32_t *out,
                           qn_error *err)
{
    if (s->count == s->capacity) {
        const size_t capacity = qn_grow(s->capacity, s->count + 1);
        node *grown = capacity < UINT32_MAX ? qn_resize(s->nodes, capacity, sizeof *grown) : NULL;
        if (!grown) return qn_fail_memory(err, "the added tokens");
        s->nodes = grown;
        s->capacity = capacity;
    }
    const uint32_t at = (uint32_t)s->count++;
    s->nodes[at] = (node){.byte = byte};
    if (parent == 0) {
        s->first[byte] = at;
    } else {
        s->nodes[at].sibling = s->nodes[parent].child;
        s->nodes[parent].child = at;
    }
    *out = at;
    return QN_OK;
}

static qn_status add_token(qn_added_set *s, qn_str text, uint32_t token, qn_error *err)
{
    uint32_t at = 0;
    for (size_t i = 0; i < text.n; i++) {
        const unsigned char byte = (unsigned char)text.s[i];
        uint32_t next = find_child(s, at, byte);
        if (!next && add_child(s, at, byte, &next, err)) return QN_ERR_MEMORY;
        at = next;
    }
    if (at && !s->nodes[at].token) s->nodes[at].token = token + 1;
    return QN_OK;
}

/* In a normalized text U+2581 stands for every space. */
static bool is_unreachable(const qn_vocab *v, const qn_added *token, bool as_written)
{
    return token->found == QN_FOUND_OF_MODEL && !as_written && v->marks_spaces &&
           memchr(token->text.s, ' ', token->text.n);
}

static qn_status fill(qn_added_set *s, const qn_vocab *v, qn_found found, bool as_written,
                      qn_error *err)
{
    qn_text text = {0};
    qn_status status = QN_OK;
    s->tokens = v->added;
    for (uint32_t i = 0; !status && i < v->added_count; i++) {
        const qn_added *token = &v->added[i];
        if (token->found != found || is_unreachable(v, token, as_written)) continue;
        text.n = 0;
        qn_normalize(as_written ? QN_FORM_NONE : v->form, token->text, &text);
        if (text.failed) status = qn_fail_memory(err, "the added tokens");
        if (!status && !as_written && v->marks_spaces)
            text.n = qn_mark_to_space(text.s, text.s, text.n);
        if (!status) status = add_token(s, qn_str_of(text.s, text.n), i, err);
    }
    qn_text_free(&text);
    return status;
}

qn_status qn_added_set_new(qn_added_set **out, const qn_vocab *v, qn_found found, bool as_written,
                           qn_error *err)
{
    size_t count = 0;
    for (size_t i = 0; i < v->added_count; i++) count += v->added[i].found == found;
    *out = NULL;
    if (!count) return QN_OK;
    qn_added_set *s = qn_alloc(1, sizeof *s);
    if (!s) return qn_fail_memory(err, "the added tokens");
    uint32_t root;
    qn_status status = add_child(s, 0, 0, &root, err);
    s->first[0] = 0;
    if (!status) status = fill(s, v, found, as_written, err);
    if (status) {
        qn_added_set_free(s);
        return status;
    }
    *out = s;
    return QN_OK;
}

void qn_added_set_free(qn_added_set *s)
{
    if (!s) return;
    qn_free(s->nodes);
    qn_free(s);
}

/* ---- the search ------------------------------------------------------------------ */

static const qn_added *longest_at(const qn_added_set *s, qn_str text, size_t from, size_t *end)
{
    const qn_added *best = NULL;
    uint32_t at = 0;
    for (size_t i = from; i < text.n; i++) {
        at = find_child(s, at, (unsigned char)text.s[i]);
        if (!at) break;
        if (!s->nodes[at].token) continue;
        best = &s->tokens[s->nodes[at].token - 1];
        *end = i + 1;
    }
    return best;
}

size_t qn_added_longest(const qn_added_set *s, qn_str text)
{
    size_t n = 0;
    if (s && text.n) longest_at(s, text, 0, &n);
    return n;
}

bool qn_added_begins(const qn_added_set *s, unsigned char byte)
{
    return s && s->first[byte];
}

/* The start of the character that ends before at. */
static size_t character_before(qn_str text, size_t at, unsigned *code_point)
{
    for (size_t back = 1; back <= 4 && back <= at; back++)
        if (qn_utf8_decode(text.s + at - back, back, code_point) == back) return at - back;
    *code_point = 0xfffd;
    return at - 1;
}

static bool inside_word(qn_str text, size_t start, size_t end)
{
    unsigned code_point;
    if (start > 0) {
        character_before(text, start, &code_point);
        if (qn_is_word(code_point)) return true;
    }
    return end < text.n && qn_utf8_decode(text.s + end, text.n - end, &code_point) &&
           qn_is_word(code_point);
}

static size_t before_spaces(qn_str text, size_t at, size_t not_before)
{
    while (at > not_before) {
        unsigned code_point;
        const size_t start = character_before(text, at, &code_point);
        if (start < not_before || !qn_is_space(code_point)) break;
        at = start;
    }
    return at;
}

static size_t behind_spaces(qn_str text, size_t at)
{
    while (at < text.n) {
        unsigned code_point;
        const size_t n = qn_utf8_decode(text.s + at, text.n - at, &code_point);
        if (!n || !qn_is_space(code_point)) break;
        at += n;
    }
    return at;
}

bool qn_added_next(const qn_added_set *s, qn_str text, bool parse_special, size_t *scan,
                   size_t *done, size_t *start, uint32_t *id)
{
    size_t at = *scan;
    while (at < text.n) {
        size_t end = 0;
        const qn_added *token =
            s->first[(unsigned char)text.s[at]] ? longest_at(s, text, at, &end) : NULL;
        if (!token) {
            at++;
            continue;
        }
        const bool passed_over = (token->special && !parse_special) ||
                                 (token->single_word && inside_word(text, at, end));
        if (!passed_over) {
            *start = token->lstrip ? before_spaces(text, at, *done) : at;
            *scan = end;
            *done = token->rstrip ? behind_spaces(text, end) : end;
            *id = token->id;
            return true;
        }
        at = end;
    }
    *scan = text.n;
    return false;
}
