/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_POOL_H
#define FERRYFS_POOL_H
/* A few worker threads with a bounded queue, for work that nobody waits for (read-ahead). */
#include <stdbool.h>

struct pool;

/* `threads` >= 1. Threads are started with the first job, so a pool may be made before a fork. NULL: no
 * memory. */
struct pool *pool_new(unsigned threads);
/* Runs fn(arg) on a worker some time later, then free(arg). False when the queue is full or no thread can be
 * started: arg was freed and fn isn't called. `pool` may be NULL (false). */
bool pool_submit(struct pool *pool, void (*fn)(void *arg), void *arg);
/* Waits for what runs and runs what is queued, since it may hold something. NULL is fine. */
void pool_free(struct pool *pool);
#endif
