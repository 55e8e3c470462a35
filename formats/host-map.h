/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_HOST_MAP_H
#define FERRYFS_HOST_MAP_H
/* Where an open file of the host has data, by what its file system says, many extents at a time; the last
 * answers are remembered. Any thread; a call may block on the I/O of the file system, without a lock.
 *
 *     host_map_init(&m, fd, size);
 *     host_map_at(&m, off, len, &e);       DATA or HOLE
 *     host_map_done(&m);                   before fd is closed
 */
#include "extent.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct host_batch;

enum { HOST_BATCHES = 4 };

/* How the file system is asked. */
enum host_asking {
    HOST_NEVER,  /* all is data */
    HOST_SEEK,   /* SEEK_DATA and SEEK_HOLE: what the page cache holds has a say in it */
    HOST_FIEMAP, /* FIEMAP: the same answers for ever, as the file isn't written */
};

struct host_map {
    int fd; /* borrowed */
    uint64_t size;
    enum host_asking asking;
    bool flush_first;                       /* FIEMAP doesn't tell of all data that isn't on the disk yet */
    _Atomic bool flushed;                   /* all is on the disk */
    pthread_mutex_t lock;                   /* protects what follows */
    struct host_batch *batch[HOST_BATCHES]; /* owned */
    unsigned next;                          /* which of them is replaced next */
};

/* `size`: of the file when it was opened, bytes. */
void host_map_init(struct host_map *m, int fd, uint64_t size);
void host_map_done(struct host_map *m);
/* off < size, 0 < len <= size - off. Where the file system gives no answer it is DATA, which is always safe.
 * 1 <= ret->length <= len; a run of data may go on behind it. */
void host_map_at(struct host_map *m, uint64_t off, uint64_t len, struct extent *ret);
#endif
