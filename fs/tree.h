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
    bool either;     /* set by open: with `direct`, the page cache would do too: session.c chooses */
    bool keep_cache; /* set by open: pages of an earlier open are still right */
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

/* NULL slots answer ENOSYS or what is natural (no xattrs, not a directory). */
struct tree_ops {
    const char *name;
    bool keep_parent; /* nodes of this kind need node->parent */
    bool caseless;    /* names that weren't found may be found under another case: never cached as absent */
    int (*getattr)(struct ferry *f, const struct node *n, struct stat *ret);
    /* directories */
    int (*lookup)(struct ferry *f, const struct node *dir, const char *name, struct node_id *ret);
    int (*readdir)(struct ferry *f, const struct node *dir, uint64_t cookie, tree_emit emit, void *ctx);
    /* links: NUL-terminated */
    int (*readlink)(struct ferry *f, const struct node *n, char *buf, size_t size);
    /* files */
    int (*open)(struct ferry *f, const struct node *n, struct handle **ret);
    /* Instead of `open`, where that takes long: it doesn't wait, and l->done is called then or later. */
    void (*open_later)(struct ferry *f, const struct node *n, struct tree_later *l);
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

/* A file that is a text in memory. `make` returns it (owned by the ferry, never changing), or -errno. */
struct text {
    char *bytes;
    size_t n;
};
int text_read(const struct text *t, void *buf, size_t len, uint64_t off, size_t *ret_len);
#endif
