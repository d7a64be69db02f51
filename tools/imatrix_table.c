#include "tools/imatrix_table.h"

#include <math.h>
#include <stdio.h>

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
        printf("%5s  %-22.*s %14.2f %10.4f %12.4f %9.2f %9.2f %8.2f%% %7llu %9.4f %7.2f%% %6.2f%% "
               "%7.4f\n",
               layer, (int)s->role.n, s->role.s, s->total, s->least, s->most, s->mean, s->deviation,
               100 * s->active, (unsigned long long)s->n, s->entropy, entropy_share(s),
               100 * s->z_density, s->likeness);
    }
}

/* Tensors weigh as many columns as they have. */
static void print_layers(const qn_imatrix_statistics *s, size_t n)
{
    int64_t last = -1;
    for (size_t i = 0; i < n; i++)
        if (s[i].layer > last) last = s[i].layer;
    puts("\nLayer      μΣ(Act²)       μZD μCosSim");
    for (int64_t layer = 0; layer <= last; layer++) {
        double columns = 0, total = 0, density = 0, likeness = 0;
        for (size_t i = 0; i < n; i++) {
            const double weight = s[i].layer == layer ? (double)s[i].n : 0;
            columns += weight;
            total += weight * s[i].total;
            density += weight * s[i].z_density;
            likeness += weight * s[i].likeness;
        }
        if (columns > 0)
            printf("%5lld %14.2f %8.4f%% %7.4f\n", (long long)layer, total / columns,
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

static qn_exit print_json(const qn_common *c, const qn_imatrix_statistics *s, size_t n)
{
    json_t *document = qn_report_new(c), *tensors = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(tensors, tensor_json(&s[i]));
    json_object_set_new(document, "tensors", tensors);
    return qn_report_print(c, document);
}

qn_exit qn_imatrix_table(const qn_common *c, const char *path)
{
    qn_imatrix *m = NULL;
    qn_error err = {0};
    qn_exit exit = QN_EXIT_FINE;
    if (qn_imatrix_open(&m, path, &err)) return qn_complain(c, &err);
    qn_imatrix_statistics *s = qn_alloc(m->n_entries, sizeof *s);
    const size_t n = s ? qn_imatrix_statistics_of(m, s) : 0;
    if (!s) {
        qn_fail_memory(&err, path);
        exit = qn_complain(c, &err);
    } else if (c->json) {
        exit = print_json(c, s, n);
    } else {
        print_tensors(s, n);
        print_layers(s, n);
    }
    qn_free(s);
    qn_imatrix_close(m);
    return exit;
}
