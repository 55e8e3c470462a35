/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_VHD_HEADER_H
#define FERRYFS_VHD_HEADER_H
/* A VHD's footer, dynamic header and parent locators, as checked plain values. */
#include "image.h"

enum vhd_type { VHD_FIXED = 2, VHD_DYNAMIC = 3, VHD_DIFFERENCING = 4 };
enum { VHD_SECTOR = 512, VHD_ID = 40 };

struct vhd_header {
    enum vhd_type type;
    uint64_t size;   /* of the disk, bytes; whole sectors, not 0 */
    uint64_t end;    /* of what isn't footer, bytes in the file: no data lies behind it */
    char id[VHD_ID]; /* the footer's unique id, as text */

    /* Not VHD_FIXED: */
    uint64_t header_offset; /* of the dynamic header */
    uint64_t bat_offset;    /* the BAT lies in the file */
    uint64_t bat_entries;   /* at least `blocks` */
    uint64_t blocks;        /* that the disk has */
    uint32_t block_size;    /* bytes of a block's data; a power of two */
    uint32_t bitmap_size;   /* bytes of a block's sector bitmap, which stands before its data */

    /* VHD_DIFFERENCING: */
    char parent_id[VHD_ID];
    char *parent_name; /* owned; with '/' */
};

/* -EUCLEAN damaged, -ENODATA truncated, -ENOTSUP another type or version. Odd things that could be read are
 * noted. */
int vhd_header_read(struct file *file, struct vhd_header *ret, struct notes *notes, struct fault *fault);
void vhd_header_done(struct vhd_header *h);

/* The bid: see vhd-header.c. */
unsigned vhd_header_probe(const struct probe *p);
#endif
