/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_TESTS_OVERLAY_POWER_H
#define FERRYFS_TESTS_OVERLAY_POWER_H
/* A machine whose power fails: stands below the overlay in place of the system's calls, lets them through,
 * and keeps beside the files what a disk would have of them. A write is on the disk for sure only after a
 * sync of its file, a name only after one of the directory; what wasn't synced when the power goes is there,
 * or not, page by page. Or, instead, one call fails. One overlay at a time. */
#include "formats/overlay-impl.h"
#include "overlay-kit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>

enum power_mode { POWER_ON, POWER_OFF_AT, POWER_FAIL_AT };
enum { POWER_FILES = 64, POWER_NAMES = 8, POWER_PAGE = 4096 };

struct power_op {
    uint64_t off, len;
    uint8_t *data; /* NULL: the file's new length is `off` */
};

struct power_file {
    ino_t ino;
    uint8_t *bytes; /* as the disk has them */
    uint64_t size;
    struct power_op *ops; /* not synced */
    size_t n_ops;
};

struct power_names {
    size_t n;
    struct {
        char name[32];
        ino_t ino;
    } name[POWER_NAMES];
};

static struct {
    enum power_mode mode;
    uint64_t at, calls; /* which call; so many there were */
    int error;          /* POWER_FAIL_AT: what it fails with */
    bool off;           /* the power has gone */
    bool failed_sync;
    uint64_t random;
    struct power_file files[POWER_FILES];
    size_t n_files;
    struct power_names names; /* as the disk has them */
    int dir_fd;
} power;

static inline struct power_file *power_file_of(int fd)
{
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    for (size_t i = 0; i < power.n_files; i++)
        if (power.files[i].ino == st.st_ino)
            return &power.files[i];
    assert_true(power.n_files < POWER_FILES);
    power.files[power.n_files] = (struct power_file){ .ino = st.st_ino };
    return &power.files[power.n_files++];
}

static inline void power_resize(struct power_file *f, uint64_t size)
{
    if (size > f->size) {
        f->bytes = realloc(f->bytes, size);
        memset(f->bytes + f->size, 0, size - f->size);
    }
    f->size = size;
}

/* `chance`: of 100, for each page. */
static inline void power_apply(struct power_file *f, unsigned chance)
{
    for (size_t i = 0; i < f->n_ops; i++) {
        struct power_op *op = &f->ops[i];
        if (!op->data && toy_random(&power.random, 100) < chance)
            power_resize(f, op->off);
        for (uint64_t done = 0; op->data && done < op->len;) {
            uint64_t n = min_u64(op->len - done, POWER_PAGE - (op->off + done) % POWER_PAGE);
            if (toy_random(&power.random, 100) < chance) {
                power_resize(f, max_u64(f->size, op->off + done + n));
                memcpy(f->bytes + op->off + done, op->data + done, n);
            }
            done += n;
        }
        free(op->data);
    }
    free(f->ops);
    f->ops = NULL;
    f->n_ops = 0;
}

static inline void power_read_names(struct power_names *ret)
{
    struct power_names names = { 0 };
    DIR *dir = fdopendir(openat(power.dir_fd, ".", O_RDONLY | O_DIRECTORY));
    for (struct dirent *e; (e = readdir(dir));) {
        if (e->d_name[0] == '.' || !strcmp(e->d_name, "lock"))
            continue;
        assert_true(names.n < POWER_NAMES);
        snprintf(names.name[names.n].name, sizeof names.name[0].name, "%.31s", e->d_name);
        names.name[names.n++].ino = e->d_ino;
    }
    closedir(dir);
    *ret = names;
}

/* False with errno: the call isn't made. */
static inline bool power_call(void)
{
    errno = EIO;
    if (power.off)
        return false;
    power.calls++;
    if (power.mode == POWER_ON || power.calls != power.at)
        return true;
    if (power.mode == POWER_OFF_AT)
        power.off = true;
    errno = power.error;
    return false;
}

static ssize_t power_pwrite(int fd, const void *buf, size_t len, off_t off)
{
    if (!power_call()) {
        if (power.off || len < POWER_PAGE || toy_random(&power.random, 2))
            return -1;
        len = POWER_PAGE; /* it fails half-way; the rest is asked for again, and fails */
        power.at = power.calls + 1;
    }
    struct power_file *f = power_file_of(fd);
    f->ops = realloc(f->ops, (f->n_ops + 1) * sizeof *f->ops);
    f->ops[f->n_ops] = (struct power_op){ .off = (uint64_t)off, .len = len, .data = malloc(len) };
    memcpy(f->ops[f->n_ops++].data, buf, len);
    return pwrite(fd, buf, len, off);
}

static int power_fallocate(int fd, int mode, off_t off, off_t len)
{
    return power_call() ? fallocate(fd, mode, off, len) : -1;
}

static int power_ftruncate(int fd, off_t len)
{
    if (!power_call())
        return -1;
    struct power_file *f = power_file_of(fd);
    f->ops = realloc(f->ops, (f->n_ops + 1) * sizeof *f->ops);
    f->ops[f->n_ops++] = (struct power_op){ .off = (uint64_t)len };
    return ftruncate(fd, len);
}

static int power_sync(int fd)
{
    if (!power_call()) {
        power.failed_sync = true;
        return -1;
    }
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    if (S_ISDIR(st.st_mode)) {
        power.dir_fd = fd;
        power_read_names(&power.names);
    } else {
        power_apply(power_file_of(fd), 100);
    }
    return 0;
}

static int power_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    power.dir_fd = to_dir;
    return power_call() ? renameat(from_dir, from, to_dir, to) : -1;
}

static const struct overlay_io power_io = {
    .pwrite = power_pwrite,
    .fallocate = power_fallocate,
    .ftruncate = power_ftruncate,
    .fdatasync = power_sync,
    .fsync = power_sync,
    .renameat = power_renameat,
};

static inline void power_reset(enum power_mode mode, uint64_t at, int error, uint64_t seed)
{
    for (size_t i = 0; i < power.n_files; i++) {
        power_apply(&power.files[i], 100);
        free(power.files[i].bytes);
    }
    memset(&power, 0, sizeof power);
    power.mode = mode;
    power.at = at;
    power.error = error;
    power.random = seed;
    power.dir_fd = -1;
}

/* What the disk has after the power went, while the overlay's directory is still open; into directory `to`.
 */
static inline void power_save(const char *to)
{
    struct power_names names = power.names, now;
    assert_int_equal(mkdir(to, 0700), 0);
    if (power.dir_fd >= 0) {
        power_read_names(&now);
        if (toy_random(&power.random, 2))
            names = now;
    }
    unsigned chance = (unsigned)toy_random(&power.random, 3) * 50; /* none, some, all */
    for (size_t i = 0; i < power.n_files; i++)
        power_apply(&power.files[i], chance);
    for (size_t i = 0; i < names.n; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/%s", to, names.name[i].name);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        assert_true(fd >= 0);
        for (size_t k = 0; k < power.n_files; k++)
            if (power.files[k].ino == names.name[i].ino)
                for (uint64_t at = 0; at < power.files[k].size; at += POWER_PAGE) {
                    size_t n = (size_t)min_u64(POWER_PAGE, power.files[k].size - at);
                    if (!ovl_is_zero(power.files[k].bytes + at, n))
                        assert_int_equal(pwrite(fd, power.files[k].bytes + at, n, (off_t)at), n);
                    else
                        assert_int_equal(ftruncate(fd, (off_t)(at + n)), 0);
                }
        close(fd);
    }
}
#endif
