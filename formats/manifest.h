/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_MANIFEST_H
#define FERRYFS_MANIFEST_H
/* The manifest of an OVF package (.mf): which digest each of its files should have. What is in the files is
 * not looked at here. */
#include "cleanup.h"
#include "fault.h"
#include "notes.h"

#include <stddef.h>

enum {
    MANIFEST_MAX_SIZE = 1024 * 1024, /* bytes */
    MANIFEST_MAX_ENTRIES = 8192,     /* an archive has to be searched for each */
};

struct manifest_entry {
    char *file;         /* owned: as it stands there, relative to the manifest; never empty */
    char algorithm[16]; /* "SHA256", "SHA3-256", ...: upper case, digest_new() knows it or not */
    char *digest;       /* owned: hexadecimal, lower case */
};

struct manifest {
    struct manifest_entry *entries; /* in the order of the lines */
    size_t n;
    struct notes notes; /* lines that say nothing understood */
};

/* Takes every line that it understands. `name` is for messages. -EFBIG over a limit above, -ENOMEM. */
int manifest_parse(const char *text, size_t n, const char *name, struct manifest **ret, struct fault *fault);
void manifest_free(struct manifest *m);
DEFINE_CLEANUP(struct manifest *, manifest_free)
#endif
