/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pages of a hive. A table has a pointer per page; a page that is there is either clean and in the list of
 * use (the least recently used goes first when the bound is passed), or dirty and stays.
 *
 * A miss reads the 64 KiB around the page in one call: a hive mostly lies in a guest's file, where a call
 * costs more than the bytes. It is read into fresh pages without the lock, which are then published; the
 * loser of a race frees its own. */
#include "hive-page.h"

#include "../formats/checked.h"
#include "../formats/cleanup.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { READ_PAGES = 16, CACHE_PAGES_MIN = 64, STORE_PAGES = 64 };

/* What a page was when a savepoint's edits first touched it. */
struct saved {
    struct saved *next;
    uint32_t number;
    bool there, dirty; /* not there: the file didn't have it */
    uint8_t bytes[HIVE_PAGE];
};

struct page {
    struct page *prev, *next; /* list of use; only of clean pages */
    uint32_t number;
    bool dirty;
    bool in_level[HIVE_LEVELS]; /* its former content is in that savepoint's list */
    uint8_t bytes[HIVE_PAGE];
};

struct level {
    struct saved *saved;
    uint32_t size, in_file;
};

struct hive_pages {
    struct hive_file *file;
    uint32_t size;     /* bytes of bins data */
    uint32_t in_file;  /* pages that the file has as bins; what lies behind them there is no data */
    size_t n_dirty;    /* pages */
    unsigned n_levels; /* savepoints in use */
    struct level levels[HIVE_LEVELS];

    pthread_mutex_t lock; /* protects the table and the list of use, for parallel readers */
    struct page **table;
    size_t n_table;
    struct page use; /* head of the list: next is the most recently used */
    size_t n_clean, max_clean;
};

static uint32_t pages_of(uint32_t size)
{
    return size / HIVE_PAGE;
}

/* ---- the list of use ---- */

static void use_remove(struct hive_pages *p, struct page *g)
{
    g->prev->next = g->next;
    g->next->prev = g->prev;
    p->n_clean--;
}

static void use_add(struct hive_pages *p, struct page *g)
{
    g->next = p->use.next;
    g->prev = &p->use;
    g->next->prev = g->prev->next = g;
    p->n_clean++;
}

static void drop_page(struct hive_pages *p, struct page *g)
{
    if (g->dirty)
        p->n_dirty--;
    else
        use_remove(p, g);
    p->table[g->number] = NULL;
    free(g);
}

static void evict(struct hive_pages *p)
{
    while (p->n_clean > p->max_clean)
        drop_page(p, p->use.prev);
}

/* ---- life ---- */

int hive_pages_new(struct hive_file *file, uint32_t size, size_t cache_bytes, struct hive_pages **ret)
{
    struct hive_pages *p = calloc(1, sizeof *p);
    if (!p)
        return -ENOMEM;
    p->file = file;
    p->size = size;
    uint64_t there = file->size < HIVE_BASE_SIZE ? 0 : (file->size - HIVE_BASE_SIZE) / HIVE_PAGE;
    p->in_file = (uint32_t)min_u64(there, pages_of(size));
    p->n_table = p->in_file; /* what a base block claims beyond its file costs nothing */
    p->table = calloc(p->n_table ? p->n_table : 1, sizeof *p->table);
    if (!p->table) {
        free(p);
        return -ENOMEM;
    }
    p->use.next = p->use.prev = &p->use;
    p->max_clean = cache_bytes / sizeof(struct page);
    if (p->max_clean < CACHE_PAGES_MIN)
        p->max_clean = CACHE_PAGES_MIN;
    pthread_mutex_init(&p->lock, NULL);
    *ret = p;
    return 0;
}

static void free_level(struct level *l)
{
    while (l->saved) {
        struct saved *s = l->saved;
        l->saved = s->next;
        free(s);
    }
}

void hive_pages_free(struct hive_pages *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n_table; i++)
        free(p->table[i]);
    for (unsigned i = 0; i < HIVE_LEVELS; i++)
        free_level(&p->levels[i]);
    pthread_mutex_destroy(&p->lock);
    free(p->table);
    free(p);
}

uint32_t hive_pages_size(const struct hive_pages *p)
{
    return p->size;
}

/* ---- reading ---- */

/* Takes the page over: into the table, unless somebody else was first. */
static void publish(struct hive_pages *p, struct page *g)
{
    if (g->number >= p->n_table || p->table[g->number]) {
        free(g);
        return;
    }
    p->table[g->number] = g;
    use_add(p, g);
}

/* Reads the pages around `number` that the file has, and publishes them. Called without the lock. */
static int load(struct hive_pages *p, uint32_t number)
{
    uint32_t first = number - number % READ_PAGES, n = READ_PAGES;
    if (n > p->in_file - first)
        n = p->in_file - first;
    _cleanup_free_ uint8_t *buf = malloc((size_t)n * HIVE_PAGE);
    if (!buf)
        return -ENOMEM;
    int r = p->file->ops->pread(p->file, buf, (size_t)n * HIVE_PAGE,
                                HIVE_BASE_SIZE + (uint64_t)first * HIVE_PAGE);
    if (r < 0 && n > 1) { /* a bad place in the file concerns only its page */
        first = number;
        n = 1;
        r = p->file->ops->pread(p->file, buf, HIVE_PAGE, HIVE_BASE_SIZE + (uint64_t)number * HIVE_PAGE);
    }
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < n; i++) {
        struct page *g = malloc(sizeof *g);
        if (!g && first + i == number)
            return -ENOMEM;
        if (!g)
            continue;
        g->number = first + i;
        g->dirty = false;
        memset(g->in_level, 0, sizeof g->in_level);
        memcpy(g->bytes, buf + (size_t)i * HIVE_PAGE, HIVE_PAGE);
        pthread_mutex_lock(&p->lock);
        publish(p, g);
        pthread_mutex_unlock(&p->lock);
    }
    return 0;
}

/* Copies a part of one page. 1: it isn't loaded. */
static int copy_out(struct hive_pages *p, uint8_t *buf, size_t len, uint32_t number, size_t from)
{
    pthread_mutex_lock(&p->lock);
    struct page *g = number < p->n_table ? p->table[number] : NULL;
    if (g) {
        if (!g->dirty && p->use.next != g) {
            use_remove(p, g);
            use_add(p, g);
        }
        memcpy(buf, g->bytes + from, len);
        evict(p);
    }
    pthread_mutex_unlock(&p->lock);
    return g ? 0 : 1;
}

int hive_pages_read(struct hive_pages *p, void *buf, size_t len, uint32_t off, uint32_t *ret_at)
{
    uint8_t *to = buf;
    assert(range_inside(off, len, p->size));
    while (len) {
        uint32_t number = off / HIVE_PAGE;
        size_t from = off % HIVE_PAGE, n = HIVE_PAGE - from;
        if (n > len)
            n = len;
        while (copy_out(p, to, n, number, from)) {
            int r = number < p->in_file ? load(p, number) : -ENODATA;
            if (r < 0) {
                *ret_at = number * HIVE_PAGE;
                return r;
            }
        }
        to += n;
        off += (uint32_t)n;
        len -= n;
    }
    return 0;
}

/* ---- writing ---- */

/* Room in the table for `n` pages. */
static int table_reserve(struct hive_pages *p, size_t n)
{
    if (n <= p->n_table)
        return 0;
    size_t room = n + n / 8 + 16; /* a hive grows by one bin at a time */
    struct page **table = realloc(p->table, room * sizeof *table);
    if (!table)
        return -ENOMEM;
    memset(table + p->n_table, 0, (room - p->n_table) * sizeof *table);
    p->table = table;
    p->n_table = room;
    return 0;
}

/* The page, loaded or new; only the writer calls this, so it stays. */
static int page_for_writing(struct hive_pages *p, uint32_t number, struct page **ret, bool *ret_new)
{
    struct page *g;
    int r = table_reserve(p, (size_t)number + 1);
    if (r < 0)
        return r;
    *ret_new = false;
    while (!(g = p->table[number])) {
        if (number < p->in_file) {
            r = load(p, number);
            if (r < 0)
                return r;
            continue;
        }
        g = calloc(1, sizeof *g);
        if (!g)
            return -ENOMEM;
        g->number = number;
        p->table[number] = g;
        use_add(p, g);
        *ret_new = true;
        break;
    }
    *ret = g;
    return 0;
}

static int save_page(struct hive_pages *p, struct page *g, bool is_new)
{
    if (!p->n_levels || g->in_level[p->n_levels - 1])
        return 0;
    struct level *l = &p->levels[p->n_levels - 1];
    struct saved *s = malloc(sizeof *s);
    if (!s)
        return -ENOMEM;
    s->number = g->number;
    s->there = !is_new;
    s->dirty = g->dirty;
    memcpy(s->bytes, g->bytes, HIVE_PAGE);
    s->next = l->saved;
    l->saved = s;
    g->in_level[p->n_levels - 1] = true;
    return 0;
}

int hive_pages_write(struct hive_pages *p, const void *buf, size_t len, uint32_t off)
{
    const uint8_t *from = buf;
    assert(range_inside(off, len, p->size));
    while (len) {
        struct page *g;
        bool is_new;
        size_t at = off % HIVE_PAGE, n = HIVE_PAGE - at;
        if (n > len)
            n = len;
        int r = page_for_writing(p, off / HIVE_PAGE, &g, &is_new);
        if (!r && (r = save_page(p, g, is_new)) < 0 && is_new)
            drop_page(p, g);
        if (r < 0)
            return r;
        memcpy(g->bytes + at, from, n);
        if (!g->dirty) {
            use_remove(p, g);
            g->dirty = true;
            p->n_dirty++;
        }
        from += n;
        off += (uint32_t)n;
        len -= n;
    }
    return 0;
}

void hive_pages_resize(struct hive_pages *p, uint32_t size)
{
    size_t n = pages_of(size);
    for (size_t i = n; i < pages_of(p->size) && i < p->n_table; i++)
        if (p->table[i])
            drop_page(p, p->table[i]);
    p->size = size;
    if (p->in_file > n)
        p->in_file = (uint32_t)n;
}

/* ---- savepoints ---- */

int hive_pages_savepoint(struct hive_pages *p)
{
    if (p->n_levels == HIVE_LEVELS)
        return -EBUSY;
    p->levels[p->n_levels++] = (struct level){ .size = p->size, .in_file = p->in_file };
    return 0;
}

void hive_pages_rollback(struct hive_pages *p)
{
    assert(p->n_levels);
    unsigned top = p->n_levels - 1;
    struct level *l = &p->levels[top];
    for (struct saved *s = l->saved; s; s = s->next) {
        struct page *g = p->table[s->number];
        if (!g)
            continue;
        g->in_level[top] = false;
        if (!s->there) {
            drop_page(p, g);
            continue;
        }
        memcpy(g->bytes, s->bytes, HIVE_PAGE);
        if (g->dirty && !s->dirty) {
            g->dirty = false;
            p->n_dirty--;
            use_add(p, g);
        }
    }
    free_level(l);
    hive_pages_resize(p, l->size); /* only ever smaller: edits don't shrink a hive */
    p->in_file = l->in_file;
    p->n_levels--;
}

void hive_pages_release(struct hive_pages *p)
{
    assert(p->n_levels);
    unsigned top = p->n_levels - 1;
    struct level *l = &p->levels[top];
    while (l->saved) {
        struct saved *s = l->saved;
        struct page *g = p->table[s->number];
        l->saved = s->next;
        if (g)
            g->in_level[top] = false;
        if (top && g && !g->in_level[top - 1]) { /* the outer savepoint hasn't seen this page yet */
            g->in_level[top - 1] = true;
            s->next = p->levels[top - 1].saved;
            p->levels[top - 1].saved = s;
        } else {
            free(s);
        }
    }
    p->n_levels--;
}

/* ---- storing ---- */

bool hive_pages_are_complete(const struct hive_pages *p)
{
    for (size_t i = p->in_file; i < pages_of(p->size); i++)
        if (i >= p->n_table || !p->table[i])
            return false;
    return true;
}

uint32_t hive_pages_there(const struct hive_pages *p)
{
    size_t n = pages_of(p->size);
    if (n > p->n_table)
        n = p->n_table;
    while (n > p->in_file && !p->table[n - 1])
        n--;
    return (uint32_t)(n * HIVE_PAGE);
}

bool hive_pages_are_dirty(const struct hive_pages *p)
{
    return p->n_dirty > 0;
}

int hive_pages_store(struct hive_pages *p)
{
    _cleanup_free_ uint8_t *run = malloc((size_t)STORE_PAGES * HIVE_PAGE);
    if (!run)
        return -ENOMEM;
    size_t left = p->n_dirty;
    for (size_t i = 0; left; i++) {
        size_t n = 0;
        while (n < STORE_PAGES && i + n < p->n_table && p->table[i + n] && p->table[i + n]->dirty) {
            memcpy(run + n * HIVE_PAGE, p->table[i + n]->bytes, HIVE_PAGE);
            n++;
        }
        if (!n)
            continue;
        int r = p->file->ops->pwrite(p->file, run, n * HIVE_PAGE, HIVE_BASE_SIZE + (uint64_t)i * HIVE_PAGE);
        if (r < 0)
            return r;
        left -= n;
        i += n - 1;
    }
    return 0;
}

void hive_pages_stored(struct hive_pages *p)
{
    for (size_t i = 0; p->n_dirty; i++)
        if (p->table[i] && p->table[i]->dirty) {
            p->table[i]->dirty = false;
            p->n_dirty--;
            use_add(p, p->table[i]);
        }
    uint64_t there = p->file->size < HIVE_BASE_SIZE ? 0 : (p->file->size - HIVE_BASE_SIZE) / HIVE_PAGE;
    p->in_file = (uint32_t)min_u64(min_u64(there, pages_of(p->size)), p->n_table);
    evict(p);
}
