/* SPDX-License-Identifier: GPL-2.0-or-later */
/* registry/: the hives by their places, keys as directories, values as files.
 *
 *     registry/HKEY_LOCAL_MACHINE/SYSTEM/...     registry/HKEY_USERS/S-1-5-.../...
 *     registry/HKLM, registry/HKU                links to these
 *     registry/NAME/...                          where the source is a hive
 *
 * Of the top directories id.b is: 1 registry/ itself, 2 and 3 the places, 4 and 5 the links. */
#include "registry.h"

#include "../formats/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

extern const struct toplevel registry_toplevel, hives_toplevel;

enum top { TOP = 1, TOP_MACHINE, TOP_USERS, TOP_HKLM, TOP_HKU };

static const struct {
    const char *name;
    enum top top;
    mode_t type;
} tops[] = {
    { "HKEY_LOCAL_MACHINE", TOP_MACHINE, S_IFDIR },
    { "HKEY_USERS", TOP_USERS, S_IFDIR },
    { "HKLM", TOP_HKLM, S_IFLNK },
    { "HKU", TOP_HKU, S_IFLNK },
};
enum { N_TOPS = sizeof tops / sizeof tops[0] };

static struct node_id top_id(enum top top)
{
    return (struct node_id){
        .ops = top == TOP                               ? &registry_ops
               : top == TOP_MACHINE || top == TOP_USERS ? &registry_place_ops
                                                        : &registry_link_ops,
        .a = UINT32_MAX,
        .b = top,
    };
}

static bool is_top(const struct node *n)
{
    return n->id.a == UINT32_MAX;
}

/* The top key of a hive that needn't be open. */
static struct node_id hive_id(const struct reg_hive *h)
{
    return (struct node_id){ .ops = &registry_key_ops, .a = h->index, .b = HIVE_NIL };
}

static struct node_id export_id(const struct node *dir)
{
    return (struct node_id){ .ops = &registry_export_ops, .a = dir->id.a, .b = dir->id.b };
}

static enum hive_place place_of(const struct node *n)
{
    return n->id.b == TOP_MACHINE ? HIVE_MACHINE : n->id.b == TOP_USERS ? HIVE_USERS : HIVE_ALONE;
}

static int top_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    registry_fill(f, S_IFDIR, tree_ino(900, n->id.b, 0), false, ret);
    return 0;
}

static int emit_hives(struct ferry *f, enum hive_place where, uint64_t cookie, tree_emit emit, void *ctx)
{
    struct reg_hive *h;
    for (uint64_t i = cookie; (h = hives_nth(f, where, i)); i++) {
        struct node_id id = hive_id(h);
        if (emit(ctx, h->name, &id, S_IFDIR, i + 1))
            break;
    }
    return 0;
}

static int top_lookup(struct ferry *f, const struct node *dir, const char *name, struct node_id *ret)
{
    if (!strcasecmp(name, ".reg")) {
        *ret = export_id(dir);
        return 0;
    }
    if (!strcasecmp(name, ".reg.error")) {
        *ret = (struct node_id){ .ops = &registry_error_ops };
        return 0;
    }
    if (hives_alone(f)) {
        struct reg_hive *h = hives_find(f, HIVE_ALONE, name);
        if (h)
            *ret = hive_id(h);
        return h ? 0 : -ENOENT;
    }
    for (size_t i = 0; i < N_TOPS; i++)
        if (!strcasecmp(tops[i].name, name)) {
            *ret = top_id(tops[i].top);
            return 0;
        }
    return -ENOENT;
}

static int top_readdir(struct ferry *f, const struct node *dir, uint64_t cookie, tree_emit emit, void *ctx)
{
    (void)dir;
    if (hives_alone(f))
        return emit_hives(f, HIVE_ALONE, cookie, emit, ctx);
    for (uint64_t i = cookie; i < N_TOPS; i++) {
        struct node_id id = top_id(tops[i].top);
        if (emit(ctx, tops[i].name, &id, tops[i].type, i + 1))
            break;
    }
    return 0;
}

static int place_lookup(struct ferry *f, const struct node *dir, const char *name, struct node_id *ret)
{
    if (!strcasecmp(name, ".reg")) {
        *ret = export_id(dir);
        return 0;
    }
    struct reg_hive *h = hives_find(f, place_of(dir), name);
    if (h)
        *ret = hive_id(h);
    return h ? 0 : -ENOENT;
}

static int place_readdir(struct ferry *f, const struct node *dir, uint64_t cookie, tree_emit emit, void *ctx)
{
    return emit_hives(f, place_of(dir), cookie, emit, ctx);
}

/* ---- links ---- */

static int copy_text(const char *text, char *buf, size_t size)
{
    if (strlen(text) >= size)
        return -ENAMETOOLONG;
    strcpy(buf, text);
    return 0;
}

static int current_set(const struct reg_at *at, char *buf, size_t size)
{
    uint16_t units[16];
    char text[17];
    size_t n = registry_current_set(at->h->hive, at->key, units);
    for (size_t i = 0; i < n; i++)
        text[i] = (char)units[i];
    text[n] = 0;
    return n ? copy_text(text, buf, size) : -ENOENT;
}

/* The target that a link key stores, in UTF-16: owned. */
static int stored_target(const struct reg_at *at, struct hive_name *ret)
{
    static const char name[] = "SymbolicLinkValue";
    uint16_t units[sizeof name];
    struct hive_value v;
    uint8_t *data;
    uint32_t value;
    for (size_t i = 0; i < sizeof name - 1; i++)
        units[i] = (uint8_t)name[i];
    int r = hive_find_value(at->h->hive, at->key, (struct hive_name){ units, sizeof name - 1 }, &value);
    if (!r)
        r = registry_value_load(at->h->hive, value, &v, &data);
    if (r < 0)
        return r == -ENOENT ? -EUCLEAN : r;
    uint16_t *target = malloc(v.length + 2);
    for (size_t i = 0; target && i < v.length / 2; i++)
        target[i] = (uint16_t)(data[2 * i] | data[2 * i + 1] << 8);
    free(data);
    *ret = (struct hive_name){ target, v.length / 2 };
    return target ? 0 : -ENOMEM;
}

/* How many directories lie above a key, up to registry/. */
static size_t depth_of(const struct reg_at *at)
{
    size_t depth = at->h->where == HIVE_ALONE ? 0 : 1;
    struct hive_key k;
    for (uint32_t key = at->key; key != hive_root(at->h->hive) && depth < 512; depth++) {
        if (hive_key(at->h->hive, key, &k) < 0)
            break;
        key = k.parent;
    }
    return depth;
}

static bool starts(struct hive_name n, const char *text)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++)
        if (i >= n.n || hive_upcase(n.units[i]) != hive_upcase((uint8_t)text[i]))
            return false;
    return true;
}

/* \REGISTRY\MACHINE\SOFTWARE\X is HKEY_LOCAL_MACHINE/SOFTWARE/X, from registry/. */
static int link_text(const struct reg_at *at, struct hive_name target, char *buf, size_t size)
{
    static const struct {
        const char *prefix, *top;
    } roots[] = { { "\\REGISTRY\\MACHINE\\", "HKEY_LOCAL_MACHINE" }, { "\\REGISTRY\\USER\\", "HKEY_USERS" } };
    size_t n = 0, i = 0, depth = depth_of(at);
    const char *top = NULL;
    for (size_t k = 0; k < 2 && !top; k++)
        if (starts(target, roots[k].prefix)) {
            top = roots[k].top;
            i = strlen(roots[k].prefix);
        }
    if (3 * depth + 32 > size)
        return -ENAMETOOLONG;
    for (; depth; depth--, n += 3)
        memcpy(buf + n, "../", 3);
    n += (size_t)sprintf(buf + n, "%s", top ? top : "unknown");
    while (i < target.n) {
        struct reg_file_name file;
        size_t end = i;
        while (end < target.n && target.units[end] != '\\' && target.units[end])
            end++;
        if (end > i) {
            reg_key_file((struct hive_name){ target.units + i, end - i }, &file);
            if (n + strlen(file.text) + 2 > size)
                return -ENAMETOOLONG;
            n += (size_t)sprintf(buf + n, "/%s", file.text);
        }
        i = end + 1;
    }
    buf[n] = 0;
    return 0;
}

/* CurrentControlSet's node is its hive's top key with c = 1. */
static int link_readlink(struct ferry *f, const struct node *n, char *buf, size_t size)
{
    struct reg_at at;
    struct hive_name target = { 0 };
    if (is_top(n))
        return copy_text(n->id.b == TOP_HKLM ? "HKEY_LOCAL_MACHINE" : "HKEY_USERS", buf, size);
    int r = registry_begin(f, &n->id, false, &at);
    if (r < 0)
        return r;
    if (n->id.c) {
        r = current_set(&at, buf, size);
    } else {
        r = stored_target(&at, &target);
        if (!r)
            r = link_text(&at, target, buf, size);
        free((void *)(uintptr_t)target.units);
    }
    hives_done(at.h);
    return r;
}

static int link_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    char text[4097];
    int r = link_readlink(f, n, text, sizeof text);
    registry_fill(f, S_IFLNK, tree_ino(1000 + (n->id.a & 0xffff), n->id.b, n->id.c), false, ret);
    ret->st_size = r < 0 ? 0 : (off_t)strlen(text);
    return 0;
}

static int link_getxattr(struct ferry *f, const struct node *n, const char *name, void *buf, size_t size,
                         size_t *ret_len)
{
    struct reg_at at;
    struct hive_name target;
    if (is_top(n) || n->id.c ||
        (strcmp(name, "user.ferryfs.target") && strcmp(name, "system.ferryfs.target")))
        return -ENODATA;
    int r = registry_begin(f, &n->id, false, &at);
    if (r < 0)
        return r;
    r = stored_target(&at, &target);
    hives_done(at.h);
    if (r < 0)
        return r;
    while (target.n && !target.units[target.n - 1])
        target.n--;
    char *text = reg_whole_name(target, true);
    free((void *)(uintptr_t)target.units);
    if (!text)
        return -ENOMEM;
    *ret_len = strlen(text);
    r = size && size < *ret_len ? -ERANGE : 0;
    if (size && !r)
        memcpy(buf, text, *ret_len);
    free(text);
    return r;
}

/* ---- keys ---- */

static int key_getattr(struct ferry *f, const struct node *n, struct stat *ret)
{
    struct reg_at at;
    struct hive_key k = { 0 };
    int r = registry_begin(f, &n->id, false, &at);
    /* A hive that can't be opened is listed all the same, if its file is there. */
    if (r < 0 && r != -ESTALE && (uint32_t)n->id.b == HIVE_NIL) {
        registry_fill(f, S_IFDIR, tree_ino(1000 + (n->id.a & 0xffff), n->id.b, 0), false, ret);
        return 0;
    }
    if (r < 0)
        return r;
    r = hive_key(at.h->hive, at.key, &k);
    if (!r) {
        registry_fill(f, S_IFDIR, tree_ino(1000 + at.h->index, n->id.b, 0), at.h->writable, ret);
        ret->st_mtim = ret->st_ctim = ret->st_atim = registry_time(k.last_written);
    }
    hives_done(at.h);
    return r;
}

/* A value's file of this name: in the hive, or created just now. */
static int lookup_value(const struct reg_at *at, const struct reg_parsed *p, struct node_id *ret)
{
    uint32_t value;
    struct hive_value v;
    struct hive_name name = reg_parsed_name(p);
    uint64_t hash = reg_value_hash(name, p->type, p->raw);
    bool raw;
    size_t size;
    if (!p->cut && registry_file_pending(at, hash)) {
        *ret = registry_value_id(at->h, at->key, 0, hash);
        return 0;
    }
    int r = registry_find_value(at->h->hive, at->key, p, &value);
    if (!r)
        r = hive_value(at->h->hive, value, &v);
    if (!r && v.type != p->type)
        r = -ENOENT;
    if (!r && !p->raw)
        r = registry_value_form(at->h->hive, value, &raw, &size);
    if (!r && !p->raw && raw)
        r = -ENOENT; /* listed, and found, with its bytes only */
    if (r < 0)
        return r;
    if (!p->cut) {
        *ret = registry_value_id(at->h, at->key, value, hash);
        return registry_is_hidden(at, name) ? -ENOENT : 0;
    }
    r = registry_name_of_value(at->h->hive, value, &name);
    if (!r) {
        *ret = registry_value_id(at->h, at->key, value, reg_value_hash(name, p->type, p->raw));
        r = registry_is_hidden(at, name) ? -ENOENT : 0;
        free((void *)(uintptr_t)name.units);
    }
    return r;
}

static int lookup_key(const struct reg_at *at, const char *name, struct node_id *ret)
{
    struct reg_parsed p;
    uint32_t key;
    mode_t type;
    int r = reg_parse_key(name, &p);
    if (r < 0)
        return -ENOENT;
    r = registry_find_key(at->h->hive, at->key, &p, &key);
    reg_parsed_done(&p);
    return r < 0 ? r : registry_subkey_id(at->h, key, ret, &type);
}

static int lookup_locked(const struct reg_at *at, const char *name, struct node_id *ret)
{
    struct reg_parsed p;
    uint16_t units[16];
    if (registry_is_current_set(name) && registry_current_set(at->h->hive, at->key, units)) {
        *ret = registry_key_id(at->h, at->key);
        ret->ops = &registry_link_ops;
        ret->c = 1;
        return 0;
    }
    int r = reg_parse_value(name, &p);
    if (!r) {
        registry_recall(at->h, &p);
        r = lookup_value(at, &p, ret);
        reg_parsed_done(&p);
        if (r != -ENOENT)
            return r;
    }
    struct reg_file *scratch = registry_scratch_find(at, name);
    if (scratch) {
        *ret = registry_value_id(at->h, at->key, 0, scratch->hash);
        ret->ops = &registry_scratch_ops;
        return 0;
    }
    return lookup_key(at, name, ret);
}

static int key_lookup(struct ferry *f, const struct node *dir, const char *name, struct node_id *ret)
{
    struct reg_at at;
    if (!strcasecmp(name, ".reg")) {
        *ret = export_id(dir);
        return 0;
    }
    int r = registry_begin(f, &dir->id, false, &at);
    if (r < 0)
        return r;
    r = lookup_locked(&at, name, ret);
    hives_done(at.h);
    return r;
}

/* ---- listing ---- */

/* Cookies: which of the parts of a listing comes, and its index in it. */
enum part { PART_SET, PART_KEYS, PART_VALUES, PART_FILES, N_PARTS };

struct listing {
    const struct reg_at *at;
    tree_emit emit;
    void *ctx;
    int err;
    bool full;
};

static uint64_t cookie_of(enum part part, uint64_t next)
{
    return (uint64_t)part << 40 | next;
}

/* A value's file that has just this name would hide the key. */
static bool is_taken(const struct reg_at *at, const char *file)
{
    struct reg_parsed p;
    struct node_id id;
    if (reg_parse_value(file, &p) < 0)
        return false;
    int r = lookup_value(at, &p, &id);
    reg_parsed_done(&p);
    return r == 0;
}

static int list_key(void *ctx, uint32_t index, uint32_t key)
{
    struct listing *l = ctx;
    uint16_t units[HIVE_KEY_NAME_MAX], set[16];
    struct hive_name name;
    struct reg_file_name file;
    struct node_id id;
    mode_t type;
    if (registry_name_of_key(l->at->h->hive, key, units, &name) < 0 ||
        registry_subkey_id(l->at->h, key, &id, &type) < 0)
        return 0;
    reg_key_file(name, &file);
    if (file.cut)
        hives_learn(l->at->h, reg_name_hash(name), name);
    if (registry_is_current_set(file.text) && registry_current_set(l->at->h->hive, l->at->key, set))
        return 0; /* the link is in its place */
    if (strchr(file.text, '.') && is_taken(l->at, file.text))
        reg_key_file_escaped(name, &file);
    l->full = l->emit(l->ctx, file.text, &id, type, cookie_of(PART_KEYS, (uint64_t)index + 1));
    return l->full;
}

static int list_value(void *ctx, uint32_t index, uint32_t value)
{
    struct listing *l = ctx;
    struct hive_value v;
    struct hive_name name;
    struct reg_file_name file;
    bool raw = false;
    size_t size;
    if (hive_value(l->at->h->hive, value, &v) < 0 || registry_name_of_value(l->at->h->hive, value, &name) < 0)
        return 0;
    if (!registry_is_hidden(l->at, name)) {
        registry_value_form(l->at->h->hive, value, &raw, &size);
        reg_value_file(name, v.type, raw, &file);
        if (file.cut)
            hives_learn(l->at->h, reg_name_hash(name), name);
        struct node_id id = registry_value_id(l->at->h, l->at->key, value, reg_value_hash(name, v.type, raw));
        l->full = l->emit(l->ctx, file.text, &id, S_IFREG, cookie_of(PART_VALUES, (uint64_t)index + 1));
    }
    free((void *)(uintptr_t)name.units);
    return l->full;
}

/* Scratch files, and values that are created and not there yet. */
static void list_files(struct listing *l, uint64_t from)
{
    uint64_t i = 0;
    for (struct reg_file *file = l->at->h->files; file && !l->full; file = file->next) {
        struct reg_file_name name;
        if (file->key != l->at->key || (!file->scratch && !file->created) || i++ < from)
            continue;
        struct node_id id = registry_value_id(l->at->h, l->at->key, 0, file->hash);
        if (file->scratch)
            id.ops = &registry_scratch_ops;
        else
            reg_value_file((struct hive_name){ file->units, file->n_units }, file->type, file->raw, &name);
        l->full =
            l->emit(l->ctx, file->scratch ? file->name : name.text, &id, S_IFREG, cookie_of(PART_FILES, i));
    }
}

static int list_part(struct listing *l, enum part part, uint64_t from)
{
    uint16_t units[16];
    const struct hive *h = l->at->h->hive;
    if (part == PART_KEYS)
        return hive_subkeys(h, l->at->key, (uint32_t)from, list_key, l, NULL);
    if (part == PART_VALUES)
        return hive_values(h, l->at->key, (uint32_t)from, list_value, l, NULL);
    if (part == PART_FILES) {
        list_files(l, from);
    } else if (!from && registry_current_set(h, l->at->key, units)) {
        struct node_id id = registry_key_id(l->at->h, l->at->key);
        id.ops = &registry_link_ops;
        id.c = 1;
        l->full = l->emit(l->ctx, "CurrentControlSet", &id, S_IFLNK, cookie_of(PART_SET, 1));
    }
    return 0;
}

static int key_readdir(struct ferry *f, const struct node *dir, uint64_t cookie, tree_emit emit, void *ctx)
{
    struct reg_at at;
    int r = registry_begin(f, &dir->id, false, &at);
    if (r < 0)
        return r;
    struct listing l = { .at = &at, .emit = emit, .ctx = ctx };
    uint64_t from = cookie & ((1ull << 40) - 1);
    int err = 0;
    for (unsigned part = (unsigned)(cookie >> 40); part < N_PARTS && !l.full; part++, from = 0) {
        r = list_part(&l, part, from);
        if (r < 0 && !err)
            err = r; /* the rest is listed all the same */
    }
    hives_done(at.h);
    return l.full ? 0 : err;
}

static int key_getxattr(struct ferry *f, const struct node *n, const char *name, void *buf, size_t size,
                        size_t *ret_len)
{
    struct reg_at at;
    uint16_t units[HIVE_KEY_NAME_MAX];
    struct hive_name key;
    struct reg_file_name cut;
    if (strcmp(name, "user.ferryfs.name") || (uint32_t)n->id.b == HIVE_NIL)
        return -ENODATA;
    int r = registry_begin(f, &n->id, false, &at);
    if (r < 0)
        return r;
    r = registry_name_of_key(at.h->hive, at.key, units, &key);
    hives_done(at.h);
    if (r < 0)
        return r;
    reg_key_file(key, &cut);
    if (!cut.cut)
        return -ENODATA;
    _cleanup_free_ char *whole = reg_whole_name(key, false);
    if (!whole)
        return -ENOMEM;
    *ret_len = strlen(whole);
    if (size && size < *ret_len)
        return -ERANGE;
    if (size)
        memcpy(buf, whole, *ret_len);
    return 0;
}

static int key_listxattr(struct ferry *f, const struct node *n, char *buf, size_t size, size_t *ret_len)
{
    static const char name[] = "user.ferryfs.name";
    size_t len;
    *ret_len = 0;
    if (key_getxattr(f, n, name, NULL, 0, &len) < 0)
        return 0;
    *ret_len = sizeof name;
    if (size && size < sizeof name)
        return -ERANGE;
    if (size)
        memcpy(buf, name, sizeof name);
    return 0;
}

/* ---- tables ---- */

static int registry_id(struct ferry *f, struct node_id *ret)
{
    (void)f;
    *ret = top_id(TOP);
    return 0;
}

const struct tree_ops registry_ops = {
    .name = "registry",
    .caseless = true,
    .getattr = top_getattr,
    .lookup = top_lookup,
    .readdir = top_readdir,
};

const struct tree_ops registry_place_ops = {
    .name = "registry-place",
    .caseless = true,
    .getattr = top_getattr,
    .lookup = place_lookup,
    .readdir = place_readdir,
};

const struct tree_ops registry_key_ops = {
    .name = "registry-key",
    .caseless = true,
    .fresh = true,
    .tells = true,
    .getattr = key_getattr,
    .lookup = key_lookup,
    .readdir = key_readdir,
    .listxattr = key_listxattr,
    .getxattr = key_getxattr,
    .create = registry_create,
    .unlink = registry_unlink,
    .rmdir = registry_rmdir,
    .rename = registry_rename,
    .setattr = registry_drop_attributes,
    .removexattr = registry_removexattr,
};

const struct tree_ops registry_link_ops = {
    .name = "registry-link",
    .fresh = true,
    .getattr = link_getattr,
    .readlink = link_readlink,
    .getxattr = link_getxattr,
    .setattr = registry_drop_attributes,
    .removexattr = registry_removexattr,
};

const struct toplevel registry_toplevel = { "registry", S_IFDIR, hives_present, registry_id };
