/* Base64 (RFC 4648, section 4): padded, without line breaks. */
#ifndef QN_FORMATS_BASE_BASE64_H
#define QN_FORMATS_BASE_BASE64_H

#include "formats/base/text.h"

/* Appends the bytes to out; check out->failed.  False: text is none. */
bool qn_base64_decode(qn_str text, qn_text *out);

/* Appends the text of bytes. */
void qn_base64_encode(qn_str bytes, qn_text *out);

#endif
