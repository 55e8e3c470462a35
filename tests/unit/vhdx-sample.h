/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_TESTS_VHDX_SAMPLE_H
#define FERRYFS_TESTS_VHDX_SAMPLE_H
/* Small VHDX files built byte by byte, after [MS-VHDX], for the unit tests.
 *
 *     0 header section | 1M log | 2M metadata | 3M BAT | 4M ... blocks of 1 MiB */
#include "formats/bytes.h"
#include "formats/hash.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define MIB UINT64_C(1048576)

enum {
    AT_HEADER1 = 65536,
    AT_HEADER2 = 131072,
    AT_REGIONS1 = 196608,
    AT_REGIONS2 = 262144,
    AT_LOG = 1 << 20,
    AT_METADATA = 2 << 20,
    AT_ITEMS = AT_METADATA + 65536,
    AT_BAT = 3 << 20,
    AT_BLOCKS = 4 << 20,
    LOG_LENGTH = 1 << 20,
    LOG_SECTOR = 4096,
};

struct sample {
    uint8_t *p; /* SAMPLE_ROOM bytes */
    size_t n;
};
enum { SAMPLE_ROOM = 16 << 20 };

static const uint8_t sample_log_guid[16] = "a log's own guid";

static inline uint32_t le32_at(const uint8_t *p)
{
    struct bad bad = { 0 };
    return le32(bytes_of(p, 4, 0, &bad), 0);
}

/* The checksums of one header or region table. */
static inline void sample_seal(uint8_t *p, size_t n)
{
    put_le32(p + 4, 0);
    put_le32(p + 4, crc32c(p, n));
}

static inline void sample_seal_all(struct sample *s)
{
    sample_seal(s->p + AT_HEADER1, 4096);
    sample_seal(s->p + AT_HEADER2, 4096);
    sample_seal(s->p + AT_REGIONS1, 65536);
    memcpy(s->p + AT_REGIONS2, s->p + AT_REGIONS1, 65536);
}

static inline void sample_region(struct sample *s, unsigned i, const char *guid, uint64_t at, uint32_t length,
                                 uint32_t flags)
{
    uint8_t *e = s->p + AT_REGIONS1 + 16 + (size_t)i * 32;
    memcpy(e, guid, 16);
    put_le64(e + 16, at);
    put_le32(e + 24, length);
    put_le32(e + 28, flags);
    if (le32_at(s->p + AT_REGIONS1 + 8) <= i)
        put_le32(s->p + AT_REGIONS1 + 8, i + 1);
}

static inline void sample_item(struct sample *s, unsigned i, const char *guid, uint32_t offset,
                               uint32_t length, uint32_t flags)
{
    uint8_t *e = s->p + AT_METADATA + 32 + (size_t)i * 32;
    memcpy(e, guid, 16);
    put_le32(e + 16, offset);
    put_le32(e + 20, length);
    put_le32(e + 24, flags);
    put_le16(s->p + AT_METADATA + 10, (uint16_t)(i + 1));
}

/* flags: 1 fixed, 2 has a parent. All blocks are in state 0. */
static inline void sample_new(struct sample *s, uint64_t size, uint32_t sector, uint32_t flags)
{
    s->p = calloc(1, SAMPLE_ROOM);
    assert(s->p);
    s->n = AT_BLOCKS;
    memcpy(s->p, "vhdxfile", 8);
    for (unsigned i = 0; i < 2; i++) {
        uint8_t *h = s->p + (i ? AT_HEADER2 : AT_HEADER1);
        memcpy(h, "head", 4);
        put_le64(h + 8, 5 + i);
        memset(h + 32, 0xd0 + (int)i, 16);
        put_le16(h + 66, 1);
        put_le32(h + 68, LOG_LENGTH);
        put_le64(h + 72, AT_LOG);
    }
    memcpy(s->p + AT_REGIONS1, "regi", 4);
    sample_region(s, 0, "\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08", AT_BAT, 1 << 20,
                  1);
    sample_region(s, 1, "\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e", AT_METADATA,
                  1 << 20, 1);
    memcpy(s->p + AT_METADATA, "metadata", 8);
    sample_item(s, 0, "\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b", 65536, 8, 4);
    sample_item(s, 1, "\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8", 65536 + 8, 8, 6);
    sample_item(s, 2, "\x1d\xbf\x41\x81\x6f\xa9\x09\x47\xba\x47\xf2\x33\xa8\xfa\xab\x5f", 65536 + 16, 4, 6);
    put_le32(s->p + AT_ITEMS, 1 << 20);
    put_le32(s->p + AT_ITEMS + 4, flags);
    put_le64(s->p + AT_ITEMS + 8, size);
    put_le32(s->p + AT_ITEMS + 16, sector);
    sample_seal_all(s);
}

static inline void sample_free(struct sample *s)
{
    free(s->p);
}

/* The parent locator, as item 3: pairs of ASCII strings, the last one NULL. */
static inline void sample_locator(struct sample *s, const char *const *pairs)
{
    uint8_t *l = s->p + AT_ITEMS + 1024;
    size_t n = 0, at = 20;
    while (pairs[n])
        n++;
    memcpy(l, "\xb7\xef\x4a\xb0\x9e\xd1\x81\x4a\xb7\x89\x25\xb8\xe9\x44\x59\x13", 16);
    put_le16(l + 18, (uint16_t)(n / 2));
    at += n / 2 * 12;
    for (size_t i = 0; i < n; i++) {
        uint8_t *e = l + 20 + i / 2 * 12;
        put_le32(e + i % 2 * 4, (uint32_t)at);
        put_le16(e + 8 + i % 2 * 2, (uint16_t)(2 * strlen(pairs[i])));
        for (const char *c = pairs[i]; *c; c++, at += 2)
            put_le16(l + at, (uint8_t)*c);
    }
    sample_item(s, 3, "\x2d\x5f\xd3\xa8\x0b\xb3\x4d\x45\xab\xf7\xd3\xd8\x48\x34\xab\x0c", 65536 + 1024,
                (uint32_t)at, 4);
}

static inline void sample_bat(struct sample *s, uint64_t index, uint64_t entry)
{
    put_le64(s->p + AT_BAT + index * 8, entry);
}

/* One more MiB at the end, its bytes all `fill`; returns its offset. */
static inline uint64_t sample_append(struct sample *s, uint8_t fill)
{
    uint64_t at = s->n;
    assert(s->n + MIB <= SAMPLE_ROOM);
    memset(s->p + at, fill, MIB);
    s->n += MIB;
    return at;
}

/* ---- the log ---- */

struct sample_patch {
    uint64_t offset;
    uint64_t zeros; /* length; 0: a sector of `fill` */
    uint8_t fill;
};

struct sample_entry {
    uint32_t at, tail; /* in the log */
    uint64_t sequence;
    const struct sample_patch *patches;
    uint32_t n;
    uint64_t flushed, last; /* 0: the file's length */
};

static inline void sample_ring_put(struct sample *s, uint32_t at, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        s->p[AT_LOG + (at + i) % LOG_LENGTH] = p[i];
}

/* Writes an entry; returns where the next one begins. */
static inline uint32_t sample_log(struct sample *s, const struct sample_entry *e)
{
    size_t head = ((size_t)64 + e->n * 32 + LOG_SECTOR - 1) / LOG_SECTOR * LOG_SECTOR, n = head;
    uint8_t *p = calloc(1, head + (size_t)e->n * LOG_SECTOR);
    assert(p);
    memcpy(p, "loge", 4);
    put_le32(p + 12, e->tail);
    put_le64(p + 16, e->sequence);
    put_le32(p + 24, e->n);
    memcpy(p + 32, sample_log_guid, 16);
    put_le64(p + 48, e->flushed ? e->flushed : s->n);
    put_le64(p + 56, e->last ? e->last : s->n);
    for (uint32_t i = 0; i < e->n; i++) {
        const struct sample_patch *patch = e->patches + i;
        uint8_t *d = p + 64 + (size_t)i * 32;
        memcpy(d, patch->zeros ? "zero" : "desc", 4);
        put_le64(d + 16, patch->offset);
        put_le64(d + 24, e->sequence);
        put_le64(d + 8, patch->zeros);
        if (patch->zeros)
            continue;
        memset(d + 4, patch->fill, 12);
        memset(p + n, patch->fill, LOG_SECTOR);
        memcpy(p + n, "data", 4);
        put_le32(p + n + 4, (uint32_t)(e->sequence >> 32));
        put_le32(p + n + LOG_SECTOR - 4, (uint32_t)e->sequence);
        n += LOG_SECTOR;
    }
    put_le32(p + 8, (uint32_t)n);
    sample_seal(p, n);
    sample_ring_put(s, e->at, p, n);
    free(p);
    return (uint32_t)((e->at + n) % LOG_LENGTH);
}

/* Both headers say that the log must be replayed. */
static inline void sample_dirty(struct sample *s)
{
    memcpy(s->p + AT_HEADER1 + 48, sample_log_guid, 16);
    memcpy(s->p + AT_HEADER2 + 48, sample_log_guid, 16);
    sample_seal_all(s);
}
#endif
