/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A library to preload: of the calls that change files in one directory, the n-th fails, or its process dies
 * at it.
 *
 *     FAIL_IO_DIR     the directory, as realpath(1) prints it; without it nothing is done
 *     FAIL_IO_HOW     count (only log), kill, ENOSPC or EIO
 *     FAIL_IO_AT      which call, from 1
 *     FAIL_IO_TIMES   so many calls fail in a row (1); 0: all from there on
 *     FAIL_IO_HALF    1: half of that write is done before, or all of another call before its process dies
 *     FAIL_IO_ARM     calls count once this file is there (else from the beginning)
 *     FAIL_IO_LOG     a file that gets a line for each call that failed; with `count` for each call
 *
 * What programs call are the names that <unistd.h> gives them with 64-bit offsets; so it is built with the
 * same. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum how { OFF, COUNT, KILL, FAIL };

static struct {
    enum how how;
    int error;
    unsigned long at, times; /* times 0: for ever */
    bool half;
    const char *dir, *arm, *log;
    size_t dir_n;
    atomic_ulong calls;
    atomic_bool armed, cut_short; /* cut_short: half of a write was done, so the next one fails */
} plan;

static unsigned long number(const char *name, unsigned long otherwise)
{
    const char *s = getenv(name);
    return s ? strtoul(s, NULL, 10) : otherwise;
}

__attribute__((constructor)) static void begin(void)
{
    const char *how = getenv("FAIL_IO_HOW");
    plan.dir = getenv("FAIL_IO_DIR");
    if (!plan.dir || !how)
        return;
    plan.dir_n = strlen(plan.dir);
    plan.arm = getenv("FAIL_IO_ARM");
    if (plan.arm && !*plan.arm)
        plan.arm = NULL;
    plan.log = getenv("FAIL_IO_LOG");
    plan.at = number("FAIL_IO_AT", 1);
    plan.times = number("FAIL_IO_TIMES", 1);
    plan.half = number("FAIL_IO_HALF", 0);
    plan.error = strcmp(how, "ENOSPC") ? EIO : ENOSPC;
    plan.how = !strcmp(how, "count") ? COUNT : !strcmp(how, "kill") ? KILL : FAIL;
    plan.armed = !plan.arm;
}

/* The name of the file below the directory, "." for itself; NULL: it lies elsewhere. */
static const char *name_below(int fd, char path[PATH_MAX])
{
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    if (n < (ssize_t)plan.dir_n || memcmp(path, plan.dir, plan.dir_n) != 0)
        return NULL;
    path[n] = 0;
    return !path[plan.dir_n] ? "." : path[plan.dir_n] == '/' ? path + plan.dir_n + 1 : NULL;
}

static void note(unsigned long n, const char *call, const char *name)
{
    char line[300];
    int len = snprintf(line, sizeof line, "%lu %s %s\n", n, call, name);
    int fd = plan.log ? open(plan.log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1;
    if (fd < 0)
        return;
    if (len > 0)
        syscall(SYS_write, fd, line, (size_t)len);
    close(fd);
}

static bool is_armed(void)
{
    if (!plan.armed && access(plan.arm, F_OK) == 0)
        plan.armed = true;
    return plan.armed;
}

/* Counts a call: whether it is one that fails, or that its process dies at. */
static bool is_hit(const char *call, const char *name)
{
    if (!name || !is_armed())
        return false;
    unsigned long n = atomic_fetch_add(&plan.calls, 1) + 1;
    bool hit = plan.how != COUNT && n >= plan.at && (!plan.times || n - plan.at < plan.times);
    hit |= plan.cut_short && !strcmp(call, "pwrite");
    if (hit || plan.how == COUNT)
        note(n, call, name);
    return hit;
}

static void die(void)
{
    for (;;) {
        kill(getpid(), SIGKILL);
        pause();
    }
}

static long fail(void)
{
    if (plan.how == KILL)
        die();
    errno = plan.error;
    return -1;
}

static bool is_hit_fd(const char *call, int fd)
{
    char path[PATH_MAX];
    return plan.how && is_hit(call, name_below(fd, path));
}

static bool is_hit_at(const char *call, int dir_fd, const char *name)
{
    char path[PATH_MAX];
    if (!plan.how)
        return false;
    if (*name != '/')
        return dir_fd != AT_FDCWD && name_below(dir_fd, path) && is_hit(call, name);
    size_t n = plan.dir_n;
    return !strncmp(name, plan.dir, n) && name[n] == '/' && is_hit(call, name + n + 1);
}

ssize_t pwrite(int fd, const void *buf, size_t n, off_t off)
{
    if (!is_hit_fd("pwrite", fd))
        return syscall(SYS_pwrite64, fd, buf, n, off);
    /* as the kernel does: a write that ends early is no error, the next one is */
    if (!plan.half || n < 2 || atomic_exchange(&plan.cut_short, false))
        return fail();
    ssize_t done = syscall(SYS_pwrite64, fd, buf, n / 2, off);
    if (plan.how == KILL)
        die();
    plan.cut_short = true;
    return done;
}

/* All other calls: done before its process dies, with `half`. */
#define OTHER(hit, ...)                                                                                      \
    do {                                                                                                     \
        bool hit_ = (hit);                                                                                   \
        if (hit_ && !(plan.how == KILL && plan.half))                                                        \
            return (int)fail();                                                                              \
        int r_ = (int)syscall(__VA_ARGS__);                                                                  \
        if (hit_)                                                                                            \
            die();                                                                                           \
        return r_;                                                                                           \
    } while (0)

int fdatasync(int fd)
{
    OTHER(is_hit_fd("fdatasync", fd), SYS_fdatasync, fd);
}

int fsync(int fd)
{
    OTHER(is_hit_fd("fsync", fd), SYS_fsync, fd);
}

int ftruncate(int fd, off_t size)
{
    OTHER(is_hit_fd("ftruncate", fd), SYS_ftruncate, fd, size);
}

int fallocate(int fd, int mode, off_t off, off_t len)
{
    OTHER(is_hit_fd("fallocate", fd), SYS_fallocate, fd, mode, off, len);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    OTHER(is_hit_at("renameat", to_fd, to), SYS_renameat2, from_fd, from, to_fd, to, 0);
}

int rename(const char *from, const char *to)
{
    OTHER(is_hit_at("rename", AT_FDCWD, to), SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int openat(int dir_fd, const char *name, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    bool creates = flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE;
    mode_t mode = creates ? va_arg(more, mode_t) : 0;
    va_end(more);
    OTHER(flags & O_CREAT && is_hit_at("openat", dir_fd, name), SYS_openat, dir_fd, name, flags | O_LARGEFILE,
          mode);
}
