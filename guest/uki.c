/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "uki.h"

#include "../formats/bytes.h"
#include "../formats/checked.h"

#include <errno.h>
#include <stdio.h>

enum {
    MZ_SIZE = 64,
    MZ_HEADER = 0x3c, /* where the COFF header is, behind "PE\0\0" */
    COFF_SIZE = 24,
    COFF_SECTIONS = 6,
    COFF_OPTIONAL = 20, /* bytes between it and the sections */
    SECTION_SIZE = 40,
    SECTION_VIRTUAL = 8, /* bytes in use */
    SECTION_RAW = 16,    /* bytes in the file, a multiple of its alignment */
    SECTION_AT = 20,
    SECTION_NAME = 8,
    MAX_SECTIONS = 256,
    /* In the optional header: its magic number, and the directory's entry of the certificates, by it. */
    MAGIC_PE32_PLUS = 0x20b,
    CERTIFICATES = 128,
    CERTIFICATES_PLUS = 144,
};

/* -ENOENT: it ends before. */
static int read_all(const struct initramfs_file *f, void *buf, size_t n, uint64_t at)
{
    size_t got = 0;
    int r = at > f->size ? -ENOENT : f->read(f->ctx, buf, n, at, &got);
    return r < 0 ? r : got == n ? 0 : -ENOENT;
}

/* The part of the file that is looked at. */
struct look {
    uint8_t buf[MZ_SIZE];
    struct bad bad;
    struct bytes b; /* buf */
};

/* The COFF header, behind "PE\0\0", which is the file's at *ret. */
static int read_header(const struct initramfs_file *f, struct look *l, uint64_t *ret)
{
    *l = (struct look){ 0 };
    l->b = bytes_of(l->buf, sizeof l->buf, 0, &l->bad);
    int r = read_all(f, l->buf, MZ_SIZE, 0);
    if (r < 0 || !bytes_match(l->b, 0, "MZ", 2))
        return r < 0 ? r : -ENOENT;
    *ret = le32(l->b, MZ_HEADER);
    r = read_all(f, l->buf, COFF_SIZE, *ret);
    return r < 0 ? r : bytes_match(l->b, 0, "PE\0\0", 4) ? 0 : -ENOENT;
}

int uki_find_section(const struct initramfs_file *f, const char *name, uint64_t *ret_at, uint64_t *ret_n)
{
    char padded[SECTION_NAME + 1] = "";
    struct look l;
    uint64_t at;
    int r = read_header(f, &l, &at);
    if (r < 0)
        return r;
    snprintf(padded, sizeof padded, "%s", name); /* zeros behind it */
    unsigned n = le16(l.b, COFF_SECTIONS);
    at += COFF_SIZE + le16(l.b, COFF_OPTIONAL);
    for (unsigned i = 0; i < n && i < MAX_SECTIONS; i++, at += SECTION_SIZE) {
        r = read_all(f, l.buf, SECTION_SIZE, at);
        if (r < 0)
            return r;
        if (!bytes_match(l.b, 0, padded, SECTION_NAME))
            continue;
        uint64_t from = le32(l.b, SECTION_AT);
        uint64_t size = min_u64(le32(l.b, SECTION_VIRTUAL), le32(l.b, SECTION_RAW));
        if (!size || !range_inside(from, size, f->size))
            return -ENOENT;
        *ret_at = from;
        *ret_n = size;
        return 0;
    }
    return -ENOENT;
}

int uki_is_signed(const struct initramfs_file *f)
{
    struct look l;
    uint64_t at;
    int r = read_header(f, &l, &at);
    if (r < 0)
        return r;
    unsigned optional = le16(l.b, COFF_OPTIONAL);
    r = optional < 2 ? -ENOENT : read_all(f, l.buf, 2, at + COFF_SIZE);
    if (r < 0)
        return r;
    unsigned table = le16(l.b, 0) == MAGIC_PE32_PLUS ? CERTIFICATES_PLUS : CERTIFICATES;
    if (optional < table + 8)
        return 0;
    r = read_all(f, l.buf, 8, at + COFF_SIZE + table);
    return r < 0 ? r : le32(l.b, 0) && le32(l.b, 4);
}
