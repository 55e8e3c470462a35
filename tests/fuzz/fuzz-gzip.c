/* SPDX-License-Identifier: GPL-2.0-or-later */
/* file-gzip.c on any bytes. Beyond "no crash": what opens is what zlib's own gzip reading gives from
 * beginning to end, each chunk alone and backwards, with much memory for points and with none.
 *
 * The last byte chooses a content that the rest is the compressed beginning of, if it is 1 modulo 16: so the
 * fuzzer also sees streams that are long and right, which it would never find. */
#include "formats/checked.h"
#include "formats/file-gzip.h"
#include "formats/gzip-index.h"
#include "promise.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { CONTENT_MAX = 3 << 20 };

/* The content by zlib alone: its size, or -1 where there is no whole content. Too much of it: -2. */
static long reference(const uint8_t *data, size_t size, uint8_t *out)
{
    z_stream z = { .next_in = (Bytef *)(uintptr_t)data, .avail_in = (uInt)size };
    size_t n = 0;
    int r = Z_OK;
    PROMISE(inflateInit2(&z, 31) == Z_OK);
    do {
        z.next_out = out + n;
        z.avail_out = (uInt)(CONTENT_MAX - n);
        r = inflate(&z, Z_FINISH);
        n = CONTENT_MAX - z.avail_out;
        if (r == Z_STREAM_END)
            inflateReset(&z);
    } while (r == Z_STREAM_END && z.avail_in >= 2 && z.next_in[0] == 0x1f && z.next_in[1] == 0x8b);
    inflateEnd(&z);
    return r == Z_STREAM_END ? (long)n : z.avail_out ? -1 : -2;
}

static void check_content(struct file *f, const uint8_t *want, size_t n)
{
    uint8_t *buf = malloc(GZIP_CHUNK);
    PROMISE(buf && f->size == n);
    for (uint64_t i = div_up(n, GZIP_CHUNK); i-- > 0;) {
        size_t at = (size_t)i * GZIP_CHUNK, len = (size_t)min_u64(GZIP_CHUNK, n - at);
        struct extent e;
        PROMISE(file_pread(f, buf, len, at) == 0 && !memcmp(buf, want + at, len));
        PROMISE(file_map(f, at, len, &e) == 0 && e.length <= len);
        for (size_t k = 0; e.kind == EXTENT_HOLE && k < e.length; k++)
            PROMISE(!want[at + k]);
    }
    free(buf);
}

static void check(const uint8_t *data, size_t size, size_t memory)
{
    static uint8_t want[CONTENT_MAX];
    struct cache *cache = cache_new(GZIP_CHUNK, NULL);
    struct file *stored = NULL, *f = NULL;
    struct fault fault = { 0 };
    PROMISE(cache && file_memory_new(data, size, "fuzz.gz", &stored) == 0);
    long n = reference(data, size, want);
    int r = n == -2 ? -1 : file_gzip_new(stored, cache, &memory, NULL, &f, &fault);
    if (n != -2)
        PROMISE((r < 0) == (n < 0) && (r < 0) == (fault.err != 0));
    if (!r)
        check_content(f, want, (size_t)n);
    file_unref(f);
    file_unref(stored);
    cache_free(cache);
}

/* Compresses 256 KiB to 2 MiB made of the input, by a level of its choice, in one or two members. */
static void check_made(const uint8_t *data, size_t size, uint8_t choice)
{
    size_t n = (size_t)(choice % 8 + 1) << 18, room = compressBound(n) + 1000;
    uint8_t *content = malloc(n), *packed = malloc(room);
    PROMISE(content && packed);
    for (size_t i = 0; i < n; i++)
        content[i] = (uint8_t)(data[i % size] + (choice & 64 ? i / 70000 : 0));
    z_stream z = { .next_out = packed, .avail_out = (uInt)room };
    PROMISE(deflateInit2(&z, choice % 10, Z_DEFLATED, 31, 8, choice % 4) == Z_OK);
    for (size_t at = 0; at < n; at += n / 2) {
        z.next_in = content + at;
        z.avail_in = (uInt)(n / 2);
        bool last = at + n / 2 >= n, member = last || choice & 32;
        PROMISE(deflate(&z, member ? Z_FINISH : Z_FULL_FLUSH) == (member ? Z_STREAM_END : Z_OK));
        if (member)
            deflateReset(&z);
    }
    check(packed, room - z.avail_out, choice & 16 ? 0 : 1 << 20);
    deflateEnd(&z);
    free(content);
    free(packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 1 << 16)
        return 0;
    check(data, size - 1, data[size - 1] & 128 ? 0 : 1 << 20);
    if (data[size - 1] % 16 == 1)
        check_made(data, size - 1, data[size - 1] / 16 * 17);
    return 0;
}
