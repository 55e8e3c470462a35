/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Values as files that are read and written, and scratch files: names without a type, as editors and copying
 * programs make them beside a file that they are about to replace. Those live in memory only.
 *
 * A file that is open for writing has a state (struct reg_file) that all its handles share: the content so
 * far. Each write checks that it can still become a value; each close sets the value. */
#include "registry.h"

#include "../formats/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { CONTENT_MAX = 256 << 20, SCRATCH_FILES = 4096, SCRATCH_BYTES = 256 << 20 };

/* ---- states ---- */

static void file_free(struct reg_file *file)
{
    free(file->units);
    free(file->from_units);
    free(file->text);
    free(file->old);
    free(file);
}

static void file_unlist(struct reg_hive *h, struct reg_file *file)
{
    for (struct reg_file **p = &h->files; *p; p = &(*p)->next)
        if (*p == file) {
            *p = file->next;
            break;
        }
    file->next = NULL;
}

struct reg_file *registry_file_new(struct reg_hive *h, uint32_t key)
{
    struct reg_file *file = calloc(1, sizeof *file);
    if (!file)
        return NULL;
    file->key = key;
    file->next = h->files;
    h->files = file;
    return file;
}

void registry_file_remove(struct reg_hive *h, struct reg_file *file)
{
    file->gone = true;
    file_unlist(h, file);
    if (!file->refs)
        file_free(file);
}

/* Handles that are still open keep theirs. */
void registry_files_drop(struct reg_hive *h)
{
    while (h->files)
        registry_file_remove(h, h->files);
}

struct reg_file *registry_file_find(const struct reg_at *at, const struct node_id *id)
{
    bool scratch = id->ops == &registry_scratch_ops;
    for (struct reg_file *file = at->h->files; file; file = file->next)
        if (file->scratch == scratch && file->key == at->key && file->hash == id->c)
            return file;
    return NULL;
}

/* A value's file that was created and isn't in the hive yet. */
struct reg_file *registry_file_pending(const struct reg_at *at, uint64_t hash)
{
    for (struct reg_file *file = at->h->files; file; file = file->next)
        if (!file->scratch && file->created && file->key == at->key && file->hash == hash)
            return file;
    return NULL;
}

struct reg_file *registry_scratch_find(const struct reg_at *at, const char *name)
{
    for (struct reg_file *file = at->h->files; file; file = file->next)
        if (file->scratch && file->key == at->key && !strcmp(file->name, name))
            return file;
    return NULL;
}

bool registry_has_scratch(const struct reg_at *at)
{
    for (struct reg_file *file = at->h->files; file; file = file->next)
        if (file->scratch && file->key == at->key)
            return true;
    return false;
}

static bool came_from(const struct reg_file *file, uint32_t key, struct hive_name name)
{
    return file->from && file->from_key == key &&
           !hive_name_compare((struct hive_name){ file->from_units, file->from_n }, name);
}

bool registry_is_hidden(const struct reg_at *at, struct hive_name name)
{
    for (struct reg_file *file = at->h->files; file; file = file->next)
        if (came_from(file, at->key, name))
            return true;
    return false;
}

void registry_file_forget(const struct reg_at *at, struct hive_name name)
{
    struct reg_file *next;
    for (struct reg_file *file = at->h->files; file; file = next) {
        next = file->next;
        if (!file->scratch && file->key == at->key &&
            !hive_name_compare((struct hive_name){ file->units, file->n_units }, name))
            registry_file_remove(at->h, file);
    }
}

/* ---- values ---- */

static bool is_same(const struct hive *h, uint32_t value, uint32_t type, const void *data, size_t n)
{
    struct hive_value v;
    if (hive_value(h, value, &v) < 0 || v.type != type || v.length != n)
        return false;
    _cleanup_free_ uint8_t *now = malloc(n ? n : 1);
    return now && (!n || (hive_value_data(h, value, now, n, 0) == 0 && !memcmp(now, data, n)));
}

int registry_set_value(const struct reg_at *at, struct hive_name name, uint32_t type, const void *data,
                       size_t n)
{
    uint32_t value;
    int r = 0;
    if (hive_find_value(at->h->hive, at->key, name, &value) < 0 ||
        !is_same(at->h->hive, value, type, data, n))
        r = hive_set_value(at->h->hive, at->key, name, type, data, n, hives_now(), &value);
    for (struct reg_file *file = at->h->files; file && !r; file = file->next)
        if (came_from(file, at->key, name))
            file->from = false;
    return r;
}

int registry_content_bytes(uint32_t type, bool raw, const char *text, size_t n, uint8_t **ret, size_t *ret_n)
{
    return value_from_text(raw ? VALUE_BINARY : type, text, n, ret, ret_n);
}

/* What the value was before this file was opened, for an error on the way. */
static int remember(const struct reg_at *at, struct reg_file *file)
{
    uint32_t value;
    struct hive_value v;
    struct hive_name name = { file->units, file->n_units };
    int r = hive_find_value(at->h->hive, at->key, name, &value);
    if (!r)
        r = registry_value_load(at->h->hive, value, &v, &file->old);
    if (!r) {
        file->had = true;
        file->old_type = v.type;
        file->old_n = v.length;
    }
    return r == -ENOENT ? 0 : r;
}

static void take_back(const struct reg_at *at, struct reg_file *file)
{
    struct hive_name name = { file->units, file->n_units };
    if (!file->emptied)
        return;
    file->emptied = false;
    if (file->had)
        registry_set_value(at, name, file->old_type, file->old, file->old_n);
    else
        hive_delete_value(at->h->hive, at->key, name, hives_now());
}

static int set_from(const struct reg_at *at, struct reg_file *file)
{
    uint8_t *data = NULL;
    size_t n;
    int r = registry_content_bytes(file->type, file->raw, file->text, file->n, &data, &n);
    if (!r)
        r = registry_set_value(at, (struct hive_name){ file->units, file->n_units }, file->type, data, n);
    free(data);
    if (!r)
        file->created = false;
    return r;
}

/* At a close: the value is what was written so far. */
static int settle(const struct reg_at *at, struct reg_file *file)
{
    if (file->scratch || file->gone)
        return 0;
    if (file->refused)
        return -EINVAL;
    int r = 0;
    if (file->written) {
        r = set_from(at, file);
        if (r < 0)
            take_back(at, file);
        else
            file->written = file->truncated = file->emptied = false;
    } else if ((file->truncated || file->created) && (file->raw || value_type_has_empty(file->type))) {
        r = set_from(at, file);
        file->truncated = r < 0;
        file->emptied = !r;
    }
    return r;
}

/* ---- handles ---- */

struct reg_handle {
    struct handle handle;
    struct node_id id;
    struct reg_hive *h;
    struct reg_file *file; /* shared; NULL: read-only, `text` is the content */
    char *text;            /* owned */
    size_t n;
};

static struct reg_handle *reg_handle_of(struct handle *h)
{
    return (struct reg_handle *)(void *)h;
}

static bool is_raw(const struct hive *h, const struct node_id *id, uint32_t value)
{
    struct hive_value v;
    struct hive_name name;
    if (hive_value(h, value, &v) < 0 || registry_name_of_value(h, value, &name) < 0)
        return false;
    bool raw = reg_value_hash(name, v.type, true) == id->c;
    free((void *)(uintptr_t)name.units);
    return raw;
}

/* The state of a value that is opened for writing. */
static int state_of(const struct reg_at *at, const struct node_id *id, bool truncate, struct reg_file **ret)
{
    uint32_t value;
    struct hive_value v;
    struct hive_name name;
    int r = registry_node_value(at, id, &value);
    if (!r)
        r = hive_value(at->h->hive, value, &v);
    if (!r)
        r = registry_name_of_value(at->h->hive, value, &name);
    if (r < 0)
        return r;
    struct reg_file *file = registry_file_new(at->h, at->key);
    if (!file) {
        free((void *)(uintptr_t)name.units);
        return -ENOMEM;
    }
    file->hash = id->c;
    file->units = (uint16_t *)(uintptr_t)name.units;
    file->n_units = name.n;
    file->type = v.type;
    file->raw = is_raw(at->h->hive, id, value);
    r = remember(at, file);
    if (!r && !truncate) {
        r = registry_value_content(at->h->hive, value, file->raw, &file->text, &file->n);
        file->room = file->n;
    }
    if (r < 0)
        registry_file_remove(at->h, file);
    else
        *ret = file;
    return r;
}

static void truncate_to(struct reg_file *file, size_t n)
{
    file->n = n;
    file->checked = 0;
    if (!n) {
        file->truncated = true;
        file->written = file->refused = file->gap = false;
    } else {
        file->written = true;
    }
}

static int open_write(struct ferry *f, const struct node *n, int flags, struct reg_handle *h)
{
    struct reg_at at;
    int r = registry_begin(f, &n->id, true, &at);
    if (r < 0)
        return r;
    struct reg_file *file = registry_file_find(&at, &n->id);
    if (!file)
        r = n->id.ops == &registry_scratch_ops ? -ENOENT : state_of(&at, &n->id, flags & O_TRUNC, &file);
    if (!r) {
        if (flags & O_TRUNC)
            truncate_to(file, 0);
        file->refs++;
        file->opened = true;
        h->file = file;
        h->h = at.h;
        /* a truncation alone is something that a close must do */
        h->handle.wrote = file->truncated || file->created;
    }
    hives_done(at.h);
    return r;
}

static int open_read(struct ferry *f, const struct node *n, struct reg_handle *h)
{
    struct reg_at at;
    uint32_t value;
    int r = registry_begin(f, &n->id, false, &at);
    if (r < 0)
        return r;
    struct reg_file *file = registry_file_find(&at, &n->id);
    if (file) {
        h->text = malloc(file->n ? file->n : 1);
        r = h->text ? 0 : -ENOMEM;
        if (!r && file->n)
            memcpy(h->text, file->text, file->n);
        h->n = file->n;
    } else {
        r = registry_node_value(&at, &n->id, &value);
        if (!r)
            r = registry_value_content(at.h->hive, value, is_raw(at.h->hive, &n->id, value), &h->text, &h->n);
    }
    h->h = at.h;
    hives_done(at.h);
    return r;
}

static int file_open(struct ferry *f, const struct node *n, int flags, struct handle **ret)
{
    struct reg_handle *h = calloc(1, sizeof *h);
    if (!h)
        return -ENOMEM;
    bool write = (flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC;
    h->handle = (struct handle){ .ops = n->id.ops, .keep_cache = !ferry_writable(f) };
    h->handle.direct = write;
    h->id = n->id;
    int r = write ? open_write(f, n, flags, h) : open_read(f, n, h);
    if (r < 0)
        free(h);
    else
        *ret = &h->handle;
    return r;
}

static int copy_out(const char *text, size_t n, void *buf, size_t len, uint64_t off, size_t *ret_len)
{
    *ret_len = off < n ? n - (size_t)off : 0;
    if (*ret_len > len)
        *ret_len = len;
    if (*ret_len)
        memcpy(buf, text + off, *ret_len);
    return 0;
}

static int file_read(struct ferry *f, struct handle *handle, void *buf, size_t len, uint64_t off,
                     size_t *ret_len)
{
    struct reg_handle *h = reg_handle_of(handle);
    (void)f;
    if (!h->file)
        return copy_out(h->text, h->n, buf, len, off, ret_len);
    pthread_rwlock_rdlock(&h->h->lock);
    copy_out(h->file->text, h->file->n, buf, len, off, ret_len);
    pthread_rwlock_unlock(&h->h->lock);
    return 0;
}

static size_t scratch_bytes(const struct reg_hive *h, size_t *ret_files)
{
    size_t n = 0;
    *ret_files = 0;
    for (const struct reg_file *file = h->files; file; file = file->next)
        if (file->scratch) {
            n += file->room;
            ++*ret_files;
        }
    return n;
}

static int reserve(struct reg_hive *h, struct reg_file *file, size_t want)
{
    size_t files;
    if (want > CONTENT_MAX)
        return -EFBIG;
    if (want <= file->room)
        return 0;
    if (file->scratch && scratch_bytes(h, &files) + want > SCRATCH_BYTES)
        return -ENOSPC;
    size_t room = want < 256 ? 256 : want + want / 2;
    char *text = realloc(file->text, room);
    if (!text)
        return -ENOMEM;
    file->text = text;
    file->room = room;
    return 0;
}

/* Puts bytes into the content, with zeros before them where nothing was. */
static int put(struct reg_hive *h, struct reg_file *file, const void *buf, size_t len, uint64_t off)
{
    if (off > CONTENT_MAX || len > CONTENT_MAX)
        return -EFBIG;
    int r = reserve(h, file, (size_t)off + len);
    if (r < 0)
        return r;
    if (off > file->n) {
        memset(file->text + file->n, 0, (size_t)off - file->n);
        file->gap = true;
    }
    if (len)
        memcpy(file->text + off, buf, len);
    if (off + len > file->n)
        file->n = (size_t)off + len;
    if (file->checked > off)
        file->checked = 0;
    return 0;
}

static int check(struct reg_file *file)
{
    if (file->scratch || file->raw || file->gap)
        return 0;
    return value_text_check(file->type, file->text, file->n, &file->checked);
}

static int write_locked(const struct reg_at *at, struct reg_file *file, const void *buf, size_t len,
                        uint64_t off)
{
    if (file->refused)
        return -EINVAL;
    int r = put(at->h, file, buf, len, off);
    if (r < 0)
        return r;
    file->written = true;
    r = file->gone ? 0 : check(file);
    if (r < 0) {
        file->refused = true;
        file->written = false;
        take_back(at, file);
    }
    return r;
}

static int file_write(struct ferry *f, struct handle *handle, const void *buf, size_t len, uint64_t off)
{
    struct reg_handle *h = reg_handle_of(handle);
    if (!h->file)
        return -EBADF;
    int r = hives_write(f, h->h);
    if (r < 0)
        return r;
    struct reg_at at = { h->h, h->file->key };
    r = write_locked(&at, h->file, buf, len, off);
    hives_done(h->h);
    return r;
}

static int file_flush(struct ferry *f, struct handle *handle)
{
    struct reg_handle *h = reg_handle_of(handle);
    if (!h->file)
        return 0;
    int r = hives_write(f, h->h);
    if (r < 0)
        return r;
    struct reg_at at = { h->h, h->file->key };
    r = settle(&at, h->file);
    hives_done(h->h);
    return r;
}

static void file_release(struct ferry *f, struct handle *handle)
{
    struct reg_handle *h = reg_handle_of(handle);
    (void)f;
    if (h->file) {
        pthread_rwlock_wrlock(&h->h->lock);
        h->file->refs--;
        if (!h->file->refs && h->file->gone)
            file_free(h->file); /* not in the list any more */
        else if (!h->file->refs && !h->file->scratch)
            registry_file_remove(h->h, h->file);
        pthread_rwlock_unlock(&h->h->lock);
    }
    free(h->text);
    free(h);
}

/* ---- attributes ---- */

static int value_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    struct reg_at at;
    struct hive_key k = { 0 };
    uint32_t value;
    bool exact_raw;
    size_t size = 0;
    int r = registry_begin(f, &n->id, false, &at);
    if (r < 0)
        return r;
    struct reg_file *file = registry_file_find(&at, &n->id);
    r = hive_key(at.h->hive, at.key, &k);
    if (file) {
        size = file->n;
    } else if (!r) {
        struct hive_value v;
        r = registry_node_value(&at, &n->id, &value);
        if (!r)
            r = registry_value_form(at.h->hive, value, &exact_raw, &size);
        if (!r && is_raw(at.h->hive, &n->id, value) && (r = hive_value(at.h->hive, value, &v)) == 0)
            size = v.length;
    }
    if (!r) {
        registry_fill(f, S_IFREG, tree_ino(1000 + at.h->index, n->id.b, n->id.c), at.h->writable, ret);
        ret->st_size = (off_t)size;
        ret->st_blocks = (blkcnt_t)(size + 511) / 512;
        ret->st_mtim = ret->st_ctim = ret->st_atim = registry_time(k.last_written);
    }
    hives_done(at.h);
    return r;
}

/* truncate(2), by name or by an open file. */
static int set_size(struct ferry *f, const struct node *n, uint64_t size)
{
    struct reg_at at;
    int r = registry_begin(f, &n->id, true, &at);
    if (r < 0)
        return r;
    struct reg_file *file = registry_file_find(&at, &n->id);
    bool alone = !file;
    if (!file)
        r = state_of(&at, &n->id, false, &file);
    if (!r && size > file->n)
        r = put(at.h, file, NULL, 0, size);
    if (!r) {
        if (size > file->n) {
            file->n = (size_t)size;
            file->written = true;
        } else if (size < file->n || !size) {
            truncate_to(file, (size_t)size);
        }
        if (alone)
            r = settle(&at, file);
    }
    if (alone && file)
        registry_file_remove(at.h, file);
    hives_done(at.h);
    return r;
}

static int value_setattr(struct ferry *f, const struct node *n, const struct stat *st, unsigned which,
                         struct handle *h)
{
    (void)h;
    if (which & TREE_SET_SIZE)
        return st->st_size < 0 ? -EINVAL : set_size(f, n, (uint64_t)st->st_size);
    return 0;
}

static const char whole_name[] = "user.ferryfs.name";

static int value_getxattr(struct ferry *f, const struct node *n, const char *name, void *buf, size_t size,
                          size_t *ret_len)
{
    struct reg_at at;
    uint32_t value;
    struct hive_value v;
    struct hive_name units;
    struct reg_file_name cut;
    if (strcmp(name, whole_name) || n->id.ops == &registry_scratch_ops)
        return -ENODATA;
    int r = registry_begin(f, &n->id, false, &at);
    if (r < 0)
        return r;
    r = registry_node_value(&at, &n->id, &value);
    if (!r)
        r = hive_value(at.h->hive, value, &v);
    if (!r)
        r = registry_name_of_value(at.h->hive, value, &units);
    if (!r) {
        reg_value_file(units, v.type, is_raw(at.h->hive, &n->id, value), &cut);
        _cleanup_free_ char *whole = cut.cut ? reg_whole_name(units, true) : NULL;
        r = !cut.cut ? -ENODATA : whole ? 0 : -ENOMEM;
        if (!r) {
            *ret_len = strlen(whole);
            if (size && size < *ret_len)
                r = -ERANGE;
            else if (size)
                memcpy(buf, whole, *ret_len);
        }
        free((void *)(uintptr_t)units.units);
    }
    hives_done(at.h);
    return r == -ENOENT ? -ENODATA : r;
}

static int value_listxattr(struct ferry *f, const struct node *n, char *buf, size_t size, size_t *ret_len)
{
    size_t len;
    *ret_len = 0;
    if (value_getxattr(f, n, whole_name, NULL, 0, &len) < 0)
        return 0;
    *ret_len = sizeof whole_name;
    if (size && size < sizeof whole_name)
        return -ERANGE;
    if (size)
        memcpy(buf, whole_name, sizeof whole_name);
    return 0;
}

#define REGISTRY_FILE_OPS(file)                                                                              \
    {                                                                                                        \
        .name = file, .fresh = true, .getattr = value_getattr, .open = file_open, .read = file_read,         \
        .release = file_release, .listxattr = value_listxattr, .getxattr = value_getxattr,                   \
        .setattr = value_setattr, .write = file_write, .flush = file_flush,                                  \
        .removexattr = registry_removexattr,                                                                 \
    }
const struct tree_ops registry_value_ops = REGISTRY_FILE_OPS("registry-value");
const struct tree_ops registry_scratch_ops = REGISTRY_FILE_OPS("registry-scratch");
