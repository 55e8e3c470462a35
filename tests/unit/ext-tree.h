/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_TESTS_EXT_TREE_H
#define FERRYFS_TESTS_EXT_TREE_H
/* For the tests of ext: a disk in memory, and a whole volume walked and read, as text: one line per name with
 * all that is known of it, and a digest of its content. The walk is bounded, so that a damaged volume can't
 * hold it. */
#include "formats/bytes.h"
#include "formats/checked.h"
#include "formats/hash.h"
#include "guest/volume.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct memory_disk {
    struct disk disk;
    const uint8_t *bytes; /* not owned */
};

static inline int memory_pread(struct disk *d, void *buf, size_t len, uint64_t off, const struct extent *e)
{
    (void)e;
    memcpy(buf, ((struct memory_disk *)(void *)d)->bytes + off, len);
    return 0;
}

static inline int memory_map(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    (void)d, (void)off;
    *ret = (struct extent){ .length = len, .kind = EXTENT_DATA };
    return 0;
}

static inline void memory_close(struct disk *d)
{
    (void)d;
}

static inline struct memory_disk memory_disk(const void *bytes, size_t n)
{
    static const struct disk_ops ops = {
        .name = "memory", .pread = memory_pread, .map = memory_map, .close = memory_close
    };
    return (struct memory_disk){ { &ops, n }, bytes };
}

struct tree_walk {
    struct volume *v;
    FILE *out;
    unsigned names_left; /* bound of the walk */
    uint64_t bytes_left; /* bound of the reading */
    unsigned depth;
    char path[4096];
};

static inline void tree_text(FILE *out, const char *s, size_t n)
{
    for (size_t k = 0; k < n; k++)
        if (s[k] > ' ' && s[k] < 127 && s[k] != '\\')
            fputc(s[k], out);
        else
            fprintf(out, "\\x%02x", (uint8_t)s[k]);
}

static inline void tree_content(struct tree_walk *w, uint64_t ino, uint64_t size)
{
    struct volume_file *f;
    int r = w->v->ops->open(w->v, ino, &f);
    if (r < 0) {
        fprintf(w->out, " open:%s", strerror(-r));
        return;
    }
    static uint8_t buf[1 << 17];
    uint32_t crc = ~0u;
    uint64_t off = 0;
    while (off < size && w->bytes_left && !r) {
        struct extent e = { .length = size - off, .kind = EXTENT_DATA };
        if (w->v->ops->map)
            r = w->v->ops->map(f, off, size - off, &e);
        if (r < 0)
            break;
        size_t n, want = (size_t)min_u64(min_u64(sizeof buf, w->bytes_left), e.length);
        if (e.kind != EXTENT_DATA && e.length > 64 << 20) { /* too many zeros to read */
            uint8_t zero[8];
            put_le64(zero, e.length);
            crc = crc32c_update(crc, zero, 8);
            off += e.length;
            continue;
        }
        r = w->v->ops->read(f, buf, want, off, &n);
        if (!r && n != want)
            r = -ERANGE; /* short inside of the file: a bug */
        if (!r) {
            crc = crc32c_update(crc, buf, n);
            off += n;
            w->bytes_left -= n;
        }
    }
    w->v->ops->release(f);
    if (r < 0)
        fprintf(w->out, " read:%s", strerror(-r));
    else
        fprintf(w->out, " crc:%08x", ~crc);
}

static inline void tree_xattrs(struct tree_walk *w, uint64_t ino)
{
    static char names[1 << 16], value[1 << 17];
    size_t n, len;
    if (!w->v->ops->listxattr)
        return;
    int r = w->v->ops->listxattr(w->v, ino, names, sizeof names, &n);
    if (r < 0) {
        fprintf(w->out, " xattrs:%s", strerror(-r));
        return;
    }
    for (const char *p = names; p < names + n; p += strlen(p) + 1) {
        fputc(' ', w->out);
        tree_text(w->out, p, strlen(p));
        r = w->v->ops->getxattr(w->v, ino, p, value, sizeof value, &len);
        if (r < 0)
            fprintf(w->out, "=%s", strerror(-r));
        else
            fprintf(w->out, "=%zu:%08x", len, crc32c(value, len));
    }
}

static inline int tree_piece(void *ctx, uint64_t off, uint64_t len, int64_t at)
{
    unsigned *left = ctx;
    if (!len || off + len < off || at < PIECE_RECORD)
        abort();
    return !--*left;
}

/* Where it lies, and the same twice; damage is an error. */
static inline void tree_pieces(struct tree_walk *w, uint64_t ino)
{
    unsigned left = 1000, again = 1000;
    if (!w->v->ops->pieces)
        return;
    int r = w->v->ops->pieces(w->v, ino, tree_piece, &left);
    if (w->v->ops->pieces(w->v, ino, tree_piece, &again) != r || left != again || r > 0)
        abort();
}

static inline void tree_visit(struct tree_walk *w, uint64_t ino);

struct tree_names {
    size_t n, room;
    struct {
        char name[256];
        uint64_t ino, next;
    } * p;
};

static inline int tree_emit(void *ctx, const char *name, uint64_t ino, mode_t type, uint64_t next)
{
    (void)type;
    struct tree_names *t = ctx;
    if (t->n == 20000)
        return 1;
    if (t->n == t->room) {
        t->room = t->room ? t->room * 2 : 64;
        t->p = realloc(t->p, t->room * sizeof *t->p);
        if (!t->p)
            abort();
    }
    if (strlen(name) > 255)
        abort();
    strcpy(t->p[t->n].name, name);
    t->p[t->n].ino = ino;
    t->p[t->n++].next = next;
    return 0;
}

static inline int tree_by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static inline void tree_children(struct tree_walk *w, uint64_t ino)
{
    struct tree_names t = { 0 };
    size_t len = strlen(w->path);
    int r = w->v->ops->readdir(w->v, ino, 0, tree_emit, &t);
    if (r < 0)
        fprintf(w->out, " readdir:%s", strerror(-r));
    fputc('\n', w->out);
    if (t.n)
        qsort(t.p, t.n, sizeof *t.p, tree_by_name);
    for (size_t k = 0; k < t.n && w->names_left && w->depth < 64; k++) {
        uint64_t found;
        if (len + strlen(t.p[k].name) + 2 > sizeof w->path)
            break;
        sprintf(w->path + len, "/%s", t.p[k].name);
        r = t.n <= 1000 ? w->v->ops->lookup(w->v, ino, t.p[k].name, &found) : 0;
        if (r < 0)
            fprintf(w->out, "lookup %s: %s\n", w->path, strerror(-r));
        w->names_left--;
        w->depth++;
        tree_visit(w, t.p[k].ino);
        w->depth--;
        w->path[len] = 0;
    }
    free(t.p);
}

static inline void tree_visit(struct tree_walk *w, uint64_t ino)
{
    struct volume_attr a;
    tree_text(w->out, w->path[0] ? w->path : "/", w->path[0] ? strlen(w->path) : 1);
    int r = w->v->ops->getattr(w->v, ino, &a);
    if (r < 0) {
        fprintf(w->out, " getattr:%s\n", strerror(-r));
        return;
    }
    fprintf(w->out, " %o %u:%u n%u r%llx s%llu b%llu m%lld.%09ld c%lld.%09ld", a.mode, a.uid, a.gid,
            (unsigned)a.nlink, (unsigned long long)a.rdev, (unsigned long long)a.size,
            (unsigned long long)a.allocated, (long long)a.mtime.tv_sec, a.mtime.tv_nsec,
            (long long)a.ctime.tv_sec, a.ctime.tv_nsec);
    tree_xattrs(w, ino);
    tree_pieces(w, ino);
    if (S_ISREG(a.mode))
        tree_content(w, ino, a.size);
    if (S_ISLNK(a.mode)) {
        char buf[4097];
        enum link_style style;
        r = w->v->ops->link(w->v, ino, buf, sizeof buf, &style);
        fprintf(w->out, " -> ");
        if (r < 0)
            fprintf(w->out, "%s", strerror(-r));
        else
            tree_text(w->out, buf, strlen(buf));
    }
    if (S_ISDIR(a.mode))
        tree_children(w, ino);
    else
        fputc('\n', w->out);
}

/* The whole volume as text; freed by the caller. */
static inline char *tree_read(struct volume *v, unsigned names, uint64_t bytes)
{
    char *text = NULL;
    size_t n;
    static struct tree_walk w;
    w = (struct tree_walk){
        .v = v, .out = open_memstream(&text, &n), .names_left = names, .bytes_left = bytes
    };
    tree_visit(&w, VOLUME_ROOT);
    struct statvfs s;
    int r = v->ops->statfs(v, &s);
    fprintf(w.out, "statfs %d: %lu blocks %lu free %lu avail %lu files %lu ffree\n", r, s.f_blocks, s.f_bfree,
            s.f_bavail, s.f_files, s.f_ffree);
    for (size_t k = 0; k < v->notes.n; k++)
        fprintf(w.out, "note: %s\n", v->notes.lines[k]);
    fclose(w.out);
    return text;
}
#endif
