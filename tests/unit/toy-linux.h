/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_TESTS_TOY_LINUX_H
#define FERRYFS_TESTS_TOY_LINUX_H
/* A Linux guest in memory, its kernel and its initramfs, for the tests of its planner. */
#include "guest/cpio.h"
#include "guest/initramfs.h"
#include "toy-prepare.h"
#include "unit.h"

static inline const char *text_of(struct toy_guest *g, const char *path)
{
    struct toy_file *f = toy_find(&g->prepare, path);
    return f && f->bytes ? (const char *)f->bytes : "(none)";
}

/* Plans and applies; planned once more, nothing is left to do. */
static inline void planned(struct toy_guest *g)
{
    assert_int_equal(plan_linux(&g->prepare), 0);
    size_t changes = g->changes;
    assert_int_equal(plan_linux(&g->prepare), 0);
    assert_int_equal(g->changes, changes);
}

/* An image of that maker, in boot/, of a kernel that has these modules. */
static inline void put_kernel(struct toy_guest *g, const char *maker_file, const char *dep,
                              const char *builtin)
{
    struct cpio_out o = { 0 };
    cpio_add(&o, maker_file, S_IFREG | 0644, NULL, 0);
    cpio_add(&o, "usr/lib/modules/6.1/kernel/nvme.ko", S_IFREG | 0644, "x", 1);
    assert_int_equal(cpio_end(&o), 0);
    toy_put(g, "boot/initrd.img-6.1", o.p, o.n, false);
    free(o.p);
    toy_text(g, "lib/modules/6.1/modules.dep", dep);
    toy_text(g, "lib/modules/6.1/modules.builtin", builtin);
    toy_text(g, "lib/modules/6.1/kernel/nvme.ko", "nvme");
    toy_text(g, "lib/modules/6.1/kernel/virtio_pci.ko", "pci");
    toy_text(g, "lib/modules/6.1/kernel/virtio-blk.ko", "blk");
    toy_text(g, "lib/modules/6.1/kernel/virtio.ko", "virtio");
}

static const char all_modules[] =
    "kernel/nvme.ko:\nkernel/virtio_pci.ko: kernel/virtio.ko\nkernel/virtio.ko:\n"
    "kernel/virtio-blk.ko: kernel/virtio.ko\n";

static inline int read_image(void *ctx, void *buf, size_t len, uint64_t off, size_t *ret)
{
    return toy_read_at(ctx, "boot/initrd.img-6.1", buf, len, off, ret);
}
#endif
