/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fault.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void copy_line(char *dst, size_t size, const char *src)
{
    snprintf(dst, size, "%s", src ? src : "");
    for (char *p = dst; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
}

static bool fault_begin(struct fault *fault, int err, const char *file, const char *fmt, va_list ap)
{
    assert(err < 0);
    if (!fault || fault->err)
        return false;
    char line[sizeof fault->what];
    vsnprintf(line, sizeof line, fmt, ap);
    fault->err = err;
    copy_line(fault->what, sizeof fault->what, line);
    copy_line(fault->file, sizeof fault->file, file);
    fault->hint[0] = 0;
    fault->has_offset = false;
    return true;
}

int fault_at(struct fault *fault, int err, const char *file, uint64_t offset, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (fault_begin(fault, err, file, fmt, ap)) {
        fault->has_offset = true;
        fault->offset = offset;
    }
    va_end(ap);
    return err;
}

int fault_in(struct fault *fault, int err, const char *file, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fault_begin(fault, err, file, fmt, ap);
    va_end(ap);
    return err;
}

int fault_hint(struct fault *fault, int err, const char *fmt, ...)
{
    if (fault && fault->err && !fault->hint[0]) {
        char line[sizeof fault->hint];
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(line, sizeof line, fmt, ap);
        va_end(ap);
        copy_line(fault->hint, sizeof fault->hint, line);
    }
    return err;
}

void fault_reason(const struct fault *fault, char *buf, size_t size)
{
    char at[40] = "";
    if (fault->has_offset)
        snprintf(at, sizeof at, " at byte %llu", (unsigned long long)fault->offset);
    snprintf(buf, size, "%s%s%s%s", fault->what[0] ? fault->what : strerror(-fault->err), at,
             fault->hint[0] ? "; " : "", fault->hint);
}

void fault_format(const struct fault *fault, char *buf, size_t size)
{
    int n = fault->file[0] ? snprintf(buf, size, "%s: ", fault->file) : 0;
    if (n >= 0 && (size_t)n < size)
        fault_reason(fault, buf + n, size - (size_t)n);
}
