/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disk by disk, partition by partition: a signature says what a volume is, a driver opens it. Whatever goes
 * wrong is the reason of that one volume and takes nothing else down. Logical volumes come last: those of LVM
 * may lie on several disks. */
#include "scan.h"

#include "../formats/checked.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Microsoft reserved, BIOS boot, LDM metadata, extended: partitions that hold no file system by their type.
 */
static const struct {
    uint8_t guid[16];
    const char *type;
} bare_types[] = {
    { { 0x16, 0xe3, 0xc9, 0xe3, 0x5c, 0x0b, 0xb8, 0x4d, 0x81, 0x7d, 0xf9, 0x2d, 0xf0, 0x02, 0x15, 0xae },
      "msr" },
    { { 0x48, 0x61, 0x68, 0x21, 0x49, 0x64, 0x6f, 0x6e, 0x74, 0x4e, 0x65, 0x65, 0x64, 0x45, 0x46, 0x49 },
      "bios-boot" },
};

static const char *bare_type(const struct partition *p)
{
    for (size_t i = 0; p && i < sizeof bare_types / sizeof bare_types[0]; i++)
        if (!memcmp(p->type_guid, bare_types[i].guid, 16))
            return bare_types[i].type;
    return NULL;
}

static struct guest_volume *add_volume(struct guest *g, size_t disk, const struct partition *p)
{
    struct guest_volume *all = realloc(g->volumes, (g->n_volumes + 1) * sizeof *all);
    if (!all)
        return NULL;
    g->volumes = all;
    struct guest_volume *v = &all[g->n_volumes++];
    *v = (struct guest_volume){ .disk = disk, .partition = p };
    if (p)
        snprintf(v->name, sizeof v->name, "disk%zup%u", disk, p->number);
    else
        snprintf(v->name, sizeof v->name, "disk%zu", disk);
    return v;
}

/* Of a partition whose disk was cut short: the bytes that are there. */
static uint64_t length_there(const struct guest_volume *v, const struct disk *disk)
{
    return v->start >= disk->size ? 0 : min_u64(v->length, disk->size - v->start);
}

static int open_by_driver(const struct volume_driver *d, struct guest_volume *v, struct cache *cache,
                          const struct guest_options *o, bool cut, struct fault *fault)
{
    if (cut || !o->writable || !d->open_writable || !disk_writable(v->slice))
        return d->open(v->slice, v->name, cache, &v->volume, fault);
    unsigned flags = o->discard_hibernation ? VOLUME_DISCARD_HIBERNATION : 0;
    int r = d->open_writable(v->slice, v->name, cache, flags, &v->volume, fault);
    if (!r && v->volume->writable && v->volume->ops->recover)
        r = v->volume->ops->recover(v->volume);
    return r;
}

static void open_volume(struct guest_volume *v, struct disk *disk, struct cache *cache,
                        const struct guest_options *o)
{
    int r = disk_slice_new(disk, v->start, v->length, &v->slice);
    if (!r)
        r = signature_probe(v->slice, &v->signature);
    if (r < 0) {
        snprintf(v->why, sizeof v->why, "can't be read: %s", strerror(-r));
        return;
    }
    if (!v->signature.type[0] && bare_type(v->partition))
        snprintf(v->signature.type, sizeof v->signature.type, "%s", bare_type(v->partition));
    const struct volume_driver *d = volume_driver_for(v->signature.type);
    if (!d) {
        snprintf(v->why, sizeof v->why, "%s",
                 v->signature.type[0] ? "not a file system that ferryfs reads"
                                      : "no file system is recognised");
        return;
    }
    struct fault fault = { 0 };
    /* Then it is for saving what is there; what an edit would have to lie on is gone. */
    bool cut = length_there(v, disk) < v->length;
    r = open_by_driver(d, v, cache, o, cut, &fault);
    if (r == 0 && cut)
        snprintf(v->volume->read_only_why, sizeof v->volume->read_only_why,
                 "its partition ends at byte %llu, past the end of the disk at %llu",
                 (unsigned long long)(v->start + v->length), (unsigned long long)disk->size);
    if (r < 0) {
        v->volume = NULL;
        if (!fault.err)
            fault_in(&fault, r, v->name, "can't be opened: %s", strerror(-r));
        fault_reason(&fault, v->why, sizeof v->why);
    }
}

static void scan_disk(struct guest *g, size_t i, struct cache *cache, const struct guest_options *o)
{
    struct guest_disk *d = &g->disks[i];
    if (!d->disk)
        return;
    int r = partition_table_read(d->disk, &d->table, &d->why);
    if (r < 0) {
        d->table = NULL;
        if (!d->why.err)
            fault_in(&d->why, r, "", "the partition table can't be read: %s", strerror(-r));
        struct guest_volume *v = add_volume(g, i, NULL);
        if (v) {
            v->length = d->disk->size;
            fault_reason(&d->why, v->why, sizeof v->why);
        }
        return;
    }
    if (d->table->kind == TABLE_NONE) {
        struct guest_volume *v = add_volume(g, i, NULL);
        if (v) {
            v->length = d->disk->size;
            open_volume(v, d->disk, cache, o);
        }
        return;
    }
    for (size_t k = 0; k < d->table->n; k++) {
        const struct partition *p = &d->table->partitions[k];
        struct guest_volume *v = add_volume(g, i, p);
        if (!v)
            return;
        v->start = p->start;
        v->length = p->length;
        open_volume(v, d->disk, cache, o);
    }
}

/* ---- LVM ---- */

static bool name_taken(const struct guest *g, const struct guest_volume *but)
{
    for (size_t i = 0; i < g->n_volumes; i++)
        if (&g->volumes[i] != but && !strcmp(g->volumes[i].name, but->name))
            return true;
    return false;
}

/* VG-LV. Where two are the same by that (a-b and c, a and b-c) the second is called as in /dev/mapper, and
 * where that doesn't help (two groups of one name) it is numbered. */
static void name_logical(const struct guest *g, struct guest_volume *v)
{
    snprintf(v->name, sizeof v->name, "%s-%s", v->lv->vg, v->lv->lv);
    if (name_taken(g, v) && strlen(v->lv->mapper) < sizeof v->name)
        snprintf(v->name, sizeof v->name, "%.255s", v->lv->mapper);
    for (unsigned n = 2; name_taken(g, v); n++)
        snprintf(v->name, sizeof v->name, "%.110s-%.110s~%u", v->lv->vg, v->lv->lv, n);
}

static void add_logical(struct guest *g, const struct lvm_volume *lv, struct cache *cache,
                        const struct guest_options *o)
{
    size_t disk = lv->n_devices ? g->volumes[lv->devices[0]].disk : 0;
    struct guest_volume *v = add_volume(g, disk, NULL);
    if (!v)
        return;
    v->lv = lv;
    v->length = lv->size;
    name_logical(g, v);
    if (!lv->disk) {
        snprintf(v->signature.type, sizeof v->signature.type, "lvm-%.11s", lv->type);
        snprintf(v->why, sizeof v->why, "%s", lv->why);
        return;
    }
    open_volume(v, lv->disk, cache, o);
    if (v->volume && lv->read_only_why[0]) {
        v->volume->writable = false;
        snprintf(v->volume->read_only_why, sizeof v->volume->read_only_why, "%s", lv->read_only_why);
    }
}

static void scan_lvm(struct guest *g, struct cache *cache, const struct guest_options *o)
{
    size_t n = 0;
    _cleanup_free_ struct lvm_device *devices = calloc(g->n_volumes ? g->n_volumes : 1, sizeof *devices);
    _cleanup_free_ size_t *volumes = calloc(g->n_volumes ? g->n_volumes : 1, sizeof *volumes);
    if (!devices || !volumes)
        return;
    for (size_t i = 0; i < g->n_volumes; i++) {
        const struct guest_volume *v = &g->volumes[i];
        if (strcmp(v->signature.type, "lvm2") || !v->slice)
            continue;
        volumes[n] = i;
        devices[n++] = (struct lvm_device){
            .disk = v->slice,
            .name = v->name,
            .there = length_there(v, g->disks[v->disk].disk),
        };
    }
    if (!n || lvm_assemble(devices, n, &g->notes, &g->lvm) < 0)
        return;
    for (size_t k = 0; k < n; k++)
        snprintf(g->volumes[volumes[k]].why, sizeof g->volumes->why, "%s", devices[k].why);
    for (size_t i = 0; i < g->lvm->n; i++) {
        struct lvm_volume *lv = &g->lvm->volumes[i];
        for (size_t k = 0; k < lv->n_devices; k++)
            lv->devices[k] = volumes[lv->devices[k]];
        add_logical(g, lv, cache, o);
    }
}

struct guest *guest_scan(struct disk *const *disks, size_t n, struct cache *cache,
                         const struct guest_options *o)
{
    static const struct guest_options reading;
    struct guest *g = calloc(1, sizeof *g);
    if (g)
        g->disks = calloc(n ? n : 1, sizeof *g->disks);
    if (!g || !g->disks) {
        free(g);
        return NULL;
    }
    g->n_disks = n;
    for (size_t i = 0; i < n; i++) {
        g->disks[i].disk = disks[i];
        scan_disk(g, i, cache, o ? o : &reading);
    }
    scan_lvm(g, cache, o ? o : &reading);
    guest_inspect(g);
    return g;
}

void guest_free(struct guest *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->n_systems; i++) {
        for (size_t k = 0; k < g->systems[i].n_mounts; k++)
            free(g->systems[i].mounts[k].path);
        free(g->systems[i].mounts);
    }
    free(g->systems);
    for (size_t i = 0; i < g->n_volumes; i++)
        volume_close(g->volumes[i].volume);
    for (size_t i = 0; i < g->n_volumes; i++)
        disk_close(g->volumes[i].slice);
    free(g->volumes);
    lvm_free(g->lvm);
    for (size_t i = 0; i < g->n_disks; i++)
        if (g->disks[i].table)
            partition_table_free(g->disks[i].table);
    free(g->disks);
    notes_done(&g->notes);
    free(g);
}
