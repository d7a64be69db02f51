#include "tools/packed_report.h"

#include <stdio.h>
#include <string.h>

static double bits_per_weight(const qn_packed_output *o)
{
    double bytes = 0, elements = 0;
    for (size_t i = 0; i < o->plan->n; i++) {
        const qn_rows *rows = o->plan->entries[i].tensor->rows;
        bytes += (double)o->plan->entries[i].bytes;
        elements += (double)rows->rows * (double)rows->columns;
    }
    return elements > 0 ? 8 * bytes / elements : 0;
}

static const char *type_of(const qn_packed_output *o, const qn_packed_entry *e)
{
    return e->packed ? o->type : qn_dtype_facts(e->dtype)->name;
}

static json_t *describe_tensor(const qn_packed_output *o, size_t i)
{
    const qn_packed_entry *e = &o->plan->entries[i];
    const qn_model_tensor *t = e->tensor;
    json_t *d = json_pack(
        "{s: o, s: o, s: s, s: s, s: o}", "name", qn_json_text(t->name, strlen(t->name)), "shape",
        qn_json_shape(t->dims, t->rank), "from", qn_dtype_facts(t->rows->dtype)->name, "to",
        type_of(o, e), "size_bytes", qn_json_count(e->bytes));
    if (o->results) json_object_set_new(d, "rmse", qn_json_number(o->results[i].rmse));
    json_object_set_new(d, "reason", json_string(e->reason));
    return d;
}

json_t *qn_packed_describe(const qn_packed_output *o)
{
    const qn_packed_options *options = &o->plan->options;
    json_t *tensors = json_array();
    for (size_t i = 0; i < o->plan->n; i++) json_array_append_new(tensors, describe_tensor(o, i));
    return json_pack("{s: o, s: s, s: s, s: o, s: b, s: s, s: o, s: o, s: o}", "output",
                     qn_json_text(o->path, strlen(o->path)), "type", o->type, "format",
                     qn_pack_format_name(options->format), "group_size",
                     options->group ? qn_json_count(options->group) : json_null(), "symmetric",
                     (int)!options->asymmetric, "clip",
                     options->clip == QN_CLIP_MSE ? "mse" : "minmax", "size_bytes",
                     qn_json_count(o->size_bytes), "bits_per_weight",
                     qn_json_number(bits_per_weight(o)), "tensors", tensors);
}

static int widest_name(const qn_packed_plan *p)
{
    size_t widest = 6;
    for (size_t i = 0; i < p->n; i++) {
        const size_t n = strlen(p->entries[i].tensor->name);
        if (n > widest) widest = n;
    }
    return widest > 64 ? 64 : (int)widest;
}

void qn_packed_print_table(const qn_packed_output *o)
{
    const int width = widest_name(o->plan);
    printf("%-*s  %-16s  %-6s  %-6s  %10s  %s%s\n", width, "tensor", "shape", "from", "to", "size",
           o->results ? "      rmse  " : "", "reason");
    for (size_t i = 0; i < o->plan->n; i++) {
        const qn_packed_entry *e = &o->plan->entries[i];
        const qn_model_tensor *t = e->tensor;
        char shape[64], size[32];
        qn_print_name(t->name, strlen(t->name), width);
        printf("  %-16s  %-6s  %-6s  %10s  ", qn_shape_text(t->dims, t->rank, shape, sizeof shape),
               qn_dtype_facts(t->rows->dtype)->name, type_of(o, e),
               qn_human_size((double)e->bytes, size));
        if (o->results) printf("%10.3g  ", o->results[i].rmse);
        puts(e->reason);
    }
}

void qn_packed_print_summary(const qn_packed_output *o)
{
    const qn_packed_options *options = &o->plan->options;
    char size[32];
    printf("%s: %s, ", o->path, o->type);
    if (options->group)
        printf("groups of %llu", (unsigned long long)options->group);
    else
        printf("by channel");
    printf(", %s, %s; %zu of %zu tensors, %s, %.2f bits per weight",
           options->asymmetric ? "asymmetric" : "symmetric", qn_pack_format_name(options->format),
           o->plan->n_packed, o->plan->n, qn_human_size((double)o->size_bytes, size),
           bits_per_weight(o));
}
