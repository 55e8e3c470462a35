/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Any bytes as a FAT volume: the whole tree is walked, within bounds. Every name that is listed can be looked
 * up, every file reads the same in one piece and in two, and never past its size. */
#include "guest/volume.h"
#include "../unit/memdisk.h"

#include <assert.h>

extern const struct volume_driver fat_driver;

enum { LENGTH_MAX = 4 << 20, ENTRIES_MAX = 300, DEPTH_MAX = 4, READ_MAX = 20000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct walk {
    struct volume *v;
    uint64_t dir;
    unsigned entries, depth;
};

static void check_file(struct volume *v, uint64_t ino)
{
    static uint8_t a[READ_MAX], b[READ_MAX];
    struct volume_file *f;
    struct volume_attr attr;
    size_t n = 0, m = 0, rest = 0;
    int r = v->ops->getattr(v, ino, &attr);
    assert(r == 0 && S_ISREG(attr.mode));
    r = v->ops->open(v, ino, &f);
    assert(r == 0);
    r = v->ops->read(f, a, sizeof a, 0, &n);
    if (r == 0) {
        assert(n <= attr.size && (n == sizeof a || n == attr.size));
        size_t half = n / 2 + 1;
        r = v->ops->read(f, b, half, 0, &m);
        assert(r == 0 && m == (half < n ? half : n));
        r = v->ops->read(f, b + m, sizeof b - m, m, &rest);
        assert(r == 0 && m + rest == n && !memcmp(a, b, n));
    } else {
        assert(r == -EIO && attr.size);
    }
    r = v->ops->read(f, a, 10, attr.size, &n);
    assert(r == 0 && n == 0);
    v->ops->release(f);
}

static int each(void *ctx, const char *name, uint64_t ino, mode_t type, uint64_t next)
{
    struct walk *w = ctx;
    uint64_t found;
    if (w->entries >= ENTRIES_MAX)
        return 1;
    w->entries++;
    assert(name[0] && !strchr(name, '/') && strcmp(name, ".") && strcmp(name, ".."));
    assert(ino > VOLUME_ROOT && next);
    int r = w->v->ops->lookup(w->v, w->dir, name, &found);
    assert(r == 0); /* it, or one of the same name before it */
    if (type == S_IFREG) {
        check_file(w->v, ino);
    } else if (w->depth < DEPTH_MAX) {
        uint64_t dir = w->dir;
        w->depth++;
        w->dir = ino;
        w->v->ops->readdir(w->v, ino, 0, each, w);
        w->dir = dir;
        w->depth--;
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n > LENGTH_MAX)
        return 0;
    struct memdisk d = memdisk_of(data, n);
    struct cache *cache = cache_new(1 << 20, NULL);
    struct fault fault = { 0 };
    struct walk w = { .dir = VOLUME_ROOT };
    if (fat_driver.open(&d.disk, "fuzz", cache, &w.v, &fault) == 0) {
        struct volume_attr attr;
        int r = w.v->ops->getattr(w.v, VOLUME_ROOT, &attr);
        assert(r == 0 && S_ISDIR(attr.mode));
        w.v->ops->readdir(w.v, VOLUME_ROOT, 0, each, &w);
        struct statvfs st;
        if (w.v->ops->statfs(w.v, &st) == 0)
            assert(st.f_bfree <= st.f_blocks);
        uint64_t ino;
        w.v->ops->lookup(w.v, VOLUME_ROOT, "no such name", &ino);
        volume_close(w.v);
    } else {
        assert(fault.err && fault.what[0]);
    }
    cache_free(cache);
    return 0;
}
