/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guid.h"

#include <stdio.h>
#include <string.h>

/* Which byte the text's digits, two by two, are; and where they stand. */
static const uint8_t order[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };
static const uint8_t place[16] = { 0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34 };

void guid_to_text(const uint8_t guid[16], char ret[GUID_TEXT + 1])
{
    static const char digits[] = "0123456789abcdef";
    memset(ret, '-', GUID_TEXT);
    ret[GUID_TEXT] = 0;
    for (size_t i = 0; i < 16; i++) {
        ret[place[i]] = digits[guid[order[i]] >> 4];
        ret[place[i] + 1] = digits[guid[order[i]] & 15];
    }
}

static int digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

bool guid_from_text(const char *text, size_t n, uint8_t ret[16])
{
    if (n == GUID_TEXT + 2 && text[0] == '{' && text[n - 1] == '}') {
        text++;
        n -= 2;
    }
    if (n != GUID_TEXT || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-')
        return false;
    for (size_t i = 0; i < 16; i++) {
        int high = digit(text[place[i]]), low = digit(text[place[i] + 1]);
        if (high < 0 || low < 0)
            return false;
        ret[order[i]] = (uint8_t)(high << 4 | low);
    }
    return true;
}
