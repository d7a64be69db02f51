/* Memory that catches whoever reads or writes past its end. */
#ifndef QN_TESTS_SUPPORT_GUARD_H
#define QN_TESTS_SUPPORT_GUARD_H

#include <stddef.h>

/* n zeroed bytes that end exactly at a page nobody may touch: one byte too far
 * and the test dies at the guilty instruction.  Never freed. */
void *qn_guarded(size_t n);

#endif
