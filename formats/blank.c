/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A blank disk: an OVF's Disk without a file, which the importer is to create empty. One hole. */
#include "image.h"
#include "vm-source.h"

#include <errno.h>
#include <string.h>

static int blank_pread(struct disk *d, void *buf, size_t len, uint64_t off, const struct extent *e)
{
    (void)d, (void)off, (void)e;
    memset(buf, 0, len); /* not reached: the map says HOLE everywhere */
    return 0;
}

static int blank_map(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    (void)d, (void)off;
    *ret = (struct extent){ .length = len, .kind = EXTENT_HOLE };
    return 0;
}

static void blank_close(struct disk *d)
{
    free(d);
}

static const struct disk_ops blank_ops = {
    .name = "blank",
    .pread = blank_pread,
    .map = blank_map,
    .close = blank_close,
};

int vm_blank_image(const char *name, uint64_t capacity, struct image **ret)
{
    struct image *image = calloc(1, sizeof *image);
    struct layer_info *info = calloc(1, sizeof *info);
    struct disk *disk = calloc(1, sizeof *disk);
    char *copy = strdup(name);
    if (!image || !info || !disk || !copy) {
        free(image);
        free(info);
        free(disk);
        free(copy);
        return -ENOMEM;
    }
    *disk = (struct disk){ .ops = &blank_ops, .size = capacity };
    *info = (struct layer_info){ .format = "blank", .file = copy, .virtual_size = capacity };
    *image = (struct image){ .disk = disk, .layers = info, .n_layers = 1 };
    *ret = image;
    return 0;
}
