/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A write-back cache of single blocks: a hash table and one list by last use.
 *
 * A block that is written with what it has already (libext2fs writes all group descriptors at each flush) is
 * left clean, so that a sync costs what has changed. When a dirty block that has to make room can't be
 * written, it stays: memory grows, and the error is the next sync's, not that of an operation in its middle.
 */
#include "block-store.h"
#include "../formats/checked.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

enum { STORE_BYTES = 8 << 20, BUCKETS = 4096 };

struct store_block {
    uint64_t block;
    struct store_block *next; /* in its bucket */
    struct store_block *newer, *older;
    bool dirty;
    uint8_t data[];
};

struct block_store {
    struct disk *disk; /* not owned */
    uint32_t block_size;
    pthread_mutex_t lock; /* protects all that follows; held over the disk's reads and writes */
    struct store_block *buckets[BUCKETS];
    struct store_block *newest, *oldest;
    size_t count, dirty;
};

int block_store_new(struct disk *disk, uint32_t block_size, struct block_store **ret)
{
    struct block_store *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    s->disk = disk;
    s->block_size = block_size;
    pthread_mutex_init(&s->lock, NULL);
    *ret = s;
    return 0;
}

void block_store_free(struct block_store *s)
{
    if (!s)
        return;
    for (struct store_block *b = s->newest, *older; b; b = older) {
        older = b->older;
        free(b);
    }
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static struct store_block **bucket_of(struct block_store *s, uint64_t block)
{
    return &s->buckets[block % BUCKETS];
}

static struct store_block *find(struct block_store *s, uint64_t block)
{
    struct store_block *b = *bucket_of(s, block);
    while (b && b->block != block)
        b = b->next;
    return b;
}

static void list_remove(struct block_store *s, struct store_block *b)
{
    *(b->newer ? &b->newer->older : &s->newest) = b->older;
    *(b->older ? &b->older->newer : &s->oldest) = b->newer;
}

static void list_add(struct block_store *s, struct store_block *b)
{
    b->newer = NULL;
    b->older = s->newest;
    *(s->newest ? &s->newest->newer : &s->oldest) = b;
    s->newest = b;
}

static void drop(struct block_store *s, struct store_block *b)
{
    struct store_block **at = bucket_of(s, b->block);
    while (*at != b)
        at = &(*at)->next;
    *at = b->next;
    list_remove(s, b);
    s->count--;
    s->dirty -= b->dirty;
    free(b);
}

/* The disk's last block may be cut short. */
static size_t block_length(const struct block_store *s, uint64_t block)
{
    return (size_t)min_u64(s->block_size, s->disk->size - block * s->block_size);
}

static int clean(struct block_store *s, struct store_block *b)
{
    if (!b->dirty)
        return 0;
    int r = disk_pwrite_last(s->disk, b->data, block_length(s, b->block), b->block * s->block_size);
    if (r < 0)
        return r == -EINVAL ? -EIO : r;
    b->dirty = false;
    s->dirty--;
    return 0;
}

/* Makes room for one more, as far as that is possible. */
static void make_room(struct block_store *s)
{
    size_t most = max_u64(STORE_BYTES / s->block_size, 128);
    for (struct store_block *b = s->oldest, *newer; b && s->count >= most; b = newer) {
        newer = b->newer;
        if (clean(s, b) < 0)
            return;
        drop(s, b);
    }
}

static int load(struct block_store *s, uint64_t block, uint8_t *buf)
{
    uint64_t at;
    if (!checked_mul(block, s->block_size, &at) || at >= s->disk->size)
        return -EIO;
    size_t n = block_length(s, block);
    memset(buf + n, 0, s->block_size - n);
    int r = disk_pread(s->disk, buf, n, at);
    return r == -ENOMEM ? r : r < 0 ? -EIO : 0;
}

/* The block, newest by use. `read`: with its content; else a failure to read it doesn't count. */
static int get(struct block_store *s, uint64_t block, bool read, struct store_block **ret)
{
    struct store_block *b = find(s, block);
    if (b) {
        list_remove(s, b);
        list_add(s, b);
        *ret = b;
        return 0;
    }
    make_room(s);
    b = malloc(sizeof *b + s->block_size);
    if (!b)
        return -ENOMEM;
    *b = (struct store_block){ .block = block };
    int r = load(s, block, b->data);
    if (r < 0 && read) {
        free(b);
        return r;
    }
    b->dirty = r < 0; /* whatever is written now differs from what can't be read */
    s->dirty += b->dirty;
    s->count++;
    b->next = *bucket_of(s, block);
    *bucket_of(s, block) = b;
    list_add(s, b);
    *ret = b;
    return 0;
}

int block_store_read(struct block_store *s, uint64_t block, void *buf)
{
    struct store_block *b;
    pthread_mutex_lock(&s->lock);
    int r = get(s, block, true, &b);
    if (!r)
        memcpy(buf, b->data, s->block_size);
    pthread_mutex_unlock(&s->lock);
    return r;
}

int block_store_write(struct block_store *s, uint64_t block, const void *buf)
{
    struct store_block *b;
    pthread_mutex_lock(&s->lock);
    int r = get(s, block, false, &b);
    if (!r && (b->dirty || memcmp(b->data, buf, s->block_size) != 0)) {
        memcpy(b->data, buf, s->block_size);
        s->dirty += !b->dirty;
        b->dirty = true;
    }
    pthread_mutex_unlock(&s->lock);
    return r;
}

/* The part of [byte, byte + len) that lies in one block. */
static int put_part(struct block_store *s, const uint8_t *p, size_t len, uint64_t byte)
{
    struct store_block *b;
    int r = get(s, byte / s->block_size, true, &b);
    if (r == 0 && memcmp(b->data + byte % s->block_size, p, len) != 0) {
        memcpy(b->data + byte % s->block_size, p, len);
        s->dirty += !b->dirty;
        b->dirty = true;
    }
    return r;
}

int block_store_put(struct block_store *s, const void *buf, size_t len, uint64_t byte)
{
    const uint8_t *p = buf;
    int r = 0;
    pthread_mutex_lock(&s->lock);
    while (len && r == 0) {
        size_t n = (size_t)min_u64(len, s->block_size - byte % s->block_size);
        r = put_part(s, p, n, byte);
        p += n;
        byte += n;
        len -= n;
    }
    pthread_mutex_unlock(&s->lock);
    return r;
}

void block_store_forget(struct block_store *s, uint64_t block, uint64_t count)
{
    pthread_mutex_lock(&s->lock);
    if (count > s->count) { /* a whole file's blocks: look through what is held instead */
        for (struct store_block *b = s->newest, *older; b; b = older) {
            older = b->older;
            if (b->block >= block && b->block - block < count)
                drop(s, b);
        }
    } else {
        for (uint64_t n = 0; n < count; n++) {
            struct store_block *b = find(s, block + n);
            if (b)
                drop(s, b);
        }
    }
    pthread_mutex_unlock(&s->lock);
}

int block_store_release(struct block_store *s, uint64_t block, uint64_t count)
{
    int r = 0;
    pthread_mutex_lock(&s->lock);
    for (uint64_t n = 0; n < count && r == 0; n++) {
        struct store_block *b = find(s, block + n);
        r = b ? clean(s, b) : 0;
        if (b && r == 0)
            drop(s, b);
    }
    pthread_mutex_unlock(&s->lock);
    return r;
}

void block_store_patch(struct block_store *s, void *buf, size_t len, uint64_t byte)
{
    uint8_t *p = buf;
    pthread_mutex_lock(&s->lock);
    for (size_t done = 0; s->dirty && done < len;) {
        uint64_t at = byte + done;
        size_t within = (size_t)(at % s->block_size);
        size_t n = (size_t)min_u64(len - done, s->block_size - within);
        struct store_block *b = find(s, at / s->block_size);
        if (b && b->dirty)
            memcpy(p + done, b->data + within, n);
        done += n;
    }
    pthread_mutex_unlock(&s->lock);
}

int block_store_flush(struct block_store *s)
{
    int r = 0;
    pthread_mutex_lock(&s->lock);
    for (struct store_block *b = s->newest; b && s->dirty; b = b->older) {
        int e = clean(s, b);
        r = r < 0 ? r : e;
    }
    pthread_mutex_unlock(&s->lock);
    return r;
}
