/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_INFLATE_H
#define FERRYFS_INFLATE_H
/* Whole-buffer decompression behind three functions. Thread-safe: each thread keeps its own decompressor.
 * Input after the end of the stream is ignored. */
#include <stddef.h>

/* A zlib stream (RFC 1950) into at most out_size bytes; *ret_len is what came out (may be less). Its checksum
 * is checked. -EUCLEAN: damaged, cut off, or more than out_size bytes come out; then out's content is
 * undefined. */
int inflate_zlib(const void *in, size_t in_size, void *out, size_t out_size, size_t *ret_len);
/* A raw deflate stream (RFC 1951) that gives at least out_size bytes; exactly out_size are taken. -EUCLEAN as
 * above, or fewer bytes come out. */
int inflate_raw(const void *in, size_t in_size, void *out, size_t out_size);
/* Zstandard frames, one after the other, until out_size bytes came out. -EUCLEAN as above. */
int inflate_zstd(const void *in, size_t in_size, void *out, size_t out_size);
#endif
