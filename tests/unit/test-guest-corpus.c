/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Real images, from the directory FERRYFS_CORPUS (skipped without it), against programs that know them:
 * signatures, labels and identifiers against `blkid -p`, FAT trees against what mtools copies out, partition
 * tables against what is known of each image. Nothing may crash on the damaged ones. */
#include "unit.h"

#include "guest/partition.h"
#include "guest/signature.h"
#include "guest/volume.h"
#include "memdisk.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

static const char *corpus;
static char scratch[64], image_path[96];

struct image {
    struct memdisk d;
    void *map;
    size_t size;
};

static int run(const char *command)
{
    return system(command) == 0 ? 0 : -1;
}

/* Unpacks to image_path, holes kept. */
static bool unpack(const char *path, struct image *ret)
{
    char command[2048];
    size_t n = strlen(path);
    const char *tool = "cat";
    if (n > 7 && !strcmp(path + n - 7, ".tar.xz"))
        tool = "tar -xJOf";
    else if (n > 3 && !strcmp(path + n - 3, ".xz"))
        tool = "xz -dc";
    else if (n > 3 && !strcmp(path + n - 3, ".gz"))
        tool = "gzip -dc";
    else if (n > 4 && !strcmp(path + n - 4, ".bz2"))
        tool = "bzip2 -dc";
    snprintf(command, sizeof command, "%s '%s' | dd of=%s bs=64k iflag=fullblock conv=sparse status=none",
             tool, path, image_path);
    unlink(image_path);
    assert_int_equal(run(command), 0);
    int fd = open(image_path, O_RDONLY);
    assert_true(fd >= 0);
    ret->size = (size_t)lseek(fd, 0, SEEK_END);
    ret->map = ret->size ? mmap(NULL, ret->size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    close(fd);
    if (ret->map == MAP_FAILED)
        return false;
    ret->d = memdisk_of(ret->map, ret->size);
    return true;
}

static void drop(struct image *im)
{
    munmap(im->map, im->size);
}

/* ---- signatures ---- */

static const char *blkid_type(const char *type)
{
    static const char *const names[][2] = {
        { "fat12", "vfat" },       { "fat16", "vfat" },           { "fat32", "vfat" },
        { "luks", "crypto_LUKS" }, { "lvm2", "LVM2_member" },     { "bitlocker", "BitLocker" },
        { "refs", "ReFS" },        { "md", "linux_raid_member" }, { "zfs", "zfs_member" },
        { "vmfs", "VMFS" },
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (!strcmp(type, names[i][0]))
            return names[i][1];
    return type;
}

/* blkid's value of `key`, "" when it has none. */
static void blkid_value(const char *key, char ret[300])
{
    char command[256];
    ret[0] = 0;
    snprintf(command, sizeof command, "blkid -p -o value -s %s %s 2>/dev/null", key, image_path);
    FILE *f = popen(command, "r");
    if (f && fgets(ret, 300, f))
        ret[strcspn(ret, "\n")] = 0;
    if (f)
        pclose(f);
}

static unsigned compared;

static void compare_signature(const char *name, struct image *im)
{
    char type[300], label[300], uuid[300];
    struct signature s;
    assert_int_equal(signature_probe(&im->d.disk, &s), 0);
    blkid_value("TYPE", type);
    if (!type[0] || !strcmp(type, "VMFS_volume_member"))
        return; /* nothing, or more than one */
    blkid_value("LABEL", label);
    blkid_value("UUID", uuid);
    compared++;
    bool shown_uuid = strcmp(s.type, "vmfs") && strcmp(s.type, "zfs") && strcmp(s.type, "hfsplus") &&
                      strcmp(s.type, "udf") && strcmp(s.type, "bitlocker");
    bool shown_label = strcmp(s.type, "exfat") && strcmp(s.type, "zfs") && strcmp(s.type, "hfsplus") &&
                       strcmp(s.type, "vmfs") && strcmp(s.type, "udf") && strcmp(s.type, "bitlocker");
    if (strcmp(blkid_type(s.type), type) || (shown_uuid && strcmp(s.uuid, uuid)) ||
        (shown_label && strcmp(s.label, label)))
        fail_msg("%s: %s \"%s\" %s, blkid: %s \"%s\" %s", name, s.type, s.label, s.uuid, type, label, uuid);
}

/* ---- FAT trees ---- */

struct tree {
    char *lines[40000];
    size_t n;
};

static void tree_add(struct tree *t, const char *path, uint64_t size, uLong crc)
{
    char line[4096];
    snprintf(line, sizeof line, "%s %llu %08lx", path, (unsigned long long)size, crc);
    assert_true(t->n < 40000);
    t->lines[t->n++] = strdup(line);
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void tree_free(struct tree *t)
{
    while (t->n)
        free(t->lines[--t->n]);
}

struct walk {
    struct volume *v;
    struct tree *t;
    char path[3000];
    unsigned depth, errors;
};

static void walk_file(struct walk *w, uint64_t ino)
{
    struct volume_file *f;
    static uint8_t buf[100000];
    uint64_t off = 0;
    size_t n;
    uLong crc = crc32(0, NULL, 0);
    assert_int_equal(w->v->ops->open(w->v, ino, &f), 0);
    int r;
    while ((r = w->v->ops->read(f, buf, sizeof buf, off, &n)) == 0 && n) {
        crc = crc32(crc, buf, (uInt)n);
        off += n;
    }
    w->v->ops->release(f);
    w->errors += r < 0;
    struct volume_attr a;
    assert_int_equal(w->v->ops->getattr(w->v, ino, &a), 0);
    if (r == 0)
        assert_int_equal(a.size, off);
    tree_add(w->t, w->path, off, crc);
}

static int walk_entry(void *ctx, const char *name, uint64_t ino, mode_t type, uint64_t next)
{
    struct walk *w = ctx;
    (void)next;
    size_t at = strlen(w->path);
    assert_null(strchr(name, '/'));
    assert_true(name[0] && strcmp(name, ".") && strcmp(name, ".."));
    if (at + strlen(name) + 2 > sizeof w->path || w->depth > 10)
        return 0; /* a loop of directories */
    sprintf(w->path + at, "/%s", name);
    w->depth++;
    if (type == S_IFDIR) {
        w->errors += w->v->ops->readdir(w->v, ino, 0, walk_entry, w) < 0;
    } else {
        walk_file(w, ino);
    }
    w->depth--;
    w->path[at] = 0;
    return 0;
}

static struct tree *nftw_tree;
static size_t nftw_base;

static int nftw_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)ftw;
    if (type != FTW_F)
        return 0;
    FILE *f = fopen(path, "r");
    static uint8_t buf[100000];
    uLong crc = crc32(0, NULL, 0);
    size_t n;
    while ((n = fread(buf, 1, sizeof buf, f)) > 0)
        crc = crc32(crc, buf, (uInt)n);
    fclose(f);
    tree_add(nftw_tree, path + nftw_base, (uint64_t)st->st_size, crc);
    return 0;
}

/* True when mtools could copy all of it. */
static bool mtools_tree(struct tree *t)
{
    char command[512], dir[80];
    snprintf(dir, sizeof dir, "%s/tree", scratch);
    snprintf(command, sizeof command,
             "rm -rf %s; mkdir %s; cd %s && MTOOLS_SKIP_CHECK=1 MTOOLSRC=/dev/null mcopy -Qmnps -i %s :: . "
             "</dev/null >/dev/null 2>&1",
             dir, dir, dir, image_path);
    bool ok = run(command) == 0;
    nftw_tree = t;
    nftw_base = strlen(dir);
    nftw(dir, nftw_file, 20, FTW_PHYS);
    return ok;
}

static void compare_fat(const char *name, struct image *im, bool sound)
{
    struct cache *cache = cache_new(1 << 20, NULL);
    struct fault fault = { 0 };
    static struct tree ours, theirs;
    struct signature s;
    struct walk w = { .t = &ours };
    assert_int_equal(signature_probe(&im->d.disk, &s), 0);
    const struct volume_driver *d = volume_driver_for(s.type);
    if (d && !strncmp(s.type, "fat", 3) && d->open(&im->d.disk, name, cache, &w.v, &fault) == 0) {
        w.errors += w.v->ops->readdir(w.v, VOLUME_ROOT, 0, walk_entry, &w) < 0;
        volume_close(w.v);
        qsort(ours.lines, ours.n, sizeof(char *), compare_lines);
        if (sound) {
            if (w.errors)
                fail_msg("%s: %u errors", name, w.errors);
            bool whole = mtools_tree(&theirs);
            qsort(theirs.lines, theirs.n, sizeof(char *), compare_lines);
            for (size_t i = 0; i < ours.n && i < theirs.n; i++)
                if (strcmp(ours.lines[i], theirs.lines[i]))
                    fail_msg("%s: \"%s\", mtools: \"%s\"", name, ours.lines[i], theirs.lines[i]);
            /* mtools goes by the count of clusters, and takes a small FAT32 for FAT12; fsck.fat agrees with
             * us */
            if (whole && !strstr(name, "fat32_small"))
                assert_int_equal(ours.n, theirs.n);
        }
        print_message("%s: %s, %zu files, %u errors\n", name, s.type, ours.n, w.errors);
    } else if (sound) {
        fail_msg("%s: %s: %s", name, s.type, fault.what);
    }
    tree_free(&ours);
    tree_free(&theirs);
    cache_free(cache);
}

/* ---- tests ---- */

/* Calls fn for each image of a directory whose name begins with `prefix`. */
static void each(const char *dir, const char *prefix, void (*fn)(const char *name, struct image *im))
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", corpus, dir);
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        struct image im;
        if (e->d_name[0] == '.' || strncmp(e->d_name, prefix, strlen(prefix)))
            continue;
        snprintf(path, sizeof path, "%s/%s/%s", corpus, dir, e->d_name);
        if (!unpack(path, &im))
            continue;
        fn(e->d_name, &im);
        drop(&im);
    }
    closedir(d);
}

static void test_signatures(void **state)
{
    (void)state;
    static const char *const dirs[] = { "fat",     "ntfs",      "ext", "xfs", "btrfs",
                                        "otherfs", "encrypted", "lvm", "iso", "vmfs" };
    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++)
        each(dirs[i], "", compare_signature);
    each("fuzz", "exfat_", compare_signature);
    print_message("%u images as blkid\n", compared);
    assert_true(compared > 40);
}

static void sound_fat(const char *name, struct image *im)
{
    if (strncmp(name, "exfat", 5))
        compare_fat(name, im, true);
}

static void damaged_fat(const char *name, struct image *im)
{
    compare_fat(name, im, false);
}

static void test_fat(void **state)
{
    (void)state;
    each("fat", "", sound_fat);
    each("fuzz", "dosfs_", damaged_fat);
}

static void test_tables(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        enum table_kind kind;
        size_t n;
        const char *note;
    } cases[] = {
        { "apm.bin", TABLE_NONE, 0, "Apple" },
        { "bsd.bin", TABLE_NONE, 0, "BSD" },
        { "ul-bsd.img.xz", TABLE_NONE, 0, "BSD" },
        { "dos_mbr.img.xz", TABLE_MBR, 1, "past the end" },
        { "gpt-512-3p.raw.gz", TABLE_GPT, 3, NULL },
        { "gpt.bin.xz", TABLE_GPT, 2, "not at the end" },
        { "gpt_esxi.bin.xz", TABLE_GPT, 5, "past the end" },
        { "mbr-4096-p1e0.bin.gz", TABLE_MBR, 1, NULL },
        { "mbr-512-p1e2.bin.gz", TABLE_MBR, 3, NULL },
        { "ul-gpt.img.xz", TABLE_GPT, 5, NULL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[1024];
        struct image im;
        struct partition_table *t;
        struct fault fault = { 0 };
        snprintf(path, sizeof path, "%s/parttable/%s", corpus, cases[i].file);
        assert_true(unpack(path, &im));
        assert_int_equal(partition_table_read(&im.d.disk, &t, &fault), 0);
        print_message("%s: kind %d, %zu partitions\n", cases[i].file, t->kind, t->n);
        for (size_t j = 0; j < t->n; j++)
            print_message("  %u: %llu+%llu %s\n", t->partitions[j].number,
                          (unsigned long long)t->partitions[j].start / 512,
                          (unsigned long long)t->partitions[j].length / 512, t->partitions[j].name);
        bool noted = !cases[i].note;
        for (size_t j = 0; j < t->notes.n; j++) {
            print_message("  %s\n", t->notes.lines[j]);
            noted |= cases[i].note && strstr(t->notes.lines[j], cases[i].note);
        }
        if (t->kind != cases[i].kind || t->n != cases[i].n || !noted)
            fail_msg("%s", cases[i].file);
        partition_table_free(t);
        drop(&im);
    }
}

int main(void)
{
    corpus = getenv("FERRYFS_CORPUS");
    if (!corpus) {
        fprintf(stderr, "skipped: FERRYFS_CORPUS is not set\n");
        return 77;
    }
    setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
    setenv("LC_ALL", "C.UTF-8", 1);
    if (run("command -v blkid mcopy xz bzip2 >/dev/null") < 0) {
        fprintf(stderr, "skipped: blkid, mcopy, xz or bzip2 is missing\n");
        return 77;
    }
    strcpy(scratch, "/tmp/ferryfs-corpus.XXXXXX");
    if (!mkdtemp(scratch))
        return 1;
    snprintf(image_path, sizeof image_path, "%s/image", scratch);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_signatures),
        cmocka_unit_test(test_fat),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", scratch);
    run(command);
    return failed;
}
