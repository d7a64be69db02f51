/* A vocabulary made ready to run; inside this folder only.
 *
 * BPE's algorithms are one: symbols of a word in a chain, the best pair of
 * neighbours first (ties: leftmost), until no pair joins.  They differ in what
 * a pair joins to and how good that is: ranked merges look the pair of ids up,
 * SentencePiece looks the joined text up and takes its score (Kudo and
 * Richardson 2018; sentencepiece/src/bpe_model.cc).  A heap makes it n log n.
 *
 * Everything works on raw text: a byte-level piece as the bytes it stands for,
 * a SentencePiece piece with spaces for U+2581. */
#ifndef QN_FORMATS_TOKENIZER_RUN_H
#define QN_FORMATS_TOKENIZER_RUN_H

#include "formats/base/names.h"
#include "formats/tokenizer/added.h"
#include "formats/tokenizer/charsmap.h"
#include "formats/tokenizer/split.h"
#include "formats/tokenizer/trie.h"

/* Ranked merges by pair of ids: open addressing, at most half full. */
typedef struct {
    uint64_t pair; /* left << 32 | right */
    uint32_t rank, result;
} qn_pair;

typedef struct {
    qn_pair *slots;
    size_t mask; /* slots - 1; a free slot has result QN_NO_ID */
    uint64_t seed;
} qn_pairs;

/* A symbol stands at the place of its first byte in the word. */
typedef struct {
    uint32_t previous, next; /* QN_NO_ID: none */
    uint32_t length;         /* 0: joined into its left neighbour */
    uint32_t id;             /* QN_NO_ID: no piece has this text */
} qn_symbol;

typedef struct {
    uint32_t rank, left, result;
} qn_candidate;

/* Words seen lately and their ids, by hash; a newer word takes the place. */
enum { QN_CACHE_WORD = 26, QN_CACHE_IDS = 8, QN_CACHE_SLOTS = 1 << 15 };
typedef struct {
    uint32_t ids[QN_CACHE_IDS];
    uint8_t length, count; /* length 0: free */
    char word[QN_CACHE_WORD];
} qn_cached;

/* The best way to a place in the text (unigram). */
typedef struct {
    float sum;
    uint32_t id;   /* of the piece that ends here; QN_NO_ID: none, a character */
    uint32_t from; /* where it begins */
    uint32_t next; /* the place behind this one on the way that was chosen */
} qn_lattice_node;

/* Where an encoding goes. */
typedef struct {
    uint32_t **ids;
    size_t *n, *capacity;
} qn_ids_out;

struct qn_tokenizer {
    const qn_vocab *v;
    qn_str *raw;         /* by id: the bytes it decodes to */
    qn_arena *arena;     /* of raw */
    bool *skipped;       /* by id: skip_special leaves it out */
    qn_names *names;     /* raw -> id, of the pieces that text can become */
    uint32_t bytes[256]; /* ids of the byte pieces, or QN_NO_ID */
    qn_pairs pairs;
    uint32_t *ranks;                     /* SentencePiece: by id, from the score */
    qn_added_set *added[QN_FOUND_COUNT]; /* NULL: none */
    qn_added_set *kept;                  /* the model's, which normalizing leaves alone */
    qn_charsmap *charsmap;               /* NULL: none */
    bool plain[256];                     /* bytes the normalizer leaves alone before ASCII */
    qn_split *split;
    /* Bit a*256+b: some piece holds byte a, a space, byte b, so no word may
     * end between a and the space.  NULL for byte-level vocabularies. */
    uint8_t *crossings;
    qn_cached *cache;
    qn_symbol *symbols;
    size_t symbol_capacity;
    uint32_t first; /* symbol of the word */
    qn_candidate *heap;
    size_t heap_count, heap_capacity;
    qn_trie trie;                 /* unigram: raw -> id */
    float *scores;                /* by id */
    float unknown_score;          /* of a character */
    qn_lattice_node *places;      /* of the stretch */
    size_t place_capacity;        /* in places */
    qn_text normalized, prefixed; /* texts on their way to words */
};

qn_status qn_pairs_build(qn_pairs *p, const qn_merge *merges, size_t count, qn_error *err);

/* Appends the ids of one word: at least a byte, at most UINT32_MAX - 1. */
qn_status qn_encode_word(qn_tokenizer *t, qn_str word, const qn_ids_out *out, qn_error *err);

/* Bytes of the character that word begins with: what symbols start as. */
size_t qn_character(const qn_tokenizer *t, const char *word, size_t n);

/* Can a text come to be this piece?  Where U+2581 stands for spaces, none that
 * holds a space itself. */
bool qn_is_reachable(const qn_tokenizer *t, uint32_t id);

qn_status qn_unigram_build(qn_tokenizer *t, qn_error *err);
qn_status qn_unigram_encode(qn_tokenizer *t, qn_str text, const qn_ids_out *out, qn_error *err);

/* Appends text as SentencePiece's normalizer has it, spaces for U+2581, to out;
 * check out->failed.  qn_sentence_prepare comes once, before. */
void qn_sentence_prepare(qn_tokenizer *t);
void qn_sentence_normalize(const qn_tokenizer *t, qn_str text, qn_text *out);

/* A symbol no piece spells: its bytes, where the vocabulary has all of them,
 * else the unknown piece, once for neighbours. */
qn_status qn_push_unknown(const qn_tokenizer *t, qn_str text, bool *in_unknown,
                          const qn_ids_out *out, qn_error *err);

qn_status qn_ids_push(const qn_ids_out *out, uint32_t id, qn_error *err);

/* Words of raw text in a vocabulary that marks spaces: each begins with its
 * spaces, as far as no piece spans the gap. */
qn_status qn_crossings_build(qn_tokenizer *t, qn_error *err);
size_t qn_marked_word(const qn_tokenizer *t, qn_str text);

#endif
