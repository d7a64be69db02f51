/* What an output is called when the user does not say. */
#ifndef QN_TOOLS_OUTPUT_NAME_H
#define QN_TOOLS_OUTPUT_NAME_H

#include <stdbool.h>

#include "formats/metadata.h"

/* The path of an output of `type` made from input, allocated (qn_free):
 *
 *     out NULL             NAME-TYPE.gguf in the current directory
 *     out a directory      the same in there (also when it ends in a slash); with
 *                          keys, a checkpoint's, the name that the GGUF naming
 *                          convention makes of them, as the reference converter
 *     else                 out
 *
 * {type} (or {ftype}, {outtype}, as the reference converter calls it) in out is
 * the type in small letters, {TYPE} in capitals.
 *
 * NAME is the directory's or the file's name less ".gguf" or ".safetensors",
 * "-00001-of-00003" and a type behind '-', '.' or '_': "SmolLM2-135M.Q4_1.gguf" is SmolLM2-135M. */
qn_status qn_output_path(const char *input, const qn_metadata *keys, const char *out,
                         const char *type, char **path, qn_error *err);

/* Whether out gives every type a name of its own: a directory, or {type} in it. */
bool qn_output_is_for_many(const char *out);

/* The same for a checkpoint directory: NAME-TYPE in the current directory, or out
 * itself (slashes at its end cut). */
qn_status qn_output_directory(const char *input, const char *out, const char *type, char **path,
                              qn_error *err);

#endif
