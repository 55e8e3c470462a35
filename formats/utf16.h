/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_UTF16_H
#define FERRYFS_UTF16_H
/* Names stored in UTF-16, as UTF-8. */
#include "bytes.h"

/* The text of the window up to its end or a NUL, allocated; NULL without memory. A lone surrogate becomes
 * U+FFFD. An odd last byte is ignored. */
char *utf16_name(struct bytes b, bool big_endian);
/* Is the whole window text, without a NUL or a lone surrogate? An odd last byte is ignored. */
bool utf16_is_text(struct bytes b, bool big_endian);
#endif
