/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_DIGEST_H
#define FERRYFS_DIGEST_H
/* SHA-256 of whole views, in threads of their own, so that a request which waits for one occupies none of the
 * threads that answer the others. Each is computed once, however many wait, and kept. */
#include "../formats/view.h"

#include <stdbool.h>
#include <stdint.h>

struct digest_job;

/* One view's; zeroed at first. Its fields belong to the digesters' lock. */
struct view_digest {
    bool known;
    uint8_t sum[32];
    struct digest_job *job; /* under way, or waiting for a thread */
};

/* Whoever waits. */
struct digest_waiter {
    struct digest_waiter *next; /* the digesters' */
    /* Called once, from any thread, with no lock held: 0 and the digest, or -errno: -EIO the data can't be
     * read, -EINTR it was given up or the mount ends. The view isn't used for this waiter any more. */
    void (*done)(struct digest_waiter *w, int r, const uint8_t sum[32]);
    /* Asked now and then, from any thread, with the digesters' lock held: does it still want to know? */
    bool (*given_up)(struct digest_waiter *w);
};

struct digesters;

/* Threads are started with the first question. NULL: no memory. */
struct digesters *digesters_new(unsigned threads);
/* Answers all who wait with -EINTR, and every later question too. */
void digesters_stop(struct digesters *ds);
void digesters_free(struct digesters *ds);

/* Asks for the digest of `view`, which must stay open until the waiter's `done`. */
void digest_ask(struct digesters *ds, struct view_digest *digest, struct view *view, struct digest_waiter *w);
#endif
