/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "formats/bytes.h"
#include "filedisk.h"
#include "guest/volume.h"
#include "unit.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char dir[] = "/tmp/ntfs-write-XXXXXX", image[64];
static struct filedisk disk;
static struct cache *cache;
static struct volume *volume;

static int run(const char *fmt, ...)
{
    char cmd[1000];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(cmd, sizeof cmd, fmt, ap);
    va_end(ap);
    int r = system(cmd);
    return WIFEXITED(r) ? WEXITSTATUS(r) : -1;
}

static void test_first(void **state)
{
    (void)state;
    struct fault fault = { 0 };
    snprintf(image, sizeof image, "%s/v", dir);
    assert_int_equal(run("truncate -s 64M %s && mkntfs -q -F -Q %s >/dev/null 2>&1", image, image), 0);
    assert_true(filedisk_open(&disk, image));
    assert_int_equal(volume_driver_for("ntfs")->open_writable(&disk.disk, "v", cache, 0, &volume, &fault), 0);
    printf("%s\n", volume->read_only_why);
    assert_true(volume->writable);
    struct volume_new file = { .mode = S_IFREG | 0644 }, d = { .mode = S_IFDIR | 0755 };
    uint64_t ino, sub;
    assert_int_equal(volume->ops->create(volume, VOLUME_ROOT, "hello", &file, &ino), 0);
    assert_int_equal(volume->ops->create(volume, VOLUME_ROOT, "HELLO", &file, &sub), -EEXIST);
    assert_int_equal(volume->ops->create(volume, VOLUME_ROOT, "sub", &d, &sub), 0);
    struct volume_file *f;
    assert_int_equal(volume->ops->open(volume, ino, &f), 0);
    char buf[100000], back[100000];
    memset(buf, 'x', sizeof buf);
    assert_int_equal(volume->ops->write(f, buf, sizeof buf, 5), 0);
    size_t n;
    assert_int_equal(volume->ops->read(f, back, sizeof back, 0, &n), 0);
    assert_int_equal(n, sizeof back);
    assert_memory_equal(buf, back + 5, n - 5);
    assert_int_equal(volume->ops->rename(volume, VOLUME_ROOT, "hello", sub, "hi", 0), 0);
    assert_int_equal(volume->ops->unlink(volume, sub, "hi"), 0);
    volume->ops->release(f);
    assert_int_equal(volume->ops->create(volume, sub, "again", &file, &ino), 0);
    assert_int_equal(volume->ops->setxattr(volume, ino, "user.x", "abc", 3, 0), 0);
    assert_int_equal(volume->ops->sync(volume), 0);
    assert_int_equal(run("ntfsfix -n %s", image), 0);
    assert_int_equal(run("ntfsresize -fi %s", image), 0);
    assert_int_equal(run("ntfsls -l %s", image), 0);
    volume_close(volume);
    disk_close(&disk.disk);
}

int main(void)
{
    if (!mkdtemp(dir))
        return 1;
    cache = cache_new(8 << 20, NULL);
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_first) };
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    cache_free(cache);
    run("rm -r %s", dir);
    return r;
}
