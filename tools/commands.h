/* The commands; one line in the table of quern.c makes one known. */
#ifndef QN_TOOLS_COMMANDS_H
#define QN_TOOLS_COMMANDS_H

#include "tools/cli.h"

extern const qn_command qn_command_quantize, qn_command_convert, qn_command_inspect,
    qn_command_perplexity, qn_command_forward, qn_command_generate, qn_command_tokenize,
    qn_command_bench, qn_command_calibrate, qn_command_compare, qn_command_report;

#endif
