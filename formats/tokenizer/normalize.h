/* Unicode as tokenizers need it; the only file over utf8proc. */
#ifndef QN_FORMATS_TOKENIZER_NORMALIZE_H
#define QN_FORMATS_TOKENIZER_NORMALIZE_H

#include "formats/base/text.h"

/* Unicode Standard Annex 15. */
typedef enum { QN_FORM_NONE, QN_FORM_NFC, QN_FORM_NFD, QN_FORM_NFKC, QN_FORM_NFKD } qn_form;

/* Appends text (valid UTF-8) in the form to out; check out->failed. */
void qn_normalize(qn_form form, qn_str text, qn_text *out);

/* White_Space of Unicode, what \s is for the tokenizers library. */
bool qn_is_space(unsigned code_point);

/* \w of the tokenizers library: letters, marks, digits, connectors. */
bool qn_is_word(unsigned code_point);

#endif
