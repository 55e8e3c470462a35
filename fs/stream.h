/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_STREAM_H
#define FERRYFS_STREAM_H
/* Reading a view in sequence. Whoever copies a view asks for 128 KiB, waits, writes them, and asks for the
 * next; a stream uses that time: workers make the view's next chunks in the shared cache, and the answer is
 * lent from there, so that the thread that answers neither reads, inflates nor copies.
 *
 * Zeros need no chunk: they are lent from one page of them, and read-ahead passes over them, since whoever
 * copies does too (SEEK_DATA).
 *
 * One stream for each open file, all calls from any thread at once. Two streams of one view share what was
 * made. Memory is the cache's. */
#include "tree.h"

#include "../formats/cache.h"
#include "../formats/view.h"

#include <pthread.h>

struct stream {
    struct view *view;
    struct cache *cache;
    struct pool *pool;
    pthread_mutex_t lock; /* protects `users` */
    unsigned users;       /* the open file, answers that are being sent, read-ahead under way or queued */
    void (*idle)(struct stream *s);
    _Atomic bool closing; /* read-ahead needn't do anything any more */
    /* Hints only, so that threads may overwrite each other's: a wrong one costs time, never bytes. */
    _Atomic uint64_t next;  /* where a reader in sequence goes on */
    _Atomic uint64_t ahead; /* up to where chunks were asked for */
    _Atomic uint64_t
        window; /* bytes of read-ahead: doubles while the reader stays in sequence; 0: not in one */
};

/* `view` is used until stream_done() calls `idle`; `cache` and `pool` outlive that. */
void stream_init(struct stream *s, struct view *view, struct cache *cache, struct pool *pool);
/* The file was closed. `idle` is called once, now or when the last read-ahead is through, from any thread:
 * the stream is no more. Never waits: a worker may be waiting for the kernel, and the kernel for whoever
 * calls. */
void stream_done(struct stream *s, void (*idle)(struct stream *s));

/* Notes that [off, off+len) of the view is asked for, and lends it if it can without delay of others: zeros,
 * or chunks of a reader in sequence. True: *ret is filled in. False: the caller reads it by view_pread(). */
bool stream_lend(struct stream *s, uint64_t off, size_t len, struct loan *ret);
#endif
