/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packages that aren't installed yet: a small file system in memory, since the guest must not see them, and
 * the log. */
#include "drivers.h"

#include "ferry.h"

#include "../formats/checked.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

int drivers_open(struct ferry *f, struct fault *fault)
{
    struct drivers *d = calloc(1, sizeof *d);
    struct staged *root = d ? calloc(1, sizeof *root) : NULL;
    const char *given = f->options->drivers;
    if (root)
        d->nodes = calloc(1, sizeof *d->nodes);
    if (!root || !d->nodes) {
        free(root);
        free(d);
        return fault_in(fault, -ENOMEM, "", "out of memory");
    }
    *root = (struct staged){ .id = 1, .dir = true, .mode = S_IFDIR | 0755 };
    root->parent = root;
    d->nodes[d->n_nodes++] = root;
    pthread_mutex_init(&d->lock, NULL);
    f->drivers = d;
    d->store = given ? realpath(given, NULL) : NULL; /* the daemon leaves its directory */
    if (given && !d->store)
        return fault_in(fault, -errno, given, "the store of drivers can't be opened: %s", strerror(errno));
    return 0;
}

void staged_discard(struct drivers *d, struct staged *s)
{
    d->nodes[s->id - 1] = NULL;
    d->bytes -= s->room;
    free(s->name);
    free(s->bytes);
    free(s);
}

void drivers_close(struct ferry *f)
{
    struct drivers *d = f->drivers;
    if (!d)
        return;
    for (size_t i = 0; i < d->n_nodes; i++)
        if (d->nodes[i])
            staged_discard(d, d->nodes[i]);
    free(d->nodes);
    free(d->store);
    free(d->hidden);
    free(d->info.text);
    free(d->log);
    pthread_mutex_destroy(&d->lock);
    free(d);
    f->drivers = NULL;
}

void drivers_say(struct drivers *d, const char *line)
{
    char stamp[40];
    time_t now = time(NULL);
    struct tm tm;
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    pthread_mutex_lock(&d->lock);
    size_t n = strlen(stamp) + strlen(line) + 2;
    if (d->log_n + n > DRIVERS_LOG_MAX) { /* the older half goes */
        size_t cut = d->log_n / 2;
        while (cut < d->log_n && d->log[cut++] != '\n')
            ;
        memmove(d->log, d->log + cut, d->log_n - cut);
        d->log_n -= cut;
    }
    char *grown = realloc(d->log, d->log_n + n + 1);
    if (grown) {
        d->log = grown;
        int len = snprintf(d->log + d->log_n, n + 1, "%s %s\n", stamp, line);
        for (char *p = d->log + d->log_n; len-- > 1; p++) /* names are the package's */
            *p = (unsigned char)*p < ' ' || *p == 0x7f ? '?' : *p;
        d->log_n += n;
    }
    pthread_mutex_unlock(&d->lock);
}

struct staged *staged_at(struct drivers *d, uint64_t id)
{
    return id && id <= d->n_nodes ? d->nodes[id - 1] : NULL;
}

/* Windows' names: without case. */
struct staged *staged_child(const struct staged *dir, const char *name)
{
    for (struct staged *s = dir->children; s; s = s->next)
        if (!strcasecmp(s->name, name))
            return s;
    return NULL;
}

static unsigned depth_of(const struct staged *s)
{
    unsigned n = 0;
    for (; s->id != 1 && s->parent; s = s->parent)
        n++;
    return n;
}

static unsigned height_of(const struct staged *s)
{
    unsigned n = 0;
    for (const struct staged *c = s->children; c; c = c->next) {
        unsigned own = height_of(c) + 1;
        n = own > n ? own : n;
    }
    return n;
}

int staged_make(struct drivers *d, struct staged *dir, const char *name, mode_t mode, struct staged **ret)
{
    if (!dir->parent)
        return -ENOENT;
    if (staged_child(dir, name))
        return -EEXIST;
    if (!S_ISDIR(mode) && !S_ISREG(mode))
        return -EPERM;
    if (depth_of(dir) >= STAGING_DEPTH)
        return -ENAMETOOLONG;
    if (d->n_nodes == STAGING_NODES)
        return -ENOSPC;
    if (!(d->n_nodes & (d->n_nodes - 1))) {
        void *grown = realloc(d->nodes, 2 * d->n_nodes * sizeof *d->nodes);
        if (!grown)
            return -ENOMEM;
        d->nodes = grown;
    }
    struct staged *s = calloc(1, sizeof *s);
    char *copy = strdup(name);
    if (!s || !copy) {
        free(s);
        free(copy);
        return -ENOMEM;
    }
    *s = (struct staged){ .id = d->n_nodes + 1,
                          .parent = dir,
                          .next = dir->children,
                          .name = copy,
                          .dir = S_ISDIR(mode),
                          .mode = mode };
    dir->children = s;
    d->nodes[d->n_nodes++] = s;
    *ret = s;
    return 0;
}

static void detach(struct staged *s)
{
    struct staged **p = &s->parent->children;
    while (*p != s)
        p = &(*p)->next;
    *p = s->next;
    s->parent = NULL;
}

int staged_remove(struct drivers *d, struct staged *s)
{
    if (s->children)
        return -ENOTEMPTY;
    if (s->id == 1)
        return -EBUSY;
    detach(s);
    if (!s->opens)
        staged_discard(d, s);
    return 0;
}

void staged_remove_all(struct drivers *d, struct staged *s)
{
    while (s->children)
        staged_remove_all(d, s->children);
    staged_remove(d, s);
}

int staged_rename(struct drivers *d, struct staged *s, struct staged *dir, const char *name, unsigned flags)
{
    struct staged *old = staged_child(dir, name);
    if (flags & ~(unsigned)RENAME_NOREPLACE)
        return -EPERM;
    for (struct staged *up = dir; up->id != 1; up = up->parent)
        if (up == s || !up->parent)
            return up == s ? -ELOOP : -ENOENT;
    if (depth_of(dir) + height_of(s) >= STAGING_DEPTH)
        return -ENAMETOOLONG;
    if (old && old != s) {
        if (flags & RENAME_NOREPLACE)
            return -EEXIST;
        if (old->dir != s->dir)
            return old->dir ? -EISDIR : -ENOTDIR;
        int r = staged_remove(d, old);
        if (r)
            return r;
    }
    char *copy = strdup(name);
    if (!copy)
        return -ENOMEM;
    detach(s);
    free(s->name);
    s->name = copy;
    s->parent = dir;
    s->next = dir->children;
    dir->children = s;
    return 0;
}

int staged_resize(struct drivers *d, struct staged *s, size_t n)
{
    if (n > s->room) {
        size_t room = n > 2 * s->room ? n : 2 * s->room;
        if (room - s->room > STAGING_BYTES - d->bytes)
            room = n;
        if (room - s->room > STAGING_BYTES - d->bytes)
            return -ENOSPC;
        uint8_t *grown = realloc(s->bytes, room);
        if (!grown)
            return -ENOMEM;
        d->bytes += room - s->room;
        s->bytes = grown;
        s->room = room;
    }
    if (n > s->n)
        memset(s->bytes + s->n, 0, n - s->n);
    s->n = n;
    return 0;
}

int staged_write(struct drivers *d, struct staged *s, const void *buf, size_t len, uint64_t off)
{
    uint64_t end;
    if (!checked_add(off, len, &end) || end > STAGING_BYTES)
        return -ENOSPC;
    int r = end > s->n ? staged_resize(d, s, end) : 0;
    if (!r && len)
        memcpy(s->bytes + off, buf, len);
    return r;
}

/* ---- a package ---- */

struct packing {
    struct driver_package_file *files;
    size_t n;
};

static int pack(struct packing *p, const struct staged *dir, const char *prefix)
{
    for (const struct staged *s = dir->children; s; s = s->next) {
        char *path = NULL;
        if (asprintf(&path, "%s%s%s", prefix, *prefix ? "/" : "", s->name) < 0)
            return -ENOMEM;
        int r = 0;
        if (s->dir) {
            r = pack(p, s, path);
            free(path);
        } else {
            struct driver_package_file *grown = realloc(p->files, (p->n + 1) * sizeof *grown);
            if (grown) {
                p->files = grown;
                p->files[p->n++] =
                    (struct driver_package_file){ path, s->bytes ? s->bytes : (void *)path, s->n };
            } else {
                free(path);
                r = -ENOMEM;
            }
        }
        if (r)
            return r;
    }
    return 0;
}

int staged_package(const struct staged *dir, struct driver_package_file **ret, size_t *ret_n)
{
    struct packing p = { 0 };
    int r = pack(&p, dir, "");
    if (r) {
        staged_package_free(p.files, p.n);
        return r;
    }
    *ret = p.files;
    *ret_n = p.n;
    return 0;
}

void staged_package_free(struct driver_package_file *files, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free((void *)(uintptr_t)files[i].path);
    free(files);
}
