/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_CHARSET_H
#define FERRYFS_CHARSET_H
/* The encodings that VMware's programs name in their text files. */

/* What iconv calls the charset `name` (any case; may be NULL), or NULL when it is none of them: a name from a
 * file never reaches iconv_open(). */
const char *charset_iconv(const char *name);
#endif
