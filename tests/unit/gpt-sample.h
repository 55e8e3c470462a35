/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_TESTS_GPT_SAMPLE_H
#define FERRYFS_TESTS_GPT_SAMPLE_H
/* What the unit test and the fuzz target of gpt-move.c share: right checksums for a GPT, and a layout as
 * bytes. */
#include "formats/bytes.h"
#include "formats/checked.h"
#include "formats/view.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { GPT_SECTOR = 512 };

static inline uint32_t gpt_get32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return le32toh(v);
}

static inline uint64_t gpt_get64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return le64toh(v);
}

/* Of the header at `p` that counts its own checksum as 0; 0 when it can't have one. */
static inline uint32_t gpt_header_checksum(const uint8_t *p)
{
    uint8_t copy[GPT_SECTOR];
    uint32_t n = gpt_get32(p + 12);
    memcpy(copy, p, GPT_SECTOR);
    memset(copy + 16, 0, 4);
    return n <= GPT_SECTOR ? (uint32_t)crc32(0, copy, n) : 0;
}

/* Makes the checksums of the header in sector 1 of the disk right, as far as there is a header. */
static inline void gpt_seal(uint8_t *disk, size_t size)
{
    uint8_t *h = disk + GPT_SECTOR;
    if (size < 2 * GPT_SECTOR)
        return;
    uint64_t at, n, lba = gpt_get64(h + 72);
    if (checked_mul(lba, GPT_SECTOR, &at) && checked_mul(gpt_get32(h + 80), gpt_get32(h + 84), &n) &&
        range_inside(at, n, size) && n <= 1 << 20)
        put_le32(h + 88, (uint32_t)crc32(0, disk + at, (uInt)n));
    put_le32(h + 16, gpt_header_checksum(h));
}

/* A layout as its bytes, malloc'ed. NULL: its segments don't follow each other, or are no bytes and no disk.
 */
static inline uint8_t *layout_bytes(const struct layout *l, const uint8_t *disk, uint64_t size)
{
    uint8_t *p = calloc(1, (size_t)l->size + 1);
    uint64_t end = 0;
    bool good = p;
    for (size_t i = 0; good && i < l->n; i++) {
        const struct segment *s = &l->segment[i];
        good = s->start == end && s->length <= l->size - end &&
               (s->kind == SEGMENT_BYTES || s->kind == SEGMENT_DISK) &&
               (s->kind != SEGMENT_BYTES || s->n_bytes <= s->length);
        if (good && s->kind == SEGMENT_BYTES)
            memcpy(p + end, s->bytes, s->n_bytes);
        else if (good && s->disk_offset < size)
            memcpy(p + end, disk + s->disk_offset, (size_t)min_u64(s->length, size - s->disk_offset));
        end += s->length;
    }
    if (good && end == l->size)
        return p;
    free(p);
    return NULL;
}

static inline void layout_done(struct layout *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->segment[i].bytes);
}
#endif
