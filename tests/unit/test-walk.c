/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Links of a guest never lead out of it, and fstab and letters put volumes together: over a toy file system
 * that is a list of paths. */
#include "guest/walk.h"
#include "toy-volume.h"

static const struct toy_entry linux_root[] = {
    { "etc", 'd', NULL },
    { "etc/os-release", 'l', "../usr/lib/os-release" },
    { "usr", 'd', NULL },
    { "usr/lib", 'd', NULL },
    { "usr/lib/os-release", 'f', "NAME=x\nPRETTY_NAME=\"Toy Linux 1\"\n" },
    { "etc/fstab", 'f',
      "# comment\nUUID=AAAA-BBBB /boot/efi vfat defaults 0 1\n/dev/sdb1 /srv/my\\040data ext4 defaults\n"
      "LABEL=boot\t/boot ext4 ro 0 2\nUUID=gone /gone ext4 defaults\n//server/share /mnt cifs x\n"
      "tmpfs /tmp tmpfs\nUUID=AAAA-BBBB /again vfat noauto\n" },
    { "boot", 'd', NULL },
    { "srv", 'd', NULL },
    { "srv/my data", 'd', NULL },
    { "root", 'l', "/" },
    { "deep", 'd', NULL },
    { "deep/er", 'd', NULL },
    { "deep/up", 'l', "../../../../etc/passwd" },
    { "deep/er/abs", 'l', "/etc/os-release" },
    { "deep/er/trick", 'l', "../../root/../../../etc/shadow" },
    { "deep/er/fine", 'l', "../../usr/lib/x" },
    { "deep/er/loop", 'l', "/deep/er/loop/x" },
    { "deep/er/dangling", 'l', "/no/such/../thing" },
    { "deep/er/root", 'l', "/" },
    { NULL, 0, NULL },
};
static const struct toy_entry boot[] = { { "efi", 'd', NULL }, { "kernel", 'f', "k" }, { NULL, 0, NULL } };
static const struct toy_entry efi[] = { { "x.efi", 'f', "e" }, { NULL, 0, NULL } };
static const struct toy_entry data[] = { { "d", 'f', "d" }, { NULL, 0, NULL } };
static const struct toy_entry windows[] = {
    { "Windows", 'd', NULL },
    { "Windows/System32", 'd', NULL },
    { "Windows/System32/config", 'd', NULL },
    { "Windows/System32/config/SYSTEM", 'f', "regf" },
    { "Users", 'd', NULL },
    { "ProgramData", 'd', NULL },
    { "Users/All Users", 'w', "C:/ProgramData" },
    { "Users/d", 'w', "D:/d" },
    { "Users/e", 'w', "E:/nowhere" },
    { "Users/vol", 'w', "//?/Volume{0}/x" },
    { "Users/rooted", 'w', "/ProgramData" },
    { NULL, 0, NULL },
};

static struct toy_volume toys[] = {
    { { .ops = &toy_ops }, linux_root },
    { { .ops = &toy_ops }, boot },
    { { .ops = &toy_ops }, efi },
    { { .ops = &toy_ops }, data },
    { { .ops = &toy_ops, .caseless = true }, windows },
};
static struct partition_table table = { .kind = TABLE_MBR };
static struct partition first_partition = { .number = 1, .mbr_type = 0x83 };

static struct guest *make_guest(void)
{
    static const struct signature signatures[] = { { "ext4", "", "1111" },
                                                   { "ext4", "boot", "" },
                                                   { "fat32", "", "AAAA-BBBB" },
                                                   { "ext4", "", "" },
                                                   { "ntfs", "", "" } };
    struct guest *g = calloc(1, sizeof *g);
    g->n_disks = 2;
    g->disks = calloc(2, sizeof *g->disks);
    g->disks[0].table = g->disks[1].table = &table;
    g->n_volumes = 5;
    g->volumes = calloc(5, sizeof *g->volumes);
    for (size_t i = 0; i < 5; i++) {
        g->volumes[i].volume = &toys[i].volume;
        g->volumes[i].signature = signatures[i];
        snprintf(g->volumes[i].name, sizeof g->volumes[i].name, "vol%zu", i);
    }
    g->volumes[3].disk = 1;
    g->volumes[3].partition = &first_partition;
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

static void linux_is_put_together(void **state)
{
    (void)state;
    struct guest *g = make_guest();
    assert_int_equal(g->n_systems, 2);
    const struct guest_system *s = &g->systems[0];
    assert_int_equal(s->kind, GUEST_LINUX);
    assert_string_equal(s->name, "Toy Linux 1");
    assert_int_equal(s->n_mounts, 4);
    struct realm r = { g, s, 0 };
    struct place p;
    assert_int_equal(realm_resolve(&r, "/boot/kernel", &p), 0);
    assert_int_equal(p.volume, 1);
    assert_int_equal(realm_resolve(&r, "boot/efi/x.efi", &p),
                     0); /* /boot is mounted first whatever fstab's order */
    assert_int_equal(p.volume, 2);
    assert_int_equal(realm_resolve(&r, "srv/my data/d", &p), 0);
    assert_int_equal(p.volume, 3);
    assert_int_equal(realm_resolve(&r, "deep/er/loop", &p), -ELOOP);
    assert_int_equal(realm_resolve(&r, "root/root/etc/os-release", &p), 0);
    assert_int_equal(realm_resolve(&r, "../../etc/os-release", &p), 0);
    assert_int_equal(g->notes.n, 1); /* UUID=gone */
    drop_guest(g);
}

static void windows_gets_letters(void **state)
{
    (void)state;
    struct guest *g = make_guest();
    const struct guest_system *s = &g->systems[1];
    assert_int_equal(s->kind, GUEST_WINDOWS);
    assert_int_equal(s->root, 4);
    assert_string_equal(s->mounts[0].path, "C");
    assert_int_equal(s->n_mounts, 2); /* C, and the FAT volume as D */
    struct realm r = { g, s, 0 };
    struct place p;
    assert_int_equal(realm_resolve(&r, "c/users/all users", &p), 0);
    assert_int_equal(p.ino, 5 + 2);
    drop_guest(g);
}

/* What readlink gives in directory `dir` (a path in the volume) of realm `r`. */
static void check_link(const struct realm *r, const char *dir, const char *want)
{
    struct place ancestors[8], p;
    size_t n = 0;
    char copy[256], *save = NULL;
    assert_int_equal(realm_root(r, &ancestors[n++]), 0);
    snprintf(copy, sizeof copy, "%s", dir);
    for (char *c = strtok_r(copy, "/", &save); c; c = strtok_r(NULL, "/", &save), n++)
        assert_int_equal(realm_lookup(r, ancestors[n - 1], c, &ancestors[n]), 0);
    char target[512], out[1024];
    enum link_style style;
    p = ancestors[--n]; /* the last component is the link itself */
    assert_int_equal(toy_link(r->guest->volumes[p.volume].volume, p.ino, target, sizeof target, &style), 0);
    assert_int_equal(realm_rewrite_link(r, ancestors, n, target, style, out, sizeof out), 0);
    assert_string_equal(out, want);
}

static void links_stay_inside(void **state)
{
    (void)state;
    struct guest *g = make_guest();
    struct realm root = { g, &g->systems[0], 0 }, win = { g, &g->systems[1], 0 }, alone = { g, NULL, 4 };
    static const struct {
        const char *link, *want;
    } rows[] = {
        { "deep/up", "../etc/passwd" },            /* climbs too far: stopped at the root, as in the guest */
        { "deep/er/abs", "../../etc/os-release" }, /* absolute */
        { "deep/er/trick", "../../etc/shadow" },   /* over a link to / and then up */
        { "deep/er/fine", "../../usr/lib/x" },     /* as it is stored */
        { "etc/os-release", "../usr/lib/os-release" },
        { "deep/er/dangling", "../../no/thing" },
        { "deep/er/root", "../.." },
        { "root", "." },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        check_link(&root, rows[i].link, rows[i].want);
    check_link(&win, "C/Users/All Users", "../../C/ProgramData");
    check_link(&win, "C/Users/d", "../../D/d");
    check_link(&win, "C/Users/e", "../../E/nowhere");
    check_link(&win, "C/Users/rooted", "../../C/ProgramData");
    check_link(&alone, "Users/All Users", "../ProgramData");
    check_link(&alone, "Users/d", "../../vol2/d");
    check_link(&alone, "Users/e", "E:/nowhere");
    check_link(&alone, "Users/rooted", "../ProgramData");
    drop_guest(g);
}

static void no_link_text_begins_at_the_host(void **state)
{
    (void)state;
    struct guest *g = make_guest();
    struct realm alone = { g, NULL, 4 };
    struct place p[2] = { { 4, VOLUME_ROOT }, { 4, 6 } };
    static const char *const texts[] = { "//?/Volume{0}/x", "/",  "//",         "/../..",
                                         "C:/../../x",      "c:", "../../../x", "" };
    char out[512];
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        int r = realm_rewrite_link(&alone, p, 2, texts[i], LINK_WINDOWS, out, sizeof out);
        assert_true(r == 0 ? out[0] != '/' && strncmp(out, "../../..", 8) : r == -ENOENT || r == -EINVAL);
    }
    drop_guest(g);
}

/* Texts that can't be walked, or whose walk in the mount differs from the guest's: by the text alone, stopped
 * at the root. */
static void hostile_texts_stay_inside(void **state)
{
    (void)state;
    struct guest *g = make_guest();
    const struct realm root = { g, &g->systems[0], 0 }, win = { g, &g->systems[1], 0 },
                       alone = { g, NULL, 4 };
    const struct {
        const struct realm *realm;
        const char *dir, *text;
        enum link_style style;
        const char *want;
    } rows[] = {
        { &root, "deep/er", "/deep/er/loop/x", LINK_POSIX,
          "../../deep/er/loop/x" }, /* a loop isn't the root */
        { &root, "deep/er", "loop/../../../../../x", LINK_POSIX, "../../x" },
        { &alone, "Users", "E:/x/../../../../../etc/passwd", LINK_WINDOWS, "../etc/passwd" },
        { &alone, "Users", "D:/x/../../../../../etc/passwd", LINK_WINDOWS, "../etc/passwd" },
        { &root, "deep/er", "E:/../../../../../etc/passwd", LINK_WINDOWS, "../../etc/passwd" },
        { &win, "C/Users", "../../D/d", LINK_WINDOWS, "../D/d" }, /* nothing is above C */
        { &win, "C/Users", "../Users", LINK_WINDOWS, "../Users" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct place at[8];
        size_t n = 0;
        char copy[64], out[256], *save = NULL;
        snprintf(copy, sizeof copy, "%s", rows[i].dir);
        assert_int_equal(realm_root(rows[i].realm, &at[n++]), 0);
        for (char *c = strtok_r(copy, "/", &save); c; c = strtok_r(NULL, "/", &save), n++)
            assert_int_equal(realm_lookup(rows[i].realm, at[n - 1], c, &at[n]), 0);
        assert_int_equal(
            realm_rewrite_link(rows[i].realm, at, n, rows[i].text, rows[i].style, out, sizeof out), 0);
        assert_string_equal(out, rows[i].want);
    }

    /* The Windows volume in a Linux guest: its links stay in it. */
    const struct place at[] = { { 0, VOLUME_ROOT }, { 4, VOLUME_ROOT }, { 4, 6 } };
    static const char *const texts[] = { "C:/ProgramData", "/ProgramData" };
    for (size_t i = 0; i < 2; i++) {
        char out[256];
        assert_int_equal(realm_rewrite_link(&root, at, 3, texts[i], LINK_WINDOWS, out, sizeof out), 0);
        assert_string_equal(out, "../ProgramData");
    }
    drop_guest(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linux_is_put_together),     cmocka_unit_test(windows_gets_letters),
        cmocka_unit_test(links_stay_inside),         cmocka_unit_test(no_link_text_begins_at_the_host),
        cmocka_unit_test(hostile_texts_stay_inside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
