/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_NOTES_H
#define FERRYFS_NOTES_H
/* A short list of one-line remarks for info.json's "warnings": what was odd but could be read. */
#include <stddef.h>

struct notes {
    char **lines; /* owned */
    size_t n;
};

/* Adds a line; silently dropped past NOTES_MAX lines (a hostile image could make any number) or without
 * memory. `notes` may be NULL. */
enum { NOTES_MAX = 64 };
void notes_add(struct notes *notes, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void notes_done(struct notes *notes);
#endif
