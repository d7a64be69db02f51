/* Tasks of several choices, of which a model should find the right one the most
 * probable: HellaSwag, Winogrande and multiple choice, in the files that
 * llama-perplexity reads (llama.cpp tools/perplexity/perplexity.cpp).
 *
 * HellaSwag: six lines a task: context, number (0..3) of the right ending, four
 *     endings.  Text of a choice: context " " ending.
 * Winogrande: index,sentence,choice 1,choice 2,answer (1 or 2); quotes around a
 *     sentence with commas.  Text: the sentence, '_' replaced by the choice.
 * Multiple choice, little endian, strings a u32 and so many bytes:
 *     u32 n; u32 position[n]; n tasks: question, mc1, mc2
 *     mc: u32 answers (at most 100); their strings; i32 labels, 1: right
 *     Text: question " " answer of mc1; mc2 (several right ones) is not used.
 *
 * One line feed at the end of a text file does not count, and then a Winogrande
 * line without one behind it is left out, as there. */
#ifndef QN_FORMATS_TASK_FILE_H
#define QN_FORMATS_TASK_FILE_H

#include <stdint.h>

#include "formats/base/alloc.h"
#include "formats/base/text.h"

typedef enum { QN_TASKS_HELLASWAG, QN_TASKS_WINOGRANDE, QN_TASKS_MULTIPLE_CHOICE } qn_task_kind;

typedef struct {
    qn_str text;
    qn_str head; /* Winogrande: of text, up to and with the choice */
    bool right;
} qn_choice;

typedef struct {
    size_t n; /* choices */
    qn_choice *choices;
} qn_task;

typedef struct {
    qn_task_kind kind;
    const char *where; /* the file's name, the caller's */
    qn_str bytes;      /* the caller's */
    size_t n;          /* tasks */
    qn_str *lines;     /* of text files: [n], or of HellaSwag [n][6] */
    size_t left_out;   /* lines that are no tasks */
    char why[128];     /* the first of them */
} qn_task_file;

/* bytes: the whole file, which outlives *out as where does.  What breaks its
 * format is QN_ERR_DATA. */
qn_status qn_task_file_open(qn_task_file *out, qn_task_kind kind, qn_str bytes, const char *where,
                            qn_error *err);
void qn_task_file_close(qn_task_file *f); /* {0} is fine */

/* Task number (below f->n) into *out, in the arena. */
qn_status qn_task_read(const qn_task_file *f, size_t number, qn_arena *arena, qn_task *out,
                       qn_error *err);

#endif
