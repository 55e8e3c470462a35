/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_TESTS_NTFS_WRITABLE_H
#define FERRYFS_TESTS_NTFS_WRITABLE_H
/* An NTFS volume made by mkntfs in a temporary file, opened for writing, and judged by programs we did not
 * write (ntfsfix, ntfsresize) and by one that shares nothing with the driver (tests/tools/ntfs-walk.c). */
#include "filedisk.h"
#include "guest/volume.h"
#include "unit.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char work[64], image[80];
static struct filedisk disk;
static struct cache *cache;
static struct volume *volume;

static inline __attribute__((format(printf, 1, 2))) int run(const char *fmt, ...)
{
    char cmd[1000];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(cmd, sizeof cmd, fmt, ap);
    va_end(ap);
    int r = system(cmd);
    return WIFEXITED(r) ? WEXITSTATUS(r) : -1;
}

/* Makes the directory for everything, and the cache. 0, or 77: mkntfs is missing. */
static inline int begin(void)
{
    snprintf(work, sizeof work, "%s/ferryfs-ntfs-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (run("command -v mkntfs ntfsfix ntfsresize >/dev/null")) {
        fprintf(stderr, "skipped: mkntfs is missing\n");
        return 77;
    }
    if (!mkdtemp(work))
        return 1;
    snprintf(image, sizeof image, "%s/volume", work);
    cache = cache_new(4 << 20, NULL);
    return 0;
}

static inline void end(void)
{
    cache_free(cache);
    run("rm -r %s", work);
}

static inline void make_volume(const char *size, const char *options)
{
    run("rm -f %s", image);
    assert_int_equal(
        run("truncate -s %s %s && mkntfs -q -F -Q %s %s >%s/mkntfs 2>&1 || { cat %s/mkntfs; false; }", size,
            image, options, image, work, work),
        0);
}

static inline void open_volume(unsigned flags)
{
    struct fault fault = { 0 };
    assert_true(filedisk_open(&disk, image));
    assert_int_equal(
        volume_driver_for("ntfs")->open_writable(&disk.disk, "volume", cache, flags, &volume, &fault), 0);
}

static inline void close_volume(void)
{
    volume_close(volume);
    disk_close(&disk.disk);
    volume = NULL;
}

/* What lies in the image is sound by itself. */
static inline void check_image(void)
{
    if (run("%s %s >%s/walk 2>&1 || { head -30 %s/walk; false; }", getenv("NTFS_WALK"), image, work, work))
        fail_msg("ntfs-walk complains");
    if (run("ntfsfix -n %s >%s/fix 2>&1 || { cat %s/fix; false; }", image, work, work))
        fail_msg("ntfsfix complains");
    if (run("ntfsresize -fi --no-progress-bar %s >%s/resize 2>&1 || { cat %s/resize; false; }", image, work,
            work))
        fail_msg("ntfsresize complains");
}

static inline void sync_and_check(void)
{
    assert_int_equal(volume->ops->sync(volume), 0);
    check_image();
}
#endif
