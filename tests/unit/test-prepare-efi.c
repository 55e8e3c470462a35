/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a plan for a Linux guest with an EFI system partition has: the loader that a new VM's firmware starts,
 * unified kernel images, the Boot Loader Specification's entries. */
#include "guest/uki.h"
#include "toy-linux.h"

/* Files below boot/efi/EFI, or, where they begin with a slash, anywhere. */
static struct toy_guest *efi_guest(const char *const *files)
{
    struct toy_guest *g = toy_new(PREPARE_HYPERV);
    char path[128], *slash;
    for (; *files; files++) {
        snprintf(path, sizeof path, "%s%s", **files == '/' ? "" : "boot/efi/EFI/", *files + (**files == '/'));
        toy_text(g, path, *files);
        while ((slash = strrchr(path, '/')) && slash > path + 8) {
            *slash = 0;
            if (!toy_find(&g->prepare, path))
                toy_put(g, path, NULL, 0, false);
        }
    }
    return g;
}

/* What stands in EFI/BOOT afterwards is of these files; "(none)": it isn't there. */
static void fallback_is(const char *const *files, const char *loader, const char *grub, const char *other)
{
    struct toy_guest *g = efi_guest(files);
    toy_text(g, "etc/os-release", "NAME=x\nID=\"debian\"\n");
    planned(g);
    assert_string_equal(text_of(g, "boot/efi/EFI/BOOT/BOOTX64.EFI"), loader);
    assert_string_equal(text_of(g, "boot/efi/EFI/BOOT/grubx64.efi"), grub);
    assert_string_equal(text_of(g, "boot/efi/EFI/BOOT/mmx64.efi"), other);
    assert_string_equal(text_of(g, "boot/efi/EFI/BOOT/fbx64.efi"), "(none)");
    assert_null(toy_find(&g->prepare, ".autorelabel"));
    toy_free(g);
}

static void efi_fallback(void **state)
{
    (void)state;
    const char *const shim[] = { "debian/shimx64.efi", "debian/grubx64.efi", "debian/mmx64.efi",
                                 "debian/fbx64.efi",   "debian/BOOTX64.CSV", NULL };
    fallback_is(shim, "debian/shimx64.efi", "debian/grubx64.efi", "debian/mmx64.efi");
    const char *const grub[] = { "debian/grubx64.efi", NULL };
    fallback_is(grub, "debian/grubx64.efi", "(none)", "(none)");
    const char *const there[] = { "debian/shimx64.efi", "debian/grubx64.efi", "BOOT/BOOTX64.EFI", NULL };
    fallback_is(there, "BOOT/BOOTX64.EFI", "(none)", "(none)");
    /* A shim that has no GRUB beside it starts nothing; of two distributions, that of the guest. */
    const char *const lone[] = { "other/shimx64.efi", "systemd/systemd-bootx64.efi", NULL };
    fallback_is(lone, "systemd/systemd-bootx64.efi", "(none)", "(none)");
    const char *const two[] = { "aaa/shimx64.efi",
                                "aaa/grubx64.efi",
                                "debian/shimx64.efi",
                                "debian/grubx64.efi",
                                "zzz/shimx64.efi",
                                "zzz/grubx64.efi",
                                NULL };
    fallback_is(two, "debian/shimx64.efi", "debian/grubx64.efi", "(none)");
    /* Windows' isn't the guest's. */
    const char *const windows[] = { "Microsoft/grubx64.efi", NULL };
    fallback_is(windows, "(none)", "(none)", "(none)");
}

/* EFI/BOOT has a loader with these paths in it, in UTF-16 as a shim has them; and then these files stand
 * there. `said`: of a plan that changes nothing. */
static void shim_is(const char *const *files, const char *const *paths, const char *loader, const char *grub,
                    const char *said)
{
    struct toy_guest *g = efi_guest(files);
    uint8_t bytes[400] = "MZ";
    size_t n = 2;
    for (; *paths; paths++, n += 2)
        for (const char *c = *paths; *c; c++, n += 2)
            bytes[n] = (uint8_t)*c;
    toy_text(g, "etc/os-release", "ID=debian\n");
    if (!toy_find(&g->prepare, "boot/efi/EFI/BOOT"))
        toy_put(g, "boot/efi/EFI/BOOT", NULL, 0, false);
    toy_put(g, "boot/efi/EFI/BOOT/BOOTX64.EFI", bytes, n, false);
    if (!said) {
        planned(g);
        assert_int_equal(g->blocks, 0);
    } else {
        assert_int_equal(plan_linux(&g->prepare), 0);
        if (!strstr(g->said, said))
            fail_msg("%s, not %s", g->said, said);
    }
    if (loader)
        assert_string_equal(text_of(g, "boot/efi/EFI/BOOT/BOOTX64.EFI"), loader);
    else
        assert_memory_equal(toy_find(&g->prepare, "boot/efi/EFI/BOOT/BOOTX64.EFI")->bytes, bytes, n);
    assert_string_equal(text_of(g, "boot/efi/EFI/BOOT/grubx64.efi"), grub);
    toy_free(g);
}

/* A shim as the fallback loader, which starts nothing by itself. */
static void efi_shim(void **state)
{
    static const char *const shim[] = { "\\mmx64.efi", "\\fbx64.efi", "\\grubx64.efi", NULL };
    static const char *const suse[] = { "\\MokManager.efi", "\\fallback.efi", "\\grub.efi", NULL };
    static const char *const refind[] = { "shimx64.efi,fbx64.efi,grubx64.efi", NULL };
    static const char *const other[] = { "\\fbx64.efi", "\\systemd-boot.efi", NULL };
    static const char lone[] =
        "BLOCKED: boot/efi/EFI/BOOT/BOOTX64.EFI, which a new VM's firmware starts, is a shim, and "
        "the grubx64.efi that it would start is nowhere";
    (void)state;
    /* With what it starts, or with the list of what that starts. */
    const char *const whole[] = { "BOOT/grubx64.efi", "debian/grubx64.efi", NULL };
    shim_is(whole, shim, NULL, "BOOT/grubx64.efi", NULL);
    const char *const listed[] = { "BOOT/fbx64.efi", "debian/shimx64.efi", "debian/grubx64.efi",
                                   "debian/BOOTX64.CSV", NULL };
    shim_is(listed, shim, NULL, "(none)", NULL);
    /* Without: the distribution's two go together; or its GRUB, with the shim that is there. */
    const char *const both[] = { "debian/shimx64.efi", "debian/grubx64.efi", NULL };
    shim_is(both, shim, "debian/shimx64.efi", "debian/grubx64.efi", NULL);
    const char *const grub[] = { "other/grubx64.efi", "debian/grubx64.efi", NULL };
    shim_is(grub, shim, NULL, "debian/grubx64.efi", NULL);
    const char *const no_list[] = { "BOOT/fbx64.efi", "BOOT/grubx64.efi", "debian/grubx64.efi", NULL };
    shim_is(no_list, shim, NULL, "BOOT/grubx64.efi", NULL);
    /* Nowhere: that isn't a guest that boots, but by BIOS. */
    const char *const nothing[] = { "debian/shimx64.efi", "debian/fbx64.efi", NULL };
    shim_is(nothing, shim, NULL, "(none)", lone);
    const char *const empty[] = { NULL };
    shim_is(empty, shim, NULL, "(none)", lone);
    shim_is(nothing, suse, NULL, "(none)", "is a shim, and the grub.efi that it would start is nowhere");
    const char *const bios[] = { "debian/shimx64.efi", "/boot/grub/i386-pc/core.img", NULL };
    shim_is(bios, shim, NULL, "(none)",
            "boot/efi/EFI/BOOT/BOOTX64.EFI is a shim without grubx64.efi, which it would start");
    /* Another loader knows these names, too; and a shim that starts another isn't judged. */
    shim_is(both, refind, NULL, "(none)", NULL);
    shim_is(both, other, NULL, "(none)", NULL);
}

/* A program with two sections, the second its initramfs. */
static size_t put_unified(uint8_t *p, size_t max, const void *initrd, size_t n)
{
    enum { HEADER = 0x80, SECTIONS = HEADER + 24 + 0xf0, AT = 0x400 };
    memset(p, 0, max);
    memcpy(p, "MZ", 2);
    p[0x3c] = HEADER;
    memcpy(p + HEADER, "PE\0\0", 4);
    p[HEADER + 6] = 2;
    p[HEADER + 20] = 0xf0;
    memcpy(p + SECTIONS, ".linux", 6);
    memcpy(p + SECTIONS + 40, ".initrd", 7);
    uint32_t fields[] = { (uint32_t)n, 0, (uint32_t)((n + 511) / 512 * 512), AT }; /* little-endian hosts */
    memcpy(p + SECTIONS + 40 + 8, fields, sizeof fields);
    memcpy(p + AT, initrd, n);
    return AT + (n + 511) / 512 * 512;
}

/* What initramfs images have: all that virtio needs, and none of it. */
static const char *const all[] = { "usr/lib/modules/6.1/kernel/virtio_pci.ko",
                                   "usr/lib/modules/6.1/kernel/virtio.ko",
                                   "usr/lib/modules/6.1/kernel/virtio-blk.ko", NULL };
static const char *const some[] = { "usr/lib/modules/6.1/kernel/nvme.ko", NULL };

/* With an initramfs of these files. */
static size_t put_unified_of(uint8_t *p, size_t max, const char *const *names)
{
    struct cpio_out o = { 0 };
    for (; *names; names++)
        cpio_add(&o, *names, S_IFREG | 0644, "x", 1);
    assert_int_equal(cpio_end(&o), 0);
    size_t n = put_unified(p, max, o.p, o.n);
    free(o.p);
    return n;
}

static void unified_is(const char *const *names, const char *said, size_t blocks)
{
    static const char path[] = "boot/efi/EFI/Linux/a.EFI";
    struct toy_guest *g = toy_new(PREPARE_KVM);
    uint8_t image[8192];
    toy_put(g, path, image, put_unified_of(image, sizeof image, names), false);
    toy_text(g, "lib/modules/6.1/modules.dep", all_modules);
    assert_int_equal(plan_linux(&g->prepare), 0);
    assert_int_equal(g->changes, 0);
    assert_int_equal(g->blocks, blocks);
    if (said)
        assert_non_null(strstr(g->said, said));
    else
        assert_string_equal(g->said, "");
    toy_free(g);
}

static void unified_images(void **state)
{
    (void)state;
    unified_is(all, NULL, 0);
    unified_is(some, "BLOCKED: boot/efi/EFI/Linux/a.EFI lacks virtio_pci virtio_blk", 1);
    /* Beside an image that can be changed it is only said. */
    struct toy_guest *g = toy_new(PREPARE_KVM);
    struct cpio_out o = { 0 };
    uint8_t image[8192];
    put_kernel(g, "conf/initramfs.conf", all_modules, "");
    cpio_add(&o, some[0], S_IFREG | 0644, "x", 1);
    assert_int_equal(cpio_end(&o), 0);
    size_t n = put_unified(image, sizeof image, o.p, o.n);
    toy_put(g, "efi/EFI/Linux/a.efi", image, n, false);
    free(o.p);
    planned(g);
    assert_int_equal(g->blocks, 0);
    assert_non_null(strstr(g->said, "efi/EFI/Linux/a.efi lacks virtio_pci virtio_blk; nothing is put into"));
    toy_free(g);
}

/* A guest whose kernels are all in unified images, on its way to Hyper-V: Generation 2, whose one disk
 * controller is storvsc's. */
static void unified_for_hyperv(void **state)
{
#define AT "usr/lib/modules/6.1/kernel/"
    static const char dep[] = "kernel/nvme.ko:\nkernel/virtio_pci.ko:\nkernel/hv_vmbus.ko:\n"
                              "kernel/hv_storvsc.ko: kernel/scsi_transport_fc.ko kernel/hv_vmbus.ko\n"
                              "kernel/scsi_transport_fc.ko:\n";
    static const struct {
        const char *names[6];
        const char *dep, *builtin, *said, *advice; /* NULL: nothing is in the way */
    } cases[] = {
        { { AT "hv_vmbus.ko", AT "hv_storvsc.ko", AT "scsi_transport_fc.ko" }, dep, "", NULL, NULL },
        { { AT "nvme.ko" }, "kernel/nvme.ko:\n", "kernel/hv_vmbus.ko\nkernel/hv_storvsc.ko\n", NULL, NULL },
        { { AT "nvme.ko", AT "virtio_pci.ko" },
          dep,
          "",
          "BLOCKED: boot/efi/EFI/Linux/a.efi lacks hv_vmbus hv_storvsc; nothing is put into a unified kernel "
          "image",
          "--add-drivers \"hv_vmbus hv_storvsc\"" },
        /* A keyboard's is only said; what makes disks of SCSI's devices isn't. */
        { { AT "hv_vmbus.ko", AT "hv_storvsc.ko" },
          "kernel/hv_vmbus.ko:\nkernel/hv_storvsc.ko:\nkernel/hid_hyperv.ko:\n",
          "kernel/sd_mod.ko\n",
          NULL,
          NULL },
        { { AT "hv_vmbus.ko", AT "hv_storvsc.ko" },
          "kernel/hv_vmbus.ko:\nkernel/hv_storvsc.ko:\nkernel/sd_mod.ko:\n",
          "",
          "BLOCKED: boot/efi/EFI/Linux/a.efi lacks sd_mod; nothing",
          "run dracut --force" },
        /* Its disks' driver, without what that needs. */
        { { AT "hv_vmbus.ko", AT "hv_storvsc.ko" },
          dep,
          "",
          "BLOCKED: boot/efi/EFI/Linux/a.efi lacks hv_storvsc",
          "run dracut --force" },
        /* Hyper-V has no SATA. */
        { { AT "nvme.ko" },
          "kernel/nvme.ko:\n",
          "",
          "BLOCKED: the kernel 6.1 has no hv_vmbus",
          "Generation 1, whose disks are IDE, or install a newer kernel" },
    };
#undef AT
    (void)state;
    for (int target = PREPARE_HYPERV; target <= PREPARE_AZURE_LOCAL; target++)
        for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
            struct toy_guest *g = toy_new((enum prepare_target)target);
            struct cpio_out o = { 0 };
            uint8_t image[8192];
            for (const char *const *name = cases[k].names; *name; name++)
                cpio_add(&o, *name, S_IFREG | 0644, "x", 1);
            assert_int_equal(cpio_end(&o), 0);
            toy_put(g, "boot/efi/EFI/Linux/a.efi", image, put_unified(image, sizeof image, o.p, o.n), false);
            free(o.p);
            toy_text(g, "etc/dracut.conf.d/a.conf", "");
            toy_text(g, "lib/modules/6.1/modules.dep", cases[k].dep);
            toy_text(g, "lib/modules/6.1/modules.builtin", cases[k].builtin);
            assert_int_equal(plan_linux(&g->prepare), 0);
            assert_int_equal(g->blocks, cases[k].said != NULL);
            if (cases[k].said && !(strstr(g->said, cases[k].said) && strstr(g->advice, cases[k].advice)))
                fail_msg("%zu: %s; %s", k, g->said, g->advice);
            toy_free(g);
        }
}

/* Its command line is the first section; `certified`: there is a certificate table. */
static void unified_says(const char *const *names, const char *line, bool certified, const char *said,
                         const char *advice)
{
    enum { HEADER = 0x80, OPTIONAL = HEADER + 24, SECTIONS = OPTIONAL + 0xf0, AT = 0x300 };
    struct toy_guest *g = toy_new(PREPARE_KVM);
    uint8_t image[8192];
    size_t n = put_unified_of(image, sizeof image, names);
    memcpy(image + SECTIONS, ".cmdline", 8);
    uint32_t fields[] = { (uint32_t)strlen(line), 0, 0x100, AT };
    memcpy(image + SECTIONS + 8, fields, sizeof fields);
    memcpy(image + AT, line, strlen(line));
    uint8_t magic[] = { 0x0b, 0x02 };
    memcpy(image + OPTIONAL, magic, sizeof magic);
    uint32_t table[] = { certified ? (uint32_t)n : 0, certified ? 512 : 0 };
    memcpy(image + OPTIONAL + 144, table, sizeof table);
    toy_put(g, "boot/efi/EFI/Linux/a.efi", image, n, false);
    toy_text(g, "lib/modules/6.1/modules.dep", all_modules);
    assert_int_equal(plan_linux(&g->prepare), 0);
    assert_int_equal(g->blocks, said != NULL);
    if (said)
        assert_non_null(strstr(g->said, said));
    if (advice)
        assert_non_null(strstr(g->advice, advice));
    toy_free(g);
}

static void unified_command_lines(void **state)
{
    (void)state;
    unified_says(all, "ro root=UUID=0f-a1 quiet\n", false, NULL, NULL);
    unified_says(all, "ro root=/dev/sda1 quiet\n", false,
                 "a.efi has root=/dev/sda1 in its command line, which is another name here; nothing is put "
                 "into a unified kernel image, which is made as a whole",
                 "by its UUID in /etc/kernel/cmdline");
    unified_says(
        some, "root=/dev/nvme9n1p7", true,
        "a.efi lacks virtio_pci virtio_blk, and has root=/dev/nvme9n1p7 in its command line, which is "
        "another name here; nothing is put into a unified kernel image, which is signed as a whole",
        "virtio_pci virtio_blk");
}

/* systemd-boot's entries, and what they name, in the system partition; GRUB's, which name what /boot has. */
static void entries_elsewhere(void **state)
{
    static const char entry[] =
        "title x\nlinux /id/6.1/linux\n initrd\t/id//6.1/initrd $tuned_initrd\n"
        "initrd /../initrd /id/./6.1/initrd /id/6.1/initrd-rescue\noptions root=/dev/sda1 ro\n";
    struct toy_guest *g = toy_new(PREPARE_KVM);
    (void)state;
    put_kernel(g, "conf/initramfs.conf", all_modules, "");
    struct toy_file *image = toy_find(&g->prepare, "boot/initrd.img-6.1");
    size_t n = image->n;
    toy_put(g, "boot/efi/id/6.1/initrd", image->bytes, n, false);
    toy_put(g, "boot/efi/id/6.1/initrd-rescue", image->bytes, n, false);
    toy_put(g, "boot/efi/id/6.1/link", "initrd", 6, true);
    toy_text(g, "boot/efi/loader/entries/a.conf", entry);
    toy_text(g, "boot/efi/loader/entries/b.conf", "initrd /id/6.1/initrd\ninitrd /id/6.1/link");
    toy_text(g, "boot/loader/entries/c.conf", "initrd /boot/initrd.img-6.1\noptions root=/dev/sda1\n");
    planned(g);
    size_t grown = toy_find(&g->prepare, "boot/initrd.img-6.1")->n;
    assert_true(grown > n);
    assert_int_equal(toy_find(&g->prepare, "boot/efi/id/6.1/initrd")->n, grown);
    assert_int_equal(toy_find(&g->prepare, "boot/efi/id/6.1/initrd-rescue")->n, n);
    assert_non_null(
        strstr(text_of(g, "boot/efi/loader/entries/a.conf"), "options root=UUID=0f-a1 ro console="));
    assert_non_null(strstr(text_of(g, "boot/loader/entries/c.conf"), "options root=UUID=0f-a1 console="));
    toy_free(g);
}

/* A program cut anywhere is no image, or one that is cut; nothing is read behind its end. */
static int read_bytes(void *ctx, void *buf, size_t len, uint64_t off, size_t *ret)
{
    const struct toy_file *f = ctx;
    *ret = off >= f->n ? 0 : len < f->n - off ? len : f->n - (size_t)off;
    if (*ret)
        memcpy(buf, f->bytes + off, *ret);
    return 0;
}

static void unified_cut(void **state)
{
    uint8_t image[8192], cut_off[600] = { 1 };
    size_t n = put_unified(image, sizeof image, cut_off, sizeof cut_off);
    (void)state;
    for (size_t cut = 0; cut <= n; cut++) {
        struct toy_file bytes = { .bytes = image, .n = cut };
        struct initramfs_file f = { read_bytes, &bytes, cut, "a.efi", 0 };
        uint64_t at = 0, length = 0;
        int r = uki_find_section(&f, ".initrd", &at, &length);
        assert_int_equal(r, cut >= 0x400 + sizeof cut_off ? 0 : -ENOENT);
        if (r == 0) {
            assert_int_equal(at, 0x400);
            assert_int_equal(length, sizeof cut_off);
        }
    }
    /* The section says that it begins where the file has ended. */
    memset(image + 0x80 + 24 + 0xf0 + 40 + 20, 0xff, 4);
    struct toy_file bytes = { .bytes = image, .n = n };
    struct initramfs_file f = { read_bytes, &bytes, n, "a.efi", 0 };
    uint64_t at, length;
    assert_int_equal(uki_find_section(&f, ".initrd", &at, &length), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(efi_fallback),          cmocka_unit_test(efi_shim),
        cmocka_unit_test(unified_images),        cmocka_unit_test(unified_for_hyperv),
        cmocka_unit_test(unified_command_lines), cmocka_unit_test(entries_elsewhere),
        cmocka_unit_test(unified_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
