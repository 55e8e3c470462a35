/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing FAT12, FAT16 and FAT32: random operations held against a model, with fsck.vfat after each batch and
 * mtools at the end; names; full disks.
 *
 * MODEL_STEPS and MODEL_SEED in the environment make the runs longer and repeatable. */
#include "unit.h"

#include "scratchdisk.h"
#include "guest/fat.h"
#include "volume-model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

extern const struct volume_driver fat_driver;
static char scratch[] = "/tmp/ferryfs-fatw-XXXXXX";

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

static int make_scratch(void **state)
{
    (void)state;
    setenv("PATH", "/usr/sbin:/sbin:/usr/bin:/bin", 1);
    setenv("LC_ALL", "C.UTF-8", 1);
    return mkdtemp(scratch) ? 0 : -1;
}

static int remove_scratch(void **state)
{
    (void)state;
    return run("rm -rf '%s'", scratch);
}

struct session {
    struct scratchdisk disk;
    struct cache *cache;
    struct volume *v;
};

static void session_open(struct session *s, const char *image)
{
    struct fault fault = { 0 };
    assert_int_equal(scratchdisk_open(&s->disk, image), 0);
    s->cache = cache_new(4 << 20, NULL);
    assert_int_equal(fat_driver.open_writable(&s->disk.disk, "disk0", s->cache, 0, &s->v, &fault), 0);
    assert_string_equal(s->v->read_only_why, "");
    assert_true(s->v->writable);
}

static void session_close(struct session *s)
{
    volume_close(s->v);
    cache_free(s->cache);
    disk_close(&s->disk.disk);
}

static void check(const char *image)
{
    /* a head, a line of counts, and nothing between them */
    if (run("fsck.vfat -n %s >%s/fsck 2>&1 && test $(wc -l <%s/fsck) -eq 2", image, scratch, scratch)) {
        run("cat %s/fsck >&2", scratch);
        fail();
    }
}

static unsigned env(const char *name, unsigned otherwise)
{
    const char *s = getenv(name);
    return s ? (unsigned)strtoul(s, NULL, 0) : otherwise;
}

static void image_make(const char *options, const char *size, char image[128])
{
    if (run("command -v mkfs.vfat fsck.vfat mcopy >/dev/null")) {
        print_message("SKIP: needs mkfs.vfat, fsck.vfat and mtools\n");
        skip();
    }
    snprintf(image, 128, "%s/image", scratch);
    assert_int_equal(run("rm -f %s && truncate -s %s %s && mkfs.vfat %s %s >/dev/null", image, size, image,
                         options, image),
                     0);
}

/* The volume's files into the directory `a`, by mtools. mtools 4.0.32 takes the last cluster of a FAT12
 * volume, the number of clusters plus 1, for one too many, and then reads nothing; only where it says just
 * that, 7-Zip has to do. */
static void extract(void)
{
    if (!run("cd %s && { test -z \"$(ls b)\" || mcopy -s -n -i image '::*' a >mtools 2>&1; }", scratch))
        return;
    assert_int_equal(
        run("cd %s && n=$(fsck.vfat -nv image | sed -n 's/^ *\\([0-9]*\\) data clusters.*/\\1/p' ) &&"
            " grep -q \"^Cluster # at [0-9]* too big($(printf 0x%%x $((n + 1))))\" mtools &&"
            " rm -rf a && 7z x -y -oa image >7z 2>&1 || { cat mtools >&2; false; }",
            scratch),
        0);
    print_message("mtools can't read the last cluster of FAT12; read by 7z\n");
}

static unsigned model_run(const char *options, const char *size, unsigned shrink)
{
    char image[128], dir[128];
    image_make(options, size, image);
    unsigned seed = env("MODEL_SEED", 1), steps = env("MODEL_STEPS", UNIT_SANITIZED ? 1000 : 5000);
    print_message("mkfs.vfat %s: MODEL_SEED=%u\n", options, seed);
    struct model *m = model_new(MODEL_CASELESS | MODEL_EXCHANGE, seed);
    model_shrink(m, shrink);
    struct session s;
    session_open(&s, image);
    model_attach(m, s.v);
    for (unsigned n = 1; n <= steps; n++) {
        model_step(m);
        if (n % 250 == 0) {
            assert_int_equal(s.v->ops->sync(s.v), 0);
            check(image);
            model_compare(m);
        }
        if (n % 1000 == 0) {
            model_detach(m);
            assert_int_equal(s.v->ops->sync(s.v), 0);
            session_close(&s);
            check(image);
            session_open(&s, image);
            model_attach(m, s.v);
            model_compare(m);
        }
    }
    model_detach(m);
    assert_int_equal(s.v->ops->sync(s.v), 0);
    session_close(&s);
    check(image);
    snprintf(dir, sizeof dir, "%s/b", scratch);
    assert_int_equal(run("cd %s && rm -rf a b && mkdir a b", scratch), 0);
    model_extract(m, dir);
    extract();
    assert_int_equal(run("cd %s && diff -r a b >diff 2>&1 || { cat diff >&2; false; }", scratch), 0);
    unsigned full = model_full(m);
    model_free(m);
    return full;
}

static void test_fat12(void **state)
{
    (void)state;
    model_run("-F 12 -s 8", "11M", 35);
}

static void test_fat16(void **state)
{
    (void)state;
    model_run("-F 16 -s 4", "40M", 30);
}

static void test_fat32(void **state)
{
    (void)state;
    model_run("-F 32 -s 1", "64M", 30);
}

static void test_full(void **state)
{
    (void)state;
    assert_int_not_equal(model_run("-F 12 -s 1 -r 112", "1440K", 12), 0);
}

/* What is listed and what mtools shows for names of all kinds. */
static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *name, *alias; /* as stored: 8.3, without a dot */
        uint8_t slots;
    } names[] = {
        { "README.TXT", "README  TXT", 1 },      { "readme2.txt", "README2 TXT", 1 },
        { "Makefile", "MAKEFI~1   ", 2 },        { "a long name.html", "ALONGN~1HTM", 3 },
        { "a long name.htm", "ALONGN~2HTM", 3 }, { ".profile", "PROFIL~1   ", 2 },
        { "x.tar.gz", "XTAR~1  GZ ", 2 },        { "LOWER.ext", "LOWER   EXT", 1 },
        { "n\303\244me", "N_ME~1     ", 2 },     { "thirteen-char", "THIRTE~1   ", 2 },
    };
    char image[128];
    struct session s;
    image_make("-F 16 -s 4", "40M", image);
    session_open(&s, image);
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        struct volume_new what = { .mode = S_IFREG | 0644 };
        uint64_t ino, again;
        assert_int_equal(s.v->ops->create(s.v, VOLUME_ROOT, names[k].name, &what, &ino), 0);
        assert_int_equal(s.v->ops->create(s.v, VOLUME_ROOT, names[k].name, &what, &again), -EEXIST);
        struct fat_dir d;
        struct fat_name f;
        assert_int_equal(fat_dir_open((struct fat *)(void *)s.v, VOLUME_ROOT, 0, &d), 0);
        bool seen = false;
        while (fat_dir_next(&d, &f) == 1) {
            if (strcmp(f.name, names[k].name) != 0)
                continue;
            seen = true;
            assert_memory_equal(f.entry.raw_name, names[k].alias, 11);
            assert_int_equal(f.slots, names[k].slots);
            assert_int_equal(f.ino, ino);
        }
        fat_dir_done(&d);
        assert_true(seen);
    }
    static const char *const bad[] = { "a:b", "a*", "que?", "dot.", "blank ", "tab\t", "\"", "<", "|" };
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        struct volume_new what = { .mode = S_IFREG | 0644 };
        uint64_t ino;
        assert_int_equal(s.v->ops->create(s.v, VOLUME_ROOT, bad[k], &what, &ino), -EINVAL);
    }
    static const mode_t none[] = { S_IFLNK, S_IFCHR, S_IFIFO };
    for (size_t k = 0; k < 3; k++) {
        struct volume_new what = { .mode = none[k] | 0644, .target = "x" };
        uint64_t ino;
        assert_int_equal(s.v->ops->create(s.v, VOLUME_ROOT, "z", &what, &ino), -EPERM);
    }
    assert_int_equal(s.v->ops->rename(s.v, VOLUME_ROOT, "makefile", VOLUME_ROOT, "MAKEFILE", 0), 0);
    assert_int_equal(s.v->ops->sync(s.v), 0);
    session_close(&s);
    check(image);
    assert_int_equal(run("mdir -b -i %s | grep -q '^::/MAKEFILE$'", image), 0);
}

/* A write that can't be done changes nothing, and 4 GiB are too much. */
static void test_limits(void **state)
{
    (void)state;
    static uint8_t buf[1 << 20];
    char image[128];
    struct session s;
    struct volume_new what = { .mode = S_IFREG | 0644 };
    struct volume_file *f;
    struct volume_attr a;
    uint64_t ino;
    image_make("-F 12 -s 1", "1440K", image);
    session_open(&s, image);
    assert_int_equal(s.v->ops->create(s.v, VOLUME_ROOT, "f", &what, &ino), 0);
    assert_int_equal(s.v->ops->open(s.v, ino, &f), 0);
    assert_int_equal(s.v->ops->write(f, buf, 1000, 0), 0);
    assert_int_equal(s.v->ops->write(f, buf, sizeof buf, 1 << 20), -ENOSPC);
    assert_int_equal(s.v->ops->write(f, buf, 2, UINT32_MAX - 1), -EFBIG);
    s.disk.writes_left = 0; /* the overlay is full */
    assert_int_equal(s.v->ops->write(f, buf, 5000, 1000), -ENOSPC);
    s.disk.writes_left = -1;
    assert_int_equal(s.v->ops->getattr(s.v, ino, &a), 0);
    assert_int_equal(a.size, 1000);
    s.v->ops->release(f);
    assert_int_equal(s.v->ops->sync(s.v), 0);
    session_close(&s);
    check(image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names), cmocka_unit_test(test_limits), cmocka_unit_test(test_fat12),
        cmocka_unit_test(test_fat16), cmocka_unit_test(test_fat32),  cmocka_unit_test(test_full),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
