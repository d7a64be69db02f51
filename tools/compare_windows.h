/* Windows in random order, as gates want them, and back in the texts' order. */
#ifndef QN_TOOLS_COMPARE_WINDOWS_H
#define QN_TOOLS_COMPARE_WINDOWS_H

#include "validate/compare.h"

typedef struct {
    uint32_t *ids; /* of the windows in the order they are run in */
    size_t *order; /* the number of each in the texts; NULL: as they stand */
} qn_shuffled;

/* Points chunks at a mixed copy of its ids; which order, their number says. */
qn_status qn_windows_shuffle(qn_shuffled *out, qn_chunks *chunks, qn_error *err);

/* After the run: what was seen in the texts' order, order[] the numbers of those windows,
 * ascending, and chunks at ids, which are as they stand in the texts, again. */
qn_status qn_windows_restore(qn_shuffled *s, qn_comparison *seen, qn_chunks *chunks,
                             const uint32_t *ids, qn_error *err);

void qn_shuffled_free(qn_shuffled *s); /* {0} is fine */

#endif
