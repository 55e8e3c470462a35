/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_CACHE_H
#define FERRYFS_CACHE_H
/* One cache for everything that is dear to make and cheap to drop: decompressed clusters and grains, pieces
 * of allocation tables. Bounded in bytes over all users (`cache=`); least recently used go first.
 *
 *     struct cache_block *b;
 *     int r = cache_get(cache, driver->owner, grain, grain_bytes, load_grain, driver, &b);
 *     if (r < 0) return r;
 *     memcpy(buf, b->data + within, n);
 *     cache_put(cache, b);
 *
 * However many threads ask for one block at once, it is loaded once. Any thread, no locks held while loading.
 * A block stays valid, and constant, until its cache_put(). Blocks that are held count, but can't be dropped:
 * the bound can be passed by what the threads hold at the moment. */
#include "pool.h"

#include <stddef.h>
#include <stdint.h>

struct cache;

struct cache_block {
    const uint8_t *data;
    size_t size; /* bytes */
};

/* Fills buf (size bytes) with block `id`; 0 or -errno, which cache_get() hands to everyone who waits. A
 * failure isn't kept: the next cache_get() tries again. */
typedef int (*cache_load)(void *ctx, uint64_t id, void *buf, size_t size);

/* `pool` serves cache_prefetch and may be NULL. NULL: no memory. */
struct cache *cache_new(size_t budget_bytes, struct pool *pool);
/* All blocks have been put, and the pool is gone. */
void cache_free(struct cache *cache);

/* Requests of so many bytes come from who reads a disk once and in large pieces: whole blocks of theirs are
 * better made in the caller's buffer than kept here. */
enum { CACHE_PASS_BY = 256 << 10 };
/* Fills buf with block `id` as cache_get() would, from the cache if it is there by now, but doesn't keep it.
 */
int cache_pass_by(struct cache *c, uint64_t owner, uint64_t id, void *buf, size_t size, cache_load load,
                  void *ctx);
/* cache_put() of a block that its reader is through with: it is dropped or used again before others, though
 * not at once, for there may be a second reader close behind. */
void cache_put_used(struct cache *c, struct cache_block *block);
/* The block if it is there by now, else NULL: neither waits nor loads. */
struct cache_block *cache_peek(struct cache *c, uint64_t owner, uint64_t id);

/* A number that tells one user of caches from every other, also from one that is gone: what a closed image
 * left behind must never be found by the next. A user with several kinds of blocks takes one for each. Never
 * 0. */
uint64_t cache_owner_new(void);

/* (owner, id) names a block, whose size never differs between calls. */
int cache_get(struct cache *cache, uint64_t owner, uint64_t id, size_t size, cache_load load, void *ctx,
              struct cache_block **ret);
void cache_put(struct cache *cache, struct cache_block *block);
/* Loads a block in the background if it isn't there; never waits. `ctx` must stay valid until the pool is
 * freed. */
void cache_prefetch(struct cache *cache, uint64_t owner, uint64_t id, size_t size, cache_load load,
                    void *ctx);
/* How many bytes are held at the moment (for tests and info.json). */
size_t cache_used(struct cache *cache);
#endif
