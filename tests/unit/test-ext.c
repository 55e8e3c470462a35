/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ext2/3/4 volumes that mke2fs made out of a directory, in many layouts, held against that directory; images
 * cut short and with flipped bits; dirty journals held against what e2fsck makes of them; the corpus. */
#include "ext-tree.h"
#include "guest/ext.h"
#include "unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>

static char scratch[] = "/tmp/ferryfs-ext-XXXXXX";

__attribute__((format(printf, 1, 2))) static int run(const char *fmt, ...)
{
    char command[4096];
    va_list args;
    va_start(args, fmt);
    vsnprintf(command, sizeof command, fmt, args);
    va_end(args);
    int r = system(command);
    return WIFEXITED(r) ? WEXITSTATUS(r) : -1;
}

static bool have_tools(void)
{
    return run("PATH=$PATH:/sbin:/usr/sbin; command -v mke2fs debugfs e2fsck >/dev/null") == 0;
}

struct image {
    uint8_t *p; /* private: may be written */
    size_t n;
};

static struct image image_map(const char *path)
{
    struct image i = { 0 };
    struct stat st;
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    i.n = (size_t)st.st_size;
    i.p = mmap(NULL, i.n, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    assert_true(i.p != MAP_FAILED);
    close(fd);
    return i;
}

struct mounted {
    struct memory_disk disk;
    struct cache *cache;
    struct volume *v;
    struct fault fault;
};

static int mounted_open(struct mounted *m, const uint8_t *p, size_t n)
{
    *m = (struct mounted){ .disk = memory_disk(p, n), .cache = cache_new(4 << 20, NULL) };
    int r = ext_driver.open(&m->disk.disk, "disk0", m->cache, &m->v, &m->fault);
    if (r < 0)
        cache_free(m->cache);
    return r;
}

static void mounted_close(struct mounted *m)
{
    volume_close(m->v);
    cache_free(m->cache);
}

/* ---- what mke2fs makes ---- */

static void write_file(const char *dir, const char *name, size_t n, unsigned seed)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (size_t k = 0; k < n; k++) {
        seed = seed * 1103515245 + 12345;
        fputc((int)(seed >> 16 & 0xff), f);
    }
    assert_int_equal(fclose(f), 0);
}

/* No trailing holes (mke2fs -d forgets them with inline_data) and no times after 2038 (it cuts them off). */
static int make_source(void **state)
{
    (void)state;
    if (!have_tools())
        return 0;
    if (!mkdtemp(scratch))
        return -1;
    char dir[64];
    snprintf(dir, sizeof dir, "%s/src", scratch);
    if (run("mkdir -p %s/many %s/sub/deeper", dir, dir))
        return -1;
    static const size_t sizes[] = { 0, 1, 59, 60, 61, 150, 1023, 1024, 4096, 13000, 300000, 1100000 };
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        char name[32];
        snprintf(name, sizeof name, "f%zu", sizes[k]);
        write_file(dir, name, sizes[k], (unsigned)k);
    }
    for (unsigned k = 0; k < 300; k++) {
        char name[64];
        snprintf(name, sizeof name, "many/a-somewhat-longer-name-%u", k);
        write_file(dir, name, k % 7, k);
    }
    return run("cd %s && ln f150 sub/hard && ln -s f150 fast && ln -s $(printf %%059d 1) l59 &&"
               " ln -s $(printf %%060d 1) l60 && ln -s $(printf %%0900d 1) slow && chmod 4751 f1 &&"
               " touch -d '2030-02-03 04:05:06.789' f59 && touch -d '1931-02-03 04:05:06' f60 &&"
               " printf x | dd of=sparse bs=1 seek=3000000 2>/dev/null && printf y | dd of=sparse bs=1"
               " seek=9000 conv=notrunc 2>/dev/null && printf w | dd of=sparse bs=1 seek=4999999 "
               "conv=notrunc 2>/dev/null &&"
               " printf z > 'n\303\244me \303\274'",
               dir);
}

static int remove_scratch(void **state)
{
    (void)state;
    return strchr(scratch, 'X') ? 0 : run("rm -rf '%s'", scratch);
}

static void compare_file(struct volume *v, uint64_t ino, const char *path, uint64_t size)
{
    struct volume_file *f;
    static uint8_t got[70000], want[70000];
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(v->ops->open(v, ino, &f), 0);
    for (uint64_t off = 0; off < size; off += 65537) { /* no block boundary */
        size_t n;
        ssize_t m = pread(fd, want, 65537, (off_t)off);
        assert_int_equal(v->ops->read(f, got, 65537, off, &n), 0);
        assert_int_equal(n, m);
        assert_memory_equal(got, want, n);
    }
    for (uint64_t off = 0; off < size;) { /* what the map calls a hole is zeros */
        struct extent e;
        assert_int_equal(v->ops->map(f, off, size - off, &e), 0);
        if (e.kind != EXTENT_DATA) {
            assert_int_equal(pread(fd, want, 1, (off_t)off), 1);
            assert_int_equal(want[0], 0);
            assert_int_equal(pread(fd, want, 1, (off_t)(off + e.length - 1)), 1);
            assert_int_equal(want[0], 0);
        }
        off += e.length;
    }
    size_t n = 1;
    assert_int_equal(v->ops->read(f, got, 10, size, &n), 0);
    assert_int_equal(n, 0);
    v->ops->release(f);
    close(fd);
}

struct seen {
    unsigned n;
    uint64_t last;
};

static int count_one(void *ctx, const char *name, uint64_t ino, mode_t type, uint64_t next)
{
    (void)name, (void)ino, (void)type;
    struct seen *s = ctx;
    if (s->n == 1)
        return 1;
    s->n++;
    s->last = next;
    return 0;
}

/* Everything of the host's directory is in the volume's, and nothing more; listed one by one, by cookies. */
static void compare_dir(struct volume *v, uint64_t ino, const char *path, bool old_inodes)
{
    DIR *d = opendir(path);
    assert_non_null(d);
    unsigned n = 0;
    for (struct dirent *e; (e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        n++;
        char child[4096], target[4097], want[4097] = "";
        snprintf(child, sizeof child, "%s/%s", path, e->d_name);
        struct stat st;
        assert_int_equal(lstat(child, &st), 0);
        uint64_t found;
        struct volume_attr a;
        if (v->ops->lookup(v, ino, e->d_name, &found) || v->ops->getattr(v, found, &a))
            fail_msg("%s isn't there", child);
        assert_int_equal(a.mode, st.st_mode);
        assert_int_equal(a.uid, st.st_uid);
        if (!S_ISDIR(st.st_mode)) {
            assert_int_equal(a.nlink, st.st_nlink);
            assert_int_equal(a.size, st.st_size);
            if (!old_inodes)
                assert_int_equal(a.mtime.tv_sec, st.st_mtim.tv_sec);
        }
        if (S_ISREG(st.st_mode))
            compare_file(v, found, child, a.size);
        if (S_ISLNK(st.st_mode)) {
            enum link_style style;
            assert_true(readlink(child, want, sizeof want - 1) > 0);
            assert_int_equal(v->ops->link(v, found, target, sizeof target, &style), 0);
            assert_string_equal(target, want);
            assert_int_equal(v->ops->link(v, found, target, a.size, &style), -ENAMETOOLONG);
        }
        if (S_ISDIR(st.st_mode))
            compare_dir(v, found, child, old_inodes);
    }
    closedir(d);
    unsigned listed = 0;
    for (struct seen s = { 0, 0 };; listed++) {
        s.n = 0;
        assert_int_equal(v->ops->readdir(v, ino, s.last, count_one, &s), 0);
        if (!s.n)
            break;
    }
    assert_int_equal(listed - (ino == VOLUME_ROOT), n); /* lost+found */
    uint64_t found;
    assert_int_equal(v->ops->lookup(v, ino, "nothing of that name", &found), -ENOENT);
}

static const char *const layouts[] = {
    "-t ext2 -b 1024 -I 128",
    "-t ext2 -r 1 -b 4096 -I 256",
    "-t ext3 -b 2048",
    "-t ext4 -b 1024",
    "-t ext4 -b 4096",
    "-t ext4 -b 4096 -O ^extents,^64bit,^metadata_csum",
    "-t ext4 -b 1024 -O inline_data",
    "-t ext4 -b 4096 -O inline_data -I 1024",
    "-t ext4 -b 4096 -O bigalloc -C 65536",
    "-t ext4 -b 2048 -O metadata_csum_seed,meta_bg,^resize_inode",
    "-t ext4 -b 1024 -O uninit_bg,^metadata_csum -g 1024",
    "-t ext4 -b 4096 -O casefold,large_dir,sparse_super2,^resize_inode",
    "-t ext4 -b 4096 -O quota,project,mmp,orphan_file,fast_commit,ea_inode,verity,encrypt,stable_inodes",
};

static void make_image(const char *name, const char *layout, const char *size)
{
    if (run("PATH=$PATH:/sbin:/usr/sbin; cd %s && rm -f %s && mke2fs -q -F %s -d src %s %s >mkfs.log 2>&1",
            scratch, name, layout, name, size))
        fail_msg("mke2fs %s", layout);
}

static void volumes_equal_their_source(void **state)
{
    (void)state;
    if (!have_tools())
        skip();
    for (size_t k = 0; k < sizeof layouts / sizeof *layouts; k++) {
        char path[64], src[64];
        snprintf(path, sizeof path, "%s/img", scratch);
        snprintf(src, sizeof src, "%s/src", scratch);
        print_message("%s\n", layouts[k]);
        make_image("img", layouts[k], "40M");
        struct image i = image_map(path);
        struct mounted m;
        if (mounted_open(&m, i.p, i.n) < 0)
            fail_msg("%s: %s", layouts[k], m.fault.what);
        compare_dir(m.v, VOLUME_ROOT, src, strstr(layouts[k], "-I 128"));
        mounted_close(&m);
        munmap(i.p, i.n);
    }
}

static void the_rest_is_as_debugfs_made_it(void **state)
{
    (void)state;
    if (!have_tools())
        skip();
    make_image("img", "-t ext4 -b 4096 -O casefold", "40M");
    assert_int_equal(
        run("PATH=$PATH:/sbin:/usr/sbin; cd %s && debugfs -w -f - img >debugfs.log 2>&1 <<'EOF'\n"
            "mknod chr c 1 3\nmknod blk b 259 70000\nmknod pipe p\n"
            "ea_set f1 user.small v\nea_set f1 trusted.empty \"\"\n"
            "ea_set -f src/f1023 f1 security.large\n"
            "ea_set f1 user.two 22\n"
            "mkdir fold\nset_inode_field fold flags 0x40080000\n"
            "cd fold\nwrite src/f59 \"Stra\303\237e\"\nEOF",
            scratch),
        0);
    char path[64];
    snprintf(path, sizeof path, "%s/img", scratch);
    struct image i = image_map(path);
    struct mounted m;
    assert_int_equal(mounted_open(&m, i.p, i.n), 0);
    struct volume *v = m.v;
    uint64_t ino, dir;
    struct volume_attr a;
    assert_int_equal(v->ops->lookup(v, VOLUME_ROOT, "chr", &ino), 0);
    assert_int_equal(v->ops->getattr(v, ino, &a), 0);
    assert_true(S_ISCHR(a.mode) && a.rdev == 0x103);
    assert_int_equal(v->ops->lookup(v, VOLUME_ROOT, "pipe", &ino), 0);
    assert_int_equal(v->ops->getattr(v, ino, &a), 0);
    assert_true(S_ISFIFO(a.mode));

    assert_int_equal(v->ops->lookup(v, VOLUME_ROOT, "f1", &ino), 0);
    char names[256], value[2000];
    size_t n;
    assert_int_equal(v->ops->listxattr(v, ino, NULL, 0, &n), 0);
    assert_true(n > 20 && n < sizeof names);
    assert_int_equal(v->ops->listxattr(v, ino, names, n - 1, &n), -ERANGE);
    assert_int_equal(v->ops->listxattr(v, ino, names, n, &n), 0);
    assert_non_null(memmem(names, n, "security.large", 15));
    assert_non_null(memmem(names, n, "user.two", 9));
    assert_int_equal(v->ops->getxattr(v, ino, "security.large", NULL, 0, &n), 0);
    assert_int_equal(n, 1023);
    assert_int_equal(v->ops->getxattr(v, ino, "security.large", value, 1022, &n), -ERANGE);
    assert_int_equal(v->ops->getxattr(v, ino, "security.large", value, sizeof value, &n), 0);
    assert_int_equal(v->ops->getxattr(v, ino, "user.tw", value, sizeof value, &n), -ENODATA);

    assert_true(v->caseless);
    assert_int_equal(v->ops->lookup(v, VOLUME_ROOT, "F1", &ino), -ENOENT); /* folds only where it is told */
    assert_int_equal(v->ops->lookup(v, VOLUME_ROOT, "fold", &dir), 0);
    assert_int_equal(v->ops->lookup(v, dir, "STRASSE", &ino), 0);
    assert_int_equal(v->ops->lookup(v, dir, "strass", &ino), -ENOENT);
    mounted_close(&m);
    munmap(i.p, i.n);
}

/* ---- damage ---- */

static void unknown_and_impossible_is_refused(void **state)
{
    (void)state;
    if (!have_tools())
        skip();
    static const struct {
        size_t off, width;
        uint32_t value;
        int error;
        const char *text;
    } cases[] = {
        { 0x38, 2, 0, -EUCLEAN, "no ext superblock" },
        { 0x60, 4, 0x800C2, -ENOTSUP, "incompat bit 0x80000" },
        { 0x60, 4, 0xC3, -ENOTSUP, "compression" },
        { 0x60, 4, 0xCA, -ENOTSUP, "external journal" },
        { 0x18, 4, 7, -EUCLEAN, "block size" },
        { 0x58, 2, 100, -EUCLEAN, "inode size" },
        { 0x20, 4, 0, -EUCLEAN, "groups of" },
        { 0x28, 4, 1, -EUCLEAN, "groups of" },
        { 0x14, 4, 9, -EUCLEAN, "as the first" },
        { 0x00, 4, 77, -EUCLEAN, "inodes in" },
        { 0xFE, 2, 16, -EUCLEAN, "group descriptors" },
        { 0x4C, 4, 2, -ENOTSUP, "revision" },
        { 0x60, 4, 0x2C6, -EUCLEAN, "needs its journal" },
    };
    make_image("img", "-t ext4 -b 1024 -O ^has_journal,^metadata_csum", "16M");
    char path[64];
    snprintf(path, sizeof path, "%s/img", scratch);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct image i = image_map(path);
        uint8_t *p = i.p + 1024 + cases[k].off;
        if (cases[k].width == 2)
            put_le16(p, (uint16_t)cases[k].value);
        else
            put_le32(p, cases[k].value);
        struct mounted m;
        int r = mounted_open(&m, i.p, i.n);
        if (r != cases[k].error || !strstr(m.fault.what, cases[k].text))
            fail_msg("case %zu: %d %s", k, r, m.fault.what);
        munmap(i.p, i.n);
    }
}

static void what_is_cut_off_is_an_error(void **state)
{
    (void)state;
    if (!have_tools())
        skip();
    make_image("img", "-t ext4 -b 4096 -O ^metadata_csum", "16M");
    char path[64];
    snprintf(path, sizeof path, "%s/img", scratch);
    struct image i = image_map(path);
    for (size_t n = 0; n < i.n; n += n < 8192 ? 700 : 1 << 20) {
        struct mounted m;
        int r = mounted_open(&m, i.p, n);
        if (r < 0)
            continue;
        assert_true(m.v->notes.n > 0);
        char *text = tree_read(m.v, 1000, 1 << 24);
        assert_non_null(strstr(text, "ends at byte"));
        free(text);
        mounted_close(&m);
    }
    munmap(i.p, i.n);
}

/* Flips bits where metadata is dense. A walk may find any damage; it may not crash (sanitizers), and must
 * end. */
static void flipped_bits_do_no_harm(void **state)
{
    (void)state;
    if (!have_tools())
        skip();
    static const char *const small[] = { "-t ext4 -b 1024 -N 512 -O inline_data,^metadata_csum -J size=1",
                                         "-t ext2 -b 1024 -N 512", "-t ext4 -b 1024 -N 512" };
    char path[64];
    snprintf(path, sizeof path, "%s/img", scratch);
    uint32_t seed = 42;
    for (size_t k = 0; k < sizeof small / sizeof *small; k++) {
        make_image("img", small[k], "8M");
        for (unsigned turn = 0; turn < 400; turn++) {
            struct image i = image_map(path);
            for (unsigned flip = 0; flip < 12; flip++) {
                seed = seed * 1664525 + 1013904223;
                size_t range = flip < 2 ? 4096 : i.n / 8;
                i.p[1024 + (seed >> 8) % range] ^= (uint8_t)(1u << (seed & 7));
            }
            alarm(20);
            struct mounted m;
            if (mounted_open(&m, i.p, i.n) == 0) {
                free(tree_read(m.v, 200, 1 << 21));
                mounted_close(&m);
            }
            alarm(0);
            munmap(i.p, i.n);
        }
    }
}

/* ---- the corpus ---- */

enum { MANY = 300 };
struct listed {
    char names[MANY][64];
    uint64_t inodes[MANY];
    size_t n;
};

static int list_one(void *ctx, const char *name, uint64_t ino, mode_t type, uint64_t next)
{
    struct listed *l = ctx;
    (void)type, (void)next;
    assert_in_range(l->n, 0, MANY - 1);
    snprintf(l->names[l->n], sizeof l->names[0], "%s", name);
    l->inodes[l->n++] = ino;
    return 0;
}

/* Each name by itself, whichever was looked up before; `damaged`: from this one on it may be EIO. */
static void look_up_all(struct volume *v, uint64_t dir, const struct listed *l, size_t step, size_t damaged)
{
    for (size_t k = 0, at = 0; k < l->n; k++, at = (at + step) % l->n) {
        uint64_t ino = 0;
        int r = v->ops->lookup(v, dir, l->names[at], &ino);
        if (at < damaged || r != -EIO)
            assert_int_equal(r, 0);
        if (r == 0)
            assert_int_equal(ino, l->inodes[at]);
        r = v->ops->lookup(v, dir, "none", &ino);
        assert_int_equal(r, damaged < l->n ? -EIO : -ENOENT);
    }
}

/* Without an index the search begins where the last one ended. */
static void names_are_found_in_any_order(void **state)
{
    static const size_t steps[] = { 1, MANY - 1, 7, 119, 151 };
    struct listed *l = calloc(1, sizeof *l);
    struct mounted m;
    uint64_t dir;
    char path[128];
    (void)state;
    if (!have_tools())
        skip();
    make_image("linear", "-t ext4 -b 1024 -O ^dir_index,^metadata_csum", "16M");
    snprintf(path, sizeof path, "%s/linear", scratch);
    struct image i = image_map(path);
    assert_int_equal(mounted_open(&m, i.p, i.n), 0);
    assert_int_equal(m.v->ops->lookup(m.v, VOLUME_ROOT, "many", &dir), 0);
    assert_int_equal(m.v->ops->readdir(m.v, dir, 0, list_one, l), 0);
    assert_int_equal(l->n, MANY);
    for (size_t k = 0; k < sizeof steps / sizeof *steps; k++)
        look_up_all(m.v, dir, l, steps[k], l->n);
    mounted_close(&m);
    uint8_t *at = memmem(i.p, i.n, l->names[MANY / 2], strlen(l->names[MANY / 2]));
    assert_non_null(at);
    memset(at - 4, 0xff, 2); /* the entry's length */
    assert_int_equal(mounted_open(&m, i.p, i.n), 0);
    for (size_t k = 0; k < sizeof steps / sizeof *steps; k++)
        look_up_all(m.v, dir, l, steps[k], MANY / 2);
    mounted_close(&m);
    munmap(i.p, i.n);
    free(l);
}

static void unpack(const char *file, const char *to)
{
    const char *end = strrchr(file, '.');
    const char *tool = !strcmp(end, ".gz") ? "gzip" : !strcmp(end, ".bz2") ? "bzip2" : "xz";
    if (run("%s -dc '%s/ext/%s' > '%s/%s'", tool, getenv("FERRYFS_CORPUS"), file, scratch, to))
        fail_msg("%s can't be unpacked", file);
}

/* Images that don't open, and why; all others do. */
static const struct {
    const char *file;
    int error;
    const char *text;
} refused[] = {
    { "e2fs_f_super_bad_csum.img.bz2", -EUCLEAN, "checksum" },
    { "e2fs_j_corrupt_revoke_rcount.img.gz", -EUCLEAN, "revoke block" },
    { "e2fs_j_corrupt_sb_magic.img.gz", -EUCLEAN, "no superblock" },
    { "mbr-ext2-empty.img.gz", -EUCLEAN, "no ext superblock" },
};

static void the_corpus_opens_or_says_why(void **state)
{
    (void)state;
    if (!getenv("FERRYFS_CORPUS") || !have_tools())
        skip();
    char path[512];
    snprintf(path, sizeof path, "%s/ext", getenv("FERRYFS_CORPUS"));
    DIR *d = opendir(path);
    assert_non_null(d);
    unsigned n = 0;
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        unpack(e->d_name, "img");
        snprintf(path, sizeof path, "%s/img", scratch);
        struct image i = image_map(path);
        struct mounted m;
        int want = 0;
        const char *text = "";
        for (size_t k = 0; k < sizeof refused / sizeof *refused; k++)
            if (!strcmp(refused[k].file, e->d_name)) {
                want = refused[k].error;
                text = refused[k].text;
            }
        alarm(60);
        int r = mounted_open(&m, i.p, i.n);
        if (r != want || (r && !strstr(m.fault.what, text)))
            fail_msg("%s: %d %s", e->d_name, r, m.fault.what);
        if (!r) {
            free(tree_read(m.v, 20000, 1 << 26));
            mounted_close(&m);
        }
        alarm(0);
        munmap(i.p, i.n);
        n++;
    }
    closedir(d);
    assert_true(n > 0);
}

/* Every block but the superblocks is as e2fsck leaves it after it replayed the journal, and did nothing else.
 */
static void replay_equals_e2fsck(void **state)
{
    (void)state;
    if (!getenv("FERRYFS_CORPUS") || !have_tools())
        skip();
    static const char *const files[] = { "e2fs_f_jnl_64bit.img.gz", "e2fs_j_corrupt_commit_tid.img.gz",
                                         "e2fs_j_corrupt_descr_tid.img.gz",
                                         "e2fs_j_corrupt_revoke_block.img.gz",
                                         "e2fs_j_recover_csum2_64bit.img.bz2" };
    for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
        char path[64];
        unpack(files[k], "img");
        run("PATH=$PATH:/sbin:/usr/sbin; cd %s && cp img want && e2fsck -p -E journal_only want >e2fsck.log "
            "2>&1",
            scratch);
        snprintf(path, sizeof path, "%s/img", scratch);
        struct image i = image_map(path);
        snprintf(path, sizeof path, "%s/want", scratch);
        struct image w = image_map(path);
        struct mounted m;
        assert_int_equal(mounted_open(&m, i.p, i.n), 0);
        struct ext_volume *v = (struct ext_volume *)(void *)m.v;
        assert_non_null(v->replayed);
        uint32_t size = v->fs.super.block_size;
        struct ext_inode journal;
        struct ext_run first;
        assert_int_equal(ext_inode_read(&v->fs, v->fs.super.journal_inode, &journal), 0);
        assert_int_equal(ext_map(&v->fs, &journal, 0, &first), 0);
        static uint8_t got[EXT_BLOCK_MAX];
        for (uint64_t b = 0; b < i.n / size; b++) {
            assert_int_equal(disk_pread(v->replayed, got, size, b * size), 0);
            if (b == 1024 / size || b == first.block)
                continue;
            if (memcmp(got, w.p + b * size, size) != 0)
                fail_msg("%s: block %llu differs", files[k], (unsigned long long)b);
        }
        mounted_close(&m);
        munmap(i.p, i.n);
        munmap(w.p, w.n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(volumes_equal_their_source),        cmocka_unit_test(the_rest_is_as_debugfs_made_it),
        cmocka_unit_test(unknown_and_impossible_is_refused), cmocka_unit_test(what_is_cut_off_is_an_error),
        cmocka_unit_test(flipped_bits_do_no_harm),           cmocka_unit_test(names_are_found_in_any_order),
        cmocka_unit_test(the_corpus_opens_or_says_why),      cmocka_unit_test(replay_equals_e2fsck),
    };
    return cmocka_run_group_tests(tests, make_source, remove_scratch);
}
