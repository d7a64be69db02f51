/* KEY=TYPE:VALUE, the user's own metadata, as llama.cpp's tools take it. */
#ifndef QN_QUANT_OVERRIDES_H
#define QN_QUANT_OVERRIDES_H

#include "formats/metadata.h"

/* Sets KEY in m.  TYPE is int, float, bool or str; an int becomes the u32 of its
 * absolute value and a float an f32, as llama-quantize writes them.  Anything
 * else, or a value that does not fit, is QN_ERR_ARGUMENT.  A key that is there
 * already goes to the end (and is gone when the new value is refused). */
qn_status qn_override_add(qn_metadata *m, const char *text, qn_error *err);

#endif
