/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Any bytes as an initramfs, or as a unified kernel image that has one. One that can be read can have an
 * archive put behind it, and then has all that it had, and what is in the archive. */
#include "guest/uki.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct image {
    const uint8_t *p;
    size_t n;
};

static int image_read(void *ctx, void *buf, size_t len, uint64_t off, size_t *ret)
{
    const struct image *i = ctx;
    *ret = off >= i->n ? 0 : len < i->n - off ? len : i->n - (size_t)off;
    if (*ret)
        memcpy(buf, i->p + off, *ret);
    return 0;
}

static void read_again(const struct initramfs *was, const struct image *image, const uint8_t *more, size_t n)
{
    uint8_t *all = malloc(image->n + n);
    struct image both = { all, image->n + n };
    struct initramfs_file f = { image_read, &both, both.n, "initrd", 0 };
    struct initramfs i;
    if (!all)
        return;
    memcpy(all, image->p, image->n);
    memcpy(all + image->n, more, n);
    assert(initramfs_read(&f, &i, NULL) == 0);
    for (size_t k = 0; k < was->n_names; k++)
        assert(initramfs_has(&i, was->names[k]));
    assert(initramfs_has(&i, "a/new/file"));
    initramfs_done(&i);
    free(all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct image image = { data, size };
    struct initramfs_file f = { image_read, &image, size, "initrd", 0 };
    struct initramfs i;
    struct fault why;
    uint64_t at, n_inside;
    memset(&why, 0, sizeof why);
    (void)uki_is_signed(&f);
    if (uki_find_section(&f, ".initrd", &at, &n_inside) == 0) {
        assert(n_inside && at <= size && n_inside <= size - at);
        image = (struct image){ data + at, (size_t)n_inside };
        f.size = n_inside;
    }
    if (initramfs_read(&f, &i, &why) == 0) {
        struct cpio_out o = { 0 };
        struct initramfs_dirs dirs = { 0 };
        uint8_t *more;
        size_t n;
        initramfs_add(&i, &o, &dirs, "a/new/file", data, size);
        if (initramfs_segment(&i, &f, &o, &more, &n) == 0) {
            read_again(&i, &image, more, n);
            free(more);
        }
        free(o.p);
        initramfs_dirs_done(&dirs);
    } else {
        assert(why.what[0]);
    }
    initramfs_done(&i);
    return 0;
}
