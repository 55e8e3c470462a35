/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Raw: the file is the disk. Its probe never bids; image.c falls back to it when nothing speaks for anything
 * else. */
#include "checked.h"
#include "image.h"

#include <errno.h>

struct raw {
    struct disk disk;
    struct file *file;
    bool map_stays; /* file_map_stays() */
};

static struct raw *raw_of(struct disk *d)
{
    return (struct raw *)(void *)d;
}

static int raw_pread(struct disk *d, void *buf, size_t len, uint64_t off, const struct extent *e)
{
    (void)e;
    int r = file_pread(raw_of(d)->file, buf, len, off);
    return r == -ENODATA ? -EIO : r;
}

static int raw_map(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    int r = file_map(raw_of(d)->file, off, len, ret);
    if (!r && ret->kind == EXTENT_HOLE)
        ret->kind =
            EXTENT_ZERO; /* a raw file has no layer below: its holes are zeros by the file system's word */
    return r;
}

/* A short piece is read as it is, hole or not: asking the host where its file has holes costs as much. */
static int raw_find(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    if (len > DISK_SHORT || !raw_of(d)->map_stays)
        return raw_map(d, off, len, ret);
    *ret = (struct extent){ .length = len, .kind = EXTENT_DATA };
    return 0;
}

static void raw_prefetch(struct disk *d, uint64_t off, uint64_t len)
{
    file_advise(raw_of(d)->file, off, len);
}

static void raw_close(struct disk *d)
{
    file_unref(raw_of(d)->file);
    free(d);
}

static const struct disk_ops raw_ops = {
    .name = "raw",
    .pread = raw_pread,
    .map = raw_map,
    .find = raw_find,
    .prefetch = raw_prefetch,
    .close = raw_close,
};

static unsigned raw_probe(const struct probe *p)
{
    (void)p;
    return PROBE_NONE;
}

static int raw_open(struct file *file, const struct image_env *env, struct layer *ret, struct fault *fault)
{
    (void)env;
    if (!file->size)
        return fault_in(fault, -EMEDIUMTYPE, file->name, "is empty");
    struct raw *d = calloc(1, sizeof *d);
    if (!d)
        return fault_in(fault, -ENOMEM, file->name, "out of memory");
    d->disk = (struct disk){ .ops = &raw_ops, .size = file->size };
    d->file = file_ref(file);
    d->map_stays = file_map_stays(file);
    ret->disk = &d->disk;
    ret->info.virtual_size = ret->info.file_size = file->size;
    return 0;
}

const struct format raw_format = {
    .name = "raw",
    .title = "raw",
    .suffixes = { NULL },
    .probe = raw_probe,
    .open = raw_open,
};
