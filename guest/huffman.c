/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Canonical Huffman codes: codewords of a length are consecutive, those of shorter lengths come first, and
 * among equals the order is the symbols'. So the lengths alone say the code. */
#include "huffman.h"

#include <string.h>

bool huffman_build(struct huffman *h, const uint8_t *lengths, size_t n)
{
    memset(h, 0, sizeof *h);
    for (size_t i = 0; i < n; i++)
        if (lengths[i])
            h->count[lengths[i]]++;
    uint32_t code = 0;
    uint16_t index = 0, next[HUFFMAN_BITS + 1];
    for (unsigned l = 1; l <= HUFFMAN_BITS; l++) {
        code = (code + (l > 1 ? h->count[l - 1] : 0)) << 1;
        h->first[l] = code;
        h->index[l] = next[l] = index;
        index = (uint16_t)(index + h->count[l]);
        if (code + h->count[l] > 1u << l)
            return false;
    }
    for (size_t i = 0; i < n; i++) {
        unsigned l = lengths[i];
        if (!l)
            continue;
        uint32_t codeword = h->first[l] + (next[l] - h->index[l]);
        h->symbols[next[l]++] = (uint16_t)i;
        if (l > HUFFMAN_FAST)
            continue;
        uint32_t at = codeword << (HUFFMAN_FAST - l), end = (codeword + 1) << (HUFFMAN_FAST - l);
        for (; at < end; at++)
            h->fast[at] = (uint16_t)(i << 4 | l);
    }
    return true;
}

int huffman_next(const struct huffman *h, struct bits *b)
{
    unsigned entry = h->fast[bits_peek(b, HUFFMAN_FAST)];
    if (entry) {
        bits_skip(b, entry & 15);
        return (int)(entry >> 4);
    }
    for (unsigned l = HUFFMAN_FAST + 1; l <= HUFFMAN_BITS; l++) {
        uint32_t code = bits_peek(b, l);
        if (code >= h->first[l] && code - h->first[l] < h->count[l]) {
            bits_skip(b, l);
            return h->symbols[h->index[l] + code - h->first[l]];
        }
    }
    return -1;
}
