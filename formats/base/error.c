#include "formats/base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A cut message must not end inside a UTF-8 sequence: reports are UTF-8. */
static void trim_partial_utf8(char *text, size_t n)
{
    size_t tail = 0;
    while (tail < 3 && tail < n && ((unsigned char)text[n - 1 - tail] & 0xC0) == 0x80) tail++;
    if (tail == n) return;
    const unsigned char lead = (unsigned char)text[n - 1 - tail];
    const size_t need = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC0 ? 1 : 0;
    if (need > tail) text[n - 1 - tail] = '\0';
}

void qn_blank_controls(char *text)
{
    for (; *text; text++) {
        const unsigned char c = (unsigned char)*text, next = (unsigned char)text[1];
        if (c == 0xc2 && next >= 0x80 && next < 0xa0) *text++ = '?', *text = '?';
        if (c < 0x20 || c == 0x7f) *text = '?';
    }
}

/* The words may quote err->message itself, so they are built beside it. */
static void record(qn_error *err, qn_status status, const char *reason, const char *fmt,
                   va_list args)
{
    if (!err) return;
    char words[sizeof err->message];
    int n = vsnprintf(words, sizeof words, fmt, args);
    size_t length = n < 0 ? 0 : (size_t)n;
    if (n < 0) words[0] = '\0';
    if (reason && length < sizeof words) {
        n = snprintf(words + length, sizeof words - length, ": %s", reason);
        length += n < 0 ? 0 : (size_t)n;
    }
    if (length >= sizeof words) trim_partial_utf8(words, sizeof words - 1);
    qn_blank_controls(words);
    err->status = status;
    memcpy(err->message, words, sizeof words);
}

qn_error *qn_record(qn_error *err, qn_status status, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    record(err, status, NULL, fmt, args);
    va_end(args);
    return err;
}

qn_error *qn_record_errno(qn_error *err, const char *fmt, ...)
{
    char buffer[128];
    const char *reason = strerror_r(errno, buffer, sizeof buffer);
    va_list args;
    va_start(args, fmt);
    record(err, QN_ERR_SYSTEM, reason, fmt, args);
    va_end(args);
    return err;
}
