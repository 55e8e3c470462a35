/* SPDX-License-Identifier: GPL-2.0-or-later */
/* INF files come in the code page of whoever wrote them. The larger ones are UTF-16LE with a mark, as
 * Microsoft asks for where texts are translated; those of the open drivers are ASCII. */
#include "inf-text.h"
#include "text.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { CTRL_Z = 0x1a };

/* Windows-1252 from 0x80 to 0x9f; the rest is Latin-1. */
static const uint16_t cp1252[32] = {
    0x20ac, 0xfffd, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160,
    0x2039, 0x0152, 0xfffd, 0x017d, 0xfffd, 0xfffd, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
    0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0xfffd, 0x017e, 0x0178,
};

static bool looks_like_utf16(const uint8_t *p, size_t n)
{
    size_t zeros = 0, units = (n < 512 ? n : 512) / 2;
    for (size_t i = 0; i < units; i++)
        zeros += p[2 * i] && !p[2 * i + 1];
    return units >= 4 && zeros * 4 >= units * 3;
}

static uint16_t one_byte(uint8_t c)
{
    return c >= 0x80 && c < 0xa0 ? cp1252[c - 0x80] : c;
}

/* UTF-8 as it is, but for what is none: by bytes. */
static int keep_utf8(const uint8_t *p, size_t n, char *out)
{
    size_t len = 0;
    for (size_t i = 0; i < n;) {
        uint8_t c = p[i];
        size_t more = c < 0x80                ? 0
                      : c >= 0xc2 && c < 0xe0 ? 1
                      : c >= 0xe0 && c < 0xf0 ? 2
                      : c >= 0xf0 && c < 0xf5 ? 3
                                              : 9;
        uint32_t v = more == 1 ? c & 0x1f : more == 2 ? c & 0x0f : c & 0x07;
        bool good = more < 9 && more < n - i;
        for (size_t k = 1; good && k <= more; k++) {
            good = (p[i + k] & 0xc0) == 0x80;
            v = v << 6 | (p[i + k] & 0x3f);
        }
        good = good && !(more == 2 && (v < 0x800 || (v >= 0xd800 && v < 0xe000))) &&
               !(more == 3 && (v < 0x10000 || v > 0x10ffff));
        if (good) {
            memcpy(out + len, p + i, more + 1);
            len += more + 1;
            i += more + 1;
        } else {
            uint16_t unit = one_byte(c);
            len += text_from_utf16(&unit, 1, out + len, TEXT_UTF8_SIZE(1));
            i++;
        }
    }
    out[len] = 0;
    return (int)len;
}

int inf_to_utf8(const void *bytes, size_t n, char **ret, size_t *ret_len)
{
    const uint8_t *p = bytes;
    bool le = n >= 2 && p[0] == 0xff && p[1] == 0xfe, be = n >= 2 && p[0] == 0xfe && p[1] == 0xff;
    bool utf8 = n >= 3 && p[0] == 0xef && p[1] == 0xbb && p[2] == 0xbf;
    bool wide = le || be || looks_like_utf16(p, n);
    size_t skip = le || be ? 2 : utf8 ? 3 : 0;
    p += skip;
    n -= skip;
    char *out = malloc(TEXT_UTF8_SIZE(n));
    uint16_t *units = utf8 ? NULL : malloc((n + 1) * sizeof *units);
    if (!out || (!utf8 && !units)) {
        free(out);
        free(units);
        return -ENOMEM;
    }
    size_t len;
    if (utf8) {
        len = (size_t)keep_utf8(p, n, out);
    } else {
        size_t n_units = wide ? n / 2 : n;
        for (size_t i = 0; i < n_units; i++)
            units[i] = !wide ? one_byte(p[i])
                       : be  ? (uint16_t)(p[2 * i] << 8 | p[2 * i + 1])
                             : (uint16_t)(p[2 * i + 1] << 8 | p[2 * i]);
        text_mend_surrogates(units, n_units);
        len = text_from_utf16(units, n_units, out, TEXT_UTF8_SIZE(n));
    }
    free(units);
    const char *end = memchr(out, CTRL_Z, len);
    *ret = out;
    *ret_len = end ? (size_t)(end - out) : len;
    return 0;
}
