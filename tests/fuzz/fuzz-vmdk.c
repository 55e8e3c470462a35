/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VMDK driver on any bytes: opens, and then the map must cover the disk, and two reads be alike. */
#include "formats/checked.h"
#include "formats/image.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_EXTENTS = 512, READ = 8192, MAX_READS = 32, CACHE = 1 << 20 };

extern const struct format vmdk_format;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_twice(struct disk *d, uint64_t off, size_t len, bool zeros)
{
    static uint8_t a[READ], b[READ];
    int r = disk_pread(d, a, len, off);
    if (disk_pread(d, b, len, off) != r || (!r && memcmp(a, b, len)))
        abort();
    if (!r && len > 1 && (disk_pread(d, b, len - 1, off + 1) != 0 || memcmp(a + 1, b, len - 1)))
        abort();
    for (size_t i = 0; zeros && i < len; i++)
        if (r || a[i])
            abort();
}

static void walk(struct disk *d)
{
    unsigned reads = 0;
    uint64_t off = 0;
    for (unsigned i = 0; i < MAX_EXTENTS && off < d->size; i++) {
        struct extent e;
        if (disk_map(d, off, d->size - off, &e) < 0) { /* a damaged place: it must not read as anything */
            uint8_t byte;
            if (disk_pread(d, &byte, 1, off) == 0)
                abort();
            off += min_u64(d->size - off, 512);
            continue;
        }
        if (!e.length || e.length > d->size - off)
            abort();
        if (reads++ < MAX_READS)
            read_twice(d, off, (size_t)min_u64(e.length, READ), e.kind != EXTENT_DATA);
        off += e.length;
    }
    disk_prefetch(d, 0, d->size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct file *file;
    struct fault fault = { 0 };
    struct image_env env = { .cache = cache_new(CACHE, NULL) };
    struct layer l = { 0 };
    if (!env.cache || file_memory_new(data, size, "fuzz.vmdk", &file) < 0)
        abort();
    const struct format *ignored;
    image_detect(file, &ignored, NULL);
    int r = vmdk_format.open(file, &env, &l, &fault);
    if (r < 0 && (fault.err != r || !fault.what[0]))
        abort();
    if (r == 0) {
        walk(l.disk);
        disk_close(l.disk);
        backing_done(&l.backing);
        notes_done(&l.info.notes);
    }
    file_unref(file);
    cache_free(env.cache);
    return 0;
}
