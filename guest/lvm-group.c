/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The metadata's tree as a volume group.
 *
 *     VG { id seqno status extent_size
 *          physical_volumes { pv0 { id status flags pe_start pe_count } ... }
 *          logical_volumes  { LV { id status segment_count
 *                                  segment1 { start_extent extent_count type
 *                                             stripe_count stripe_size stripes = ["pv0", first extent, ...] }
 * } } }
 *
 * Everything is held against everything: names are known, extents lie in their physical volume, segments
 * follow each other without gaps. Sizes are in sectors of 512 bytes but for extents. */
#include "lvm-metadata.h"

#include "../formats/checked.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STRIPES_MAX = 1024, EXTENTS_MAX = INT32_MAX };

struct reader {
    struct lvm_group *g;
    const char *device; /* for messages */
    struct fault *fault;
};

static int damaged(struct reader *r, const char *where, const char *what)
{
    return fault_in(r->fault, -EUCLEAN, r->device, "the LVM metadata is damaged: %.130s: %s", where, what);
}

static int no_memory(struct reader *r)
{
    return fault_in(r->fault, -ENOMEM, r->device, "out of memory");
}

/* Names become parts of paths. */
static bool name_ok(const char *name)
{
    size_t n = strlen(name);
    return n && n <= LVM_NAME_MAX && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static bool take_uuid(const struct lvm_node *section, char ret[LVM_UUID_SIZE])
{
    const char *id = lvm_get_string(section, "id");
    size_t n = id ? strspn(id, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-") : 0;
    if (n != LVM_UUID_SIZE - 1 || id[n])
        return false;
    memcpy(ret, id, n + 1);
    return true;
}

static size_t count_sections(const struct lvm_node *list)
{
    size_t n = 0;
    for (const struct lvm_node *s = list ? list->child : NULL; s; s = s->next)
        n += s->kind == LVM_SECTION;
    return n;
}

/* ---- physical volumes ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct lvm_pv *)a)->name, ((const struct lvm_pv *)b)->name);
}

static int read_pv(struct reader *r, const struct lvm_node *s, struct lvm_pv *pv)
{
    uint64_t start, bytes, end;
    *pv = (struct lvm_pv){ .name = s->key, .device = LVM_NO_DEVICE };
    pv->missing = lvm_has_word(s, "flags", "MISSING") || lvm_has_word(s, "status", "MISSING");
    if (!take_uuid(s, pv->uuid))
        return damaged(r, s->key, "no id");
    if (!lvm_get_number(s, "pe_start", INT64_MAX / LVM_SECTOR, &start) ||
        !lvm_get_number(s, "pe_count", EXTENTS_MAX, &pv->extents))
        return damaged(r, s->key, "no place of its extents");
    pv->start = start * LVM_SECTOR;
    if (!checked_mul(pv->extents, r->g->extent_size, &bytes) || !checked_add(pv->start, bytes, &end) ||
        end > INT64_MAX)
        return damaged(r, s->key, "too large");
    return 0;
}

static int read_pvs(struct reader *r, const struct lvm_node *vg)
{
    struct lvm_group *g = r->g;
    const struct lvm_node *list = lvm_get(vg, "physical_volumes", LVM_SECTION);
    size_t n = count_sections(list);
    g->pvs = calloc(n ? n : 1, sizeof *g->pvs);
    if (!g->pvs)
        return no_memory(r);
    for (const struct lvm_node *s = list ? list->child : NULL; s; s = s->next) {
        if (s->kind != LVM_SECTION)
            continue;
        int e = read_pv(r, s, &g->pvs[g->n_pvs++]);
        if (e < 0)
            return e;
    }
    qsort(g->pvs, g->n_pvs, sizeof *g->pvs, by_name);
    for (size_t i = 1; i < g->n_pvs; i++)
        if (!strcmp(g->pvs[i].name, g->pvs[i - 1].name))
            return damaged(r, g->pvs[i].name, "there twice");
    return 0;
}

static const struct lvm_pv *find_pv(const struct lvm_group *g, const char *name)
{
    struct lvm_pv key = { .name = name };
    return bsearch(&key, g->pvs, g->n_pvs, sizeof *g->pvs, by_name);
}

/* ---- segments ---- */

/* "pv0", 0, "pv1", 0, ... */
static int read_stripes(struct reader *r, const struct lvm_node *s, const char *lv, struct lvm_segment *seg)
{
    const struct lvm_node *item = lvm_get(s, "stripes", LVM_ARRAY);
    uint64_t each = seg->count / seg->n_areas;
    item = item ? item->child : NULL;
    for (size_t i = 0; i < seg->n_areas; i++) {
        const struct lvm_node *extent = item ? item->next : NULL;
        if (!extent || item->kind != LVM_STRING || extent->kind != LVM_NUMBER || extent->number < 0)
            return damaged(r, lv, "a segment has too few stripes");
        const struct lvm_pv *pv = find_pv(r->g, item->text);
        if (!pv) { /* over another logical volume: no plain segment */
            seg->plain = false;
            return 0;
        }
        if (!range_inside((uint64_t)extent->number, each, pv->extents))
            return damaged(r, lv, "a segment lies past the end of its physical volume");
        seg->areas[i] = (struct lvm_area){ (size_t)(pv - r->g->pvs), (uint64_t)extent->number };
        item = extent->next;
    }
    return item ? damaged(r, lv, "a segment has too many stripes") : 0;
}

static int read_plain(struct reader *r, const struct lvm_node *s, const char *lv, struct lvm_segment *seg)
{
    uint64_t n = 1, stripe = 0;
    if (!lvm_get_number(s, "stripe_count", STRIPES_MAX, &n) || !n || seg->count % n)
        return damaged(r, lv, "a segment has an impossible number of stripes");
    if (n > 1 && (!lvm_get_number(s, "stripe_size", INT32_MAX, &stripe) || !stripe ||
                  r->g->extent_size % (stripe * LVM_SECTOR)))
        return damaged(r, lv, "a segment has an impossible stripe size");
    seg->areas = calloc(n, sizeof *seg->areas);
    if (!seg->areas)
        return no_memory(r);
    seg->plain = true;
    seg->n_areas = n;
    seg->stripe = stripe * LVM_SECTOR;
    return read_stripes(r, s, lv, seg);
}

static int read_segment(struct reader *r, const struct lvm_node *s, const char *lv, struct lvm_segment *seg)
{
    seg->type = lvm_get_string(s, "type");
    if (!seg->type || !lvm_get_number(s, "start_extent", EXTENTS_MAX, &seg->start) ||
        !lvm_get_number(s, "extent_count", EXTENTS_MAX, &seg->count) || !seg->count)
        return damaged(r, lv, "a segment without its type or place");
    return !strcmp(seg->type, "striped") || !strcmp(seg->type, "linear") ? read_plain(r, s, lv, seg) : 0;
}

static int by_start(const void *a, const void *b)
{
    const struct lvm_segment *p = a, *q = b;
    return (p->start > q->start) - (p->start < q->start);
}

static bool is_segment(const struct lvm_node *s)
{
    return s->kind == LVM_SECTION && !strncmp(s->key, "segment", 7) && isdigit((unsigned char)s->key[7]);
}

static int read_segments(struct reader *r, const struct lvm_node *list, struct lvm_lv *lv)
{
    size_t n = 0;
    uint64_t said;
    for (const struct lvm_node *s = list->child; s; s = s->next)
        n += is_segment(s);
    if (!n || !lvm_get_number(list, "segment_count", SIZE_MAX / 2, &said) || said != n)
        return damaged(r, lv->name, "its segments aren't all there");
    lv->segments = calloc(n, sizeof *lv->segments);
    if (!lv->segments)
        return no_memory(r);
    for (const struct lvm_node *s = list->child; s; s = s->next) {
        int e = is_segment(s) ? read_segment(r, s, lv->name, &lv->segments[lv->n_segments++]) : 0;
        if (e < 0)
            return e;
    }
    qsort(lv->segments, n, sizeof *lv->segments, by_start);
    for (size_t i = 0; i < n; i++) {
        if (lv->segments[i].start != lv->extents)
            return damaged(r, lv->name, "its segments leave a gap or overlap");
        lv->extents += lv->segments[i].count;
    }
    return lv->extents > EXTENTS_MAX ? damaged(r, lv->name, "too large") : 0;
}

/* ---- logical volumes ---- */

static int read_lv(struct reader *r, const struct lvm_node *s, struct lvm_lv *lv)
{
    uint64_t size;
    *lv = (struct lvm_lv){ .name = s->key };
    lv->visible = lvm_has_word(s, "status", "VISIBLE");
    lv->writable = lvm_has_word(s, "status", "WRITE");
    if (!name_ok(s->key) || !take_uuid(s, lv->uuid))
        return damaged(r, s->key, "no id, or no name that LVM would give");
    int e = read_segments(r, s, lv);
    if (!e && (!checked_mul(lv->extents, r->g->extent_size, &size) || size > INT64_MAX))
        e = damaged(r, s->key, "too large");
    return e;
}

struct role {
    const char *name;
    bool cow, origin, merging;
};

static int by_role(const void *a, const void *b)
{
    return strcmp(((const struct role *)a)->name, ((const struct role *)b)->name);
}

static void give_roles(struct lvm_group *g, struct role *roles, size_t n)
{
    qsort(roles, n, sizeof *roles, by_role);
    for (size_t i = 0; i < g->n_lvs; i++) {
        struct lvm_lv *lv = &g->lvs[i];
        struct role key = { .name = lv->name };
        const struct role *found = bsearch(&key, roles, n, sizeof *roles, by_role);
        while (found && found > roles && !strcmp(found[-1].name, lv->name))
            found--;
        for (; found && found < roles + n && !strcmp(found->name, lv->name); found++) {
            lv->cow |= found->cow;
            lv->origin |= found->origin;
            lv->merging |= found->merging;
        }
    }
}

/* Classic snapshots: a hidden volume of type "snapshot" says which volume is whose origin, and where what was
 * overwritten is kept. Both of those look like plain ones. */
static int read_snapshots(struct reader *r, const struct lvm_node *list, size_t max)
{
    _cleanup_free_ struct role *roles = calloc(2 * max + 1, sizeof *roles);
    size_t n = 0;
    if (!roles)
        return no_memory(r);
    for (const struct lvm_node *lv = list ? list->child : NULL; lv; lv = lv->next) {
        const struct lvm_node *s = lv->kind == LVM_SECTION ? lvm_get(lv, "segment1", LVM_SECTION) : NULL;
        const char *type = s ? lvm_get_string(s, "type") : NULL;
        if (!type || strcmp(type, "snapshot") != 0)
            continue;
        const char *cow = lvm_get_string(s, "cow_store"), *merging = lvm_get_string(s, "merging_store"),
                   *origin = lvm_get_string(s, "origin");
        if (origin)
            roles[n++] = (struct role){ .name = origin, .origin = true, .merging = merging != NULL };
        if (cow || merging)
            roles[n++] = (struct role){ .name = cow ? cow : merging, .cow = true };
    }
    give_roles(r->g, roles, n);
    return 0;
}

static int by_lv_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int check_unique(struct reader *r)
{
    struct lvm_group *g = r->g;
    _cleanup_free_ const char **names = calloc(g->n_lvs + 1, sizeof *names);
    if (!names)
        return no_memory(r);
    for (size_t i = 0; i < g->n_lvs; i++)
        names[i] = g->lvs[i].name;
    qsort(names, g->n_lvs, sizeof *names, by_lv_name);
    for (size_t i = 1; i < g->n_lvs; i++)
        if (!strcmp(names[i], names[i - 1]))
            return damaged(r, names[i], "there twice");
    return 0;
}

static int read_lvs(struct reader *r, const struct lvm_node *vg)
{
    struct lvm_group *g = r->g;
    const struct lvm_node *list = lvm_get(vg, "logical_volumes", LVM_SECTION);
    size_t n = count_sections(list);
    g->lvs = calloc(n ? n : 1, sizeof *g->lvs);
    if (!g->lvs)
        return no_memory(r);
    for (const struct lvm_node *s = list ? list->child : NULL; s; s = s->next) {
        int e = s->kind == LVM_SECTION ? read_lv(r, s, &g->lvs[g->n_lvs++]) : 0;
        if (e < 0)
            return e;
    }
    int e = check_unique(r);
    return e < 0 ? e : read_snapshots(r, list, n);
}

/* ---- the group ---- */

void lvm_group_free(struct lvm_group *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->n_lvs; i++) {
        for (size_t k = 0; k < g->lvs[i].n_segments; k++)
            free(g->lvs[i].segments[k].areas);
        free(g->lvs[i].segments);
    }
    free(g->lvs);
    free(g->pvs);
    lvm_text_free(g->text);
    free(g);
}

static int read_group(struct reader *r, const struct lvm_node *vg)
{
    struct lvm_group *g = r->g;
    uint64_t sectors;
    const char *lock = lvm_get_string(vg, "lock_type");
    g->name = vg->key;
    g->writable = lvm_has_word(vg, "status", "WRITE");
    g->exported = lvm_has_word(vg, "status", "EXPORTED");
    g->shared = lvm_has_word(vg, "status", "CLUSTERED") || (lock && strcmp(lock, "none") != 0);
    if (!name_ok(g->name) || !take_uuid(vg, g->uuid))
        return damaged(r, g->name, "no id, or no name that LVM would give");
    if (!lvm_get_number(vg, "seqno", INT64_MAX, &g->seqno))
        return damaged(r, g->name, "no seqno");
    if (!lvm_get_number(vg, "extent_size", UINT32_MAX, &sectors) || !sectors)
        return damaged(r, g->name, "no extent size");
    g->extent_size = sectors * LVM_SECTOR;
    int e = read_pvs(r, vg);
    return e < 0 ? e : read_lvs(r, vg);
}

int lvm_group_new(struct lvm_text *text, const char *name, struct lvm_group **ret, struct fault *fault)
{
    _cleanup_(lvm_group_freep) struct lvm_group *g = calloc(1, sizeof *g);
    if (!g) {
        lvm_text_free(text);
        return fault_in(fault, -ENOMEM, name, "out of memory");
    }
    g->text = text;
    struct reader r = { g, name, fault };
    const struct lvm_node *vg = lvm_text_root(text)->child;
    while (vg && vg->kind != LVM_SECTION)
        vg = vg->next;
    if (!vg)
        return fault_in(fault, -EUCLEAN, name, "the LVM metadata has no volume group");
    int e = read_group(&r, vg);
    if (!e)
        *ret = TAKE_PTR(g);
    return e;
}
