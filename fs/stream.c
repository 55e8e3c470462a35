/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "stream.h"

#include "../formats/checked.h"

#include <stdatomic.h>
#include <stdlib.h>

enum {
    CHUNK = 512 << 10,    /* small enough to stay in a core's cache until it was sent */
    WINDOW_MIN = 1 << 20, /* for the first read in sequence */
    WINDOW_MAX = 4 << 20, /* enough for as many workers as there are, and little of the cache */
    NEAR = 1 << 20,       /* requests of one reader arrive a little out of order */
    SKIP_MAX = 1 << 30,   /* how far behind a hole the next data is looked for in one go */
    ZEROS = 1 << 20,      /* the largest request of the kernel */
};

/* Never written, so all of it is one page, the kernel's own. */
static const uint8_t zeros[ZEROS] __attribute__((aligned(4096)));

void stream_init(struct stream *s, struct view *view, struct cache *cache, struct pool *pool)
{
    *s = (struct stream){ .view = view, .cache = cache, .pool = pool };
    pthread_mutex_init(&s->lock, NULL);
    s->users = 1; /* who opened it */
}

static void take(struct stream *s)
{
    pthread_mutex_lock(&s->lock);
    s->users++;
    pthread_mutex_unlock(&s->lock);
}

static void drop(struct stream *s)
{
    pthread_mutex_lock(&s->lock);
    bool last = !--s->users;
    pthread_mutex_unlock(&s->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&s->lock);
    s->idle(s);
}

void stream_done(struct stream *s, void (*idle)(struct stream *s))
{
    s->idle = idle;
    s->closing = true;
    drop(s);
}

static uint64_t get(_Atomic uint64_t *p)
{
    return atomic_load_explicit(p, memory_order_relaxed);
}

static void set(_Atomic uint64_t *p, uint64_t value)
{
    atomic_store_explicit(p, value, memory_order_relaxed);
}

/* ---- chunks ---- */

static int load_chunk(void *ctx, uint64_t id, void *buf, size_t size)
{
    struct view *v = ctx;
    uint64_t off = id * CHUNK;
    size_t n = (size_t)min_u64(size, v->layout.size - off);
    return view_pread(v, buf, n, off);
}

/* Of a chunk that was read to its end the reader wants no more. */
static void put_chunks(struct stream *s, const struct loan *l)
{
    struct cache *cache = s->cache;
    for (unsigned i = 0; i < l->n; i++) {
        struct cache_block *b = l->held[i];
        const uint8_t *end = (const uint8_t *)l->part[i].iov_base + l->part[i].iov_len;
        if (b && end == b->data + CHUNK)
            cache_put_used(cache, b);
        else if (b)
            cache_put(cache, b);
    }
}

/* The bytes at `off` of one chunk, as the next part of the loan. */
static bool lend_part(struct stream *s, uint64_t off, size_t len, struct loan *l)
{
    struct cache_block *b;
    if (l->n == LOAN_PARTS ||
        cache_get(s->cache, s->view->owner, off / CHUNK, CHUNK, load_chunk, s->view, &b) < 0)
        return false;
    l->held[l->n] = b;
    l->part[l->n++] = (struct iovec){ (void *)(size_t)(b->data + off % CHUNK), len };
    return true;
}

/* A chunk that can't be made has damage somewhere: false, and the reader gets what of his range is right. */
static bool lend_chunks(struct stream *s, uint64_t off, size_t len, struct loan *l)
{
    while (len) {
        size_t n = (size_t)min_u64(len, CHUNK - off % CHUNK);
        if (!lend_part(s, off, n, l)) {
            put_chunks(s, l);
            return false;
        }
        off += n;
        len -= n;
    }
    return true;
}

/* ---- read-ahead ---- */

struct chunk_job {
    struct stream *stream;
    uint64_t chunk;
};

static void make_chunk(void *arg)
{
    const struct chunk_job *job = arg;
    struct stream *s = job->stream;
    struct cache_block *b;
    if (!s->closing && cache_get(s->cache, s->view->owner, job->chunk, CHUNK, load_chunk, s->view, &b) == 0)
        cache_put(s->cache, b);
    drop(s);
}

static void ask_for_chunk(struct stream *s, uint64_t chunk)
{
    struct chunk_job *job = malloc(sizeof *job);
    if (!job)
        return;
    *job = (struct chunk_job){ s, chunk };
    take(s);
    if (!pool_submit(s->pool, make_chunk, job))
        drop(s);
}

/* Asks for the chunks of the next `window` bytes from `from` on that aren't zeros, once half of them are no
 * longer ahead: fewer and larger batches wake the workers less often. */
static void read_ahead(struct stream *s, uint64_t from, uint64_t window)
{
    uint64_t size = s->view->layout.size, at = get(&s->ahead);
    if (at < from || at > from + window + SKIP_MAX)
        at = round_up(from, CHUNK); /* the reader began, or went elsewhere */
    else if (at - from > window / 2)
        return;
    uint64_t limit = from + min_u64(window + SKIP_MAX, size - from);
    for (uint64_t asked = min_u64(at - from, window); asked < window && at < limit; asked += CHUNK) {
        at = view_skip_zeros(s->view, at, limit);
        if (at >= limit)
            break;
        ask_for_chunk(s, at / CHUNK);
        at = (at / CHUNK + 1) * CHUNK;
    }
    set(&s->ahead, at);
}

/* Is `off` where a reader in sequence would go on: at once, or behind the zeros that he passed over? */
static bool goes_on(const struct stream *s, uint64_t next, uint64_t off)
{
    if (off <= next + NEAR && next <= off + NEAR)
        return true;
    return off > next && off - next <= SKIP_MAX && view_skip_zeros(s->view, next, off) / CHUNK >= off / CHUNK;
}

/* Follows the reader; true when he reads in sequence. */
static bool follow(struct stream *s, uint64_t off, size_t len)
{
    uint64_t window = get(&s->window);
    bool in_sequence = off && goes_on(s, get(&s->next), off);
    set(&s->next, off + len);
    if (in_sequence)
        set(&s->window, window ? min_u64(window * 2, WINDOW_MAX) : WINDOW_MIN);
    else if (window)
        set(&s->window, 0);
    return in_sequence;
}

/* The answer was sent, so nobody waits for what is done here. */
static void after(struct loan *l)
{
    struct stream *s = l->ctx;
    put_chunks(s, l);
    uint64_t window = get(&s->window);
    if (window && l->next < s->view->layout.size)
        read_ahead(s, l->next, window);
    drop(s);
}

bool stream_lend(struct stream *s, uint64_t off, size_t len, struct loan *ret)
{
    bool in_sequence = follow(s, off, len);
    *ret = (struct loan){ .done = after, .ctx = s, .next = off + len };
    if (len <= ZEROS && view_skip_zeros(s->view, off, off + len) == off + len) {
        ret->n = 1;
        ret->part[0] = (struct iovec){ (void *)(size_t)zeros, len };
    } else if (!in_sequence || !lend_chunks(s, off, len, ret)) {
        return false;
    }
    take(s); /* the file may be closed as soon as the answer was sent */
    return true;
}
