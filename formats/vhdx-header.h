/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_VHDX_HEADER_H
#define FERRYFS_VHDX_HEADER_H
/* What a VHDX says of itself, as checked values: the header section and the metadata region.
 *
 *     vhdx_header_read(file, &header, ...);
 *     vhdx_log_replay(file, &header, &replayed, ...);       vhdx-log.h
 *     vhdx_regions_read(replayed, &header, &regions, ...);
 *     vhdx_metadata_read(replayed, &regions.metadata, &meta, ...);
 *
 * Classes of refusal: EUCLEAN damaged, ENODATA cut short, ENOTSUP a version or a required part that we don't
 * know. On failure *ret holds nothing to free. All functions may block on I/O and take no lock. */
#include "checked.h"
#include "file.h"
#include "notes.h"

#define VHDX_MIB   (UINT64_C(1) << 20)
#define VHDX_ALIGN VHDX_MIB /* of all that lies behind the header section */

enum { VHDX_GUID_TEXT = 37 }; /* "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", lower case, with its end */

/* A part of the file, bytes. */
struct vhdx_range {
    uint64_t offset, length;
};

/* The current header. */
struct vhdx_header {
    char data_write_id[VHDX_GUID_TEXT]; /* changes with the disk's content: what a child names */
    bool dirty;                         /* the log must be replayed */
    uint8_t log_guid[16];               /* of its entries */
    struct vhdx_range log;              /* inside the file; length 0: none */
};

struct vhdx_regions {
    struct vhdx_range bat, metadata; /* inside the file, apart from each other and from the log */
};

/* The relative path, the volume's and the absolute one. */
enum { VHDX_PARENT_NAMES = 3 };

struct vhdx_metadata {
    uint64_t size;        /* of the disk, bytes; whole logical sectors */
    uint32_t block_size;  /* bytes; a power of two, 1 to 256 MiB */
    uint32_t sector_size; /* logical, 512 or 4096 */
    bool fixed;
    bool has_parent;                 /* then the parent's name and ids are set */
    char *parent[VHDX_PARENT_NAMES]; /* owned; paths with slashes, in the order in which they are tried; the
                                        rest is NULL */
    char parent_id[VHDX_GUID_TEXT];
    char parent_id2[VHDX_GUID_TEXT]; /* "" when there is no second one */
};

/* [MS-VHDX] 2.2.2. Reads both headers and takes the current one. */
int vhdx_header_read(struct file *file, struct vhdx_header *ret, struct notes *notes, struct fault *fault);
/* 2.2.3. `file` is the one with the log replayed. */
int vhdx_regions_read(struct file *file, const struct vhdx_header *h, struct vhdx_regions *ret,
                      struct notes *notes, struct fault *fault);
/* 2.6. In vhdx-metadata.c. */
int vhdx_metadata_read(struct file *file, const struct vhdx_range *region, struct vhdx_metadata *ret,
                       struct fault *fault);
void vhdx_metadata_done(struct vhdx_metadata *m);

/* The text of 16 bytes in Microsoft's order. */
void vhdx_guid_text(const uint8_t guid[16], char ret[VHDX_GUID_TEXT]);

/* Do two ranges, both without overflow, have a byte in common? */
static inline bool vhdx_overlap(const struct vhdx_range *a, const struct vhdx_range *b)
{
    return a->length && b->length && a->offset < b->offset + b->length && b->offset < a->offset + a->length;
}
#endif
