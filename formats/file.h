/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_FILE_H
#define FERRYFS_FILE_H
/* Something that holds an image's bytes: a host file, a block device, a member of a tar. Read-only and taken
 * as immutable. All calls on one file may run in parallel, and none holds a lock over I/O.
 *
 * A file also knows where it lies, so that what its content refers to (extents, parents, backing files) is
 * found beside it and nowhere else: see file_open_ref(). */
#include "cleanup.h"
#include "extent.h"
#include "fault.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

struct file;

/* The directories in which referred files may lie. Filled before the first file is opened with it, constant
 * after; outlives every file opened with it. */
struct trust {
    char **dirs; /* resolved, absolute, without a trailing slash ("/" is "") */
    size_t n;
};

/* Adds a directory after resolving it. -errno of realpath, with a fault. */
int trust_add(struct trust *trust, const char *dir, struct fault *fault);
void trust_done(struct trust *trust);

/* What tells one file from another, and one state of it from a later one. */
struct file_id {
    dev_t dev;
    ino_t ino;
    uint64_t offset; /* where the content begins in the host file (members of a tar) */
    struct timespec mtime;
};

/* The bytes of a host file that are a file's content. */
struct file_place {
    char *path; /* owned; absolute, with links resolved; NULL: the content lies nowhere as it is */
    uint64_t offset, length;
    bool whole;  /* it is the whole host file */
    bool device; /* the host file is a block device */
};

struct file_ops {
    const char *name;
    /* The range lies in the file. Fills all of buf or returns -errno (EIO: shorter than it was). */
    int (*pread)(struct file *f, void *buf, size_t len, uint64_t off);
    /* DATA or HOLE at off; NULL: all is data. */
    int (*map)(struct file *f, uint64_t off, uint64_t len, struct extent *ret);
    /* See file_map_stays(). NULL: not known. */
    bool (*map_stays)(struct file *f);
    /* Hint that the range is read soon; may be NULL. */
    void (*advise)(struct file *f, uint64_t off, uint64_t len);
    int (*open_ref)(struct file *f, const char *role, const char *name, struct file **ret,
                    struct fault *fault);
    /* Where it lies, if it does; the caller frees the path. -ENOMEM, or any other. NULL: nowhere. */
    int (*place)(struct file *f, struct file_place *ret);
    void (*close)(struct file *f);
};

struct file {
    const struct file_ops *ops;
    atomic_uint refs;
    uint64_t size; /* bytes */
    char *name;    /* for messages: the path as the user knows it, or "web01.ova(web01-disk1.vmdk)" */
    struct file_id id;
};

/* Opens the user's SOURCE: a regular file or a block device. Adds nothing to `trust`; keeps a pointer to it.
 * A block device can refer to nothing. EISDIR for a directory, EMEDIUMTYPE for anything else. */
int file_open_source(const char *path, const struct trust *trust, struct file **ret, struct fault *fault);

/* Opens a file that was found in the user's directory `dir`: it may be a link, so unlike a SOURCE it must lie
 * in a trusted place. Errors as file_open_ref(). */
int file_open_inside(const char *dir, const char *name, const struct trust *trust, struct file **ret,
                     struct fault *fault);

/* A part of a file as a file of its own (a tar's member). Takes its own reference of `parent`. References are
 * opened by `open_ref` with `ctx`, or refused when it is NULL. `name` is copied. */
typedef int (*file_open_ref_fn)(void *ctx, struct file *from, const char *role, const char *name,
                                struct file **ret, struct fault *fault);
int file_slice_new(struct file *parent, uint64_t off, uint64_t len, const char *name,
                   file_open_ref_fn open_ref, void *ctx, struct file **ret);

/* Bytes in memory as a file, for tests and fuzz targets. Copies `data`. Its open_ref says ENOENT to
 * everything. */
int file_memory_new(const void *data, size_t len, const char *name, struct file **ret);

struct file *file_ref(struct file *f);
void file_unref(struct file *f);
DEFINE_CLEANUP(struct file *, file_unref)

/* All or nothing. -ENODATA when the range isn't inside the file (truncated), -EIO when the device failed. */
int file_pread(struct file *f, void *buf, size_t len, uint64_t off);
/* file_pread with the fault filled in: "the file ends before WHAT" / "can't be read". */
int file_pread_what(struct file *f, void *buf, size_t len, uint64_t off, const char *what,
                    struct fault *fault);
/* The extent at `off` (< size), at most `len` bytes of it; kind is DATA or HOLE, the effort that of asking
 * the file system. */
enum { EFFORT_ASKING = 6 };
int file_map(struct file *f, uint64_t off, uint64_t len, struct extent *ret);
/* Is what file_map() says the same whatever was read? Some file systems call unwritten zeros data once they
 * are in the page cache; where that can't be, a hole may be read instead of asked for. */
bool file_map_stays(struct file *f);
/* Whether there is any hole; true when the file system can't say. */
bool file_has_holes(struct file *f);
void file_advise(struct file *f, uint64_t off, uint64_t len);

/* Opens a file that the content of `f` refers to. `name` is a path with slashes, relative to the directory of
 * `f` or absolute; it must, after resolving links, lie in a trusted directory. `role` says what it is to `f`
 * in messages
 * ("extent", "parent"). -ENOENT missing, -EPERM outside the trusted directories, -EACCES no permission. */
int file_open_ref(struct file *f, const char *role, const char *name, struct file **ret, struct fault *fault);
/* ret->path is NULL where the content lies nowhere as it is (it is inflated, or put together of parts), or
 * its path can't be found out. -ENOMEM. */
int file_place(struct file *f, struct file_place *ret);
/* Do both have the same content by identity (not by name)? For loops in chains. */
bool file_same(const struct file *a, const struct file *b);
#endif
