/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VHDX of 8 MiB, into which the input writes pieces: all that matters lies at multiples of 64 KiB or 1 MiB,
 * and no mutation of a whole file would find it.
 *
 *     flags (bit 0: make the checksums right) | page u16, offset in it u16, length u16, bytes | ...
 *
 * Beyond not crashing: the map covers the disk in order, what it calls data reads twice alike or fails twice
 * alike, in whole and in part, and prefetching harms nothing. */
#include "formats/checked.h"
#include "formats/hash.h"
#include "formats/image.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

extern const struct format vhdx_format;

enum { PAGE = 4096, FILE_SIZE = 8 << 20, MAX_EXTENTS = 500, READ = 8192, MAX_LOG_CHECKED = 1 << 20 };

static uint8_t content[FILE_SIZE];
static bool touched[FILE_SIZE / PAGE];

/* ---- the file ---- */

static int content_pread(struct file *f, void *buf, size_t len, uint64_t off)
{
    (void)f;
    memcpy(buf, content + off, len);
    return 0;
}

static int content_map(struct file *f, uint64_t off, uint64_t len, struct extent *ret)
{
    (void)f;
    const bool data = touched[off / PAGE];
    uint64_t end = off / PAGE + 1;
    while (end < FILE_SIZE / PAGE && touched[end] == data)
        end++;
    *ret =
        (struct extent){ .length = min_u64(len, end * PAGE - off), .kind = data ? EXTENT_DATA : EXTENT_HOLE };
    return 0;
}

static int content_open_ref(struct file *f, const char *role, const char *name, struct file **ret,
                            struct fault *fault)
{
    (void)ret;
    return fault_in(fault, -ENOENT, f->name, "the %s \"%s\" is missing", role, name);
}

static void content_close(struct file *f)
{
    (void)f;
}

static const struct file_ops content_ops = {
    .name = "content",
    .pread = content_pread,
    .map = content_map,
    .open_ref = content_open_ref,
    .close = content_close,
};

static void content_put(size_t at, const uint8_t *p, size_t n)
{
    if (!range_inside(at, n, FILE_SIZE))
        return;
    memcpy(content + at, p, n);
    for (size_t page = at / PAGE; n && page <= (at + n - 1) / PAGE; page++)
        touched[page] = true;
}

static void content_seal(size_t at, size_t n)
{
    uint8_t crc[4] = { 0 };
    content_put(at + 4, crc, 4);
    put_le32(crc, crc32c(content + at, n));
    content_put(at + 4, crc, 4);
}

/* Headers, region tables, and what looks like log entries that don't wrap. */
static void content_seal_all(void)
{
    size_t budget = MAX_LOG_CHECKED;
    for (size_t at = 65536; at <= 262144; at += 65536)
        if (touched[at / PAGE])
            content_seal(at, at < 196608 ? PAGE : 65536);
    for (size_t at = 1 << 20; at < FILE_SIZE; at += PAGE) {
        struct bad bad = { 0 };
        struct bytes b = bytes_of(content + at, PAGE, at, &bad);
        size_t n = le32(b, 8);
        if (!bytes_match(b, 0, "loge", 4) || n < 64 || n > budget || n > FILE_SIZE - at)
            continue;
        content_seal(at, n);
        budget -= n;
    }
}

static void content_make(const uint8_t *data, size_t size)
{
    struct bad bad = { 0 };
    struct bytes b = bytes_of(data, size, 0, &bad);
    for (size_t i = 0; i < FILE_SIZE / PAGE; i++)
        if (touched[i])
            memset(content + i * PAGE, 0, PAGE);
    memset(touched, 0, sizeof touched);
    content_put(0, (const uint8_t *)"vhdxfile", 8);
    for (size_t at = 1; at + 6 <= size;) {
        size_t place = (size_t)le16(b, at) * PAGE + le16(b, at + 2);
        size_t n = (size_t)min_u64(le16(b, at + 4), size - at - 6);
        content_put(place, data + at + 6, n);
        at += 6 + n;
    }
    if (u8(b, 0) & 1)
        content_seal_all();
}

/* ---- the disk ---- */

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
            off += 1 << 20;
            continue;
        }
        assert(e.length && e.length <= d->size - off);
        assert(!disk_map(d, off + e.length - 1, 1, &part) && part.kind == e.kind && part.length == 1);
        read_twice(d, off, e.length);
        off += e.length;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    struct file *file = &(struct file){ .ops = &content_ops, .refs = 1, .size = FILE_SIZE };
    struct layer layer = { 0 };
    struct fault fault = { 0 };
    struct image_env env = { .cache = cache_new(1 << 20, NULL) };
    file->name = strdup("fuzz.vhdx");
    assert(env.cache && file->name);
    content_make(data, size);
    int r = vhdx_format.open(file, &env, &layer, &fault);
    if (r < 0) {
        assert(fault.err == r && fault.what[0]);
    } else {
        assert(layer.disk->size == layer.info.virtual_size);
        assert(!layer.backing.name || layer.backing.link_id[0]);
        walk(layer.disk);
        disk_close(layer.disk);
        backing_done(&layer.backing);
        notes_done(&layer.info.notes);
    }
    cache_free(env.cache);
    file_unref(file);
    return 0;
}
