/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "uki.h"

#include "../formats/bytes.h"
#include "../formats/checked.h"

#include <errno.h>

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
    MAX_SECTIONS = 256,
};

/* -ENOENT: it ends before. */
static int read_all(const struct initramfs_file *f, void *buf, size_t n, uint64_t at)
{
    size_t got = 0;
    int r = at > f->size ? -ENOENT : f->read(f->ctx, buf, n, at, &got);
    return r < 0 ? r : got == n ? 0 : -ENOENT;
}

int uki_find_initrd(const struct initramfs_file *f, uint64_t *ret_at, uint64_t *ret_n)
{
    uint8_t buf[MZ_SIZE];
    struct bad bad = { 0 };
    struct bytes b = bytes_of(buf, sizeof buf, 0, &bad);
    int r = read_all(f, buf, MZ_SIZE, 0);
    if (r < 0 || !bytes_match(b, 0, "MZ", 2))
        return r < 0 ? r : -ENOENT;
    uint64_t at = le32(b, MZ_HEADER);
    r = read_all(f, buf, COFF_SIZE, at);
    if (r < 0 || !bytes_match(b, 0, "PE\0\0", 4))
        return r < 0 ? r : -ENOENT;
    unsigned n = le16(b, COFF_SECTIONS);
    at += COFF_SIZE + le16(b, COFF_OPTIONAL);
    for (unsigned i = 0; i < n && i < MAX_SECTIONS; i++, at += SECTION_SIZE) {
        r = read_all(f, buf, SECTION_SIZE, at);
        if (r < 0)
            return r;
        if (!bytes_match(b, 0, ".initrd\0", 8))
            continue;
        uint64_t from = le32(b, SECTION_AT);
        uint64_t size = min_u64(le32(b, SECTION_VIRTUAL), le32(b, SECTION_RAW));
        if (!size || !range_inside(from, size, f->size))
            return -ENOENT;
        *ret_at = from;
        *ret_n = size;
        return 0;
    }
    return -ENOENT;
}
