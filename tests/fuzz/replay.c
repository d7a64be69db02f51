/* Feeds every file of a folder to a fuzz target, without a fuzzer: so each test
 * run covers the corpus.  Usage: fuzz_NAME FOLDER */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/base/alloc.h"
#include "formats/base/text.h"
#include "tests/fuzz/fuzz.h"

/* In a block of exactly its size, where a sanitizer or valgrind sees a step
 * too far. */
static int replay(const char *path)
{
    char *text;
    size_t n;
    qn_error err = {0};
    if (qn_read_file(path, 1 << 24, &text, &n, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    uint8_t *exact = malloc(n ? n : 1);
    if (exact) {
        memcpy(exact, text, n);
        LLVMFuzzerTestOneInput(exact, n);
    }
    free(exact);
    qn_free(text);
    return exact == NULL;
}

int main(int argc, char **argv)
{
    int files = 0, failed = 0;
    const char *base = strrchr(argv[0], '/');
    DIR *d = argc == 2 ? opendir(argv[1]) : NULL;
    if (!d) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    for (const struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.') continue;
        char *path = qn_path_join(argv[1], e->d_name);
        if (!path) return 1;
        failed += replay(path);
        files++;
        qn_free(path);
    }
    closedir(d);
    printf("%s: %d files of %s\n", base ? base + 1 : argv[0], files, argv[1]);
    return failed != 0 || files == 0;
}
