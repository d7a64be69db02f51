/* --max-memory of the commands that run models over windows of a text. */
#ifndef QN_TOOLS_WINDOW_MEMORY_H
#define QN_TOOLS_WINDOW_MEMORY_H

#include "tools/cli.h"
#include "validate/decoder.h"

#define QN_MAX_MEMORY_OPTION(at)                                                                 \
    {                                                                                            \
        0, "max-memory", "SIZE", QN_OPT_SIZE, at,                                                \
            "run the model layer by layer, as many windows at a time as go into SIZE, and give " \
            "each "                                                                              \
            "layer's pages back (default: no limit)"                                             \
    }

/* What sessions may take of `limit` (*left), all that is resident now counted; from
 * here on the models give pages back.  0: no limit, and *left is 0. */
qn_status qn_window_memory(const qn_common *c, uint64_t limit, qn_decoder *const *models,
                           size_t n_models, uint64_t *left, qn_error *err);

/* The same less the pages that the models hold: what is left for scratch. */
qn_status qn_scratch_memory(const qn_common *c, uint64_t limit, qn_decoder *const *models,
                            size_t n_models, uint64_t *left, qn_error *err);

/* With --verbose: what runs of the models held at most, in scratch and weights. */
void qn_scratch_remark(const qn_common *c, const char *what, const qn_decoder *const *models,
                       size_t n_models, uint64_t scratch);

#endif
