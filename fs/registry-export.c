/* SPDX-License-Identifier: GPL-2.0-or-later */
/* .reg: any key's directory has one, which isn't listed. Read, it is the key and all below it as regedit
 * exports it. Written to, in registry/ or in a hive's top directory, it is merged at each close: the whole
 * text so far, all of it or nothing, and .reg.error in registry/ says why not.
 *
 * Each close merges from the state before the open: the hives that a merge has touched keep its savepoint
 * until the file is closed for good, unless somebody else changes them meanwhile. */
#include "registry.h"

#include "../formats/cleanup.h"
#include "../registry/reg-merge.h"
#include "../registry/reg-write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { TOP = 1, TOP_MACHINE, TOP_USERS, TEXT_MAX = 1 << 30 };

/* One merge at a time: taken before any hive's lock. */
static pthread_mutex_t merge_lock = PTHREAD_MUTEX_INITIALIZER;

/* What .reg.error says. */
static pthread_mutex_t error_lock =
    PTHREAD_MUTEX_INITIALIZER; /* protects the text; nothing is taken under it */
static char error_text[sizeof(struct reg_error) + 64];

struct reg_merger {
    struct reg_hive *hives[REG_MERGE_HIVES]; /* that may have our savepoint */
    size_t n;
};

struct export_handle {
    struct handle handle;
    struct node_id id;
    pthread_mutex_t lock; /* protects what follows; taken before merge_lock and hives' locks */
    /* reading */
    struct reg_writer *writer;
    size_t next_hive; /* of those that are exported */
    bool at_end;
    uint64_t at;
    /* writing */
    bool writes;
    char *text; /* owned */
    size_t n, room, merged_n;
    bool changed;
    int merged; /* what the last merge said */
    struct reg_merger merger;
};

static struct export_handle *export_of(struct handle *h)
{
    return (struct export_handle *)(void *)h;
}

static bool is_top(const struct node_id *id)
{
    return id->a == UINT32_MAX;
}

/* ---- reading ---- */

static const char *place_name(enum hive_place where)
{
    return where == HIVE_USERS ? "HKEY_USERS" : "HKEY_LOCAL_MACHINE";
}

static bool put_part(struct hive_name *path, const uint16_t *units, size_t n)
{
    uint16_t *to = (uint16_t *)(uintptr_t)path->units;
    uint16_t *all = realloc(to, (path->n + n + 1) * sizeof *all);
    if (!all)
        return false;
    if (path->n)
        all[path->n++] = '\\';
    memcpy(all + path->n, units, n * sizeof *units);
    path->units = all;
    path->n += n;
    return true;
}

static bool put_ascii(struct hive_name *path, const char *text)
{
    uint16_t units[256];
    size_t n = 0;
    for (; text[n] && n < 256; n++)
        units[n] = (uint8_t)text[n];
    return put_part(path, units, n);
}

/* HKEY_LOCAL_MACHINE\SYSTEM\... of a key: owned. The hive is locked. */
int registry_key_path(const struct reg_hive *h, uint32_t key, struct hive_name *ret)
{
    uint32_t chain[512];
    size_t n = 0;
    struct hive_key k;
    int r = 0;
    *ret = (struct hive_name){ 0 };
    for (; key != hive_root(h->hive) && !r; key = k.parent) {
        if (n >= 512)
            return -EUCLEAN;
        chain[n++] = key;
        r = hive_key(h->hive, key, &k);
    }
    if (!r && (!put_ascii(ret, place_name(h->where)) || !put_ascii(ret, h->name)))
        r = -ENOMEM;
    while (n && !r) {
        uint16_t units[HIVE_KEY_NAME_MAX];
        struct hive_name name;
        r = registry_name_of_key(h->hive, chain[--n], units, &name);
        if (!r && !put_part(ret, name.units, name.n))
            r = -ENOMEM;
    }
    if (r < 0)
        free((void *)(uintptr_t)ret->units);
    return r;
}

/* The i-th hive that a node's export is of. */
static struct reg_hive *exported(struct ferry *f, const struct node_id *id, size_t i)
{
    if (!is_top(id))
        return i ? NULL : hives_at(f, id->a & 0xffff);
    if (hives_alone(f))
        return hives_nth(f, HIVE_ALONE, i);
    if (id->b != TOP)
        return hives_nth(f, id->b == TOP_MACHINE ? HIVE_MACHINE : HIVE_USERS, i);
    size_t machine = 0;
    struct reg_hive *h;
    while ((h = hives_nth(f, HIVE_MACHINE, machine)))
        if (machine++ == i)
            return h;
    return hives_nth(f, HIVE_USERS, i - machine);
}

static int lock_exported(struct ferry *f, const struct export_handle *x, struct reg_hive *h,
                         uint32_t *ret_key)
{
    struct reg_at at;
    int r;
    if (is_top(&x->id)) {
        r = hives_read(f, h);
        at = (struct reg_at){ h, r < 0 ? 0 : hive_root(h->hive) };
    } else {
        r = registry_begin(f, &x->id, false, &at);
    }
    if (!r)
        *ret_key = at.key;
    return r;
}

static int read_some(struct ferry *f, struct export_handle *x, void *buf, size_t len, size_t *ret_len)
{
    *ret_len = 0;
    while (!*ret_len && !x->at_end) {
        bool begins = x->next_hive == 0 || x->writer == NULL;
        struct reg_hive *h = exported(f, &x->id, begins ? 0 : x->next_hive - 1);
        uint32_t key;
        int r = h ? lock_exported(f, x, h, &key) : -ENOENT;
        if (r < 0)
            return r;
        if (begins) {
            struct hive_name path;
            r = registry_key_path(h, key, &path);
            if (!r) {
                r = reg_writer_begin(x->writer, path, key);
                free((void *)(uintptr_t)path.units);
            }
            x->next_hive = 1;
        }
        if (!r)
            r = reg_writer_read(x->writer, h->hive, buf, len, ret_len);
        hives_done(h);
        if (r < 0)
            return r;
        if (*ret_len)
            continue;
        /* this hive is through; the next that can be read */
        for (x->at_end = true; x->at_end && (h = exported(f, &x->id, x->next_hive)); x->next_hive++) {
            struct hive_name path;
            if (lock_exported(f, x, h, &key) < 0)
                continue; /* info.json says why it can't */
            r = registry_key_path(h, key, &path);
            if (!r)
                r = reg_writer_begin(x->writer, path, key);
            free((void *)(uintptr_t)path.units);
            hives_done(h);
            if (r < 0)
                return r;
            x->at_end = false;
        }
    }
    return 0;
}

/* Backwards is from the beginning: who does that reads small ones. */
static int seek(struct ferry *f, struct export_handle *x, uint64_t off)
{
    char skipped[4096];
    if (off < x->at) {
        reg_writer_free(x->writer);
        x->writer = NULL;
        x->next_hive = x->at = 0;
        x->at_end = false;
        int r = reg_writer_new(&x->writer);
        if (r < 0)
            return r;
    }
    while (x->at < off) {
        size_t want = off - x->at < sizeof skipped ? (size_t)(off - x->at) : sizeof skipped, n;
        int r = read_some(f, x, skipped, want, &n);
        if (r < 0 || !n)
            return r;
        x->at += n;
    }
    return 0;
}

static int export_read(struct ferry *f, struct handle *handle, void *buf, size_t len, uint64_t off,
                       size_t *ret_len)
{
    struct export_handle *x = export_of(handle);
    *ret_len = 0;
    if (!x->writer)
        return -EBADF;
    pthread_mutex_lock(&x->lock);
    int r = seek(f, x, off);
    while (!r && x->at == off + *ret_len && *ret_len < len) {
        size_t n;
        r = read_some(f, x, (char *)buf + *ret_len, len - *ret_len, &n);
        if (r < 0 || !n)
            break;
        x->at += n;
        *ret_len += n;
    }
    pthread_mutex_unlock(&x->lock);
    return *ret_len ? 0 : r;
}

/* ---- merging ---- */

struct merging {
    struct ferry *f;
    const struct node_id *id; /* whose .reg is written */
    struct reg_merger *merger;
};

static bool is_name(struct hive_name n, const char *text)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++)
        if (i >= n.n || hive_upcase(n.units[i]) != hive_upcase((uint8_t)text[i]))
            return false;
    return n.n == len;
}

static void to_text(struct hive_name n, char *ret, size_t size)
{
    size_t k = 0;
    for (size_t i = 0; i < n.n && k + 1 < size; i++)
        ret[k++] = n.units[i] >= 0x20 && n.units[i] < 0x7f ? (char)n.units[i] : '?';
    ret[k] = 0;
}

static struct reg_hive *find_hive(struct ferry *f, const struct hive_name *parts, size_t n, size_t *ret_used)
{
    bool machine = is_name(parts[0], "HKEY_LOCAL_MACHINE") || is_name(parts[0], "HKLM");
    bool users = is_name(parts[0], "HKEY_USERS") || is_name(parts[0], "HKU");
    char name[256];
    if (hives_alone(f)) {
        struct reg_hive *h = hives_nth(f, HIVE_ALONE, 0);
        *ret_used = machine || users ? 2 : 1;
        return n >= *ret_used && is_name(parts[*ret_used - 1], h->name) ? h : NULL;
    }
    if ((!machine && !users) || n < 2 || parts[1].n >= sizeof name)
        return NULL;
    to_text(parts[1], name, sizeof name);
    *ret_used = 2;
    return hives_find(f, machine ? HIVE_MACHINE : HIVE_USERS, name);
}

static bool is_merged(const struct reg_merger *m, const struct reg_hive *h)
{
    for (size_t i = 0; i < m->n; i++)
        if (m->hives[i] == h)
            return true;
    return false;
}

static int resolve(void *ctx, const struct hive_name *parts, size_t n, struct hive **ret, size_t *ret_used,
                   struct reg_error *error)
{
    struct merging *g = ctx;
    char root[64], name[128] = "";
    to_text(parts[0], root, sizeof root);
    if (n > 1)
        to_text(parts[1], name, sizeof name);
    struct reg_hive *h = find_hive(g->f, parts, n, ret_used);
    if (!h)
        return reg_error_set(error, -EBADMSG, "%s%s%s is no hive of this guest", root, n > 1 ? "\\" : "",
                             name);
    if (!is_top(g->id) && (g->id->a & 0xffff) != h->index)
        return reg_error_set(error, -EBADMSG, "%s\\%s isn't the hive whose .reg is written", root, name);
    if (!is_merged(g->merger, h)) {
        if (g->merger->n >= REG_MERGE_HIVES)
            return reg_error_set(error, -EFBIG, "the text is about too many hives");
        int r = hives_write(g->f, h);
        if (r == -EROFS)
            return reg_error_set(error, r, "%s can't be written%s%s", h->name, h->why[0] ? ": " : "", h->why);
        if (r < 0)
            return reg_error_set(error, r, "%s can't be opened", h->name);
        g->merger->hives[g->merger->n++] = h;
    }
    *ret = h->hive;
    return 0;
}

static struct reg_hive *hive_of(const struct merging *g, const struct hive *hive)
{
    for (size_t i = 0; i < g->merger->n; i++)
        if (g->merger->hives[i]->hive == hive)
            return g->merger->hives[i];
    return NULL;
}

/* Also when the merge is taken back: a node too old is looked up anew. */
static void deleting(void *ctx, struct hive *hive, uint32_t key)
{
    struct reg_hive *h = hive_of(ctx, hive);
    if (h)
        hives_tree_gone(h, key);
}

/* What is here of an earlier merge of this text is taken back, where nobody else has changed the hive. */
static void take_back(struct reg_merger *m)
{
    for (size_t i = 0; i < m->n; i++) {
        struct reg_hive *h = m->hives[i];
        pthread_rwlock_wrlock(&h->lock);
        if (h->merge == m && h->hive)
            hive_rollback(h->hive);
        h->merge = h->merge == m ? NULL : h->merge;
        pthread_rwlock_unlock(&h->lock);
    }
    m->n = 0;
}

void registry_merge_settled(struct reg_hive *h)
{
    if (h->merge && h->hive)
        hive_release(h->hive);
    h->merge = NULL;
}

static void forget(struct reg_merger *m)
{
    for (size_t i = 0; i < m->n; i++) {
        struct reg_hive *h = m->hives[i];
        pthread_rwlock_wrlock(&h->lock);
        if (h->merge == m)
            registry_merge_settled(h);
        pthread_rwlock_unlock(&h->lock);
    }
    m->n = 0;
}

static void say(const struct reg_error *e)
{
    pthread_mutex_lock(&error_lock);
    if (!e)
        error_text[0] = 0;
    else
        snprintf(error_text, sizeof error_text, "line %lu: %s\n", e->line, e->what);
    pthread_mutex_unlock(&error_lock);
}

static int merge(struct ferry *f, struct export_handle *x)
{
    struct reg_error error = { 0 };
    struct merging g = { f, &x->id, &x->merger };
    struct reg_merge *m = calloc(1, sizeof *m);
    if (!m)
        return -ENOMEM;
    *m = (struct reg_merge){ .ctx = &g, .resolve = resolve, .alias = registry_alias, .deleting = deleting };
    m->now = hives_now();
    hives_nth(f, HIVE_USERS, 0); /* finding these reads SOFTWARE, which may be locked later on */
    pthread_mutex_lock(&merge_lock);
    take_back(&x->merger);
    int r = reg_merge(m, x->text, x->n, &error);
    for (size_t i = 0; i < x->merger.n; i++) {
        struct reg_hive *h = x->merger.hives[i];
        h->merge = r < 0 ? NULL : &x->merger;
        hives_done(h);
    }
    if (r < 0)
        x->merger.n = 0;
    pthread_mutex_unlock(&merge_lock);
    say(r < 0 ? &error : NULL);
    free(m);
    return r;
}

static int export_write(struct ferry *f, struct handle *handle, const void *buf, size_t len, uint64_t off)
{
    struct export_handle *x = export_of(handle);
    int r = 0;
    (void)f;
    pthread_mutex_lock(&x->lock);
    if (off > x->n) /* there is nothing that could stand in the gap */
        r = -EINVAL;
    else if (off > TEXT_MAX || len > TEXT_MAX - off)
        r = -EFBIG;
    size_t end = (size_t)off + len;
    if (!r && end > x->room) {
        size_t room = end + end / 2 + 4096;
        char *text = realloc(x->text, room);
        r = text ? 0 : -ENOMEM;
        if (text) {
            x->text = text;
            x->room = room;
        }
    }
    if (!r) {
        if (len)
            memcpy(x->text + off, buf, len);
        x->n = end > x->n ? end : x->n;
        x->changed = true;
    }
    pthread_mutex_unlock(&x->lock);
    return r;
}

static int export_flush(struct ferry *f, struct handle *handle)
{
    struct export_handle *x = export_of(handle);
    if (!x->writes)
        return 0;
    pthread_mutex_lock(&x->lock);
    if (x->changed)
        x->merged = merge(f, x);
    x->changed = false;
    int r = x->merged;
    pthread_mutex_unlock(&x->lock);
    return r;
}

/* ---- handles ---- */

/* Where .reg can be written: in registry/, and at the top of a hive. */
static bool can_merge(const struct node_id *id)
{
    return is_top(id) ? id->b == TOP : (uint32_t)id->b == HIVE_NIL;
}

static int export_open(struct ferry *f, const struct node *n, int flags, struct handle **ret)
{
    bool write = (flags & O_ACCMODE) != O_RDONLY;
    (void)f;
    if (write && !can_merge(&n->id))
        return -EPERM;
    struct export_handle *x = calloc(1, sizeof *x);
    if (!x)
        return -ENOMEM;
    x->handle = (struct handle){ .ops = n->id.ops, .direct = true };
    x->id = n->id;
    x->writes = write;
    int r = (flags & O_ACCMODE) == O_WRONLY ? 0 : reg_writer_new(&x->writer);
    if (r < 0) {
        free(x);
        return r;
    }
    pthread_mutex_init(&x->lock, NULL);
    *ret = &x->handle;
    return 0;
}

static void export_release(struct ferry *f, struct handle *handle)
{
    struct export_handle *x = export_of(handle);
    (void)f;
    forget(&x->merger);
    reg_writer_free(x->writer);
    pthread_mutex_destroy(&x->lock);
    free(x->text);
    free(x);
}

static int export_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    registry_fill(f, S_IFREG, tree_ino(901, n->id.a & 0xffffffff, n->id.b), can_merge(&n->id), ret);
    return 0;
}

/* Truncating it, as a shell does, is nothing by itself. */
static int export_setattr(struct ferry *f, const struct node *n, const struct stat *st, unsigned which,
                          struct handle *handle)
{
    (void)f;
    (void)n;
    if (handle && which & TREE_SET_SIZE) {
        struct export_handle *x = export_of(handle);
        pthread_mutex_lock(&x->lock);
        if (st->st_size >= 0 && (size_t)st->st_size < x->n) {
            x->n = (size_t)st->st_size;
            x->changed = true;
        }
        pthread_mutex_unlock(&x->lock);
    }
    return 0;
}

const struct tree_ops registry_export_ops = {
    .name = "registry-export",
    .fresh = true,
    .getattr = export_getattr,
    .open = export_open,
    .read = export_read,
    .write = export_write,
    .flush = export_flush,
    .setattr = export_setattr,
    .removexattr = registry_removexattr,
    .release = export_release,
};

/* ---- .reg.error ---- */

static int error_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    (void)n;
    registry_fill(f, S_IFREG, tree_ino(902, 0, 0), false, ret);
    return 0;
}

static int error_open(struct ferry *f, const struct node *n, int flags, struct handle **ret)
{
    (void)f;
    (void)flags;
    struct handle *h = calloc(1, sizeof *h);
    if (!h)
        return -ENOMEM;
    *h = (struct handle){ .ops = n->id.ops, .direct = true };
    *ret = h;
    return 0;
}

static int error_read(struct ferry *f, struct handle *h, void *buf, size_t len, uint64_t off, size_t *ret_len)
{
    (void)f;
    (void)h;
    pthread_mutex_lock(&error_lock);
    struct text t = { error_text, strlen(error_text) };
    int r = text_read(&t, buf, len, off, ret_len);
    pthread_mutex_unlock(&error_lock);
    return r;
}

static void error_release(struct ferry *f, struct handle *h)
{
    (void)f;
    free(h);
}

const struct tree_ops registry_error_ops = {
    .name = "registry-error",
    .fresh = true,
    .getattr = error_getattr,
    .open = error_open,
    .read = error_read,
    .release = error_release,
};
