/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which images a plan for a Linux guest looks at, and what else than modules is put into them. */
#include "guest/prepare-linux.h"
#include "toy-linux.h"

/* What names adapters, in an image of a udev that names them once, and in others. */
static void link_in_image(enum prepare_target target, const char *rules, const char *library, bool modules,
                          const char *want)
{
    static const char name[] = "etc/systemd/network/10-ferryfs-ens192.link";
    static const char *const macs[] = { "00:0c:29:00:00:01" };
    struct toy_guest *g = toy_new(target);
    struct cpio_out o = { 0 };
    struct initramfs i;
    put_kernel(g, "conf/initramfs.conf", modules ? all_modules : "kernel/nvme.ko:\n",
               "kernel/virtio_pci.ko\nkernel/virtio_blk.ko\nkernel/hv_vmbus.ko\nkernel/hv_storvsc.ko\n");
    cpio_add(&o, "lib/modules/6.1/kernel/nvme.ko", S_IFREG | 0644, "x", 1);
    cpio_add(&o, rules, S_IFREG | 0644, "x", 1);
    cpio_add(&o, library, S_IFREG | 0644, "x", 1);
    assert_int_equal(cpio_end(&o), 0);
    toy_put(g, "boot/initrd.img-6.1", o.p, o.n, false);
    free(o.p);
    toy_text(g, "usr/lib/systemd/systemd", "x");
    toy_text(g, "etc/network/interfaces", "iface ens192 inet dhcp\n");
    g->prepare.macs = macs;
    g->prepare.n_macs = 1;
    planned(g);
    struct initramfs_file f = { read_image, g, toy_find(&g->prepare, "boot/initrd.img-6.1")->n, "initrd", 0 };
    assert_int_equal(initramfs_read(&f, &i, NULL), 0);
    const char *text = initramfs_link_text(&i, name);
    if (want)
        assert_non_null(strstr(text_of(g, name), want));
    assert_string_equal(text ? text : "(none)", want ? text_of(g, name) : "(none)");
    assert_int_equal(initramfs_has_module(&i, "kernel/virtio-blk.ko"), modules);
    initramfs_done(&i);
    if (want) { /* what the image has for another target is in the way */
        g->prepare.target = target == PREPARE_KVM ? PREPARE_HYPERV : PREPARE_KVM;
        planned(g);
        f.size = toy_find(&g->prepare, "boot/initrd.img-6.1")->n;
        assert_int_equal(initramfs_read(&f, &i, NULL), 0);
        assert_string_equal(initramfs_link_text(&i, name), text_of(g, name));
        assert_null(strstr(text_of(g, name), want));
        initramfs_done(&i);
    }
    toy_free(g);
}

static void adapters_in_images(void **state)
{
    static const char rules[] = "lib/udev/rules.d/80-net-setup-link.rules",
                      none[] = "lib/udev/rules.d/55-dm.rules";
    (void)state;
    link_in_image(PREPARE_KVM, rules, "lib/x86_64-linux-gnu/libudev.so.1", true, "Path=*pci-*");
    link_in_image(PREPARE_KVM, rules, "lib/systemd/libsystemd-shared-237.so", false, "Path=*pci-*");
    link_in_image(PREPARE_HYPERV, rules, "lib/systemd/libsystemd-shared-239-78.el8.so", false,
                  "Driver=hv_netvsc");
    link_in_image(PREPARE_KVM, rules, "lib/systemd/libsystemd-shared-240.so", true, NULL);
    link_in_image(PREPARE_KVM, none, "lib/systemd/libsystemd-shared-237.so", true, NULL);
}

static void too_many_images(void **state)
{
    (void)state;
    struct toy_guest *g = toy_new(PREPARE_KVM);
    char path[64];
    for (int k = 0; k < LINUX_MAX_IMAGES + 2; k++) {
        snprintf(path, sizeof path, "boot/initrd.img-%02d", k);
        toy_text(g, path, "x");
        struct linux_plan l = { .p = &g->prepare };
        struct linux_images i;
        assert_int_equal(linux_find_images(&l, &i), 0);
        assert_int_equal(i.n, k < LINUX_MAX_IMAGES ? k + 1 : LINUX_MAX_IMAGES);
        assert_string_equal(i.left_out, k < LINUX_MAX_IMAGES ? "" : "boot/initrd.img-64");
    }
    assert_int_equal(plan_linux(&g->prepare), 0);
    assert_non_null(strstr(g->said, "an initramfs isn't looked at: boot/initrd.img-64 is one too many"));
    toy_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adapters_in_images),
        cmocka_unit_test(too_many_images),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
