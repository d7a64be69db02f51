#include "tools/text_input.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "formats/base/alloc.h"
#include "formats/base/map.h"

enum { BUFFER = 65536 };

static qn_status read_stdin(qn_text *out, qn_error *err)
{
    char buffer[BUFFER];
    ssize_t n;
    while ((n = read(STDIN_FILENO, buffer, sizeof buffer)) != 0) {
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return qn_fail_errno(err, "standard input");
        qn_text_add(out, buffer, (size_t)n);
    }
    return out->failed ? qn_fail_memory(err, "standard input") : QN_OK;
}

qn_status qn_text_from_file(const char *path, qn_text *out, qn_error *err)
{
    if (!strcmp(path, "-")) return read_stdin(out, err);
    qn_map map;
    const qn_status status = qn_map_open(&map, path, err);
    if (status) return status;
    qn_text_add(out, (const char *)map.data, (size_t)map.size);
    qn_map_close(&map);
    return out->failed ? qn_fail_memory(err, path) : QN_OK;
}

qn_status qn_text_from(const char *prompt, const char *file, qn_text *out, qn_error *err)
{
    if (!prompt) return qn_text_from_file(file ? file : "-", out, err);
    qn_text_adds(out, prompt);
    return out->failed ? qn_fail_memory(err, "the prompt") : QN_OK;
}

const char **qn_file_list(const qn_texts *given, char **args, size_t n_args, size_t *n)
{
    const char **files = qn_alloc(given->n + n_args, sizeof(const char *));
    if (!files) return NULL;
    for (size_t i = 0; i < given->n; i++) files[i] = given->at[i];
    for (size_t i = 0; i < n_args; i++) files[given->n + i] = args[i];
    *n = given->n + n_args;
    return files;
}

static bool is_separator(char c)
{
    return c && strchr(", \t\r\n[]", c) != NULL;
}

/* The number at text[*at], which is moved behind it; false when there is none
 * or it does not fit. */
static bool next_id(qn_str text, size_t *at, uint32_t *id)
{
    uint64_t value = 0;
    const size_t start = *at;
    for (; *at < text.n && text.s[*at] >= '0' && text.s[*at] <= '9'; ++*at) {
        value = 10 * value + (uint64_t)(text.s[*at] - '0');
        if (value >= UINT32_MAX) return false;
    }
    *id = (uint32_t)value;
    return *at > start && (*at == text.n || is_separator(text.s[*at]));
}

qn_status qn_ids_from_text(qn_str text, uint32_t **ids, size_t *n, qn_error *err)
{
    uint32_t *list = NULL, id;
    size_t count = 0, capacity = 0;
    for (size_t i = 0;;) {
        while (i < text.n && is_separator(text.s[i])) i++;
        if (i == text.n) break;
        const size_t start = i;
        if (!next_id(text, &i, &id)) {
            qn_free(list);
            const size_t left = text.n - start;
            return qn_fail(err, QN_ERR_ARGUMENT, "'%.*s' is not a token id",
                           (int)(left < 20 ? left : 20), text.s + start);
        }
        if (count == capacity) {
            capacity = qn_grow(capacity, count + 1);
            uint32_t *longer = qn_resize(list, capacity, sizeof *list);
            if (!longer) {
                qn_free(list);
                return qn_fail_memory(err, "token ids");
            }
            list = longer;
        }
        list[count++] = id;
    }
    *ids = list;
    *n = count;
    return QN_OK;
}
