/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Open files of an NTFS volume, and reading them.
 *
 * All handles of a file share one node, and that holds one view of the file's content: its runlist or value,
 * copied out of the library (struct ntfs_data), constant, counted. Reading takes a view and needs neither the
 * volume's lock nor the library.
 *
 *     handle ─┐                           node.changes   even: `view` is how the file lies on the disk
 *     handle ─┴─ node ── view (counted)                  odd: somebody who has the volume's lock changes that
 *
 * Whoever changes a file (a write, another size) holds the volume's lock, counts `changes` up before and
 * after, and takes the view away. A reader reads with the view that he has, then looks whether the count is
 * still what it was: if not, the clusters may have been another file's in the meantime, and he reads again.
 * After a few times of that he reads with the volume's lock held, so that a busy writer can't keep him out.
 */
#include "ntfs.h"

#include "../formats/checked.h"

#include <errno.h>

enum { TRIES = 4 }; /* readings without the lock */

struct view {
    atomic_uint refs;
    struct ntfs_data data;
};

struct ntfs_node {
    struct ntfs_node *next; /* in its bucket; protected by nodes_lock */
    uint64_t ino;           /* constant */
    size_t opens;           /* protected by nodes_lock */
    bool gone; /* it has lost its last name, and lies under a hidden one; protected by the volume's lock */
    atomic_ullong changes;
    pthread_mutex_t lock; /* protects `view`; nothing is locked, or done, while it is held */
    struct view *view;    /* a reference; NULL: to be loaded. Changed with the volume's lock held too */
};

struct ntfs_file {
    struct volume_file file; /* first */
    struct ntfs_node *node;
};

static struct ntfs_node *node_of(const struct volume_file *f)
{
    return ((const struct ntfs_file *)(const void *)f)->node;
}

uint64_t ntfs_file_ino(const struct volume_file *f)
{
    return node_of(f)->ino;
}

/* ---- views ---- */

int ntfs_load_file(struct ntfs *v, ntfs_inode *ni, struct ntfs_data *ret)
{
    struct ntfs_special s;
    int r = ntfs_special_of(v, ni, &s);
    if (r < 0)
        return r;
    if (!S_ISREG(s.type))
        return S_ISDIR(s.type) ? -EISDIR : -EINVAL;
    if (s.tag == NTFS_TAG_WOF) {
        r = ntfs_wof_load(v, ni, ret);
        if (r != -EIO)
            return r;
        s.data_error = r;
    }
    if (s.data_error) { /* its $DATA says nothing: reads fail, but it can be opened and looked at */
        *ret = (struct ntfs_data){ .ntfs = v, .error = s.data_error };
        ret->size = ni->data_size > 0 ? (uint64_t)ni->data_size : 0;
        return 0;
    }
    r = ntfs_data_load(v, ni, AT_DATA, AT_UNNAMED, 0, ret);
    if (r == -ENODATA) /* a file without $DATA */
        r = -EIO;
    if (!r)
        ret->holes_elsewhere = s.holes_elsewhere;
    return r;
}

static void put_view(struct view *view)
{
    if (view && atomic_fetch_sub(&view->refs, 1) == 1) {
        ntfs_data_done(&view->data);
        free(view);
    }
}

/* The node's view, or NULL; *ret_changes is the count that belongs to it. */
static struct view *get_view(struct ntfs_node *n, unsigned long long *ret_changes)
{
    pthread_mutex_lock(&n->lock);
    struct view *view = n->view;
    *ret_changes = atomic_load(&n->changes);
    if (view)
        atomic_fetch_add(&view->refs, 1);
    pthread_mutex_unlock(&n->lock);
    return view;
}

/* Puts another view in place (NULL: none); takes over the reference. Locked. */
static void set_view(struct ntfs_node *n, struct view *view)
{
    pthread_mutex_lock(&n->lock);
    struct view *old = n->view;
    n->view = view;
    pthread_mutex_unlock(&n->lock);
    put_view(old);
}

/* Locked. */
static int load_view(struct ntfs *v, struct ntfs_node *n)
{
    if (n->view)
        return 0;
    struct view *view = calloc(1, sizeof *view);
    if (!view)
        return -ENOMEM;
    ntfs_inode *ni;
    int r = ntfs_get_inode(v, n->ino, &ni);
    if (!r)
        r = ntfs_put_inode(ni, ntfs_load_file(v, ni, &view->data));
    if (r < 0) {
        free(view);
        return r;
    }
    atomic_init(&view->refs, 1);
    set_view(n, view);
    return 0;
}

/* ---- nodes ---- */

static struct ntfs_node **bucket_of(struct ntfs *v, uint64_t ino)
{
    return &v->nodes[MREF(ino) % NTFS_NODE_BUCKETS];
}

/* NULL: it isn't open. nodes_lock is held. */
static struct ntfs_node *find_locked(struct ntfs *v, uint64_t ino)
{
    struct ntfs_node *n = *bucket_of(v, ino);
    while (n && n->ino != ino)
        n = n->next;
    return n;
}

/* Of a volume that is written, the volume's lock keeps it there. */
static struct ntfs_node *find_node(struct ntfs *v, uint64_t ino)
{
    pthread_mutex_lock(&v->nodes_lock);
    struct ntfs_node *n = find_locked(v, ino);
    pthread_mutex_unlock(&v->nodes_lock);
    return n;
}

static struct ntfs_node *node_new(uint64_t ino)
{
    struct ntfs_node *n = calloc(1, sizeof *n);
    if (!n)
        return NULL;
    n->ino = ino;
    pthread_mutex_init(&n->lock, NULL);
    atomic_init(&n->changes, 0);
    return n;
}

/* The node of `ino`, one opening more; made if there is none. NULL: no memory. Locked. */
static struct ntfs_node *open_node(struct ntfs *v, uint64_t ino)
{
    pthread_mutex_lock(&v->nodes_lock);
    struct ntfs_node *n = find_locked(v, ino);
    if (!n && (n = node_new(ino))) {
        n->next = *bucket_of(v, ino);
        *bucket_of(v, ino) = n;
    }
    if (n)
        n->opens++;
    pthread_mutex_unlock(&v->nodes_lock);
    return n;
}

/* One opening less: was it the last? Then nobody finds the node any more. */
static bool last_closed(struct ntfs *v, struct ntfs_node *n)
{
    pthread_mutex_lock(&v->nodes_lock);
    bool last = !--n->opens;
    struct ntfs_node **at = bucket_of(v, n->ino);
    while (last && *at != n)
        at = &(*at)->next;
    if (last)
        *at = n->next;
    pthread_mutex_unlock(&v->nodes_lock);
    return last;
}

/* Locked, if the volume is written. What can't be freed now is found by the next recover(). */
static void close_node(struct ntfs *v, struct ntfs_node *n)
{
    if (!last_closed(v, n))
        return;
    set_view(n, NULL);
    if (n->gone)
        ntfs_delete_gone(v, n->ino);
    pthread_mutex_destroy(&n->lock);
    free(n);
}

struct ntfs_node *ntfs_change_begin(struct ntfs *v, uint64_t ino)
{
    struct ntfs_node *n = find_node(v, ino);
    if (n) {
        atomic_fetch_add(&n->changes, 1);
        set_view(n, NULL);
    }
    return n;
}

void ntfs_change_end(struct ntfs_node *n)
{
    if (n)
        atomic_fetch_add(&n->changes, 1);
}

bool ntfs_is_open(struct ntfs *v, uint64_t ino)
{
    return find_node(v, ino);
}

bool ntfs_is_gone(struct ntfs *v, uint64_t ino)
{
    struct ntfs_node *n = find_node(v, ino);
    return n && n->gone;
}

void ntfs_set_gone(struct ntfs *v, uint64_t ino)
{
    struct ntfs_node *n = find_node(v, ino);
    if (n)
        n->gone = true;
}

/* ---- volume_ops ---- */

int ntfs_open_file(struct volume *volume, uint64_t ino, struct volume_file **ret)
{
    struct ntfs *v = ntfs_of(volume);
    struct ntfs_file *f = calloc(1, sizeof *f);
    if (!f)
        return -ENOMEM;
    f->file.volume = volume;
    ntfs_lock(v);
    f->node = open_node(v, ino);
    int r = f->node ? load_view(v, f->node) : -ENOMEM;
    if (!r)
        ntfs_data_ahead(&f->node->view->data);
    if (r < 0 && f->node)
        close_node(v, f->node);
    ntfs_unlock(v);
    if (r < 0)
        free(f);
    else
        *ret = &f->file;
    return r;
}

void ntfs_release_file(struct volume_file *f)
{
    struct ntfs *v = ntfs_of(f->volume);
    bool writable = v->volume.writable;
    if (writable) /* else a release, which nobody waits for, would keep a look-up waiting */
        ntfs_lock(v);
    close_node(v, node_of(f));
    if (writable)
        ntfs_unlock(v);
    free(f);
}

/* get_view(), with a view that isn't there loaded first. */
static int need_view(struct ntfs *v, struct ntfs_node *n, struct view **ret, unsigned long long *ret_changes)
{
    *ret = get_view(n, ret_changes);
    if (*ret)
        return 0;
    ntfs_lock(v);
    int r = load_view(v, n);
    if (!r)
        *ret = get_view(n, ret_changes);
    ntfs_unlock(v);
    return r;
}

int ntfs_read_file(struct volume_file *f, void *buf, size_t len, uint64_t off, size_t *ret_len)
{
    struct ntfs *v = ntfs_of(f->volume);
    struct ntfs_node *n = node_of(f);
    int r = 0;
    for (int i = 0; i < TRIES && !r; i++) {
        unsigned long long changes;
        struct view *view;
        r = need_view(v, n, &view, &changes);
        if (r < 0)
            return r;
        r = ntfs_data_read(&view->data, buf, len, off, ret_len);
        put_view(view);
        if (atomic_load(&n->changes) == changes)
            return r;
        r = 0;
    }
    ntfs_lock(v);
    r = load_view(v, n);
    if (!r)
        r = ntfs_data_read(&n->view->data, buf, len, off, ret_len);
    ntfs_unlock(v);
    return r;
}

int ntfs_map_file(struct volume_file *f, uint64_t off, uint64_t len, struct extent *ret)
{
    unsigned long long changes;
    struct view *view;
    int r = need_view(ntfs_of(f->volume), node_of(f), &view, &changes);
    if (r < 0)
        return r;
    const struct ntfs_data *d = &view->data;
    r = off < d->size && len ? ntfs_data_map(d, off, min_u64(len, d->size - off), ret) : -EINVAL;
    put_view(view);
    return r;
}
