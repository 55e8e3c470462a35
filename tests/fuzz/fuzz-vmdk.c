/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VMDK driver on any bytes: opens, and then the map must cover the disk, and two reads be alike. ESXi's
 * deltas, which are no disks by themselves, are opened as the extents that a descriptor would name. */
#include "formats/checked.h"
#include "formats/vmdk-sparse.h"

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

typedef int (*open_extent)(struct file *file, uint64_t sectors, const struct vmdk_context *ctx,
                           struct disk **ret, struct fault *fault);

static void try_extent(struct file *file, const struct image_env *env, open_extent open)
{
    struct layer_info info = { 0 };
    struct vmdk_context ctx = { .env = env, .info = &info };
    struct disk *disk;
    struct fault fault = { 0 };
    int r = open(file, 0, &ctx, &disk, &fault);
    if (r < 0 && (fault.err != r || !fault.what[0]))
        abort();
    if (r == 0) {
        walk(disk);
        disk_close(disk);
    }
    notes_done(&info.notes);
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
    if (size && data[0] == 'C')
        try_extent(file, &env, vmdk_cowd_open);
    if (size && data[0] == 0xbe)
        try_extent(file, &env, vmdk_sesparse_open);
    file_unref(file);
    cache_free(env.cache);
    return 0;
}
