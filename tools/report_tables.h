/* The tables of a report's page. */
#ifndef QN_TOOLS_REPORT_TABLES_H
#define QN_TOOLS_REPORT_TABLES_H

#include "tools/report_data.h"

void qn_table_summary(qn_text *t, const qn_report_group *g);
void qn_table_percentiles(qn_text *t, const qn_report_group *g);
void qn_table_texts(qn_text *t, const qn_report_group *g);
void qn_table_gates(qn_text *t, const qn_report_group *g);
void qn_table_changes(qn_text *t, const qn_report_group *g); /* from earlier results */
void qn_table_tensors(qn_text *t, const qn_report_test *m);  /* and what to do about them */
void qn_table_worst(qn_text *t, const qn_report_test *m);

/* Sections of their own; nothing where no document has such results. */
void qn_table_perplexity(qn_text *t, const qn_report_data *d);
void qn_table_tasks(qn_text *t, const qn_report_data *d);
void qn_table_recipes(qn_text *t, const qn_report_data *d); /* of quantize and convert */
void qn_table_sources(qn_text *t, const qn_report_data *d); /* documents, texts, hashes */

#endif
