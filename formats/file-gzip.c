/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A gzip file read at random.
 *
 * The size must be known when the file is opened: every format checks its offsets against it, and looks for
 * footers at the end. Gzip doesn't say it (ISIZE counts modulo 4 GiB, and only the last member), the OVF's
 * sizes are known to lie, and what the image's own header states is not to be believed before it is checked.
 * So the file is inflated once, wholly, when it is opened: that costs seconds for each GB, finds damage while
 * it can still be refused by byte, and leaves the index of gzip-index.c.
 *
 * Reading goes by chunks of GZIP_CHUNK through the cache, each inflated once however many wait for it:
 *
 *     content:  |   |   |   |   |   |   |   |   |        chunks
 *               ^ point         ^ point
 *                       ^ cursor: an inflater that stopped where an earlier chunk ended
 *
 * A chunk is inflated from the nearest point or idle cursor before it. Within the span of one point deflate
 * can only go forwards, so who wants a later chunk waits for those at work on earlier ones, and then takes
 * the cursor that they leave; different spans are inflated in parallel. A reader in sequence so inflates
 * every byte once. */
#include "file-gzip.h"
#include "checked.h"
#include "gzip-index.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <zlib.h>

enum {
    CURSORS = 2,   /* idle ones kept; each has about 60 KiB */
    INPUT = 16384, /* bytes read at a time */
    TRAILER = 8,   /* CRC-32 and length after each member; checked when the file was opened */
    AHEAD = 16,    /* chunks: as much as a view reads ahead */
};

struct cursor {
    z_stream z;
    uint64_t out;   /* byte of the content that comes next */
    uint64_t in_at; /* byte of the stored file that is to be read next */
    bool raw;       /* it began inside a member, past the header: zlib doesn't see the trailer */
    uint8_t in[INPUT];
};

/* A chunk that a thread is to inflate; on its stack. */
struct request {
    uint64_t chunk;
    struct request *next;
};

struct file_gzip {
    struct file file;
    struct file *stored;
    struct gzip_index *ix;
    struct cache *cache;
    uint64_t owner;
    pthread_mutex_t lock; /* protects what follows; never held while anything is read or inflated */
    pthread_cond_t ended; /* a request has */
    struct request *requests;
    struct cursor *idle[CURSORS]; /* NULL: none; the first was used last */
};

static struct file_gzip *gzip_of(struct file *f)
{
    return (struct file_gzip *)(void *)f;
}

/* ---- cursors ---- */

static void cursor_free(struct cursor *c)
{
    if (!c)
        return;
    inflateEnd(&c->z);
    free(c);
}

/* Begins inside a member: what zlib would know had it read all before. */
static int enter_block(struct file_gzip *g, struct cursor *c, const struct gzip_point *p)
{
    uint8_t window[GZIP_WINDOW], before;
    int r = gzip_point_window(p, window);
    if (r < 0)
        return r;
    if (p->bits) {
        r = file_pread(g->stored, &before, 1, p->in - 1);
        if (r < 0)
            return r;
        if (inflatePrime(&c->z, (int)p->bits, before >> (8 - p->bits)) != Z_OK)
            return -EIO;
    }
    return inflateSetDictionary(&c->z, window, sizeof window) == Z_OK ? 0 : -EIO;
}

static int cursor_new(struct file_gzip *g, const struct gzip_point *p, struct cursor **ret)
{
    struct cursor *c = calloc(1, sizeof *c);
    if (!c)
        return -ENOMEM;
    c->raw = p->out > 0;
    c->out = p->out;
    c->in_at = p->in;
    if (inflateInit2(&c->z, c->raw ? -MAX_WBITS : 16 + MAX_WBITS) != Z_OK) {
        free(c);
        return -ENOMEM;
    }
    int r = c->raw ? enter_block(g, c, p) : 0;
    if (r < 0)
        cursor_free(c);
    else
        *ret = c;
    return r;
}

/* There is content to come, so the input can't end before it. */
static int refill(struct file_gzip *g, struct cursor *c)
{
    if (c->z.avail_in)
        return 0;
    size_t n = (size_t)min_u64(sizeof c->in, g->stored->size - c->in_at);
    int r = n ? file_pread(g->stored, c->in, n, c->in_at) : -EIO;
    if (r < 0)
        return r;
    c->z.next_in = c->in;
    c->z.avail_in = (uInt)n;
    c->in_at += n;
    return 0;
}

static int next_member(struct file_gzip *g, struct cursor *c)
{
    for (uInt left = c->raw ? TRAILER : 0; left;) {
        int r = refill(g, c);
        if (r < 0)
            return r;
        uInt n = left < c->z.avail_in ? left : c->z.avail_in;
        c->z.next_in += n;
        c->z.avail_in -= n;
        left -= n;
    }
    c->raw = false;
    return inflateReset2(&c->z, 16 + MAX_WBITS) == Z_OK ? 0 : -EIO;
}

/* The next `len` bytes of the content. The whole file was fine when it was opened, so every error is EIO. */
static int cursor_read(struct file_gzip *g, struct cursor *c, uint8_t *buf, size_t len)
{
    c->z.next_out = buf;
    c->z.avail_out = (uInt)len;
    while (c->z.avail_out) {
        int r = refill(g, c);
        if (r < 0)
            return r;
        int z = inflate(&c->z, Z_NO_FLUSH);
        if (z != Z_OK && z != Z_STREAM_END)
            return z == Z_MEM_ERROR ? -ENOMEM : -EIO;
        if (z == Z_STREAM_END && c->z.avail_out && (r = next_member(g, c)) < 0)
            return r;
        if (z == Z_STREAM_END && !c->z.avail_out) { /* only now is the member at its end */
            c->out += len;
            return c->out < g->file.size ? next_member(g, c) : 0;
        }
    }
    c->out += len;
    return 0;
}

/* ---- chunks ---- */

static size_t chunk_size(const struct file_gzip *g, uint64_t chunk)
{
    return (size_t)min_u64(GZIP_CHUNK, g->file.size - chunk * GZIP_CHUNK);
}

/* Is someone at work, or about to be, on an earlier chunk of the span that begins at `from`? */
static bool must_wait_locked(const struct file_gzip *g, uint64_t chunk, uint64_t from)
{
    for (const struct request *q = g->requests; q; q = q->next)
        if (q->chunk < chunk && (q->chunk + 1) * GZIP_CHUNK > from)
            return true;
    return false;
}

/* The idle cursor that is nearest before `start`, if it is nearer than the point; NULL: none is. */
static struct cursor *take_cursor_locked(struct file_gzip *g, uint64_t start, const struct gzip_point *p)
{
    struct cursor **best = NULL;
    for (size_t i = 0; i < CURSORS; i++) {
        struct cursor *c = g->idle[i];
        if (c && c->out <= start && c->out >= p->out && (!best || c->out > (*best)->out))
            best = &g->idle[i];
    }
    struct cursor *c = best ? *best : NULL;
    if (best)
        *best = NULL;
    return c;
}

/* Keeps it in the first place; gives back the one that has no place any more. */
static struct cursor *keep_cursor_locked(struct file_gzip *g, struct cursor *c)
{
    for (size_t i = 0; i < CURSORS && c; i++) {
        struct cursor *other = g->idle[i];
        g->idle[i] = c;
        c = other;
    }
    return c;
}

static int inflate_chunk(struct file_gzip *g, struct cursor *c, uint64_t start, uint8_t *buf, size_t size)
{
    while (c->out < start) {
        int r = cursor_read(g, c, buf, (size_t)min_u64(size, start - c->out));
        if (r < 0)
            return r;
    }
    return cursor_read(g, c, buf, size);
}

static void end_request_locked(struct file_gzip *g, const struct request *q)
{
    struct request **p = &g->requests;
    while (*p != q)
        p = &(*p)->next;
    *p = q->next;
    pthread_cond_broadcast(&g->ended);
}

static int load_chunk(void *ctx, uint64_t chunk, void *buf, size_t size)
{
    struct file_gzip *g = ctx;
    uint64_t start = chunk * GZIP_CHUNK;
    const struct gzip_point *p = gzip_index_find(g->ix, start);
    struct request q = { .chunk = chunk };
    pthread_mutex_lock(&g->lock);
    q.next = g->requests;
    g->requests = &q;
    while (must_wait_locked(g, chunk, p->out))
        pthread_cond_wait(&g->ended, &g->lock);
    struct cursor *c = take_cursor_locked(g, start, p);
    pthread_mutex_unlock(&g->lock);
    int r = c ? 0 : cursor_new(g, p, &c);
    if (!r)
        r = inflate_chunk(g, c, start, buf, size);
    pthread_mutex_lock(&g->lock);
    if (!r)
        c = keep_cursor_locked(g, c);
    end_request_locked(g, &q);
    pthread_mutex_unlock(&g->lock);
    cursor_free(c);
    return r == -ENODATA ? -EIO : r;
}

/* ---- the file ---- */

static int gzip_pread(struct file *f, void *buf, size_t len, uint64_t off)
{
    struct file_gzip *g = gzip_of(f);
    for (size_t done = 0; done < len;) {
        uint64_t chunk = (off + done) / GZIP_CHUNK;
        size_t within = (size_t)((off + done) % GZIP_CHUNK), size = chunk_size(g, chunk);
        size_t n = (size_t)min_u64(len - done, size - within);
        if (gzip_index_zero(g->ix, chunk)) {
            memset((uint8_t *)buf + done, 0, n);
        } else {
            struct cache_block *b;
            int r = cache_get(g->cache, g->owner, chunk, size, load_chunk, g, &b);
            if (r < 0)
                return r;
            memcpy((uint8_t *)buf + done, b->data + within, n);
            cache_put(g->cache, b);
        }
        done += n;
    }
    return 0;
}

static int gzip_map(struct file *f, uint64_t off, uint64_t len, struct extent *ret)
{
    const struct file_gzip *g = gzip_of(f);
    uint64_t chunk = off / GZIP_CHUNK, end = off + len;
    bool zero = gzip_index_zero(g->ix, chunk);
    do
        chunk++;
    while (chunk * GZIP_CHUNK < end && gzip_index_zero(g->ix, chunk) == zero);
    *ret = (struct extent){ .length = min_u64(end, chunk * GZIP_CHUNK) - off,
                            .kind = zero ? EXTENT_HOLE : EXTENT_DATA };
    return 0;
}

static void gzip_advise(struct file *f, uint64_t off, uint64_t len)
{
    struct file_gzip *g = gzip_of(f);
    uint64_t first = off / GZIP_CHUNK, end = min_u64(div_up(off + len, GZIP_CHUNK), first + AHEAD);
    for (uint64_t i = first; i < end; i++)
        if (!gzip_index_zero(g->ix, i))
            cache_prefetch(g->cache, g->owner, i, chunk_size(g, i), load_chunk, g);
}

static int gzip_open_ref(struct file *f, const char *role, const char *name, struct file **ret,
                         struct fault *fault)
{
    return file_open_ref(gzip_of(f)->stored, role, name, ret, fault);
}

static void gzip_close(struct file *f)
{
    struct file_gzip *g = gzip_of(f);
    for (size_t i = 0; i < CURSORS; i++)
        cursor_free(g->idle[i]);
    gzip_index_free(g->ix);
    file_unref(g->stored);
    pthread_cond_destroy(&g->ended);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

static const struct file_ops gzip_ops = {
    .name = "gzip",
    .pread = gzip_pread,
    .map = gzip_map,
    .advise = gzip_advise,
    .open_ref = gzip_open_ref,
    .close = gzip_close,
};

int file_gzip_probe(struct file *f, struct fault *fault)
{
    uint8_t magic[2];
    if (f->size < sizeof magic)
        return 0;
    int r = file_pread_what(f, magic, sizeof magic, 0, "its beginning", fault);
    return r < 0 ? r : magic[0] == 0x1f && magic[1] == 0x8b;
}

int file_gzip_new(struct file *stored, struct cache *cache, size_t *memory, struct notes *notes,
                  struct file **ret, struct fault *fault)
{
    _cleanup_(gzip_index_freep) struct gzip_index *ix = NULL;
    int r = gzip_index_build(stored, *memory, notes, &ix, fault);
    if (r < 0)
        return r;
    struct file_gzip *g = calloc(1, sizeof *g);
    char *name = strdup(stored->name);
    if (!g || !name) {
        free(g);
        free(name);
        return fault_in(fault, -ENOMEM, stored->name, "out of memory");
    }
    *memory = ix->memory;
    g->file = (struct file){ .ops = &gzip_ops, .refs = 1, .size = ix->size, .name = name, .id = stored->id };
    g->stored = file_ref(stored);
    g->ix = TAKE_PTR(ix);
    g->cache = cache;
    g->owner = cache_owner_new();
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->ended, NULL);
    *ret = &g->file;
    return 0;
}
