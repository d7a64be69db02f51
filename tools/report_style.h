/* The style of a report's page. */
#ifndef QN_TOOLS_REPORT_STYLE_H
#define QN_TOOLS_REPORT_STYLE_H

/* Pieces, one behind the other, up to a NULL. */
extern const char *const qn_report_style[];

#endif
