/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hive-file.h"

#include "../formats/checked.h"
#include "../formats/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/types.h>

enum { COPY_CHUNK = 1 << 20 };

struct host {
    struct hive_file f;
    char *path;
    char *copy_path; /* NULL: nothing was written since the last sync */
    int fd, copy_fd;
};

static struct host *host_of(struct hive_file *f)
{
    return (struct host *)f;
}

static int pread_all(int fd, void *buf, size_t len, uint64_t off)
{
    uint8_t *p = buf;
    while (len) {
        ssize_t n = pread(fd, p, len, (off_t)off);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -EIO;
        p += n;
        off += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

static int pwrite_all(int fd, const void *buf, size_t len, uint64_t off)
{
    const uint8_t *p = buf;
    while (len) {
        ssize_t n = pwrite(fd, p, len, (off_t)off);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        p += n;
        off += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

static int host_pread(struct hive_file *f, void *buf, size_t len, uint64_t off)
{
    struct host *t = host_of(f);
    return pread_all(t->copy_fd >= 0 ? t->copy_fd : t->fd, buf, len, off);
}

static int copy_bytes(int from, int to, uint64_t size)
{
    _cleanup_free_ uint8_t *buf = malloc(COPY_CHUNK);
    if (!buf)
        return -ENOMEM;
    for (uint64_t at = 0; at < size; at += COPY_CHUNK) {
        size_t n = (size_t)min_u64(COPY_CHUNK, size - at);
        int r = pread_all(from, buf, n, at);
        if (!r)
            r = pwrite_all(to, buf, n, at);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Makes the copy that takes the writes. */
static int begin_copy(struct host *t)
{
    struct stat st;
    _cleanup_free_ char *path = NULL;
    if (t->copy_fd >= 0)
        return 0;
    if (asprintf(&path, "%s.ferryfs-XXXXXX", t->path) < 0) {
        path = NULL;
        return -ENOMEM;
    }
    _cleanup_close_ int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = copy_bytes(t->fd, fd, t->f.size);
    /* The owner can be set by root only; without, the file becomes ours, as with any editor. */
    if (!r && (fstat(t->fd, &st) < 0 || (fchown(fd, st.st_uid, st.st_gid) < 0 && errno != EPERM) ||
               fchmod(fd, st.st_mode & 07777) < 0))
        r = -errno;
    if (r < 0) {
        unlink(path);
        return r;
    }
    t->copy_fd = fd;
    fd = -1;
    t->copy_path = TAKE_PTR(path);
    return 0;
}

static int host_pwrite(struct hive_file *f, const void *buf, size_t len, uint64_t off)
{
    struct host *t = host_of(f);
    int r = begin_copy(t);
    if (!r)
        r = pwrite_all(t->copy_fd, buf, len, off);
    if (!r)
        f->size = max_u64(f->size, off + len);
    return r;
}

static int host_truncate(struct hive_file *f, uint64_t size)
{
    struct host *t = host_of(f);
    int r = begin_copy(t);
    if (r < 0)
        return r;
    if (ftruncate(t->copy_fd, (off_t)size) < 0)
        return -errno;
    f->size = size;
    return 0;
}

static int sync_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    _cleanup_free_ char *dir = slash == path ? strdup("/")
                               : slash       ? strndup(path, (size_t)(slash - path))
                                             : strdup(".");
    if (!dir)
        return -ENOMEM;
    _cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int host_sync(struct hive_file *f)
{
    struct host *t = host_of(f);
    if (t->copy_fd < 0)
        return 0;
    if (fsync(t->copy_fd) < 0 || rename(t->copy_path, t->path) < 0)
        return -errno;
    close(t->fd);
    t->fd = t->copy_fd;
    t->copy_fd = -1;
    free(t->copy_path);
    t->copy_path = NULL;
    return sync_directory(t->path);
}

static void host_close(struct hive_file *f)
{
    struct host *t = host_of(f);
    if (t->copy_path)
        unlink(t->copy_path);
    if (t->copy_fd >= 0)
        close(t->copy_fd);
    if (t->fd >= 0)
        close(t->fd);
    free(t->copy_path);
    free(t->path);
    free(t);
}

static const struct hive_file_ops host_ops = { host_pread, host_pwrite, host_truncate, host_sync,
                                               host_close };
static const struct hive_file_ops host_read_ops = { .pread = host_pread, .close = host_close };

int hive_file_open(const char *path, bool writable, struct hive_file **ret, struct fault *fault)
{
    struct stat st;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0)
        return fault_in(fault, -errno, path, "can't be opened: %s", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return fault_in(fault, S_ISDIR(st.st_mode) ? -EISDIR : -EMEDIUMTYPE, path, "not a regular file");
    struct host *t = calloc(1, sizeof *t);
    /* A rename replaces a link, not what it points to. */
    char *real = t ? realpath(path, NULL) : NULL;
    if (!real) {
        free(t);
        return fault_in(fault, -ENOMEM, path, "out of memory");
    }
    t->path = real;
    t->f = (struct hive_file){ writable ? &host_ops : &host_read_ops, (uint64_t)st.st_size, t->path };
    t->fd = fd;
    t->copy_fd = fd = -1;
    *ret = &t->f;
    return 0;
}

/* The file in the hive's directory that is called NAME and `suffix`, in any case. *ret NULL: there is none.
 */
static int open_log(const char *path, const char *suffix, bool writable, struct hive_file **ret,
                    struct fault *fault)
{
    const char *slash = strrchr(path, '/');
    _cleanup_free_ char *dir = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup("./");
    _cleanup_free_ char *want = NULL, *found = NULL;
    if (!dir || asprintf(&want, "%s%s", slash ? slash + 1 : path, suffix) < 0) {
        want = NULL;
        return fault_in(fault, -ENOMEM, path, "out of memory");
    }
    DIR *d = opendir(dir);
    if (!d)
        return 0; /* the hive can be reached, its neighbours can't be seen: as if there were none */
    for (struct dirent *e; (e = readdir(d));) {
        if (strcasecmp(e->d_name, want) || (found && strcmp(e->d_name, want)))
            continue; /* the exact name goes before others */
        free(found);
        if (asprintf(&found, "%s%s", dir, e->d_name) < 0)
            found = NULL;
    }
    closedir(d);
    return found ? hive_file_open(found, writable, ret, fault) : 0;
}

int hive_files_open(const char *path, bool writable, struct hive_files *ret, struct fault *fault)
{
    struct hive_files files = { 0 };
    int r = hive_file_open(path, writable, &files.primary, fault);
    if (!r)
        r = open_log(path, ".LOG", writable, &files.log, fault);
    if (!r)
        r = open_log(path, ".LOG1", writable, &files.log1, fault);
    if (!r)
        r = open_log(path, ".LOG2", writable, &files.log2, fault);
    if (r < 0) {
        hive_files_close(&files);
        return r;
    }
    *ret = files;
    return 0;
}

/* ---- in memory ---- */

struct memory {
    struct hive_file f;
    uint8_t *bytes;
    char *name;
};

static struct memory *memory_of(struct hive_file *f)
{
    return (struct memory *)f;
}

static int memory_pread(struct hive_file *f, void *buf, size_t len, uint64_t off)
{
    if (!range_inside(off, len, f->size))
        return -EIO;
    memcpy(buf, memory_of(f)->bytes + off, len);
    return 0;
}

static int memory_truncate(struct hive_file *f, uint64_t size)
{
    struct memory *m = memory_of(f);
    if (size > f->size) {
        uint8_t *bytes = realloc(m->bytes, size);
        if (!bytes)
            return -ENOMEM;
        memset(bytes + f->size, 0, size - f->size);
        m->bytes = bytes;
    }
    f->size = size;
    return 0;
}

static int memory_pwrite(struct hive_file *f, const void *buf, size_t len, uint64_t off)
{
    int r = range_inside(off, len, f->size) ? 0 : memory_truncate(f, off + len);
    if (!r)
        memcpy(memory_of(f)->bytes + off, buf, len);
    return r;
}

static void memory_close(struct hive_file *f)
{
    struct memory *m = memory_of(f);
    free(m->bytes);
    free(m->name);
    free(m);
}

static const struct hive_file_ops memory_ops = { memory_pread, memory_pwrite, memory_truncate, NULL,
                                                 memory_close };

int hive_file_memory(const void *data, size_t len, const char *name, struct hive_file **ret)
{
    struct memory *m = calloc(1, sizeof *m);
    if (m) {
        m->bytes = malloc(len ? len : 1);
        m->name = strdup(name);
    }
    if (!m || !m->bytes || !m->name) {
        if (m) {
            free(m->bytes);
            free(m->name);
        }
        free(m);
        return -ENOMEM;
    }
    if (len)
        memcpy(m->bytes, data, len);
    m->f = (struct hive_file){ &memory_ops, len, m->name };
    *ret = &m->f;
    return 0;
}

const uint8_t *hive_file_bytes(const struct hive_file *f)
{
    return ((const struct memory *)f)->bytes;
}
