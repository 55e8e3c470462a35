/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The wrappers around file_ops, and the two small kinds of file: a slice of another, and memory. Host files
 * are in file-host.c, tar members in tar.c. */
#include "file.h"
#include "checked.h"

#include <errno.h>
#include <string.h>

struct file *file_ref(struct file *f)
{
    atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
    return f;
}

void file_unref(struct file *f)
{
    if (!f || atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) != 1)
        return;
    free(f->name);
    f->ops->close(f);
}

int file_pread(struct file *f, void *buf, size_t len, uint64_t off)
{
    if (!range_inside(off, len, f->size))
        return -ENODATA;
    return len ? f->ops->pread(f, buf, len, off) : 0;
}

int file_pread_what(struct file *f, void *buf, size_t len, uint64_t off, const char *what,
                    struct fault *fault)
{
    int r = file_pread(f, buf, len, off);
    if (r == -ENODATA)
        return fault_at(fault, r, f->name, f->size, "truncated: the file ends before the end of %s", what);
    if (r < 0)
        return fault_at(fault, r, f->name, off, "%s can't be read: %s", what, strerror(-r));
    return 0;
}

int file_map(struct file *f, uint64_t off, uint64_t len, struct extent *ret)
{
    if (off >= f->size || !len)
        return -EINVAL;
    len = min_u64(len, f->size - off);
    *ret = (struct extent){ .length = len, .kind = EXTENT_DATA };
    if (!f->ops->map)
        return 0;
    int r = f->ops->map(f, off, len, ret);
    ret->effort = EFFORT_ASKING;
    return r;
}

bool file_map_stays(struct file *f)
{
    return !f->ops->map || (f->ops->map_stays && f->ops->map_stays(f));
}

bool file_has_holes(struct file *f)
{
    struct extent e;
    for (uint64_t off = 0; off < f->size; off += e.length)
        if (file_map(f, off, f->size - off, &e) < 0 || e.kind != EXTENT_DATA)
            return true;
    return false;
}

void file_advise(struct file *f, uint64_t off, uint64_t len)
{
    if (f->ops->advise && off < f->size)
        f->ops->advise(f, off, min_u64(len, f->size - off));
}

int file_open_ref(struct file *f, const char *role, const char *name, struct file **ret, struct fault *fault)
{
    if (!name[0])
        return fault_in(fault, -EUCLEAN, f->name, "the %s has an empty name", role);
    return f->ops->open_ref(f, role, name, ret, fault);
}

bool file_same(const struct file *a, const struct file *b)
{
    if (a == b)
        return true;
    return a->id.ino && a->id.dev == b->id.dev && a->id.ino == b->id.ino && a->id.offset == b->id.offset;
}

int file_place(struct file *f, struct file_place *ret)
{
    struct file_place place = { 0 };
    int r = f->ops->place ? f->ops->place(f, &place) : 0;
    if (r == -ENOMEM)
        return r;
    *ret = r < 0 ? (struct file_place){ 0 } : place;
    return 0;
}

/* ---- slice ---- */

struct file_slice {
    struct file file;
    struct file *parent;
    uint64_t off;
    file_open_ref_fn open_ref;
    void *ctx;
};

static struct file_slice *slice_of(struct file *f)
{
    return (struct file_slice *)(void *)f;
}

static int slice_pread(struct file *f, void *buf, size_t len, uint64_t off)
{
    int r = file_pread(slice_of(f)->parent, buf, len, slice_of(f)->off + off);
    return r == -ENODATA ? -EIO : r; /* the slice lay inside when it was made */
}

static int slice_map(struct file *f, uint64_t off, uint64_t len, struct extent *ret)
{
    return file_map(slice_of(f)->parent, slice_of(f)->off + off, len, ret);
}

static bool slice_map_stays(struct file *f)
{
    return file_map_stays(slice_of(f)->parent);
}

static void slice_advise(struct file *f, uint64_t off, uint64_t len)
{
    file_advise(slice_of(f)->parent, slice_of(f)->off + off, len);
}

static int slice_open_ref(struct file *f, const char *role, const char *name, struct file **ret,
                          struct fault *fault)
{
    struct file_slice *s = slice_of(f);
    if (!s->open_ref)
        return fault_in(fault, -EPERM, f->name, "%s \"%s\" can't be referred to from here", role, name);
    return s->open_ref(s->ctx, f, role, name, ret, fault);
}

static void slice_close(struct file *f)
{
    file_unref(slice_of(f)->parent);
    free(f);
}

static int slice_place(struct file *f, struct file_place *ret)
{
    int r = file_place(slice_of(f)->parent, ret);
    if (r < 0 || !ret->path)
        return r;
    ret->whole &= slice_of(f)->off == 0 && f->size == ret->length;
    ret->offset += slice_of(f)->off;
    ret->length = f->size;
    return 0;
}

static const struct file_ops slice_ops = {
    .name = "slice",
    .place = slice_place,
    .pread = slice_pread,
    .map = slice_map,
    .map_stays = slice_map_stays,
    .advise = slice_advise,
    .open_ref = slice_open_ref,
    .close = slice_close,
};

int file_slice_new(struct file *parent, uint64_t off, uint64_t len, const char *name,
                   file_open_ref_fn open_ref, void *ctx, struct file **ret)
{
    if (!range_inside(off, len, parent->size))
        return -ENODATA;
    struct file_slice *s = calloc(1, sizeof *s);
    char *copy = strdup(name);
    if (!s || !copy) {
        free(s);
        free(copy);
        return -ENOMEM;
    }
    s->file = (struct file){ .ops = &slice_ops, .refs = 1, .size = len, .name = copy, .id = parent->id };
    s->file.id.offset += off;
    s->parent = file_ref(parent);
    s->off = off;
    s->open_ref = open_ref;
    s->ctx = ctx;
    *ret = &s->file;
    return 0;
}

/* ---- memory ---- */

struct file_memory {
    struct file file;
    uint8_t data[];
};

static int memory_pread(struct file *f, void *buf, size_t len, uint64_t off)
{
    memcpy(buf, ((struct file_memory *)(void *)f)->data + off, len);
    return 0;
}

static int memory_open_ref(struct file *f, const char *role, const char *name, struct file **ret,
                           struct fault *fault)
{
    (void)ret;
    return fault_in(fault, -ENOENT, f->name, "%s \"%s\" is missing", role, name);
}

static void memory_close(struct file *f)
{
    free(f);
}

static const struct file_ops memory_ops = {
    .name = "memory",
    .pread = memory_pread,
    .open_ref = memory_open_ref,
    .close = memory_close,
};

int file_memory_new(const void *data, size_t len, const char *name, struct file **ret)
{
    struct file_memory *m = malloc(sizeof *m + len);
    char *copy = strdup(name);
    if (!m || !copy) {
        free(m);
        free(copy);
        return -ENOMEM;
    }
    m->file = (struct file){ .ops = &memory_ops, .refs = 1, .size = len, .name = copy };
    if (len)
        memcpy(m->data, data, len);
    *ret = &m->file;
    return 0;
}
