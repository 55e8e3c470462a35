/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_GZIP_INDEX_H
#define FERRYFS_GZIP_INDEX_H
/* Where in a gzip file one can begin to inflate, and how large what comes out is. Internal to file-gzip.c,
 * and constant once it is built. */
#include "cleanup.h"
#include "file.h"
#include "notes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    GZIP_CHUNK = 256 * 1024, /* what is inflated and cached at a time; bytes of content */
    GZIP_WINDOW = 32 * 1024, /* how far back deflate can refer (RFC 1951) */
    GZIP_SPAN = 1024 * 1024, /* between two points, at the least; bytes of content */
    GZIP_BLOCK_MAX =
        1 << 28, /* of one deflate block, in which no point can lie; real ones have below 10 MiB */
};
#define GZIP_MAX_SIZE (UINT64_C(16) << 40) /* of the content: a bit for each chunk of it is kept */

/* A place between two deflate blocks. The first point is the beginning of the file, and has no window. */
struct gzip_point {
    uint64_t out;    /* byte of the content that comes next */
    uint64_t in;     /* the next whole byte of the gzip file */
    unsigned bits;   /* so many of the byte before it, the high ones, come first */
    uint32_t packed; /* bytes of `window`; GZIP_WINDOW: it is stored as it is */
    uint8_t *window; /* owned: the GZIP_WINDOW bytes of content before `out`, deflated */
};

struct gzip_index {
    struct gzip_point *points; /* by rising `out` */
    size_t n, room;
    uint64_t span;    /* bytes of content between points, about */
    uint64_t size;    /* of the content */
    uint8_t *zero;    /* a bit for each chunk: it holds nothing but zeros */
    size_t zero_room; /* bytes of `zero` */
    size_t memory;    /* bytes, all together */
};

/* Inflates the whole file once. The points with their windows take at most `max` bytes. -ENODATA truncated,
 * -EUCLEAN damaged (checksums and lengths of all members fit, or this), -ENOTSUP a block over the limit,
 * -EFBIG, -EIO, -ENOMEM. What follows the last member is ignored as gzip(1) does, with a note unless it is
 * zeros. */
int gzip_index_build(struct file *stored, size_t max, struct notes *notes, struct gzip_index **ret,
                     struct fault *fault);
void gzip_index_free(struct gzip_index *ix);
DEFINE_CLEANUP(struct gzip_index *, gzip_index_free)

/* The last point at or before this byte of the content. */
const struct gzip_point *gzip_index_find(const struct gzip_index *ix, uint64_t out);
/* The window of a point other than the first. -ENOMEM, -EIO. */
int gzip_point_window(const struct gzip_point *p, uint8_t ret[GZIP_WINDOW]);
static inline bool gzip_index_zero(const struct gzip_index *ix, uint64_t chunk)
{
    return ix->zero[chunk / 8] >> chunk % 8 & 1;
}
#endif
