/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_INF_TEXT_H
#define FERRYFS_INF_TEXT_H
/* The encodings of INF files. */
#include <stddef.h>

/* The text of a file as UTF-8, up to Ctrl-Z or its end; allocated, with a terminator. By its mark: UTF-16 of
 * either order, UTF-8; without one UTF-16LE where every other byte is 0, else Windows-1252, the code page of
 * most installations. Never fails but with -ENOMEM: what is no character becomes U+FFFD. */
int inf_to_utf8(const void *bytes, size_t n, char **ret, size_t *ret_len);
#endif
