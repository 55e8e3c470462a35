/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_VOLUME_H
#define FERRYFS_VOLUME_H
/* A guest's file system by inodes, in the shape that a FUSE low-level daemon serves. A driver is one file
 * (guest/NAME.c), one `const struct volume_driver`, and one row in volumes.c.
 *
 * Inode numbers are the driver's own, stable for the life of the volume; VOLUME_ROOT names the root
 * everywhere. All calls may come from any thread at once: a driver over a library that can't do that takes
 * its own lock, and keeps it off the reading of file data where it can. Errors are negative errnos as a file
 * system would give them; damage is EIO (never zeros, never a guess) and concerns only the file that has it.
 * Names are UTF-8 and hold no '/'; "." and ".." are neither looked up nor listed: the caller makes them. */
#include "../formats/cache.h"
#include "../formats/disk.h"
#include "../formats/fault.h"
#include "../formats/notes.h"

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

struct volume;
struct volume_file;

enum { VOLUME_ROOT = 1 };

struct volume_attr {
    mode_t mode;    /* type and permissions; of a file system without owners: 0777 for directories and files,
                       the caller applies umask */
    bool has_owner; /* uid and gid come from the file system */
    uid_t uid;
    gid_t gid;
    nlink_t nlink;
    dev_t rdev;         /* of device nodes */
    uint64_t size;      /* bytes; of a link: of its target as link() gives it */
    uint64_t allocated; /* bytes */
    struct timespec atime, mtime, ctime, birth;
};

/* What readdir calls for each entry. `type` is S_IFMT bits or 0 (unknown). `next` is the cookie that
 * continues behind this entry. Returns nonzero to stop (the entry wasn't taken). */
typedef int (*volume_emit)(void *ctx, const char *name, uint64_t ino, mode_t type, uint64_t next);

/* How a link's text is to be understood. */
enum link_style {
    LINK_POSIX,   /* slashes; absolute means from the root of this system */
    LINK_WINDOWS, /* backslashes already turned to slashes; may begin with "C:/" (letter), "/" (this volume's
                     root), or
                     "//?/Volume{guid}/"; relative otherwise */
};

struct volume_ops {
    /* `name` in dir; -ENOENT. Case rules are the file system's. */
    int (*lookup)(struct volume *v, uint64_t dir, const char *name, uint64_t *ret_ino);
    int (*getattr)(struct volume *v, uint64_t ino, struct volume_attr *ret);
    /* From `cookie` on, 0 at first. Cookies stay valid for the life of the volume. */
    int (*readdir)(struct volume *v, uint64_t dir, uint64_t cookie, volume_emit emit, void *ctx);
    /* The target as stored (Windows ones made readable, see link_style), not NUL-terminated past `size` - 1:
     * -ENAMETOOLONG. */
    int (*link)(struct volume *v, uint64_t ino, char *buf, size_t size, enum link_style *ret_style);
    int (*open)(struct volume *v, uint64_t ino, struct volume_file **ret);
    /* Up to len bytes at off; 0 at the end. Short only at the end. */
    int (*read)(struct volume_file *f, void *buf, size_t len, uint64_t off, size_t *ret_len);
    /* DATA or HOLE at off (< size), for lseek; NULL: all is data. */
    int (*map)(struct volume_file *f, uint64_t off, uint64_t len, struct extent *ret);
    void (*release)(struct volume_file *f);
    /* NUL-terminated names one after the other, as listxattr(2); *ret_len the needed size; -ERANGE when size
     * is too small and not 0. NULL: none. */
    int (*listxattr)(struct volume *v, uint64_t ino, char *buf, size_t size, size_t *ret_len);
    /* -ENODATA when there is none of that name. Sizes as above. */
    int (*getxattr)(struct volume *v, uint64_t ino, const char *name, void *buf, size_t size,
                    size_t *ret_len);
    int (*statfs)(struct volume *v, struct statvfs *ret);
    void (*close)(struct volume *v);
};

/* Drivers embed this as their first member. */
struct volume {
    const struct volume_ops *ops;
    bool caseless; /* look-ups match without case (after an exact match): no negative entries may be cached */
    struct notes notes; /* what is odd: a dirty log, a hibernated Windows; owned */
};

struct volume_file {
    struct volume *volume;
};

struct volume_driver {
    const char *name;         /* for ARCHITECTURE and messages: "ntfs" */
    const char *const *types; /* the signature types that it opens; NULL-terminated */
    /* `disk` is the volume's bytes and outlives it. `name` is for messages ("disk0p2"). Reads only what a
     * mount reads. -ENOTSUP with the reason for what we can't show. */
    int (*open)(struct disk *disk, const char *name, struct cache *cache, struct volume **ret,
                struct fault *fault);
};

/* The table of volumes.c, ending with NULL. */
extern const struct volume_driver *const volume_drivers[];
const struct volume_driver *volume_driver_for(const char *type);

static inline void volume_close(struct volume *v)
{
    if (v)
        v->ops->close(v);
}
#endif
