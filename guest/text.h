/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_TEXT_H
#define FERRYFS_TEXT_H
/* Names of Microsoft's formats: UTF-16, compared without case as Windows compares them. No locale is asked.
 * Everything here may be called from any thread. */
#include <stddef.h>
#include <stdint.h>

/* Longest UTF-8 that `n` UTF-16 units can give, with the terminator. */
#define TEXT_UTF8_SIZE(n) ((n)*3 + 1)

/* A surrogate without its partner becomes U+FFFD, in `out` as in `units`: so names always are valid UTF-8,
 * and both forms of one name agree. */
void text_mend_surrogates(uint16_t *units, size_t n);
/* `n` units to UTF-8 with a terminator; stops before a character that doesn't fit in `size` (>= 1). Returns
 * the length without the terminator. */
size_t text_from_utf16(const uint16_t *units, size_t n, char *out, size_t size);
/* UTF-8 to at most `max` units. -EILSEQ for what isn't UTF-8, -ENAMETOOLONG for what is longer; else the
 * number of units. */
int text_to_utf16(const char *s, uint16_t *out, size_t max);
/* Windows' upper case of one unit, by the table that NTFS volumes carry in $UpCase. */
uint16_t text_upcase(uint16_t unit);
/* One byte of code page 437, the OEM code page that Linux assumes too (ASCII below 0x80). */
uint16_t text_from_cp437(uint8_t c);
#endif
