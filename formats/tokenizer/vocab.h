/* What a vocabulary is made of: shared by the readers that fill it, the writer
 * and the runner.  Nobody outside this folder includes it.
 *
 * pieces[i] is id i's text as its file has it: U+2581 for a space in
 * SentencePiece-like vocabularies, GPT-2's byte alphabet in byte-level ones.
 * All strings live in the arena.  Every id below n has a piece, pieces are
 * pairwise distinct, every other id in here is below n or QN_NO_ID. */
#ifndef QN_FORMATS_TOKENIZER_VOCAB_H
#define QN_FORMATS_TOKENIZER_VOCAB_H

#include <stdint.h>

#include "formats/base/alloc.h"
#include "formats/base/sizes.h"
#include "formats/tokenizer/json_file.h"
#include "formats/tokenizer/normalize.h"
#include "formats/tokenizer/pre.h"
#include "formats/tokenizer/tokenizer.h"

#define QN_NO_ID UINT32_MAX

/* What the reference converter gives a piece that has no score. */
#define QN_UNSCORED (-1000.0F)

/* Four times the largest vocabulary of a language model in use (262,400); a
 * larger number is a wrong file. */
#define QN_VOCAB_MAX ((uint64_t)1 << 20)

typedef enum {
    QN_VOCAB_SPM = 1,  /* characters; the best-scored piece of two neighbours wins */
    QN_VOCAB_CHAR_BPE, /* characters; ranked merges; byte fallback */
    QN_VOCAB_BYTE_BPE, /* bytes of split words; ranked merges */
    QN_VOCAB_UNIGRAM   /* the way through the text with the best sum of scores */
} qn_vocab_kind;

/* The numbers are GGUF's. */
typedef enum {
    QN_PIECE_NORMAL = 1,
    QN_PIECE_UNKNOWN,
    QN_PIECE_CONTROL,
    QN_PIECE_USER,
    QN_PIECE_UNUSED,
    QN_PIECE_BYTE
} qn_piece_type;

/* Rank is the place in the list: the first goes first. */
typedef struct {
    uint32_t left, right, result;
} qn_merge;

/* Where an added token is looked for. */
typedef enum {
    QN_FOUND_RAW,        /* in the text as it came */
    QN_FOUND_NORMALIZED, /* in the normalized text */
    QN_FOUND_OF_MODEL,   /* SentencePiece's user-defined pieces: the normalizer leaves them alone;
                            BPE takes them whole, unigram models prefer them */
    QN_FOUND_COUNT
} qn_found;

/* A piece that is looked for in the text before anything else. */
typedef struct {
    uint32_t id;
    qn_str text;
    qn_found found;
    bool special;     /* only when specials are parsed; left out by skip_special */
    bool lstrip;      /* takes the white space before it along */
    bool rstrip;      /* and behind it */
    bool single_word; /* not inside a word */
} qn_added;

/* The space that is put before a text (SentencePiece's dummy prefix). */
typedef enum {
    QN_PREFIX_NONE,
    QN_PREFIX_ALWAYS,       /* at the start and behind each token found in the raw text */
    QN_PREFIX_UNLESS_SPACE, /* behind every added token, where no space stands already (Metaspace,
                               "always") */
    QN_PREFIX_FIRST         /* the same, at the very start only (Metaspace, "first") */
} qn_prefix;

/* What decoding takes off the start again. */
typedef enum {
    QN_STRIP_NONE,
    QN_STRIP_ONE,        /* one space */
    QN_STRIP_EACH,       /* one space of every piece as long as there is no text (SentencePiece,
                            where extra spaces are removed) */
    QN_STRIP_FIRST_PIECE /* the spaces of the first piece (Metaspace) */
} qn_strip;

typedef enum {
    QN_SPECIAL_BOS,
    QN_SPECIAL_EOS,
    QN_SPECIAL_UNK,
    QN_SPECIAL_SEP,
    QN_SPECIAL_PAD,
    QN_SPECIAL_CLS,
    QN_SPECIAL_MASK,
    QN_SPECIAL_EOT,
    QN_SPECIAL_EOM,
    QN_SPECIAL_COUNT
} qn_special_kind;

typedef enum { QN_ADD_BOS, QN_ADD_EOS, QN_ADD_SEP, QN_ADD_COUNT } qn_add_kind;

typedef struct {
    qn_str name; /* "default" or another */
    qn_str text;
} qn_chat_template;

struct qn_vocab {
    qn_arena *arena;
    qn_vocab_kind kind;
    size_t n;
    qn_str *pieces;
    float *scores;
    uint8_t *types; /* qn_piece_type */

    qn_merge *merges;
    size_t merge_count;
    const qn_pre *pre; /* byte-level only */
    bool ignore_merges;
    qn_form form;
    qn_str charsmap;    /* SentencePiece's precompiled one, empty for none */
    bool marks_spaces;  /* U+2581 in pieces is a space */
    bool trims_spaces;  /* spaces at both ends of a text go, runs of them become one */
    bool white_spaces;  /* and what else is white space is one */
    bool splits_spaces; /* a word begins in front of every space */
    bool suffix_space;  /* QN_PREFIX_ALWAYS's space goes behind the text */
    qn_prefix prefix;
    uint32_t unknown; /* for characters without piece and bytes */
    qn_strip strip;
    bool fuse_unknown; /* neighbours without a piece become one unknown */
    bool cleans_up;    /* decoding takes spaces before punctuation away */

    qn_added *added;
    size_t added_count;

    uint32_t special[QN_SPECIAL_COUNT];
    /* What the reference converter writes, in its order (see special.c). */
    uint8_t special_order[QN_SPECIAL_COUNT];
    size_t special_count;
    int8_t add[QN_ADD_COUNT]; /* as the files say; -1: they don't */
    uint8_t add_order[QN_ADD_COUNT];
    size_t add_count;
    bool adds_bos, adds_eos; /* what encoding does */

    uint32_t *ends; /* ids that end a generation */
    size_t end_count;

    qn_chat_template *templates;
    size_t template_count;
    qn_str model_type;       /* config.json's: some families have keys of their own */
    int config_space_prefix; /* tokenizer_config's add_prefix_space; -1: not said */
};

/* n pieces to be filled; fails for absurd n. */
qn_status qn_vocab_new(qn_vocab **out, qn_vocab_kind kind, uint64_t n, const char *where,
                       qn_error *err);

/* Sets piece id; a copy of text is kept. */
qn_status qn_vocab_set(qn_vocab *v, uint32_t id, qn_str text, qn_piece_type type, float score,
                       qn_error *err);

/* A copy in v's arena; s is NULL without memory. */
qn_str qn_vocab_keep(qn_vocab *v, qn_str text);

/* Checks a charsmap and keeps a copy; an empty one is none. */
qn_status qn_vocab_keep_charsmap(qn_vocab *v, qn_str bytes, const char *where, qn_error *err);

/* Names the ids without a piece [PADn], refuses duplicates and scores that are
 * no numbers. */
qn_status qn_vocab_finish(qn_vocab *v, const char *where, qn_error *err);

qn_status qn_vocab_add_end(qn_vocab *v, uint64_t id, qn_error *err);

/* The readers of single files, each behind qn_vocab_from_directory.  size 0:
 * as large as the file says, and at_least.  from_spm leaves qn_vocab_finish to the caller,
 * who has added tokens to join. */
qn_status qn_vocab_from_json(qn_vocab **out, const qn_tokenizer_json *file, const char *where,
                             uint64_t size, const char *pre, qn_error *err);
qn_status qn_vocab_from_spm(qn_vocab **out, qn_str bytes, const char *where, uint64_t size,
                            uint64_t at_least, qn_error *err);

/* The other files of a checkpoint; all but dir may be NULL. */
typedef struct {
    const char *dir;
    const char *base;        /* qn_vocab_options' */
    const json_t *tokenizer; /* without the vocabulary and the merges */
    const json_t *tokenizer_config, *config, *generation_config;
} qn_vocab_files;

/* Added tokens beside a tokenizer.model; added is added_tokens.json or NULL. */
qn_status qn_vocab_join_added(qn_vocab *v, const qn_vocab_files *files, const json_t *added,
                              qn_error *err);

/* One above the largest id of an added token. */
uint64_t qn_vocab_added_top(const qn_vocab_files *files, const json_t *added);

/* One entry of tokenizer.json's added_tokens (an object with a content, or the
 * content alone). */
qn_status qn_vocab_take_added(qn_vocab *v, const json_t *token, uint32_t id, qn_added *to,
                              qn_error *err);

qn_status qn_vocab_read_specials(qn_vocab *v, const qn_vocab_files *files, qn_error *err);
qn_status qn_vocab_read_templates(qn_vocab *v, const qn_vocab_files *files, qn_error *err);

/* Of a checkpoint whose class writes GGUF's tokenizer model "gemma4". */
bool qn_vocab_is_gemma4(const qn_vocab *v);

/* "<|...|>", "<pad>" and the like: control tokens by their looks, as the
 * reference converter has it. */
bool qn_vocab_looks_special(qn_str text);

/* U+2581 becomes a space; arena memory, s NULL without. */
qn_str qn_vocab_spaces(qn_vocab *v, qn_str text);

/* The same into out, which may be text and needs n bytes; the new length. */
size_t qn_mark_to_space(char *out, const char *text, size_t n);

/* The byte that "<0xNN>" names, or -1. */
int qn_vocab_byte_of(qn_str piece);

#endif
