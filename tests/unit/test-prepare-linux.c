/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a plan for a Linux guest has, file by file; and that a second one has nothing. Initramfs images:
 * test-initramfs.c, and that all of it boots: tests/e2e/prepare-linux.sh. */
#include "guest/initramfs.h"
#include "toy-linux.h"

/* `before` becomes `after`. */
static void becomes(enum prepare_target target, const char *path, const char *before, const char *after)
{
    struct toy_guest *g = toy_new(target);
    toy_text(g, path, before);
    planned(g);
    assert_string_equal(text_of(g, path), after);
    toy_free(g);
}

static void fstab(void **state)
{
    (void)state;
    becomes(
        PREPARE_KVM, "etc/fstab",
        "# /dev/sda1 is the root\n/dev/sda1\t/ ext4 defaults 0 1\nUUID=x /a ext4\n/dev/mapper/v-l /b xfs\n"
        "/dev/vg/lv /c xfs\n/dev/sda2 none swap sw 0 0\n/dev/sdb1 /d ext4 nofail\ntmpfs /tmp "
        "tmpfs\nshort\n\n  \n/dev/sda1 /e ext4",
        "# /dev/sda1 is the root\nUUID=0f-a1\t/ ext4 defaults 0 1\nUUID=x /a ext4\n/dev/mapper/v-l /b xfs\n"
        "/dev/vg/lv /c xfs\n/dev/sda2 none swap sw 0 0\n/dev/sdb1 /d ext4 nofail\ntmpfs /tmp "
        "tmpfs\nshort\n\n  \nUUID=0f-a1 /e ext4");
    struct toy_guest *g = toy_new(PREPARE_KVM);
    toy_text(g, "etc/fstab", "/dev/disk/by-id/wwn-0x6000c29 /data ext4 defaults 0 2\n");
    assert_int_equal(plan_linux(&g->prepare), 0);
    assert_int_equal(g->blocks, 1);
    assert_non_null(strstr(g->said, "BLOCKED: /etc/fstab has /dev/disk/by-id/wwn-0x6000c29 at /data"));
    toy_free(g);
}

static void boot_loaders(void **state)
{
    (void)state;
    becomes(PREPARE_KVM, "boot/grub/grub.cfg",
            "menuentry 'x' {\n\tlinux /vmlinuz root=/dev/sda1 ro quiet\n\tinitrd /initrd\n}\n\tlinux16 "
            "/memtest.bin\n",
            "menuentry 'x' {\n\tlinux /vmlinuz root=UUID=0f-a1 ro quiet console=tty0 "
            "console=ttyS0,115200n8\n\tinitrd /initrd\n"
            "}\n\tlinux16 /memtest.bin\n");
    becomes(PREPARE_HYPERV, "boot/grub2/grub.cfg", "linux /vmlinuz root=/dev/sda1 resume=/dev/vda1 ro\n",
            "linux /vmlinuz root=UUID=0f-a1 resume=UUID=0f-a1 ro\n");
    becomes(PREPARE_AZURE_LOCAL, "boot/loader/entries/a.conf",
            "title a\noptions root=/dev/mapper/rhel-root ro rd.lvm.lv=rhel/root\n",
            "title a\noptions root=/dev/mapper/rhel-root ro rd.lvm.lv=rhel/root console=tty0 "
            "console=ttyS0,115200n8\n");
    becomes(PREPARE_KVM, "boot/loader/entries/b.conf", "options root=UUID=1 console=ttyS0\n",
            "options root=UUID=1 console=ttyS0\n");
    becomes(PREPARE_KVM, "etc/kernel/cmdline", "root=/dev/vda1 rw\n",
            "root=UUID=0f-a1 rw console=tty0 console=ttyS0,115200n8\n");
    becomes(PREPARE_KVM, "boot/extlinux.conf", "  APPEND root=/dev/sda1\n",
            "  APPEND root=UUID=0f-a1 console=tty0 console=ttyS0,115200n8\n");
    struct toy_guest *g = toy_new(PREPARE_KVM);
    toy_text(g, "boot/grub/grub.cfg", "linux /vmlinuz root=/dev/sdc1\n");
    assert_int_equal(plan_linux(&g->prepare), 0);
    assert_int_equal(g->blocks, 1);
    toy_free(g);
}

#define SERIAL "console=tty0 console=ttyS0,115200n8"

/* /etc/default/grub alone. */
static void grub_defaults(void **state)
{
    static const char *const cases[][2] = {
        { "GRUB_CMDLINE_LINUX=\"\"\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n",
          "GRUB_CMDLINE_LINUX=\"" SERIAL "\"\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n" },
        { "GRUB_CMDLINE_LINUX='a' # b\n", "GRUB_CMDLINE_LINUX='a " SERIAL "' # b\n" },
        { "GRUB_CMDLINE_LINUX=\"a \\\" b\"\n", "GRUB_CMDLINE_LINUX=\"a \\\" b " SERIAL "\"\n" },
        /* Without quotes; with nothing; not at all. */
        { "GRUB_CMDLINE_LINUX=quiet\n", "GRUB_CMDLINE_LINUX=\"quiet " SERIAL "\"\n" },
        { "\texport GRUB_CMDLINE_LINUX= # b\n", "\texport GRUB_CMDLINE_LINUX=\"" SERIAL "\" # b\n" },
        { "GRUB_TIMEOUT=5", "GRUB_TIMEOUT=5\nGRUB_CMDLINE_LINUX=\"" SERIAL "\"\n" },
        { "#GRUB_CMDLINE_LINUX=\"\"\n", "#GRUB_CMDLINE_LINUX=\"\"\nGRUB_CMDLINE_LINUX=\"" SERIAL "\"\n" },
        /* A console in one of the two is one. */
        { "GRUB_CMDLINE_LINUX_DEFAULT=\"console=ttyS0\"\nGRUB_CMDLINE_LINUX=\"a\"\n", NULL },
        { "GRUB_CMDLINE_LINUX=\"a console=hvc0\"\n", NULL },
        { "GRUB_CMDLINE_LINUX=console=ttyS0\nGRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX b\"\n", NULL },
        { "GRUB_CMDLINE_LINUX=console=ttyS0\nGRUB_CMDLINE_LINUX+=\" b\"\n", NULL },
        /* One that is assigned anew isn't. */
        { "GRUB_CMDLINE_LINUX=console=ttyS0\nGRUB_CMDLINE_LINUX=\"b\"\n",
          "GRUB_CMDLINE_LINUX=console=ttyS0\nGRUB_CMDLINE_LINUX=\"b " SERIAL "\"\n" },
        { "GRUB_CMDLINE_LINUX=console=ttyS0\nGRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX_DEFAULT b\"\n",
          "GRUB_CMDLINE_LINUX=console=ttyS0\nGRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX_DEFAULT b " SERIAL
          "\"\n" },
        /* Devices, in both. */
        { "GRUB_CMDLINE_LINUX_DEFAULT=\"resume=/dev/sda1 "
          "console=ttyS0\"\nGRUB_CMDLINE_LINUX=root=/dev/sda1\n",
          "GRUB_CMDLINE_LINUX_DEFAULT=\"resume=UUID=0f-a1 "
          "console=ttyS0\"\nGRUB_CMDLINE_LINUX=root=UUID=0f-a1\n" },
        /* Shell that isn't understood is left, and nothing is put behind it. */
        { "GRUB_CMDLINE_LINUX=\"a\nb\"\n", NULL },
        { "GRUB_CMDLINE_LINUX=\"a\"'b'\n", NULL },
        { "GRUB_CMDLINE_LINUX=a\\ b\n", NULL },
        { "GRUB_CMDLINE_LINUX=a\"b\"\n", NULL },
    };
    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++)
        becomes(PREPARE_KVM, "etc/default/grub", cases[k][0], cases[k][1] ? cases[k][1] : cases[k][0]);
    becomes(PREPARE_HYPERV, "etc/default/grub", "GRUB_CMDLINE_LINUX=\"\"\n", "GRUB_CMDLINE_LINUX=\"\"\n");
}

/* What comes later in the order of names counts. */
static void grub_drop_ins(void **state)
{
    (void)state;
    struct toy_guest *g = toy_new(PREPARE_KVM);
    toy_text(g, "etc/default/grub.d/50-b.cfg", "GRUB_CMDLINE_LINUX=\"b\"\n");
    toy_text(g, "etc/default/grub.d/40-a.cfg", "GRUB_CMDLINE_LINUX=\"a root=/dev/sda1\"\n");
    toy_text(g, "etc/default/grub.d/60-c.off", "GRUB_CMDLINE_LINUX=\"c\"\n");
    toy_text(g, "etc/default/grub", "GRUB_CMDLINE_LINUX=\"console=ttyS0\"\n");
    planned(g);
    assert_string_equal(text_of(g, "etc/default/grub"), "GRUB_CMDLINE_LINUX=\"console=ttyS0\"\n");
    assert_string_equal(text_of(g, "etc/default/grub.d/40-a.cfg"),
                        "GRUB_CMDLINE_LINUX=\"a root=UUID=0f-a1\"\n");
    assert_string_equal(text_of(g, "etc/default/grub.d/50-b.cfg"), "GRUB_CMDLINE_LINUX=\"b " SERIAL "\"\n");
    assert_string_equal(text_of(g, "etc/default/grub.d/60-c.off"), "GRUB_CMDLINE_LINUX=\"c\"\n");
    toy_free(g);
    /* Debian's images for clouds. */
    g = toy_new(PREPARE_KVM);
    toy_text(g, "etc/default/grub", "GRUB_CMDLINE_LINUX=\"\"\n");
    toy_text(g, "etc/default/grub.d/10_cloud.cfg",
             "GRUB_CMDLINE_LINUX=\"${GRUB_CMDLINE_LINUX} console=ttyS0,115200\"\n");
    planned(g);
    assert_int_equal(g->changes, 0);
    toy_free(g);
}

static void grubenv(void **state)
{
    char before[1025], after[1025];
    const char *text = "# GRUB Environment Block\nsaved_entry=a\nkernelopts=root=/dev/sda1 ro \n";
    const char *want = "# GRUB Environment Block\nsaved_entry=a\nkernelopts=root=UUID=0f-a1 ro "
                       "console=tty0 console=ttyS0,115200n8\n";
    (void)state;
    memset(before, '#', 1024);
    memcpy(before, text, strlen(text));
    before[1024] = 0;
    memset(after, '#', 1024);
    memcpy(after, want, strlen(want));
    after[1024] = 0;
    becomes(PREPARE_KVM, "boot/grub2/grubenv", before, after);
    /* No room: it stays, and it is said. */
    memset(before + strlen(text) - 1, 'x', 1024 - strlen(text));
    before[1023] = '\n';
    becomes(PREPARE_KVM, "boot/grub2/grubenv", before, before);
    becomes(PREPARE_KVM, "boot/grub2/grubenv", "kernelopts=root=/dev/sda1\n", "kernelopts=root=/dev/sda1\n");
}

/* A guest with systemd whose network is configured by that file, and its VM's addresses: what the link of
 * `name` says. */
static void link_is(enum prepare_target target, const char *path, const char *text, const char *name,
                    const char *want)
{
    static const char *const macs[] = { "00:0C:29:00:00:01", "00:0C:29:00:00:02" };
    struct toy_guest *g = toy_new(target);
    char link[128];
    snprintf(link, sizeof link, "etc/systemd/network/10-ferryfs-%s.link", name);
    toy_text(g, "usr/lib/systemd/systemd", "x");
    toy_text(g, path, text);
    g->prepare.macs = macs;
    g->prepare.n_macs = 2;
    planned(g);
    assert_string_equal(text_of(g, link), want);
    toy_free(g);
}

static void network(void **state)
{
    static const char first[] = "[Match]\nMACAddress=00:0c:29:00:00:01\nPath=*pci-*\n\n[Link]\nName=ens192\n";
    (void)state;
    /* In the order of their numbers. */
    link_is(PREPARE_KVM, "etc/network/interfaces",
            "auto lo\niface lo inet loopback\niface ens224 inet dhcp\niface  ens192 inet dhcp\n", "ens192",
            first);
    link_is(PREPARE_HYPERV, "etc/network/interfaces.d/a", "iface ens224 inet dhcp\niface ens192 inet dhcp\n",
            "ens224", "[Match]\nMACAddress=00:0c:29:00:00:02\nDriver=hv_netvsc\n\n[Link]\nName=ens224\n");
    /* As the configuration says. */
    link_is(PREPARE_KVM, "etc/sysconfig/network-scripts/ifcfg-ens192",
            "DEVICE=\"ens192\"\nHWADDR=00:0C:29:00:00:01\n", "ens192", first);
    link_is(PREPARE_KVM, "etc/NetworkManager/system-connections/a.nmconnection",
            "[connection]\ninterface-name=ens192\n[ethernet]\nmac-address=00:0C:29:00:00:01\n", "ens192",
            first);
    link_is(PREPARE_KVM, "etc/systemd/network/a.network",
            "[Match]\nName=ens192\nMACAddress=00:0c:29:00:00:01\n", "ens192", first);
    link_is(PREPARE_KVM, "etc/netplan/a.yaml",
            "network:\n  version: 2\n  ethernets:\n    ens192:\n      match:\n        macaddress: "
            "\"00:0c:29:00:00:01\"\n"
            "      dhcp4: true\n  bonds:\n    ens999:\n      x: y\n",
            "ens192", first);
    /* One name and two addresses: it can't be told. A bridge is no card. */
    link_is(PREPARE_KVM, "etc/network/interfaces", "iface ens192 inet dhcp\n", "ens192", "(none)");
    link_is(PREPARE_KVM, "etc/network/interfaces", "iface br0 inet dhcp\niface ens192.7 inet dhcp\n", "br0",
            "(none)");
}

static void tools(void **state)
{
    struct toy_guest *g = toy_new(PREPARE_KVM);
    char link[64];
    (void)state;
    toy_text(g, "usr/lib/systemd/system/vmtoolsd.service", "x");
    toy_text(g, "usr/lib/udev/rules.d/99-vmware-scsi-udev.rules", "x");
    toy_text(g, "etc/rc3.d/S30vmware-tools", "x");
    toy_text(g, "etc/rc3.d/S30other", "x");
    toy_text(g, "etc/lvm/devices/system.devices", "x");
    toy_text(g, "etc/selinux/config", "# SELINUX=enforcing\nSELINUX=permissive\n");
    planned(g);
    assert_int_equal(toy_readlink(&g->prepare, "etc/systemd/system/vmtoolsd.service", link, sizeof link), 0);
    assert_string_equal(link, "/dev/null");
    assert_int_equal(
        toy_readlink(&g->prepare, "etc/udev/rules.d/99-vmware-scsi-udev.rules", link, sizeof link), 0);
    assert_null(toy_find(&g->prepare, "etc/systemd/system/open-vm-tools.service"));
    assert_null(toy_find(&g->prepare, "etc/rc3.d/S30vmware-tools"));
    assert_non_null(toy_find(&g->prepare, "etc/rc3.d/S30other"));
    assert_null(toy_find(&g->prepare, "etc/lvm/devices/system.devices"));
    assert_non_null(toy_find(&g->prepare, ".autorelabel"));
    toy_free(g);
}

static void images(void **state)
{
    static const char *const makers[] = { "conf/initramfs.conf", "usr/lib/dracut" };
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        struct toy_guest *g = toy_new(PREPARE_KVM);
        struct initramfs i;
        put_kernel(g, makers[k], all_modules, "");
        toy_text(g, "etc/initramfs-tools/modules", "# none\nvirtio_pci");
        planned(g);
        struct initramfs_file f = { read_image, g, toy_find(&g->prepare, "boot/initrd.img-6.1")->n, "initrd",
                                    0 };
        assert_int_equal(initramfs_read(&f, &i, NULL), 0);
        assert_true(initramfs_has_module(&i, "kernel/virtio_pci.ko"));
        assert_true(initramfs_has_module(&i, "kernel/virtio-blk.ko"));
        assert_true(initramfs_has_module(&i, "kernel/virtio.ko"));
        if (k == 0)
            assert_string_equal(i.load, "virtio_pci\nvirtio_blk\n");
        else
            assert_true(initramfs_has(&i, "etc/cmdline.d/ferryfs-kvm.conf"));
        assert_string_equal(text_of(g, "etc/initramfs-tools/modules"), "# none\nvirtio_pci\nvirtio_blk\n");
        initramfs_done(&i);
        toy_free(g);
    }
}

/* The root's modules are packed, and the image's aren't, as in Debian 13: what the image has gets the names
 * that the root's index has, by links. */
static void images_packed_otherwise(void **state)
{
    static const char dep[] =
        "kernel/nvme.ko.xz:\nkernel/virtio_pci.ko.xz: kernel/nvme.ko.xz kernel/virtio.ko.xz\n"
        "kernel/virtio.ko.xz:\nkernel/virtio-blk.ko.xz: kernel/virtio.ko.xz\nkernel/other.ko.xz:\n";
    struct toy_guest *g = toy_new(PREPARE_KVM);
    struct initramfs i;
    (void)state;
    put_kernel(g, "conf/initramfs.conf", dep, "");
    toy_text(g, "lib/modules/6.1/kernel/virtio_pci.ko.xz", "pci");
    toy_text(g, "lib/modules/6.1/kernel/virtio-blk.ko.xz", "blk");
    toy_text(g, "lib/modules/6.1/kernel/virtio.ko.xz", "virtio");
    planned(g);
    struct toy_file *image = toy_find(&g->prepare, "boot/initrd.img-6.1");
    struct initramfs_file f = { read_image, g, image->n, "initrd", 0 };
    assert_int_equal(initramfs_read(&f, &i, NULL), 0);
    assert_true(initramfs_has_module(&i, "kernel/virtio_pci.ko.xz"));
    assert_true(initramfs_has_module(&i, "kernel/virtio-blk.ko.xz"));
    assert_true(initramfs_has_module(&i, "kernel/nvme.ko.xz"));
    assert_false(initramfs_has_module(&i, "kernel/virtio_pci.ko"));
    assert_false(initramfs_has_module(&i, "kernel/other.ko.xz"));
    const char *link = memmem(image->bytes, image->n, "kernel/nvme.ko.xz", 18);
    assert_non_null(link);
    assert_non_null(memmem(link, 64, "\0nvme.ko", 8)); /* what it leads to stands behind its name */
    initramfs_done(&i);
    toy_free(g);
}

/* What stands in the way is said, and nothing put there. */
static void images_that_cannot(void **state)
{
    static const struct {
        const char *dep, *builtin, *said;
    } cases[] = {
        { "kernel/nvme.ko:\n", "",
          "the kernel 6.1 has no virtio_pci\nBLOCKED: the kernel 6.1 has no virtio_pci" },
        { "kernel/nvme.ko:\n", "kernel/virtio_pci.ko\n", "the kernel 6.1 has no virtio_blk\nBLOCKED: " },
        { "kernel/virtio_pci.ko.xz:\nkernel/virtio_blk.ko.xz:\n", "",
          "BLOCKED: boot/initrd.img-6.1 has modules named .ko" },
        { "kernel/nvme.ko:\n", "kernel/virtio_pci.ko\nkernel/virtio_scsi.ko\n", "" },
        { "../virtio_pci.ko:\n", "", NULL }, /* refused as a whole */
    };
    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        struct toy_guest *g = toy_new(PREPARE_KVM);
        put_kernel(g, "unknown", cases[k].dep, cases[k].builtin);
        size_t n = toy_find(&g->prepare, "boot/initrd.img-6.1")->n;
        int r = plan_linux(&g->prepare);
        assert_int_equal(r, cases[k].said ? 0 : -EUCLEAN);
        assert_int_equal(
            strncmp(g->said, cases[k].said ? cases[k].said : "", strlen(cases[k].said ? cases[k].said : "")),
            0);
        assert_int_equal(toy_find(&g->prepare, "boot/initrd.img-6.1")->n, n);
        toy_free(g);
    }
}

/* What can't be read may have all that it needs, or nothing. Beside one that can be it is only said. */
static void images_unread(void **state)
{
    static const char unread[] = "BLOCKED: what its initramfs has isn't known: boot/initrd.img-5.0: ";
    struct toy_guest *g = toy_new(PREPARE_KVM);
    (void)state;
    toy_text(g, "boot/initrd.img-5.0", "no archive");
    toy_text(g, "etc/initramfs-tools/modules", "");
    assert_int_equal(plan_linux(&g->prepare), 0);
    assert_int_equal(g->blocks, 1);
    assert_non_null(strstr(g->said, unread));
    assert_non_null(
        strstr(g->advice, "add virtio_pci virtio_blk virtio_scsi to /etc/initramfs-tools/modules"));
    g->blocks = 0;
    put_kernel(g, "conf/initramfs.conf", all_modules, "");
    planned(g);
    assert_int_equal(g->blocks, 0);
    toy_free(g);
}

/* A /boot whose volume isn't shown, or has nothing. */
static void boot_elsewhere(void **state)
{
    static const struct {
        const char *type, *makes, *said, *advice;
    } cases[] = {
        { "xfs", "etc/dracut.conf.d/a.conf", "BLOCKED: /boot is a volume of xfs, and the initramfs in it",
          "run dracut --force --regenerate-all --add-drivers \"hv_vmbus hv_storvsc\"" },
        { "btrfs", "etc/mkinitcpio.conf", "BLOCKED: /boot is a volume of btrfs, and the initramfs in it",
          "add hv_vmbus hv_storvsc to MODULES in /etc/mkinitcpio.conf and run mkinitcpio -P" },
        { "xfs", "etc/initramfs-tools/modules", "BLOCKED: /boot is a volume of xfs, and the initramfs in it",
          "add hv_vmbus hv_storvsc to /etc/initramfs-tools/modules and run update-initramfs -u -k all" },
        { "ext4", "etc/mkinitcpio.conf", "BLOCKED: there is no initramfs to be seen in /boot", "all disks" },
    };
    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        struct toy_guest *g = toy_new(PREPARE_HYPERV);
        char fstab_text[100];
        snprintf(fstab_text, sizeof fstab_text, "UUID=1 / ext4 defaults 0 1\nUUID=2 /boot %s defaults 0 0\n",
                 cases[k].type);
        toy_text(g, "etc/fstab", fstab_text);
        toy_text(g, cases[k].makes, "");
        assert_int_equal(plan_linux(&g->prepare), 0);
        assert_int_equal(g->blocks, 1);
        assert_non_null(strstr(g->said, cases[k].said));
        assert_non_null(strstr(g->advice, cases[k].advice));
        toy_free(g);
    }
}

/* No root that can be read: each type has its advice. */
static void unread_roots(void **state)
{
    static const struct {
        const char *type, *said, *advice;
    } cases[] = {
        { "btrfs",
          "BLOCKED: no guest is found, and disk0p2 (btrfs), which may have it, can't be read: a reason",
          "put hv_vmbus hv_storvsc into its initramfs (dracut --force --regenerate-all --add-drivers "
          "\"hv_vmbus hv_storvsc\"" },
        { "", "BLOCKED: no guest is found, and disk0p2, which may have it, can't be read: a reason",
          "dracut" },
        { "bitlocker", "disk0p2 (bitlocker)", "decrypt it where the guest runs" },
        { "ntfs", "disk0p2 (ntfs)", "prepare the guest where it runs" },
        { "storage-spaces", "disk0p2 (storage-spaces)", "prepare the guest where it runs" },
    };
    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        struct toy_guest *g = toy_new(PREPARE_HYPERV);
        assert_int_equal(plan_unread(&g->prepare, "disk0p2", cases[k].type, "a reason"), 0);
        assert_int_equal(g->blocks, 1);
        assert_non_null(strstr(g->said, cases[k].said));
        assert_non_null(strstr(g->advice, cases[k].advice));
        toy_free(g);
    }
    assert_true(prepare_may_be_root("xfs") && prepare_may_be_root("luks") &&
                prepare_may_be_root("bitlocker"));
    assert_false(prepare_may_be_root("swap") || prepare_may_be_root("lvm2") || prepare_may_be_root("fat") ||
                 prepare_may_be_root(""));
}

/* ---- what makes images anew ---- */

static const char kvm_words[] = "virtio_pci virtio_blk";

/* With an image of a kernel that has these as modules: `before` becomes `after`. */
static void maker_becomes(const char *path, const char *before, const char *after)
{
    struct toy_guest *g = toy_new(PREPARE_KVM);
    put_kernel(g, "conf/initramfs.conf", all_modules, "");
    toy_text(g, path, before);
    planned(g);
    assert_string_equal(text_of(g, path), after);
    toy_free(g);
}

static void makers(void **state)
{
    static const char mkinitcpio[] = "etc/mkinitcpio.conf", suse[] = "etc/sysconfig/kernel";
    (void)state;
    maker_becomes(mkinitcpio, "# MODULES=(x)\nMODULES=()\nHOOKS=(base udev)\n",
                  "# MODULES=(x)\nMODULES=(virtio_pci virtio_blk)\nHOOKS=(base udev)\n");
    maker_becomes(mkinitcpio, "MODULES=(old)\nMODULES=(ext4 virtio_blk) # y\n",
                  "MODULES=(old)\nMODULES=(ext4 virtio_blk virtio_pci) # y\n");
    maker_becomes(mkinitcpio, "MODULES=\"ext4 \"\n", "MODULES=\"ext4 virtio_pci virtio_blk\"\n");
    maker_becomes(mkinitcpio, "MODULES=(virtio_blk virtio_pci)", "MODULES=(virtio_blk virtio_pci)");
    maker_becomes(mkinitcpio, "MODULES=(\n  ext4\n)\n", "MODULES=(\n  ext4\n)\n");
    maker_becomes(suse, "# a\nINITRD_MODULES=\"ata_piix\"\n",
                  "# a\nINITRD_MODULES=\"ata_piix virtio_pci virtio_blk\"\n");
    maker_becomes(suse, "# a\nMODULES_LOADED_ON_BOOT=\"\"\n", "# a\nMODULES_LOADED_ON_BOOT=\"\"\n");
}

/* dracut's list, and what would keep it from having an effect. */
static void dracut_lists(void **state)
{
    struct toy_guest *g = toy_new(PREPARE_KVM);
    char want[80];
    (void)state;
    put_kernel(g, "usr/lib/dracut", all_modules, "");
    toy_put(g, "etc/dracut.conf.d", NULL, 0, false);
    toy_text(g, "etc/dracut.conf.d/a.conf",
             "# omit_drivers+=\" virtio_blk \"\nomit_drivers+=\" xvirtio_pci \"\n");
    toy_text(g, "etc/dracut.conf.d/b.conf",
             "add_drivers+=\" virtio_blk \"\n omit_drivers+=\" a virtio_pci\"\n");
    planned(g);
    snprintf(want, sizeof want, "add_drivers+=\" %s \"\n", kvm_words);
    assert_string_equal(text_of(g, "etc/dracut.conf.d/zz-ferryfs-kvm.conf"), want);
    assert_non_null(strstr(g->said, "/etc/dracut.conf.d/b.conf leaves virtio_pci out"));
    assert_null(strstr(g->said, "a.conf"));
    assert_null(strstr(g->said, "virtio_blk"));
    toy_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fstab),
        cmocka_unit_test(boot_loaders),
        cmocka_unit_test(grub_defaults),
        cmocka_unit_test(grub_drop_ins),
        cmocka_unit_test(grubenv),
        cmocka_unit_test(network),
        cmocka_unit_test(tools),
        cmocka_unit_test(images),
        cmocka_unit_test(images_packed_otherwise),
        cmocka_unit_test(images_that_cannot),
        cmocka_unit_test(images_unread),
        cmocka_unit_test(boot_elsewhere),
        cmocka_unit_test(makers),
        cmocka_unit_test(dracut_lists),
        cmocka_unit_test(unread_roots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
