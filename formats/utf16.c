/* SPDX-License-Identifier: GPL-2.0-or-later */
/* UTF-16 to UTF-8. */
#include "utf16.h"

#include <stdlib.h>

enum { REPLACEMENT = 0xfffd, UTF8_MAX = 3 /* bytes for one unit; a pair gives 4 */ };

static uint32_t unit_at(struct bytes b, size_t i, bool big_endian)
{
    if (2 * i + 2 > b.n)
        return 0;
    return big_endian ? be16(b, 2 * i) : le16(b, 2 * i);
}

static size_t put_utf8(char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t mark[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    for (size_t i = n - 1; i; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(mark[n] | c);
    return n;
}

/* The character at unit *i, and *i behind it; a lone surrogate is itself. 0 at the end, too. */
static uint32_t next_char(struct bytes b, size_t *i, bool big_endian)
{
    uint32_t c = unit_at(b, (*i)++, big_endian), low = unit_at(b, *i, big_endian);
    if (c < 0xd800 || c >= 0xdc00 || low < 0xdc00 || low >= 0xe000)
        return c;
    ++*i;
    return 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
}

static bool is_surrogate(uint32_t c)
{
    return c >= 0xd800 && c < 0xe000;
}

char *utf16_name(struct bytes b, bool big_endian)
{
    char *out = malloc(b.n / 2 * UTF8_MAX + 1);
    size_t n = 0;
    uint32_t c;
    for (size_t i = 0; out && (c = next_char(b, &i, big_endian)) != 0;)
        n += put_utf8(out + n, is_surrogate(c) ? REPLACEMENT : c);
    if (out)
        out[n] = '\0';
    return out;
}

bool utf16_is_text(struct bytes b, bool big_endian)
{
    for (size_t i = 0; 2 * i + 2 <= b.n;) {
        uint32_t c = next_char(b, &i, big_endian);
        if (!c || is_surrogate(c))
            return false;
    }
    return true;
}
