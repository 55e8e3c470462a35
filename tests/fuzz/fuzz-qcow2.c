/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A qcow2 image made of the input. Beyond not crashing: the map covers the disk in order, what it calls data
 * reads twice alike or fails twice alike, in whole and in part, and prefetching harms nothing; the same holds
 * for its internal snapshots. */
#include "formats/checked.h"
#include "formats/image.h"

#include <assert.h>
#include <string.h>

extern const struct format qcow2_format;

enum { MAX_EXTENTS = 2000, MAX_SNAPSHOTS = 4, READ = 8192 };

static void read_twice(struct disk *d, uint64_t off, uint64_t length)
{
    static uint8_t once[READ], again[READ];
    size_t n = (size_t)min_u64(length, READ), part = n / 3;
    int r = disk_pread(d, once, n, off);
    disk_prefetch(d, off, n);
    assert(disk_pread(d, again, n, off) == r);
    if (r < 0)
        return;
    assert(!memcmp(once, again, n));
    assert(!disk_pread(d, again, n - part, off + part));
    assert(!memcmp(once + part, again, n - part));
}

static void walk(struct disk *d)
{
    uint64_t off = 0;
    for (unsigned i = 0; i < MAX_EXTENTS && off < d->size; i++) {
        struct extent e, part;
        if (disk_map(d, off, d->size - off, &e) < 0) {
            off += 512;
            continue;
        }
        assert(e.length && e.length <= d->size - off);
        assert(!disk_map(d, off + e.length - 1, 1, &part) && part.kind == e.kind && part.length == 1);
        read_twice(d, off, e.length);
        off += e.length;
    }
}

static void check_info(const struct layer_info *info)
{
    assert(info->n_snapshots <= IMAGE_MAX_SNAPSHOTS && info->n_bitmaps <= IMAGE_MAX_BITMAPS);
    for (size_t i = 0; i < info->n_snapshots; i++) {
        const struct image_snapshot *s = &info->snapshots[i];
        assert(s->id && s->name && strlen(s->name) <= s->name_n && !s->name[s->name_n]);
        assert(s->date.tv_nsec < 1000000000);
    }
    for (size_t i = 0; i < info->n_bitmaps; i++)
        assert(info->bitmaps[i].name && is_power_of_two(info->bitmaps[i].granularity));
}

static void walk_snapshots(const struct layer *layer)
{
    for (size_t i = 0; i < layer->info.n_snapshots && i < MAX_SNAPSHOTS; i++) {
        struct layer snapshot = { 0 };
        struct fault fault = { 0 };
        if (layer->info.snapshots[i].why)
            continue;
        int r = qcow2_format.open_snapshot(layer->disk, i, &snapshot, &fault);
        if (r < 0) {
            assert(fault.err == r && fault.what[0]);
            continue;
        }
        assert(snapshot.disk->size == layer->info.snapshots[i].size);
        walk(snapshot.disk);
        disk_close(snapshot.disk);
        layer_info_done(&snapshot.info);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct file *file;
    struct layer layer = { 0 };
    struct fault fault = { 0 };
    struct image_env env = { .cache = cache_new(1 << 20, NULL) };
    if (!env.cache)
        return 0;
    if (file_memory_new(data, size, "fuzz.qcow2", &file) < 0) {
        cache_free(env.cache);
        return 0;
    }
    int r = qcow2_format.open(file, &env, &layer, &fault);
    if (r < 0) {
        assert(fault.err == r && fault.what[0]);
    } else {
        walk(layer.disk);
        check_info(&layer.info);
        walk_snapshots(&layer);
        disk_close(layer.disk);
        backing_done(&layer.backing);
        layer_info_done(&layer.info);
    }
    cache_free(env.cache);
    file_unref(file);
    return 0;
}
