/* The texts a command works on: -p TEXT, -f FILE or standard input; several files. */
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

/* Rows in the table of a command that runs models over texts: files is the qn_texts of its
 * options, what says what becomes of a text. */
/* clang-format off */
#define QN_TEXT_OPTIONS(options, files, what)                                          \
    {'f', "file", "FILE", QN_OPT_TEXTS, offsetof(options, files),                      \
     what ", read byte for byte; may be given several times"},                         \
    {0, "text", "FILE", QN_OPT_TEXTS, offsetof(options, files), "the same as --file"}
#define QN_SCORED_CHUNK_OPTION(field)                                                  \
    {'c', "ctx-size", "N", QN_OPT_COUNT, field,                                        \
     "tokens of a chunk, of which the second half is scored (default 512)"}
/* clang-format on */

/* The files of options, then n_args arguments: *n names, allocated (qn_free), the
 * names themselves not; NULL: no memory. */
const char **qn_file_list(const qn_texts *given, char **args, size_t n_args, size_t *n);

/* "1,2,3", "[1, 2, 3]", "1 2 3": token ids, allocated (qn_free). */
qn_status qn_ids_from_text(qn_str text, uint32_t **ids, size_t *n, qn_error *err);

#endif
