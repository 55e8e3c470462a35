/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files of real volumes that a list of changes takes away or replaces, and puts back: with all that a file
 * system keeps of them, as its own driver and, of NTFS, ntfssecaudit show it. */
#include "../../fs/changes-impl.h"
#include "../../fs/hives.h"
#include "../../fs/options.h"
#include "ntfs-writable.h"

/* ---- what changes-files.c and the blobs of changes-record.c reach ---- */

static struct guest_volume volumes[1];
static struct guest_mount mounts[1] = { { .path = (char *)(uintptr_t) "" } };
static struct guest_system systems[1] = { { .kind = GUEST_LINUX, .mounts = mounts, .n_mounts = 1 } };
static struct guest guest = { .volumes = volumes, .n_volumes = 1, .systems = systems, .n_systems = 1 };
static const struct options options;
static struct ferry ferry = { .options = &options };

struct guest *ferry_guest(struct ferry *f)
{
    (void)f;
    return &guest;
}

int hives_guest_write(struct ferry *f, size_t v, uint64_t ino)
{
    (void)f, (void)v, (void)ino;
    return 0;
}

int hives_moving(struct ferry *f, size_t v, uint64_t ino)
{
    (void)f, (void)v, (void)ino;
    return 0;
}

void hives_moved(struct ferry *f, size_t v, uint64_t ino)
{
    (void)f, (void)v, (void)ino;
}

void change_state_done(struct change_state *s)
{
    free(s->bytes);
    free(s->attributes);
    *s = (struct change_state){ 0 };
}

void change_done(struct change *c)
{
    change_state_done(&c->old);
    change_state_done(&c->new);
}

int changes_push(struct changes *c, struct change *made)
{
    (void)c;
    change_done(made);
    return -EFBIG;
}

/* ---- the volumes ---- */

static uint64_t find(const char *path)
{
    uint64_t ino = VOLUME_ROOT;
    char copy[200];
    snprintf(copy, sizeof copy, "%s", path);
    for (char *rest = copy, *name; (name = strsep(&rest, "/"));)
        assert_int_equal(volume->ops->lookup(volume, ino, name, &ino), 0);
    return ino;
}

static uint64_t make(const char *dir, const char *name, mode_t mode, const char *text)
{
    struct volume_new new = { .mode = mode, .uid = 1001, .gid = 1002, .target = S_ISLNK(mode) ? text : NULL };
    struct volume_file *f;
    uint64_t ino;
    assert_int_equal(volume->ops->create(volume, *dir ? find(dir) : VOLUME_ROOT, name, &new, &ino), 0);
    if (!S_ISREG(mode))
        return ino;
    assert_int_equal(volume->ops->open(volume, ino, &f), 0);
    assert_int_equal(volume->ops->write(f, text, strlen(text), 0), 0);
    volume->ops->release(f);
    return ino;
}

static void attribute(uint64_t ino, const char *name, const void *value, size_t n)
{
    int r = volume->ops->setxattr(volume, ino, name, value, n, 0);
    if (r)
        fail_msg("%s: %s", name, strerror(-r));
}

static void show_attribute(FILE *to, uint64_t ino, const char *name)
{
    uint8_t value[4096];
    size_t n = 0;
    int r = volume->ops->getxattr(volume, ino, name, value, sizeof value, &n);
    if (r == -ENODATA || r == -EOPNOTSUPP)
        return;
    assert_int_equal(r, 0);
    fprintf(to, "  %s=", name);
    /* The last of the four times says when an attribute was set: nobody can set it back on some systems. */
    for (size_t i = 0; i < (strcmp(name, "system.ntfs_times") ? n : 24); i++)
        fprintf(to, "%02x", value[i]);
    fprintf(to, "\n");
}

/* What the driver shows of the file, owned by the caller. */
static char *show(const char *path)
{
    static const char *const hidden[] = {
        "system.ntfs_acl",       "system.ntfs_attrib", "system.ntfs_dos_name",
        "system.ntfs_object_id", "system.ntfs_times",  "system.ntfs_ea",
    };
    char *all = NULL, names[4096], text[200] = "";
    size_t size, n = 0;
    FILE *to = open_memstream(&all, &size);
    struct volume_attr a;
    struct volume_file *f;
    enum link_style style;
    uint64_t ino = find(path);
    assert_int_equal(volume->ops->getattr(volume, ino, &a), 0);
    if (S_ISREG(a.mode)) {
        assert_int_equal(volume->ops->open(volume, ino, &f), 0);
        assert_int_equal(volume->ops->read(f, text, sizeof text - 1, 0, &n), 0);
        volume->ops->release(f);
    } else if (S_ISLNK(a.mode)) {
        assert_int_equal(volume->ops->link(volume, ino, text, sizeof text, &style), 0);
    }
    fprintf(to, "%s %o %u:%u %lld.%09ld %s\n", path, a.mode, a.uid, a.gid, (long long)a.mtime.tv_sec,
            a.mtime.tv_nsec, text);
    assert_int_equal(volume->ops->listxattr(volume, ino, names, sizeof names, &n), 0);
    for (const char *name = names; name < names + n; name += strlen(name) + 1)
        show_attribute(to, ino, name);
    for (size_t i = 0; i < sizeof hidden / sizeof hidden[0]; i++)
        show_attribute(to, ino, hidden[i]);
    fclose(to);
    return all;
}

/* Takes it away and puts it back. */
static void away_and_back(enum change_kind kind, const char *path, const char *target)
{
    struct change c = { .kind = kind, .path = (char *)(uintptr_t)path };
    uint64_t ino;
    char *before = show(path);
    assert_int_equal(file_state(&ferry, kind, path, 1 << 20, NO_SUM, &c.old), 0);
    if (target) {
        c.new = (struct change_state){
            .there = true, .type = S_IFLNK | 0777, .bytes = (uint8_t *)strdup(target), .n = strlen(target)
        };
    }
    assert_int_equal(file_do(&ferry, &c), 0);
    if (!target && !strchr(path, '/'))
        assert_int_equal(volume->ops->lookup(volume, VOLUME_ROOT, path, &ino), -ENOENT);
    assert_int_equal(file_undo(&ferry, &c), 0);
    change_done(&c);
    char *after = show(path);
    assert_string_equal(before, after);
    free(before);
    free(after);
}

/* ---- NTFS ---- */

/* Administrators own it; one user may read it. Nothing that a new file would inherit. */
static const uint8_t descriptor[] = {
    1, 0, 4,  0x80, 0x14, 0, 0,    0, 0x24, 0, 0, 0, 0,    0, 0, 0, 0x34, 0, 0, 0, /* header */
    1, 2, 0,  0,    0,    0, 0,    5, 0x20, 0, 0, 0, 0x20, 2, 0, 0,                /* owner */
    1, 2, 0,  0,    0,    0, 0,    5, 0x20, 0, 0, 0, 0x20, 2, 0, 0,                /* group */
    2, 0, 44, 0,    1,    0, 0,    0,                                              /* ACL */
    0, 0, 36, 0,    0x89, 0, 0x12, 0,                                              /* allow: read */
    1, 5, 0,  0,    0,    0, 0,    5, 21,   0, 0, 0, 1,    0, 0, 0, 2,    0, 0, 0, 3, 0, 0, 0, 0xe9, 3, 0, 0,
};

static void audit(const char *path, const char *to)
{
    assert_int_equal(volume->ops->sync(volume), 0);
    assert_int_equal(
        run("ntfssecaudit -v %s %s >%s/%s 2>&1 || { cat %s/%s; false; }", image, path, work, to, work, to),
        0);
}

static void ntfs(void **state)
{
    static const uint64_t times[] = { 0x01d0000000000000, 0x01d1111111111110, 0x01d2222222222220 };
    static const uint32_t hidden_system = 0x26;
    (void)state;
    make_volume("16M", "");
    open_volume(0);
    volumes[0].volume = volume;
    make("", "dir", S_IFDIR | 0755, NULL);
    uint64_t file = make("dir", "a long name of a driver.sys", S_IFREG | 0644, "program");
    attribute(file, "user.stream", "more", 4);
    attribute(file, "system.ntfs_dos_name", "ALONGN~1.SYS", 12);
    attribute(file, "system.ntfs_attrib", &hidden_system, 4);
    attribute(file, "system.ntfs_acl", descriptor, sizeof descriptor);
    attribute(file, "system.ntfs_times", times, sizeof times);
    uint64_t dir = make("", "gone", S_IFDIR | 0755, NULL);
    attribute(dir, "system.ntfs_acl", descriptor, sizeof descriptor);
    attribute(dir, "system.ntfs_times", times, sizeof times);
    audit("'dir/a long name of a driver.sys'", "file.before");
    audit("gone", "dir.before");
    assert_int_equal(run("grep -q e9030000 %s/file.before", work), 0);
    away_and_back(CHANGE_REMOVE, "dir/a long name of a driver.sys", NULL);
    away_and_back(CHANGE_RMDIR, "gone", NULL);
    audit("'dir/a long name of a driver.sys'", "file.after");
    audit("gone", "dir.after");
    assert_int_equal(run("cd %s && diff -u file.before file.after && diff -u dir.before dir.after", work), 0);
    sync_and_check();
    close_volume();
}

/* What is written in place keeps its descriptor, and so does its way back. */
static void ntfs_in_place(void **state)
{
    struct change c = { .kind = CHANGE_FILE, .path = (char *)(uintptr_t) "x.sys" };
    (void)state;
    make_volume("16M", "");
    open_volume(0);
    volumes[0].volume = volume;
    uint64_t file = make("", "x.sys", S_IFREG | 0644, "program");
    attribute(file, "system.ntfs_acl", descriptor, sizeof descriptor);
    char *before = show("x.sys");
    assert_int_equal(file_state(&ferry, CHANGE_FILE, "x.sys", 1 << 20, 0, &c.old), 0);
    c.new = (struct change_state){ .there = true, .bytes = (uint8_t *)strdup("other"), .n = 5 };
    assert_int_equal(file_do(&ferry, &c), 0);
    char *between = show("x.sys");
    assert_non_null(strstr(between, "other"));
    assert_int_equal(file_undo(&ferry, &c), 0);
    char *after = show("x.sys");
    assert_string_equal(before, after);
    free(before);
    free(between);
    free(after);
    change_done(&c);
    sync_and_check();
    close_volume();
}

/* ---- ext ---- */

static void ext(void **state)
{
    /* cap_net_raw, version 2; user 1005 may read and write */
    static const uint8_t capability[20] = { 1, 0, 0, 2, 0, 0x20 };
    static const uint8_t acl[] = { 2,    0,    0,    0,    1,  0, 6, 0, 0xff, 0xff, 0xff, 0xff, 2,  0, 6, 0,
                                   0xed, 3,    0,    0,    4,  0, 4, 0, 0xff, 0xff, 0xff, 0xff, 16, 0, 6, 0,
                                   0xff, 0xff, 0xff, 0xff, 32, 0, 0, 0, 0xff, 0xff, 0xff, 0xff };
    static const char context[] = "system_u:object_r:bin_t:s0";
    struct fault fault = { 0 };
    (void)state;
    if (run("PATH=$PATH:/sbin:/usr/sbin; rm -f %s && mke2fs -q -F -t ext4 -I 256 %s 16M >/dev/null", image,
            image)) {
        print_message("SKIP: mke2fs is missing\n");
        skip();
    }
    assert_true(filedisk_open(&disk, image));
    assert_int_equal(
        volume_driver_for("ext4")->open_writable(&disk.disk, "volume", cache, 0, &volume, &fault), 0);
    volumes[0].volume = volume;
    uint64_t file = make("", "file", S_IFREG | 04750, "program");
    attribute(file, "user.x", "more", 4);
    attribute(file, "security.capability", capability, sizeof capability);
    attribute(file, "system.posix_acl_access", acl, sizeof acl);
    attribute(file, "security.selinux", context, sizeof context);
    uint64_t link = make("", "link", S_IFLNK | 0777, "file");
    attribute(link, "security.selinux", context, sizeof context);
    uint64_t dir = make("", "dir", S_IFDIR | 02770, NULL);
    attribute(dir, "security.selinux", context, sizeof context);
    away_and_back(CHANGE_REMOVE, "file", NULL);
    away_and_back(CHANGE_LINK, "link", "elsewhere");
    away_and_back(CHANGE_REMOVE, "link", NULL);
    away_and_back(CHANGE_RMDIR, "dir", NULL);
    assert_int_equal(volume->ops->sync(volume), 0);
    close_volume();
    assert_int_equal(run("PATH=$PATH:/sbin:/usr/sbin; e2fsck -fn %s >%s/fsck 2>&1 || { cat %s/fsck; false; }",
                         image, work, work),
                     0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ntfs),
        cmocka_unit_test(ntfs_in_place),
        cmocka_unit_test(ext),
    };
    int r = begin();
    if (r)
        return r;
    r = cmocka_run_group_tests(tests, NULL, NULL);
    end();
    return r;
}
