/* What the normalizer, pre_tokenizer and decoder of a tokenizer.json do,
 * recognised by what they are and not by a model's name.  Everything that the
 * runner has no exact counterpart for is QN_ERR_UNSUPPORTED, by its type. */
#ifndef QN_FORMATS_TOKENIZER_PIPELINE_H
#define QN_FORMATS_TOKENIZER_PIPELINE_H

#include <jansson.h>

#include "formats/tokenizer/vocab.h"

typedef struct {
    bool byte_level;
    bool nfc;
    bool marks_spaces; /* U+2581 stands for a space */
    qn_prefix prefix;
    qn_strip strip;
    qn_str patterns[QN_PRE_STEPS]; /* views into the file */
    size_t pattern_count;
} qn_json_pipeline;

qn_status qn_json_pipeline_read(qn_json_pipeline *out, const json_t *root, const char *where,
                                qn_error *err);

#endif
