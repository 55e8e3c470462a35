/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_EXTENT_H
#define FERRYFS_EXTENT_H
/* What a run of bytes is. An extent's kind is an answer, never an error code. */
#include <stdbool.h>
#include <stdint.h>

enum extent_kind {
    EXTENT_DATA, /* stored bytes */
    EXTENT_ZERO, /* the format says zeros */
    EXTENT_HOLE, /* nothing here: in a layer, ask the layer below; in a whole disk, zeros */
};

/* So many entries of a table, passed in a loop, are one unit of effort; or so many bytes of it, read. */
enum { EFFORT_ENTRIES = 16, EFFORT_READ = 256 };

struct extent {
    uint64_t length; /* bytes from the offset asked for; never 0 */
    enum extent_kind kind;
    unsigned depth;  /* which link of the chain answered, 0 = the top */
    bool compressed; /* DATA that is stored compressed */
    uint64_t at;     /* of a layer's DATA: where it lies, as the layer's own pread wants to know it */
    unsigned effort; /* what finding it took, beside one look at a table: entries passed, links of a chain,
                        calls of the system; in units of some 100 ns, for those who bound a walk. A property
                        of the image, never of what a cache happens to hold */
};
#endif
