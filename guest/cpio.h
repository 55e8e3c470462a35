/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_CPIO_H
#define FERRYFS_CPIO_H
/* "newc" archives of cpio, as the kernel's unpacker of an initramfs reads them: a 110-byte header of ASCII
 * hex fields, the name, the data, each padded with zeros to 4 bytes counted from the archive's begin; an
 * entry TRAILER!!! ends it.
 * Source: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst. */
#include "../formats/fault.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

enum {
    CPIO_HEADER = 110,
    CPIO_NAME_MAX = 4096, /* with the NUL, as the kernel has it */
};

/* Where an archive's bytes come from, in order. */
struct cpio_source {
    /* Fills buf; *ret is short only at the end. -errno: can't be read. */
    int (*pull)(struct cpio_source *s, void *buf, size_t len, size_t *ret);
};

struct cpio_entry {
    const char *name; /* as it stands there */
    mode_t mode;
    uint32_t size;       /* bytes of the data */
    const uint8_t *data; /* NULL where it has more than the walker's `keep`, or none */
};

/* Nonzero ends the walk and is what it returns. */
typedef int (*cpio_each)(void *ctx, const struct cpio_entry *e);

/* Walks one archive to its TRAILER!!! and the padding behind that. Data of up to `keep` bytes is handed on.
 * *ret_length: bytes of it, also where it fails. -ENODATA: it is cut short; -EUCLEAN: no archive. */
int cpio_walk(struct cpio_source *s, size_t keep, cpio_each fn, void *ctx, uint64_t *ret_length);

/* An archive that is being made. Zero-initialised; the first failure sticks, so that only cpio_end() needs a
 * check. */
struct cpio_out {
    uint8_t *p; /* owned by the caller: free() */
    size_t n, size;
    uint32_t inodes;
    bool failed; /* no memory, or too long */
};
void cpio_add(struct cpio_out *o, const char *name, mode_t mode, const void *data, size_t n);
/* -ENOMEM. */
int cpio_end(struct cpio_out *o);
#endif
