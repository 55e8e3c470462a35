/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_TESTS_NTFS_SAMPLE_H
#define FERRYFS_TESTS_NTFS_SAMPLE_H
/* An NTFS volume with one of each, made by mkntfs and by libntfs-3g's own writing calls.
 */
#include <stdint.h>

/* What the sample holds, beside what tests/unit/test-ntfs.c looks for by name. */
enum {
    SAMPLE_SIZE = 4 << 20,      /* bytes of the volume */
    SAMPLE_MANY = 1500,         /* files in "many", named "file 0000" ... */
    SAMPLE_COMPRESSED = 300000, /* bytes of "packed/text.txt" */
    SAMPLE_SPARSE = 3 << 20,    /* bytes of "sparse": data at 1 MiB, and the last byte */
    SAMPLE_WOF = 123456,        /* logical bytes of "wof.dll" */
};

/* The byte of a sample file at `off`. */
static inline uint8_t sample_byte(uint64_t off)
{
    return (uint8_t)("The quick brown fox jumps over the lazy dog. "[off % 45] + (off / 4000) % 3);
}

/* Makes the volume in a temporary file and reads it: SAMPLE_SIZE bytes, malloc'ed. NULL when mkntfs is
 * missing. Fails the test when anything else does. */
uint8_t *sample_make(void);
#endif
