/* quern: one program, one command a file (tools/<command>.c). */
#include <stdio.h>
#include <string.h>

#include "tools/cli_peers.h"
#include "tools/commands.h"
#include "tools/version.h"

static const qn_command *const commands[] = {
    &qn_command_quantize,   &qn_command_convert,  &qn_command_inspect, &qn_command_calibrate,
    &qn_command_perplexity, &qn_command_compare,  &qn_command_report,  &qn_command_forward,
    &qn_command_generate,   &qn_command_tokenize, &qn_command_bench,   NULL,
};

static const qn_command *find(const char *name)
{
    for (size_t i = 0; commands[i]; i++)
        if (!strcmp(commands[i]->name, name)) return commands[i];
    return NULL;
}

static void print_help(FILE *to)
{
    fputs("quern grinds a language model down to what a phone can hold, and proves that it still "
          "works.\n\nusage: quern COMMAND [options] ...\n\n",
          to);
    for (size_t i = 0; commands[i]; i++)
        fprintf(to, "  %-12s%s\n", commands[i]->name, commands[i]->summary);
    fputs("\nquern COMMAND --help says more about one; quern --version prints the version.\n\n"
          "exit status: 0 fine, 1 the answer is no, 2 wrong usage, 3 bad or unsupported input,\n"
          "4 system (disk full, no permission, memory limit), 5 undecided, 130 interrupted\n",
          to);
}

static qn_exit unknown(const char *word)
{
    const char *nearest = qn_peer_command(word);
    if (nearest) {
        fprintf(stderr, "quern: no command '%s'; %s is its name here\n", word, nearest);
        return QN_EXIT_USAGE;
    }
    size_t least = strlen(word) / 3 + 2;
    for (size_t i = 0; commands[i]; i++) {
        const size_t d = qn_edit_distance(word, commands[i]->name);
        if (d < least) least = d, nearest = commands[i]->name;
    }
    if (nearest)
        fprintf(stderr, "quern: no command '%s'; did you mean %s?\n", word, nearest);
    else
        fprintf(stderr, "quern: no command '%s'; quern --help lists them\n", word);
    return QN_EXIT_USAGE;
}

static qn_exit help_about(const char *name)
{
    const qn_command *c = find(name);
    if (!c) return unknown(name);
    qn_cli_help(c);
    return QN_EXIT_FINE;
}

static bool is_one_of(const char *word, const char *a, const char *b)
{
    return !strcmp(word, a) || !strcmp(word, b);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return QN_EXIT_USAGE;
    }
    const char *word = argv[1];
    if (!strcmp(word, "help") && argc > 2) return (int)help_about(argv[2]);
    if (is_one_of(word, "--help", "-h") || !strcmp(word, "help")) {
        print_help(stdout);
        return QN_EXIT_FINE;
    }
    if (!strcmp(word, "--version")) {
        puts("quern " QN_VERSION);
        return QN_EXIT_FINE;
    }
    const qn_command *c = find(word);
    return (int)(c ? qn_cli_run(c, argc - 1, argv + 1) : unknown(word));
}
