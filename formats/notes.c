/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "notes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void notes_add(struct notes *notes, const char *fmt, ...)
{
    if (!notes || notes->n >= NOTES_MAX)
        return;
    char *line = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&line, fmt, ap);
    va_end(ap);
    if (n < 0)
        return;
    for (char *p = line; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    char **lines = realloc(notes->lines, (notes->n + 1) * sizeof *lines);
    if (!lines) {
        free(line);
        return;
    }
    notes->lines = lines;
    notes->lines[notes->n++] = line;
}

void notes_done(struct notes *notes)
{
    for (size_t i = 0; i < notes->n; i++)
        free(notes->lines[i]);
    free(notes->lines);
    notes->lines = NULL;
    notes->n = 0;
}
