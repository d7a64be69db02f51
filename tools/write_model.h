/* From plans to files: what quantize and convert share.  Checks that the memory
 * will do, writes them in one pass over the source (or, for a dry run, does not),
 * and says what came of it. */
#ifndef QN_TOOLS_WRITE_MODEL_H
#define QN_TOOLS_WRITE_MODEL_H

#include "quant/plan.h"
#include "tools/report.h"

/* What --max-memory is without the option, and its row in a command's table. */
#define QN_DEFAULT_MEMORY (UINT64_C(512) << 20)
/* clang-format off */
#define QN_WRITE_MEMORY_OPTION(field)                                                \
    {0, "max-memory", "SIZE", QN_OPT_SIZE, field,                                    \
     "limit of this process's own memory, mapped files not counted (default 512M)"}
/* clang-format on */

typedef struct {
    const qn_common *common;
    const qn_format *format;
    bool dry_run, force, allow_nan;
    uint64_t max_memory;
    uint64_t source_bytes; /* of the files that are read */
} qn_write_options;

typedef struct {
    const qn_plan *plan;
    const char *path;      /* of a split plan, what its parts' names are made from */
    const char *directory; /* that the files are made in instead of the path's; NULL: in that */
    const char *type;      /* its name for people: "Q4_K_M" */
} qn_write_target;

/* n plans of one model: all files appear or none.  Appends the descriptions to
 * outputs with --json, prints them otherwise. */
qn_status qn_write_models(const qn_write_target *targets, size_t n, const qn_write_options *options,
                          json_t *outputs, qn_error *err);

/* Bytes of the files a model came from. */
uint64_t qn_source_bytes(const qn_model *m);

/* The document of a command that writes models; takes outputs over. */
json_t *qn_write_report(const qn_common *c, const qn_model *m, json_t *outputs, bool dry_run,
                        double started);

#endif
