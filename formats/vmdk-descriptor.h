/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_VMDK_DESCRIPTOR_H
#define FERRYFS_VMDK_DESCRIPTOR_H
/* A VMDK's descriptor: the text that says what the disk is made of. Parsed once, line by line, into a struct;
 * nothing behind it looks at the text again. */
#include "fault.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The keys that we look at. Everything else is passed over, as the format wants it. */
enum vmdk_key {
    VMDK_VERSION,
    VMDK_ENCODING,
    VMDK_CID,
    VMDK_PARENT_CID,
    VMDK_CREATE_TYPE,
    VMDK_PARENT_HINT,
    VMDK_NATIVE_SNAPSHOT,
    VMDK_LONG_CONTENT_ID,
    VMDK_KEYS,
};

enum vmdk_access { VMDK_RW, VMDK_RDONLY, VMDK_NOACCESS };

/* One extent line: `RW 4192256 SPARSE "disk-s001.vmdk"` or `RW 63 FLAT "disk-pt.vmdk" 0` */
struct vmdk_extent {
    enum vmdk_access access;
    uint64_t sectors; /* at most VMDK_MAX_SECTORS */
    char type[16];    /* upper case */
    char *name;       /* owned, slashes for backslashes, UTF-8 where the encoding is known; NULL: none */
    uint64_t offset_sectors; /* where it begins in the file; 0 when not given */
    uint64_t at;             /* byte of the line in the file, for messages */
};

struct vmdk_descriptor {
    char *value[VMDK_KEYS]; /* owned, without quotes; NULL: not given */
    uint32_t version;       /* 1 when not given */
    uint32_t cid, parent_cid;
    bool has_cid;
    bool encrypted; /* a key that only encrypted disks have */
    struct vmdk_extent *extents;
    size_t n_extents;
};

#define VMDK_NO_PARENT   0xffffffffu         /* parentCID of a disk that stands by itself */
#define VMDK_LONG_CID    0xfffffffeu         /* "look at ddb.longContentID" */
#define VMDK_MAX_SECTORS (UINT64_C(1) << 53) /* 4 EiB, so that sums of bytes stay in an off_t */

enum {
    VMDK_TEXT_MAX =
        20480 * 512,          /* the largest descriptor area that a writer is known to reserve (VirtualBox) */
    VMDK_MAX_EXTENTS = 32768, /* 64 TiB in pieces of 2 GiB */
};

/* Parses `n` bytes of text, up to the first NUL. `file` and `at` (where text[0] lies in it) are for messages.
 * -EUCLEAN with the byte for a line that isn't understood, a number that isn't one, or two different values
 * of one key; -EFBIG, -ENOMEM. On failure *ret holds nothing. */
int vmdk_descriptor_parse(const char *text, size_t n, const char *file, uint64_t at,
                          struct vmdk_descriptor *ret, struct fault *fault);
void vmdk_descriptor_done(struct vmdk_descriptor *d);

/* How sure it is that this beginning of a file is a descriptor: bits of evidence, 0 for none. */
unsigned vmdk_descriptor_probe(const char *text, size_t n);
#endif
