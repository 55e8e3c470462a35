/* SPDX-License-Identifier: GPL-2.0-or-later */
/* LZX with a window of 32 KiB, as in WIM files and in NTFS files that WOF compressed.
 *
 *     stream of bits in units of 16:  block, block, ...
 *     block:         3 bits kind, 1 bit: of 32768 bytes, else 16 bits: so many bytes
 *       1 verbatim:  codes, symbols           2 aligned:  a code for the low 3 bits of distances, codes,
 * symbols 3 stored:    to the next unit (a whole one where it is at its beginning), 3 u32 distances, bytes,
 * to an even byte codes:         of the main symbols 0-255, of the rest of them, of the lengths; each as
 * differences to those of the block before, in a code of its own (20 lengths of 4 bits) main symbol:   0-255
 * a literal; else a copy: bits 0-2 length - 2 (7: a length symbol is added), the others the slot of its
 * distance: 0, 1, 2 one of the last three, else a base and further bits
 *
 * WIM cuts content into chunks, each a stream of its own, and translates the targets of x86 CALL instructions
 * from relative to absolute before it compresses (positions count from the chunk's beginning, the file's size
 * being taken as 12,000,000): taken back here at the end. Source: [MS-PATCH], the published format of
 * Microsoft's Cabinet SDK; how WIM differs was held against wimlib. */
#include "xpress.h"
#include "huffman.h"

#include <errno.h>
#include <string.h>

enum { VERBATIM = 1, ALIGNED = 2, STORED = 3 };
enum {
    LITERALS = 256,
    SLOTS = 30, /* of a window of 32 KiB */
    MAIN_SYMBOLS = LITERALS + 8 * SLOTS,
    LENGTH_SYMBOLS = 249,
    ALIGNED_SYMBOLS = 8,
    PRE_SYMBOLS = 20,
    RECENT = 3,
    LONG_COPY = 7,
    MIN_COPY = 2,
    CALL = 0xe8,
    CALL_TAIL = 10, /* bytes at the end in which no CALL is translated */
    CALL_FILE_SIZE = 12000000,
};

struct lzx {
    struct bits bits;
    uint8_t *out;
    size_t n, size;
    uint32_t recent[RECENT]; /* distances of the last copies */
    uint8_t main_lengths[MAIN_SYMBOLS], length_lengths[LENGTH_SYMBOLS];
    struct huffman main, length, aligned;
};

/* The next symbol; -1. */
static int take_symbol(struct lzx *z, const struct huffman *code)
{
    bits_need(&z->bits, HUFFMAN_BITS);
    int symbol = huffman_next(code, &z->bits);
    return bits_overrun(&z->bits) ? -1 : symbol;
}

/* ---- codes ---- */

static bool take_plain_code(struct lzx *z, struct huffman *code, unsigned symbols, unsigned width)
{
    uint8_t lengths[PRE_SYMBOLS];
    for (unsigned i = 0; i < symbols; i++)
        lengths[i] = (uint8_t)bits_take(&z->bits, width);
    return !bits_overrun(&z->bits) && huffman_build(code, lengths, symbols);
}

/* Lengths as differences, modulo 17, to what is in `lengths`. */
static bool take_lengths(struct lzx *z, uint8_t *lengths, unsigned n)
{
    enum { ZEROS = 17, MORE_ZEROS = 18, SAME = 19 };
    struct huffman pre;
    if (!take_plain_code(z, &pre, PRE_SYMBOLS, 4))
        return false;
    for (unsigned i = 0; i < n;) {
        int symbol = take_symbol(z, &pre);
        unsigned run = 1;
        bool zeros = symbol == ZEROS || symbol == MORE_ZEROS;
        if (symbol == ZEROS)
            run = 4 + bits_take(&z->bits, 4);
        else if (symbol == MORE_ZEROS)
            run = 20 + bits_take(&z->bits, 5);
        else if (symbol == SAME) {
            run = 4 + bits_take(&z->bits, 1);
            symbol = take_symbol(z, &pre);
        }
        if (symbol < 0 || (!zeros && symbol >= ZEROS) || run > n - i)
            return false;
        unsigned length = zeros ? 0 : (lengths[i] + 17u - (unsigned)symbol) % 17;
        memset(lengths + i, (int)length, run);
        i += run;
    }
    return true;
}

static bool take_codes(struct lzx *z, unsigned kind)
{
    if (kind == ALIGNED && !take_plain_code(z, &z->aligned, ALIGNED_SYMBOLS, 3))
        return false;
    return take_lengths(z, z->main_lengths, LITERALS) &&
           take_lengths(z, z->main_lengths + LITERALS, MAIN_SYMBOLS - LITERALS) &&
           huffman_build(&z->main, z->main_lengths, MAIN_SYMBOLS) &&
           take_lengths(z, z->length_lengths, LENGTH_SYMBOLS) &&
           huffman_build(&z->length, z->length_lengths, LENGTH_SYMBOLS);
}

/* ---- copies ---- */

/* A distance that isn't one of the last three; 0: damaged. */
static uint32_t take_distance(struct lzx *z, unsigned kind, unsigned slot)
{
    unsigned width = slot < 4 ? 0 : slot / 2 - 1;
    uint32_t base = slot < 4 ? slot : (2u + slot % 2) << width, more;
    if (kind == ALIGNED && width >= 3) {
        more = bits_take(&z->bits, width - 3) << 3;
        int low = take_symbol(z, &z->aligned);
        if (low < 0)
            return 0;
        more |= (uint32_t)low;
    } else {
        more = bits_take(&z->bits, width);
    }
    return base + more - 2;
}

static uint32_t find_distance(struct lzx *z, unsigned kind, unsigned slot)
{
    uint32_t distance;
    if (slot < RECENT) { /* it changes places with the first */
        distance = z->recent[slot];
        z->recent[slot] = z->recent[0];
    } else {
        distance = take_distance(z, kind, slot);
        z->recent[2] = z->recent[1];
        z->recent[1] = z->recent[0];
    }
    z->recent[0] = distance;
    return distance;
}

static bool copy_match(struct lzx *z, unsigned kind, unsigned symbol, size_t end)
{
    size_t length = symbol & 7;
    if (length == LONG_COPY) {
        int more = take_symbol(z, &z->length);
        if (more < 0)
            return false;
        length += (size_t)more;
    }
    length += MIN_COPY;
    uint32_t distance = find_distance(z, kind, symbol >> 3);
    if (bits_overrun(&z->bits) || !distance || distance > z->n || length > end - z->n)
        return false;
    for (; length; length--, z->n++) /* byte by byte: source and target may overlap */
        z->out[z->n] = z->out[z->n - distance];
    return true;
}

/* ---- blocks ---- */

static bool expand_block(struct lzx *z, unsigned kind, size_t end)
{
    if (!take_codes(z, kind))
        return false;
    while (z->n < end) {
        int symbol = take_symbol(z, &z->main);
        if (symbol < 0)
            return false;
        if (symbol < LITERALS)
            z->out[z->n++] = (uint8_t)symbol;
        else if (!copy_match(z, kind, (unsigned)symbol - LITERALS, end))
            return false;
    }
    return true;
}

/* To the next unit's beginning; whole units that are in the buffer go back. */
static void align(struct bits *b)
{
    bits_need(b, 1);
    unsigned whole = (b->n - 1) / 16;
    if (b->beyond)
        whole = 0; /* nothing is left to go back to */
    b->p -= 2 * whole;
    b->buffer = 0;
    b->n = 0;
}

static bool copy_block(struct lzx *z, size_t end)
{
    struct bits *b = &z->bits;
    size_t length = end - z->n, padded = length + length % 2;
    align(b);
    if (b->beyond || (size_t)(b->end - b->p) < 4 * RECENT + length)
        return false;
    for (unsigned i = 0; i < RECENT; i++, b->p += 4)
        z->recent[i] = b->p[0] | (uint32_t)b->p[1] << 8 | (uint32_t)b->p[2] << 16 | (uint32_t)b->p[3] << 24;
    memcpy(z->out + z->n, b->p, length);
    z->n = end;
    b->p += padded < (size_t)(b->end - b->p) ? padded : (size_t)(b->end - b->p);
    return true;
}

static int take_block(struct lzx *z)
{
    unsigned kind = bits_take(&z->bits, 3);
    size_t size = bits_take(&z->bits, 1) ? LZX_WINDOW : bits_take(&z->bits, 16);
    if (bits_overrun(&z->bits) || !size || size > z->size - z->n)
        return -EIO;
    size_t end = z->n + size;
    switch (kind) {
    case VERBATIM:
    case ALIGNED:
        return expand_block(z, kind, end) ? 0 : -EIO;
    case STORED:
        return copy_block(z, end) ? 0 : -EIO;
    default:
        return -EIO;
    }
}

/* ---- CALL instructions ---- */

static void translate_back(uint8_t *p, size_t at)
{
    uint32_t raw = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    int32_t target = (int32_t)raw, position = (int32_t)at;
    if (target >= CALL_FILE_SIZE || target < -position)
        return;
    raw = (uint32_t)(target >= 0 ? target - position : target + CALL_FILE_SIZE);
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(raw >> 8 * i);
}

static void restore_calls(uint8_t *out, size_t n)
{
    for (size_t i = 0; i + CALL_TAIL < n; i++)
        if (out[i] == CALL) {
            translate_back(out + i + 1, i);
            i += 4;
        }
}

int lzx_decompress(const uint8_t *src, size_t src_len, uint8_t *dst, size_t dst_len)
{
    struct lzx z = { .bits = bits_of(src, src_len), .out = dst, .size = dst_len, .recent = { 1, 1, 1 } };
    int r = dst_len > LZX_WINDOW ? -EIO : 0;
    while (!r && z.n < z.size)
        r = take_block(&z);
    if (!r)
        restore_calls(dst, dst_len);
    return r;
}
