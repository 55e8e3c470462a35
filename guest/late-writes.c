/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Refused writes in a list, oldest first. Once there is one, all later ones join it behind, unless the list
 * can be written first: a range that was written twice ends as it was written last. A write that the disk has
 * done in part is done again as a whole, which comes to the same. */
#include "late-writes.h"

#include "../formats/checked.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct late_write {
    struct late_write *next;
    uint64_t off;
    size_t len;
    uint8_t bytes[];
};

void late_writes_init(struct late_writes *l, struct disk *disk)
{
    *l = (struct late_writes){ .disk = disk };
    l->end = &l->first;
    atomic_init(&l->waiting, 0);
    pthread_mutex_init(&l->lock, NULL);
}

static void drop_first(struct late_writes *l)
{
    struct late_write *w = l->first;
    l->first = w->next;
    if (!l->first)
        l->end = &l->first;
    atomic_fetch_sub(&l->waiting, w->len);
    free(w);
}

void late_writes_done(struct late_writes *l)
{
    while (l->first)
        drop_first(l);
    pthread_mutex_destroy(&l->lock);
}

static void patch(const struct late_writes *l, uint8_t *buf, size_t len, uint64_t off)
{
    for (const struct late_write *w = l->first; w; w = w->next) {
        uint64_t from = max_u64(w->off, off), to = min_u64(w->off + w->len, off + len);
        if (from < to)
            memcpy(buf + (from - off), w->bytes + (from - w->off), (size_t)(to - from));
    }
}

int late_writes_read(struct late_writes *l, void *buf, size_t len, uint64_t off)
{
    /* What has stopped waiting lies on the disk already. */
    if (!atomic_load(&l->waiting))
        return disk_pread(l->disk, buf, len, off);
    pthread_mutex_lock(&l->lock);
    int r = disk_pread(l->disk, buf, len, off);
    if (!r)
        patch(l, buf, len, off);
    pthread_mutex_unlock(&l->lock);
    return r;
}

/* With the lock. */
static int settle(struct late_writes *l)
{
    while (l->first) {
        int r = disk_pwrite_last(l->disk, l->first->bytes, l->first->len, l->first->off);
        if (r < 0) {
            l->error = r;
            return r;
        }
        drop_first(l);
    }
    return 0;
}

/* With the lock. */
static int keep(struct late_writes *l, const void *buf, size_t len, uint64_t off, int error)
{
    struct late_write *w = NULL;
    if (len <= LATE_WRITES_BYTES && atomic_load(&l->waiting) <= LATE_WRITES_BYTES - len)
        w = malloc(sizeof *w + len);
    if (!w) {
        l->lost = true;
        return error;
    }
    w->next = NULL;
    w->off = off;
    w->len = len;
    memcpy(w->bytes, buf, len);
    *l->end = w;
    l->end = &w->next;
    l->error = error;
    atomic_fetch_add(&l->waiting, len);
    return 0;
}

int late_writes_put(struct late_writes *l, const void *buf, size_t len, uint64_t off)
{
    if (!len)
        return 0;
    pthread_mutex_lock(&l->lock);
    int r = settle(l);
    if (!r)
        r = disk_pwrite_last(l->disk, buf, len, off);
    if (r < 0)
        r = keep(l, buf, len, off, r);
    pthread_mutex_unlock(&l->lock);
    return r;
}

int late_writes_error(struct late_writes *l)
{
    pthread_mutex_lock(&l->lock);
    int r = l->lost ? -EIO : l->first ? l->error : 0;
    pthread_mutex_unlock(&l->lock);
    return r;
}

int late_writes_settle(struct late_writes *l)
{
    pthread_mutex_lock(&l->lock);
    int r = l->lost ? -EIO : settle(l);
    pthread_mutex_unlock(&l->lock);
    return r;
}
