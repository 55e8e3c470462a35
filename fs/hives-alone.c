/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A hive as the mount's source. It is never written: edits live in memory, and with overlay=DIR a commit
 * writes the whole hive as it now is beside DIR/NAME, and renames it. The next mount with DIR goes on there,
 * if the source is still the one that was edited: a note in the overlay says which that is. */
#include "hives-impl.h"

#include "../formats/bytes.h"
#include "../formats/cleanup.h"
#include "../formats/hash.h"
#include "../registry/hive-file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

bool hives_is_hive(const char *path)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;
    uint8_t head[36];
    struct bad bad = { 0 };
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
        pread(fd, head, sizeof head, 0) != sizeof head)
        return false;
    struct bytes b = bytes_of(head, sizeof head, 0, &bad);
    return bytes_match(b, 0, "regf", 4) && le32(b, 28) == 0;
}

static bool kept_path(const struct ferry *f, const struct reg_hive *h, const char *suffix, char *ret,
                      size_t size)
{
    if (!f->options->overlay)
        return false;
    int n = snprintf(ret, size, "%s/%s%s", f->options->overlay, h->name, suffix);
    return n > 0 && (size_t)n < size;
}

/* A hive file that says it can be written, and never is: the engine wants it said. */
struct shield {
    struct hive_file file;
    struct hive_file *below;
    struct hive_file_ops ops;
};

static int shield_pread(struct hive_file *f, void *buf, size_t len, uint64_t off)
{
    struct hive_file *below = ((struct shield *)(void *)f)->below;
    return below->ops->pread(below, buf, len, off);
}

static int shield_pwrite(struct hive_file *f, const void *buf, size_t len, uint64_t off)
{
    (void)f;
    (void)buf;
    (void)len;
    (void)off;
    return -EROFS;
}

static int shield_truncate(struct hive_file *f, uint64_t size)
{
    (void)f;
    (void)size;
    return -EROFS;
}

static void shield_close(struct hive_file *f)
{
    struct shield *s = (struct shield *)(void *)f;
    s->below->ops->close(s->below);
    free(s);
}

static const struct hive_file_ops shield_ops = {
    .pread = shield_pread,
    .pwrite = shield_pwrite,
    .truncate = shield_truncate,
    .close = shield_close,
};

static int shield_put(struct hive_file **f)
{
    if (!*f)
        return 0;
    struct shield *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    s->below = *f;
    s->file = (struct hive_file){ .ops = &shield_ops, .size = (*f)->size, .name = (*f)->name };
    *f = &s->file;
    return 0;
}

int hives_alone_files(struct ferry *f, const struct reg_hive *h, struct hive_files *ret, struct fault *fault)
{
    char kept[4096];
    bool has_kept = kept_path(f, h, "", kept, sizeof kept) && access(kept, F_OK) == 0;
    int r = hive_files_open(has_kept ? kept : h->path, false, ret, fault);
    struct hive_file **files[] = { &ret->primary, &ret->log, &ret->log1, &ret->log2 };
    for (int i = 0; i < 4 && !r && ferry_writable(f); i++)
        r = shield_put(files[i]);
    if (r == -ENOMEM) {
        hive_files_close(ret);
        fault_in(fault, r, h->path, "out of memory");
    }
    return r;
}

/* ---- the binding ---- */

static const char bound_note[] = "hive";

/* The digest of the source, hexadecimal. */
static int digest_source(const char *path, char ret[DIGEST_HEX_MAX])
{
    enum { PIECE = 1 << 20 };
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    _cleanup_free_ char *buf = malloc(PIECE);
    _cleanup_(digest_freep) struct digest *d = NULL;
    if (fd < 0)
        return -errno;
    if (!buf || digest_new("SHA256", &d) < 0)
        return -ENOMEM;
    ssize_t n;
    while ((n = read(fd, buf, PIECE)) > 0)
        digest_update(d, buf, (size_t)n);
    if (n < 0)
        return -errno;
    digest_final(d, ret);
    return 0;
}

int hives_alone_bind(struct ferry *f, const struct reg_hive *h, struct fault *fault)
{
    char kept[4096], is[DIGEST_HEX_MAX];
    if (!f->overlay || !kept_path(f, h, "", kept, sizeof kept))
        return 0;
    if (!strcmp(h->name, "lock") || !strcmp(h->name, "commit.json"))
        return fault_in(fault, -EINVAL, h->path,
                        "has a name that the overlay's directory needs itself: rename it");
    int r = digest_source(h->path, is);
    if (r < 0)
        return fault_in(fault, r, h->path, "can't be read: %s", strerror(-r));
    const char *was = overlay_note(f->overlay, bound_note);
    if (was && strcmp(was, is) != 0 && access(kept, F_OK) == 0 && !f->options->rebind) {
        fault_in(fault, -ESTALE, h->path,
                 "isn't the hive that the edits in %s were made for: its content differs", kept);
        return fault_hint(fault, -ESTALE,
                          "name the right hive, or another directory for the overlay; with -o rebind the "
                          "edited hive is taken as it is");
    }
    if (!was || strcmp(was, is) != 0)
        r = overlay_note_set(f->overlay, bound_note, is); /* durable with the first commit */
    return r < 0 ? fault_in(fault, r, h->path, "out of memory") : 0;
}

/* ---- commits ---- */

static int write_image(int fd, const struct hive *h)
{
    uint64_t size = hive_image_size(h);
    _cleanup_free_ char *buf = malloc(1 << 20);
    if (!buf)
        return -ENOMEM;
    for (uint64_t off = 0; off < size;) {
        size_t n = size - off < 1 << 20 ? (size_t)(size - off) : 1 << 20;
        int r = hive_image_read(h, buf, n, off);
        if (r < 0)
            return r;
        for (size_t done = 0; done < n;) {
            ssize_t w = pwrite(fd, buf + done, n - done, (off_t)(off + done));
            if (w < 0 && errno != EINTR)
                return -errno;
            done += w > 0 ? (size_t)w : 0;
        }
        off += n;
    }
    return fsync(fd) < 0 ? -errno : 0;
}

int hives_alone_commit(struct ferry *f, struct reg_hive *h)
{
    char path[4096], fresh[4096];
    if (!kept_path(f, h, "", path, sizeof path) || !kept_path(f, h, ".new", fresh, sizeof fresh))
        return 0; /* scratch: nothing is kept */
    _cleanup_close_ int fd = open(fresh, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int r = write_image(fd, h->hive);
    if (!r && rename(fresh, path) < 0)
        r = -errno;
    if (r < 0) {
        unlink(fresh);
        return r;
    }
    _cleanup_close_ int dir = open(f->options->overlay, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return dir < 0 || fsync(dir) < 0 ? -errno : 0;
}
