/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_FAULT_H
#define FERRYFS_FAULT_H
/* Why something was refused, for people.
 *
 * A function that can refuse an image returns a negative errno (the class) and takes a `struct fault *` as
 * its last parameter, which the function that SAW the problem fills once. Callers pass it through and add
 * nothing.
 *
 *     return fault_at(fault, -EUCLEAN, file->name, off, "grain table %u lies past the end of the file", i);
 *
 * Classes: EUCLEAN the bytes contradict the format, ENOTSUP the format allows it and we don't read it, EFBIG
 * over a limit of ours, ENOENT a referred file is missing, EPERM it lies outside the trusted directories,
 * EACCES no permission, EIO the device failed, ENODATA the file ends too early (truncated), ELOOP a loop in a
 * chain, EMEDIUMTYPE it isn't an image at all, EINVAL the user's argument, ENOMEM out of memory.
 *
 * Every `fault` parameter may be NULL. Not thread-safe: a fault belongs to one caller. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fault {
    int err;         /* negative errno; 0: nothing filled in yet */
    bool has_offset; /* `offset` is meaningful */
    uint64_t offset; /* byte in `file` where it was seen */
    char file[1024]; /* name of the file as the user would call it; "" when no file is concerned */
    char what[512];  /* what is wrong, one line, lower case, no full stop */
    char hint[256];  /* what to do; "" when there is no good advice */
};

/* Fill `fault` (unless it already holds one: the first wins) and return `err`, which must be negative. */
int fault_at(struct fault *fault, int err, const char *file, uint64_t offset, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
int fault_in(struct fault *fault, int err, const char *file, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Add advice to a fault just filled; returns `err` so that it can end a return statement. */
int fault_hint(struct fault *fault, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The contract's form without the leading "ferryfs: ": "FILE: what is wrong [at byte N][; what to do]".
 * Control characters of hostile names are replaced by '?'. */
void fault_format(const struct fault *fault, char *buf, size_t size);
/* The same without the file name, for "why" in info.json. */
void fault_reason(const struct fault *fault, char *buf, size_t size);
#endif
