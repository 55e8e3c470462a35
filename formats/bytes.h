/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_BYTES_H
#define FERRYFS_BYTES_H
/* A window on untrusted bytes: reading a field without a bounds check can't be written.
 *
 *     struct bad bad = { 0 };
 *     struct bytes h = bytes_of(buf, n, file_offset, &bad);
 *     uint32_t magic = le32(h, KDMV_MAGIC);
 *     uint64_t capacity = le64(h, KDMV_CAPACITY);
 *     if (bad.set)
 *         return fault_at(fault, -ENODATA, name, bad.at, "the header is cut short");
 *
 * A read outside the window gives 0 and notes the first such place (its offset in the file) in *bad.
 * Windows are values: copy them freely; they own nothing. Not synchronised: one thread per `struct bad`. */
#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bad {
    bool set;
    uint64_t at; /* file offset of the first read that lay outside its window */
};

struct bytes {
    const uint8_t *p;
    size_t n;
    uint64_t at;     /* where p[0] lies in the file */
    struct bad *bad; /* never NULL */
};

static inline struct bytes bytes_of(const void *p, size_t n, uint64_t at, struct bad *bad)
{
    return (struct bytes){ p, n, at, bad };
}

/* True when [off, off+len) lies in the window; else notes the place. */
static inline bool bytes_has(struct bytes b, size_t off, size_t len)
{
    if (off <= b.n && len <= b.n - off)
        return true;
    if (!b.bad->set) {
        b.bad->set = true;
        b.bad->at = b.at + off;
    }
    return false;
}

/* A child window; empty (and noted) when it isn't inside. */
static inline struct bytes bytes_sub(struct bytes b, size_t off, size_t len)
{
    if (!bytes_has(b, off, len))
        return (struct bytes){ b.p, 0, b.at + off, b.bad };
    return (struct bytes){ b.p + off, len, b.at + off, b.bad };
}

static inline uint8_t u8(struct bytes b, size_t off)
{
    return bytes_has(b, off, 1) ? b.p[off] : 0;
}

#define FERRYFS_BYTES_READER(name, type, swap)                                                               \
    static inline type name(struct bytes b, size_t off)                                                      \
    {                                                                                                        \
        type v = 0;                                                                                          \
        if (bytes_has(b, off, sizeof v))                                                                     \
            memcpy(&v, b.p + off, sizeof v);                                                                 \
        return swap(v);                                                                                      \
    }
FERRYFS_BYTES_READER(le16, uint16_t, le16toh)
FERRYFS_BYTES_READER(le32, uint32_t, le32toh)
FERRYFS_BYTES_READER(le64, uint64_t, le64toh)
FERRYFS_BYTES_READER(be16, uint16_t, be16toh)
FERRYFS_BYTES_READER(be32, uint32_t, be32toh)
FERRYFS_BYTES_READER(be64, uint64_t, be64toh)
#undef FERRYFS_BYTES_READER

/* True when the window holds exactly these bytes at `off`; false (and not noted) when it is too short. */
static inline bool bytes_match(struct bytes b, size_t off, const void *want, size_t len)
{
    return off <= b.n && len <= b.n - off && !memcmp(b.p + off, want, len);
}

/* How many bytes from `off` on are 0, before the first other one or the window's end. */
static inline size_t bytes_zeros(struct bytes b, size_t off)
{
    enum { STEP = 64 };
    size_t at = off;
    for (; at < b.n && b.n - at >= STEP; at += STEP) {
        uint64_t word[STEP / sizeof(uint64_t)];
        memcpy(word, b.p + at, STEP);
        if (word[0] | word[1] | word[2] | word[3] | word[4] | word[5] | word[6] | word[7])
            break;
    }
    while (at < b.n && !b.p[at])
        at++;
    return at - off;
}

/* Writers for the bytes that we generate: the buffer is ours, so the caller has checked its size. */
static inline void put_le16(uint8_t *p, uint16_t v)
{
    v = htole16(v);
    memcpy(p, &v, sizeof v);
}
static inline void put_le32(uint8_t *p, uint32_t v)
{
    v = htole32(v);
    memcpy(p, &v, sizeof v);
}
static inline void put_le64(uint8_t *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, sizeof v);
}
static inline void put_be16(void *p, uint16_t value)
{
    value = htobe16(value);
    memcpy(p, &value, sizeof value);
}
static inline void put_be32(uint8_t *p, uint32_t v)
{
    v = htobe32(v);
    memcpy(p, &v, sizeof v);
}
static inline void put_be64(uint8_t *p, uint64_t v)
{
    v = htobe64(v);
    memcpy(p, &v, sizeof v);
}
#endif
