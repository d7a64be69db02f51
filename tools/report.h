/* Results for machines (one JSON document on stdout) and numbers for people.
 *
 * A document that ran out of memory while it was built is NULL from there on;
 * printing it reports that, so builders check once. */
#ifndef QN_TOOLS_REPORT_H
#define QN_TOOLS_REPORT_H

#include <jansson.h>

#include "tools/cli.h"

/* {"schema": "quern.<command>/1", "quern_version", "threads", "isa"}. */
json_t *qn_report_new(const qn_common *c);

/* "model_digest" and "tokenizer_digest" into an object; empty: left out. */
void qn_report_digests(json_t *o, const char *model, const char *tokenizer);

/* Prints and frees it (NULL: no memory); returns the exit status. */
qn_exit qn_report_print(const qn_common *c, json_t *report);

/* A number; null where JSON has none for it (NaN, infinity). */
json_t *qn_json_number(double v);
json_t *qn_json_count(uint64_t v);

/* A string; bytes that are no UTF-8 become U+FFFD, since JSON has no other way. */
json_t *qn_json_text(const char *s, size_t n);

/* [4096, 4096] */
json_t *qn_json_shape(const uint64_t *dims, unsigned rank);

/* "97.5 MiB" into buf, which is returned. */
const char *qn_human_size(double bytes, char buf[32]);
/* "0.42 s", "3:07", "1:02:33" */
const char *qn_human_time(double seconds, char buf[32]);

/* Names and texts from a file may hold anything: control characters, which a
 * terminal would obey, are printed as \n, \t, \x1b. */
void qn_print_escaped(const char *s, size_t n);

/* The same in a column: with blanks behind it up to so many bytes. */
void qn_print_name(const char *s, size_t n, int width);

#endif
