/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files that Windows keeps compressed outside of NTFS (WOF; "CompactOS"): the unnamed $DATA is a hole as long
 * as the content, a reparse point says how it is compressed, and the content is in the stream
 * "WofCompressedData":
 *
 *     reparse data:  u32 1   u32 provider, 2: in this file   u32 1   u32 0 XPRESS4K, 1 LZX, 2 XPRESS8K, 3
 * XPRESS16K stream:        table: for each chunk but the first, where it begins, counted from the table's
 * end: u32, or u64 when the content has 4 GiB or more chunks, one behind the other; each makes 4, 8, 16 or
 * (LZX) 32 KiB, the last one what is left; one that is as long as what it makes is stored as it is
 *
 * Of another provider (1: the content is in a WIM file), or of a format that we don't know, every read is
 * EIO. A chunk is decompressed when it is read, and kept in the cache; its place in the table is looked up
 * then and held against the stream. Source: the format's description in ebiggers' ntfs-3g-system-compression;
 * fact sheet ext4-ntfs-libs B.5. */
#include "ntfs.h"

#include "../formats/bytes.h"
#include "../formats/checked.h"
#include "xpress.h"

#include <errno.h>

enum {
    REPARSE_HEADER = 8,
    WOF_VERSION = 0,
    WOF_PROVIDER = 4,
    WOF_FILE_VERSION = 8,
    WOF_FORMAT = 12,
    WOF_SIZE = 16,
    PROVIDER_FILE = 2,
    REPARSE_MAX = 16 * 1024,
};

static const struct {
    unsigned chunk_shift;
    int (*decompress)(const uint8_t *src, size_t src_len, uint8_t *dst, size_t dst_len);
} formats[] = {
    { 12, xpress_decompress },
    { 15, lzx_decompress },
    { 13, xpress_decompress },
    { 14, xpress_decompress },
};

struct ntfs_wof {
    struct ntfs_data stream; /* the compressed content */
    uint64_t size;           /* of the content */
    uint64_t name;           /* of the chunks in the cache, with their owner */
    unsigned format, entry_size;
    uint64_t chunks, table_size;
};

/* ---- load (locked) ---- */

static int read_format(struct ntfs *v, ntfs_inode *ni, unsigned *ret)
{
    _cleanup_free_ uint8_t *value = NULL;
    size_t n;
    int r = ntfs_load_value(v, ni, AT_REPARSE_POINT, REPARSE_MAX, &value, &n);
    if (r < 0)
        return r;
    struct bad bad = { 0 };
    struct bytes b = bytes_sub(bytes_of(value, n, 0, &bad), REPARSE_HEADER, WOF_SIZE);
    uint32_t format = le32(b, WOF_FORMAT);
    if (bad.set || le32(b, WOF_VERSION) != 1 || le32(b, WOF_PROVIDER) != PROVIDER_FILE ||
        le32(b, WOF_FILE_VERSION) != 1 || format >= sizeof formats / sizeof formats[0])
        return -EIO;
    *ret = format;
    return 0;
}

static int load_stream(struct ntfs *v, ntfs_inode *ni, struct ntfs_data *ret)
{
    ntfschar *name = NULL;
    int len = ntfs_mbstoucs(NTFS_WOF_STREAM, &name);
    int r = len > 0 ? ntfs_data_load(v, ni, AT_DATA, name, (uint32_t)len, ret) : ntfs_failed();
    free(name);
    return r == -ENODATA ? -EIO : r;
}

int ntfs_wof_load(struct ntfs *v, ntfs_inode *ni, struct ntfs_data *ret)
{
    struct ntfs_wof *w = calloc(1, sizeof *w);
    if (!w)
        return -ENOMEM;
    w->size = ni->data_size > 0 ? (uint64_t)ni->data_size : 0;
    w->name = v->volume.writable ? ++v->loads : ni->mft_no; /* as in ntfs_data_load() */
    int r = read_format(v, ni, &w->format);
    if (!r)
        r = load_stream(v, ni, &w->stream);
    if (r < 0) {
        free(w);
        return r;
    }
    w->chunks = div_up(w->size, (uint64_t)1 << formats[w->format].chunk_shift);
    w->entry_size = w->size > UINT32_MAX ? 8 : 4;
    w->table_size = w->chunks ? (w->chunks - 1) * w->entry_size : 0;
    *ret = (struct ntfs_data){ .ntfs = v, .size = w->size, .wof = w };
    return 0;
}

void ntfs_wof_free(struct ntfs_wof *w)
{
    if (!w)
        return;
    ntfs_data_done(&w->stream);
    free(w);
}

/* ---- read (not locked) ---- */

static int read_stream(const struct ntfs_wof *w, void *buf, size_t len, uint64_t off)
{
    size_t n;
    if (!range_inside(off, len, w->stream.size))
        return -EIO;
    int r = ntfs_data_read(&w->stream, buf, len, off, &n);
    return r < 0 ? r : n == len ? 0 : -EIO;
}

/* Where chunk `i` begins, from the table's end on; of the one behind the last: where the stream ends. */
static int chunk_begin(const struct ntfs_wof *w, uint64_t i, uint64_t *ret)
{
    uint8_t entry[8] = { 0 };
    struct bad bad = { 0 };
    if (w->stream.size < w->table_size)
        return -EIO;
    *ret = i ? w->stream.size - w->table_size : 0;
    if (!i || i == w->chunks)
        return 0;
    int r = read_stream(w, entry, w->entry_size, (i - 1) * w->entry_size);
    *ret = le64(bytes_of(entry, sizeof entry, 0, &bad), 0);
    return r;
}

static int load_chunk(void *ctx, uint64_t id, void *buf, size_t size)
{
    const struct ntfs_wof *w = ctx;
    uint64_t i = id & UINT32_MAX, begin = 0, end = 0;
    int r = chunk_begin(w, i, &begin);
    if (!r)
        r = chunk_begin(w, i + 1, &end);
    if (r < 0)
        return r;
    if (begin >= end || end - begin > size)
        return -EIO;
    size_t n = end - begin;
    if (n == size)
        return read_stream(w, buf, n, w->table_size + begin);
    _cleanup_free_ uint8_t *in = malloc(n);
    if (!in)
        return -ENOMEM;
    r = read_stream(w, in, n, w->table_size + begin);
    return r < 0 ? r : formats[w->format].decompress(in, n, buf, size);
}

/* Part of chunk i (of `size` bytes), from the cache where it has a name there. */
static int read_chunk(const struct ntfs_data *d, uint64_t i, size_t size, uint8_t *buf, size_t len,
                      size_t within)
{
    struct ntfs_wof *w = d->wof;
    struct cache_block *b;
    if (i > UINT32_MAX)
        return -EIO; /* 16 TiB */
    if (w->name > UINT32_MAX) {
        _cleanup_free_ uint8_t *whole = malloc(size);
        int r = whole ? load_chunk(w, i, whole, size) : -ENOMEM;
        if (!r)
            memcpy(buf, whole + within, len);
        return r;
    }
    int r =
        cache_get(d->ntfs->cache, d->ntfs->wof_owner[w->format], w->name << 32 | i, size, load_chunk, w, &b);
    if (r < 0)
        return r;
    memcpy(buf, b->data + within, len);
    cache_put(d->ntfs->cache, b);
    return 0;
}

int ntfs_wof_read(const struct ntfs_data *d, uint8_t *buf, size_t len, uint64_t off)
{
    const struct ntfs_wof *w = d->wof;
    const uint64_t most = (uint64_t)1 << formats[w->format].chunk_shift;
    while (len) {
        uint64_t i = off / most, start = i * most, size = min_u64(w->size - start, most);
        size_t within = (size_t)(off - start), n = (size_t)min_u64(len, size - within);
        int r = read_chunk(d, i, (size_t)size, buf, n, within);
        if (r < 0)
            return r;
        buf += n;
        off += n;
        len -= n;
    }
    return 0;
}
