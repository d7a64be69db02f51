#include "tools/imatrix_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "tools/report.h"
#include "validate/imatrix_statistics.h"

/* Of the largest, in percent. */
static double entropy_share(const qn_imatrix_statistics *s)
{
    return s->n > 1 ? 100 * s->entropy / log2((double)s->n) : 0;
}

static void print_tensors(const qn_imatrix_statistics *s, size_t n)
{
    puts("Layer  Tensor                        Σ(Act²)        Min          Max         μ         σ "
         " % Active       N   Entropy E (norm)      ZD  CosSim");
    for (size_t i = 0; i < n; i++, s++) {
        char layer[24] = "-";
        if (s->layer >= 0) snprintf(layer, sizeof layer, "%lld", (long long)s->layer);
        printf("%5s  ", layer);
        qn_print_name(s->role.s, s->role.n, 22);
        printf(" %14.2f %10.4f %12.4f %9.2f %9.2f %8.2f%% %7llu %9.4f %7.2f%% %6.2f%% %7.4f\n",
               s->total, s->least, s->most, s->mean, s->deviation, 100 * s->active,
               (unsigned long long)s->n, s->entropy, entropy_share(s), 100 * s->z_density,
               s->likeness);
    }
}

static int by_layer(const void *a, const void *b)
{
    const qn_imatrix_statistics *x = a, *y = b;
    if (x->layer != y->layer) return x->layer < y->layer ? -1 : 1;
    return strcmp(x->entry->name, y->entry->name);
}

/* Tensors weigh as many columns as they have.  Sorts them. */
static void print_layers(qn_imatrix_statistics *s, size_t n)
{
    qsort(s, n, sizeof *s, by_layer);
    puts("\nLayer      μΣ(Act²)       μZD μCosSim");
    for (size_t i = 0, end; i < n; i = end) {
        double columns = 0, total = 0, density = 0, likeness = 0;
        for (end = i; end < n && s[end].layer == s[i].layer; end++) {
            const double weight = (double)s[end].n;
            columns += weight;
            total += weight * s[end].total;
            density += weight * s[end].z_density;
            likeness += weight * s[end].likeness;
        }
        if (s[i].layer >= 0)
            printf("%5lld %14.2f %8.4f%% %7.4f\n", (long long)s[i].layer, total / columns,
                   100 * density / columns, likeness / columns);
    }
}

static json_t *tensor_json(const qn_imatrix_statistics *s)
{
    return json_pack("{s: s, s: o, s: o, s: o, s: o, s: o, s: o, s: o, s: o, s: o, s: o}", "name",
                     s->entry->name, "columns", qn_json_count(s->n), "total",
                     qn_json_number(s->total), "least", qn_json_number(s->least), "most",
                     qn_json_number(s->most), "mean", qn_json_number(s->mean), "deviation",
                     qn_json_number(s->deviation), "active", qn_json_number(s->active), "entropy",
                     qn_json_number(s->entropy), "z_density", qn_json_number(s->z_density),
                     "cos_sim", qn_json_number(s->likeness));
}

static json_t *input_json(const qn_moments_input *in)
{
    json_t *tensors = json_array();
    for (size_t i = 0; i < in->n_tensors; i++)
        json_array_append_new(tensors, qn_json_text(in->tensors[i], strlen(in->tensors[i])));
    return json_pack("{s: o, s: o, s: o}", "tensors", tensors, "columns",
                     qn_json_count(in->columns), "matrices", qn_json_count(in->matrices));
}

static json_t *with_block(uint64_t block, json_t *inputs)
{
    return json_pack("{s: o, s: o}", "block_size", qn_json_count(block), "inputs", inputs);
}

json_t *qn_moments_json(const qn_moments_input *inputs, size_t n, uint64_t block)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(list, input_json(&inputs[i]));
    return with_block(block, list);
}

static json_t *moments_json(const qn_moments *m)
{
    json_t *list = json_array();
    for (size_t i = 0; i < m->n_entries; i++)
        json_array_append_new(list, input_json(&m->entries[i].input));
    return with_block(m->block, list);
}

static qn_exit print_json(const qn_common *c, const qn_imatrix_statistics *s, size_t n,
                          const qn_moments *m)
{
    json_t *document = qn_report_new(c), *tensors = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(tensors, tensor_json(&s[i]));
    json_object_set_new(document, "tensors", tensors);
    if (m) json_object_set_new(document, "second_moments", moments_json(m));
    return qn_report_print(c, document);
}

static void print_moments(const qn_moments *m)
{
    char size[32];
    printf("\nSecond moments, %s", m->block ? "in blocks of " : "full");
    if (m->block) printf("%llu columns", (unsigned long long)m->block);
    puts("\nInput                            Columns Matrices       Size  Shared with");
    for (size_t i = 0; i < m->n_entries; i++) {
        const qn_moments_entry *e = &m->entries[i];
        const qn_moments_input *in = &e->input;
        const double bytes = (double)in->matrices * (double)e->length * sizeof(float);
        qn_print_name(in->tensors[0], strlen(in->tensors[0]), 32);
        printf(" %7llu %8llu %10s", (unsigned long long)in->columns,
               (unsigned long long)in->matrices, qn_human_size(bytes, size));
        for (size_t t = 1; t < in->n_tensors; t++) {
            fputs(t > 1 ? " " : "  ", stdout);
            qn_print_escaped(in->tensors[t], strlen(in->tensors[t]));
        }
        putchar('\n');
    }
}

static void print(qn_imatrix_statistics *s, size_t n, const qn_moments *moments)
{
    print_tensors(s, n);
    print_layers(s, n);
    if (moments) print_moments(moments);
}

qn_exit qn_imatrix_table(const qn_common *c, const char *path)
{
    qn_imatrix *m = NULL;
    qn_moments *moments = NULL;
    qn_imatrix_statistics *s = NULL;
    qn_error err = {0};
    qn_exit exit = QN_EXIT_FINE;
    qn_status status = qn_imatrix_open(&m, path, &err);
    if (!status) status = qn_moments_open(&moments, m, &err);
    if (!status && !(s = qn_alloc(m->n_entries, sizeof *s))) status = qn_fail_memory(&err, path);
    const size_t n = status ? 0 : qn_imatrix_statistics_of(m, s);
    if (status)
        exit = qn_complain(c, &err);
    else if (c->json)
        exit = print_json(c, s, n, moments);
    else
        print(s, n, moments);
    qn_free(s);
    qn_moments_close(moments);
    qn_imatrix_close(m);
    return exit;
}
