/* What the normalizer, pre_tokenizer and decoder of a tokenizer.json do,
 * recognised by what they are and not by a model's name.  Everything that the
 * runner has no exact counterpart for is QN_ERR_UNSUPPORTED, by its type. */
#ifndef QN_FORMATS_TOKENIZER_PIPELINE_H
#define QN_FORMATS_TOKENIZER_PIPELINE_H

#include <jansson.h>

#include "formats/tokenizer/vocab.h"

typedef struct {
    bool byte_level;
    qn_form form;
    qn_str charsmap;                              /* base64, a view into the file; empty: none */
    bool marks_spaces;                            /* U+2581 stands for a space */
    bool strips_left, strips_right, joins_spaces; /* spaces at the ends go, runs become one */
    bool white_spaces;                            /* white space is spaces (WhitespaceSplit) */
    bool doubles_mark;                            /* a literal U+2581 does not spare the prefix */
    bool splits_spaces;                           /* a word begins in front of every space */
    qn_prefix prefix;
    qn_strip strip;
    qn_str patterns[QN_PRE_STEPS]; /* views into the file */
    size_t pattern_count;
} qn_json_pipeline;

qn_status qn_json_pipeline_read(qn_json_pipeline *out, const json_t *root, const char *where,
                                qn_error *err);

/* Sets what v normalizes, and takes off again when it decodes. */
qn_status qn_json_pipeline_apply(const qn_json_pipeline *p, qn_vocab *v, const char *where,
                                 qn_error *err);

#endif
