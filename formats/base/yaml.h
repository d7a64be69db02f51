/* YAML, over libyaml: as much of it as the front matter of model cards has.
 * A document becomes jansson's values with every scalar a string, as it is
 * written ("1.10" stays 1.10, a plain no stays no), but for null. */
#ifndef QN_FORMATS_BASE_YAML_H
#define QN_FORMATS_BASE_YAML_H

#include <jansson.h>

#include "formats/base/text.h"

/* `where` names the source in messages.  The result is the caller's
 * (json_decref); null for a text without a document.  Of keys given twice the
 * last counts.  An alias shares what it stands for, so that it costs nothing.
 * Refused: more than one document, keys that are no scalars, values nested
 * deeper than 64 through all aliases, NUL. */
qn_status qn_yaml_parse(qn_str text, const char *where, json_t **out, qn_error *err);

#endif
