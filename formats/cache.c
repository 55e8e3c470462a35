/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sharded hash tables, each with its lock and its own LRU list. A block that is being loaded stands in the
 * table, marked; who else wants it waits on the shard's condition. Memory is counted over all shards in one
 * atomic; who goes over the budget evicts from its own shard first and then from the others, one lock at a
 * time.
 *
 * Evicted blocks of the size that is needed just now are reused as they are, so that a stream of equal blocks
 * costs no malloc and no page faults. */
#include "cache.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { SHARDS = 16, BUCKETS = 512 };
enum { KEEP_USED_UP = 8 }; /* blocks, for a second reader */

enum entry_state { ENTRY_LOADING, ENTRY_READY, ENTRY_FAILED };

struct entry {
    struct cache_block block; /* first: cache_put() gets back from it to the entry */
    uint64_t owner;
    uint64_t id;
    struct entry *chain;         /* in its bucket */
    struct entry *newer, *older; /* in the LRU list; only while READY and not held */
    unsigned holders;            /* includes waiters */
    enum entry_state state;
    bool used_up; /* stands at the list's old end, and may go though the budget has room */
    int error;    /* FAILED */
    struct shard *shard;
    uint8_t *bytes; /* == block.data */
};

struct shard {
    pthread_mutex_t lock; /* protects everything of its entries but the bytes */
    pthread_cond_t loaded;
    struct entry *bucket[BUCKETS];
    struct entry *newest, *oldest;
    struct cache *cache;
};

struct cache {
    struct pool *pool;
    size_t budget;
    atomic_size_t used;
    atomic_uint used_up; /* blocks that are marked so and that nobody holds */
    struct shard shard[SHARDS];
};

uint64_t cache_owner_new(void)
{
    static atomic_uint_fast64_t last;
    return atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) + 1;
}

static uint64_t key_hash(uint64_t owner, uint64_t id)
{
    uint64_t h = (owner ^ (id * 0x9e3779b97f4a7c15u)) * 0xbf58476d1ce4e5b9u;
    return h ^ (h >> 29);
}

static struct shard *shard_of(struct cache *c, uint64_t hash)
{
    return &c->shard[hash % SHARDS];
}

static struct entry **bucket_of(struct shard *s, uint64_t hash)
{
    return &s->bucket[(hash / SHARDS) % BUCKETS];
}

static struct entry *find_locked(struct shard *s, uint64_t hash, uint64_t owner, uint64_t id)
{
    for (struct entry *e = *bucket_of(s, hash); e; e = e->chain)
        if (e->owner == owner && e->id == id)
            return e;
    return NULL;
}

static void lru_remove_locked(struct shard *s, struct entry *e)
{
    if (e->used_up)
        atomic_fetch_sub(&s->cache->used_up, 1);
    *(e->newer ? &e->newer->older : &s->newest) = e->older;
    *(e->older ? &e->older->newer : &s->oldest) = e->newer;
    e->newer = e->older = NULL;
}

static void lru_add_locked(struct shard *s, struct entry *e)
{
    e->older = s->newest;
    e->newer = NULL;
    *(s->newest ? &s->newest->newer : &s->oldest) = e;
    s->newest = e;
}

static void lru_add_oldest_locked(struct shard *s, struct entry *e)
{
    atomic_fetch_add(&s->cache->used_up, 1);
    e->newer = s->oldest;
    e->older = NULL;
    *(s->oldest ? &s->oldest->older : &s->newest) = e;
    s->oldest = e;
}

static void table_remove_locked(struct shard *s, struct entry *e)
{
    struct entry **p = bucket_of(s, key_hash(e->owner, e->id));
    while (*p != e)
        p = &(*p)->chain;
    *p = e->chain;
    e->chain = NULL;
}

static struct entry *entry_new(struct cache *c, size_t size)
{
    struct entry *e = malloc(sizeof *e);
    uint8_t *bytes = malloc(size ? size : 1);
    if (!e || !bytes) {
        free(e);
        free(bytes);
        return NULL;
    }
    *e = (struct entry){ .bytes = bytes, .block = { .data = bytes, .size = size } };
    atomic_fetch_add(&c->used, size + sizeof *e);
    return e;
}

static void entry_free(struct cache *c, struct entry *e)
{
    atomic_fetch_sub(&c->used, e->block.size + sizeof *e);
    free(e->bytes);
    free(e);
}

/* Takes the oldest block that nobody holds out of a shard; NULL when there is none. With `used_up` only one
 * of that size that is marked so. */
static struct entry *evict(struct shard *s, size_t used_up)
{
    pthread_mutex_lock(&s->lock);
    struct entry *e = s->oldest;
    if (e && used_up && (!e->used_up || e->block.size != used_up))
        e = NULL;
    if (e) {
        lru_remove_locked(s, e);
        table_remove_locked(s, e);
    }
    pthread_mutex_unlock(&s->lock);
    return e;
}

/* An entry with room for `size` bytes, after making room for it in the budget. No lock is held. */
static struct entry *entry_obtain(struct cache *c, struct shard *own, size_t size)
{
    struct entry *spare = NULL;
    unsigned start = (unsigned)(own - c->shard);
    /* Memory that was just read is still in the processor's caches, and needs no page faults. */
    for (unsigned i = 0; !spare && i < SHARDS && atomic_load(&c->used_up) > KEEP_USED_UP; i++)
        spare = evict(&c->shard[(start + i) % SHARDS], size);
    for (unsigned i = 0; i < SHARDS; i++) {
        struct shard *s = &c->shard[(start + i) % SHARDS];
        while (atomic_load(&c->used) + (spare ? 0 : size) > c->budget) {
            struct entry *e = evict(s, 0);
            if (!e)
                break;
            if (!spare && e->block.size == size)
                spare = e;
            else
                entry_free(c, e);
        }
    }
    return spare ? spare : entry_new(c, size);
}

static void insert_locked(struct shard *s, uint64_t hash, struct entry *e, uint64_t owner, uint64_t id)
{
    e->owner = owner;
    e->id = id;
    e->shard = s;
    e->state = ENTRY_LOADING;
    e->error = 0;
    e->used_up = false;
    e->holders = 1;
    e->chain = *bucket_of(s, hash);
    *bucket_of(s, hash) = e;
}

/* Drops one hold; true when the caller must free the entry (it isn't in the table any more). */
static bool release_locked(struct shard *s, struct entry *e)
{
    assert(e->holders > 0);
    if (--e->holders)
        return false;
    if (e->state == ENTRY_FAILED)
        return true;
    if (e->used_up)
        lru_add_oldest_locked(s, e);
    else
        lru_add_locked(s, e);
    return false;
}

static int wait_for_locked(struct cache *c, struct shard *s, struct entry *e, struct cache_block **ret)
{
    if (e->state == ENTRY_READY && !e->holders)
        lru_remove_locked(s, e);
    e->holders++;
    e->used_up = false;
    while (e->state == ENTRY_LOADING)
        pthread_cond_wait(&s->loaded, &s->lock);
    if (e->state == ENTRY_READY) {
        pthread_mutex_unlock(&s->lock);
        *ret = &e->block;
        return 0;
    }
    int error = e->error;
    bool last = release_locked(s, e);
    pthread_mutex_unlock(&s->lock);
    if (last)
        entry_free(c, e);
    return error;
}

static int load_into(struct cache *c, struct shard *s, struct entry *e, cache_load load, void *ctx,
                     struct cache_block **ret)
{
    int r = load(ctx, e->id, e->bytes, e->block.size);
    bool last = false;
    pthread_mutex_lock(&s->lock);
    if (r < 0) {
        e->state = ENTRY_FAILED;
        e->error = r;
        table_remove_locked(s, e);
        last = release_locked(s, e);
    } else {
        e->state = ENTRY_READY;
    }
    pthread_cond_broadcast(&s->loaded);
    pthread_mutex_unlock(&s->lock);
    if (last)
        entry_free(c, e);
    if (r >= 0)
        *ret = &e->block;
    return r < 0 ? r : 0;
}

int cache_get(struct cache *c, uint64_t owner, uint64_t id, size_t size, cache_load load, void *ctx,
              struct cache_block **ret)
{
    uint64_t hash = key_hash(owner, id);
    struct shard *s = shard_of(c, hash);
    pthread_mutex_lock(&s->lock);
    struct entry *e = find_locked(s, hash, owner, id);
    if (e)
        return wait_for_locked(c, s, e, ret);
    pthread_mutex_unlock(&s->lock);

    struct entry *fresh = entry_obtain(c, s, size);
    if (!fresh)
        return -ENOMEM;
    pthread_mutex_lock(&s->lock);
    e = find_locked(s, hash, owner, id);
    if (e) { /* someone was faster */
        int r = wait_for_locked(c, s, e, ret);
        entry_free(c, fresh);
        return r;
    }
    insert_locked(s, hash, fresh, owner, id);
    pthread_mutex_unlock(&s->lock);
    return load_into(c, s, fresh, load, ctx, ret);
}

static void put(struct cache *c, struct cache_block *block, bool used_up)
{
    struct entry *e = (struct entry *)(void *)block;
    struct shard *s = e->shard;
    pthread_mutex_lock(&s->lock);
    if (used_up) /* of several holders, one who is through with it is enough */
        e->used_up = true;
    bool last = release_locked(s, e);
    pthread_mutex_unlock(&s->lock);
    if (last)
        entry_free(c, e);
}

void cache_put(struct cache *c, struct cache_block *block)
{
    put(c, block, false);
}

void cache_put_used(struct cache *c, struct cache_block *block)
{
    put(c, block, true);
}

int cache_pass_by(struct cache *c, uint64_t owner, uint64_t id, void *buf, size_t size, cache_load load,
                  void *ctx)
{
    struct cache_block *b = cache_peek(c, owner, id);
    if (!b)
        return load(ctx, id, buf, size);
    memcpy(buf, b->data, size);
    cache_put(c, b);
    return 0;
}

struct cache_block *cache_peek(struct cache *c, uint64_t owner, uint64_t id)
{
    uint64_t hash = key_hash(owner, id);
    struct shard *s = shard_of(c, hash);
    pthread_mutex_lock(&s->lock);
    struct entry *e = find_locked(s, hash, owner, id);
    if (e && e->state != ENTRY_READY)
        e = NULL;
    if (e && !e->holders)
        lru_remove_locked(s, e);
    if (e) {
        e->holders++;
        e->used_up = false;
    }
    pthread_mutex_unlock(&s->lock);
    return e ? &e->block : NULL;
}

struct prefetch_job {
    struct cache *cache;
    uint64_t owner;
    uint64_t id;
    size_t size;
    cache_load load;
    void *ctx;
};

static void prefetch_run(void *arg)
{
    struct prefetch_job *j = arg;
    struct cache_block *b;
    if (cache_get(j->cache, j->owner, j->id, j->size, j->load, j->ctx, &b) == 0)
        cache_put(j->cache, b);
}

void cache_prefetch(struct cache *c, uint64_t owner, uint64_t id, size_t size, cache_load load, void *ctx)
{
    uint64_t hash = key_hash(owner, id);
    struct shard *s = shard_of(c, hash);
    if (!c->pool)
        return;
    pthread_mutex_lock(&s->lock);
    bool there = find_locked(s, hash, owner, id) != NULL;
    pthread_mutex_unlock(&s->lock);
    struct prefetch_job *j = there ? NULL : malloc(sizeof *j);
    if (!j)
        return;
    *j = (struct prefetch_job){ c, owner, id, size, load, ctx };
    pool_submit(c->pool, prefetch_run, j);
}

size_t cache_used(struct cache *c)
{
    return atomic_load(&c->used);
}

struct cache *cache_new(size_t budget_bytes, struct pool *pool)
{
    struct cache *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->budget = budget_bytes;
    c->pool = pool;
    for (unsigned i = 0; i < SHARDS; i++) {
        c->shard[i].cache = c;
        pthread_mutex_init(&c->shard[i].lock, NULL);
        pthread_cond_init(&c->shard[i].loaded, NULL);
    }
    return c;
}

void cache_free(struct cache *c)
{
    if (!c)
        return;
    for (unsigned i = 0; i < SHARDS; i++) {
        struct entry *e;
        while ((e = evict(&c->shard[i], 0)))
            entry_free(c, e);
        pthread_mutex_destroy(&c->shard[i].lock);
        pthread_cond_destroy(&c->shard[i].loaded);
    }
    assert(atomic_load(&c->used) == 0);
    free(c);
}
