/* What quern inspect prints, in parts. */
#ifndef QN_TOOLS_INSPECT_H
#define QN_TOOLS_INSPECT_H

#include "formats/reader.h"
#include "tools/report.h"

/* Arrays longer than this are cut to so many elements, unless all are wanted. */
enum { QN_INSPECT_ELEMENTS = 8 };

/* One line a key; strings longer than a line are cut unless all is wanted. */
void qn_inspect_print_metadata(const qn_metadata *m, bool all);

/* {key: value}.  An array that is cut becomes {"array": type, "count": n,
 * "first": [...]}. */
json_t *qn_inspect_metadata_json(const qn_metadata *m, bool all);

#endif
