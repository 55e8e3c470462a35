/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Listing directories: what a tree's readdir gives, in the kernel's form, with attributes where it asks for
 * them. */
#define FUSE_USE_VERSION 312
#include "session-ops.h"

#include "../formats/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Cookies: 0 begins with ".", 1 goes on with "..", 2 + c is the tree's own cookie c. */
enum { DOTS = 2 };

struct item {
    struct node_id id;
    mode_t type;
    uint64_t next;
    const char *name;
};

/* The tree calls back with its locks held, so entries are only gathered, and attributes asked for afterwards.
 */
struct gathering {
    struct item *items;
    size_t n, room;
    char *names; /* of all items, one after the other */
    size_t names_used, names_room;
};

/* A name of NTFS has up to 765 bytes of UTF-8. The kernel takes it, though limits.h says 255. */
enum { NAME_BYTES = 1024 };

/* The least that an entry takes in the kernel's form, with a name of up to eight bytes. Gathering more than
 * the answer can hold would be work for nothing. */
enum { PLAIN_BYTES = 24 + 8, PLUS_BYTES = 128 + PLAIN_BYTES };

static int gather(void *ctx, const char *name, const struct node_id *id, mode_t type, uint64_t next)
{
    struct gathering *g = ctx;
    size_t n = strlen(name) + 1;
    if (n > NAME_BYTES)
        return 0; /* the kernel has no room for it, and no way to name it */
    if (g->n >= g->room || n > g->names_room - g->names_used)
        return 1;
    char *copy = memcpy(g->names + g->names_used, name, n);
    g->names_used += n;
    g->items[g->n++] = (struct item){ .id = *id, .type = type, .next = next + DOTS, .name = copy };
    return 0;
}

struct listing {
    fuse_req_t req;
    struct ferry *ferry;
    struct node *dir;
    bool plus;
    char *buf;
    size_t used, size;
};

static bool put_plain(struct listing *l, const char *name, const struct stat *st, uint64_t next)
{
    size_t n = fuse_add_direntry(l->req, l->buf + l->used, l->size - l->used, name, st, (off_t)next);
    if (n > l->size - l->used)
        return false;
    l->used += n;
    return true;
}

/* The stat of an entry whose attributes can't be had: it is listed, and whoever asks for it gets the error.
 */
static bool put_plus(struct listing *l, const char *name, const struct node_id *id, mode_t type,
                     uint64_t next)
{
    struct fuse_entry_param e = { 0 };
    if (!id || session_entry(l->ferry, l->dir, id, &e) < 0) {
        e = (struct fuse_entry_param){ 0 };
        e.attr.st_mode = type;
        e.attr.st_ino = id ? tree_ino(16 + id->a, id->b, id->c) : 1;
    }
    size_t n = fuse_add_direntry_plus(l->req, l->buf + l->used, l->size - l->used, name, &e, (off_t)next);
    if (n > l->size - l->used) {
        if (e.ino)
            node_forget(l->ferry->nodes, session_node(l->ferry, e.ino), 1);
        return false;
    }
    l->used += n;
    return true;
}

static bool put(struct listing *l, const char *name, const struct node_id *id, mode_t type, uint64_t next)
{
    struct node_id found;
    if (l->plus && id && !id->ops) { /* the directory doesn't tell what it is */
        id = l->dir->id.ops->lookup(l->ferry, l->dir, name, &found) == 0 ? &found : NULL;
    }
    if (l->plus)
        return put_plus(l, name, id, type, next);
    struct stat st = { .st_mode = type, .st_ino = id ? tree_ino(16 + id->a, id->b, id->c) : 1 };
    return put_plain(l, name, &st, next);
}

static int list(struct listing *l, uint64_t off)
{
    if (off == 0 && !put(l, ".", NULL, S_IFDIR, 1))
        return 0;
    if (off <= 1 && !put(l, "..", NULL, S_IFDIR, DOTS))
        return 0;
    struct gathering g = { .room = l->size / (l->plus ? PLUS_BYTES : PLAIN_BYTES) + 1,
                           .names_room = l->size + NAME_BYTES };
    _cleanup_free_ struct item *items = g.items = malloc(g.room * sizeof *g.items);
    _cleanup_free_ char *names = g.names = malloc(g.names_room);
    if (!items || !names)
        return -ENOMEM;
    /* What came before an error is given; the request that goes on behind it meets the error at once. */
    int r = l->dir->id.ops->readdir(l->ferry, l->dir, off > DOTS ? off - DOTS : 0, gather, &g);
    for (size_t i = 0; i < g.n; i++)
        if (!put(l, items[i].name, &items[i].id, items[i].type, items[i].next))
            break;
    return l->used ? 0 : r;
}

static void reply_list(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, bool plus)
{
    struct ferry *f = session_ferry(req);
    struct listing l = { .req = req, .ferry = f, .dir = session_node(f, ino), .plus = plus, .size = size };
    if (!l.dir->id.ops->readdir || off < 0) {
        fuse_reply_err(req, ENOTDIR);
        return;
    }
    if (l.size > 65536)
        l.size = 65536;
    l.buf = malloc(l.size);
    int r = l.buf ? list(&l, (uint64_t)off) : -ENOMEM;
    if (r < 0)
        session_error(req, r);
    else
        fuse_reply_buf(req, l.buf, l.used);
    free(l.buf);
}

void session_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    (void)fi;
    reply_list(req, ino, size, off, false);
}

void session_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    (void)fi;
    reply_list(req, ino, size, off, true);
}

void session_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct ferry *f = session_ferry(req);
    struct node *dir = session_node(f, ino);
    struct stat st;
    int r = 0;
    /* Without an overlay no directory ever changes: the kernel may keep each, and need not ask again before
     * it opens one. */
    if (!f->overlay)
        r = -ENOSYS;
    else if (dir->id.ops->tells) /* while the path can still be looked up anew */
        r = dir->id.ops->getattr(f, dir, &st);
    if (r < 0)
        session_error(req, r);
    else
        fuse_reply_open(req, fi);
}
