/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The files that a list of changes concerns: looked at, changed, and put back as they were. What is replaced
 * is written in place, so that owner, mode, attributes and hard links stay. */
#include "changes-impl.h"

#include "hives.h"

#include "../formats/bytes.h"
#include "../formats/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

enum { PIECE = 1 << 20, XATTRS_MAX = 1 << 20 };

/* A name in a directory, and what has it. */
struct spot {
    struct volume *volume; /* of the directory */
    uint64_t dir;
    char name[256];
    bool there;
    struct volume *own; /* of the thing itself */
    size_t own_index;
    uint64_t ino;
};

/* Whose path it is, which then begins there: the guest's, or a volume's. */
static int realm_of(struct ferry *f, const char **path, struct realm *ret)
{
    static const char volumes[] = PREPARE_VOLUMES;
    struct guest *g = ferry_guest(f);
    if (!g || f->options->os >= g->n_systems)
        return -ENOENT;
    *ret = (struct realm){ g, &g->systems[f->options->os], 0 };
    if (!path || strncmp(*path, volumes, sizeof volumes - 1) != 0)
        return 0;
    const char *name = *path + sizeof volumes - 1;
    size_t n = strcspn(name, "/");
    for (size_t i = 0; i < g->n_volumes; i++)
        if (g->volumes[i].volume && !strncmp(g->volumes[i].name, name, n) && !g->volumes[i].name[n]) {
            *ret = (struct realm){ g, NULL, i };
            *path = name + n + (name[n] == '/');
            return 0;
        }
    return -ENOENT;
}

static struct volume *volume_at(const struct realm *r, struct place p)
{
    return p.volume < r->guest->n_volumes ? r->guest->volumes[p.volume].volume : NULL;
}

static int resolve(struct ferry *f, const char *path, struct volume **ret, struct place *ret_place)
{
    struct realm realm;
    int r = realm_of(f, &path, &realm);
    if (!r)
        r = realm_resolve(&realm, path, ret_place);
    if (r < 0)
        return r;
    *ret = volume_at(&realm, *ret_place);
    return *ret ? 0 : -EISDIR;
}

/* The path's directory, followed, and its last name, which isn't. -ENOENT: no such directory. */
static int find_spot(struct ferry *f, const char *path, struct spot *ret)
{
    struct realm realm;
    struct place dir, own;
    *ret = (struct spot){ 0 };
    int r = realm_of(f, &path, &realm);
    if (r < 0)
        return r;
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    _cleanup_free_ char *parent = strndup(path, slash ? (size_t)(slash - path) : 0);
    if (!parent)
        return -ENOMEM;
    if (!*name || strlen(name) >= sizeof ret->name || !strcmp(name, ".") || !strcmp(name, ".."))
        return -EINVAL;
    r = realm_resolve(&realm, parent, &dir);
    if (r < 0)
        return r;
    strcpy(ret->name, name);
    ret->volume = volume_at(&realm, dir);
    ret->dir = dir.ino;
    if (!ret->volume)
        return -EROFS; /* Windows' list of letters */
    r = realm_lookup(&realm, dir, name, &own);
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return r;
    ret->there = true;
    ret->own = volume_at(&realm, own);
    ret->own_index = own.volume;
    ret->ino = own.ino;
    return ret->own == ret->volume ? 0 : -EBUSY; /* a mount point */
}

/* Where an edit through this path ends: the last link followed, too. */
static int find_target(struct ferry *f, const char *path, struct spot *ret)
{
    int r = find_spot(f, path, ret);
    struct volume_attr a;
    if (!r && ret->there)
        r = ret->own->ops->getattr(ret->own, ret->ino, &a);
    if (r < 0 || !ret->there || !S_ISLNK(a.mode))
        return r;
    struct place p;
    r = resolve(f, path, &ret->own, &p);
    if (r < 0)
        return r == -ENOENT ? -EEXIST : r; /* a link into nowhere: nothing is made behind it */
    ret->own_index = p.volume;
    ret->ino = p.ino;
    return 0;
}

/* ---- looking ---- */

int file_stat(struct ferry *f, const char *path, struct prepare_stat *ret)
{
    struct volume *v;
    struct place p;
    struct volume_attr a;
    int r = resolve(f, path, &v, &p);
    if (!r)
        r = v->ops->getattr(v, p.ino, &a);
    if (!r)
        *ret = (struct prepare_stat){ a.mode, a.size };
    return r;
}

int file_uuid(struct ferry *f, const char *device, char *buf, size_t size)
{
    struct realm realm;
    int r = realm_of(f, NULL, &realm);
    const struct guest_volume *v = r < 0 ? NULL : guest_find_device(realm.guest, device);
    if (!v || !v->signature.uuid[0])
        return -ENOENT;
    snprintf(buf, size, "%s", v->signature.uuid);
    return 0;
}

static int read_all(struct volume_file *file, void *buf, size_t len, uint64_t off, size_t *ret_len)
{
    *ret_len = 0;
    while (*ret_len < len) {
        size_t n = 0;
        int r = file->volume->ops->read(file, (char *)buf + *ret_len, len - *ret_len, off + *ret_len, &n);
        if (r < 0)
            return r;
        if (!n)
            break;
        *ret_len += n;
    }
    return 0;
}

static int open_regular(struct volume *v, uint64_t ino, struct volume_attr *a, struct volume_file **ret)
{
    int r = v->ops->getattr(v, ino, a);
    if (!r && !S_ISREG(a->mode))
        r = S_ISDIR(a->mode) ? -EISDIR : -EINVAL;
    return r < 0 ? r : v->ops->open(v, ino, ret);
}

int file_read_at(struct ferry *f, const char *path, void *buf, size_t len, uint64_t off, size_t *ret_len)
{
    struct volume *v;
    struct place p;
    struct volume_attr a;
    struct volume_file *file;
    int r = resolve(f, path, &v, &p);
    if (!r)
        r = open_regular(v, p.ino, &a, &file);
    if (r < 0)
        return r;
    r = read_all(file, buf, len, off, ret_len);
    v->ops->release(file);
    return r;
}

static int slurp(struct volume *v, uint64_t ino, size_t max, uint8_t **ret, size_t *ret_n)
{
    struct volume_attr a;
    struct volume_file *file;
    int r = open_regular(v, ino, &a, &file);
    if (r < 0)
        return r;
    uint8_t *bytes = a.size > max ? NULL : malloc((size_t)a.size + 1);
    r = bytes ? read_all(file, bytes, (size_t)a.size, 0, ret_n) : a.size > max ? -EFBIG : -ENOMEM;
    v->ops->release(file);
    if (!r && *ret_n != a.size)
        r = -EIO;
    if (r < 0) {
        free(bytes);
        return r;
    }
    bytes[*ret_n] = 0;
    *ret = bytes;
    return 0;
}

int file_read(struct ferry *f, const char *path, size_t max, uint8_t **ret, size_t *ret_n)
{
    struct volume *v;
    struct place p;
    int r = resolve(f, path, &v, &p);
    return r < 0 ? r : slurp(v, p.ino, max, ret, ret_n);
}

struct listing {
    prepare_each fn;
    void *ctx;
    int r;
};

static int list_one(void *ctx, const char *name, uint64_t ino, mode_t type, uint64_t next)
{
    struct listing *l = ctx;
    (void)ino;
    (void)next;
    l->r = l->fn(l->ctx, name, type);
    return l->r != 0;
}

int file_list(struct ferry *f, const char *path, prepare_each fn, void *ctx)
{
    struct volume *v;
    struct place p;
    struct volume_attr a;
    struct listing l = { fn, ctx, 0 };
    int r = resolve(f, path, &v, &p);
    if (!r)
        r = v->ops->getattr(v, p.ino, &a);
    if (!r && !S_ISDIR(a.mode))
        r = -ENOTDIR;
    if (!r)
        r = v->ops->readdir(v, p.ino, 0, list_one, &l);
    return r < 0 ? r : l.r;
}

int file_readlink(struct ferry *f, const char *path, char *buf, size_t size)
{
    struct spot s;
    struct volume_attr a;
    enum link_style style;
    int r = find_spot(f, path, &s);
    if (!r && !s.there)
        r = -ENOENT;
    if (!r)
        r = s.own->ops->getattr(s.own, s.ino, &a);
    if (!r && !S_ISLNK(a.mode))
        r = -EINVAL;
    return r < 0 ? r : s.own->ops->link(s.own, s.ino, buf, size, &style);
}

/* ---- states ---- */

static int writable(const struct volume *v)
{
    return v->writable && v->ops->create && v->ops->write && v->ops->setattr ? 0 : -EROFS;
}

/* What NTFS keeps of a file without listing it, in the order in which it can be set: the 8.3 name, extended
 * attributes of OS/2, the id by which links find it, the attribute bits, the security descriptor, and all
 * four times, since the others change one of them. Other file systems have none of that. */
static const char *const unlisted[] = {
    "system.ntfs_dos_name", "system.ntfs_ea",  "system.ntfs_object_id",
    "system.ntfs_attrib",   "system.ntfs_acl", "system.ntfs_times",
};

/* name, NUL, 4 bytes of length, value. Without it: -ENODATA. */
static int pack_attribute(struct volume *v, uint64_t ino, const char *name, struct blob *b)
{
    size_t len = 0;
    int r = v->ops->getxattr(v, ino, name, NULL, 0, &len);
    if (!r && len > XATTRS_MAX)
        r = -EFBIG;
    _cleanup_free_ uint8_t *value = r < 0 ? NULL : malloc(len ? len : 1);
    if (!r && !value)
        r = -ENOMEM;
    if (!r && len)
        r = v->ops->getxattr(v, ino, name, value, len, &len);
    if (!r) {
        blob_put(b, name, strlen(name) + 1);
        blob_counted(b, value, len);
    }
    return r;
}

static int pack_listed(struct volume *v, uint64_t ino, struct blob *b)
{
    size_t n = 0;
    int r = v->ops->listxattr ? v->ops->listxattr(v, ino, NULL, 0, &n) : 0;
    if (r < 0 || !n || n > XATTRS_MAX)
        return r < 0 ? r : n ? -EFBIG : 0;
    _cleanup_free_ char *names = calloc(1, n + 1);
    if (!names)
        return -ENOMEM;
    r = v->ops->listxattr(v, ino, names, n, &n);
    for (const char *name = names; !r && name < names + n && *name; name += strlen(name) + 1)
        r = pack_attribute(v, ino, name, b);
    return r;
}

/* All that a file has besides what volume_attr says. */
static int pack_attributes(struct volume *v, uint64_t ino, struct change_state *s)
{
    struct blob b = { 0 };
    int r = pack_listed(v, ino, &b);
    for (size_t i = 0; !r && v->ops->getxattr && i < sizeof unlisted / sizeof unlisted[0]; i++) {
        r = pack_attribute(v, ino, unlisted[i], &b);
        if (r == -ENODATA || r == -EOPNOTSUPP)
            r = 0;
    }
    if (!r && b.failed)
        r = -ENOMEM;
    if (r < 0) {
        free(b.p);
        return r;
    }
    s->attributes = b.p;
    s->n_attributes = b.n;
    return 0;
}

/* The digest of all bytes from `from` on. */
static int sum_file(struct volume *v, uint64_t ino, uint64_t from, char ret[DIGEST_HEX_MAX])
{
    struct volume_attr a;
    struct volume_file *file;
    struct digest *d = NULL;
    _cleanup_free_ uint8_t *buf = malloc(PIECE);
    if (!buf)
        return -ENOMEM;
    int r = open_regular(v, ino, &a, &file);
    if (r < 0)
        return r;
    r = digest_new("SHA256", &d);
    for (size_t n = 1; !r && n; from += n) {
        r = read_all(file, buf, PIECE, from, &n);
        if (!r)
            digest_update(d, buf, n);
    }
    v->ops->release(file);
    if (!r)
        digest_final(d, ret);
    if (d)
        digest_free(d);
    return r;
}

static int keep_content(struct volume *v, uint64_t ino, uint64_t max, struct change_state *s)
{
    if (S_ISREG(s->type))
        return slurp(v, ino, max, &s->bytes, &s->n);
    if (!S_ISLNK(s->type))
        return S_ISDIR(s->type) ? 0 : -EINVAL; /* devices aren't ours to change */
    enum link_style style;
    s->bytes = calloc(1, 4097);
    int r = s->bytes ? v->ops->link(v, ino, (char *)s->bytes, 4097, &style) : -ENOMEM;
    s->n = r < 0 ? 0 : strlen((char *)s->bytes);
    return r;
}

int file_state(struct ferry *f, enum change_kind kind, const char *path, uint64_t keep, uint64_t from,
               struct change_state *ret)
{
    struct spot s;
    struct volume_attr a;
    bool content = kind == CHANGE_FILE || kind == CHANGE_APPEND;
    *ret = (struct change_state){ 0 };
    int r = content || kind == CHANGE_MKDIR ? find_target(f, path, &s) : find_spot(f, path, &s);
    if (!r && kind != CHANGE_MKDIR && f->overlay)
        r = writable(s.there && content ? s.own : s.volume);
    if (r == -ENOENT || (!r && !s.there))
        return r == -ENOENT || kind != CHANGE_MKDIR || !f->overlay ? 0 : writable(s.volume);
    if (!r)
        r = s.own->ops->getattr(s.own, s.ino, &a);
    if (!r && content && !S_ISREG(a.mode))
        r = S_ISDIR(a.mode) ? -EISDIR : -EINVAL;
    if (r < 0)
        return r;
    ret->there = true;
    ret->type = a.mode;
    ret->size = a.size;
    ret->uid = a.uid;
    ret->gid = a.gid;
    ret->mtime = a.mtime.tv_sec;
    ret->mtime_nsec = (uint32_t)a.mtime.tv_nsec;
    if (keep)
        r = keep_content(s.own, s.ino, keep, ret);
    if (!r && keep && !content)
        r = pack_attributes(s.own, s.ino, ret);
    if (!r && content && from != NO_SUM)
        r = sum_file(s.own, s.ino, from, ret->sum);
    if (r < 0)
        change_state_done(ret);
    return r;
}

/* ---- changing ---- */

static int write_bytes(struct volume *v, uint64_t ino, const uint8_t *bytes, size_t n, uint64_t off)
{
    struct volume_file *file;
    int r = v->ops->open(v, ino, &file);
    if (r < 0)
        return r;
    for (size_t done = 0; !r && done < n;) {
        size_t len = n - done < PIECE ? n - done : PIECE;
        r = v->ops->write(file, bytes + done, len, off + done);
        done += len;
    }
    v->ops->release(file);
    return r;
}

static int resize(struct volume *v, uint64_t ino, uint64_t size)
{
    struct volume_attr a = { .size = size };
    return v->ops->setattr(v, ino, &a, SET_SIZE);
}

static int set_mtime(struct volume *v, uint64_t ino, const struct change_state *s)
{
    struct volume_attr a = { .mtime = { .tv_sec = (time_t)s->mtime, .tv_nsec = (long)s->mtime_nsec } };
    return v->ops->setattr(v, ino, &a, SET_MTIME);
}

static int set_content(struct ferry *f, const struct spot *s, const uint8_t *bytes, size_t n)
{
    int r = writable(s->own);
    if (!r)
        r = hives_guest_write(f, s->own_index, s->ino);
    if (!r)
        r = resize(s->own, s->ino, 0);
    return r < 0 ? r : write_bytes(s->own, s->ino, bytes, n, 0);
}

/* A new thing of that state with these bytes. */
static int make(const struct spot *s, const struct change_state *as, const uint8_t *bytes, size_t n)
{
    char target[4097];
    uint64_t ino;
    struct volume_new new = { .mode = as->type, .uid = as->uid, .gid = as->gid };
    int r = writable(s->volume);
    if (r < 0)
        return r;
    if (S_ISLNK(as->type)) {
        if (n >= sizeof target)
            return -ENAMETOOLONG;
        memcpy(target, bytes, n);
        target[n] = 0;
        new.target = target;
    }
    r = s->volume->ops->create(s->volume, s->dir, s->name, &new, &ino);
    return !r && S_ISREG(as->type) ? write_bytes(s->volume, ino, bytes, n, 0) : r;
}

static int unlink_at(struct ferry *f, const struct spot *s)
{
    int r = writable(s->volume);
    if (!r && !s->volume->ops->unlink)
        r = -EROFS;
    if (!r)
        r = hives_moving(f, s->own_index, s->ino);
    if (r < 0)
        return r;
    r = s->volume->ops->unlink(s->volume, s->dir, s->name);
    hives_moved(f, s->own_index, s->ino);
    return r;
}

static int rmdir_at(const struct spot *s)
{
    int r = writable(s->volume);
    return r < 0 ? r : s->volume->ops->rmdir ? s->volume->ops->rmdir(s->volume, s->dir, s->name) : -EROFS;
}

static int do_append(struct ferry *f, const struct spot *s, const struct change *c)
{
    int r = s->there ? writable(s->own) : -ENOENT;
    if (!r)
        r = hives_guest_write(f, s->own_index, s->ino);
    return r < 0 ? r : write_bytes(s->own, s->ino, c->new.bytes, c->new.n, c->old.size);
}

int file_do(struct ferry *f, const struct change *c)
{
    struct spot s;
    bool followed = c->kind == CHANGE_FILE || c->kind == CHANGE_APPEND;
    int r = followed ? find_target(f, c->path, &s) : find_spot(f, c->path, &s);
    if (r < 0)
        return r;
    switch (c->kind) {
    case CHANGE_FILE:
        return s.there ? set_content(f, &s, c->new.bytes, c->new.n)
                       : make(&s, &c->new, c->new.bytes, c->new.n);
    case CHANGE_APPEND:
        return do_append(f, &s, c);
    case CHANGE_REMOVE:
        return s.there ? unlink_at(f, &s)
                       : 0; /* it had two names in the list, through a link to its directory */
    case CHANGE_MKDIR:
        return make(&s, &c->new, NULL, 0);
    case CHANGE_RMDIR:
        return s.there ? rmdir_at(&s) : -ENOENT;
    case CHANGE_LINK:
        r = s.there ? unlink_at(f, &s) : 0;
        return r < 0 ? r : make(&s, &c->new, c->new.bytes, c->new.n);
    default:
        return -EINVAL;
    }
}

/* ---- putting back ---- */

static int put_attributes(struct volume *v, uint64_t ino, const struct change_state *s)
{
    struct bad bad = { 0 };
    struct bytes b = bytes_of(s->attributes, s->n_attributes, 0, &bad);
    for (size_t at = 0; at < b.n;) {
        const char *name = (const char *)b.p + at;
        size_t len = strnlen(name, b.n - at);
        uint32_t n = le32(b, at + len + 1);
        struct bytes value = bytes_sub(b, at + len + 5, n);
        if (bad.set)
            return -EUCLEAN;
        int r = v->ops->setxattr ? v->ops->setxattr(v, ino, name, value.p, value.n, 0) : 0;
        bool must = !strcmp(name, "system.ntfs_acl"); /* who may do what is never lost without a word */
        if (r < 0 && (must || (r != -EOPNOTSUPP && r != -EPERM))) /* what the driver only shows */
            return r;
        at += len + 5 + n;
    }
    return 0;
}

/* What was removed or replaced comes again. */
static int put_back(const struct spot *s, const struct change_state *old)
{
    uint64_t ino;
    int r = make(s, old, old->bytes, old->n);
    if (!r)
        r = s->volume->ops->lookup(s->volume, s->dir, s->name, &ino);
    struct volume_attr a = { .mode = old->type, .uid = old->uid, .gid = old->gid };
    if (!r && !S_ISLNK(old->type))
        r = s->volume->ops->setattr(s->volume, ino, &a, SET_MODE | SET_UID | SET_GID);
    if (!r)
        r = set_mtime(s->volume, ino, old);
    /* last: a new owner takes capabilities away, new permissions change an ACL, and each of them a time */
    return r < 0 ? r : put_attributes(s->volume, ino, old);
}

static int undo_file(struct ferry *f, const struct spot *s, const struct change *c)
{
    if (!c->old.there)
        return s->there ? unlink_at(f, s) : 0;
    int r = s->there ? set_content(f, s, c->old.bytes, c->old.n) : -ENOENT;
    return r < 0 ? r : set_mtime(s->own, s->ino, &c->old);
}

static int undo_append(struct ferry *f, const struct spot *s, const struct change *c)
{
    int r = s->there ? writable(s->own) : -ENOENT;
    if (!r)
        r = hives_guest_write(f, s->own_index, s->ino);
    if (!r)
        r = resize(s->own, s->ino, c->old.size);
    return r < 0 ? r : set_mtime(s->own, s->ino, &c->old);
}

static int undo_mkdir(const struct spot *s)
{
    int r = s->there ? rmdir_at(s) : 0;
    return r == -ENOTEMPTY ? 0 : r; /* others' things have come to be there */
}

int file_undo(struct ferry *f, const struct change *c)
{
    struct spot s;
    bool followed = c->kind == CHANGE_FILE || c->kind == CHANGE_APPEND;
    int r = followed && c->old.there ? find_target(f, c->path, &s) : find_spot(f, c->path, &s);
    if (r == -ENOENT && !c->old.there) /* no directory that it could be in */
        return 0;
    if (r < 0)
        return r;
    switch (c->kind) {
    case CHANGE_FILE:
        return undo_file(f, &s, c);
    case CHANGE_APPEND:
        return undo_append(f, &s, c);
    case CHANGE_REMOVE:
    case CHANGE_RMDIR:
        return s.there ? 0 : put_back(&s, &c->old); /* of a removal that failed */
    case CHANGE_MKDIR:
        return undo_mkdir(&s);
    case CHANGE_LINK:
        r = s.there ? unlink_at(f, &s) : 0;
        return r < 0 || !c->old.there ? r : put_back(&s, &c->old);
    default:
        return -EINVAL;
    }
}
