/* How byte-level vocabularies cut text into words: a table of GGUF's
 * pre-tokenizer names and the patterns behind them.
 *
 * tokenizer.json says how it splits by a list of steps; each step is a pattern
 * here ("Digits" is \p{N}, "ByteLevel" with its own regex is GPT-2's).  A step
 * cuts every piece of the step before; what its pattern leaves out stays a
 * piece.  GGUF keeps only a name, which the reference converter finds by
 * hashing the ids of a test sentence and quern by comparing patterns, so of
 * several names for the same patterns the first in the table is written, or the one
 * that the model's family goes by.
 *
 * Source: the models' tokenizer.json; names, defaults and the patterns of
 * "default" from llama.cpp's src/llama-vocab.cpp. */
#ifndef QN_FORMATS_TOKENIZER_PRE_H
#define QN_FORMATS_TOKENIZER_PRE_H

#include <stdbool.h>
#include <stddef.h>

#include "formats/base/text.h"

enum { QN_PRE_STEPS = 4 };

typedef struct {
    const char *name;
    const char *patterns[QN_PRE_STEPS]; /* up to the first NULL */
    bool ignore_merges;                 /* a word that is a piece needs no merges */
    bool adds_bos;                      /* when GGUF does not say */
    bool nfc;                           /* its models normalize first; GGUF has no key for it */
} qn_pre;

/* NULL: unknown.  Of rows with the same patterns one with the same
 * ignore_merges is preferred. */
const qn_pre *qn_pre_by_name(qn_str name);
const qn_pre *qn_pre_by_patterns(const qn_str *patterns, size_t n, bool ignore_merges);

/* The row of that name when it means the same as `found`, else found (NULL is). */
const qn_pre *qn_pre_called(const qn_pre *found, const char *name);

/* GPT-2's, the one "ByteLevel" with use_regex stands for. */
extern const char qn_pre_gpt2_pattern[];

#endif
