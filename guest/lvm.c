/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Volume groups out of physical volumes:
 *
 *     lvm-label.c   a device's label, and the text in its metadata areas
 *     lvm-text.c    the text as a tree           lvm-group.c   the tree as a volume group
 *     lvm-disk.c    a logical volume as a disk   lvm.c         which device is which, and what can be shown
 *
 * Each physical volume has the text of the whole group, or a part of them has. Of all texts of a group the
 * one with the highest seqno counts; devices are found by the uuids in it, wherever they are. A volume is
 * shown when all of its segments are linear or striped and all devices that it lies on are there: never a
 * part of it, and never zeros for what is missing. */
#include "lvm-metadata.h"

#include "../formats/checked.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VOLUMES_MAX = 4096 };

struct assembly {
    struct lvm_device *devices;
    struct lvm_label *labels; /* owned; of each device, uuid "" without one */
    size_t n;
    struct lvm_group **groups; /* owned */
    size_t n_groups;
    struct notes *notes;
    struct lvm *lvm;
};

/* ---- metadata ---- */

/* Keeps the newest of each group. Takes `g`. */
static int keep_group(struct assembly *a, struct lvm_group *g, const char *device)
{
    for (size_t i = 0; i < a->n_groups; i++) {
        struct lvm_group **have = &a->groups[i];
        if (strcmp((*have)->uuid, g->uuid) != 0)
            continue;
        if ((*have)->seqno != g->seqno)
            notes_add(
                a->notes,
                "volume group %s: its physical volumes have metadata of different age (seqno %llu, %llu on "
                "%s); the newest counts",
                g->name, (unsigned long long)(*have)->seqno, (unsigned long long)g->seqno, device);
        struct lvm_group *older = (*have)->seqno < g->seqno ? *have : g;
        if (older == *have)
            *have = g;
        lvm_group_free(older);
        return 0;
    }
    struct lvm_group **all = reallocarray(a->groups, a->n_groups + 1, sizeof(void *));
    if (!all) {
        lvm_group_free(g);
        return -ENOMEM;
    }
    a->groups = all;
    a->groups[a->n_groups++] = g;
    return 0;
}

static int read_area(struct assembly *a, const struct lvm_device *d, const struct lvm_metadata_area *area,
                     struct fault *fault)
{
    char *text;
    size_t n;
    struct lvm_text *tree;
    struct lvm_group *g;
    int r = lvm_area_read(d->disk, d->name, area, &text, &n, fault);
    if (!r)
        r = lvm_text_parse(text, d->name, &tree, fault);
    if (!r)
        r = lvm_group_new(tree, d->name, &g, fault);
    return r ? r : keep_group(a, g, d->name);
}

/* What is wrong is left in the device's `why`: the group may still be known from elsewhere. */
static int read_device(struct assembly *a, size_t i)
{
    struct lvm_device *d = &a->devices[i];
    struct fault fault = { 0 };
    int r = lvm_label_read(d->disk, d->name, &a->labels[i], &fault);
    for (size_t k = 0; !r && k < a->labels[i].n_areas; k++) {
        struct fault bad = { 0 };
        int e = read_area(a, d, &a->labels[i].areas[k], &bad);
        if (e == -ENOMEM)
            return e;
        if (bad.err && !fault.err)
            fault = bad;
    }
    if (fault.err)
        fault_reason(&fault, d->why, sizeof d->why);
    return 0;
}

/* ---- devices ---- */

/* Which device is which physical volume. Two that are the same one: `why` none of the group can be shown,
 * since which of them the guest would take is anybody's guess. */
static void find_devices(struct assembly *a, struct lvm_group *g, char *why, size_t size)
{
    for (size_t p = 0; p < g->n_pvs; p++) {
        struct lvm_pv *pv = &g->pvs[p];
        for (size_t i = 0; i < a->n; i++) {
            if (strcmp(a->labels[i].uuid, pv->uuid) != 0)
                continue;
            if (pv->device != LVM_NO_DEVICE) {
                snprintf(why, size, "%s and %s are both the physical volume %s of the volume group %s",
                         a->devices[pv->device].name, a->devices[i].name, pv->uuid, g->name);
                notes_add(a->notes, "%s", why);
                return;
            }
            pv->device = i;
            if (a->devices[i].why[0])
                notes_add(a->notes, "%s: a copy of the metadata there isn't used: %s", a->devices[i].name,
                          a->devices[i].why);
            snprintf(a->devices[i].vg, sizeof a->devices[i].vg, "%s", g->name);
            snprintf(a->devices[i].why, sizeof a->devices[i].why, "a physical volume of the volume group %s",
                     g->name);
        }
        if (pv->device == LVM_NO_DEVICE)
            notes_add(a->notes, "volume group %s: the physical volume %s is on none of the disks", g->name,
                      pv->uuid);
        else if (pv->missing)
            notes_add(
                a->notes,
                "volume group %s: the guest was without the physical volume %s (%s), which may be old: it is "
                "taken as missing, as LVM does",
                g->name, pv->uuid, a->devices[pv->device].name);
    }
}

static void explain_devices(struct assembly *a)
{
    for (size_t i = 0; i < a->n; i++)
        if (!a->devices[i].why[0])
            snprintf(a->devices[i].why, sizeof a->devices[i].why,
                     a->labels[i].n_areas
                         ? "a physical volume of no volume group"
                         : "a physical volume of a volume group whose metadata is on none of the disks");
}

/* ---- logical volumes ---- */

static const struct {
    const char *prefix, *why;
} reasons[] = {
    { "thin-pool", "a thin pool, which holds thin volumes and has no content of its own" },
    { "thin", "a thin volume: where its blocks lie is in its pool's own metadata, which isn't read" },
    { "snapshot", "a snapshot of LVM" },
    { "mirror", "a mirror of LVM" },
    { "raid", "a RAID volume of LVM" },
    { "cache-pool", "a cache pool, which has no content of its own" },
    { "cache", "a cached volume: newer data may be in its cache, which isn't read" },
    { "writecache", "a cached volume: newer data may be in its cache, which isn't read" },
    { "vdo-pool", "a VDO pool, which has no content of its own" },
    { "vdo", "a VDO volume: its data is compressed and shared in its pool, which isn't read" },
    { "integrity", "a volume with LVM's checksums between its data" },
    { "crypt", "an encrypted volume" },
    { "error", "a part of it is lost: LVM answers errors for it" },
    { "zero", "a volume without storage: LVM answers zeros for it" },
};

static void explain_type(struct lvm_volume *v, const char *type)
{
    snprintf(v->type, sizeof v->type, "%.31s", type);
    snprintf(v->why, sizeof v->why, "segments of the LVM type %.31s aren't read", type);
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (!strncmp(type, reasons[i].prefix, strlen(reasons[i].prefix))) {
            snprintf(v->why, sizeof v->why, "%s (LVM segment type %.31s)", reasons[i].why, type);
            return;
        }
}

/* Says what is in the way of showing it; false: nothing is. */
static bool is_unreadable(const struct lvm_group *g, const struct lvm_lv *lv, struct lvm_volume *v)
{
    snprintf(v->type, sizeof v->type, "linear");
    for (size_t i = 0; i < lv->n_segments; i++) {
        if (!lv->segments[i].plain) {
            explain_type(v, lv->segments[i].type);
            return true;
        }
        if (lv->segments[i].n_areas > 1)
            snprintf(v->type, sizeof v->type, "striped");
    }
    if (lv->cow) {
        explain_type(v, "snapshot");
        return true;
    }
    if (lv->merging) {
        snprintf(v->why, sizeof v->why,
                 "a snapshot is being merged back into it; the guest has to finish that");
        return true;
    }
    for (size_t i = 0; i < lv->n_segments; i++)
        for (size_t k = 0; k < lv->segments[i].n_areas; k++) {
            const struct lvm_pv *pv = &g->pvs[lv->segments[i].areas[k].pv];
            if (pv->device != LVM_NO_DEVICE && !pv->missing)
                continue;
            snprintf(v->why, sizeof v->why, "a part of it lies on the physical volume %s, which is missing",
                     pv->uuid);
            return true;
        }
    return false;
}

static void check_writable(const struct lvm_group *g, const struct lvm_lv *lv, struct lvm_volume *v)
{
    const char *why = NULL;
    if (lv->origin)
        why = "it has a snapshot, whose content a write would change";
    else if (!lv->writable)
        why = "the guest has set the logical volume read-only";
    else if (!g->writable)
        why = "the guest has set the volume group read-only";
    else if (g->shared)
        why = "the volume group is shared with other machines";
    else if (g->exported)
        why = "the volume group is exported";
    if (why)
        snprintf(v->read_only_why, sizeof v->read_only_why, "%s", why);
}

static int list_devices(const struct lvm_group *g, const struct lvm_lv *lv, struct lvm_volume *v)
{
    _cleanup_free_ bool *used = calloc(g->n_pvs ? g->n_pvs : 1, sizeof *used);
    v->devices = calloc(g->n_pvs ? g->n_pvs : 1, sizeof *v->devices);
    if (!used || !v->devices)
        return -ENOMEM;
    for (size_t i = 0; i < lv->n_segments; i++)
        for (size_t k = 0; lv->segments[i].plain && k < lv->segments[i].n_areas; k++)
            used[lv->segments[i].areas[k].pv] = true;
    for (size_t p = 0; p < g->n_pvs; p++)
        if (used[p] && g->pvs[p].device != LVM_NO_DEVICE)
            v->devices[v->n_devices++] = g->pvs[p].device;
    return 0;
}

static int make_disk(struct assembly *a, const struct lvm_group *g, const struct lvm_lv *lv,
                     struct lvm_volume *v)
{
    struct lvm_piece *pieces = calloc(lv->n_segments, sizeof *pieces);
    if (!pieces)
        return -ENOMEM;
    for (size_t i = 0; i < lv->n_segments; i++) {
        const struct lvm_segment *s = &lv->segments[i];
        struct lvm_piece *p = &pieces[i];
        *p = (struct lvm_piece){ .start = s->start * g->extent_size,
                                 .length = s->count * g->extent_size,
                                 .stripe = s->stripe,
                                 .n = s->n_areas };
        p->areas = calloc(s->n_areas, sizeof *p->areas);
        if (!p->areas) {
            lvm_pieces_free(pieces, lv->n_segments);
            return -ENOMEM;
        }
        for (size_t k = 0; k < s->n_areas; k++) {
            const struct lvm_pv *pv = &g->pvs[s->areas[k].pv];
            p->areas[k].disk = a->devices[pv->device].disk;
            p->areas[k].at = pv->start + s->areas[k].extent * g->extent_size;
            if (!v->read_only_why[0] &&
                !range_inside(p->areas[k].at, p->length / p->n, a->devices[pv->device].there))
                snprintf(v->read_only_why, sizeof v->read_only_why,
                         "a part of it lies past the end of the disk of %.200s", a->devices[pv->device].name);
        }
    }
    return lvm_disk_new(pieces, lv->n_segments, !v->read_only_why[0], &v->disk);
}

/* A name as /dev/mapper has it. */
static char *double_dashes(char *out, const char *name)
{
    for (; *name; name++) {
        if (*name == '-')
            *out++ = '-';
        *out++ = *name;
    }
    return out;
}

static int add_volume(struct assembly *a, const struct lvm_group *g, const struct lvm_lv *lv,
                      const char *group_why)
{
    struct lvm_volume *all = reallocarray(a->lvm->volumes, a->lvm->n + 1, sizeof *all);
    if (!all)
        return -ENOMEM;
    a->lvm->volumes = all;
    struct lvm_volume *v = &all[a->lvm->n++];
    *v = (struct lvm_volume){ .size = lv->extents * g->extent_size };
    snprintf(v->vg, sizeof v->vg, "%s", g->name);
    snprintf(v->lv, sizeof v->lv, "%s", lv->name);
    memcpy(v->uuid, lv->uuid, sizeof v->uuid);
    char *out = double_dashes(v->mapper, g->name);
    *out++ = '-';
    *double_dashes(out, lv->name) = 0;
    int r = list_devices(g, lv, v);
    if (r < 0)
        return r;
    bool unreadable = is_unreadable(g, lv, v);
    if (group_why[0])
        snprintf(v->why, sizeof v->why, "%.255s", group_why);
    if (unreadable || group_why[0])
        return 0;
    check_writable(g, lv, v);
    return make_disk(a, g, lv, v);
}

static int add_group(struct assembly *a, struct lvm_group *g)
{
    char why[256] = "";
    find_devices(a, g, why, sizeof why);
    for (size_t i = 0; i < g->n_lvs; i++) {
        if (!g->lvs[i].visible)
            continue;
        if (a->lvm->n == VOLUMES_MAX) {
            notes_add(a->notes, "volume group %s: only %d logical volumes are shown", g->name, VOLUMES_MAX);
            return 0;
        }
        int r = add_volume(a, g, &g->lvs[i], why);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- all of it ---- */

void lvm_free(struct lvm *lvm)
{
    if (!lvm)
        return;
    for (size_t i = 0; i < lvm->n; i++) {
        disk_close(lvm->volumes[i].disk);
        free(lvm->volumes[i].devices);
    }
    free(lvm->volumes);
    free(lvm);
}

static int assemble(struct assembly *a)
{
    int r = a->labels && a->lvm ? 0 : -ENOMEM;
    for (size_t i = 0; !r && i < a->n; i++)
        r = read_device(a, i);
    for (size_t i = 0; !r && i < a->n_groups; i++)
        r = add_group(a, a->groups[i]);
    if (!r)
        explain_devices(a);
    return r;
}

int lvm_assemble(struct lvm_device *devices, size_t n, struct notes *notes, struct lvm **ret)
{
    struct assembly a = { .devices = devices, .n = n, .notes = notes };
    a.labels = calloc(n ? n : 1, sizeof *a.labels);
    a.lvm = calloc(1, sizeof *a.lvm);
    int r = assemble(&a);
    for (size_t i = 0; i < a.n_groups; i++)
        lvm_group_free(a.groups[i]);
    free(a.groups);
    free(a.labels);
    if (r < 0)
        lvm_free(a.lvm);
    else
        *ret = a.lvm;
    return r;
}
