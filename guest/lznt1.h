/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_LZNT1_H
#define FERRYFS_LZNT1_H
/* LZNT1, the compression of NTFS files (and of nothing else here). No state, no allocation, any thread. */
#include <stddef.h>
#include <stdint.h>

/* Decompresses src into dst until the stream ends (a zero chunk header, or the end of src) or dst is full.
 * *ret_len is how many bytes of dst were made; the rest of dst is untouched. -EIO when the stream is damaged:
 * never a guess. */
int lznt1_decompress(const uint8_t *src, size_t src_len, uint8_t *dst, size_t dst_len, size_t *ret_len);
#endif
