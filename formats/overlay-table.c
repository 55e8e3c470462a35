/* SPDX-License-Identifier: GPL-2.0-or-later */
/* L1 and L2 tables of an overlay's file. The L1 is in memory whole (16 bytes and less for 512 MiB of disk);
 * L2 tables are in a number of slots, read when they are needed.
 *
 * A table that changes gets a new cluster at once, with room reserved on the host, and the working L1 points
 * there; so a commit needs no room that isn't there already. The cluster is written when the slot is needed
 * for another table, or at the commit: as no commit reaches it yet, as often as need be. */
#include "bytes.h"
#include "checked.h"
#include "overlay-impl.h"

#include <errno.h>
#include <string.h>

int ovl_tables_init(struct overlay_file *f, size_t n_slots)
{
    f->l1 = calloc(f->h.l1_size, sizeof *f->l1);
    f->where = malloc(f->h.l1_size * sizeof *f->where);
    f->slots = calloc(n_slots, sizeof *f->slots);
    if (!f->l1 || !f->where || !f->slots)
        return -ENOMEM;
    memset(f->where, 0xff, f->h.l1_size * sizeof *f->where); /* -1 */
    f->n_slots = n_slots;
    return 0;
}

void ovl_tables_done(struct overlay_file *f)
{
    for (size_t i = 0; i < f->n_slots; i++)
        free(f->slots[i].table);
    free(f->slots);
    free(f->where);
    free(f->l1);
}

bool ovl_table_is_sound(const uint64_t *table, uint64_t end)
{
    for (size_t i = 0; i < OVL_L2_ENTRIES; i++) {
        uint64_t e = be64toh(table[i]), at = e & OVL_ADDRESS;
        if (e & ~(OVL_COPIED | OVL_ADDRESS | OVL_ZERO) || at % OVL_CLUSTER || at >> OVL_SHIFT >= end)
            return false;
    }
    return true;
}

/* ---- slots ---- */

static void slot_done(struct overlay_file *f, struct ovl_slot *s)
{
    s->busy = false;
    pthread_cond_broadcast(&f->idle);
}

/* Writes a table to its cluster, which no commit reaches. `lock` is held, and given up meanwhile. */
static int slot_write(struct overlay_file *f, struct ovl_slot *s)
{
    uint64_t at = f->l1[s->index];
    s->busy = true;
    pthread_mutex_unlock(&f->lock);
    int r = ovl_pwrite(f->io, f->fd, s->table, OVL_CLUSTER, at);
    pthread_mutex_lock(&f->lock);
    if (!r)
        s->dirty = false;
    slot_done(f, s);
    return r;
}

/* The slot that was used longest ago, or a new one; NULL: all are busy. */
static struct ovl_slot *slot_oldest(struct overlay_file *f)
{
    struct ovl_slot *oldest = NULL;
    for (size_t i = 0; i < f->n_slots; i++) {
        struct ovl_slot *s = &f->slots[i];
        if (!s->in_use)
            return s;
        if (!s->busy && (!oldest || s->used_at < oldest->used_at))
            oldest = s;
    }
    return oldest;
}

static int slot_read(struct overlay_file *f, struct ovl_slot *s, uint64_t at)
{
    pthread_mutex_unlock(&f->lock);
    int r = ovl_pread(f->fd, s->table, OVL_CLUSTER, at);
    pthread_mutex_lock(&f->lock);
    if (!r && !ovl_table_is_sound(s->table, f->clusters.end))
        r = -EUCLEAN;
    return r;
}

/* Table `i` in a slot that isn't busy: NULL when there is none in the file and `make` isn't set; with it, a
 * table of nothing that has no cluster yet. `lock` is held, and may be given up meanwhile; not between the
 * last look at the L1 and the return. */
static int slot_get(struct overlay_file *f, uint32_t i, bool make, struct ovl_slot **ret)
{
    for (;;) {
        struct ovl_slot *s = f->where[i] >= 0 ? &f->slots[f->where[i]] : NULL;
        if (s && !s->busy) {
            s->used_at = ++f->clock;
            *ret = s;
            return 0;
        }
        if (!s && !f->l1[i] && !make) {
            *ret = NULL;
            return 0;
        }
        if (!s)
            s = slot_oldest(f);
        if (!s || s->busy) {
            pthread_cond_wait(&f->idle, &f->lock);
            continue;
        }
        if (s->in_use && s->dirty) {
            int r = slot_write(f, s);
            if (r < 0)
                return r;
            continue; /* who knows what was done meanwhile */
        }
        if (!s->table && !(s->table = malloc(OVL_CLUSTER)))
            return -ENOMEM;
        if (s->in_use)
            f->where[s->index] = -1;
        s->in_use = true;
        s->index = i;
        s->used_at = ++f->clock;
        f->where[i] = (int16_t)(s - f->slots);
        int r = 0;
        if (f->l1[i]) {
            s->busy = true;
            r = slot_read(f, s, f->l1[i]);
            slot_done(f, s);
        } else {
            memset(s->table, 0, OVL_CLUSTER);
        }
        if (r < 0) {
            f->where[i] = -1;
            s->in_use = false;
            return r;
        }
    }
}

/* ---- reading ---- */

enum kind { KIND_SOURCE, KIND_ZERO, KIND_DATA };

static enum kind kind_of(uint64_t entry)
{
    return entry & OVL_ZERO ? KIND_ZERO : entry & OVL_ADDRESS ? KIND_DATA : KIND_SOURCE;
}

int ovl_entries(struct overlay_file *f, uint64_t cluster, uint64_t max, uint64_t *ret_entry, uint64_t *ret_n)
{
    struct ovl_slot *s;
    int r = slot_get(f, (uint32_t)(cluster / OVL_L2_ENTRIES), false, &s);
    if (r < 0)
        return r;
    max = min_u64(max, OVL_L2_ENTRIES - cluster % OVL_L2_ENTRIES);
    uint64_t n = 1, i = cluster % OVL_L2_ENTRIES;
    *ret_entry = s ? be64toh(s->table[i]) : 0;
    if (!s)
        n = max;
    else
        while (n < max && kind_of(be64toh(s->table[i + n])) == kind_of(*ret_entry))
            n++;
    *ret_n = n;
    return 0;
}

int ovl_entry(struct overlay_file *f, uint64_t cluster, uint64_t *ret)
{
    uint64_t n;
    return ovl_entries(f, cluster, 1, ret, &n);
}

/* ---- writing ---- */

/* New clusters, with room on the host. `lock` is held, and given up meanwhile. */
static int alloc_reserved(struct overlay_file *f, uint64_t n, uint64_t *ret)
{
    uint64_t at;
    int r = ovl_clusters_alloc(&f->clusters, n, &at);
    if (r < 0)
        return r;
    pthread_mutex_unlock(&f->lock);
    r = ovl_reserve(f->io, f->fd, at << OVL_SHIFT, n << OVL_SHIFT);
    pthread_mutex_lock(&f->lock);
    if (r < 0)
        ovl_clusters_drop(&f->clusters, at, n);
    else
        *ret = at;
    return r;
}

static int reserve_l1(struct overlay_file *f)
{
    uint64_t at;
    int r = alloc_reserved(f, f->l1_clusters, &at);
    if (r < 0)
        return r;
    if (f->l1_next)
        ovl_clusters_drop(&f->clusters, at, f->l1_clusters); /* another thread was faster */
    else
        f->l1_next = at << OVL_SHIFT;
    return 0;
}

/* Table `i` in a slot, with a cluster that may be overwritten. `lock` is held, and may be given up. */
static int slot_for_writing(struct overlay_file *f, uint32_t i, struct ovl_slot **ret)
{
    int r = 0;
    while (!r && f->durable && !f->l1_next)
        r = reserve_l1(f);
    struct ovl_slot *s = NULL;
    if (!r)
        r = slot_get(f, i, true, &s);
    if (r < 0)
        return r;
    uint64_t old = f->l1[i], at;
    if (!old || !ovl_clusters_is_fresh(&f->clusters, old >> OVL_SHIFT)) {
        s->busy = true; /* so it stays where it is, and nobody else does the same */
        r = alloc_reserved(f, 1, &at);
        slot_done(f, s);
        if (r < 0)
            return r;
        f->l1[i] = at << OVL_SHIFT;
        if (old)
            ovl_clusters_drop(&f->clusters, old >> OVL_SHIFT, 1);
    }
    s->dirty = true;
    *ret = s;
    return 0;
}

int ovl_set_entry(struct overlay_file *f, uint64_t cluster, uint64_t entry)
{
    struct ovl_slot *s = NULL;
    int r = f->broken ? f->broken : slot_for_writing(f, (uint32_t)(cluster / OVL_L2_ENTRIES), &s);
    if (r < 0)
        return r;
    uint64_t *e = &s->table[cluster % OVL_L2_ENTRIES], old = be64toh(*e) & OVL_ADDRESS;
    *e = htobe64(entry);
    f->changed = true;
    if (old)
        ovl_clusters_drop(&f->clusters, old >> OVL_SHIFT, 1);
    return 0;
}

/* ---- committing ---- */

static int write_l1(struct overlay_file *f)
{
    uint64_t n = round_up(f->h.l1_size * sizeof(uint64_t), OVL_SECTOR);
    _cleanup_free_ uint8_t *buf = calloc(1, n);
    if (!buf)
        return -ENOMEM;
    for (uint32_t i = 0; i < f->h.l1_size; i++)
        put_be64(buf + 8 * (size_t)i, f->l1[i] ? f->l1[i] | OVL_COPIED : 0);
    uint64_t at = f->l1_next;
    pthread_mutex_unlock(&f->lock);
    int r = ovl_pwrite(f->io, f->fd, buf, n, at);
    pthread_mutex_lock(&f->lock);
    return r;
}

int ovl_tables_flush(struct overlay_file *f)
{
    pthread_mutex_lock(&f->lock);
    int r = f->broken;
    for (size_t i = 0; !r && i < f->n_slots; i++) {
        struct ovl_slot *s = &f->slots[i];
        while (s->busy) /* a reader's look-up */
            pthread_cond_wait(&f->idle, &f->lock);
        if (s->in_use && s->dirty)
            r = slot_write(f, s);
    }
    if (!r)
        r = write_l1(f);
    pthread_mutex_unlock(&f->lock);
    if (r < 0)
        return r;
    r = ovl_fdatasync(f->io, f->fd);
    if (r < 0) {
        /* the kernel has forgotten which pages it couldn't write: another sync would say that all is well */
        pthread_mutex_lock(&f->lock);
        f->broken = -EIO;
        pthread_mutex_unlock(&f->lock);
    }
    return r;
}
