/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VDI made of the input. Beyond not crashing: the map covers the disk in order, what it calls data reads
 * twice alike or fails twice alike, in whole and in part, what it calls nothing is zeros, and a place without
 * a map can't be read. */
#include "formats/checked.h"
#include "formats/image.h"

#include <assert.h>
#include <string.h>

extern const struct format vdi_format;

enum { MAX_EXTENTS = 1000, READ = 8192 };

static void read_twice(struct disk *d, uint64_t off, const struct extent *e)
{
    static uint8_t once[READ], again[READ];
    size_t n = (size_t)min_u64(e->length, READ), part = n / 3;
    int r = disk_pread(d, once, n, off);
    disk_prefetch(d, off, n);
    assert(disk_pread(d, again, n, off) == r);
    if (r < 0) {
        assert(e->kind == EXTENT_DATA);
        return;
    }
    assert(!memcmp(once, again, n));
    assert(!disk_pread(d, again, n - part, off + part));
    assert(!memcmp(once + part, again, n - part));
    for (size_t i = 0; e->kind != EXTENT_DATA && i < n; i++)
        assert(!once[i]);
}

static void walk(struct disk *d)
{
    uint64_t off = 0;
    for (unsigned i = 0; i < MAX_EXTENTS && off < d->size; i++) {
        struct extent e, part;
        if (disk_map(d, off, d->size - off, &e) < 0) {
            uint8_t byte;
            assert(disk_pread(d, &byte, 1, off) < 0);
            off += 512;
            continue;
        }
        assert(e.length && e.length <= d->size - off);
        assert(!disk_map(d, off + e.length - 1, 1, &part) && part.kind == e.kind && part.length == 1);
        read_twice(d, off, &e);
        off += e.length;
    }
}

static void open_and_walk(struct file *file)
{
    struct layer layer = { 0 };
    struct fault fault = { 0 };
    struct image_env env = { .cache = cache_new(1 << 20, NULL) };
    const struct format *f;
    assert(env.cache);
    image_detect(file, &f, NULL);
    int r = vdi_format.open(file, &env, &layer, &fault);
    if (r < 0) {
        assert(fault.err == r && fault.what[0]);
    } else {
        assert(layer.disk->size && !layer.backing.name);
        walk(layer.disk);
        disk_close(layer.disk);
        backing_done(&layer.backing);
        notes_done(&layer.info.notes);
    }
    cache_free(env.cache);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct file *file;
    if (file_memory_new(data, size, "fuzz.vdi", &file) == 0) {
        open_and_walk(file);
        file_unref(file);
    }
    return 0;
}
