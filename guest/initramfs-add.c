/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making what is put behind one. A directory that the image has isn't named again: where it has a link of
 * that name, the kernel would put a directory in its place, and all that is behind the link would be gone. */
#include "initramfs.h"

#include "../formats/bytes.h"
#include "../formats/checked.h"
#include "../formats/cleanup.h"
#include "initramfs-impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LZ4_BLOCK = 1 << 22, /* bytes of a stored block: the kernel's buffer has 8 MiB */
    LZ4_MAX_BLOCK = (1 << 23) + (1 << 23) / 255 + 16,
    LZ4_MAGIC = 0x184c2102,
};

void initramfs_put_tail(struct cpio_out *o, uint64_t end)
{
    char digits[17];
    snprintf(digits, sizeof digits, "%016" PRIx64, end);
    cpio_add(o, ".ferryfs", S_IFREG | 0644, digits, 16);
}

/* ---- entries ---- */

static bool is_made(const struct initramfs_dirs *d, const char *name)
{
    for (size_t i = 0; i < d->n; i++)
        if (!strcmp(d->names[i], name))
            return true;
    return false;
}

static void add_directory(const struct initramfs *i, struct cpio_out *o, struct initramfs_dirs *made,
                          const char *name)
{
    if (initramfs_has(i, name) || is_made(made, name))
        return;
    char **p = realloc(made->names, (made->n + 1) * sizeof *p);
    char *copy = strdup(name);
    if (p)
        made->names = p;
    if (!p || !copy) {
        free(copy);
        o->failed = true;
        return;
    }
    made->names[made->n++] = copy;
    cpio_add(o, name, S_IFDIR | 0755, NULL, 0);
}

static void add_entry(const struct initramfs *i, struct cpio_out *o, struct initramfs_dirs *made,
                      const char *name, mode_t mode, const void *data, size_t n)
{
    _cleanup_free_ char *parent = strdup(name);
    if (!parent) {
        o->failed = true;
        return;
    }
    for (char *slash = strchr(parent, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        add_directory(i, o, made, parent);
        *slash = '/';
    }
    cpio_add(o, name, mode, data, n);
}

void initramfs_add(const struct initramfs *i, struct cpio_out *o, struct initramfs_dirs *made,
                   const char *name, const void *data, size_t n)
{
    add_entry(i, o, made, name, S_IFREG | 0644, data, n);
}

void initramfs_add_link(const struct initramfs *i, struct cpio_out *o, struct initramfs_dirs *made,
                        const char *name, const char *target)
{
    add_entry(i, o, made, name, S_IFLNK | 0777, target, strlen(target));
}

void initramfs_dirs_done(struct initramfs_dirs *d)
{
    for (size_t i = 0; i < d->n; i++)
        free(d->names[i]);
    free(d->names);
    *d = (struct initramfs_dirs){ 0 };
}

/* ---- lz4 ---- */

int initramfs_lz4_end(const struct initramfs_file *f, uint64_t at, uint64_t end, uint64_t *ret)
{
    *ret = at;
    while (*ret < end) {
        uint8_t head[4];
        struct bad bad = { 0 };
        size_t n;
        int r = f->read(f->ctx, head, sizeof head, *ret, &n);
        if (r < 0 || n < sizeof head)
            return r;
        uint32_t size = le32(bytes_of(head, sizeof head, *ret, &bad), 0);
        if (size != LZ4_MAGIC &&
            (!size || size > LZ4_MAX_BLOCK || !range_inside(*ret + sizeof head, size, end)))
            return 0;
        *ret += sizeof head + (size == LZ4_MAGIC ? 0 : size);
    }
    return 0;
}

/* A block that is one run of literals: its length, in 255s, then they. */
static uint8_t *put_stored(uint8_t *to, const uint8_t *p, size_t n)
{
    uint8_t *block = to + 4, *o = block;
    size_t rest = n - 15;
    if (n < 15) {
        *o++ = (uint8_t)(n << 4);
    } else {
        *o++ = 0xf0;
        for (; rest >= 255; rest -= 255)
            *o++ = 255;
        *o++ = (uint8_t)rest;
    }
    memcpy(o, p, n);
    o += n;
    put_le32(to, (uint32_t)(o - block));
    return o;
}

static int lz4_store(const struct cpio_out *a, uint8_t **ret, size_t *ret_n)
{
    size_t blocks = a->n / LZ4_BLOCK + 1;
    uint8_t *out = malloc(4 + a->n + a->n / 255 + blocks * 8), *to = out;
    if (!out)
        return -ENOMEM;
    put_le32(to, LZ4_MAGIC);
    to += 4;
    for (size_t at = 0; at < a->n; at += LZ4_BLOCK)
        to = put_stored(to, a->p + at, a->n - at < LZ4_BLOCK ? a->n - at : LZ4_BLOCK);
    *ret = out;
    *ret_n = (size_t)(to - out);
    return 0;
}

/* ---- the segment ---- */

static int plain_segment(const struct initramfs *i, const struct cpio_out *a, uint8_t **ret, size_t *ret_n)
{
    size_t pad = (size_t)(-i->end & 3);
    uint8_t *out = calloc(1, pad + a->n);
    if (!out)
        return -ENOMEM;
    memcpy(out + pad, a->p, a->n);
    *ret = out;
    *ret_n = pad + a->n;
    return 0;
}

int initramfs_segment(const struct initramfs *i, const struct initramfs_file *f, struct cpio_out *o,
                      uint8_t **ret, size_t *ret_n)
{
    uint64_t end;
    bool lz4 = !strcmp(i->packing, "lz4");
    if (!lz4) /* there, the stream is read on: a tail in it would look like that of a plain archive */
        initramfs_put_tail(o, i->end);
    int r = cpio_end(o);
    if (r < 0)
        return r;
    if (!lz4)
        return plain_segment(i, o, ret, ret_n);
    r = initramfs_lz4_end(f, i->stream_at, i->end, &end);
    return r < 0 ? r : end == i->end ? lz4_store(o, ret, ret_n) : -ENOTSUP;
}
