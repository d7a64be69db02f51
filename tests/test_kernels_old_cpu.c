/* The table that is chosen on processors older than this one, under qemu.
 *
 * With an argument this program is what qemu runs: it says which level was
 * chosen and a figure that its kernels computed. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/kernels.h"
#include "tests/support/run.h"

static double figure(const qn_kernels *k)
{
    static float x[256], y[256];
    uint8_t block[256];
    for (int i = 0; i < 256; i++) x[i] = (float)(i % 37 - 18) * 0.1f;
    k->encode[QN_Q4_K](x, NULL, block, 256);
    k->decode[QN_Q4_K](block, y, 256);
    k->silu_mul(y, x, 256);
    return (double)k->dot(x, y, 256);
}

/* Sanitizers' memory maps and qemu's do not go together. */
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static const bool can_emulate = true;
#else
static const bool can_emulate = false;
#endif

/* What this program says under qemu as that processor, into line; the wait status. */
static int run_as(const char *cpu, char *line, int room)
{
    char self[1024], command[1200];
    const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    ck_assert_int_gt(n, 0);
    self[n] = 0;
    snprintf(command, sizeof command, "qemu-x86_64 -cpu %s '%s' chosen 2>/dev/null", cpu, self);
    FILE *p = popen(command, "r"); /* NOLINT(cert-env33-c): the command is ours */
    ck_assert_ptr_nonnull(p);
    line[0] = 0;
    (void)!fgets(line, room, p);
    return pclose(p);
}

static const struct {
    const char *cpu, *isa;
} machines[] = {
    {"Nehalem", "scalar"},     /* up to SSE4.2 */
    {"SandyBridge", "scalar"}, /* AVX */
    {"Haswell", "avx2"},       /* AVX2, FMA, F16C */
};

START_TEST(an_older_processor_gets_the_level_that_it_runs)
{
    char line[128], isa[16];
    double got;
    const char *cpu = machines[_i].cpu;
    const int status = can_emulate ? run_as(cpu, line, sizeof line) : 127 << 8;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
        printf("skip: no qemu-x86_64 for %s here\n", cpu);
        return;
    }
    ck_assert_msg(status == 0, "as %s it ended with wait status %#x", cpu, (unsigned)status);
    ck_assert_msg(sscanf(line, "%15s %la", isa, &got) == 2, "as %s it said: %s", cpu, line);
    ck_assert_str_eq(isa, machines[_i].isa);

    qn_kernels scalar;
    bool runs;
    ck_assert(qn_kernels_level(0, &scalar, &runs));
    const double want = figure(&scalar);
    ck_assert_msg(got == want, "as %s it computed %a, here it is %a", cpu, got, want);
}
END_TEST

int main(int argc, char **argv)
{
    (void)argv;
    if (argc > 1) {
        const qn_kernels *k = qn_kernels_best();
        printf("%s %a\n", k->isa, figure(k));
        return EXIT_SUCCESS;
    }
    Suite *s = suite_create("kernels on old processors");
    TCase *c = qn_test_group(s, "qemu");
    tcase_add_loop_test(c, an_older_processor_gets_the_level_that_it_runs, 0,
                        (int)(sizeof machines / sizeof machines[0]));
    return qn_test_run_suite(s);
}
