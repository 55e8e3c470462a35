/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_TESTS_VOLUME_WRITE_H
#define FERRYFS_TESTS_VOLUME_WRITE_H
/* Fuzzing of what writes a file system: a small volume in memory, made by the system's own mkfs at the start,
 * on which the input's bytes are operations.
 *
 *     which volume and how many patches u8 | place u32, byte u8 | ... | operations
 *
 * Without patches the volume goes with tests/unit/volume-model.c: each operation gives what the model says,
 * and all that was written is read back equal, at last by a driver that opens it afresh. With patches nothing
 * is known of what operations give: then it is that none crashes or hangs, and that the volume can still be
 * opened and walked (or is refused). */
#include "../unit/ext-tree.h"
#include "../unit/unit.h"
#include "../unit/volume-model.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

enum {
    FUZZ_PATCHES = 8,
    FUZZ_STEPS = 150,
    FUZZ_INODES = 24,
    FUZZ_OPEN = 6,
    FUZZ_WALK_NAMES = 60,
    FUZZ_WALK_BYTES = 1 << 20,
    FUZZ_PAGE = 4096,
};

/* ---- the volume ---- */

struct fuzz_disk {
    struct disk disk;
    const uint8_t *pristine; /* not owned */
    uint8_t *bytes;          /* owned */
    uint8_t *dirty;          /* owned: of each page, was it written? */
};

static inline void fuzz_mark(struct fuzz_disk *d, uint64_t off, size_t len)
{
    for (uint64_t i = off / FUZZ_PAGE; len && i <= (off + len - 1) / FUZZ_PAGE; i++)
        d->dirty[i] = 1;
}

static inline int fuzz_pread(struct disk *disk, void *buf, size_t len, uint64_t off, const struct extent *e)
{
    (void)e;
    memcpy(buf, ((struct fuzz_disk *)(void *)disk)->bytes + off, len);
    return 0;
}

static inline int fuzz_pwrite(struct disk *disk, const void *buf, size_t len, uint64_t off)
{
    struct fuzz_disk *d = (struct fuzz_disk *)(void *)disk;
    if (off > disk->size || len > disk->size - off)
        abort();
    memcpy(d->bytes + off, buf, len);
    fuzz_mark(d, off, len);
    return 0;
}

/* What a discarded range reads as is open: here it is what no file system wants to find. */
static inline int fuzz_discard(struct disk *disk, uint64_t off, uint64_t len)
{
    struct fuzz_disk *d = (struct fuzz_disk *)(void *)disk;
    if (off > disk->size || len > disk->size - off)
        abort();
    memset(d->bytes + off, 0xdd, len);
    fuzz_mark(d, off, len);
    return 0;
}

/* Takes over `pristine`, which lives on. */
static inline struct fuzz_disk fuzz_disk(const uint8_t *pristine, size_t size)
{
    static const struct disk_ops ops = { .name = "fuzz",
                                         .pread = fuzz_pread,
                                         .map = memory_map,
                                         .pwrite = fuzz_pwrite,
                                         .discard = fuzz_discard,
                                         .close = memory_close };
    struct fuzz_disk d = { .disk = { &ops, size }, .pristine = pristine };
    d.bytes = malloc(size);
    d.dirty = calloc(1, size / FUZZ_PAGE + 1);
    if (!d.bytes || !d.dirty)
        abort();
    memcpy(d.bytes, pristine, size);
    return d;
}

static inline void fuzz_restore(struct fuzz_disk *d)
{
    for (uint64_t i = 0; i * FUZZ_PAGE < d->disk.size; i++)
        if (d->dirty[i])
            memcpy(d->bytes + i * FUZZ_PAGE, d->pristine + i * FUZZ_PAGE,
                   min_u64(FUZZ_PAGE, d->disk.size - i * FUZZ_PAGE));
    memset(d->dirty, 0, d->disk.size / FUZZ_PAGE + 1);
}

/* The volume that `command` makes of the file whose name is put in for %s. */
static inline struct fuzz_disk fuzz_mkfs(const char *command, size_t size)
{
    char path[] = "/tmp/ferryfs-fuzz-XXXXXX", line[400];
    int fd = mkstemp(path);
    uint8_t *bytes = malloc(size);
    if (fd < 0 || !bytes || ftruncate(fd, (off_t)size))
        abort();
    snprintf(line, sizeof line, "PATH=$PATH:/usr/sbin:/sbin; f=%s; %s >/dev/null 2>&1", path, command);
    bool made = !system(line) && pread(fd, bytes, size, 0) == (ssize_t)size;
    close(fd);
    unlink(path);
    if (!made) {
        fprintf(stderr, "failed: %s\n", line);
        exit(1);
    }
    return fuzz_disk(bytes, size);
}

/* ---- operations on what may be damaged ---- */

struct blind {
    struct volume *v;
    const uint8_t *data;
    size_t left;
    uint64_t inodes[FUZZ_INODES]; /* files and directories that were seen */
    struct volume_file *open[FUZZ_OPEN];
    char names[FUZZ_INODES][256]; /* that were seen */
};

static inline uint32_t blind_draw(struct blind *b, uint32_t n)
{
    uint32_t v = 0;
    for (uint32_t range = n - 1; range && b->left; range >>= 8) {
        v = v << 8 | *b->data++;
        b->left--;
    }
    return v % n;
}

static inline uint64_t blind_inode(struct blind *b)
{
    return b->inodes[blind_draw(b, FUZZ_INODES)];
}

static inline const char *blind_name(struct blind *b)
{
    return b->names[blind_draw(b, FUZZ_INODES)];
}

static inline int blind_see(void *ctx, const char *name, uint64_t ino, mode_t type, uint64_t next)
{
    struct blind *b = ctx;
    (void)type;
    size_t i = next % (FUZZ_INODES - 4) + 4;
    b->inodes[i] = ino;
    snprintf(b->names[i], sizeof b->names[i], "%s", name);
    return !blind_draw(b, 16);
}

static inline void blind_begin(struct blind *b)
{
    for (unsigned i = 0; i < FUZZ_INODES; i++) {
        b->inodes[i] = VOLUME_ROOT;
        snprintf(b->names[i], sizeof b->names[i], i % 2 ? "a name of more than 8.3 %u" : "n%u", i);
    }
    b->v->ops->readdir(b->v, VOLUME_ROOT, 0, blind_see, b);
}

static inline void blind_create(struct blind *b)
{
    static const mode_t types[] = { S_IFREG | 0644, S_IFDIR | 0755, S_IFLNK | 0777, S_IFIFO | 0600 };
    struct volume_new what = { .mode = types[blind_draw(b, 4)], .target = "../where/it/leads" };
    uint64_t dir = blind_inode(b), ino;
    if (!b->v->ops->create(b->v, dir, blind_name(b), &what, &ino))
        b->inodes[blind_draw(b, FUZZ_INODES)] = ino;
}

static inline struct volume_file *blind_file(struct blind *b)
{
    struct volume_file **f = &b->open[blind_draw(b, FUZZ_OPEN)];
    if (*f && !blind_draw(b, 8)) {
        b->v->ops->release(*f);
        *f = NULL;
    }
    if (!*f && b->v->ops->open(b->v, blind_inode(b), f))
        *f = NULL;
    return *f;
}

static inline void blind_content(struct blind *b)
{
    static const int modes[] = { 0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                 FALLOC_FL_ZERO_RANGE };
    static uint8_t buf[40000];
    struct volume_file *f = blind_file(b);
    size_t n, len = 1 + blind_draw(b, sizeof buf);
    uint64_t off = (uint64_t)blind_draw(b, 1000) << blind_draw(b, 12);
    struct extent e;
    if (!f)
        return;
    switch (blind_draw(b, 4)) {
    case 0:
        b->v->ops->read(f, buf, len, off, &n);
        break;
    case 1:
        if (b->v->ops->map)
            b->v->ops->map(f, off, len, &e);
        break;
    case 2:
        if (b->v->ops->fallocate)
            b->v->ops->fallocate(f, modes[blind_draw(b, 4)], off, len);
        break;
    default:
        memset(buf, (int)blind_draw(b, 256), len);
        b->v->ops->write(f, buf, len, off);
    }
}

static inline void blind_attributes(struct blind *b)
{
    static const char *const xattrs[] = { "user.a", "user.other", "trusted.x" };
    char buf[2000] = "value";
    size_t n;
    uint64_t ino = blind_inode(b);
    const char *name = xattrs[blind_draw(b, 3)];
    struct volume_attr a = { .mode = 0600, .size = (uint64_t)blind_draw(b, 1000) << blind_draw(b, 12) };
    enum link_style style;
    switch (blind_draw(b, 6)) {
    case 0:
        if (b->v->ops->setxattr)
            b->v->ops->setxattr(b->v, ino, name, buf, blind_draw(b, sizeof buf), 0);
        break;
    case 1:
        if (b->v->ops->removexattr)
            b->v->ops->removexattr(b->v, ino, name);
        break;
    case 2:
        if (b->v->ops->getxattr)
            b->v->ops->getxattr(b->v, ino, name, buf, sizeof buf, &n);
        break;
    case 3:
        b->v->ops->setattr(b->v, ino, &a, SET_MODE | SET_UID | SET_MTIME);
        break;
    case 4:
        if (b->v->ops->link)
            b->v->ops->link(b->v, ino, buf, sizeof buf, &style);
        break;
    default:
        b->v->ops->setattr(b->v, ino, &a, SET_SIZE);
    }
}

static inline void blind_names(struct blind *b)
{
    uint64_t dir = blind_inode(b), to = blind_inode(b), found;
    const char *name = blind_name(b), *new_name = blind_name(b);
    switch (blind_draw(b, 6)) {
    case 0:
        b->v->ops->unlink(b->v, dir, name);
        break;
    case 1:
        b->v->ops->rmdir(b->v, dir, name);
        break;
    case 2:
        if (b->v->ops->hardlink)
            b->v->ops->hardlink(b->v, to, dir, name);
        break;
    case 3:
        if (!b->v->ops->lookup(b->v, dir, name, &found))
            b->inodes[blind_draw(b, FUZZ_INODES)] = found;
        break;
    default:
        b->v->ops->rename(b->v, dir, name, to, new_name, blind_draw(b, 4) ? 0 : RENAME_NOREPLACE);
    }
}

static inline void blind_step(struct blind *b)
{
    unsigned left = 100;
    switch (blind_draw(b, 12)) {
    case 0:
    case 1:
    case 2:
        blind_create(b);
        break;
    case 3:
    case 4:
    case 5:
        blind_content(b);
        break;
    case 6:
    case 7:
        blind_attributes(b);
        break;
    case 8:
        b->v->ops->readdir(b->v, blind_inode(b), 0, blind_see, b);
        break;
    case 9:
        if (b->v->ops->sync)
            b->v->ops->sync(b->v);
        if (b->v->ops->pieces)
            b->v->ops->pieces(b->v, blind_inode(b), tree_piece, &left);
        break;
    default:
        blind_names(b);
    }
}

static inline void blind_run(struct volume *v, const uint8_t *data, size_t n)
{
    static struct blind b;
    b = (struct blind){ .v = v, .data = data, .left = n };
    blind_begin(&b);
    for (unsigned i = 0; i < FUZZ_STEPS && b.left; i++)
        blind_step(&b);
    for (unsigned i = 0; i < FUZZ_OPEN; i++)
        if (b.open[i])
            v->ops->release(b.open[i]);
    if (v->ops->sync)
        v->ops->sync(v);
}

/* ---- the whole ---- */

struct fuzz_session {
    struct cache *cache;
    struct volume *v; /* NULL: refused */
};

static inline struct fuzz_session fuzz_open(const struct volume_driver *driver, struct fuzz_disk *d)
{
    struct fuzz_session s = { .cache = cache_new(1 << 20, NULL) };
    struct fault fault = { 0 };
    if (driver->open_writable(&d->disk, "disk0", s.cache, 0, &s.v, &fault))
        s.v = NULL;
    else if (s.v->writable && s.v->ops->recover)
        s.v->ops->recover(s.v);
    return s;
}

static inline void fuzz_close(struct fuzz_session *s)
{
    volume_close(s->v);
    cache_free(s->cache);
}

static inline void fuzz_model(const struct volume_driver *driver, struct fuzz_disk *d, unsigned features,
                              const char *extra, const uint8_t *data, size_t n)
{
    struct fuzz_session s = fuzz_open(driver, d);
    struct model *m = model_new(features, 0);
    int r = !s.v || !s.v->writable ? -EROFS : extra ? s.v->ops->rmdir(s.v, VOLUME_ROOT, extra) : 0;
    if (r < 0) {
        fprintf(stderr, "%s: %s\n", strerror(-r), s.v ? s.v->read_only_why : "refused");
        abort();
    }
    model_input(m, data, n);
    model_attach(m, s.v);
    for (unsigned i = 0; i < FUZZ_STEPS && model_input_left(m); i++)
        model_step(m);
    model_compare(m);
    model_detach(m);
    if (s.v->ops->sync(s.v))
        abort();
    fuzz_close(&s);
    s = fuzz_open(driver, d);
    if (!s.v || !s.v->writable)
        abort();
    model_attach(m, s.v);
    model_compare(m);
    model_detach(m);
    fuzz_close(&s);
    model_free(m);
}

static inline void fuzz_damaged(const struct volume_driver *driver, struct fuzz_disk *d, const uint8_t *data,
                                size_t n)
{
    struct fuzz_session s = fuzz_open(driver, d);
    if (s.v && s.v->writable)
        blind_run(s.v, data, n);
    fuzz_close(&s);
    s = fuzz_open(driver, d);
    if (s.v)
        free(tree_read(s.v, FUZZ_WALK_NAMES, FUZZ_WALK_BYTES));
    fuzz_close(&s);
}

/* One input on one of `n_disks` volumes. `extra`: a directory that mkfs makes; NULL. */
static inline int fuzz_write(const struct volume_driver *driver, struct fuzz_disk *disks, size_t n_disks,
                             unsigned features, const char *extra, const uint8_t *data, size_t n)
{
    if (!n)
        return 0;
    struct fuzz_disk *d = &disks[data[0] / (FUZZ_PATCHES + 1) % n_disks];
    unsigned patches = data[0] % (FUZZ_PATCHES + 1);
    data++, n--;
    for (unsigned i = 0; i < patches && n >= 5; i++, data += 5, n -= 5) {
        uint32_t at;
        memcpy(&at, data, sizeof at);
        fuzz_pwrite(&d->disk, data + 4, 1, le32toh(at) % d->disk.size);
    }
    if (patches)
        fuzz_damaged(driver, d, data, n);
    else
        fuzz_model(driver, d, features, extra, data, n);
    fuzz_restore(d);
    return 0;
}
#endif
