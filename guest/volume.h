/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_VOLUME_H
#define FERRYFS_VOLUME_H
/* A guest's file system by inodes, in the shape that a FUSE low-level daemon serves. A driver is one file
 * (guest/NAME.c), one `const struct volume_driver`, and one row in volumes.c.
 *
 * Inode numbers are the driver's own, stable for the life of the volume (a rename keeps them), and never
 * given to another file in that time (so a driver whose file system reuses numbers puts a generation into the
 * upper bits); VOLUME_ROOT names the root everywhere. All calls may come from any thread at once: a driver
 * over a library that can't do that takes its own lock, and keeps it off the reading of file data where it
 * can. Errors are negative errnos as a file system would give them; damage is EIO (never zeros, never a
 * guess) and concerns only the file that has it. Names are UTF-8 and hold no '/'; "." and ".." are neither
 * looked up nor listed: the caller makes them. */
#include "../formats/cache.h"
#include "../formats/disk.h"
#include "../formats/fault.h"
#include "../formats/notes.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

struct volume;
struct volume_file;
struct volume_new;

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

/* What pieces calls for a range of the volume's disk. `at`: the byte of the content that lies there, or
 * PIECE_RECORD. */
enum { PIECE_RECORD = -1 };
typedef int (*volume_piece)(void *ctx, uint64_t off, uint64_t len, int64_t at);

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
    /* Where on the volume's disk a file or directory lies, once synced: calls fn for each place, its content
     * in order (what a record holds of it, too), and its records (inode, MFT record or entry, trees of
     * extents, attributes kept elsewhere), until one returns nonzero, which ends it (and is 0). As long as no
     * byte of its records has changed, nothing is elsewhere than it was. `fn` takes no lock. NULL, -ENOTSUP:
     * can't be told. */
    int (*pieces)(struct volume *v, uint64_t ino, volume_piece fn, void *ctx);
    int (*statfs)(struct volume *v, struct statvfs *ret);
    void (*close)(struct volume *v);

    /* ---- writing ----
     * Only called while the volume is writable (see volume_writable). NULL: -EROFS (what the file system
     * can't do at all is -EPERM or -ENOTSUP). What an error leaves behind is consistent: done, or as it was.
     * No space: -ENOSPC. The caller has checked that names are 1-255 UTF-16 units or bytes and hold no '/'
     * and no NUL. */

    /* A file, directory, link or node, by what->mode. -EEXIST. */
    int (*create)(struct volume *v, uint64_t dir, const char *name, const struct volume_new *what,
                  uint64_t *ret_ino);
    int (*hardlink)(struct volume *v, uint64_t ino, uint64_t dir, const char *name);
    /* Of anything but a directory. A file that is open lives on, nameless, until its last release. */
    int (*unlink)(struct volume *v, uint64_t dir, const char *name);
    int (*rmdir)(struct volume *v, uint64_t dir, const char *name); /* -ENOTEMPTY */
    /* As renameat2(2), replacing what has the new name; flags: 0, RENAME_NOREPLACE; RENAME_EXCHANGE may be
     * -EINVAL. A name that differs in case only is changed. */
    int (*rename)(struct volume *v, uint64_t dir, const char *name, uint64_t new_dir, const char *new_name,
                  unsigned flags);
    /* The fields of `a` that `which` names (SET_*). What the file system has nowhere to keep is dropped. */
    int (*setattr)(struct volume *v, uint64_t ino, const struct volume_attr *a, unsigned which);
    /* All of it or -errno. */
    int (*write)(struct volume_file *f, const void *buf, size_t len, uint64_t off);
    /* As fallocate(2); NULL: -EOPNOTSUPP. */
    int (*fallocate)(struct volume_file *f, int mode, uint64_t off, uint64_t len);
    int (*setxattr)(struct volume *v, uint64_t ino, const char *name, const void *value, size_t size,
                    int flags);
    int (*removexattr)(struct volume *v, uint64_t ino, const char *name); /* -ENODATA */
    /* All that the driver holds in memory goes to the disk, so that what lies there is consistent by itself:
     * a checker would find nothing, though open files that have no name any more may be there, to be freed by
     * `recover`. Called with no other call under way. */
    int (*sync)(struct volume *v);
    /* Frees files that were unlinked while open when the machine (or we) went down. Called once after the
     * open of a writable volume; NULL: nothing to do. */
    int (*recover)(struct volume *v);
};

/* setattr's fields */
enum volume_set {
    SET_MODE = 1,
    SET_UID = 2,
    SET_GID = 4,
    SET_SIZE = 8,
    SET_ATIME = 16,
    SET_MTIME = 32,
    SET_CTIME = 64,
    SET_BIRTH = 128,
};

/* What is created. */
struct volume_new {
    mode_t mode; /* type and permissions, umask applied */
    uid_t uid;
    gid_t gid;
    dev_t rdev;         /* of device nodes */
    const char *target; /* of a link: its text as given */
    mode_t masked;      /* what the umask took from the mode: a default ACL in the directory gives it back */
};

/* Drivers embed this as their first member. */
struct volume {
    const struct volume_ops *ops;
    bool caseless; /* look-ups match without case (after an exact match): no negative entries may be cached */
    struct notes notes; /* what is odd: a dirty log, a hibernated Windows; owned */
    /* Set by open. Empty and `writable`: it may be written. Else why it can't be written safely (a dirty log,
     * hibernation, unknown feature flags), whether or not writing was asked for. */
    bool writable;
    /* A commit is under way, alone: what it writes into files may take the last of the host's room. */
    atomic_bool committing;
    char read_only_why[256];
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
    /* The same for writing, where `disk` can be written; NULL: the driver only reads. What can't be written
     * safely is opened for reading, with read_only_why. */
    int (*open_writable)(struct disk *disk, const char *name, struct cache *cache, unsigned flags,
                         struct volume **ret, struct fault *fault);
};

enum volume_open_flags { VOLUME_DISCARD_HIBERNATION = 1 };

/* The table of volumes.c, ending with NULL. */
extern const struct volume_driver *const volume_drivers[];
const struct volume_driver *volume_driver_for(const char *type);

static inline void volume_close(struct volume *v)
{
    if (v)
        v->ops->close(v);
}
#endif
