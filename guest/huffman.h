/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_HUFFMAN_H
#define FERRYFS_HUFFMAN_H
/* What the decoders of XPRESS and LZX share: a stream of bits in little-endian units of 16, the highest bit
 * first, and canonical Huffman codes. No allocation, no state but the caller's.
 *
 * A decoder looks further ahead than its stream may reach. What lies behind the end reads as zeros, and
 * whoever uses up one of these bits is told so by bits_overrun(): a stream that ends too early never becomes
 * content. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bits {
    const uint8_t *p, *end; /* what isn't in `buffer` yet */
    uint32_t buffer;        /* the next bits, the first one highest */
    unsigned n;             /* bits in it */
    unsigned beyond;        /* of them, those that lie behind the end */
};

static inline struct bits bits_of(const uint8_t *in, size_t len)
{
    return (struct bits){ .p = in, .end = in + len };
}

/* At least `n` (<= 17) bits come into the buffer, by whole units and no more than needed. */
static inline void bits_need(struct bits *b, unsigned n)
{
    while (b->n < n) {
        uint32_t unit = 0;
        if (b->end - b->p >= 2) {
            unit = b->p[0] | (uint32_t)b->p[1] << 8;
            b->p += 2;
        } else {
            b->beyond += 16;
        }
        b->buffer |= unit << (16 - b->n);
        b->n += 16;
    }
}

/* The next n (0 to 17) bits, which are in the buffer. */
static inline uint32_t bits_peek(const struct bits *b, unsigned n)
{
    return n ? b->buffer >> (32 - n) : 0;
}

static inline void bits_skip(struct bits *b, unsigned n)
{
    b->buffer = n < 32 ? b->buffer << n : 0;
    b->n -= n;
}

static inline uint32_t bits_take(struct bits *b, unsigned n)
{
    bits_need(b, n);
    uint32_t v = bits_peek(b, n);
    bits_skip(b, n);
    return v;
}

static inline bool bits_overrun(const struct bits *b)
{
    return b->n < b->beyond;
}

enum {
    HUFFMAN_SYMBOLS = 512, /* the most that a code has */
    HUFFMAN_BITS = 16,     /* the longest codeword */
    HUFFMAN_FAST = 10,     /* codewords up to here are found by one look */
};

struct huffman {
    uint16_t fast[1 << HUFFMAN_FAST];  /* symbol << 4 | length; 0: longer, or no codeword */
    uint16_t symbols[HUFFMAN_SYMBOLS]; /* by codeword */
    uint16_t count[HUFFMAN_BITS + 1];  /* codewords of each length */
    uint32_t first[HUFFMAN_BITS + 1];  /* the first codeword of each length */
    uint16_t index[HUFFMAN_BITS + 1];  /* ... and its place in `symbols` */
};

/* From the lengths of n symbols' codewords, 0 for those that aren't used. False: no code has these lengths. A
 * code in which codewords are left over is taken; a stream that uses one of those is damaged. */
bool huffman_build(struct huffman *h, const uint8_t *lengths, size_t n);
/* The next symbol, -1 for no codeword. At least HUFFMAN_BITS bits are in the buffer. */
int huffman_next(const struct huffman *h, struct bits *b);
#endif
