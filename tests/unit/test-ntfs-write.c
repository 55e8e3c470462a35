/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing an NTFS volume, case by case: which names can be made, links and open files without a name, xattrs,
 * a full volume, writes that fail, readers beside a writer, large directories, and which volumes are not
 * written. Random operations are in test-ntfs-model.c. */
#include "formats/bytes.h"
#include "ntfs-writable.h"

#include <pthread.h>
#include <stdatomic.h>

#include <linux/fs.h>

/* The library forgets inodes, and what hangs on them, when they can't be written: after each write that
 * fails. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libntfs-3g";
}
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "fast_unwind_on_malloc=0:malloc_context_size=8"; /* to see through the library, which has no frame
                                                               pointers */
}

static const struct volume_new plain = { .mode = S_IFREG | 0644 }, directory = { .mode = S_IFDIR | 0755 };

static uint64_t make(uint64_t dir, const char *name, const struct volume_new *what)
{
    uint64_t ino;
    int r = volume->ops->create(volume, dir, name, what, &ino);
    if (r)
        fail_msg("%s: %s", name, strerror(-r));
    return ino;
}

static int find(uint64_t dir, const char *name, uint64_t *ret)
{
    return volume->ops->lookup(volume, dir, name, ret);
}

static void fill_file(uint64_t ino, int byte, size_t n)
{
    struct volume_file *f;
    uint8_t *p = malloc(n);
    memset(p, byte, n);
    assert_int_equal(volume->ops->open(volume, ino, &f), 0);
    assert_int_equal(volume->ops->write(f, p, n, 0), 0);
    volume->ops->release(f);
    free(p);
}

static int count(void *ctx, const char *name, uint64_t ino, mode_t type, uint64_t next)
{
    (void)name, (void)ino, (void)type, (void)next;
    ++*(unsigned *)ctx;
    return 0;
}

static unsigned entries_of(uint64_t dir)
{
    unsigned n = 0;
    assert_int_equal(volume->ops->readdir(volume, dir, 0, count, &n), 0);
    return n;
}

static void fresh(const char *size, const char *options)
{
    make_volume(size, options);
    open_volume(0);
    assert_string_equal(volume->read_only_why, "");
    assert_true(volume->writable);
}

static void done(void)
{
    sync_and_check();
    close_volume();
}

/* ---- names ---- */

static void test_names(void **state)
{
    (void)state;
    fresh("32M", "");
    char longest[256], too_long[257];
    memset(longest, 'n', 255), longest[255] = 0;
    memset(too_long, 'n', 256), too_long[256] = 0;
    const struct {
        const char *name;
        int r;
    } cases[] = {
        { "Name", 0 },
        { "NAME", -EEXIST },
        { "name", -EEXIST },
        { "a:b", -EINVAL },
        { "a\\b", -EINVAL },
        { "what?", -EINVAL },
        { "*", -EINVAL },
        { "a|b", -EINVAL },
        { "<", -EINVAL },
        { "tab\t", -EINVAL },
        { "dot.", -EINVAL },
        { "blank ", -EINVAL },
        { "con", -EINVAL },
        { "COM1.txt", -EINVAL },
        { "console", 0 },
        { "\xff", -EINVAL },
        { "größe €", 0 },
        { "GRÖSSE €", 0 },
        { "GRÖßE €", -EEXIST },
        { longest, 0 },
        { too_long, -ENAMETOOLONG },
        { "😀", 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t ino;
        int r = volume->ops->create(volume, VOLUME_ROOT, cases[i].name, &plain, &ino);
        if (r != cases[i].r)
            fail_msg("%s: %d, not %d", cases[i].name, r, cases[i].r);
    }
    uint64_t a, b;
    assert_int_equal(find(VOLUME_ROOT, "Name", &a), 0);
    assert_int_equal(volume->ops->rename(volume, VOLUME_ROOT, "Name", VOLUME_ROOT, "nAmE", 0), 0);
    assert_int_equal(find(VOLUME_ROOT, "name", &b), 0);
    assert_int_equal(a, b);
    assert_int_equal(volume->ops->rename(volume, VOLUME_ROOT, "nAmE", VOLUME_ROOT, "b*d", 0), -EINVAL);
    assert_int_equal(volume->ops->rename(volume, VOLUME_ROOT, "nAmE", VOLUME_ROOT, "x", RENAME_EXCHANGE),
                     -EINVAL);
    /* an 8.3 name goes with its long one */
    assert_int_equal(volume->ops->setxattr(volume, a, "system.ntfs_dos_name", "SHORT~1", 7, 0), 0);
    assert_int_equal(find(VOLUME_ROOT, "short~1", &b), 0);
    assert_int_equal(a, b);
    assert_int_equal(volume->ops->rename(volume, VOLUME_ROOT, "nAmE", VOLUME_ROOT, "Other", 0), 0);
    assert_int_equal(find(VOLUME_ROOT, "short~1", &b), -ENOENT);
    assert_int_equal(volume->ops->setxattr(volume, a, "system.ntfs_dos_name", "SHORT~1", 7, 0), 0);
    assert_int_equal(volume->ops->rename(volume, VOLUME_ROOT, "Other", VOLUME_ROOT, "short~1", 0), 0);
    assert_int_equal(find(VOLUME_ROOT, "Other", &b), -ENOENT);
    sync_and_check();
    assert_int_equal(volume->ops->setxattr(volume, a, "system.ntfs_dos_name", "SHRT~2", 6, 0), 0);
    assert_int_equal(volume->ops->unlink(volume, VOLUME_ROOT, "short~1"), 0);
    assert_int_equal(find(VOLUME_ROOT, "shrt~2", &b), -ENOENT);
    done();
}

static void test_reused_record(void **state)
{
    (void)state;
    fresh("32M", "");
    uint64_t first = make(VOLUME_ROOT, "a", &plain), ino = 0, tries = 0;
    struct volume_attr attr;
    assert_int_equal(volume->ops->unlink(volume, VOLUME_ROOT, "a"), 0);
    do {
        ino = make(VOLUME_ROOT, "b", &plain);
        assert_int_not_equal(ino, first);
        assert_int_equal(volume->ops->unlink(volume, VOLUME_ROOT, "b"), 0);
    } while ((ino ^ first) << 16 && ++tries < 1000);
    assert_true(tries < 1000); /* it did come to the same record */
    assert_int_equal(volume->ops->getattr(volume, first, &attr), -ENOENT);
    done();
}

/* ---- open files without a name ---- */

static void test_unlinked_open(void **state)
{
    (void)state;
    fresh("32M", "");
    uint64_t ino = make(VOLUME_ROOT, "gone", &plain), other;
    struct volume_file *f;
    struct volume_attr a;
    char buf[20];
    size_t n;
    assert_int_equal(volume->ops->open(volume, ino, &f), 0);
    assert_int_equal(volume->ops->unlink(volume, VOLUME_ROOT, "gone"), 0);
    assert_int_equal(entries_of(VOLUME_ROOT), 0);
    assert_int_equal(volume->ops->write(f, "still here", 10, 0), 0);
    assert_int_equal(volume->ops->read(f, buf, sizeof buf, 0, &n), 0);
    assert_int_equal(n, 10);
    assert_int_equal(volume->ops->getattr(volume, ino, &a), 0);
    assert_int_equal(a.nlink, 0);
    assert_int_equal(volume->ops->hardlink(volume, ino, VOLUME_ROOT, "back"), -ENOENT);
    make(VOLUME_ROOT, "gone", &plain);
    sync_and_check();
    /* a crash: the copy of the volume as it is now is cleaned at its next opening */
    assert_int_equal(run("cp %s %s.crash", image, image), 0);
    volume->ops->release(f);
    assert_int_equal(volume->ops->getattr(volume, ino, &a), -ENOENT);
    done();
    assert_int_equal(run("mv %s.crash %s", image, image), 0);
    open_volume(0);
    assert_int_equal(volume->ops->getattr(volume, ino, &a), 0);
    assert_int_equal(volume->ops->recover(volume), 0);
    assert_int_equal(volume->ops->getattr(volume, ino, &a), -ENOENT);
    assert_int_equal(find(VOLUME_ROOT, "gone", &other), 0);
    done();
}

/* ---- attributes ---- */

static void test_xattrs(void **state)
{
    (void)state;
    fresh("32M", "");
    uint64_t ino = make(VOLUME_ROOT, "file", &plain), link;
    uint8_t value[64];
    size_t n;
    const struct volume_new symlink = { .mode = S_IFLNK | 0777, .target = "/etc/a b/ü" };
    link = make(VOLUME_ROOT, "link", &symlink);
    assert_int_equal(volume->ops->setxattr(volume, link, "user.x", "1", 1, 0), -EPERM);
    assert_int_equal(volume->ops->setxattr(volume, ino, "system.posix_acl_access", "1", 1, 0), -ENOTSUP);
    assert_int_equal(volume->ops->removexattr(volume, ino, "system.posix_acl_default"), 0);
    assert_int_equal(volume->ops->removexattr(volume, ino, "user.none"), -ENODATA);
    assert_int_equal(volume->ops->setxattr(volume, ino, "user.a:b", "1", 1, 0), -EINVAL);
    assert_int_equal(volume->ops->setxattr(volume, ino, "security.selinux", "ctx", 3, 0), 0);
    assert_int_equal(volume->ops->getxattr(volume, ino, "security.selinux", value, sizeof value, &n), 0);
    assert_int_equal(n, 3);
    put_le32(value, 0x26); /* hidden, system, archive */
    assert_int_equal(volume->ops->setxattr(volume, ino, "system.ntfs_attrib", value, 4, 0), 0);
    memset(value, 0, sizeof value);
    assert_int_equal(volume->ops->getxattr(volume, ino, "system.ntfs_attrib", value, sizeof value, &n), 0);
    assert_int_equal(value[0], 0x26);
    put_le64(value, 130000000000000000);
    assert_int_equal(volume->ops->setxattr(volume, ino, "system.ntfs_crtime", value, 8, 0), 0);
    struct volume_attr a;
    assert_int_equal(volume->ops->getattr(volume, ino, &a), 0);
    assert_int_equal(a.birth.tv_sec, 130000000000000000 / 10000000 - 11644473600);
    uint8_t acl[1000];
    assert_int_equal(volume->ops->getxattr(volume, ino, "system.ntfs_acl", acl, sizeof acl, &n), 0);
    assert_int_equal(volume->ops->setxattr(volume, link, "system.ntfs_acl", acl, n, 0), 0);
    assert_int_equal(volume->ops->removexattr(volume, ino, "system.ntfs_acl"), -EPERM);
    static const uint8_t wsl[] = "\x1d\x00\x00\xa0\x08\x00\x00\x00\x02\x00\x00\x00/usr";
    uint64_t reparse = make(VOLUME_ROOT, "wsl", &plain);
    assert_int_equal(volume->ops->setxattr(volume, reparse, "system.ntfs_reparse_data", wsl, 16, 0), 0);
    assert_int_equal(volume->ops->getattr(volume, reparse, &a), 0);
    assert_true(S_ISLNK(a.mode));
    sync_and_check();
    assert_int_equal(volume->ops->removexattr(volume, reparse, "system.ntfs_reparse_data"), 0);
    assert_int_equal(volume->ops->getattr(volume, reparse, &a), 0);
    assert_true(S_ISREG(a.mode));
    /* the one bit of a mode */
    a.mode = 0444;
    assert_int_equal(volume->ops->setattr(volume, reparse, &a, SET_MODE), 0);
    assert_int_equal(volume->ops->getattr(volume, reparse, &a), 0);
    assert_int_equal(a.mode & 0222, 0);
    done();
}

/* ---- no room ---- */

static void test_full(void **state)
{
    (void)state;
    fresh("8M", "");
    uint64_t sub = make(VOLUME_ROOT, "sub", &directory);
    uint64_t ino = make(VOLUME_ROOT, "big", &plain), free_before, size = 0;
    static uint8_t buf[65536];
    struct statvfs st;
    struct volume_file *f;
    assert_int_equal(volume->ops->statfs(volume, &st), 0);
    free_before = st.f_bfree;
    assert_int_equal(volume->ops->open(volume, ino, &f), 0);
    memset(buf, 7, sizeof buf);
    int r;
    while (!(r = volume->ops->write(f, buf, sizeof buf, size)))
        size += sizeof buf;
    assert_int_equal(r, -ENOSPC);
    struct volume_attr a;
    assert_int_equal(volume->ops->getattr(volume, ino, &a), 0);
    assert_int_equal(a.size, size);
    sync_and_check();
    assert_int_equal(volume->ops->write(f, buf, sizeof buf, 0), 0); /* what has its place */
    char name[40];
    unsigned made = 0;
    do {
        snprintf(name, sizeof name, "a name of some length %u", made);
        r = volume->ops->create(volume, sub, name, &plain, &ino);
    } while (!r && ++made < 20000);
    assert_int_equal(r, -ENOSPC);
    assert_true(made > 50);
    assert_int_equal(entries_of(sub), made);
    assert_int_equal(volume->ops->setxattr(volume, VOLUME_ROOT, "user.big", buf, 60000, 0), -ENOSPC);
    sync_and_check();
    while (made--) {
        snprintf(name, sizeof name, "a name of some length %u", made);
        assert_int_equal(volume->ops->unlink(volume, sub, name), 0);
    }
    volume->ops->release(f);
    assert_int_equal(volume->ops->unlink(volume, VOLUME_ROOT, "big"), 0);
    assert_int_equal(volume->ops->rmdir(volume, VOLUME_ROOT, "sub"), 0);
    assert_int_equal(volume->ops->statfs(volume, &st), 0);
    assert_true(st.f_bfree + 600 > free_before); /* but for the MFT, which stays as long as it was */
    done();
}

static void test_discards(void **state)
{
    (void)state;
    fresh("32M", "");
    fill_file(make(VOLUME_ROOT, "big", &plain), 1, 4 << 20);
    assert_int_equal(volume->ops->sync(volume), 0);
    uint64_t before = disk.discarded;
    assert_int_equal(volume->ops->unlink(volume, VOLUME_ROOT, "big"), 0);
    assert_int_equal(volume->ops->sync(volume), 0);
    assert_int_equal(disk.discarded - before, 4 << 20);
    fill_file(make(VOLUME_ROOT, "temporary", &plain), 1, 1 << 20);
    assert_int_equal(volume->ops->unlink(volume, VOLUME_ROOT, "temporary"), 0);
    assert_int_equal(volume->ops->sync(volume), 0);
    assert_int_equal(disk.discarded - before, 5 << 20);
    done();
}

/* ---- writes that fail ---- */

static int some_work(void)
{
    uint64_t dir, ino;
    struct volume_file *f;
    static uint8_t buf[30000];
    int r = volume->ops->create(volume, VOLUME_ROOT, "work", &directory, &dir);
    if (!r)
        r = volume->ops->create(volume, dir, "file", &plain, &ino);
    if (!r)
        r = volume->ops->open(volume, ino, &f);
    if (!r) {
        r = volume->ops->write(f, buf, sizeof buf, 0);
        if (!r)
            r = volume->ops->rename(volume, dir, "file", VOLUME_ROOT, "moved", 0);
        if (!r)
            r = volume->ops->setxattr(volume, ino, "user.x", buf, 2000, 0);
        if (!r)
            r = volume->ops->unlink(volume, VOLUME_ROOT, "moved");
        volume->ops->release(f);
    }
    return r;
}

/* The name of what some_work() would have made is free, or used by what it made: either can be removed. */
static void remove_work(void)
{
    int r = volume->ops->unlink(volume, VOLUME_ROOT, "moved");
    assert_true(r == 0 || r == -ENOENT);
    uint64_t dir;
    if (find(VOLUME_ROOT, "work", &dir) == 0) {
        r = volume->ops->unlink(volume, dir, "file");
        assert_true(r == 0 || r == -ENOENT);
        assert_int_equal(volume->ops->rmdir(volume, VOLUME_ROOT, "work"), 0);
    }
}

/* The disk has refused writes with this. What the volume shows is whole, and is not called synced. */
static void check_refused(int error)
{
    uint64_t ino;
    assert_int_equal(volume->ops->sync(volume), error);
    assert_int_equal(volume->ops->create(volume, VOLUME_ROOT, "no", &plain, &ino), error);
    assert_int_equal(volume->ops->rmdir(volume, VOLUME_ROOT, "work"), error);
    assert_int_equal(find(VOLUME_ROOT, "no", &ino), -ENOENT);
    entries_of(VOLUME_ROOT);
}

/* From one or another write on the disk refuses all, until it doesn't: nothing is called synced as long as
 * that lasts, then the volume is sound, and is written to. */
static void test_failing_writes(void **state)
{
    (void)state;
    make_volume("8M", "");
    assert_int_equal(run("cp %s %s.clean", image, image), 0);
    bool finished = false;
    for (int n = 0; !finished && n < 500; n += 5) {
        assert_int_equal(run("cp %s.clean %s", image, image), 0);
        open_volume(0);
        disk.fail_after = n;
        disk.fail_with = n % 2 ? -EIO : -ENOSPC;
        int r = some_work(), s = volume->ops->sync(volume), error = disk.fail_with;
        finished = !disk.failed;
        if (finished) {
            assert_int_equal(r, 0);
            assert_int_equal(s, 0);
        } else {
            assert_int_equal(s, error);
            assert_true(r == 0 || r == error);
            check_refused(error);
            disk.fail_after = -1;
            assert_int_equal(volume->ops->sync(volume), 0);
            check_image();
            remove_work();
            assert_int_equal(some_work(), 0);
            sync_and_check();
        }
        close_volume();
    }
    assert_true(finished);
    check_image();
}

/* One write that fails is made good by the next. */
static void test_passing_failure(void **state)
{
    (void)state;
    make_volume("8M", "");
    assert_int_equal(run("cp %s %s.clean", image, image), 0);
    bool finished = false;
    for (int n = 0; !finished && n < 500; n += 7) {
        assert_int_equal(run("cp %s.clean %s", image, image), 0);
        open_volume(0);
        disk.fail_after = n;
        disk.fail_once = true;
        int r = some_work();
        finished = !disk.failed;
        assert_true(r == 0 || r == -EIO);
        sync_and_check();
        remove_work();
        assert_int_equal(some_work(), 0);
        done();
    }
    assert_true(finished);
}

/* What waits for the disk is read as it was written: file data, which is read past the library, too. */
static void test_reading_what_waits(void **state)
{
    (void)state;
    enum { N = 300000 };
    static uint8_t wrote[N], got[N];
    size_t n;
    fresh("8M", "");
    uint64_t ino = make(VOLUME_ROOT, "file", &plain);
    for (size_t i = 0; i < N; i++)
        wrote[i] = (uint8_t)(i * 7 + i / 251);
    struct volume_file *f;
    assert_int_equal(volume->ops->open(volume, ino, &f), 0);
    disk.fail_after = 0;
    disk.fail_with = -ENOSPC;
    assert_int_equal(volume->ops->write(f, wrote, N, 0), -ENOSPC);
    assert_true(disk.failed > 0);
    assert_int_equal(volume->ops->read(f, got, N, 0, &n), 0);
    assert_int_equal(n, N);
    assert_memory_equal(got, wrote, N);
    assert_int_equal(volume->ops->write(f, "x", 1, 10), -ENOSPC); /* not begun at all */
    disk.fail_after = -1;
    assert_int_equal(volume->ops->sync(volume), 0);
    assert_int_equal(volume->ops->write(f, "x", 1, N - 1), 0);
    wrote[N - 1] = 'x';
    assert_int_equal(volume->ops->read(f, got, N, 0, &n), 0);
    assert_memory_equal(got, wrote, N);
    volume->ops->release(f);
    done();
    open_volume(0);
    assert_int_equal(find(VOLUME_ROOT, "file", &ino), 0);
    assert_int_equal(volume->ops->open(volume, ino, &f), 0);
    assert_int_equal(volume->ops->read(f, got, N, 0, &n), 0);
    assert_int_equal(n, N);
    assert_memory_equal(got, wrote, N);
    volume->ops->release(f);
    done();
}

/* ---- readers beside a writer ---- */

static atomic_bool stop;
static uint64_t shared_ino;

/* The shared file holds 'a's or 'A's only, whatever lies in the clusters that it had before. */
static void *read_on(void *arg)
{
    size_t *bad = arg;
    static _Thread_local uint8_t buf[300000];
    struct volume_file *f;
    if (volume->ops->open(volume, shared_ino, &f))
        return NULL;
    while (!atomic_load(&stop)) {
        size_t n = 0;
        if (volume->ops->read(f, buf, sizeof buf, 0, &n))
            ++*bad;
        for (size_t i = 0; i < n; i++)
            *bad += buf[i] != 'a' && buf[i] != 'A';
    }
    volume->ops->release(f);
    return NULL;
}

static void test_readers(void **state)
{
    (void)state;
    fresh("8M", "");
    shared_ino = make(VOLUME_ROOT, "shared", &plain);
    uint64_t other = make(VOLUME_ROOT, "other", &plain);
    pthread_t threads[3];
    size_t bad[3] = { 0 };
    atomic_store(&stop, false);
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, read_on, &bad[i]);
    for (int i = 0; i < 400; i++) {
        struct volume_attr a = { .size = 0 };
        fill_file(shared_ino, i % 2 ? 'a' : 'A', 100000 + (size_t)i * 100);
        volume->ops->setattr(volume, shared_ino, &a, SET_SIZE);
        fill_file(other, 'z', 200000);
        volume->ops->setattr(volume, other, &a, SET_SIZE);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(bad[i], 0);
    }
    done();
}

/* ---- large ---- */

static int remove_some(void *ctx, const char *name, uint64_t ino, mode_t type, uint64_t next)
{
    struct {
        unsigned n;
        char names[64][40];
        uint64_t cookie;
    } *some = ctx;
    (void)ino, (void)type;
    if (some->n == 64)
        return 1;
    snprintf(some->names[some->n++], 40, "%s", name);
    some->cookie = next;
    return 0;
}

/* As rm -r does it: what is listed is removed while the listing goes on. */
static void test_large_directory(void **state)
{
    (void)state;
    enum { MANY = UNIT_SANITIZED ? 1200 : 10000 };
    fresh("64M", "");
    uint64_t dir = make(VOLUME_ROOT, "many", &directory);
    char name[40];
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "file %d", i * 7919 % MANY);
        make(dir, name, &plain);
    }
    assert_int_equal(entries_of(dir), MANY);
    sync_and_check();
    struct {
        unsigned n;
        char names[64][40];
        uint64_t cookie;
    } some = { 0 };
    unsigned removed = 0;
    do {
        some.n = 0;
        assert_int_equal(volume->ops->readdir(volume, dir, some.cookie, remove_some, &some), 0);
        for (unsigned i = 0; i < some.n; i++)
            assert_int_equal(volume->ops->unlink(volume, dir, some.names[i]), 0);
        removed += some.n;
    } while (some.n);
    assert_int_equal(removed, MANY);
    assert_int_equal(volume->ops->rmdir(volume, VOLUME_ROOT, "many"), 0);
    uint64_t up = VOLUME_ROOT;
    for (int i = 0; i < 200; i++)
        up = make(up, "deep", &directory);
    assert_int_equal(volume->ops->rename(volume, VOLUME_ROOT, "deep", up, "loop", 0), -EINVAL);
    done();
}

/* Two files that grow by turns, until each has thousands of runs. */
static void test_fragmented(void **state)
{
    (void)state;
    enum { TURNS = UNIT_SANITIZED ? 300 : 3000, PIECE = 4096 };
    fresh("64M", "");
    struct volume_file *f[2];
    uint8_t buf[PIECE];
    for (int i = 0; i < 2; i++)
        assert_int_equal(volume->ops->open(volume, make(VOLUME_ROOT, i ? "b" : "a", &plain), &f[i]), 0);
    for (int i = 0; i < TURNS; i++)
        for (int k = 0; k < 2; k++) {
            memset(buf, i % 251 + k, PIECE);
            assert_int_equal(volume->ops->write(f[k], buf, PIECE, (uint64_t)i * PIECE), 0);
        }
    sync_and_check();
    for (int i = 0; i < TURNS; i++) {
        size_t n;
        assert_int_equal(volume->ops->read(f[1], buf, PIECE, (uint64_t)i * PIECE, &n), 0);
        assert_int_equal(n, PIECE);
        assert_int_equal(buf[17], i % 251 + 1);
    }
    volume->ops->release(f[0]);
    assert_int_equal(volume->ops->unlink(volume, VOLUME_ROOT, "a"), 0);
    struct volume_attr a = { .size = 5 };
    uint64_t ino;
    assert_int_equal(find(VOLUME_ROOT, "b", &ino), 0);
    assert_int_equal(volume->ops->setattr(volume, ino, &a, SET_SIZE), 0);
    volume->ops->release(f[1]);
    done();
}

/* ---- volumes that aren't written ---- */

static void put_at(uint64_t off, const void *p, size_t n)
{
    int fd = open(image, O_WRONLY);
    assert_int_equal(pwrite(fd, p, n, (off_t)off), n);
    close(fd);
}

static void test_hibernated(void **state)
{
    (void)state;
    uint64_t ino;
    fresh("32M", "");
    static uint8_t hibr[8192] = "hibr";
    struct volume_file *f;
    assert_int_equal(volume->ops->open(volume, make(VOLUME_ROOT, "hiberfil.sys", &plain), &f), 0);
    assert_int_equal(volume->ops->write(f, hibr, sizeof hibr, 0), 0);
    volume->ops->release(f);
    done();
    open_volume(0);
    assert_false(volume->writable);
    assert_non_null(strstr(volume->read_only_why, "hibernated"));
    assert_int_equal(find(VOLUME_ROOT, "hiberfil.sys", &ino), 0);
    long writes = disk.writes;
    close_volume();
    assert_int_equal(writes, 0);
    open_volume(VOLUME_DISCARD_HIBERNATION);
    assert_true(volume->writable);
    assert_int_equal(find(VOLUME_ROOT, "hiberfil.sys", &ino), -ENOENT);
    make(VOLUME_ROOT, "file", &plain);
    done();
}

/* The flags of $Volume, from where mkntfs puts record 3. */
static void test_dirty(void **state)
{
    (void)state;
    make_volume("32M", "");
    uint8_t boot[512], record[1024];
    int fd = open(image, O_RDONLY);
    assert_int_equal(pread(fd, boot, 512, 0), 512);
    struct bad bad = { 0 };
    uint64_t at = le64(bytes_of(boot, 512, 0, &bad), 0x30) * 4096 + 3 * 1024;
    assert_int_equal(pread(fd, record, 1024, (off_t)at), 1024);
    close(fd);
    size_t a = record[0x14];
    while (record[a] != 0x70)
        a += record[a + 4];
    size_t flags = a + record[a + 0x14] + 10;
    record[flags] |= 1;
    put_at(at + flags, &record[flags], 1);
    put_at((uint64_t)(le64(bytes_of(boot, 512, 0, &bad), 0x38) * 4096 + 3 * 1024 + flags), &record[flags], 1);
    open_volume(0);
    assert_false(volume->writable);
    assert_non_null(strstr(volume->read_only_why, "dirty"));
    close_volume();
}

int main(void)
{
    int r = begin();
    if (r)
        return r;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_reused_record),
        cmocka_unit_test(test_unlinked_open),
        cmocka_unit_test(test_xattrs),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_discards),
        cmocka_unit_test(test_failing_writes),
        cmocka_unit_test(test_passing_failure),
        cmocka_unit_test(test_reading_what_waits),
        cmocka_unit_test(test_readers),
        cmocka_unit_test(test_large_directory),
        cmocka_unit_test(test_fragmented),
        cmocka_unit_test(test_hibernated),
        cmocka_unit_test(test_dirty),
    };
    r = cmocka_run_group_tests(tests, NULL, NULL);
    end();
    return r;
}
