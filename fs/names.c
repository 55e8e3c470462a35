/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "names.h"

#include <nettle/sha2.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* How many bytes the UTF-8 character at p has; 0: there is none. Overlong forms, surrogates, and what lies
 * past U+10FFFF are none. */
static size_t utf8_character(const uint8_t *p, size_t n)
{
    static const struct {
        uint8_t first, last, low, high; /* range of the first byte, and of the second */
        uint8_t length;
    } forms[] = {
        { 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 }, { 0xe1, 0xec, 0x80, 0xbf, 3 },
        { 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 }, { 0xf0, 0xf0, 0x90, 0xbf, 4 },
        { 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
    };
    if (p[0] < 0x80)
        return 1;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        size_t length = forms[i].length;
        if (p[0] < forms[i].first || p[0] > forms[i].last)
            continue;
        if (length > n || p[1] < forms[i].low || p[1] > forms[i].high)
            return 0;
        for (size_t k = 2; k < length; k++)
            if ((p[k] & 0xc0) != 0x80)
                return 0;
        return length;
    }
    return 0;
}

/* The next character or byte, as the file name has it; at most 4 bytes and a NUL. */
static size_t escape_next(const uint8_t *p, size_t n, bool dots, char ret[5])
{
    size_t length = utf8_character(p, n);
    if (!length || !*p || *p == '/' || *p == '%' || (dots && *p == '.')) {
        snprintf(ret, 5, "%%%02X", *p);
        return 1;
    }
    memcpy(ret, p, length);
    ret[length] = 0;
    return length;
}

/* The end of a name that is at most `max` bytes long and cut between characters and escapes, never in one. */
static size_t cut_point(const char *name, size_t max)
{
    size_t at = 0, last = 0;
    while (name[at] && at <= max) {
        last = at;
        at += name[at] == '%' && name[at + 1] != '~' ? 3 : utf8_character((const uint8_t *)name + at, 4);
    }
    return at <= max ? at : last;
}

void name_escape(const char *name, size_t n, char ret[FILE_NAME_MAX + 1])
{
    const uint8_t *p = (const uint8_t *)name;
    const bool dots = (n == 1 && !memcmp(name, ".", 1)) || (n == 2 && !memcmp(name, "..", 2));
    size_t used = 0, at = 0;
    ret[0] = 0;
    while (at < n) {
        char next[5];
        size_t length = escape_next(p + at, n - at, dots, next);
        if (used + strlen(next) > FILE_NAME_MAX)
            break;
        used = (size_t)(stpcpy(ret + used, next) - ret);
        at += length;
    }
    if (at == n)
        return;
    struct sha256_ctx ctx;
    uint8_t digest[SHA256_DIGEST_SIZE];
    char end[19] = "%~";
    sha256_init(&ctx);
    sha256_update(&ctx, n, p);
    sha256_digest(&ctx, sizeof digest, digest);
    for (size_t i = 0; i < 8; i++)
        snprintf(end + 2 + 2 * i, 3, "%02x", digest[i]);
    strcpy(ret + cut_point(ret, FILE_NAME_MAX - strlen(end)), end);
}

void name_number(char name[FILE_NAME_MAX + 1], size_t number)
{
    char end[24];
    snprintf(end, sizeof end, "%%~%zu", number);
    strcpy(name + cut_point(name, FILE_NAME_MAX - strlen(end)), end);
}
