/* SPDX-License-Identifier: GPL-2.0-or-later */
/* XPRESS with Huffman codes.
 *
 *     256 bytes   the lengths of 512 codewords, 4 bits each, the lower half of a byte first
 *     the rest    bits in units of 16, and bytes between the units: lengths that don't fit a symbol
 *
 *     symbol 0-255     a literal byte
 *     symbol 256-511   a copy: bits 0-3 length - 3, bits 4-7 the number of the distance's bits behind its
 * highest one length 15: a byte is added; of that 255: a u16 instead of all
 *
 * Where a byte stands between the units depends on how far a decoder reads ahead: always at least 16 bits are
 * in the buffer. Source: [MS-XCA] 2.1, 2.2. */
#include "xpress.h"
#include "huffman.h"

#include <errno.h>

enum { LENGTHS = 256, AHEAD = 16, MIN_COPY = 3, LONG_COPY = 15, LONGER_COPY = 255 };

struct output {
    uint8_t *p;
    size_t n, size;
};

/* What doesn't fit in the symbol's 4 bits. False: the stream ends. */
static bool take_length(struct bits *b, uint32_t *length)
{
    if (*length < LONG_COPY)
        return true;
    if (b->end == b->p)
        return false;
    uint32_t more = *b->p++;
    *length += more;
    if (more < LONGER_COPY)
        return true;
    if (b->end - b->p < 2)
        return false;
    *length = b->p[0] | (uint32_t)b->p[1] << 8;
    b->p += 2;
    return true;
}

static int copy_match(struct bits *b, unsigned symbol, struct output *o)
{
    uint32_t length = symbol & 15, width = symbol >> 4;
    if (!take_length(b, &length))
        return -EIO;
    size_t distance = ((size_t)1 << width) + bits_peek(b, width);
    bits_skip(b, width);
    bits_need(b, AHEAD);
    length += MIN_COPY;
    if (distance > o->n || length > o->size - o->n)
        return -EIO;
    for (; length; length--, o->n++) /* byte by byte: source and target may overlap */
        o->p[o->n] = o->p[o->n - distance];
    return 0;
}

int xpress_decompress(const uint8_t *src, size_t src_len, uint8_t *dst, size_t dst_len)
{
    uint8_t lengths[2 * LENGTHS];
    struct huffman code;
    struct output o = { .p = dst, .size = dst_len };
    if (src_len < LENGTHS)
        return -EIO;
    for (size_t i = 0; i < LENGTHS; i++) {
        lengths[2 * i] = src[i] & 15;
        lengths[2 * i + 1] = src[i] >> 4;
    }
    if (!huffman_build(&code, lengths, sizeof lengths))
        return -EIO;
    struct bits b = bits_of(src + LENGTHS, src_len - LENGTHS);
    bits_need(&b, AHEAD + 1); /* two units */
    while (o.n < o.size) {
        int symbol = huffman_next(&code, &b);
        if (symbol < 0)
            return -EIO;
        bits_need(&b, AHEAD);
        if (symbol < 256)
            o.p[o.n++] = (uint8_t)symbol;
        else if (copy_match(&b, (unsigned)symbol - 256, &o) < 0)
            return -EIO;
        if (bits_overrun(&b))
            return -EIO;
    }
    return 0;
}
