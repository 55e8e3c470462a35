/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_DIRECT_MMAP_H
#define FERRYFS_DIRECT_MMAP_H
/* Shared mappings of files that are opened for direct I/O.
 *
 * Linux 6.6 and later allow them when the server asks for it in its answer to FUSE_INIT
 * (FUSE_DIRECT_IO_ALLOW_MMAP, bit 36 of the flags). libfuse learned that bit in 3.17; older ones, like Debian
 * 12's, don't pass it on. So the first request and its answer are looked at on their way through the device.
 * Source: Linux' include/uapi/linux/fuse.h. */
#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

struct direct_mmap {
    bool offered; /* the kernel can do it */
    bool asked;   /* our answer was sent */
    unsigned char answer[256];
};

/* Looks at a request that was just read. */
void direct_mmap_request(struct direct_mmap *m, const void *buf, size_t n);
/* Looks at an answer that is about to be written; may put iov[1] into m->answer with the bit added. FUSE_INIT
 * is answered before any other request is read, so nothing else runs at that time. */
void direct_mmap_answer(struct direct_mmap *m, struct iovec *iov, int count);
#endif
