/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files of the host: the user's SOURCE, and what it refers to.
 *
 * Confinement. A referred name is opened with O_PATH (which runs no driver and follows links as open(2)
 * does); then the path that the kernel reached is asked from /proc/self/fd and must lie in a trusted
 * directory; then the very same inode is opened for reading through /proc/self/fd. There is no moment at
 * which a link could be swapped. */
#include "file.h"
#include "checked.h"
#include "host-map.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

struct file_host {
    struct file file;
    int fd;
    bool device; /* a block device may refer to nothing */
    char *dir;   /* resolved directory that it lies in */
    const struct trust *trust;
    struct host_map map;
};

static struct file_host *host_of(struct file *f)
{
    return (struct file_host *)(void *)f;
}

/* ---- trust ---- */

int trust_add(struct trust *trust, const char *dir, struct fault *fault)
{
    char *real = realpath(dir, NULL);
    if (!real)
        return fault_in(fault, -errno, dir, "no such trusted directory: %s", strerror(errno));
    if (!strcmp(real, "/"))
        real[0] = 0;
    char **dirs = realloc(trust->dirs, (trust->n + 1) * sizeof *dirs);
    if (!dirs) {
        free(real);
        return fault_in(fault, -ENOMEM, dir, "out of memory");
    }
    trust->dirs = dirs;
    trust->dirs[trust->n++] = real;
    return 0;
}

void trust_done(struct trust *trust)
{
    for (size_t i = 0; i < trust->n; i++)
        free(trust->dirs[i]);
    free(trust->dirs);
    *trust = (struct trust){ 0 };
}

static bool trust_covers(const struct trust *trust, const char *path)
{
    for (size_t i = 0; i < trust->n; i++) {
        size_t n = strlen(trust->dirs[i]);
        if (!strncmp(path, trust->dirs[i], n) && path[n] == '/')
            return true;
    }
    return false;
}

/* ---- reading ---- */

static int host_pread(struct file *f, void *buf, size_t len, uint64_t off)
{
    uint8_t *p = buf;
    while (len) {
        ssize_t n = pread(host_of(f)->fd, p, len, (off_t)off);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == ENOMEM ? -ENOMEM : -EIO;
        if (n == 0)
            return -EIO; /* it was longer when we opened it */
        p += n;
        off += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

static int host_map(struct file *f, uint64_t off, uint64_t len, struct extent *ret)
{
    host_map_at(&host_of(f)->map, off, len, ret);
    return 0;
}

static bool host_map_stays(struct file *f)
{
    return host_of(f)->map.asking != HOST_SEEK;
}

static void host_advise(struct file *f, uint64_t off, uint64_t len)
{
    posix_fadvise(host_of(f)->fd, (off_t)off, (off_t)len, POSIX_FADV_WILLNEED);
}

static void host_close(struct file *f)
{
    struct file_host *h = host_of(f);
    host_map_done(&h->map);
    close(h->fd);
    free(h->dir);
    free(h);
}

static int host_open_ref(struct file *f, const char *role, const char *name, struct file **ret,
                         struct fault *fault);

static char *fd_path(int fd);

static int host_place(struct file *f, struct file_place *ret)
{
    *ret = (struct file_place){ .path = fd_path(host_of(f)->fd), .length = f->size, .whole = true };
    ret->device = host_of(f)->device;
    return ret->path ? 0 : -errno;
}

static const struct file_ops host_ops = {
    .name = "host",
    .place = host_place,
    .pread = host_pread,
    .map = host_map,
    .map_stays = host_map_stays,
    .advise = host_advise,
    .open_ref = host_open_ref,
    .close = host_close,
};

/* ---- opening ---- */

/* The path that the kernel reached for an open descriptor; NULL with errno. */
static char *fd_path(int fd)
{
    char link[32], buf[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, buf, sizeof buf - 1);
    if (n < 0)
        return NULL;
    buf[n] = 0;
    return strdup(buf);
}

static int reopen(int path_fd)
{
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", path_fd);
    return open(link, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
}

static int host_size(int fd, const struct stat *st, uint64_t *ret)
{
    if (S_ISREG(st->st_mode)) {
        *ret = (uint64_t)st->st_size;
        return 0;
    }
    return ioctl(fd, BLKGETSIZE64, ret) < 0 ? -errno : 0;
}

/* Makes a file of an O_PATH descriptor whose place was already judged. Takes ownership of nothing. */
static int host_from_path_fd(int path_fd, const char *real, const char *name, const struct trust *trust,
                             struct file **ret, struct fault *fault)
{
    struct stat st;
    if (fstat(path_fd, &st) < 0)
        return fault_in(fault, -errno, name, "can't be examined: %s", strerror(errno));
    if (S_ISDIR(st.st_mode))
        return fault_in(fault, -EISDIR, name, "is a directory");
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return fault_in(fault, -EMEDIUMTYPE, name, "is neither a file nor a block device");
    _cleanup_close_ int fd = reopen(path_fd);
    if (fd < 0)
        return fault_in(fault, -errno, name, "can't be opened: %s", strerror(errno));
    uint64_t size;
    int r = host_size(fd, &st, &size);
    if (r < 0)
        return fault_in(fault, r, name, "its size can't be read: %s", strerror(-r));

    struct file_host *h = calloc(1, sizeof *h);
    char *copy = strdup(name);
    const char *slash = strrchr(real, '/');
    char *dir = slash ? strndup(real, (size_t)(slash - real)) : NULL;
    if (!h || !copy || !dir) {
        free(h);
        free(copy);
        free(dir);
        return fault_in(fault, -ENOMEM, name, "out of memory");
    }
    h->file = (struct file){ .ops = &host_ops, .refs = 1, .size = size, .name = copy };
    h->file.id = (struct file_id){ .dev = st.st_dev, .ino = st.st_ino, .mtime = st.st_mtim };
    h->device = S_ISBLK(st.st_mode);
    h->dir = dir;
    h->trust = trust;
    h->fd = fd;
    host_map_init(&h->map, fd, size);
    fd = -1;
    *ret = &h->file;
    return 0;
}

int file_open_source(const char *path, const struct trust *trust, struct file **ret, struct fault *fault)
{
    _cleanup_close_ int path_fd = open(path, O_PATH | O_CLOEXEC);
    if (path_fd < 0 && errno == ENOENT)
        return fault_in(fault, -ENOENT, path, "no such file");
    if (path_fd < 0)
        return fault_in(fault, -errno, path, "can't be opened: %s", strerror(errno));
    _cleanup_free_ char *real = fd_path(path_fd);
    if (!real)
        return fault_in(fault, -EIO, path, "its place can't be found out: is /proc mounted?");
    return host_from_path_fd(path_fd, real, path, trust, ret, fault);
}

/* Who names a file, as what, and how: for messages. */
struct referral {
    const char *from, *role, *name;
};

/* Opens a path that came from elsewhere than the user, if it leads to a trusted place. */
static int open_confined(const char *path, const struct referral *by, const struct trust *trust,
                         struct file **ret, struct fault *fault)
{
    _cleanup_close_ int path_fd = open(path, O_PATH | O_CLOEXEC);
    if (path_fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return fault_in(fault, -ENOENT, by->from, "the %s \"%s\" is missing", by->role, by->name);
    if (path_fd < 0)
        return fault_in(fault, -errno, by->from, "the %s \"%s\" can't be opened: %s", by->role, by->name,
                        strerror(errno));
    _cleanup_free_ char *real = fd_path(path_fd);
    if (!real)
        return fault_in(fault, -EIO, by->from,
                        "the place of the %s \"%s\" can't be found out: is /proc mounted?", by->role,
                        by->name);
    if (!trust_covers(trust, real)) {
        fault_in(fault, -EPERM, by->from, "the %s \"%s\" lies outside the source's directory", by->role,
                 real);
        return fault_hint(fault, -EPERM, "-o trust=DIR allows a directory that you trust");
    }
    return host_from_path_fd(path_fd, real, path, trust, ret, fault);
}

int file_open_inside(const char *dir, const char *name, const struct trust *trust, struct file **ret,
                     struct fault *fault)
{
    _cleanup_free_ char *path = NULL;
    size_t n = strlen(dir);
    if (asprintf(&path, "%s%s%s", dir, n && dir[n - 1] == '/' ? "" : "/", name) < 0) {
        path = NULL;
        return fault_in(fault, -ENOMEM, dir, "out of memory");
    }
    return open_confined(path, &(struct referral){ dir, "file", name }, trust, ret, fault);
}

static int host_open_ref(struct file *f, const char *role, const char *name, struct file **ret,
                         struct fault *fault)
{
    struct file_host *h = host_of(f);
    if (h->device)
        return fault_in(fault, -EPERM, f->name,
                        "a block device may refer to no other file, but names the %s \"%s\"", role, name);
    _cleanup_free_ char *path = NULL;
    if (asprintf(&path, "%s%s%s", name[0] == '/' ? "" : h->dir, name[0] == '/' ? "" : "/", name) < 0) {
        path = NULL;
        return fault_in(fault, -ENOMEM, f->name, "out of memory");
    }
    return open_confined(path, &(struct referral){ f->name, role, name }, h->trust, ret, fault);
}
