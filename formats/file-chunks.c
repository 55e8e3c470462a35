/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An OVF's file that was cut into chunks. The parts may be of any length: that all but the last have the
 * OVF's chunkSize is the affair of vm-ovf-file.c, which knows it. */
#include "file-chunks.h"
#include "checked.h"

#include <errno.h>
#include <string.h>

struct part {
    struct file *file;
    uint64_t start; /* in the whole */
};

struct file_chunks {
    struct file file;
    size_t n;
    struct part part[];
};

static struct file_chunks *chunks_of(struct file *f)
{
    return (struct file_chunks *)(void *)f;
}

/* The part in which the byte lies, which is inside the file. */
static const struct part *find(const struct file_chunks *c, uint64_t off)
{
    size_t low = 0, high = c->n;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (c->part[middle].start <= off)
            low = middle;
        else
            high = middle;
    }
    return &c->part[low];
}

static int chunks_pread(struct file *f, void *buf, size_t len, uint64_t off)
{
    for (size_t done = 0; done < len;) {
        const struct part *p = find(chunks_of(f), off + done);
        uint64_t within = off + done - p->start;
        size_t n = (size_t)min_u64(len - done, p->file->size - within);
        int r = file_pread(p->file, (uint8_t *)buf + done, n, within);
        if (r < 0)
            return r == -ENODATA ? -EIO : r;
        done += n;
    }
    return 0;
}

static int chunks_map(struct file *f, uint64_t off, uint64_t len, struct extent *ret)
{
    const struct part *p = find(chunks_of(f), off);
    return file_map(p->file, off - p->start, len, ret);
}

static void chunks_advise(struct file *f, uint64_t off, uint64_t len)
{
    for (uint64_t end = off + len; off < end;) {
        const struct part *p = find(chunks_of(f), off);
        uint64_t n = min_u64(end - off, p->file->size - (off - p->start));
        file_advise(p->file, off - p->start, n);
        off += n;
    }
}

static int chunks_open_ref(struct file *f, const char *role, const char *name, struct file **ret,
                           struct fault *fault)
{
    return file_open_ref(chunks_of(f)->part[0].file, role, name, ret, fault);
}

static void chunks_close(struct file *f)
{
    struct file_chunks *c = chunks_of(f);
    for (size_t i = 0; i < c->n; i++)
        file_unref(c->part[i].file);
    free(c);
}

static const struct file_ops chunks_ops = {
    .name = "chunks",
    .pread = chunks_pread,
    .map = chunks_map,
    .advise = chunks_advise,
    .open_ref = chunks_open_ref,
    .close = chunks_close,
};

int file_chunks_new(struct file *const *parts, size_t n, const char *name, struct file **ret)
{
    struct file_chunks *c = calloc(1, sizeof *c + n * sizeof c->part[0]);
    char *copy = strdup(name);
    uint64_t size = 0;
    bool fits = true;
    for (size_t i = 0; c && i < n; i++) {
        if (!parts[i]->size) /* holds no byte, and would hide from find() what begins at the same place */
            continue;
        c->part[c->n++] = (struct part){ .file = file_ref(parts[i]), .start = size };
        fits = fits && checked_add(size, parts[i]->size, &size);
    }
    if (c && !c->n)
        c->part[c->n++] = (struct part){ .file = file_ref(parts[0]) };
    if (c)
        c->file = (struct file){ .ops = &chunks_ops, .refs = 1, .size = size, .name = copy };
    if (!c || !copy || !fits || size > INT64_MAX) {
        free(copy);
        if (c)
            chunks_close(&c->file);
        return c && copy ? -EFBIG : -ENOMEM;
    }
    c->file.id = parts[0]->id;
    *ret = &c->file;
    return 0;
}
