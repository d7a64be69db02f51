/* Words that people bring along from llama.cpp's tools (common/arg.cpp there) and that are
 * none here: what to say instead. */
#ifndef QN_TOOLS_CLI_PEERS_H
#define QN_TOOLS_CLI_PEERS_H

/* option: with its dashes, "-ngl".  NULL: nothing is known of it. */
const char *qn_peer_option(const char *command, const char *option);

/* The command that does what that one does elsewhere; NULL: none is known. */
const char *qn_peer_command(const char *word);

#endif
