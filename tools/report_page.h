/* A report as one page of HTML, which is XML as well: nothing from outside, no
 * script, dark and light, fit for printing. */
#ifndef QN_TOOLS_REPORT_PAGE_H
#define QN_TOOLS_REPORT_PAGE_H

#include "tools/report_data.h"

/* Adds the page to out (failed: no memory). */
void qn_report_page(const qn_report_data *d, qn_text *out);

#endif
