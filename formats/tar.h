/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_TAR_H
#define FERRYFS_TAR_H
/* A tar archive read in place: an index of its members, each of which is a file at an offset. Nothing is
 * unpacked. ustar, GNU (long names, base-256 numbers), pax (path and size records, global headers) and v7.
 *
 *     struct tar *tar;
 *     int r = tar_open(file, &tar, fault);
 *     const struct tar_member *m = tar_find(tar, "web01.ovf");
 *     struct file *ovf;
 *     r = tar_open_member(m, &ovf, fault);
 *     r = file_open_ref(ovf, "disk file", "web01-disk1.vmdk", &disk, fault);
 *
 * A member's references are looked up in the archive, relative to the member's own directory, and never
 * anywhere else. The index is constant once tar_open() returned, so everything but tar_close() may be called
 * from any thread. */
#include "file.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TAR_BLOCK = 512,
    TAR_MAX_HEADERS = 65536,         /* an OVA has a dozen; bounds the time and memory of the index */
    TAR_MAX_NAME = 4096,             /* PATH_MAX */
    TAR_MAX_EXTENSION = 1024 * 1024, /* of one pax header: macOS puts whole extended attributes there */
};

enum tar_kind {
    TAR_REGULAR,
    TAR_SPARSE, /* GNU sparse: its bytes aren't stored in one piece */
    TAR_LINK,   /* hard or symbolic */
    TAR_OTHER,  /* directory, device, fifo, part of a multi-volume file */
};

struct tar_member {
    const struct tar *tar;
    char *name;      /* owned: without "." components and double or leading slashes; ".." stays */
    uint64_t offset; /* of its data in the archive, bytes */
    uint64_t size;   /* bytes */
    enum tar_kind kind;
    bool replaced; /* a later member has the same name: that one counts */
};

struct tar {
    struct file *file; /* a reference of its own */
    struct tar_member *members;
    size_t n;
};

/* Does the block begin an archive: has it the header's checksum, or at least the magic? */
enum tar_evidence {
    TAR_NO,
    TAR_MAGIC,  /* "ustar", but the checksum is wrong: a damaged archive, or chance */
    TAR_HEADER, /* a header whose checksum is right */
};
enum tar_evidence tar_probe(const uint8_t block[TAR_BLOCK]);

/* Reads all headers. -EUCLEAN a damaged header, -ENODATA truncated (naming the member), -EFBIG over a limit
 * above, -EIO. */
int tar_open(struct file *file, struct tar **ret, struct fault *fault);
/* All files made of its members are gone. */
void tar_close(struct tar *tar);
DEFINE_CLEANUP(struct tar *, tar_close)

/* The member of that (normalised) name, the last one where there are several; NULL: there is none. */
const struct tar_member *tar_find(const struct tar *tar, const char *name);
/* The member as a file, which must be gone before tar_close(). -ENOTSUP sparse ones, -EMEDIUMTYPE what is no
 * file. */
int tar_open_member(const struct tar_member *member, struct file **ret, struct fault *fault);

/* Where `name`, written in the member `from`, points to: a normalised name (owned by the caller). -EPERM when
 * that lies outside the archive, -ENOENT when no member can have so long a name. Exposed for tests. */
int tar_resolve(const char *from, const char *name, char **ret);
#endif
