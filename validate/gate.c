#include "validate/gate.h"

#include "validate/reals.h"

void qn_gate_start(qn_gate *g, double least, double most, double limit, double alpha)
{
    *g = (qn_gate){.least = least, .most = most, .limit = limit, .alpha = alpha};
}

static double unit(const qn_gate *g, double x)
{
    const double u = (x - g->least) / (g->most - g->least);
    return u < 0 ? 0 : u > 1 ? 1 : u;
}

/* Candidate i, from 0 to 1. */
static double candidate(const qn_gate *g, size_t i)
{
    return i == QN_GATE_GRID ? unit(g, g->limit) : ((double)i + 0.5) / QN_GATE_GRID;
}

/* What to stake on the mean being m + edge, one draw losing at most `risk`. */
static double stake(double edge, double variance, double risk)
{
    const double most = 0.75 / risk;
    if (edge <= 0) return 0;
    const double best = edge / (variance + edge * edge);
    return best < most ? best : most;
}

static void decide(qn_gate *g)
{
    const double wanted = -qn_log(g->alpha);
    if (g->state != QN_GATE_OPEN) return;
    if (g->above[QN_GATE_GRID] >= wanted)
        g->state = QN_GATE_FAIL;
    else if (g->below[QN_GATE_GRID] >= wanted && g->plain_sum <= g->limit * (double)g->n)
        g->state = QN_GATE_PASS;
    if (g->state != QN_GATE_OPEN) g->decided_at = g->n;
}

void qn_gate_see(qn_gate *g, double x)
{
    const double u = unit(g, x), n = (double)g->n;
    /* before anything is seen: the middle, and the variance of a fair coin */
    const double mean = (0.5 + g->sum) / (1.0 + n);
    const double variance = (0.25 + g->squares) / (1.0 + n);
    for (size_t i = 0; i <= QN_GATE_GRID; i++) {
        const double m = candidate(g, i);
        g->above[i] += qn_log(1.0 + stake(mean - m, variance, m) * (u - m));
        g->below[i] += qn_log(1.0 + stake(m - mean, variance, 1.0 - m) * (m - u));
    }
    g->n++;
    g->sum += u;
    g->plain_sum += x;
    const double now = (0.5 + g->sum) / (2.0 + n);
    g->squares += (u - now) * (u - now);
    decide(g);
}

void qn_gate_interval(const qn_gate *g, double *low, double *high)
{
    const double wanted = -qn_log(g->alpha), width = g->most - g->least;
    size_t first = 0, last = QN_GATE_GRID;
    while (first < QN_GATE_GRID && g->above[first] >= wanted) first++;
    while (last > first && g->below[last - 1] >= wanted) last--;
    *low = g->least + width * (double)first / QN_GATE_GRID;
    *high = g->least + width * (double)last / QN_GATE_GRID;
}
