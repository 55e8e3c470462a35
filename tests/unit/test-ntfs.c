/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The NTFS driver on a volume that libntfs-3g itself has written (see ntfs-sample.h): names, attributes,
 * every kind of content and of link, xattrs, and what must fail rather than give zeros. LZNT1 by itself. Then
 * the volume with bytes changed: whatever comes, no crash, no hang. */
#include "formats/bytes.h"
#include "guest/lznt1.h"
#include "guest/volume.h"
#include "memdisk.h"
#include "ntfs-sample.h"
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <sys/sysmacros.h>

/* The library forgets an inode or two when a mount fails: once for each volume that is refused. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:ntfs_device_mount";
}
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "fast_unwind_on_malloc=0"; /* to see through the library, which has no frame pointers */
}

static uint8_t *sample, *before;
static struct memdisk disk;
static struct cache *cache;
static struct volume *volume;

static struct volume *open_bytes(struct memdisk *d, struct fault *fault)
{
    struct volume *v;
    int r = volume_driver_for("ntfs")->open(&d->disk, "disk0", cache, &v, fault);
    return r ? NULL : v;
}

static uint64_t find(const char *path)
{
    uint64_t ino = VOLUME_ROOT;
    char copy[200], *rest = copy, *name;
    snprintf(copy, sizeof copy, "%s", path);
    while ((name = strsep(&rest, "/")))
        if (volume->ops->lookup(volume, ino, name, &ino))
            fail_msg("%s isn't found", path);
    return ino;
}

static struct volume_attr attr_of(const char *path)
{
    struct volume_attr a;
    assert_int_equal(volume->ops->getattr(volume, find(path), &a), 0);
    return a;
}

static struct volume_file *open_file(const char *path)
{
    struct volume_file *f;
    assert_int_equal(volume->ops->open(volume, find(path), &f), 0);
    return f;
}

static int read_some(const char *path, void *buf, size_t len, uint64_t off, size_t *ret_len)
{
    struct volume_file *f = open_file(path);
    int r = volume->ops->read(f, buf, len, off, ret_len);
    volume->ops->release(f);
    return r;
}

/* ---- LZNT1 ---- */

static void test_lznt1(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        uint8_t in[24];
        size_t n;
        int r;
        const char *out;
    } cases[] = {
        { "empty", { 0 }, 0, 0, "" },
        { "end mark", { 0, 0, 0xff }, 3, 0, "" },
        { "stored", { 0x02, 0x30, 'a', 'b', 'c' }, 5, 0, "abc" },
        { "overlapping match", { 0x03, 0xb0, 0x02, 'a', 0x02, 0x00 }, 6, 0, "aaaaaa" },
        { "distance 2", { 0x04, 0xb0, 0x04, 'a', 'b', 0x01, 0x10 }, 7, 0, "ababab" },
        { "match before the chunk", { 0x03, 0xb0, 0x02, 'a', 0x00, 0x10 }, 6, -EIO, NULL },
        { "match at the very start", { 0x02, 0xb0, 0x01, 0x00, 0x00 }, 5, -EIO, NULL },
        { "half a match", { 0x02, 0xb0, 0x02, 'a', 0x02 }, 5, -EIO, NULL },
        { "chunk past the end", { 0x09, 0x30, 'a' }, 3, -EIO, NULL },
        { "no signature", { 0x00, 0x80, 'a' }, 3, -EIO, NULL },
        { "a short chunk before another", { 0x00, 0x30, 'a', 0x00, 0x30, 'b' }, 6, -EIO, NULL },
        { "longer than a chunk makes", { 0x04, 0xb0, 0x06, 'a', 0xff, 0x0f, 0xff }, 7, -EIO, NULL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t out[8192];
        size_t n = 99;
        int r = lznt1_decompress(cases[i].in, cases[i].n, out, sizeof out, &n);
        if (r != cases[i].r || (!r && (n != strlen(cases[i].out) || memcmp(out, cases[i].out, n))))
            fail_msg("%s: %d, %zu bytes", cases[i].what, r, n);
    }
}

/* ---- names ---- */

static void test_lookup(void **state)
{
    (void)state;
    uint64_t ino;
    assert_true(volume->caseless);
    assert_int_equal(attr_of("CaSe").size, 1);
    assert_int_equal(attr_of("case").size, 2);
    assert_int_equal(find("RESIDENT.TXT"), find("resident.txt"));
    assert_int_equal(find("straßE €.TXT"), find("Straße €.txt"));
    assert_int_equal(find("dir/LONGNA~1.TXT"), find("dir/long name here.txt"));
    static const struct {
        const char *name;
        int r;
    } missing[] = {
        { "nothing", -ENOENT }, { "STRASSE €.txt", -ENOENT }, { "$MFT", -ENOENT }, { "$Extend", -ENOENT },
        { ".", -ENOENT },       { "\xff\xfe", -ENOENT },      { "", -ENOENT },
    };
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++)
        assert_int_equal(volume->ops->lookup(volume, VOLUME_ROOT, missing[i].name, &ino), missing[i].r);
    char name[1100];
    memset(name, 'x', sizeof name);
    name[256] = 0;
    assert_int_equal(volume->ops->lookup(volume, VOLUME_ROOT, name, &ino), -ENAMETOOLONG);
    assert_int_equal(volume->ops->lookup(volume, find("case"), "x", &ino), -ENOTDIR);
    struct volume_attr a;
    assert_int_equal(volume->ops->getattr(volume, 2, &a), -ENOENT); /* $LogFile */
    assert_int_equal(volume->ops->getattr(volume, 999999, &a) < 0, 1);
    assert_int_equal(volume->ops->getattr(volume, UINT64_MAX, &a), -ENOENT);
}

struct seen {
    unsigned n, stop_after, bits[SAMPLE_MANY];
    uint64_t last;
};

static int see(void *ctx, const char *name, uint64_t ino, mode_t type, uint64_t next)
{
    struct seen *s = ctx;
    uint64_t found;
    if (s->n == s->stop_after)
        return 1;
    assert_int_equal(type, S_IFREG);
    assert_int_equal(volume->ops->lookup(volume, find("many"), name, &found), 0); /* calls back */
    assert_int_equal(found, ino);
    s->bits[atoi(name + 5)]++;
    s->n++;
    s->last = next;
    return 0;
}

static void test_readdir(void **state)
{
    (void)state;
    static const unsigned steps[] = { 1, 7, 128, 129, 1000, SAMPLE_MANY, SAMPLE_MANY + 1 };
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct seen s = { 0 };
        for (unsigned last = 1; s.n != last;) {
            last = s.n;
            s.stop_after = s.n + steps[i];
            assert_int_equal(volume->ops->readdir(volume, find("many"), s.last, see, &s), 0);
        }
        for (unsigned k = 0; k < SAMPLE_MANY; k++)
            assert_int_equal(s.bits[k], 1);
    }
    struct seen s = { 0 };
    assert_int_equal(volume->ops->readdir(volume, find("case"), 0, see, &s), -ENOTDIR);
}

static int join(void *ctx, const char *name, uint64_t ino, mode_t type, uint64_t next)
{
    (void)ino, (void)type, (void)next;
    strcat(strcat(ctx, name), "|");
    return 0;
}

static void test_root_listing(void **state)
{
    (void)state;
    char names[4096] = "|";
    assert_int_equal(volume->ops->readdir(volume, VOLUME_ROOT, 0, join, names), 0);
    static const char *const want[] = { "|CaSe|", "|case|", "|Straße €.txt|", "|\xf0\x9f\x90\x8b.txt|",
                                        "|dir|",  "|tty9|", "|hardlink|" };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        if (!strstr(names, want[i]))
            fail_msg("%s isn't listed in %s", want[i], names);
    assert_null(strchr(names, '$'));
    assert_null(strstr(names, "|.|"));
    strcpy(names, "|");
    assert_int_equal(volume->ops->readdir(volume, find("dir"), 0, join, names), 0);
    assert_non_null(strstr(names, "|long name here.txt|"));
    assert_null(strstr(names, "LONGNA"));
}

/* ---- attributes and links ---- */

static void test_getattr(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        mode_t mode;
        nlink_t nlink;
        uint64_t size;
    } cases[] = {
        { "resident.txt", S_IFREG | 0777, 1, 100 },
        { "streams", S_IFREG | 0555, 1, 4 },
        { "hardlink", S_IFREG | 0777, 2, 0 },
        { "dir/hard", S_IFREG | 0777, 2, 0 },
        { "dir/long name here.txt", S_IFREG | 0777, 1, 0 },
        { "wof.dll", S_IFREG | 0777, 1, SAMPLE_WOF },
        { "packed/text.txt", S_IFREG | 0777, 1, SAMPLE_COMPRESSED },
        { "sparse", S_IFREG | 0777, 1, SAMPLE_SPARSE },
        { "symlink", S_IFLNK | 0777, 1, 17 },
        { "brokenlink", S_IFLNK | 0777, 1, 0 },
        { "interix", S_IFLNK | 0777, 1, 10 },
        { "junction", S_IFLNK | 0777, 1, 15 },
        { "tty9", S_IFCHR | 0777, 1, 0 },
        { "fifo", S_IFIFO | 0777, 1, 0 },
        { "socket", S_IFSOCK | 0777, 1, 0 },
        { "wslfifo", S_IFIFO | 0777, 1, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct volume_attr a = attr_of(cases[i].path);
        if (a.mode != cases[i].mode || a.nlink != cases[i].nlink || a.size != cases[i].size)
            fail_msg("%s: mode %o, %u links, size %llu", cases[i].path, a.mode, (unsigned)a.nlink,
                     (unsigned long long)a.size);
    }
    assert_int_equal(attr_of("tty9").rdev, makedev(4, 9));
    assert_true(attr_of("packed/text.txt").allocated < SAMPLE_COMPRESSED / 2);
    assert_int_equal(attr_of("sparse").allocated, 8192);
    assert_true(attr_of("wof.dll").allocated >= SAMPLE_WOF); /* 0 would be a hole to tar */
    assert_true(attr_of("many").size > 0);
    struct volume_attr root;
    assert_int_equal(volume->ops->getattr(volume, VOLUME_ROOT, &root), 0);
    assert_int_equal(root.mode, S_IFDIR | 0777);
    assert_false(root.has_owner);
    time_t now = time(NULL);
    assert_true(root.mtime.tv_sec > now - 600 && root.mtime.tv_sec <= now + 1);
}

static void test_links(void **state)
{
    (void)state;
    static const struct {
        const char *path, *text;
        enum link_style style;
    } cases[] = {
        { "junction", "C:/Users/Public", LINK_WINDOWS },
        { "volume", "//?/Volume{01234567-89ab-cdef-0123-456789abcdef}/", LINK_WINDOWS },
        { "symlink", "../dir/target.txt", LINK_WINDOWS },
        { "absolute", "d:/x", LINK_WINDOWS },
        { "unc", "//server/share", LINK_WINDOWS },
        { "wsl", "/usr/l\xc3\xad", LINK_POSIX },
        { "interix", "../möbius", LINK_POSIX },
    };
    char buf[200];
    enum link_style style;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(volume->ops->link(volume, find(cases[i].path), buf, sizeof buf, &style), 0);
        assert_string_equal(buf, cases[i].text);
        assert_int_equal(style, cases[i].style);
    }
    assert_int_equal(volume->ops->link(volume, find("wsl"), buf, 8, &style), -ENAMETOOLONG);
    assert_int_equal(volume->ops->link(volume, find("brokenlink"), buf, sizeof buf, &style), -EIO);
    assert_int_equal(volume->ops->link(volume, find("case"), buf, sizeof buf, &style), -EINVAL);
    struct volume_file *f;
    assert_int_equal(volume->ops->open(volume, find("wsl"), &f), -EINVAL);
    assert_int_equal(volume->ops->open(volume, find("dir"), &f), -EISDIR);
}

/* ---- content ---- */

static void check_content(const char *path, uint64_t size)
{
    static const size_t steps[] = { 1000, 4096, 65536, 100001, 1 << 20 };
    uint8_t *buf = malloc(1 << 20);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct volume_file *f = open_file(path);
        size_t n = 1;
        uint64_t off = 0;
        for (; n; off += n) {
            assert_int_equal(volume->ops->read(f, buf, steps[i], off, &n), 0);
            for (size_t k = 0; k < n; k++)
                if (buf[k] != sample_byte(off + k))
                    fail_msg("%s: byte %llu", path, (unsigned long long)(off + k));
        }
        assert_int_equal(off, size);
        volume->ops->release(f);
    }
    free(buf);
}

static void test_content(void **state)
{
    (void)state;
    check_content("resident.txt", 100);
    check_content("plain.bin", 70001);
    check_content("packed/text.txt", SAMPLE_COMPRESSED);
    check_content("hardlink", 0);
}

static void test_sparse(void **state)
{
    (void)state;
    uint8_t *buf = malloc(SAMPLE_SPARSE);
    size_t n;
    assert_int_equal(read_some("sparse", buf, SAMPLE_SPARSE, 0, &n), 0);
    assert_int_equal(n, SAMPLE_SPARSE);
    assert_memory_equal(buf + (1 << 20), "data", 4);
    assert_int_equal(buf[n - 1], 'e');
    struct volume_file *f = open_file("sparse");
    uint64_t data = 0;
    for (uint64_t off = 0; off < n;) {
        struct extent e;
        assert_int_equal(volume->ops->map(f, off, n - off, &e), 0);
        assert_true(e.length && e.length <= n - off);
        for (uint64_t i = off; e.kind != EXTENT_DATA && i < off + e.length; i++)
            assert_int_equal(buf[i], 0);
        data += e.kind == EXTENT_DATA ? e.length : 0;
        off += e.length;
    }
    assert_int_equal(data, 8192);
    struct extent e;
    assert_int_equal(volume->ops->map(f, n, 1, &e), -EINVAL);
    volume->ops->release(f);
    free(buf);
}

/* What isn't on the volume is an error and no hole, whatever $DATA looks like. */
static void test_elsewhere(void **state)
{
    (void)state;
    static const char *const files[] = { "wof.dll", "dedup.vhd", "unknown.tag", "cloud.doc" };
    char buf[8192];
    size_t n;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        assert_int_equal(read_some(files[i], buf, 4096, 0, &n), -EIO);
        struct volume_file *f = open_file(files[i]);
        struct extent e;
        assert_int_equal(volume->ops->map(f, 0, 4096, &e), 0);
        assert_int_equal(e.kind, EXTENT_DATA);
        volume->ops->release(f);
    }
    assert_int_equal(read_some("cloud.doc", buf, 5, 8192, &n), 0);
    assert_memory_equal(buf, "local", 5);
}

/* ---- xattrs ---- */

static void test_xattrs(void **state)
{
    (void)state;
    char buf[30000];
    size_t n;
    uint64_t ino = find("streams");
    assert_int_equal(volume->ops->listxattr(volume, ino, buf, sizeof buf, &n), 0);
    assert_int_equal(n, 2 + 10 + 9);
    assert_int_equal(volume->ops->listxattr(volume, ino, NULL, 0, &n), 0);
    assert_int_equal(n, 21);
    assert_int_equal(volume->ops->listxattr(volume, ino, buf, 20, &n), -ERANGE);
    assert_int_equal(volume->ops->getxattr(volume, ino, "user.small", buf, sizeof buf, &n), 0);
    assert_int_equal(n, 6);
    assert_memory_equal(buf, "stream", 6);
    assert_int_equal(volume->ops->getxattr(volume, ino, "user.bïg", NULL, 0, &n), 0);
    assert_int_equal(n, 20000);
    assert_int_equal(volume->ops->getxattr(volume, ino, "user.bïg", buf, 100, &n), -ERANGE);
    assert_int_equal(volume->ops->getxattr(volume, ino, "user.bïg", buf, sizeof buf, &n), 0);
    assert_int_equal(buf[19999], 'b');
    assert_int_equal(volume->ops->getxattr(volume, ino, "security.x", buf, sizeof buf, &n), 0);
    assert_int_equal(volume->ops->getxattr(volume, ino, "user.", buf, sizeof buf, &n), -ENODATA);
    assert_int_equal(volume->ops->getxattr(volume, ino, "user.none", buf, sizeof buf, &n), -ENODATA);
    assert_int_equal(volume->ops->getxattr(volume, ino, "system.none", buf, sizeof buf, &n), -ENODATA);
    assert_int_equal(volume->ops->getxattr(volume, ino, "system.ntfs_attrib", buf, sizeof buf, &n), 0);
    assert_int_equal(n, 4);
    assert_int_equal(buf[0], 0x21); /* archive, read-only */
    assert_int_equal(volume->ops->getxattr(volume, ino, "system.ntfs_times", buf, sizeof buf, &n), 0);
    assert_int_equal(n, 32);
    assert_int_equal(volume->ops->getxattr(volume, ino, "system.ntfs_acl", buf, sizeof buf, &n), 0);
    assert_true(n > 20);
    assert_int_equal(volume->ops->getxattr(volume, ino, "system.ntfs_acl", buf, 10, &n), -ERANGE);
    uint64_t named = find("dir/long name here.txt");
    assert_int_equal(volume->ops->getxattr(volume, named, "system.ntfs_dos_name", buf, sizeof buf, &n), 0);
    assert_memory_equal(buf, "LONGNA~1.TXT", 12);
    assert_int_equal(volume->ops->getxattr(volume, ino, "system.ntfs_dos_name", buf, sizeof buf, &n),
                     -ENODATA);
    uint64_t wof = find("wof.dll");
    assert_int_equal(volume->ops->getxattr(volume, wof, "system.ntfs_reparse_data", buf, sizeof buf, &n), 0);
    assert_int_equal(n, 24);
    assert_int_equal(volume->ops->listxattr(volume, wof, buf, sizeof buf, &n), 0);
    assert_int_equal(n, 0);
}

static void test_statfs(void **state)
{
    (void)state;
    struct statvfs s;
    assert_int_equal(volume->ops->statfs(volume, &s), 0);
    assert_int_equal(s.f_frsize, 4096);
    assert_true(s.f_blocks >= SAMPLE_SIZE / 4096 - 1 && s.f_bfree > 0 && s.f_bfree < s.f_blocks);
}

/* ---- odd and damaged volumes ---- */

/* Opens a copy of the sample with `change` made to it; returns the first note ("" none), or the fault. */
static const char *after(void (*change)(uint8_t *bytes, uint64_t *size))
{
    static char text[600];
    uint8_t *copy = malloc(SAMPLE_SIZE);
    uint64_t size = SAMPLE_SIZE;
    memcpy(copy, sample, SAMPLE_SIZE);
    change(copy, &size);
    struct memdisk d = memdisk_of(copy, size);
    struct fault fault = { 0 };
    struct volume *v = open_bytes(&d, &fault);
    snprintf(text, sizeof text, "%s", !v ? fault.what : v->notes.n ? v->notes.lines[0] : "");
    volume_close(v);
    free(copy);
    return text;
}

static void nothing(uint8_t *b, uint64_t *size)
{
    (void)b, (void)size;
}
static void short_partition(uint8_t *b, uint64_t *size)
{
    (void)b;
    *size -= 65536;
}
static void no_boot(uint8_t *b, uint64_t *size)
{
    (void)size;
    b[3] = 'X';
}
static void big_clusters(uint8_t *b, uint64_t *size)
{
    (void)size;
    b[0x0d] = 0x90;
}
static void big_records(uint8_t *b, uint64_t *size)
{
    (void)size;
    b[0x40] = (uint8_t)-31;
}
static void mft_outside(uint8_t *b, uint64_t *size)
{
    (void)size;
    put_le64(b + 0x30, 1 << 20);
}

/* The cluster of $LogFile, which mkntfs fills with 0xff. */
static uint8_t *log_of(uint8_t *b)
{
    for (size_t off = 8192; off + 65536 <= SAMPLE_SIZE; off += 4096) {
        size_t n = 0;
        while (n < 65536 && b[off + n] == 0xff)
            n++;
        if (n == 65536)
            return b + off;
    }
    fail_msg("no log");
    return NULL;
}
static void log_page(uint8_t *page, uint16_t major, uint16_t in_use, uint64_t lsn)
{
    memset(page, 0, 512);
    memcpy(page, "RSTR", 4);
    put_le16(page + 0x18, 0x30);
    put_le16(page + 0x1c, major);
    put_le64(page + 0x30, lsn);
    put_le16(page + 0x30 + 0x0c, in_use);
}
static void log_clean(uint8_t *b, uint64_t *size)
{
    (void)size;
    log_page(log_of(b), 1, 0xffff, 7);
}
static void log_dirty(uint8_t *b, uint64_t *size)
{
    (void)size;
    uint8_t *log = log_of(b);
    log_page(log, 1, 0xffff, 7);
    log_page(log + 4096, 1, 0, 8); /* the later one counts */
}
static void log_windows8(uint8_t *b, uint64_t *size)
{
    (void)size;
    log_page(log_of(b), 2, 0xffff, 7);
}
static void log_broken(uint8_t *b, uint64_t *size)
{
    (void)size;
    memcpy(log_of(b), "CHKD", 4);
}
static void hibernated(uint8_t *b, uint64_t *size)
{
    /* the content of hiberfil.sys, which the sample has as "wake" */
    uint8_t *at = memmem(b, *size, "wake", 4);
    assert_non_null(at);
    memcpy(at, "HIBR", 4);
}

static void test_states(void **state)
{
    (void)state;
    static const struct {
        void (*change)(uint8_t *bytes, uint64_t *size);
        const char *say;
    } cases[] = {
        { nothing, "" },
        { short_partition, "longer than its partition" },
        { no_boot, "no NTFS boot sector" },
        { big_clusters, "NTFS clusters of 0x90 sectors" },
        { big_records, "NTFS MFT records of size 0xe1" },
        { mft_outside, "the MFT lies past the end" },
        { log_clean, "" },
        { log_dirty, "the log is dirty" },
        { log_windows8, "in use by Windows" },
        { log_broken, "no valid restart page" },
        { hibernated, "Windows is hibernated" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *said = after(cases[i].change);
        if (*cases[i].say ? !strstr(said, cases[i].say) : *said)
            fail_msg("wanted \"%s\", got \"%s\"", cases[i].say, said);
    }
}

/* ---- mutations ---- */

struct walk {
    struct volume *v;
    uint64_t dirs[64];
    unsigned n_dirs, n, budget;
};

static int visit(void *ctx, const char *name, uint64_t ino, mode_t type, uint64_t next)
{
    (void)type, (void)next;
    struct walk *w = ctx;
    struct volume *v = w->v;
    struct volume_attr a;
    struct volume_file *f;
    uint64_t found;
    static char buf[70000];
    size_t n;
    enum link_style style;
    if (!w->budget--)
        return 1;
    v->ops->lookup(v, VOLUME_ROOT, name, &found);
    if (v->ops->getattr(v, ino, &a))
        return 0;
    v->ops->listxattr(v, ino, buf, sizeof buf, &n);
    v->ops->getxattr(v, ino, "system.ntfs_acl", buf, sizeof buf, &n);
    v->ops->getxattr(v, ino, "system.ntfs_dos_name", buf, sizeof buf, &n);
    v->ops->getxattr(v, ino, "system.ntfs_object_id", buf, sizeof buf, &n);
    v->ops->getxattr(v, ino, "system.ntfs_ea", buf, sizeof buf, &n);
    v->ops->getxattr(v, ino, "user.small", buf, sizeof buf, &n);
    v->ops->link(v, ino, buf, sizeof buf, &style);
    if (S_ISDIR(a.mode) && w->n_dirs < 64)
        w->dirs[w->n_dirs++] = ino;
    if (v->ops->open(v, ino, &f))
        return 0;
    struct extent e;
    for (uint64_t off = 0, i = 0; off < a.size && i < 32; off += sizeof buf, i++) {
        if (v->ops->read(f, buf, sizeof buf, off, &n))
            break;
        v->ops->map(f, off, sizeof buf, &e);
    }
    v->ops->release(f);
    return 0;
}

static void walk_all(struct memdisk *d)
{
    struct walk w = { .dirs = { VOLUME_ROOT }, .n_dirs = 1, .budget = 120 };
    w.v = open_bytes(d, NULL);
    if (!w.v)
        return;
    for (unsigned i = 0; i < w.n_dirs && w.budget; i++)
        w.v->ops->readdir(w.v, w.dirs[i], 0, visit, &w);
    struct statvfs s;
    w.v->ops->statfs(w.v, &s);
    volume_close(w.v);
}

/* Where to change something: half of the time in the first MFT records (metadata and the odd files of the
 * sample), else in any MFT record or index block, now and then anywhere. */
static size_t mutation_place(unsigned *seed)
{
    size_t off, mft = (size_t)sample[0x30] * 4096;
    if (rand_r(seed) % 2)
        off = mft + (size_t)(rand_r(seed) % 120) * 1024;
    else
        do
            off = ((size_t)rand_r(seed) << 8 ^ (size_t)rand_r(seed)) % SAMPLE_SIZE & ~(size_t)1023;
        while (memcmp(sample + off, "FILE", 4) && memcmp(sample + off, "INDX", 4) && rand_r(seed) % 2000);
    return off + (size_t)rand_r(seed) % (rand_r(seed) % 4 ? 0x200 : 1016);
}

static void mutate(uint8_t *b, unsigned *seed)
{
    static const uint64_t odd[] = { 0,       1,        0x7f,       0x80,       0xff,     0xffff,
                                    1 << 20, 1u << 31, 1ull << 33, 1ull << 48, INT64_MAX };
    for (int i = 1 + rand_r(seed) % 4; i; i--) {
        size_t off = mutation_place(seed);
        uint64_t value = odd[(size_t)rand_r(seed) % (sizeof odd / sizeof *odd)];
        switch (rand_r(seed) % 4) {
        case 0:
            b[off] = (uint8_t)rand_r(seed);
            break;
        case 1:
            b[off] ^= (uint8_t)(1 << rand_r(seed) % 8);
            break;
        case 2:
            put_le32(b + (off & ~(size_t)3), (uint32_t)value);
            break;
        default:
            put_le64(b + (off & ~(size_t)7), value);
        }
    }
}

static void test_mutations(void **state)
{
    (void)state;
    const char *rounds = getenv("FERRYFS_NTFS_MUTATIONS"), *first = getenv("FERRYFS_NTFS_SEED");
    uint8_t *copy = malloc(SAMPLE_SIZE);
    unsigned from = first ? (unsigned)atoi(first) : 1;
    for (unsigned i = from; i < from + (unsigned)(rounds ? atoi(rounds) : 100); i++) {
        unsigned seed = i;
        memcpy(copy, sample, SAMPLE_SIZE);
        mutate(copy, &seed);
        struct memdisk d = memdisk_of(copy, SAMPLE_SIZE);
        if (rounds)
            fprintf(stderr, "\r%u ", i);
        walk_all(&d);
    }
    free(copy);
}

/* Every place of the disk fails in turn: nothing crashes, and what is given is right. */
static void test_bad_places(void **state)
{
    (void)state;
    enum { STEP = 32768 };
    unsigned errors = 0, good = 0;
    for (uint64_t at = 0; at < SAMPLE_SIZE; at += STEP) {
        struct memdisk d = memdisk_of(sample, SAMPLE_SIZE);
        d.bad_at = at;
        d.bad_length = STEP;
        walk_all(&d);
        struct volume *v = open_bytes(&d, NULL);
        struct volume_file *f;
        uint64_t ino;
        static uint8_t buf[70001];
        size_t n;
        if (!v)
            continue;
        if (!v->ops->lookup(v, VOLUME_ROOT, "plain.bin", &ino) && !v->ops->open(v, ino, &f)) {
            int r = v->ops->read(f, buf, sizeof buf, 0, &n);
            for (size_t i = 0; !r && i < n; i++)
                assert_int_equal(buf[i], sample_byte(i));
            r ? errors++ : good++;
            v->ops->release(f);
        }
        volume_close(v);
    }
    assert_true(errors >= 2 && good > 50);
}

static int setup(void **state)
{
    (void)state;
    sample = sample_make();
    if (!sample) {
        fprintf(stderr, "skipped: mkntfs is missing\n");
        exit(77);
    }
    before = malloc(SAMPLE_SIZE);
    memcpy(before, sample, SAMPLE_SIZE);
    disk = memdisk_of(sample, SAMPLE_SIZE);
    cache = cache_new(8 << 20, NULL);
    struct fault fault = { 0 };
    volume = open_bytes(&disk, &fault);
    if (!volume)
        fail_msg("%s", fault.what);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    volume_close(volume);
    cache_free(cache);
    assert_memory_equal(before, sample, SAMPLE_SIZE); /* nothing was written */
    free(before);
    free(sample);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lznt1),        cmocka_unit_test(test_lookup),
        cmocka_unit_test(test_readdir),      cmocka_unit_test(test_getattr),
        cmocka_unit_test(test_root_listing), cmocka_unit_test(test_links),
        cmocka_unit_test(test_content),      cmocka_unit_test(test_sparse),
        cmocka_unit_test(test_elsewhere),    cmocka_unit_test(test_xattrs),
        cmocka_unit_test(test_statfs),       cmocka_unit_test(test_states),
        cmocka_unit_test(test_bad_places),   cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
