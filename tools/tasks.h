/* quern perplexity --hellaswag, --winogrande, --multiple-choice: the share of
 * tasks of which a model finds the right choice the most probable. */
#ifndef QN_TOOLS_TASKS_H
#define QN_TOOLS_TASKS_H

#include "tools/loaded.h"

typedef struct {
    bool hellaswag, winogrande, multiple_choice;
    uint64_t hellaswag_tasks, winogrande_tasks, multiple_choice_tasks; /* 0: all */
} qn_task_options;

/* False, and said so: more than one kind. */
bool qn_task_options_agree(const qn_common *c, const qn_task_options *o);

static inline bool qn_tasks_wanted(const qn_task_options *o)
{
    return o->hellaswag || o->winogrande || o->multiple_choice;
}

/* Scores the tasks of file with the model and the adapters of --lora, and tells.
 * max_memory: as --max-memory. */
qn_exit qn_tasks_run(const qn_common *c, const qn_task_options *o, const char *model,
                     const qn_load_options *how, uint64_t max_memory, const char *file);

#endif
