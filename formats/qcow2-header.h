/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_QCOW2_HEADER_H
#define FERRYFS_QCOW2_HEADER_H
/* The qcow2 header with its extensions, read and checked into host-endian values. Nothing behind it sees a
 * raw header field. */
#include "fault.h"
#include "file.h"

#include <stdbool.h>
#include <stdint.h>

#define QCOW2_MAGIC 0x514649fbu /* "QFI\xfb"; version 1 has it too */

struct qcow2_header {
    unsigned version;      /* 2 or 3 */
    unsigned cluster_bits; /* 9..21 */
    uint64_t cluster_size; /* bytes */
    uint64_t size;         /* of the guest's disk, bytes; not always whole sectors */

    uint64_t l1_offset; /* cluster aligned; 0 only for an empty disk */
    uint32_t l1_size;   /* entries, at least what `size` needs */

    uint64_t refcount_offset; /* cluster aligned */
    uint64_t refcount_bytes;  /* of the refcount table; it lies inside the file */
    unsigned refcount_order;  /* a refcount has 1 << order bits; 0..6 */

    uint64_t snapshots_offset; /* of the table of internal snapshots; not checked */
    uint32_t n_snapshots;

    uint64_t bitmaps_offset, bitmaps_size; /* of the directory of bitmaps, bytes; not checked */
    uint32_t n_bitmaps;
    bool bitmaps_consistent; /* nobody has written the disk without keeping them */

    bool corrupt;       /* QEMU found damage and said so in the header */
    bool zstd;          /* compressed clusters are zstd, else raw deflate */
    bool extended_l2;   /* 32 subclusters a cluster */
    bool data_file;     /* guest data lies in another file */
    bool data_file_raw; /* ... which by itself is the whole raw disk */

    char *backing_name;                      /* owned; a path; NULL: none */
    bool backing_part;                       /* not the whole of that file, but: */
    uint64_t backing_offset, backing_length; /* bytes; length UINT64_MAX: to its end */
    char *backing_format; /* owned; one of our formats' names or QEMU's for what we don't know; NULL: none
                             stated */
    char *data_file_name; /* owned; a path; set when data_file is */
};

/* Reads and checks the header. EUCLEAN damaged, ENODATA cut short, ENOTSUP version 1, encryption, unknown
 * incompatible features, EFBIG tables over QEMU's limits, EPERM a reference that is no path. On success the
 * caller ends with qcow2_header_done(); on failure *ret is untouched. Reads at most one cluster. */
int qcow2_header_read(struct file *file, struct qcow2_header *ret, struct fault *fault);
void qcow2_header_done(struct qcow2_header *h);

/* How many guest bytes one L1 entry stands for. */
uint64_t qcow2_l1_coverage(const struct qcow2_header *h);
#endif
