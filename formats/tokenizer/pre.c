#include "formats/tokenizer/pre.h"

#include <string.h>

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define WORDS "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define TAIL "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define SYMBOLS " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define BEFORE_WORD "[^\\r\\n\\p{L}\\p{N}]?"
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

const char qn_pre_gpt2_pattern[] = GPT2;

#define LLAMA3 CONTRACTIONS "|" WORDS "|\\p{N}{1,3}|" SYMBOLS "|" TAIL
#define QWEN2 CONTRACTIONS "|" WORDS "|\\p{N}|" SYMBOLS "|" TAIL
#define TEKKEN                                                               \
    BEFORE_WORD UPPER "*" LOWER "+|" BEFORE_WORD UPPER "+" LOWER "*|\\p{N}|" \
                      " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" TAIL
#define GPT4O                                                                                      \
    BEFORE_WORD UPPER "*" LOWER "+" CONTRACTIONS "?|" BEFORE_WORD UPPER "+" LOWER "*" CONTRACTIONS \
                      "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" TAIL

/* clang-format off */
static const qn_pre table[] = {
    {"llama-bpe",        {LLAMA3},          true,  true,  false},
    {"llama3",           {LLAMA3},          true,  true,  false},
    {"llama-v3",         {LLAMA3},          true,  true,  false},
    {"falcon3",          {LLAMA3},          true,  true,  false},
    {"pixtral",          {LLAMA3},          true,  true,  false},
    {"dbrx",             {LLAMA3},          false, false, false},
    {"smaug-bpe",        {LLAMA3},          false, false, false},
    {"qwen2",            {QWEN2},           false, false, true},
    {"deepseek-r1-qwen", {QWEN2},           false, false, false},
    {"stablelm2",        {QWEN2},           false, false, false},
    {"gpt-2",            {GPT2},            false, false, false},
    {"phi-2",            {GPT2},            false, false, false},
    {"olmo",             {GPT2},            false, false, false},
    {"mpt",              {GPT2},            false, false, false},
    {"smollm",           {"\\p{N}", GPT2},  false, false, false},
    {"starcoder",        {"\\p{N}", GPT2},  false, false, false},
    {"refact",           {"\\p{N}", GPT2},  false, false, false},
    {"command-r",        {"\\p{N}", GPT2},  false, false, false},
    {"tekken",           {TEKKEN},          true,  true,  false},
    {"gpt-4o",           {GPT4O},           false, false, false},
    {"llama4",           {GPT4O},           false, false, false},
    {"default",          {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"},
                                            false, false, false},
};
/* clang-format on */

enum { ROWS = sizeof table / sizeof table[0] };

const qn_pre *qn_pre_by_name(qn_str name)
{
    for (size_t i = 0; i < ROWS; i++)
        if (qn_str_is(name, table[i].name)) return &table[i];
    return NULL;
}

static bool same_patterns(const qn_pre *row, const qn_str *patterns, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (i >= QN_PRE_STEPS || !row->patterns[i] || !qn_str_is(patterns[i], row->patterns[i]))
            return false;
    return n == QN_PRE_STEPS || !row->patterns[n];
}

const qn_pre *qn_pre_by_patterns(const qn_str *patterns, size_t n, bool ignore_merges)
{
    const qn_pre *found = NULL;
    for (size_t i = 0; i < ROWS; i++) {
        if (!same_patterns(&table[i], patterns, n)) continue;
        if (table[i].ignore_merges == ignore_merges) return &table[i];
        if (!found) found = &table[i];
    }
    return found;
}

const qn_pre *qn_pre_called(const qn_pre *found, const char *name)
{
    const qn_pre *other = qn_pre_by_name(qn_str_z(name));
    if (!found || !other) return found;
    bool same = found->ignore_merges == other->ignore_merges &&
                found->adds_bos == other->adds_bos && found->nfc == other->nfc;
    for (size_t i = 0; i < QN_PRE_STEPS && same; i++) {
        const char *a = found->patterns[i], *b = other->patterns[i];
        same = a && b ? !strcmp(a, b) : a == b;
    }
    return same ? other : found;
}
