/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening a hive: the base block, whether it is dirty, and whether it can be trusted to be written. Nothing
 * of the bins is read here, except by the replay of logs. */
#include "hive-internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static uint32_t field(const struct hive *h, size_t off)
{
    struct bad bad = { 0 };
    return le32(bytes_of(h->base, sizeof h->base, 0, &bad), off);
}

/* Says once why it can't be written; a warning where it wasn't asked for. */
static void not_writable(struct hive *h, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void not_writable(struct hive *h, const char *fmt, ...)
{
    va_list ap;
    h->state.writable = false;
    if (h->state.why[0])
        return;
    va_start(ap, fmt);
    vsnprintf(h->state.why, sizeof h->state.why, fmt, ap);
    va_end(ap);
}

/* What a bad base block can't say: how many bins follow each other in the file. */
static uint32_t count_bins(struct hive_file *f)
{
    uint64_t at = 0, end = f->size < HIVE_BASE_SIZE ? 0 : min_u64(f->size - HIVE_BASE_SIZE, HIVE_SIZE_MAX);
    for (;;) {
        uint8_t head[12];
        struct bad bad = { 0 };
        struct bytes b = bytes_of(head, sizeof head, at, &bad);
        if (end - at < HIVE_PAGE || f->ops->pread(f, head, sizeof head, HIVE_BASE_SIZE + at) < 0 ||
            memcmp(head, "hbin", 4) || le32(b, 4) != at)
            return (uint32_t)at;
        uint32_t size = le32(b, 8);
        if (!size || size % HIVE_PAGE || size > end - at)
            return (uint32_t)at;
        at += size;
    }
}

/* -EMEDIUMTYPE, or -ENOTSUP for what is a hive, but not one that we can read. */
static int read_base(struct hive *h, struct fault *fault)
{
    struct hive_file *f = h->files.primary;
    if (f->size < BASE_SUM_SIZE)
        return fault_in(fault, -EMEDIUMTYPE, f->name, "not a registry hive: it has %llu bytes",
                        (unsigned long long)f->size);
    int r = f->ops->pread(f, h->base, (size_t)min_u64(f->size, HIVE_BASE_SIZE), 0);
    if (r < 0)
        return fault_at(fault, r, f->name, 0, "the hive's base block can't be read");
    h->base_bad = !hive_base_is_valid(h->base, false);
    if (memcmp(h->base, "regf", 4))
        return fault_at(fault, -EMEDIUMTYPE, f->name, 0, "not a registry hive");
    if (field(h, BASE_TYPE) && hive_base_is_valid(h->base, true))
        return fault_at(fault, -EMEDIUMTYPE, f->name, BASE_TYPE, "a registry hive's log, not a hive");
    return 0;
}

static int check_version(const struct hive *h, struct fault *fault)
{
    uint32_t major = field(h, BASE_MAJOR), minor = field(h, BASE_MINOR);
    if (major == 1 && minor >= 3 && minor <= 6)
        return 0;
    return fault_at(fault, -ENOTSUP, h->files.primary->name, BASE_MAJOR,
                    "a hive of version %u.%u; 1.3 to 1.6 are understood", major, minor);
}

/* Replays what there is to replay, and decides what the hive may be used for. */
static int settle(struct hive *h, unsigned flags, struct fault *fault)
{
    struct hive_file *f = h->files.primary;
    h->state.dirty = h->base_bad || field(h, BASE_SEQUENCE1) != field(h, BASE_SEQUENCE2);
    h->sequence = (uint32_t)max_u64(field(h, BASE_SEQUENCE1), field(h, BASE_SEQUENCE2));
    h->state.writable = (flags & HIVE_WRITABLE) && f->ops->pwrite;
    if (h->state.dirty) {
        int r = hive_replay(h);
        if (r < 0)
            return fault_in(fault, r, f->name, "the hive's log can't be replayed");
        h->base_dirty = true;
    }
    int r = check_version(h, fault);
    if (r < 0)
        return r;
    if (h->base_bad)
        not_writable(h, "the hive's base block is damaged, and no log has it");
    else if (h->state.dirty && !h->state.replayed && !(flags & HIVE_ACCEPT_DIRTY))
        not_writable(h, "the hive is dirty, and there is no log that could be replayed");
    if (!hive_pages_are_complete(h->pages))
        not_writable(h, "the file ends before the hive does");
    if (h->state.minor >= 6 && field(h, BASE_FLAGS) & BASE_FLAG_LAYERED)
        not_writable(h, "the hive has layered keys");
    return 0;
}

static void close_file(struct hive_file *f)
{
    if (f && f->ops->close)
        f->ops->close(f);
}

int hive_open(const struct hive_files *files, unsigned flags, size_t cache_bytes, struct hive **ret,
              struct fault *fault)
{
    struct hive *h = calloc(1, sizeof *h);
    if (!h) {
        struct hive nothing = { .files = *files };
        hive_files_close(&nothing.files);
        return fault_in(fault, -ENOMEM, NULL, "out of memory");
    }
    h->files = *files;
    int r = read_base(h, fault);
    uint32_t size = 0;
    if (!r) {
        h->root = field(h, BASE_ROOT);
        h->state.minor = field(h, BASE_MINOR);
        size = h->base_bad ? count_bins(h->files.primary) : field(h, BASE_BINS);
        h->sorted = hive_sorted_new();
        h->value_index = hive_value_index_new();
        r = h->sorted && h->value_index ? hive_pages_new(h->files.primary, size, cache_bytes, &h->pages)
                                        : -ENOMEM;
        if (r < 0)
            fault_in(fault, r, NULL, "out of memory");
    }
    if (!r)
        r = settle(h, flags, fault);
    if (r < 0) {
        hive_close(h);
        return r;
    }
    *ret = h;
    return 0;
}

void hive_files_close(struct hive_files *files)
{
    close_file(files->primary);
    close_file(files->log);
    close_file(files->log1);
    close_file(files->log2);
    *files = (struct hive_files){ 0 };
}

void hive_close(struct hive *h)
{
    if (!h)
        return;
    hive_edits_free(h);
    hive_pages_free(h->pages);
    hive_sorted_free(h->sorted);
    hive_value_index_free(h->value_index);
    hive_files_close(&h->files);
    free(h);
}

void hive_state(const struct hive *h, struct hive_state *ret)
{
    *ret = h->state;
}

uint64_t hive_image_size(const struct hive *h)
{
    return HIVE_BASE_SIZE + (uint64_t)hive_pages_size(h->pages);
}

void hive_base_now(const struct hive *h, uint32_t sequence, uint8_t ret[HIVE_BASE_SIZE])
{
    memcpy(ret, h->base, HIVE_BASE_SIZE);
    put_le32(ret + BASE_SEQUENCE1, sequence);
    put_le32(ret + BASE_SEQUENCE2, sequence);
    put_le32(ret + BASE_TYPE, 0);
    put_le32(ret + BASE_ROOT, h->root);
    put_le32(ret + BASE_BINS, hive_pages_size(h->pages));
    put_le32(ret + BASE_CHECKSUM, hive_checksum(ret));
}

int hive_image_read(const struct hive *h, void *buf, size_t len, uint64_t off)
{
    uint8_t *to = buf;
    if (!range_inside(off, len, hive_image_size(h)))
        return -EINVAL;
    if (off < HIVE_BASE_SIZE) {
        uint8_t base[HIVE_BASE_SIZE];
        size_t n = (size_t)min_u64(len, HIVE_BASE_SIZE - off);
        if (hive_is_dirty(h) || h->state.replayed)
            hive_base_now(h, h->sequence + 1, base);
        else
            memcpy(base, h->base, sizeof base);
        memcpy(to, base + off, n);
        to += n;
        off += n;
        len -= n;
    }
    return len ? hive_read(h, (uint32_t)(off - HIVE_BASE_SIZE), to, len) : 0;
}
