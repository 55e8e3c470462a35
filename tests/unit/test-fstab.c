/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every way in which an fstab names a volume, and what is said of those that aren't shown. Source: fstab(5).
 */
#include "guest/inspect.h"
#include "toy-volume.h"

enum { ROOT, GPT2, GPT3, WHOLE, LOGICAL, BTRFS, VOLUMES };

static struct partition partitions[] = {
    { .number = 1, .name = "root" },
    { .number = 2, .name = "my data", .guid = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 } },
    { .number = 3, .mbr_type = 0x83 },
};
static struct partition_table gpt = { .kind = TABLE_GPT },
                              mbr = { .kind = TABLE_MBR, .mbr_signature = 0xdeadbeef };
static const struct lvm_volume lv = {
    .vg = "vg-a", .lv = "data-1", .mapper = "vg--a-data--1", .uuid = "abcdef-ghij-klmn-opqr-stuv-wxyz-012345"
};
static const struct signature signatures[VOLUMES] = {
    [ROOT] = { "ext4", "", "00000000-0000-0000-0000-00000000000a" },
    [GPT2] = { "ext4", "a label: odd", "00000000-0000-0000-0000-00000000000b" },
    [GPT3] = { "fat32", "ESP", "0FAD-CAFE" },
    [WHOLE] = { "ext4", "whole", "" },
    [LOGICAL] = { "xfs", "", "lv-uuid" },
    [BTRFS] = { "btrfs", "pool", "btrfs-uuid" },
};

static const struct toy_entry empty[] = { { "inner", 'd', NULL }, { NULL, 0, NULL } };
static struct toy_entry root[] = {
    { "etc", 'd', NULL },       { "etc/fstab", 'f', NULL }, { "bin", 'l', "usr/bin" }, { "mnt", 'd', NULL },
    { "mnt/x y", 'd', NULL },   { "mnt/q\"", 'd', NULL },   { "link", 'l', "/mnt" },   { "file", 'f', "x" },
    { "mnt/inner", 'd', NULL }, { NULL, 0, NULL },
};

static struct toy_volume toys[VOLUMES];

static struct guest *make_guest(const char *fstab, size_t n_disks)
{
    struct guest *g = calloc(1, sizeof *g);
    g->n_disks = n_disks;
    g->disks = calloc(3, sizeof *g->disks);
    g->disks[0].table = &gpt;
    g->disks[1].table = &mbr;
    g->n_volumes = VOLUMES;
    g->volumes = calloc(VOLUMES, sizeof *g->volumes);
    root[1].text = fstab;
    for (size_t i = 0; i < VOLUMES; i++) {
        struct guest_volume *v = &g->volumes[i];
        toys[i] = (struct toy_volume){ { .ops = &toy_ops }, i == ROOT ? root : empty };
        v->volume = i == BTRFS ? NULL : &toys[i].volume;
        v->signature = signatures[i];
        snprintf(v->name, sizeof v->name, "vol%zu", i);
    }
    g->volumes[ROOT].partition = &partitions[0];
    g->volumes[GPT2].partition = &partitions[1];
    g->volumes[GPT3].disk = 1;
    g->volumes[GPT3].partition = &partitions[2];
    g->volumes[WHOLE].disk = 2;
    g->volumes[LOGICAL].lv = &lv;
    strcpy(g->volumes[BTRFS].why, "not a file system that ferryfs reads");
    guest_inspect(g);
    return g;
}

static void drop_guest(struct guest *g)
{
    for (size_t i = 0; i < g->n_volumes; i++)
        g->volumes[i].volume = NULL;
    g->disks[0].table = g->disks[1].table = NULL;
    guest_free(g);
}

/* Which volume stands at the only mount beside the root; -1 for none. */
static int mounted(const struct guest *g, const char **ret_path)
{
    assert_int_equal(g->n_systems, 1);
    const struct guest_system *s = &g->systems[0];
    assert_int_equal(s->root, ROOT);
    if (s->n_mounts == 1)
        return -1;
    assert_int_equal(s->n_mounts, 2);
    *ret_path = s->mounts[1].path;
    return (int)s->mounts[1].volume;
}

static void each_name_finds_its_volume(void **state)
{
    (void)state;
    static const struct {
        const char *spec;
        int want;
    } rows[] = {
        { "UUID=00000000-0000-0000-0000-00000000000B", GPT2 },
        { "UUID=\"0fad-cafe\"", GPT3 },
        { "UUID='0FAD-CAFE'", GPT3 },
        { "LABEL=a\\040label:\\040odd", GPT2 },
        { "LABEL=whole", WHOLE },
        { "LABEL=WHOLE", -1 },
        { "PARTUUID=04030201-0605-0807-090a-0b0c0d0e0f10", GPT2 },
        { "PARTUUID=deadbeef-03", GPT3 },
        { "PARTLABEL=my\\040data", GPT2 },
        { "/dev/disk/by-uuid/0FAD-CAFE", GPT3 },
        { "/dev/disk/by-label/a\\x20label:\\x20odd", GPT2 },
        { "/dev/disk/by-label/a\\134x20label:\\134x20odd", GPT2 },
        { "/dev/disk/by-partuuid/DEADBEEF-03", GPT3 },
        { "/dev/disk/by-partlabel/my\\x20data", GPT2 },
        { "/dev/sda2", GPT2 },
        { "/dev/vda2", GPT2 },
        { "/dev/xvda2", GPT2 },
        { "/dev/hda2", GPT2 },
        { "/dev/nvme0n1p2", GPT2 },
        { "/dev/sdb3", GPT3 },
        { "/dev/nvme1n1p3", GPT3 },
        { "/dev/nvme0n2p3", GPT3 },
        { "/dev/sdc", WHOLE },
        { "/dev/nvme2n1", WHOLE },
        { "/dev/sdaa2", -1 },
        { "/dev/sda22", -1 },
        { "/dev/sda2x", -1 },
        { "/dev/sda18446744073709551618", -1 },
        { "/dev/nvme0n0p2", -1 },
        { "/dev/mapper/vg--a-data--1", LOGICAL },
        { "/dev/mapper/vg-a-data-1", -1 },
        { "/dev/vg-a/data-1", LOGICAL },
        { "/dev/vg-a/data", -1 },
        { "/dev/disk/by-id/dm-name-vg--a-data--1", LOGICAL },
        { "/dev/disk/by-id/"
          "dm-uuid-LVM-0123456789abcdef0123456789abcdefabcdefghijklmnopqrstuvwxyz012345",
          LOGICAL },
        { "/dev/disk/by-id/dm-uuid-LVM-0123456789abcdef0123456789abcdef0bcdefghijklmnopqrstuvwxyz012345",
          -1 },
        { "UUID=lv-uuid", LOGICAL },
        { "/dev/disk/by-id/wwn-0x6000c29-part2", -1 }, /* which of three disks? */
        { "UUID=", -1 },
        { "LABEL=", -1 },
        { "/dev/", -1 },
        { "/dev/sd", -1 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char fstab[256];
        const char *path = NULL;
        snprintf(fstab, sizeof fstab, "%s /mnt auto defaults 0 0\n", rows[i].spec);
        struct guest *g = make_guest(fstab, 3);
        int got = mounted(g, &path);
        if (got != rows[i].want)
            fail_msg("%s: volume %d", rows[i].spec, got);
        assert_int_equal(g->notes.n, got < 0); /* what isn't found is named */
        drop_guest(g);
    }
}

static void one_disk_is_known_by_any_id(void **state)
{
    (void)state;
    static const char *const specs[] = { "/dev/disk/by-id/wwn-0x6000c29-part2", "ID=scsi-36000c29-part2",
                                         "/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:0:0-part2" };
    for (size_t i = 0; i < 3; i++) {
        char fstab[256];
        const char *path = NULL;
        snprintf(fstab, sizeof fstab, "%s /mnt auto defaults\n", specs[i]);
        struct guest *g = make_guest(fstab, 1);
        assert_int_equal(mounted(g, &path), GPT2);
        drop_guest(g);
    }
}

static void lines_mean_what_fstab_says(void **state)
{
    (void)state;
    static const struct {
        const char *line, *path; /* NULL: not mounted */
        const char *note;        /* a part of the one note; NULL: there is none */
    } rows[] = {
        { "LABEL=whole\t/mnt  ext4", "mnt", NULL },
        { "  LABEL=whole /mnt/x\\040y ext4 defaults 0 0", "mnt/x y", NULL },
        { "LABEL=whole /mnt/q\" ext4 defaults", "mnt/q\"", NULL },
        { "LABEL=whole /link ext4 defaults", "link", NULL },
        { "LABEL=whole //mnt/ ext4 defaults", "mnt/", NULL },
        { "LABEL=whole /mnt ext4 noauto,user", NULL, NULL },
        { "LABEL=whole /mnt ext4 noauto,x-systemd.automount", "mnt", NULL },
        { "LABEL=whole /mnt ext4 comment=systemd.automount,noauto", "mnt", NULL },
        { "LABEL=whole /mnt ext4 noautox", "mnt", NULL },
        { "LABEL=whole none swap sw 0 0", NULL, NULL },
        { "LABEL=whole /mnt swap sw 0 0", NULL, NULL },
        { "#LABEL=whole /mnt ext4", NULL, NULL },
        { "LABEL=whole / ext4", NULL, NULL },
        { "LABEL=whole /no/such ext4 defaults", NULL, "no such directory" },
        { "LABEL=whole /file ext4 defaults", NULL, "no such directory" },
        { "/srv /mnt none bind 0 0", NULL, "/srv isn't shown at /mnt as well" },
        { "/srv /mnt none defaults,rbind 0 0", NULL, "/srv isn't shown at /mnt as well" },
        { "host:/export /mnt nfs4 defaults", NULL, NULL },
        { "//host/share /mnt cifs defaults", NULL, NULL },
        { "tmpfs /mnt tmpfs defaults", NULL, NULL },
        { "/swapfile swap swap defaults", NULL, NULL },
        { "LABEL=pool /mnt btrfs compress=zstd,subvol=@home,x=y 0 0", NULL,
          "LABEL=pool, subvol=@home (vol5 in fstab) isn't shown at /mnt: not a file system that ferryfs "
          "reads" },
        { "/dev/sda1 /mnt ext4 defaults", NULL, "mounted elsewhere" },
        { "/dev/md0 /mnt ext4 defaults", NULL, "isn't on any of the disks" },
        { "LABEL=whole", NULL, NULL },
        { "\\000 /mnt ext4", NULL, NULL },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *path = NULL;
        struct guest *g = make_guest(rows[i].line, 3);
        int got = mounted(g, &path);
        if ((got >= 0) != (rows[i].path != NULL) || (path && strcmp(path, rows[i].path)))
            fail_msg("%s: volume %d at %s", rows[i].line, got, path ? path : "none");
        if (g->notes.n != (rows[i].note != NULL) ||
            (rows[i].note && !strstr(g->notes.lines[0], rows[i].note)))
            fail_msg("%s: %s", rows[i].line, g->notes.n ? g->notes.lines[0] : "no note");
        drop_guest(g);
    }
}

static void mounts_stand_in_each_other(void **state)
{
    (void)state;
    struct guest *g =
        make_guest("LABEL=whole /mnt/inner ext4\n/dev/vg-a/data-1 /mnt xfs\nLABEL=ESP /link vfat\n", 3);
    const struct guest_system *s = &g->systems[0];
    struct realm r = { g, s, 0 };
    struct place p;
    assert_int_equal(s->n_mounts, 3);
    assert_int_equal(realm_resolve(&r, "/mnt", &p), 0);
    assert_int_equal(p.volume, LOGICAL);
    assert_int_equal(realm_resolve(&r, "/mnt/inner/inner", &p), 0);
    assert_int_equal(p.volume, WHOLE);
    assert_int_equal(g->notes.n, 1);
    assert_non_null(strstr(g->notes.lines[0], "something else is mounted there already"));
    drop_guest(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_name_finds_its_volume),
        cmocka_unit_test(one_disk_is_known_by_any_id),
        cmocka_unit_test(lines_mean_what_fstab_says),
        cmocka_unit_test(mounts_stand_in_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
