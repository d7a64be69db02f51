/* Pieces of a page: escaped text, numbers, scales. */
#ifndef QN_TOOLS_REPORT_MARKUP_H
#define QN_TOOLS_REPORT_MARKUP_H

#include "formats/base/text.h"

/* UTF-8 as text or as an attribute's value: & < > " ' escaped; control
 * characters, which a page may not have, as their pictures (U+2400..), those
 * that turn the direction of writing and what is no character as U+FFFD. */
void qn_html_text(qn_text *t, const char *s);

/* The same for a line of Markdown or a table's cell: nothing in it is markup. */
void qn_markdown_text(qn_text *t, const char *s);
/* The same with line feeds shown as a sign. */
void qn_html_token(qn_text *t, const char *s);

/* "3.17 MiB", "0.00342", "-" for NaN. */
void qn_html_size(qn_text *t, double bytes);
void qn_html_number(qn_text *t, double v, int decimals);

/* So many decimals that v has at least two digits that are not 0; 2 to 8. */
int qn_decimals_for(double v);

/* Of an axis: value to place, linear or logarithmic. */
typedef struct {
    double low, high; /* values */
    double from, to;  /* places */
    bool logarithmic;
} qn_scale;

double qn_scale_at(const qn_scale *s, double v); /* kept inside */

/* Round values on the axis, ascending; how many, at most `most`. */
size_t qn_scale_ticks(const qn_scale *s, double *out, size_t most);

/* Moves places apart until neighbours are `apart` or more, within low..high
 * where that is possible; n places in any order. */
void qn_spread_labels(double *places, size_t n, double apart, double low, double high);

#endif
