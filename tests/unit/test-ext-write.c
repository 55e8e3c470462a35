/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing ext2/3/4: random operations held against a model, with e2fsck after each batch and debugfs at the
 * end, over the layouts that mke2fs makes; full disks; dirty journals and orphans put into the disk.
 *
 * MODEL_STEPS and MODEL_SEED in the environment make the runs longer and repeatable. */
#include "unit.h"

#include "scratchdisk.h"
#include "guest/ext.h"
#include "volume-model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

static char scratch[] = "/tmp/ferryfs-extw-XXXXXX";

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

static int make_scratch(void **state)
{
    (void)state;
    setenv("PATH", "/usr/sbin:/sbin:/usr/bin:/bin", 1);
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
    int r = ext_driver.open_writable(&s->disk.disk, "disk0", s->cache, 0, &s->v, &fault);
    if (r)
        print_error("%s\n", fault.what);
    assert_int_equal(r, 0);
}

static void session_close(struct session *s)
{
    volume_close(s->v);
    cache_free(s->cache);
    disk_close(&s->disk.disk);
}

static void check(const char *image)
{
    if (run("e2fsck -fn %s >%s/fsck 2>&1", image, scratch)) {
        run("cat %s/fsck >&2", scratch);
        fail();
    }
    /* remarks that don't count as errors count here */
    assert_int_not_equal(run("grep -E 'IGNORED|Fix\\?|WARNING' %s/fsck >&2", scratch), 0);
}

static unsigned env(const char *name, unsigned otherwise)
{
    const char *s = getenv(name);
    return s ? (unsigned)strtoul(s, NULL, 0) : otherwise;
}

static unsigned model_run(const char *options, const char *size, unsigned features, unsigned shrink)
{
    char image[128];
    if (!have_tools()) {
        print_message("SKIP: needs mke2fs, debugfs and e2fsck\n");
        skip();
    }
    snprintf(image, sizeof image, "%s/image", scratch);
    assert_int_equal(run("rm -f %s && mke2fs -q -F %s %s %s >/dev/null", image, options, image, size), 0);
    unsigned seed = env("MODEL_SEED", 1), steps = env("MODEL_STEPS", UNIT_SANITIZED ? 750 : 4000);
    print_message("mke2fs %s: MODEL_SEED=%u\n", options, seed);
    struct model *m = model_new(features, seed);
    model_shrink(m, shrink);
    struct session s;
    session_open(&s, image);
    assert_string_equal(s.v->read_only_why, "");
    assert_true(s.v->writable);
    /* lost+found isn't the model's */
    assert_int_equal(s.v->ops->rmdir(s.v, VOLUME_ROOT, "lost+found"), 0);
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
    assert_int_equal(
        run("cd %s && rm -rf a b && mkdir a b && debugfs -R 'rdump / a' image >debugfs 2>&1", scratch), 0);
    char dir[128];
    snprintf(dir, sizeof dir, "%s/b", scratch);
    model_extract(m, dir);
    /* special files aren't extracted without root; their names don't count */
    assert_int_equal(run("cd %s && find a \\( -type p -o -type c \\) -delete; chmod -R u+rwX a b;"
                         "diff -r --no-dereference a b >diff 2>&1 || { cat diff debugfs >&2; false; }",
                         scratch),
                     0);
    unsigned full = model_full(m);
    model_free(m);
    return full;
}

static const unsigned everything = MODEL_LINKS | MODEL_OWNERS | MODEL_XATTRS | MODEL_HOLES | MODEL_EXCHANGE;

static void test_ext4(void **state)
{
    (void)state;
    model_run("-t ext4", "64M", everything, 30);
}

static void test_ext4_1k(void **state)
{
    (void)state;
    model_run("-t ext4 -b 1024 -I 256 -O metadata_csum_seed,orphan_file", "16M", everything, 30);
}

static void test_ext4_no_csum(void **state)
{
    (void)state;
    model_run("-t ext4 -O ^metadata_csum,uninit_bg,^64bit -I 128", "48M", everything, 30);
}

static void test_ext3(void **state)
{
    (void)state;
    model_run("-t ext3 -b 1024", "24M", everything, 30);
}

static void test_ext2(void **state)
{
    (void)state;
    model_run("-t ext2 -b 2048", "32M", everything, 30);
}

static void test_full(void **state)
{
    (void)state;
    assert_int_not_equal(model_run("-t ext4 -b 1024 -O ^has_journal -N 128", "1200K", everything, 12), 0);
}

/* A transaction that debugfs put into the journal, and an orphan that it made. */
static void test_recovery(void **state)
{
    (void)state;
    char image[128];
    struct session s;
    if (!have_tools()) {
        print_message("SKIP: needs mke2fs, debugfs and e2fsck\n");
        skip();
    }
    snprintf(image, sizeof image, "%s/image", scratch);
    assert_int_equal(
        run("cd %s && rm -rf image src && mkdir src && head -c 4096 /dev/zero | tr '\\0' a >src/f &&"
            " head -c 4096 /dev/zero | tr '\\0' b >new && head -c 50000 /dev/zero >src/gone &&"
            " mke2fs -q -F -t ext4 -b 4096 -d src image 32M >/dev/null",
            scratch),
        0);
    assert_int_equal(run("cd %s && ino=$(debugfs -R 'stat gone' image 2>/dev/null | sed -n 's/^Inode: "
                         "\\([0-9]*\\).*/\\1/p') &&"
                         " debugfs -w -R 'unlink gone' image 2>/dev/null && debugfs -w -R \"sif <$ino> "
                         "links_count 0\" image"
                         " 2>/dev/null && debugfs -w -R \"ssv last_orphan $ino\" image 2>/dev/null &&"
                         " b=$(debugfs -R 'blocks f' image 2>/dev/null) &&"
                         " printf 'jo\\njw -b %%d new\\njc\\n' $b | debugfs -w image >/dev/null 2>&1 &&"
                         " dumpe2fs -h image 2>/dev/null | grep -q needs_recovery",
                         scratch),
                     0);
    session_open(&s, image);
    assert_string_equal(s.v->read_only_why, "");
    assert_true(s.v->writable);
    assert_int_equal(s.v->ops->sync(s.v), 0);
    session_close(&s);
    check(image);
    assert_int_equal(
        run("cd %s && debugfs -R 'cat f' image 2>/dev/null | cmp - new && ! dumpe2fs -h image 2>/dev/null |"
            " grep -E 'needs_recovery|First orphan'",
            scratch),
        0);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const features[] = { "quota",       "project",  "casefold", "encrypt", "verity",
                                            "inline_data", "bigalloc", "ea_inode", "mmp" };
    char image[128];
    if (!have_tools()) {
        print_message("SKIP: needs mke2fs, debugfs and e2fsck\n");
        skip();
    }
    snprintf(image, sizeof image, "%s/image", scratch);
    for (size_t k = 0; k < sizeof features / sizeof *features; k++) {
        struct session s;
        assert_int_equal(
            run("rm -f %s && mke2fs -q -F -t ext4 -O %s %s 32M >/dev/null 2>&1", image, features[k], image),
            0);
        session_open(&s, image);
        assert_false(s.v->writable);
        assert_non_null(strstr(s.v->read_only_why, features[k]));
        assert_int_equal(s.disk.writes, 0); /* nothing was tried */
        session_close(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ext4),     cmocka_unit_test(test_ext4_1k), cmocka_unit_test(test_ext4_no_csum),
        cmocka_unit_test(test_ext3),     cmocka_unit_test(test_ext2),    cmocka_unit_test(test_full),
        cmocka_unit_test(test_recovery), cmocka_unit_test(test_refused),
    };
    cmocka_set_test_filter(getenv("TEST_FILTER")); /* one of them by its name */
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
