/* The drawings of a report, as inline SVG: colours and fonts are classes of the
 * page's style (report_page.c), everything has a title, and what a drawing shows
 * stands in a table of the page as well. */
#ifndef QN_TOOLS_REPORT_CHARTS_H
#define QN_TOOLS_REPORT_CHARTS_H

#include "tools/report_data.h"

/* Series beyond so many share the last one's colour. */
#define QN_REPORT_COLOURS 8

/* Size against mean divergence, with the line of what nothing smaller beats. */
void qn_chart_frontier(qn_text *t, const qn_report_group *g);

/* Divergence at percentiles 50 to 100, a curve a model. */
void qn_chart_percentiles(qn_text *t, const qn_report_group *g);

/* Mean divergence by text, a bar a model, with the interval of two standard
 * errors. */
void qn_chart_texts(qn_text *t, const qn_report_group *g);

/* Output errors by layer and kind of tensor, and of the residual stream. */
void qn_chart_layers(qn_text *t, const qn_report_test *test);

#endif
