/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bcd/: a directory for each object, a file for each element. bcd/bootmgr, bcd/default and their like are
 * links to the objects that are there.
 *
 * A new directory is an object of the type that its well-known id must have, else a Windows loader. The file
 * .type (not listed) is the object's type, and can be written.
 *
 * Node ids: of an object a and b are its GUID; of an element too, and c its number (of .type: BCD_TYPE; of a
 * scratch file: BCD_SCRATCH and a number of its own). */
#include "bcd-file.h"
#include "bcd-store.h"

#include "../formats/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

extern const struct toplevel bcd_toplevel;
static const struct tree_ops bcd_ops, object_ops, element_ops, alias_ops;

enum { DEFAULT_TYPE = 0x10200003 };

static const char type_file[] = ".type", default_alias[] = "default";

static struct node_id id_of(const struct tree_ops *ops, const uint8_t guid[16], uint64_t c)
{
    struct node_id id = { .ops = ops, .c = c };
    memcpy(&id.a, guid, 8);
    memcpy(&id.b, guid + 8, 8);
    return id;
}

static void guid_of(const struct node *n, uint8_t ret[16])
{
    memcpy(ret, &n->id.a, 8);
    memcpy(ret + 8, &n->id.b, 8);
}

/* ---- names in an object ---- */

static bool what_of(const struct bcd_at *at, uint32_t object, const char *name, uint64_t *ret)
{
    uint32_t number;
    if (!strcmp(name, type_file)) {
        *ret = BCD_TYPE;
        return true;
    }
    if (!bcd_element_number(bcd_object_type(at, object), name, &number))
        return false;
    *ret = number;
    return true;
}

static void name_of(const struct bcd_at *at, uint32_t object, uint32_t element, char *ret, size_t size)
{
    const char *name = bcd_element_name(bcd_object_type(at, object), element);
    if (name)
        snprintf(ret, size, "%s", name);
    else
        snprintf(ret, size, "0x%08" PRIx32, element);
}

static bool element_there(const struct bcd_at *at, uint32_t object, const uint8_t guid[16], uint64_t what)
{
    struct bcd_bytes v;
    struct bcd_file *file = bcd_file_find(at, guid, what);
    if (what == BCD_TYPE || (file && file->created))
        return true;
    if (bcd_element(at, object, (uint32_t)what, &v) < 0)
        return false;
    free(v.data);
    return true;
}

static int object_lookup(struct ferry *f, const struct node *dir, const char *name, struct node_id *ret)
{
    struct bcd_at at;
    uint8_t guid[16];
    uint32_t object;
    uint64_t what;
    int r = bcd_begin(f, false, &at);
    if (r < 0)
        return r;
    guid_of(dir, guid);
    struct bcd_file *scratch = bcd_file_scratch(&at, guid, name);
    r = bcd_object(&at, guid, &object);
    if (!r && scratch)
        *ret = id_of(&element_ops, guid, scratch->what);
    else if (!r && what_of(&at, object, name, &what) && element_there(&at, object, guid, what))
        *ret = id_of(&element_ops, guid, what);
    else if (!r)
        r = -ENOENT;
    bcd_end(&at);
    return r;
}

/* Cookies: elements by their place in the store, then the files that aren't in it. */
static int object_readdir(struct ferry *f, const struct node *dir, uint64_t cookie, tree_emit emit, void *ctx)
{
    struct bcd_at at;
    uint8_t guid[16];
    uint32_t object, element;
    const uint64_t behind = UINT64_C(1) << 32;
    int r = bcd_begin(f, false, &at);
    if (r < 0)
        return r;
    guid_of(dir, guid);
    r = bcd_object(&at, guid, &object);
    bool full = false;
    size_t i = (size_t)cookie;
    while (!r && !full && cookie < behind && bcd_element_at(&at, object, &i, &element)) {
        char name[64];
        struct node_id id = id_of(&element_ops, guid, element);
        name_of(&at, object, element, name, sizeof name);
        full = emit(ctx, name, &id, S_IFREG, i) != 0;
    }
    uint64_t k = behind;
    for (struct bcd_file *file = at.h->bcd_files; !r && !full && file; file = file->next, k++) {
        char name[sizeof file->name];
        struct node_id id = id_of(&element_ops, guid, file->what);
        if (k < cookie || memcmp(file->guid, guid, 16) != 0 || !(file->created || file->what & BCD_SCRATCH))
            continue;
        if (file->what & BCD_SCRATCH)
            strcpy(name, file->name);
        else
            name_of(&at, object, (uint32_t)file->what, name, sizeof name);
        full = emit(ctx, name, &id, S_IFREG, k + 1) != 0;
    }
    bcd_end(&at);
    return r;
}

/* ---- attributes ---- */

static struct timespec time_of(const struct bcd_at *at, uint32_t key)
{
    const uint64_t to_unix = 116444736000000000u;
    struct hive_key k;
    if (hive_key(at->h->hive, key, &k) < 0 || k.last_written < to_unix)
        return (struct timespec){ 0 };
    uint64_t t = k.last_written - to_unix;
    return (struct timespec){ .tv_sec = (time_t)(t / 10000000), .tv_nsec = (long)(t % 10000000) * 100 };
}

static void fill(const struct bcd_at *at, mode_t type, uint64_t ino, uint32_t key, struct stat *ret)
{
    mode_t bits = S_ISDIR(type) ? 0777 : 0666;
    tree_fill_attr(at->ferry, type | (at->h->writable ? bits : bits & ~0222u), ino, ret);
    ret->st_nlink = 1;
    ret->st_mtim = ret->st_ctim = ret->st_atim = time_of(at, key);
}

static int object_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    struct bcd_at at;
    uint8_t guid[16];
    uint32_t object;
    int r = bcd_begin(f, false, &at);
    if (r < 0)
        return r;
    guid_of(n, guid);
    r = bcd_object(&at, guid, &object);
    if (!r)
        fill(&at, S_IFDIR, tree_ino(2001, n->id.a, n->id.b), object, ret);
    bcd_end(&at);
    return r;
}

static int element_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    struct bcd_at at;
    uint8_t guid[16];
    uint32_t object;
    _cleanup_free_ char *text = NULL;
    int r = bcd_begin(f, false, &at);
    if (r < 0)
        return r;
    guid_of(n, guid);
    struct bcd_file *file = bcd_file_find(&at, guid, n->id.c);
    r = bcd_object(&at, guid, &object);
    if (!r && !file)
        r = n->id.c & BCD_SCRATCH ? -ENOENT : bcd_content(&at, object, n->id.c, &text);
    if (!r) {
        fill(&at, S_IFREG, tree_ino(2002, n->id.a ^ n->id.c, n->id.b), object, ret);
        ret->st_size = (off_t)(file ? file->n : strlen(text));
        ret->st_blocks = (ret->st_size + 511) / 512;
    }
    bcd_end(&at);
    return r;
}

/* chmod, chown and times are accepted and dropped. */
static int object_setattr(struct ferry *f, const struct node *n, const struct stat *st, unsigned which,
                          struct handle *h)
{
    (void)f, (void)n, (void)st, (void)which, (void)h;
    return 0;
}

static int drop_xattr(struct ferry *f, const struct node *n, const char *name)
{
    (void)f, (void)n;
    return strncmp(name, "system.posix_acl_", 17) ? -ENODATA : 0;
}

/* ---- open files ---- */

struct bcd_handle {
    struct handle handle;
    struct reg_hive *h;
    struct bcd_file *file; /* shared; NULL: `text` is the content */
    char *text;            /* owned */
    size_t n;
    _Atomic bool wrote; /* since the last flush; the session has cleared its own when it calls */
};

static struct bcd_handle *bcd_handle_of(struct handle *h)
{
    return (struct bcd_handle *)(void *)h;
}

/* The state of an element that is opened for writing. */
static int writable_file(const struct bcd_at *at, const struct node *n, const uint8_t guid[16], int flags,
                         struct bcd_file **ret)
{
    struct bcd_file *file = bcd_file_find(at, guid, n->id.c);
    uint32_t object;
    if (!file) {
        _cleanup_free_ char *text = NULL;
        int r = bcd_object(at, guid, &object);
        if (!r)
            r = n->id.c & BCD_SCRATCH ? -ENOENT : bcd_content(at, object, n->id.c, &text);
        if (r < 0)
            return r;
        file = bcd_file_new(at, guid, n->id.c);
        if (!file)
            return -ENOMEM;
        file->n = strlen(text);
        file->room = file->n + 1;
        file->text = text;
        text = NULL;
    }
    if (flags & O_TRUNC)
        file->n = 0;
    *ret = file;
    return 0;
}

static int element_open(struct ferry *f, const struct node *n, int flags, struct handle **ret)
{
    struct bcd_at at;
    uint8_t guid[16];
    uint32_t object;
    bool writes = (flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC;
    struct bcd_handle *h = calloc(1, sizeof *h);
    if (!h)
        return -ENOMEM;
    int r = bcd_begin(f, writes, &at);
    if (r < 0) {
        free(h);
        return r;
    }
    guid_of(n, guid);
    h->h = at.h;
    h->handle = (struct handle){ .ops = n->id.ops, .direct = true };
    struct bcd_file *file = bcd_file_find(&at, guid, n->id.c);
    if (writes || file) {
        r = writable_file(&at, n, guid, flags, &h->file);
        if (!r)
            h->file->refs++;
    } else {
        r = bcd_object(&at, guid, &object);
        if (!r)
            r = bcd_content(&at, object, n->id.c, &h->text);
        h->n = r ? 0 : strlen(h->text);
    }
    bcd_end(&at);
    if (r < 0)
        free(h);
    else
        *ret = &h->handle;
    return r;
}

static int element_read(struct ferry *f, struct handle *handle, void *buf, size_t len, uint64_t off,
                        size_t *ret_len)
{
    (void)f;
    struct bcd_handle *h = bcd_handle_of(handle);
    pthread_rwlock_rdlock(&h->h->lock);
    const char *text = h->file ? h->file->text : h->text;
    size_t n = h->file ? h->file->n : h->n;
    *ret_len = off >= n ? 0 : n - (size_t)off < len ? n - (size_t)off : len;
    if (*ret_len)
        memcpy(buf, text + off, *ret_len);
    pthread_rwlock_unlock(&h->h->lock);
    return 0;
}

/* Whole lines that no element can have are refused at once: a shell doesn't see the error of a close. */
static int check_lines(const struct bcd_at *at, struct bcd_file *file)
{
    uint32_t object;
    if (file->what & (BCD_SCRATCH | BCD_TYPE) || file->gone || !file->n || file->text[file->n - 1] != '\n' ||
        bcd_object(at, file->guid, &object) < 0)
        return 0;
    int r = bcd_element_check_text(at, object, (uint32_t)file->what, file->text, file->n);
    if (r == -EINVAL)
        file->written = false;
    return r;
}

static int element_write(struct ferry *f, struct handle *handle, const void *buf, size_t len, uint64_t off)
{
    struct bcd_handle *h = bcd_handle_of(handle);
    if (!h->file)
        return -EBADF;
    if (off > BCD_FILE_MAX || len > BCD_FILE_MAX)
        return -EFBIG;
    struct bcd_at at;
    int r = bcd_begin(f, true, &at);
    if (r < 0)
        return r;
    if (off + len > h->file->n)
        r = bcd_file_resize(h->file, (size_t)off + len);
    if (!r && len) {
        memcpy(h->file->text + off, buf, len);
        h->file->written = true;
        h->wrote = true;
        r = check_lines(&at, h->file);
    }
    bcd_end(&at);
    return r;
}

static int element_flush(struct ferry *f, struct handle *handle)
{
    struct bcd_handle *h = bcd_handle_of(handle);
    struct bcd_at at;
    if (!h->file || !h->wrote)
        return 0;
    h->wrote = false;
    int r = bcd_begin(f, true, &at);
    if (r < 0)
        return r;
    r = bcd_file_settle(&at, h->file);
    bcd_end(&at);
    return r;
}

static void element_release(struct ferry *f, struct handle *handle)
{
    (void)f;
    struct bcd_handle *h = bcd_handle_of(handle);
    if (h->file) {
        pthread_rwlock_wrlock(&h->h->lock);
        h->file->refs--;
        if (!h->file->refs && h->file->gone)
            bcd_file_free(h->file);
        else if (!h->file->refs && !(h->file->what & BCD_SCRATCH))
            bcd_file_remove(h->h, h->file);
        pthread_rwlock_unlock(&h->h->lock);
    }
    free(h->text);
    free(h);
}

static int element_setattr(struct ferry *f, const struct node *n, const struct stat *st, unsigned which,
                           struct handle *handle)
{
    struct bcd_at at;
    uint8_t guid[16];
    struct bcd_file *file;
    (void)handle;
    if (!(which & TREE_SET_SIZE))
        return 0;
    if (st->st_size < 0)
        return -EINVAL;
    int r = bcd_begin(f, true, &at);
    if (r < 0)
        return r;
    guid_of(n, guid);
    r = writable_file(&at, n, guid, 0, &file);
    if (!r) {
        r = bcd_file_resize(file, (size_t)st->st_size);
        if (!r && st->st_size)
            file->written = true;
        if (!file->refs && !(file->what & BCD_SCRATCH)) { /* truncate(2) of a file that nobody has open */
            r = r ? r : bcd_file_settle(&at, file);
            bcd_file_remove(at.h, file);
        }
    }
    bcd_end(&at);
    return r;
}

/* ---- making and removing ---- */

static int create_element(struct ferry *f, const struct node *dir, const char *name,
                          const struct tree_new *what, struct node_id *ret)
{
    struct bcd_at at;
    uint8_t guid[16];
    uint32_t object;
    uint64_t number = 0;
    static uint64_t scratches; /* under the hive's lock */
    if (!S_ISREG(what->mode))
        return -EPERM;
    int r = bcd_begin(f, true, &at);
    if (r < 0)
        return r;
    guid_of(dir, guid);
    r = bcd_object(&at, guid, &object);
    bool scratch = !r && !what_of(&at, object, name, &number);
    if (scratch)
        number = BCD_SCRATCH + ++scratches % BCD_SCRATCH;
    if (!r &&
        (scratch ? bcd_file_scratch(&at, guid, name) != NULL : element_there(&at, object, guid, number)))
        r = -EEXIST;
    size_t n = 0;
    for (struct bcd_file *file = at.h->bcd_files; file; file = file->next)
        n++;
    if (!r && n >= BCD_FILES_MAX)
        r = -ENOSPC;
    if (!r && strlen(name) >= sizeof((struct bcd_file *)0)->name)
        r = -ENAMETOOLONG;
    struct bcd_file *file = r ? NULL : bcd_file_new(&at, guid, number);
    if (file) {
        file->created = !scratch;
        if (scratch)
            strcpy(file->name, name);
        *ret = id_of(&element_ops, guid, number);
    } else if (!r) {
        r = -ENOMEM;
    }
    bcd_end(&at);
    return r;
}

static int unlink_element(struct ferry *f, const struct node *dir, const char *name)
{
    struct bcd_at at;
    uint8_t guid[16];
    uint32_t object;
    uint64_t what;
    int r = bcd_begin(f, true, &at);
    if (r < 0)
        return r;
    guid_of(dir, guid);
    struct bcd_file *file = bcd_file_scratch(&at, guid, name);
    r = bcd_object(&at, guid, &object);
    if (!r && !file) {
        r = !what_of(&at, object, name, &what) || !element_there(&at, object, guid, what) ? -ENOENT
            : what == BCD_TYPE                                                            ? -EPERM
                                                                                          : 0;
        file = r ? NULL : bcd_file_find(&at, guid, what);
        if (!r && !(file && file->created))
            r = bcd_element_delete(&at, object, (uint32_t)what);
    }
    if (!r && file)
        bcd_file_remove(at.h, file);
    bcd_end(&at);
    return r;
}

/* The text of whatever has that name in an object. */
static int text_of(const struct bcd_at *at, const uint8_t guid[16], const char *name, char **ret,
                   size_t *ret_n, struct bcd_file **ret_file, uint64_t *ret_what)
{
    uint32_t object;
    struct bcd_file *file = bcd_file_scratch(at, guid, name);
    int r = bcd_object(at, guid, &object);
    if (r < 0)
        return r;
    *ret_what = BCD_SCRATCH;
    if (!file) {
        if (!what_of(at, object, name, ret_what) || !element_there(at, object, guid, *ret_what))
            return -ENOENT;
        file = bcd_file_find(at, guid, *ret_what);
    }
    *ret_file = file;
    if (!file) {
        r = bcd_content(at, object, *ret_what, ret);
        *ret_n = r ? 0 : strlen(*ret);
        return r;
    }
    *ret = malloc(file->n + 1);
    if (!*ret)
        return -ENOMEM;
    if (file->n)
        memcpy(*ret, file->text, file->n);
    *ret_n = file->n;
    return 0;
}

/* Puts a text under a name: an element, or a scratch file. */
static int put_text(const struct bcd_at *at, const uint8_t guid[16], const char *name, const char *text,
                    size_t n)
{
    uint32_t object;
    uint64_t what;
    static uint64_t scratches = UINT64_C(1) << 31;
    int r = bcd_object(at, guid, &object);
    if (r < 0)
        return r;
    if (what_of(at, object, name, &what)) {
        struct bcd_file *open = bcd_file_find(at, guid, what);
        r = bcd_set_content(at, guid, what, text, n);
        if (!r && open)
            bcd_file_remove(at->h, open);
        return r;
    }
    struct bcd_file *file = bcd_file_scratch(at, guid, name);
    if (!file && strlen(name) < sizeof file->name &&
        (file = bcd_file_new(at, guid, BCD_SCRATCH + ++scratches)))
        strcpy(file->name, name);
    if (!file)
        return -ENOMEM;
    r = bcd_file_resize(file, n);
    if (!r && n)
        memcpy(file->text, text, n);
    return r;
}

static int rename_element(struct ferry *f, const struct node *dir, const char *name,
                          const struct node *new_dir, const char *new_name, unsigned flags)
{
    struct bcd_at at;
    uint8_t guid[16], to[16];
    uint32_t object;
    uint64_t what, other;
    size_t n = 0;
    struct bcd_file *file = NULL;
    _cleanup_free_ char *text = NULL;
    if (dir->id.ops != new_dir->id.ops)
        return -EXDEV;
    int r = bcd_begin(f, true, &at);
    if (r < 0)
        return r;
    guid_of(dir, guid);
    guid_of(new_dir, to);
    r = bcd_object(&at, to, &object);
    if (!r && flags & ~(unsigned)RENAME_NOREPLACE)
        r = -EINVAL;
    if (!r && flags & RENAME_NOREPLACE &&
        (bcd_file_scratch(&at, to, new_name) ||
         (what_of(&at, object, new_name, &other) && element_there(&at, object, to, other))))
        r = -EEXIST;
    if (!r)
        r = text_of(&at, guid, name, &text, &n, &file, &what);
    if (!r && what == BCD_TYPE)
        r = -EPERM;
    if (!r && !memcmp(guid, to, 16) && what_of(&at, object, new_name, &other) && other == what) {
        bcd_end(&at); /* the same element under another spelling */
        return 0;
    }
    if (!r)
        r = put_text(&at, to, new_name, text, n);
    if (!r && !(what & BCD_SCRATCH) && !(file && file->created)) {
        r = bcd_object(&at, guid, &object);
        r = r ? r : bcd_element_delete(&at, object, (uint32_t)what);
    }
    if (!r && file)
        bcd_file_remove(at.h, file);
    bcd_end(&at);
    return r;
}

/* ---- bcd/ itself ---- */

/* The object that a name of bcd/ stands for: "{guid}", or an alias; the aliases are links. */
static bool name_guid(const struct bcd_at *at, const char *name, uint8_t ret[16], bool *ret_alias)
{
    size_t n = strlen(name);
    *ret_alias = false;
    if (n == GUID_TEXT + 2 && guid_from_text(name, n, ret))
        return true;
    *ret_alias = true;
    return bcd_alias_guid(name, n, ret) || (!strcasecmp(name, default_alias) && bcd_default(at, ret));
}

static int bcd_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    struct bcd_at at;
    (void)n;
    int r = bcd_begin(f, false, &at);
    if (r < 0)
        return r;
    fill(&at, S_IFDIR, tree_ino(2000, 0, 0), at.objects, ret);
    bcd_end(&at);
    return 0;
}

static int bcd_lookup(struct ferry *f, const struct node *dir, const char *name, struct node_id *ret)
{
    struct bcd_at at;
    uint8_t guid[16];
    uint32_t object;
    bool alias;
    (void)dir;
    int r = bcd_begin(f, false, &at);
    if (r < 0)
        return r;
    r = name_guid(&at, name, guid, &alias) ? bcd_object(&at, guid, &object) : -ENOENT;
    if (!r)
        *ret = id_of(alias ? &alias_ops : &object_ops, guid, 0);
    bcd_end(&at);
    return r;
}

/* Cookies: objects by their place in the store, then the aliases. */
static int bcd_readdir(struct ferry *f, const struct node *dir, uint64_t cookie, tree_emit emit, void *ctx)
{
    struct bcd_at at;
    uint8_t guid[16];
    uint32_t object;
    const uint64_t behind = UINT64_C(1) << 32;
    (void)dir;
    int r = bcd_begin(f, false, &at);
    if (r < 0)
        return r;
    bool full = false;
    size_t i = (size_t)cookie;
    while (!full && cookie < behind && bcd_object_at(&at, &i, guid)) {
        char name[GUID_TEXT + 3] = "{";
        struct node_id id = id_of(&object_ops, guid, 0);
        guid_to_text(guid, name + 1);
        strcat(name, "}");
        full = emit(ctx, name, &id, S_IFDIR, i) != 0;
    }
    const char *alias = default_alias; /* the first; then the table's */
    for (uint64_t k = cookie > behind ? cookie - behind : 0; !full && alias; k++) {
        if (k)
            alias = bcd_alias_at(k - 1, guid);
        if (!alias || (!k && !bcd_default(&at, guid)) || bcd_object(&at, guid, &object) < 0)
            continue;
        struct node_id id = id_of(&alias_ops, guid, 0);
        full = emit(ctx, alias, &id, S_IFLNK, behind + k + 1) != 0;
    }
    bcd_end(&at);
    return 0;
}

static int alias_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    tree_fill_attr(f, S_IFLNK | 0777, tree_ino(2003, n->id.a, n->id.b), ret);
    ret->st_mode = S_IFLNK | 0777;
    ret->st_size = GUID_TEXT + 2;
    return 0;
}

static int alias_readlink(struct ferry *f, const struct node *n, char *buf, size_t size)
{
    (void)f;
    uint8_t guid[16];
    if (size < GUID_TEXT + 3)
        return -ENAMETOOLONG;
    guid_of(n, guid);
    buf[0] = '{';
    guid_to_text(guid, buf + 1);
    strcat(buf, "}");
    return 0;
}

static int create_object(struct ferry *f, const struct node *dir, const char *name,
                         const struct tree_new *what, struct node_id *ret)
{
    struct bcd_at at;
    uint8_t guid[16];
    (void)dir;
    if (!S_ISDIR(what->mode))
        return -EPERM;
    /* an alias isn't an object's name, but a well-known id is what it says */
    if (!guid_from_text(name, strlen(name), guid) && !bcd_alias_guid(name, strlen(name), guid))
        return -EINVAL;
    int r = bcd_begin(f, true, &at);
    if (r < 0)
        return r;
    uint32_t type = bcd_alias_type(guid);
    r = bcd_object_create(&at, guid, type ? type : DEFAULT_TYPE);
    if (!r)
        *ret = id_of(&object_ops, guid, 0);
    bcd_end(&at);
    return r;
}

/* With all of its elements gone: what `rm -r` does last. */
static int remove_object(struct ferry *f, const struct node *dir, const char *name)
{
    struct bcd_at at;
    uint8_t guid[16];
    uint32_t object, element;
    size_t i = 0;
    (void)dir;
    if (!guid_from_text(name, strlen(name), guid))
        return -ENOTDIR;
    int r = bcd_begin(f, true, &at);
    if (r < 0)
        return r;
    r = bcd_object(&at, guid, &object);
    if (!r && bcd_element_at(&at, object, &i, &element))
        r = -ENOTEMPTY;
    if (!r)
        r = bcd_object_delete(&at, guid);
    if (!r)
        bcd_files_forget(&at, guid);
    bcd_end(&at);
    return r;
}

static int rename_object(struct ferry *f, const struct node *dir, const char *name,
                         const struct node *new_dir, const char *new_name, unsigned flags)
{
    struct bcd_at at;
    uint8_t guid[16], to[16];
    (void)dir;
    if (new_dir->id.ops != &bcd_ops)
        return -EXDEV;
    if (flags & ~(unsigned)RENAME_NOREPLACE || !guid_from_text(name, strlen(name), guid) ||
        !guid_from_text(new_name, strlen(new_name), to))
        return -EINVAL;
    int r = bcd_begin(f, true, &at);
    if (r < 0)
        return r;
    r = bcd_object_rename(&at, guid, to);
    if (!r)
        bcd_files_forget(&at, guid);
    bcd_end(&at);
    return r;
}

/* ---- tables ---- */

static const struct tree_ops bcd_ops = {
    .name = "bcd",
    .caseless = true,
    .fresh = true,
    .getattr = bcd_getattr,
    .lookup = bcd_lookup,
    .readdir = bcd_readdir,
    .create = create_object,
    .rmdir = remove_object,
    .rename = rename_object,
};

static const struct tree_ops alias_ops = {
    .name = "bcd-alias",
    .fresh = true,
    .getattr = alias_getattr,
    .readlink = alias_readlink,
};

static const struct tree_ops object_ops = {
    .name = "bcd-object",
    .caseless = true,
    .fresh = true,
    .getattr = object_getattr,
    .lookup = object_lookup,
    .readdir = object_readdir,
    .create = create_element,
    .unlink = unlink_element,
    .rename = rename_element,
    .setattr = object_setattr,
    .removexattr = drop_xattr,
};

static const struct tree_ops element_ops = {
    .name = "bcd-element",
    .fresh = true,
    .getattr = element_getattr,
    .open = element_open,
    .read = element_read,
    .release = element_release,
    .write = element_write,
    .flush = element_flush,
    .setattr = element_setattr,
    .removexattr = drop_xattr,
};

static int bcd_id(struct ferry *f, struct node_id *ret)
{
    (void)f;
    *ret = (struct node_id){ .ops = &bcd_ops };
    return 0;
}

const struct toplevel bcd_toplevel = { "bcd", S_IFDIR, bcd_present, bcd_id };
