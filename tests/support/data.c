#include "tests/support/data.h"

#include <stdio.h>
#include <stdlib.h>

#include "formats/base/text.h"

const char *qn_test_data(const char *name)
{
    static char paths[4][4096];
    static unsigned turn;
    const char *extra = getenv("QUERN_EXTRA_DATA");
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "tests/data/%s", name);
    if (qn_path_exists(path)) return path;
    if (extra) {
        snprintf(path, sizeof paths[0], "%s/%s", extra, name);
        if (qn_path_exists(path)) return path;
    }
    printf("skip: no %s in tests/data%s\n", name, extra ? " or QUERN_EXTRA_DATA" : "");
    return NULL;
}
