/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_GUID_H
#define FERRYFS_GUID_H
/* GUIDs as Windows stores them: the first three fields little-endian. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GUID_TEXT = 36 }; /* characters without braces */

/* Lower case, without braces, NUL-terminated. */
void guid_to_text(const uint8_t guid[16], char ret[GUID_TEXT + 1]);
/* n characters, with braces or without, in either case. False: it isn't one. */
bool guid_from_text(const char *text, size_t n, uint8_t ret[16]);
#endif
