/* The text a command works on: -p TEXT, -f FILE or standard input. */
#ifndef QN_TOOLS_TEXT_INPUT_H
#define QN_TOOLS_TEXT_INPUT_H

#include <stdint.h>

#include "formats/base/text.h"
#include "tools/cli.h"

/* The whole of a file ("-": standard input) into out, which the caller frees
 * (qn_text_free).  Any bytes; read as they are. */
qn_status qn_text_from_file(const char *path, qn_text *out, qn_error *err);

/* prompt where given, else file, else standard input. */
qn_status qn_text_from(const char *prompt, const char *file, qn_text *out, qn_error *err);

/* The files of n_lists options, list by list, then n_args arguments: *n names,
 * allocated (qn_free), the names themselves not; NULL: no memory. */
const char **qn_file_list(const qn_texts *const *lists, size_t n_lists, char **args, size_t n_args,
                          size_t *n);

/* "1,2,3", "[1, 2, 3]", "1 2 3": token ids, allocated (qn_free). */
qn_status qn_ids_from_text(qn_str text, uint32_t **ids, size_t *n, qn_error *err);

#endif
