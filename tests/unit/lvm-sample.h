/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_TESTS_LVM_SAMPLE_H
#define FERRYFS_TESTS_LVM_SAMPLE_H
/* Physical volumes in memory, as pvcreate and vgcreate lay them out: a label in sector 1, a metadata area of
 * a few KiB from byte 4096 on, extents behind it. */
#include "formats/bytes.h"
#include "guest/lvm-metadata.h"

#include <stdlib.h>
#include <string.h>

enum {
    SAMPLE_SIZE = 64 << 10,
    SAMPLE_AREA_AT = 4096,
    SAMPLE_AREA_SIZE = 12 << 10,
    SAMPLE_EXTENT = 4096,
    SAMPLE_FIRST = 16384, /* byte of extent 0 */
    SAMPLE_LABEL_AT = 512,
};

/* `uuid`: 32 characters. areas: how many metadata areas the label tells of (0 or 1). */
static inline void sample_label(uint8_t *pv, const char *uuid, unsigned areas)
{
    uint8_t *s = pv + SAMPLE_LABEL_AT;
    memset(s, 0, 512);
    memcpy(s, "LABELONE", 8);
    put_le64(s + 8, 1);
    put_le32(s + 20, 32);
    memcpy(s + 24, "LVM2 001", 8);
    memcpy(s + 32, uuid, 32);
    put_le64(s + 64, SAMPLE_SIZE);
    put_le64(s + 72, SAMPLE_FIRST);
    /* s + 88: the end of data areas */
    if (areas) {
        put_le64(s + 104, SAMPLE_AREA_AT);
        put_le64(s + 112, SAMPLE_AREA_SIZE);
    }
    put_le32(s + 16, lvm_crc(s + 20, 512 - 20));
}

/* The text with its NUL at `off` of the area, around the ring's end if it reaches it. */
static inline void sample_text(uint8_t *pv, const char *text, uint64_t off, uint32_t flags)
{
    uint8_t *h = pv + SAMPLE_AREA_AT;
    size_t n = strlen(text) + 1;
    for (size_t i = 0; i < n; i++)
        h[off + i < SAMPLE_AREA_SIZE ? off + i : off + i - SAMPLE_AREA_SIZE + 512] = (uint8_t)text[i];
    memset(h, 0, 512);
    memcpy(h + 4, " LVM2 x[5A%r0N*>", 16);
    put_le32(h + 20, 1);
    put_le64(h + 24, SAMPLE_AREA_AT);
    put_le64(h + 32, SAMPLE_AREA_SIZE);
    put_le64(h + 40, off);
    put_le64(h + 48, n);
    put_le32(h + 56, lvm_crc(text, n));
    put_le32(h + 60, flags);
    put_le32(h, lvm_crc(h + 4, 512 - 4));
}
#endif
