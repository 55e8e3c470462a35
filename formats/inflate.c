/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libdeflate is two to three times as fast as zlib, but wants a stream that ends properly. Writers of qcow2
 * are known that leave the end off once the cluster is full, so what libdeflate refuses is tried again by
 * zlib, which stops when the buffer is full. */
#include "inflate.h"

#include <errno.h>
#include <libdeflate.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

struct inflaters {
    struct libdeflate_decompressor *deflate;
    ZSTD_DCtx *zstd;
};

static pthread_key_t inflaters_key;
static pthread_once_t inflaters_once = PTHREAD_ONCE_INIT;
static bool inflaters_key_made;

static void inflaters_free(void *arg)
{
    struct inflaters *i = arg;
    if (i->deflate)
        libdeflate_free_decompressor(i->deflate);
    ZSTD_freeDCtx(i->zstd);
    free(i);
}

static void inflaters_init(void)
{
    inflaters_key_made = !pthread_key_create(&inflaters_key, inflaters_free);
}

static struct inflaters *inflaters_get(void)
{
    pthread_once(&inflaters_once, inflaters_init);
    if (!inflaters_key_made)
        return NULL;
    struct inflaters *i = pthread_getspecific(inflaters_key);
    if (!i) {
        i = calloc(1, sizeof *i);
        if (i && pthread_setspecific(inflaters_key, i)) {
            free(i);
            i = NULL;
        }
    }
    return i;
}

static struct libdeflate_decompressor *deflate_get(void)
{
    struct inflaters *i = inflaters_get();
    if (i && !i->deflate)
        i->deflate = libdeflate_alloc_decompressor();
    return i ? i->deflate : NULL;
}

int inflate_zlib(const void *in, size_t in_size, void *out, size_t out_size, size_t *ret_len)
{
    struct libdeflate_decompressor *d = deflate_get();
    if (!d)
        return -ENOMEM;
    size_t used, made;
    if (libdeflate_zlib_decompress_ex(d, in, in_size, out, out_size, &used, &made) != LIBDEFLATE_SUCCESS)
        return -EUCLEAN;
    *ret_len = made;
    return 0;
}

/* Until out is full, whether or not the stream ends there. */
static int inflate_raw_partial(const void *in, size_t in_size, void *out, size_t out_size)
{
    if (in_size > UINT32_MAX || out_size > UINT32_MAX)
        return -EUCLEAN;
    z_stream z = { .next_in = (Bytef *)(void *)(size_t)in, .avail_in = (uInt)in_size };
    z.next_out = out;
    z.avail_out = (uInt)out_size;
    if (inflateInit2(&z, -15) != Z_OK)
        return -ENOMEM;
    int r = inflate(&z, Z_FINISH);
    bool full = !z.avail_out;
    inflateEnd(&z);
    return full && (r == Z_STREAM_END || r == Z_OK || r == Z_BUF_ERROR) ? 0 : -EUCLEAN;
}

int inflate_raw(const void *in, size_t in_size, void *out, size_t out_size)
{
    struct libdeflate_decompressor *d = deflate_get();
    if (!d)
        return -ENOMEM;
    size_t used, made;
    if (libdeflate_deflate_decompress_ex(d, in, in_size, out, out_size, &used, &made) == LIBDEFLATE_SUCCESS &&
        made == out_size)
        return 0;
    return inflate_raw_partial(in, in_size, out, out_size);
}

int inflate_zstd(const void *in, size_t in_size, void *out, size_t out_size)
{
    struct inflaters *i = inflaters_get();
    if (i && !i->zstd)
        i->zstd = ZSTD_createDCtx();
    if (!i || !i->zstd)
        return -ENOMEM;
    ZSTD_DCtx_reset(i->zstd, ZSTD_reset_session_only);
    ZSTD_inBuffer src = { in, in_size, 0 };
    ZSTD_outBuffer dst = { out, out_size, 0 };
    while (dst.pos < dst.size) {
        size_t in_before = src.pos, out_before = dst.pos;
        size_t r = ZSTD_decompressStream(i->zstd, &dst, &src);
        if (ZSTD_isError(r) || (src.pos == in_before && dst.pos == out_before))
            return -EUCLEAN;
    }
    return 0;
}
