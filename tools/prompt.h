/* The ids a model is run on: --ids, -p TEXT, -f FILE or standard input. */
#ifndef QN_TOOLS_PROMPT_H
#define QN_TOOLS_PROMPT_H

#include "tools/loaded.h"

typedef struct {
    const char *ids, *prompt, *file; /* NULL: not given */
    bool no_bos, parse_special;
} qn_prompt;

/* Prints what is wrong and returns false when more than one source is given. */
bool qn_prompt_is_one(const qn_common *c, const qn_prompt *p);

/* Allocated (qn_free).  Refuses an empty prompt. */
qn_status qn_prompt_ids(const qn_prompt *p, const qn_loaded *l, uint32_t **ids, size_t *n,
                        qn_error *err);

#endif
