/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which clusters of an overlay's file are in use. Its refcounts are 0 or 1, as nothing in it is shared; so a
 * bit is enough, and while the overlay is open these bits are the truth: the file's refcounts are written
 * when it is closed, and the dirty bit says so until then. */
#include "overlay-impl.h"
#include "checked.h"

#include <errno.h>
#include <string.h>

static bool get(const uint64_t *map, uint64_t i)
{
    return map[i / 64] >> i % 64 & 1;
}

static void set(uint64_t *map, uint64_t i)
{
    map[i / 64] |= UINT64_C(1) << i % 64;
}

static void clear(uint64_t *map, uint64_t i)
{
    map[i / 64] &= ~(UINT64_C(1) << i % 64);
}

void ovl_clusters_done(struct ovl_clusters *c)
{
    free(c->used);
    free(c->fresh);
    free(c->freed);
    *c = (struct ovl_clusters){ 0 };
}

static int grow_map(uint64_t **map, size_t from, size_t to)
{
    uint64_t *p = reallocarray(*map, to, sizeof *p);
    if (!p)
        return -ENOMEM;
    memset(p + from, 0, (to - from) * sizeof *p);
    *map = p;
    return 0;
}

int ovl_clusters_grow(struct ovl_clusters *c, uint64_t end)
{
    enum { STEP = 256 };
    size_t need = (size_t)div_up(end, 64);
    if (need <= c->words)
        return 0;
    size_t words = (size_t)round_up(max_u64(need, c->words + c->words / 4), STEP);
    if (grow_map(&c->used, c->words, words) < 0 || grow_map(&c->fresh, c->words, words) < 0 ||
        grow_map(&c->freed, c->words, words) < 0)
        return -ENOMEM; /* those that have grown are only larger than they need be */
    c->words = words;
    return 0;
}

bool ovl_clusters_mark(struct ovl_clusters *c, uint64_t cluster)
{
    if (cluster >= c->end || get(c->used, cluster))
        return false;
    set(c->used, cluster);
    return true;
}

/* The first of `n` free neighbours, at the end of the file if need be, or even past it. */
static uint64_t find_free(struct ovl_clusters *c, uint64_t n)
{
    uint64_t i = c->hint, run = 0;
    bool first = true;
    while (i < c->end) {
        if (i % 64 == 0 && c->used[i / 64] == UINT64_MAX) {
            run = 0;
            i += 64;
            continue;
        }
        if (get(c->used, i)) {
            run = 0;
        } else {
            if (first)
                c->hint = i;
            first = false;
            if (++run == n)
                return i + 1 - n;
        }
        i++;
    }
    if (first)
        c->hint = c->end;
    return c->end - run;
}

int ovl_clusters_alloc(struct ovl_clusters *c, uint64_t n, uint64_t *ret)
{
    uint64_t at = find_free(c, n);
    if (at + n > OVL_ADDRESS >> OVL_SHIFT)
        return -EFBIG;
    int r = ovl_clusters_grow(c, at + n);
    if (r < 0)
        return r;
    for (uint64_t i = at; i < at + n; i++) {
        set(c->used, i);
        set(c->fresh, i);
    }
    if (at == c->hint)
        c->hint = at + n;
    c->end = max_u64(c->end, at + n);
    *ret = at;
    return 0;
}

void ovl_clusters_drop(struct ovl_clusters *c, uint64_t cluster, uint64_t n)
{
    for (uint64_t i = cluster; i < cluster + n; i++) {
        if (!get(c->fresh, i)) {
            set(c->freed, i);
            continue;
        }
        clear(c->fresh, i);
        clear(c->used, i);
        c->hint = min_u64(c->hint, i);
    }
}

void ovl_clusters_untake(struct ovl_clusters *c, uint64_t cluster, uint64_t n, uint64_t end)
{
    ovl_clusters_drop(c, cluster, n);
    c->end = end;
    c->hint = min_u64(c->hint, end);
}

uint64_t ovl_clusters_free(const struct ovl_clusters *c)
{
    uint64_t used = 0;
    for (size_t i = 0; i < c->words; i++)
        used += (uint64_t)__builtin_popcountll(c->used[i]);
    return c->end - used;
}

bool ovl_clusters_is_used(const struct ovl_clusters *c, uint64_t cluster)
{
    return cluster < c->end && get(c->used, cluster);
}

bool ovl_clusters_is_fresh(const struct ovl_clusters *c, uint64_t cluster)
{
    return cluster < c->end && get(c->fresh, cluster);
}

void ovl_clusters_commit(struct ovl_clusters *c)
{
    memset(c->fresh, 0, c->words * sizeof *c->fresh);
}

void ovl_clusters_release(struct ovl_clusters *c)
{
    for (size_t i = 0; i < c->words; i++) {
        if (!c->freed[i])
            continue;
        c->used[i] &= ~c->freed[i];
        c->freed[i] = 0;
        c->hint = min_u64(c->hint, i * 64);
    }
}

void ovl_clusters_rollback(struct ovl_clusters *c)
{
    for (size_t i = 0; i < c->words; i++) {
        c->used[i] &= ~c->fresh[i];
        c->fresh[i] = c->freed[i] = 0;
    }
    c->hint = 0;
}

void ovl_clusters_forget(struct ovl_clusters *c)
{
    memset(c->used, 0, c->words * sizeof *c->used);
    memset(c->fresh, 0, c->words * sizeof *c->fresh);
    memset(c->freed, 0, c->words * sizeof *c->freed);
    c->hint = 0;
}

uint64_t ovl_clusters_last(const struct ovl_clusters *c)
{
    uint64_t end = c->end;
    while (end && !get(c->used, end - 1))
        end--;
    return end;
}
