/* SPDX-License-Identifier: GPL-2.0-or-later */
/* LZNT1. A stream is a row of chunks, each of which makes up to 4096 bytes and knows nothing of the others:
 *
 *     u16 header: bits 0-11 length of the chunk's data - 1, bits 12-14 always 3, bit 15 compressed;
 *                 a header of 0 ends the stream
 *     data:       as it is, or groups of a flag byte and 8 items, lowest bit first:
 *                 0 a literal byte, 1 a u16 that copies from what this chunk has made already
 *
 * How many bits of the u16 are distance and how many are length depends on how much the chunk has made: the
 * distance has just enough bits (but at least 4) to reach back to its beginning, the length gets the others.
 * Every chunk but the last makes exactly 4096 bytes; one that makes fewer is damaged, since the bytes behind
 * it would move.
 *
 * Source: [MS-XCA] 2.5. */
#include "lznt1.h"

#include "../formats/bytes.h"

#include <errno.h>

enum {
    CHUNK = 4096, /* bytes that a chunk makes at most */
    CHUNK_LENGTH_MASK = 0x0fff,
    CHUNK_SIGNATURE_MASK = 0x7000,
    CHUNK_SIGNATURE = 0x3000,
    CHUNK_COMPRESSED = 0x8000,
    MIN_MATCH = 3,
};

/* What a chunk has made so far, in dst. */
struct chunk {
    uint8_t *dst;
    size_t n, max;
};

static int copy_match(struct chunk *c, uint16_t token)
{
    unsigned distance_bits = 4;
    while (((size_t)1 << distance_bits) < c->n)
        distance_bits++;
    size_t distance = (size_t)(token >> (16 - distance_bits)) + 1;
    size_t length = (token & (0xffffu >> distance_bits)) + MIN_MATCH;
    if (distance > c->n || length > c->max - c->n)
        return -EIO;
    for (; length; length--, c->n++) /* byte by byte: source and target may overlap */
        c->dst[c->n] = c->dst[c->n - distance];
    return 0;
}

static int expand_chunk(struct bytes in, struct chunk *c)
{
    size_t at = 0;
    while (at < in.n) {
        unsigned flags = u8(in, at++);
        for (unsigned i = 0; i < 8 && at < in.n; i++, flags >>= 1) {
            if (flags & 1) {
                int r = copy_match(c, le16(in, at));
                if (r < 0)
                    return r;
                at += 2;
            } else {
                if (c->n == c->max)
                    return -EIO;
                c->dst[c->n++] = u8(in, at++);
            }
        }
    }
    return in.bad->set ? -EIO : 0;
}

static int copy_chunk(struct bytes in, struct chunk *c)
{
    if (in.n > c->max)
        return -EIO;
    memcpy(c->dst, in.p, in.n);
    c->n = in.n;
    return 0;
}

int lznt1_decompress(const uint8_t *src, size_t src_len, uint8_t *dst, size_t dst_len, size_t *ret_len)
{
    struct bad bad = { 0 };
    struct bytes in = bytes_of(src, src_len, 0, &bad);
    size_t at = 0, made = 0;
    while (made < dst_len && src_len - at >= 2) {
        uint16_t header = le16(in, at);
        if (!header)
            break;
        if ((header & CHUNK_SIGNATURE_MASK) != CHUNK_SIGNATURE || made % CHUNK)
            return -EIO;
        struct bytes data = bytes_sub(in, at + 2, (size_t)(header & CHUNK_LENGTH_MASK) + 1);
        if (bad.set)
            return -EIO;
        size_t room = dst_len - made;
        struct chunk c = { dst + made, 0, room < CHUNK ? room : CHUNK };
        int r = header & CHUNK_COMPRESSED ? expand_chunk(data, &c) : copy_chunk(data, &c);
        if (r < 0)
            return r;
        made += c.n;
        at += 2 + data.n;
    }
    *ret_len = made;
    return 0;
}
