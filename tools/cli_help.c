#include <stdio.h>
#include <string.h>

#include "tools/cli.h"

/* Columns of a line of help, and where an option's words begin. */
enum { WIDTH = 80, WORDS = 28 };

/* Words of text from column `at` on, later lines from column `indent`. */
static void print_wrapped(const char *text, int at, int indent)
{
    while (*text) {
        const size_t n = strcspn(text, " \n");
        if (at > indent && at + 1 + (int)n > WIDTH) {
            printf("\n%*s", indent, "");
            at = indent;
        } else if (at > indent) {
            putchar(' ');
            at++;
        }
        printf("%.*s", (int)n, text);
        at += (int)n;
        text += n;
        while (*text == ' ') text++;
        for (; *text == '\n'; text++) {
            printf("\n%*s", text[1] == '\n' ? 0 : indent, "");
            at = indent;
        }
    }
    putchar('\n');
}

static void print_option(const qn_opt *o)
{
    char left[64] = "";
    if (o->letter)
        snprintf(left, sizeof left, "  -%c, --%s", o->letter, o->name);
    else
        snprintf(left, sizeof left, "      --%s", o->name);
    if (o->value) {
        const size_t n = strlen(left);
        snprintf(left + n, sizeof left - n, " %s", o->value);
    }
    if (strlen(left) + 2 > WORDS)
        printf("%s\n%*s", left, WORDS, "");
    else
        printf("%-*s", WORDS, left);
    print_wrapped(o->help, WORDS, WORDS);
}

void qn_cli_help(const qn_command *c)
{
    printf("quern %s: %s\n\nusage: quern %s %s\n\n", c->name, c->summary, c->name, c->synopsis);
    print_wrapped(c->about, 0, 0);
    if (c->more_help) c->more_help();
    printf("\noptions:\n");
    for (size_t i = 0; i < c->n_options; i++) print_option(&c->options[i]);
    for (size_t i = 0; i < qn_n_common_options; i++) print_option(&qn_common_options[i]);
    printf("\nexamples:\n%s", c->examples);
}
