/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_LATE_WRITES_H
#define FERRYFS_LATE_WRITES_H
/* Writes that the disk has refused, kept until it takes them.
 *
 * A library that changes a file system by many small writes can't take one of them back: where the host's
 * disk is full in the middle of an operation, half of it lies on the disk. So to the library the write
 * succeeds; its bytes wait here, are part of all that is read through here, and go to the disk, in their
 * order, before anything else does. Whoever begins an operation asks late_writes_settle() first, and begins
 * none while something waits; so it is one operation's writes that wait, at most LATE_WRITES_BYTES. Whoever
 * calls the disk consistent (a sync) asks the same.
 *
 * Locking: one writer at a time (the volume's lock), beside any readers. */
#include "../formats/disk.h"

#include <stdatomic.h>

#include <pthread.h>

enum { LATE_WRITES_BYTES = 64 << 20 };

struct late_write;

struct late_writes {
    struct disk *disk;    /* not owned */
    pthread_mutex_t lock; /* protects what follows; held over the disk's calls while something waits */
    struct late_write *first, **end;
    atomic_size_t waiting; /* bytes */
    int error;             /* what the disk said last; while something waits */
    bool lost;             /* a write was refused that could not be kept either */
};

void late_writes_init(struct late_writes *l, struct disk *disk);
/* What still waits is dropped. */
void late_writes_done(struct late_writes *l);
/* As disk_pread() with what waits in its place. */
int late_writes_read(struct late_writes *l, void *buf, size_t len, uint64_t off);
/* As disk_pwrite(), but what the disk refuses is kept: 0. -errno: it can't be kept, and what lies on the disk
 * is half an operation for good. */
int late_writes_put(struct late_writes *l, const void *buf, size_t len, uint64_t off);
/* Is something waiting: what the disk said, else 0. */
int late_writes_error(struct late_writes *l);
/* Writes what waits. 0: nothing does any more. What the disk says; -EIO once something was lost. */
int late_writes_settle(struct late_writes *l);
#endif
