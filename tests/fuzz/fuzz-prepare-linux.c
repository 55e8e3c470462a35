/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Any bytes as each file that the planner of Linux guests looks into: planned and applied, there is nothing
 * left to do. */
#include "tests/unit/toy-prepare.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const paths[] = {
    "etc/fstab",
    "boot/grub/grub.cfg",
    "boot/grub2/grubenv",
    "boot/loader/entries/a.conf",
    "etc/default/grub",
    "etc/kernel/cmdline",
    "etc/network/interfaces",
    "etc/netplan/a.yaml",
    "etc/sysconfig/network-scripts/ifcfg-a",
    "etc/udev/rules.d/70-persistent-net.rules",
    "etc/selinux/config",
    "etc/initramfs-tools/modules",
    "lib/modules/6.1/modules.dep",
    "boot/initrd.img-6.1",
    "etc/default/grub.d/a.cfg",
    "etc/mkinitcpio.conf",
    "etc/sysconfig/kernel",
    "etc/dracut.conf.d/a.conf",
    "boot/efi/EFI/Linux/a.efi",
    "boot/efi/EFI/BOOT/BOOTX64.EFI",
};

static void add_kernel(struct toy_guest *g)
{
    static const char dep[] =
        "kernel/virtio_pci.ko: kernel/virtio.ko\nkernel/hv_vmbus.ko:\nkernel/hv_storvsc.ko:\n";
    static const char *const modules[] = { "virtio_pci", "virtio", "hv_vmbus", "hv_storvsc" };
    char path[64];
    toy_text(g, "lib/modules/6.1/modules.dep", dep);
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "lib/modules/6.1/kernel/%s.ko", modules[i]);
        toy_text(g, path, "x");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const macs[] = { "00:0c:29:00:00:01" };
    if (size < 2)
        return 0;
    struct toy_guest *g = toy_new(data[0] % PREPARE_TARGETS);
    g->prepare.macs = macs;
    g->prepare.n_macs = 1;
    add_kernel(g);
    toy_text(g, "usr/lib/systemd/systemd", "x");
    toy_text(g, "boot/efi/EFI/debian/grubx64.efi", "x"); /* for a shim that lacks it */
    toy_put(g, paths[data[1] % (sizeof paths / sizeof paths[0])], data + 2, size - 2, false);
    if (plan_linux(&g->prepare) == 0 && !g->blocks) {
        size_t changes = g->changes;
        assert(plan_linux(&g->prepare) == 0);
        assert(g->changes == changes);
    }
    toy_free(g);
    return 0;
}
