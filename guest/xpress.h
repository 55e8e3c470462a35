/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_XPRESS_H
#define FERRYFS_XPRESS_H
/* XPRESS with Huffman codes and LZX, as Windows compresses system files with them (WOF, CompactOS). Neither
 * allocates; any thread. */
#include <stddef.h>
#include <stdint.h>

/* LZX with a window of 32 KiB, and what WIM makes of it: a chunk is a stream of its own, and in it the
 * targets of x86 CALL instructions are translated. */
enum { LZX_WINDOW = 32768 };

/* Fills dst_len bytes of dst (at most LZX_WINDOW for LZX), or -EIO: the stream is damaged or ends too early.
 */
int xpress_decompress(const uint8_t *src, size_t src_len, uint8_t *dst, size_t dst_len);
int lzx_decompress(const uint8_t *src, size_t src_len, uint8_t *dst, size_t dst_len);
#endif
