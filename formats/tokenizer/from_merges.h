/* Directories with vocab.json and merges.txt alone; inside this folder only. */
#ifndef QN_FORMATS_TOKENIZER_FROM_MERGES_H
#define QN_FORMATS_TOKENIZER_FROM_MERGES_H

#include "formats/tokenizer/vocab.h"

/* Appends the tokenizer.json that stands for them; *there says whether both are.
 * pre: as --pre, or NULL: by the tokenizer's class or the model's type. */
qn_status qn_merges_to_json(const qn_vocab_files *files, const char *pre, qn_text *out, bool *there,
                            qn_error *err);

#endif
