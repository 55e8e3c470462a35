/* SPDX-License-Identifier: GPL-2.0-or-later */
/* UTF-16 and UTF-8, upper case, and code page 437.
 *
 * The upper case table is Windows' own (the content of $UpCase), which libntfs-3g can build from its ranges:
 * Windows compares the names of FAT with the same one. It is built once and never changes. */
#include "text.h"

#include <errno.h>
#include <endian.h>
#include <pthread.h>
#include <stdbool.h>

#include <ntfs-3g/types.h>
typedef struct _ntfs_volume ntfs_volume; /* unistr.h takes it for known */
#include <ntfs-3g/unistr.h>

enum { REPLACEMENT = 0xfffd, UNITS = 65536 };

static const uint16_t cp437[128] = {
    0x00c7, 0x00fc, 0x00e9, 0x00e2, 0x00e4, 0x00e0, 0x00e5, 0x00e7, 0x00ea, 0x00eb, 0x00e8, 0x00ef, 0x00ee,
    0x00ec, 0x00c4, 0x00c5, 0x00c9, 0x00e6, 0x00c6, 0x00f4, 0x00f6, 0x00f2, 0x00fb, 0x00f9, 0x00ff, 0x00d6,
    0x00dc, 0x00a2, 0x00a3, 0x00a5, 0x20a7, 0x0192, 0x00e1, 0x00ed, 0x00f3, 0x00fa, 0x00f1, 0x00d1, 0x00aa,
    0x00ba, 0x00bf, 0x2310, 0x00ac, 0x00bd, 0x00bc, 0x00a1, 0x00ab, 0x00bb, 0x2591, 0x2592, 0x2593, 0x2502,
    0x2524, 0x2561, 0x2562, 0x2556, 0x2555, 0x2563, 0x2551, 0x2557, 0x255d, 0x255c, 0x255b, 0x2510, 0x2514,
    0x2534, 0x252c, 0x251c, 0x2500, 0x253c, 0x255e, 0x255f, 0x255a, 0x2554, 0x2569, 0x2566, 0x2560, 0x2550,
    0x256c, 0x2567, 0x2568, 0x2564, 0x2565, 0x2559, 0x2558, 0x2552, 0x2553, 0x256b, 0x256a, 0x2518, 0x250c,
    0x2588, 0x2584, 0x258c, 0x2590, 0x2580, 0x03b1, 0x00df, 0x0393, 0x03c0, 0x03a3, 0x03c3, 0x00b5, 0x03c4,
    0x03a6, 0x0398, 0x03a9, 0x03b4, 0x221e, 0x03c6, 0x03b5, 0x2229, 0x2261, 0x00b1, 0x2265, 0x2264, 0x2320,
    0x2321, 0x00f7, 0x2248, 0x00b0, 0x2219, 0x00b7, 0x221a, 0x207f, 0x00b2, 0x25a0, 0x00a0,
};

uint16_t text_from_cp437(uint8_t c)
{
    return c < 0x80 ? c : cp437[c - 0x80];
}

static bool is_high(uint16_t u)
{
    return (u & 0xfc00) == 0xd800;
}

static bool is_low(uint16_t u)
{
    return (u & 0xfc00) == 0xdc00;
}

void text_mend_surrogates(uint16_t *units, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (is_high(units[i]) && i + 1 < n && is_low(units[i + 1]))
            i++;
        else if (is_high(units[i]) || is_low(units[i]))
            units[i] = REPLACEMENT;
    }
}

/* The character at units[*i]; moves *i behind it. */
static uint32_t next_char(const uint16_t *units, size_t n, size_t *i)
{
    uint16_t u = units[(*i)++];
    if (is_high(u) && *i < n && is_low(units[*i]))
        return 0x10000 + (((uint32_t)u & 0x3ff) << 10) + (units[(*i)++] & 0x3ff);
    return is_high(u) || is_low(u) ? REPLACEMENT : u;
}

static size_t put_utf8(uint32_t c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    for (size_t i = n - 1; i; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(lead[n] | c);
    return n;
}

size_t text_from_utf16(const uint16_t *units, size_t n, char *out, size_t size)
{
    size_t len = 0;
    for (size_t i = 0; i < n;) {
        char c[4];
        size_t k = put_utf8(next_char(units, n, &i), c);
        if (k >= size - len)
            break;
        for (size_t j = 0; j < k; j++)
            out[len++] = c[j];
    }
    out[len] = 0;
    return len;
}

/* The character at *s, moving *s behind it; -EILSEQ. */
static int32_t next_utf8(const uint8_t **s)
{
    uint32_t c = *(*s)++;
    if (c < 0x80)
        return (int32_t)c;
    unsigned more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
    if (c < 0xc2 || c > 0xf4)
        return -EILSEQ;
    c &= 0x3fu >> more;
    for (unsigned i = 0; i < more; i++, (*s)++) {
        if ((**s & 0xc0) != 0x80)
            return -EILSEQ;
        c = c << 6 | (**s & 0x3fu);
    }
    static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };
    if (c < least[more] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return -EILSEQ;
    return (int32_t)c;
}

int text_to_utf16(const char *s, uint16_t *out, size_t max)
{
    size_t n = 0;
    for (const uint8_t *p = (const uint8_t *)s; *p;) {
        int32_t c = next_utf8(&p);
        if (c < 0)
            return -EILSEQ;
        if (max - n < (c > 0xffff ? 2u : 1u))
            return -ENAMETOOLONG;
        if (c > 0xffff) {
            out[n++] = (uint16_t)(0xd800 + ((c - 0x10000) >> 10));
            out[n++] = (uint16_t)(0xdc00 + (c & 0x3ff));
        } else {
            out[n++] = (uint16_t)c;
        }
    }
    return (int)n;
}

static uint16_t upcase[UNITS];
static pthread_once_t upcase_once = PTHREAD_ONCE_INIT;

static void upcase_build(void)
{
    ntfs_upcase_table_build(upcase, sizeof upcase);
    for (uint32_t i = 0; i < UNITS; i++)
        upcase[i] = le16toh(upcase[i]);
}

uint16_t text_upcase(uint16_t unit)
{
    if (unit < 0x80)
        return unit >= 'a' && unit <= 'z' ? unit - ('a' - 'A') : unit;
    pthread_once(&upcase_once, upcase_build);
    return upcase[unit];
}
