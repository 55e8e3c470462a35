/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_VALUE_TEXT_H
#define FERRYFS_VALUE_TEXT_H
/* A value's bytes as the text that people edit, and back.
 *
 *     sz, expand_sz   UTF-8 and a newline        UTF-16LE and a NUL
 *     link            UTF-8 and a newline        UTF-16LE, no NUL: as Windows writes links
 *     multi_sz        a line per string          each with its NUL, and one more NUL
 *     dword, dword_be, qword   0x00000001, 0x0000000000000001
 *     all else        the bytes themselves
 *
 * Bytes that their text wouldn't give back exactly have no text. All functions may be called from any thread.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum value_type {
    VALUE_NONE,
    VALUE_SZ,
    VALUE_EXPAND_SZ,
    VALUE_BINARY,
    VALUE_DWORD,
    VALUE_DWORD_BE,
    VALUE_LINK,
    VALUE_MULTI_SZ,
    VALUE_QWORD = 11,
};

/* Is the content of such values a text, and not the bytes? */
bool value_type_is_text(uint32_t type);
/* Has the type a value of no text at all? A number hasn't. */
bool value_type_has_empty(uint32_t type);

/* The length of the text; -EILSEQ: it has none, since it wouldn't give the bytes back. Of types that aren't
 * text: n. */
int value_text_size(uint32_t type, const uint8_t *data, size_t n, size_t *ret);
/* Writes the text into `out`, which has room for value_text_size() bytes. No terminator. */
void value_to_text(uint32_t type, const uint8_t *data, size_t n, char *out);

/* Can this text, or more behind it, become a value? 0 or -EINVAL. *checked: how much was found good by
 * earlier calls, and now; 0 at first, and when what was checked changes. */
int value_text_check(uint32_t type, const char *text, size_t n, size_t *checked);
/* The bytes of a text, owned by the caller. -EINVAL: it is none, or not complete; -ENOMEM. The newline at the
 * end may be missing. */
int value_from_text(uint32_t type, const char *text, size_t n, uint8_t **ret, size_t *ret_n);
#endif
