/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_TREE_H
#define FERRYFS_TREE_H
/* The trees of the mount. Every kind of node has a table of functions; session.c turns FUSE requests into
 * calls of them and knows nothing else. A new top-level name is one file with one `const struct toplevel`,
 * and one row in toplevel.c.
 *
 * All calls may come from any thread at once. Errors are negative errnos. */
#include "../formats/extent.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>

struct ferry;
struct node;
struct tree_ops;

/* What a node stands for. Equal ids are the same node; what a, b, c mean is the affair of ops. */
struct node_id {
    const struct tree_ops *ops;
    uint64_t a, b, c;
};

/* Called for each entry of a directory; `next` is the cookie that continues behind it. Nonzero stops. */
typedef int (*tree_emit)(void *ctx, const char *name, const struct node_id *id, mode_t type, uint64_t next);

/* An open file. Trees put their own state behind it. */
struct handle {
    const struct tree_ops *ops;
    bool direct;     /* set by open: by direct I/O, past the page cache */
    bool keep_cache; /* set by open: pages of an earlier open are still right */
    /* session.c's: */
    _Atomic bool wrote;          /* since the last flush */
    bool holds;                  /* the gate, as an open view, until it is released: a flush comes with the
                                    close of any copy of a descriptor, so it says nothing */
    struct handle *next, **link; /* session.c's list of open files */
};

/* An answer to a read that lies in memory of the tree's: sent from there, without a copy. */
enum { LOAN_PARTS = 4 };
struct loan {
    unsigned n; /* parts, one after the other; their bytes are the answer */
    struct iovec part[LOAN_PARTS];
    void *held[LOAN_PARTS];
    /* of the tree: what it wants to know again in done() */
    void *ctx;
    uint64_t next;
    void (*done)(struct loan *l); /* called when it was sent; NULL: nothing to do */
};

/* Whoever waits for an open that takes long. */
struct tree_later {
    /* Called exactly once, from any thread, with no lock held: 0 and the handle, or -errno. */
    void (*done)(struct tree_later *l, int r, struct handle *h);
    /* Was the caller interrupted? Then -EINTR is to be answered soon. */
    bool (*given_up)(struct tree_later *l);
};

/* What is created. */
struct tree_new {
    mode_t mode; /* type and permissions, umask applied */
    uid_t uid;
    gid_t gid;
    dev_t rdev;
    const char *target; /* of a link */
    mode_t masked;      /* what the umask took: for where a default ACL takes the umask's place */
};

/* Which fields of a stat are to be set. */
enum tree_set {
    TREE_SET_MODE = 1,
    TREE_SET_UID = 2,
    TREE_SET_GID = 4,
    TREE_SET_SIZE = 8,
    TREE_SET_ATIME = 16,
    TREE_SET_MTIME = 32,
};

/* How long the kernel keeps a name of a directory that `tells`. */
enum { TREE_MOMENT_MS = 100 };

/* NULL slots answer ENOSYS or what is natural (no xattrs, not a directory, read-only). */
struct tree_ops {
    const char *name;
    bool keep_parent; /* nodes of this kind need node->parent */
    bool caseless;    /* names that weren't found may be found under another case: never cached as absent */
    bool fresh; /* where there is an overlay, entries and attributes change behind the kernel's back: it asks
                   each time */
    /* Of fresh directories: every request for one that is gone is answered with ESTALE, on which the kernel
     * looks its path up anew. So a name may be kept for a moment, see session_entry(). */
    bool tells;
    bool frozen; /* with an overlay, a stat or an open commits all edits first, and what is open holds the
                    gate: see gate.h */
    int (*getattr)(struct ferry *f, const struct node *n, struct stat *ret);
    /* Instead of getattr when a name is looked up, where st_blocks takes long to find: without it, and 1, and
     * the kernel asks getattr when somebody wants to know. NULL: getattr. */
    int (*entry)(struct ferry *f, const struct node *n, struct stat *ret);
    /* directories */
    int (*lookup)(struct ferry *f, const struct node *dir, const char *name, struct node_id *ret);
    int (*readdir)(struct ferry *f, const struct node *dir, uint64_t cookie, tree_emit emit, void *ctx);
    /* links: NUL-terminated */
    int (*readlink)(struct ferry *f, const struct node *n, char *buf, size_t size);
    /* files */
    /* `flags` as open(2)'s. Writing is only asked for where there is `write`. */
    int (*open)(struct ferry *f, const struct node *n, int flags, struct handle **ret);
    /* Instead of `open`, where that takes long: it doesn't wait, and l->done is called then or later. */
    void (*open_later)(struct ferry *f, const struct node *n, struct tree_later *l);
    /* Of a `direct` handle: would the page cache do too, for who passes over holes? NULL: no. */
    bool (*either)(struct ferry *f, struct handle *h);
    int (*read)(struct ferry *f, struct handle *h, void *buf, size_t len, uint64_t off, size_t *ret_len);
    /* Is asked before `read`: true, and the loan is the answer; false, and `read` is called. NULL: false. */
    bool (*lend)(struct ferry *f, struct handle *h, size_t len, uint64_t off, struct loan *ret);
    /* DATA or HOLE at off (< size) */
    int (*map)(struct ferry *f, struct handle *h, uint64_t off, struct extent *ret);
    void (*release)(struct ferry *f, struct handle *h);
    /* any */
    int (*listxattr)(struct ferry *f, const struct node *n, char *buf, size_t size, size_t *ret_len);
    int (*getxattr)(struct ferry *f, const struct node *n, const char *name, void *buf, size_t size,
                    size_t *ret_len);
    int (*statfs)(struct ferry *f, const struct node *n, struct statvfs *ret);

    /* ---- writing; NULL: -EROFS, or what is natural ----
     * Called with the gate passed (gate.h), so never while a view is open or a commit under way; many at
     * once. Only where the mount is writable. */

    /* A file, directory, link or node by what->mode: -EEXIST. */
    int (*create)(struct ferry *f, const struct node *dir, const char *name, const struct tree_new *what,
                  struct node_id *ret);
    int (*hardlink)(struct ferry *f, const struct node *n, const struct node *dir, const char *name,
                    struct node_id *ret);
    int (*unlink)(struct ferry *f, const struct node *dir, const char *name);
    int (*rmdir)(struct ferry *f, const struct node *dir, const char *name);
    /* flags: 0, RENAME_NOREPLACE, RENAME_EXCHANGE. Both directories are of these ops, else session.c says
     * EXDEV. */
    int (*rename)(struct ferry *f, const struct node *dir, const char *name, const struct node *new_dir,
                  const char *new_name, unsigned flags);
    /* TREE_SET_* of `st`; `h` is the open file if it was given by one, else NULL. */
    int (*setattr)(struct ferry *f, const struct node *n, const struct stat *st, unsigned which,
                   struct handle *h);
    int (*write)(struct ferry *f, struct handle *h, const void *buf, size_t len, uint64_t off);
    /* For each close(2) of a descriptor; its error is close's. Called without the gate unless something was
     * written through the handle. */
    int (*flush)(struct ferry *f, struct handle *h);
    int (*fallocate)(struct ferry *f, struct handle *h, int mode, uint64_t off, uint64_t len);
    int (*setxattr)(struct ferry *f, const struct node *n, const char *name, const void *value, size_t size,
                    int flags);
    int (*removexattr)(struct ferry *f, const struct node *n, const char *name);
};

/* One name in the root of the mount. */
struct toplevel {
    const char *name;
    mode_t type;                      /* S_IFDIR or S_IFREG */
    bool (*present)(struct ferry *f); /* NULL: always. What the source doesn't have is absent. */
    int (*id)(struct ferry *f, struct node_id *ret);
};

/* The table of toplevel.c, ending with NULL, and the root's own functions. */
extern const struct toplevel *const toplevels[];
extern const struct tree_ops root_ops;

/* ---- what trees have in common (tree.c) ---- */

/* Owner, permissions and times of a thing of ours (not of the guest's): mode is type | 0777 or 0666 before
 * umask. */
void tree_fill_attr(const struct ferry *f, mode_t mode, uint64_t ino, struct stat *ret);
/* A number for st_ino that is the same in every mount. */
uint64_t tree_ino(uint64_t a, uint64_t b, uint64_t c);

/* A file that is a text in memory. */
struct text {
    char *bytes; /* owned */
    size_t n;
};
/* One that may be replaced by a newer one while somebody reads it; it never changes itself. */
struct shared_text {
    _Atomic unsigned refs;
    struct text text;
};
/* Takes `bytes` (made by malloc) over. NULL: no memory, and they are freed. */
struct shared_text *shared_text_new(char *bytes);
struct shared_text *shared_text_ref(struct shared_text *t);
void shared_text_unref(struct shared_text *t); /* NULL is fine */
int text_read(const struct text *t, void *buf, size_t len, uint64_t off, size_t *ret_len);
#endif
