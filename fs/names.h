/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_NAMES_H
#define FERRYFS_NAMES_H
/* Names that a source gives to things, as names of files. */
#include <stddef.h>

enum { FILE_NAME_MAX = 255 };

/* The name of n bytes as a file name: '/' is %2F, '%' is %25, NUL and every byte that isn't of valid UTF-8 is
 * %XX likewise, "." and ".." are %2E and %2E%2E. One that is longer than a file name then ends in "%~" and 16
 * digits of a hash of the whole. "" stays "". Different names give different ones. */
void name_escape(const char *name, size_t n, char ret[FILE_NAME_MAX + 1]);
/* Tells a name that is taken (or empty) from the others: makes it end in "%~NUMBER". */
void name_number(char name[FILE_NAME_MAX + 1], size_t number);
#endif
