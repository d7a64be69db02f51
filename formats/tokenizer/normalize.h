/* Unicode as tokenizers need it; the only file over utf8proc. */
#ifndef QN_FORMATS_TOKENIZER_NORMALIZE_H
#define QN_FORMATS_TOKENIZER_NORMALIZE_H

#include "formats/base/text.h"

/* Appends the NFC form of text (valid UTF-8) to out; check out->failed. */
void qn_normalize_nfc(qn_str text, qn_text *out);

/* White_Space of Unicode, what \s is for the tokenizers library. */
bool qn_is_space(unsigned code_point);

/* \w of the tokenizers library: letters, marks, digits, connectors. */
bool qn_is_word(unsigned code_point);

#endif
