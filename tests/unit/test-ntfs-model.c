/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An NTFS volume under random operations, beside a model of what it must hold: create, write, truncate,
 * rename, unlink (of open files too), mkdir, rmdir, links, streams, times, holes, compressed files. After
 * each batch the volume is synced and must satisfy ntfs-walk, ntfsfix and ntfsresize, and every file is
 * compared: through the volume that is written, through one that is opened afresh, and through ntfs-3g's own
 * mount.
 *
 *     FERRYFS_NTFS_OPS=20000    operations (7000)         FERRYFS_SEED=N    of which (1)      */
#include <sys/xattr.h>

#include "guest/ntfs-lib.h"
#include "ntfs-writable.h"

#include <dirent.h>
#include <sys/sysmacros.h>

#include <linux/fs.h>

enum {
    FILES = 300,
    NAMES = 400,
    SIZE_MAX_OF_FILE = 600000,
    STREAMS = 4,
    BATCH = 400,
};

struct mfile {
    bool used;
    mode_t type;
    uint64_t ino;
    unsigned links;
    uint8_t *data;
    size_t size;
    char target[64];
    struct {
        char name[32];
        uint8_t *value; /* NULL: none */
        size_t size;
    } streams[STREAMS];
    struct timespec mtime; /* tv_sec 0: not known */
    struct volume_file *handle;
};

struct mname {
    bool used;
    unsigned dir, file; /* indexes of files */
    char name[300];
};

static struct mfile files[FILES];
static struct mname names[NAMES];
static uint64_t random_state;

static unsigned rnd(unsigned below)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((random_state >> 33) % below);
}

/* ---- the model ---- */

static int find_name(unsigned dir, const char *name)
{
    int caseless = -1;
    for (int i = 0; i < NAMES; i++) {
        if (!names[i].used || names[i].dir != dir)
            continue;
        if (!strcmp(names[i].name, name))
            return i;
        if (!strcasecmp(names[i].name, name))
            caseless = i;
    }
    return caseless;
}

static bool is_empty(unsigned dir)
{
    for (int i = 0; i < NAMES; i++)
        if (names[i].used && names[i].dir == dir)
            return false;
    return true;
}

static int new_name(unsigned dir, const char *name, unsigned file)
{
    for (int i = 0; i < NAMES; i++) {
        if (names[i].used)
            continue;
        names[i].used = true;
        names[i].dir = dir;
        names[i].file = file;
        snprintf(names[i].name, sizeof names[i].name, "%s", name);
        files[file].links++;
        return i;
    }
    return -1;
}

static void free_file(struct mfile *f)
{
    free(f->data);
    for (int i = 0; i < STREAMS; i++)
        free(f->streams[i].value);
    *f = (struct mfile){ 0 };
}

static void drop_name(int i)
{
    struct mfile *f = &files[names[i].file];
    names[i].used = false;
    if (!--f->links && !f->handle)
        free_file(f);
}

static bool room_for_name(void)
{
    int n = 0;
    for (int i = 0; i < NAMES; i++)
        n += names[i].used;
    return n < NAMES - 2;
}

static int new_file(mode_t type)
{
    for (int i = 1; i < FILES; i++)
        if (!files[i].used) {
            files[i] = (struct mfile){ .used = true, .type = type };
            return i;
        }
    return -1;
}

/* ---- picking ---- */

static unsigned pick_dir(void)
{
    unsigned dir = 0;
    for (int tries = 0; tries < 20; tries++) {
        unsigned i = rnd(FILES);
        if (files[i].used && S_ISDIR(files[i].type))
            dir = i;
    }
    return rnd(3) ? dir : 0;
}

static int pick_name(void)
{
    for (int tries = 0; tries < 50; tries++) {
        unsigned i = rnd(NAMES);
        if (names[i].used)
            return (int)i;
    }
    return -1;
}

static int pick_file(mode_t type)
{
    for (int tries = 0; tries < 100; tries++) {
        unsigned i = rnd(FILES);
        if (files[i].used && files[i].type == type)
            return (int)i;
    }
    return -1;
}

static void make_name(char *name)
{
    static const char *const words[] = {
        "alpha", "Beta.txt",      "gamma delta", "näme",       "名前",
        "x",     "program files", "a.b.c.d",     "driver.sys", "ntuser.dat"
    };
    unsigned n = rnd(40);
    if (!rnd(12)) { /* a long one */
        unsigned len = 100 + rnd(156);
        for (unsigned i = 0; i < len; i++)
            name[i] = (char)('a' + (i * 7 + n) % 26);
        name[len] = 0;
    } else {
        snprintf(name, 100, "%s%u", words[rnd(10)], n);
    }
    for (char *p = name; *p; p++)
        if (*p >= 'a' && *p <= 'z' && !rnd(30))
            *p = (char)(*p - 32);
}

/* The name, perhaps in another case, where that leads to the same entry. */
static const char *misspelled(int i)
{
    static char name[2][300];
    static unsigned turn;
    char *p = name[turn++ % 2];
    strcpy(p, names[i].name);
    if (!rnd(3))
        for (char *c = p; *c; c++)
            if (*c >= 'a' && *c <= 'z' && !rnd(3))
                *c = (char)(*c - 32);
    return p;
}

/* ---- operations ---- */

static struct volume_file *handle_of(struct mfile *f)
{
    if (!f->handle)
        assert_int_equal(volume->ops->open(volume, f->ino, &f->handle), 0);
    return f->handle;
}

static void drop_handle(struct mfile *f)
{
    if (!f->handle)
        return;
    volume->ops->release(f->handle);
    f->handle = NULL;
    if (!f->links)
        free_file(f);
}

static void op_create(mode_t type)
{
    char name[300];
    unsigned dir = pick_dir();
    make_name(name);
    int there = find_name(dir, name), i = there >= 0 || !room_for_name() ? -1 : new_file(type);
    if (there < 0 && i < 0)
        return;
    char target[64];
    snprintf(target, sizeof target, "../to/%u/ü", rnd(1000));
    struct volume_new what = { .mode = type | 0644, .target = target, .rdev = makedev(4, 7) };
    uint64_t ino = 0;
    int r = volume->ops->create(volume, files[dir].ino, name, &what, &ino);
    assert_int_equal(r, there >= 0 ? -EEXIST : 0);
    if (r)
        return;
    files[i].ino = ino;
    if (S_ISLNK(type))
        strcpy(files[i].target, target);
    new_name(dir, name, (unsigned)i);
}

static void resize_model(struct mfile *f, size_t size)
{
    f->data = realloc(f->data, size + 1);
    assert_non_null(f->data);
    if (size > f->size)
        memset(f->data + f->size, 0, size - f->size);
    f->size = size;
}

static void fill(uint8_t *p, size_t n)
{
    unsigned kind = rnd(3), seed = rnd(1000);
    for (size_t i = 0; i < n; i++)
        p[i] = kind == 0   ? 0
               : kind == 1 ? (uint8_t)("all work and no play "[(i + seed) % 21])
                           : (uint8_t)rnd(256);
}

static void op_write(void)
{
    static uint8_t buf[200000];
    int i = pick_file(S_IFREG);
    if (i < 0)
        return;
    struct mfile *f = &files[i];
    size_t len = 1 + rnd(rnd(3) ? 3000 : sizeof buf);
    size_t off = rnd(3) == 0   ? f->size
                 : rnd(4) == 0 ? rnd(SIZE_MAX_OF_FILE - 200000)
                               : rnd((unsigned)f->size + 1);
    if (off + len > SIZE_MAX_OF_FILE)
        return;
    fill(buf, len);
    assert_int_equal(volume->ops->write(handle_of(f), buf, len, off), 0);
    if (off + len > f->size)
        resize_model(f, off + len);
    memcpy(f->data + off, buf, len);
    f->mtime.tv_sec = 0;
}

static void op_truncate(void)
{
    int i = pick_file(S_IFREG);
    if (i < 0)
        return;
    struct mfile *f = &files[i];
    struct volume_attr a = { .size = rnd(4) ? rnd((unsigned)f->size + 1) : rnd(SIZE_MAX_OF_FILE) };
    if (!rnd(5))
        a.size = 0;
    assert_int_equal(volume->ops->setattr(volume, f->ino, &a, SET_SIZE), 0);
    resize_model(f, a.size);
    f->mtime.tv_sec = 0;
}

static void op_times(void)
{
    int n = pick_name();
    if (n < 0)
        return;
    struct mfile *f = &files[names[n].file];
    struct volume_attr a = { .mtime = { 1 + rnd(2000000000), 100 * (long)rnd(9999999) },
                             .mode = 0600,
                             .uid = 7 };
    a.atime = a.mtime;
    assert_int_equal(volume->ops->setattr(volume, f->ino, &a, SET_MTIME | SET_ATIME | SET_MODE | SET_UID), 0);
    f->mtime = a.mtime;
}

static void op_unlink(void)
{
    int n = pick_name();
    if (n < 0)
        return;
    struct mfile *f = &files[names[n].file];
    uint64_t dir = files[names[n].dir].ino;
    if (S_ISDIR(f->type)) {
        int r = volume->ops->rmdir(volume, dir, misspelled(n));
        bool empty = is_empty(names[n].file);
        assert_int_equal(r, empty ? 0 : -ENOTEMPTY);
        if (empty)
            drop_name(n);
        return;
    }
    if (S_ISREG(f->type) && !rnd(3))
        handle_of(f);
    assert_int_equal(volume->ops->rmdir(volume, dir, names[n].name), -ENOTDIR);
    assert_int_equal(volume->ops->unlink(volume, dir, misspelled(n)), 0);
    drop_name(n);
}

static void op_link(void)
{
    char name[300];
    int i = pick_file(rnd(5) ? S_IFREG : S_IFLNK);
    unsigned dir = pick_dir();
    if (i < 0 || !room_for_name())
        return;
    make_name(name);
    int r = volume->ops->hardlink(volume, files[i].ino, files[dir].ino, name);
    assert_int_equal(r, !files[i].links ? -ENOENT : find_name(dir, name) >= 0 ? -EEXIST : 0);
    if (!r)
        new_name(dir, name, (unsigned)i);
}

static bool is_below(unsigned dir, unsigned above)
{
    while (dir) {
        if (dir == above)
            return true;
        for (int i = 0; i < NAMES; i++)
            if (names[i].used && names[i].file == dir) {
                dir = names[i].dir;
                break;
            }
    }
    return !above;
}

static int expect_rename(int from, int to, unsigned new_dir, const char *new_name, unsigned flags)
{
    if (to >= 0 && names[to].file == names[from].file)
        return to != from && flags ? -EEXIST : 0;
    if (S_ISDIR(files[names[from].file].type) && names[from].dir != new_dir &&
        is_below(new_dir, names[from].file))
        return -EINVAL;
    (void)new_name;
    if (to < 0)
        return 0;
    bool a = S_ISDIR(files[names[from].file].type), b = S_ISDIR(files[names[to].file].type);
    if (flags)
        return -EEXIST;
    if (a != b)
        return a ? -ENOTDIR : -EISDIR;
    return b && !is_empty(names[to].file) ? -ENOTEMPTY : 0;
}

static void op_rename(void)
{
    char name[300];
    int from = pick_name(), other = pick_name();
    if (from < 0 || other < 0)
        return;
    unsigned dir = pick_dir(), flags = rnd(8) ? 0 : RENAME_NOREPLACE;
    make_name(name);
    if (!rnd(3)) { /* onto another */
        dir = names[other].dir;
        strcpy(name, names[other].name);
    } else if (!rnd(6)) { /* itself, spelled otherwise */
        dir = names[from].dir;
        strcpy(name, names[from].name);
        name[0] = (char)(name[0] >= 'a' && name[0] <= 'z' ? name[0] - 32 : name[0]);
    }
    int to = find_name(dir, name);
    if (to >= 0 && files[names[to].file].type == S_IFREG && !rnd(3))
        handle_of(&files[names[to].file]);
    int r = volume->ops->rename(volume, files[names[from].dir].ino, misspelled(from), files[dir].ino, name,
                                flags);
    int expected = expect_rename(from, to, dir, name, flags);
    if (r != expected)
        fail_msg("rename %s to %s: %d, not %d", names[from].name, name, r, expected);
    if (r || (to >= 0 && to != from && names[to].file == names[from].file))
        return;
    if (to >= 0 && to != from)
        drop_name(to);
    names[from].dir = dir;
    strcpy(names[from].name, name);
}

static void op_stream(void)
{
    static uint8_t value[60000];
    int i = pick_file(rnd(4) ? S_IFREG : S_IFDIR);
    unsigned s = rnd(STREAMS);
    if (i <= 0)
        return;
    struct mfile *f = &files[i];
    char name[32];
    snprintf(name, sizeof name, "user.stream %u", s);
    if (!rnd(4)) {
        assert_int_equal(volume->ops->removexattr(volume, f->ino, name), f->streams[s].value ? 0 : -ENODATA);
        free(f->streams[s].value);
        f->streams[s].value = NULL;
        return;
    }
    size_t n = rnd(rnd(4) ? 400 : sizeof value);
    fill(value, n);
    int flags = (int)rnd(12);
    flags = flags > 2 ? 0 : flags;
    int expected = flags == 1 && f->streams[s].value    ? -EEXIST
                   : flags == 2 && !f->streams[s].value ? -ENODATA
                                                        : 0;
    assert_int_equal(volume->ops->setxattr(volume, f->ino, name, value, n, flags), expected);
    if (expected)
        return;
    free(f->streams[s].value);
    f->streams[s].value = malloc(n + 1);
    memcpy(f->streams[s].value, value, n);
    f->streams[s].size = n;
    snprintf(f->streams[s].name, sizeof f->streams[s].name, "%s", name);
}

static void op_close(void)
{
    int i = pick_file(S_IFREG);
    if (i > 0)
        drop_handle(&files[i]);
}

static void operate(void)
{
    static void (*const plain[])(void) = { op_write,  op_write,  op_write, op_write,  op_truncate, op_times,
                                           op_unlink, op_unlink, op_link,  op_rename, op_rename,   op_rename,
                                           op_stream, op_stream, op_close, op_close };
    unsigned which = rnd(22);
    if (which < 16)
        plain[which]();
    else
        op_create(which < 19   ? S_IFREG
                  : which < 21 ? S_IFDIR
                  : rnd(2)     ? S_IFLNK
                  : rnd(2)     ? S_IFIFO
                               : S_IFCHR);
}

/* ---- comparing through the driver ---- */

struct seen {
    unsigned n;
    unsigned dir;
};

static int see(void *ctx, const char *name, uint64_t ino, mode_t type, uint64_t next)
{
    struct seen *s = ctx;
    (void)next;
    s->n++;
    int i = find_name(s->dir, name);
    if (i < 0 || strcmp(names[i].name, name))
        fail_msg("%s is listed and shouldn't be", name);
    assert_int_equal(ino, files[names[i].file].ino);
    if (type)
        assert_int_equal(type, files[names[i].file].type);
    return 0;
}

static void compare_streams(struct volume *v, const struct mfile *f)
{
    char list[1000], value[65536];
    size_t n, expected = 0;
    for (int i = 0; i < STREAMS; i++) {
        if (!f->streams[i].value)
            continue;
        expected += strlen(f->streams[i].name) + 1;
        assert_int_equal(v->ops->getxattr(v, f->ino, f->streams[i].name, value, sizeof value, &n), 0);
        assert_int_equal(n, f->streams[i].size);
        assert_memory_equal(value, f->streams[i].value, n);
    }
    assert_int_equal(v->ops->listxattr(v, f->ino, list, sizeof list, &n), 0);
    assert_int_equal(n, expected);
}

static void compare_file(struct volume *v, const struct mfile *f, bool alive)
{
    static uint8_t back[SIZE_MAX_OF_FILE + 10];
    struct volume_attr a;
    size_t n;
    assert_int_equal(v->ops->getattr(v, f->ino, &a), 0);
    assert_int_equal(a.mode & S_IFMT, f->type);
    if (alive)
        assert_int_equal(a.nlink, S_ISDIR(f->type) ? 1 : f->links);
    if (f->mtime.tv_sec && !S_ISDIR(f->type)) {
        assert_int_equal(a.mtime.tv_sec, f->mtime.tv_sec);
        assert_int_equal(a.mtime.tv_nsec, f->mtime.tv_nsec);
    }
    if (S_ISLNK(f->type)) {
        char text[100];
        enum link_style style;
        assert_int_equal(v->ops->link(v, f->ino, text, sizeof text, &style), 0);
        assert_string_equal(text, f->target);
    }
    if (S_ISCHR(f->type))
        assert_int_equal(a.rdev, makedev(4, 7));
    if (S_ISREG(f->type)) {
        struct volume_file *h;
        assert_int_equal(a.size, f->size);
        assert_int_equal(v->ops->open(v, f->ino, &h), 0);
        assert_int_equal(v->ops->read(h, back, sizeof back, 0, &n), 0);
        v->ops->release(h);
        assert_int_equal(n, f->size);
        for (size_t i = 0; i < n; i++)
            if (back[i] != f->data[i])
                fail_msg("file %llx differs at %zu of %zu", (unsigned long long)f->ino, i, n);
    }
    if (S_ISREG(f->type) || S_ISDIR(f->type))
        compare_streams(v, f);
}

static void compare(struct volume *v, bool alive)
{
    for (unsigned i = 0; i < FILES; i++) {
        if (!files[i].used || (!alive && !files[i].links && i))
            continue;
        if (i)
            compare_file(v, &files[i], alive);
        if (!S_ISDIR(files[i].type))
            continue;
        struct seen s = { 0, i };
        unsigned n = 0;
        if (alive || i) /* afresh, the root shows what was unlinked too */
            assert_int_equal(v->ops->readdir(v, files[i].ino, 0, see, &s), 0);
        for (int k = 0; k < NAMES; k++) {
            uint64_t ino;
            if (!names[k].used || names[k].dir != i)
                continue;
            n++;
            assert_int_equal(v->ops->lookup(v, files[i].ino, names[k].name, &ino), 0);
            assert_int_equal(ino, files[names[k].file].ino);
        }
        if (alive || i)
            assert_int_equal(s.n, n);
    }
}

static void compare_afresh(void)
{
    struct filedisk again;
    struct volume *v;
    struct fault fault = { 0 };
    assert_true(filedisk_open(&again, image));
    assert_int_equal(volume_driver_for("ntfs")->open(&again.disk, "volume", cache, &v, &fault), 0);
    assert_string_equal(v->read_only_why, "");
    compare(v, false);
    volume_close(v);
    disk_close(&again.disk);
}

/* ---- comparing through ntfs-3g ---- */

static void path_of(int name, char *path, size_t size)
{
    char rest[4096] = "", step[4096];
    for (;;) {
        snprintf(step, sizeof step, "/%s%s", names[name].name, rest);
        memcpy(rest, step, sizeof rest);
        unsigned dir = names[name].dir;
        if (!dir)
            break;
        for (name = 0; !names[name].used || names[name].file != dir; name++)
            ;
    }
    snprintf(path, size, "%s/mnt%s", work, rest);
}

static void compare_mounted_file(const char *path, const struct mfile *f)
{
    static uint8_t back[SIZE_MAX_OF_FILE + 10];
    struct stat st;
    if (lstat(path, &st))
        fail_msg("ntfs-3g has no %s: %s", path, strerror(errno));
    assert_int_equal(st.st_mode & S_IFMT, f->type);
    if (S_ISLNK(f->type)) {
        ssize_t n = readlink(path, (char *)back, sizeof back);
        assert_int_equal(n, strlen(f->target));
        assert_memory_equal(back, f->target, (size_t)n);
    }
    if (S_ISREG(f->type)) {
        int fd = open(path, O_RDONLY);
        size_t n = 0;
        ssize_t r;
        while ((r = read(fd, back + n, sizeof back - n)) > 0)
            n += (size_t)r;
        close(fd);
        assert_int_equal(n, f->size);
        if (n && memcmp(back, f->data, n))
            fail_msg("ntfs-3g reads %s otherwise", path);
    }
    for (int i = 0; i < STREAMS; i++)
        if (f->streams[i].value) {
            ssize_t n = getxattr(path, f->streams[i].name, back, sizeof back);
            assert_int_equal(n, f->streams[i].size);
            assert_memory_equal(back, f->streams[i].value, (size_t)n);
        }
}

static bool compare_mounted(void)
{
    char path[5000];
    if (access("/dev/fuse", W_OK) || run("command -v ntfs-3g >/dev/null") ||
        run("mkdir -p %s/mnt && ntfs-3g -o ro %s %s/mnt >/dev/null 2>&1", work, image, work))
        return false;
    for (int i = 0; i < NAMES; i++) {
        if (!names[i].used)
            continue;
        path_of(i, path, sizeof path);
        if (strlen(path) < PATH_MAX)
            compare_mounted_file(path, &files[names[i].file]);
    }
    assert_int_equal(run("umount %s/mnt", work), 0);
    return true;
}

/* ---- the test ---- */

/* Files that only Windows, or the library, makes: compressed ones. */
static void make_compressed(void)
{
    ntfs_volume *v = ntfs_mount(image, 0);
    assert_non_null(v);
    ntfs_inode *root = ntfs_inode_open(v, FILE_root);
    for (int i = 0; i < 12; i++) {
        char name[30];
        ntfschar *ucs = NULL;
        snprintf(name, sizeof name, "packed %d", i);
        int n = ntfs_mbstoucs(name, &ucs), f = new_file(S_IFREG);
        NVolSetCompression(v);
        root->flags |= FILE_ATTR_COMPRESSED;
        ntfs_inode *ni = ntfs_create(root, 0, ucs, (uint8_t)n, S_IFREG);
        root->flags &= ~FILE_ATTR_COMPRESSED;
        assert_non_null(ni);
        files[f].ino = ni->mft_no | (uint64_t)le16toh(ni->mrec->sequence_number) << 48;
        assert_int_equal(ntfs_inode_close_in_dir(ni, root), 0);
        new_name(0, name, (unsigned)f);
        free(ucs);
    }
    assert_int_equal(ntfs_inode_close(root), 0);
    assert_int_equal(ntfs_umount(v, FALSE), 0);
}

static long number(const char *name, long otherwise)
{
    const char *s = getenv(name);
    return s ? atol(s) : otherwise;
}

static void random_operations(const char *options)
{
    long ops = number("FERRYFS_NTFS_OPS", UNIT_SANITIZED ? 500 : 7000);
    random_state = (uint64_t)number("FERRYFS_SEED", 1);
    printf("%s: %ld operations by seed %llu\n", options, ops, (unsigned long long)random_state);
    for (int i = 0; i < FILES; i++)
        free_file(&files[i]);
    memset(names, 0, sizeof names);
    files[0] = (struct mfile){ .used = true, .type = S_IFDIR, .ino = VOLUME_ROOT };
    make_volume("160M", options);
    make_compressed();
    open_volume(0);
    assert_true(volume->writable);
    bool mounted = true;
    for (long i = 0; i < ops; i++) {
        operate();
        if ((i + 1) % BATCH && i + 1 < ops)
            continue;
        sync_and_check();
        compare(volume, true);
        compare_afresh();
        if (mounted)
            mounted = compare_mounted();
        if (rnd(3))
            continue;
        for (int k = 0; k < FILES; k++)
            drop_handle(&files[k]);
        assert_int_equal(volume->ops->sync(volume), 0);
        close_volume();
        check_image();
        open_volume(0);
    }
    if (!mounted)
        printf("not compared with ntfs-3g's mount: no FUSE here\n");
    for (int k = 0; k < FILES; k++)
        drop_handle(&files[k]);
    assert_int_equal(volume->ops->sync(volume), 0);
    close_volume();
    check_image();
}

static void test_clusters_4k(void **state)
{
    (void)state;
    random_operations("-c 4096");
}

static void test_clusters_512(void **state)
{
    (void)state;
    random_operations("-c 512");
}

static void test_clusters_64k(void **state)
{
    (void)state;
    random_operations("-c 65536");
}

int main(void)
{
    int r = begin();
    if (r)
        return r;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clusters_4k),
        cmocka_unit_test(test_clusters_512),
        cmocka_unit_test(test_clusters_64k),
    };
    r = cmocka_run_group_tests(tests, NULL, NULL);
    for (int i = 0; i < FILES; i++)
        free_file(&files[i]);
    end();
    return r;
}
