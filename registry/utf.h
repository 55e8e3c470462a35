/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_REGISTRY_UTF_H
#define FERRYFS_REGISTRY_UTF_H
/* One character at a time between UTF-16 units and UTF-8. A surrogate without its partner is a character of
 * its own here (0xd800-0xdfff): what becomes of it is the caller's affair. Lengths, never terminators. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool utf16_is_high(uint32_t c)
{
    return c >= 0xd800 && c < 0xdc00;
}
static inline bool utf16_is_low(uint32_t c)
{
    return c >= 0xdc00 && c < 0xe000;
}

/* The character at units[*i] (*i < n); moves *i behind it. */
static inline uint32_t utf16_next(const uint16_t *units, size_t n, size_t *i)
{
    uint32_t c = units[(*i)++];
    if (!utf16_is_high(c) || *i >= n || !utf16_is_low(units[*i]))
        return c;
    return 0x10000 + ((c - 0xd800) << 10) + (units[(*i)++] - 0xdc00u);
}

/* 1 or 2 units. */
static inline size_t utf16_put(uint16_t *out, uint32_t c)
{
    if (c < 0x10000) {
        out[0] = (uint16_t)c;
        return 1;
    }
    out[0] = (uint16_t)(0xd800 + ((c - 0x10000) >> 10));
    out[1] = (uint16_t)(0xdc00 + (c & 0x3ff));
    return 2;
}

static inline size_t utf8_size(uint32_t c)
{
    return c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
}

/* 1 to 4 bytes; c isn't a surrogate. */
static inline size_t utf8_put(char *out, uint32_t c)
{
    static const uint8_t lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    size_t n = utf8_size(c);
    for (size_t i = n - 1; i; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(lead[n] | c);
    return n;
}

enum { UTF8_INCOMPLETE = 5 };

/* The character at s, n > 0 bytes left: its length, 0 when it is no UTF-8, and UTF8_INCOMPLETE when it is the
 * beginning of a character that the bytes end in. */
static inline size_t utf8_next_partial(const char *s, size_t n, uint32_t *ret)
{
    static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };
    uint32_t c = (uint8_t)s[0];
    *ret = c;
    if (c < 0x80)
        return 1;
    unsigned more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
    if (c < 0xc2 || c > 0xf4)
        return 0;
    c &= 0x3fu >> more;
    for (unsigned i = 1; i <= more; i++) {
        if (i >= n)
            return UTF8_INCOMPLETE;
        uint8_t next = (uint8_t)s[i];
        if ((next & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (next & 0x3fu);
        /* too small, a surrogate or too large: seen by the second byte, so that no prefix of it passes */
        if (i == 1) {
            uint32_t low = c << 6 * (more - 1), high = low | ((1u << 6 * (more - 1)) - 1);
            if (high < least[more] || low > 0x10ffff || (low >= 0xd800 && high < 0xe000))
                return 0;
        }
    }
    *ret = c;
    return more + 1;
}

/* The same; 0 also for one that isn't complete. */
static inline size_t utf8_next(const char *s, size_t n, uint32_t *ret)
{
    size_t len = utf8_next_partial(s, n, ret);
    return len == UTF8_INCOMPLETE ? 0 : len;
}
#endif
