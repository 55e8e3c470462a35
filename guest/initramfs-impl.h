/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_INITRAMFS_IMPL_H
#define FERRYFS_INITRAMFS_IMPL_H
/* What initramfs.c and initramfs-add.c share; others include initramfs.h. */
#include "initramfs.h"

/* The modules that initramfs-tools' init loads, one a line. */
#define INITRAMFS_TOOLS_LIST "conf/modules"

enum {
    INITRAMFS_TAIL = 260,        /* bytes: the last entry of an archive of ours, and its TRAILER!!! */
    INITRAMFS_TAIL_DIGITS = 120, /* where that entry's data is: 16 digits */
};
/* That entry: the image had `end` bytes before. */
void initramfs_put_tail(struct cpio_out *o, uint64_t end);
/* Where the last block of an lz4 stream at `at` ends, at most at `end`. */
int initramfs_lz4_end(const struct initramfs_file *f, uint64_t at, uint64_t end, uint64_t *ret);
#endif
