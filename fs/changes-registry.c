/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The keys and values that a list of changes concerns, by paths as regedit writes them. */
#include "changes-impl.h"

#include "registry.h"

#include "../formats/bytes.h"
#include "../formats/cleanup.h"
#include "../guest/text.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

enum { DEPTH_MAX = 512, ID_MAX = 512 };

/* ---- paths ---- */

/* The component at *path, which moves behind it. -ENOENT: none is left. */
static int component(const char **path, char *ret, size_t size)
{
    size_t n = strcspn(*path, "\\");
    if (!n)
        return -ENOENT;
    if (n >= size)
        return -ENAMETOOLONG;
    memcpy(ret, *path, n);
    ret[n] = 0;
    *path += n + ((*path)[n] == '\\');
    return 0;
}

static int find_hive(struct ferry *f, const char **path, struct reg_hive **ret)
{
    static const struct {
        const char *name;
        enum hive_place where;
    } tops[] = { { "HKLM", HIVE_MACHINE },
                 { "HKEY_LOCAL_MACHINE", HIVE_MACHINE },
                 { "HKU", HIVE_USERS },
                 { "HKEY_USERS", HIVE_USERS } };
    char name[ID_MAX];
    int r = component(path, name, sizeof name);
    if (r < 0)
        return -EINVAL;
    if (!strcasecmp(name, "BCD")) { /* not a name of Windows': the store isn't always loaded */
        *ret = hives_nth(f, HIVE_BCD, 0);
        return *ret ? 0 : -ENOENT;
    }
    for (size_t i = 0; i < sizeof tops / sizeof tops[0]; i++) {
        if (strcasecmp(tops[i].name, name))
            continue;
        r = component(path, name, sizeof name);
        *ret = r < 0 ? NULL : hives_find(f, tops[i].where, name);
        return r < 0 ? r : *ret ? 0 : -ENOENT;
    }
    return -EINVAL;
}

struct units {
    uint16_t u[ID_MAX];
    struct hive_name name;
};

static int to_units(const char *text, struct units *ret)
{
    int n = text_to_utf16(text, ret->u, ID_MAX);
    if (n < 0)
        return n == -EILSEQ ? -EINVAL : n;
    ret->name = (struct hive_name){ ret->u, (size_t)n };
    return 0;
}

/* Locks the key's hive: undone by hives_done(at->h). `up`: the key above it instead, and its own name. */
static int open_key(struct ferry *f, const char *path, bool write, struct units *up, struct reg_at *at)
{
    char part[ID_MAX];
    struct units name;
    int r = find_hive(f, &path, &at->h);
    if (!r)
        r = write ? hives_write(f, at->h) : hives_read(f, at->h);
    if (r < 0)
        return r;
    at->key = hive_root(at->h->hive);
    if (up && !*path)
        r = -EPERM; /* the root of a hive */
    while (!r && *path) {
        r = component(&path, part, sizeof part);
        if (!r)
            r = to_units(part, &name);
        if (!r && up && !*path) {
            *up = name;
            up->name.units = up->u;
            break;
        }
        if (!r)
            r = hive_find_key(at->h->hive, at->key, name.name, &at->key);
    }
    if (r < 0)
        hives_done(at->h);
    return r;
}

/* ---- looking ---- */

int key_there(struct ferry *f, const char *key)
{
    struct reg_at at;
    int r = open_key(f, key, false, NULL, &at);
    if (!r)
        hives_done(at.h);
    return r;
}

int key_value(struct ferry *f, const char *key, const char *name, uint32_t *ret_type, uint8_t **ret,
              size_t *ret_n)
{
    struct reg_at at;
    struct units units;
    struct hive_value v;
    uint32_t value;
    int r = to_units(name, &units);
    if (!r)
        r = open_key(f, key, false, NULL, &at);
    if (r < 0)
        return r;
    r = hive_find_value(at.h->hive, at.key, units.name, &value);
    if (!r)
        r = hive_value(at.h->hive, value, &v);
    if (!r)
        r = v.length > CHANGE_VALUE_MAX ? -EFBIG : registry_value_load(at.h->hive, value, &v, ret);
    hives_done(at.h);
    if (!r) {
        *ret_type = v.type;
        *ret_n = v.length;
    }
    return r;
}

/* Names are gathered first: fn may look at the registry, and the lock isn't to be taken twice. */
struct names {
    const struct hive *h;
    struct name_entry {
        char *text;
        uint32_t type;
    } * list; /* owned */
    size_t n;
    int r;
};

static int gather(struct names *g, struct hive_name name, uint32_t type)
{
    struct name_entry *list = reallocarray(g->list, g->n + 1, sizeof *list);
    char *text = malloc(TEXT_UTF8_SIZE(name.n));
    if (list)
        g->list = list;
    if (!list || !text) {
        free(text);
        g->r = -ENOMEM;
        return 1;
    }
    text_from_utf16(name.units, name.n, text, TEXT_UTF8_SIZE(name.n));
    list[g->n++] = (struct name_entry){ text, type };
    return 0;
}

static int gather_key(void *ctx, uint32_t index, uint32_t key)
{
    struct names *g = ctx;
    uint16_t units[HIVE_KEY_NAME_MAX];
    struct hive_name name;
    (void)index;
    return registry_name_of_key(g->h, key, units, &name) < 0 ? 0 : gather(g, name, 0);
}

static int gather_value(void *ctx, uint32_t index, uint32_t value)
{
    struct names *g = ctx;
    struct hive_name name;
    struct hive_value v;
    (void)index;
    if (hive_value(g->h, value, &v) < 0 || registry_name_of_value(g->h, value, &name) < 0)
        return 0;
    int r = gather(g, name, v.type);
    free((void *)(uintptr_t)name.units);
    return r;
}

static int each_name(struct ferry *f, const char *key, bool of_keys, prepare_each fn, void *ctx)
{
    struct reg_at at;
    int r = open_key(f, key, false, NULL, &at);
    if (r < 0)
        return r;
    struct names g = { .h = at.h->hive };
    r = of_keys ? hive_subkeys(at.h->hive, at.key, 0, gather_key, &g, NULL)
                : hive_values(at.h->hive, at.key, 0, gather_value, &g, NULL);
    hives_done(at.h);
    r = r < 0 ? r : g.r;
    for (size_t i = 0; i < g.n; i++) {
        if (!r)
            r = fn(ctx, g.list[i].text, g.list[i].type);
        free(g.list[i].text);
    }
    free(g.list);
    return r;
}

int key_subkeys(struct ferry *f, const char *key, prepare_each fn, void *ctx)
{
    return each_name(f, key, true, fn, ctx);
}

int key_values(struct ferry *f, const char *key, prepare_each fn, void *ctx)
{
    return each_name(f, key, false, fn, ctx);
}

/* ---- a key with all that is in it ----
 *
 *     key: class, descriptor, flags, number of values, values, number of subkeys, and of each: name, key
 *     value: name, type, bytes
 *
 * Names are UTF-16LE; what has a length has it before it. */

struct packing {
    const struct hive *h;
    struct blob *out;
    unsigned depth;
    int r;
};

static void pack_units(struct blob *out, struct hive_name name)
{
    blob_u32(out, (uint32_t)(2 * name.n));
    for (size_t i = 0; i < name.n; i++) {
        uint8_t unit[2];
        put_le16(unit, name.units[i]);
        blob_put(out, unit, 2);
    }
}

static int pack_room(const struct packing *p)
{
    return p->out->failed ? -ENOMEM : p->out->n > CHANGE_TREE_MAX ? -EFBIG : 0;
}

static int pack_value(void *ctx, uint32_t index, uint32_t value)
{
    struct packing *p = ctx;
    struct hive_name name = { 0 };
    struct hive_value v;
    _cleanup_free_ uint8_t *bytes = NULL;
    (void)index;
    p->r = registry_name_of_value(p->h, value, &name);
    if (p->r < 0)
        return 1;
    p->r = hive_value(p->h, value, &v);
    if (!p->r)
        p->r = v.length > CHANGE_VALUE_MAX ? -EFBIG : registry_value_load(p->h, value, &v, &bytes);
    if (!p->r) {
        pack_units(p->out, name);
        blob_u32(p->out, v.type);
        blob_counted(p->out, bytes, v.length);
        p->r = pack_room(p);
    }
    free((void *)(uintptr_t)name.units);
    return p->r < 0;
}

static int pack_key(struct packing *p, uint32_t key);

static int pack_subkey(void *ctx, uint32_t index, uint32_t key)
{
    struct packing *p = ctx;
    uint16_t units[HIVE_KEY_NAME_MAX];
    struct hive_name name;
    (void)index;
    p->r = pack_room(p);
    if (!p->r)
        p->r = registry_name_of_key(p->h, key, units, &name);
    if (!p->r) {
        pack_units(p->out, name);
        p->r = pack_key(p, key);
    }
    return p->r < 0;
}

typedef int (*get_bytes)(const struct hive *h, uint32_t key, void *buf, size_t room, size_t *ret_n);

static int pack_bytes(struct packing *p, uint32_t key, get_bytes get)
{
    size_t n = 0;
    uint8_t none;
    int r = get(p->h, key, &none, 0, &n);
    _cleanup_free_ uint8_t *bytes = r < 0 ? NULL : malloc(n ? n : 1);
    if (r < 0 || !bytes)
        return r < 0 ? r : -ENOMEM;
    r = get(p->h, key, bytes, n, &n);
    if (!r)
        blob_counted(p->out, bytes, n);
    return r;
}

static int pack_key(struct packing *p, uint32_t key)
{
    struct hive_key k;
    unsigned damaged = 0;
    if (++p->depth > DEPTH_MAX)
        return -EFBIG;
    int r = hive_key(p->h, key, &k);
    if (!r)
        r = pack_bytes(p, key, hive_key_class);
    if (!r)
        r = pack_bytes(p, key, hive_key_security);
    if (r < 0)
        return r;
    blob_u32(p->out, k.flags & HIVE_KEY_LINK);
    blob_u32(p->out, k.n_values);
    r = hive_values(p->h, key, 0, pack_value, p, &damaged);
    r = r < 0 ? r : p->r < 0 ? p->r : damaged ? -EUCLEAN : 0;
    blob_u32(p->out, k.n_subkeys);
    if (!r)
        r = hive_subkeys(p->h, key, 0, pack_subkey, p, &damaged);
    p->depth--;
    return r < 0 ? r : p->r < 0 ? p->r : damaged ? -EUCLEAN : p->out->failed ? -ENOMEM : 0;
}

int key_pack(struct ferry *f, const char *key, uint8_t **ret, size_t *ret_n)
{
    struct reg_at at;
    struct blob out = { 0 };
    int r = open_key(f, key, false, NULL, &at);
    if (r < 0)
        return r;
    struct packing p = { .h = at.h->hive, .out = &out };
    r = pack_key(&p, at.key);
    hives_done(at.h);
    if (r < 0) {
        free(out.p);
        return r;
    }
    *ret = out.p;
    *ret_n = out.n;
    return 0;
}

struct unpacking {
    struct reg_hive *h;
    struct bytes in;
    size_t at;
    unsigned depth;
};

static uint32_t next_u32(struct unpacking *u)
{
    uint32_t v = le32(u->in, u->at);
    u->at += 4;
    return v;
}

static struct bytes next_counted(struct unpacking *u)
{
    uint32_t n = next_u32(u);
    struct bytes b = bytes_sub(u->in, u->at, n);
    u->at += b.n;
    return b;
}

/* A name of at most 16383 units, owned by the caller. */
static int next_name(struct unpacking *u, struct hive_name *ret)
{
    struct bytes b = next_counted(u);
    uint16_t *units = malloc(b.n + 2);
    if (!units)
        return -ENOMEM;
    for (size_t i = 0; i < b.n / 2; i++)
        units[i] = le16(b, 2 * i);
    *ret = (struct hive_name){ units, b.n / 2 };
    return u->in.bad->set || b.n / 2 > HIVE_VALUE_NAME_MAX ? -EUCLEAN : 0;
}

static int unpack_value(struct unpacking *u, uint32_t key)
{
    struct hive_name name = { 0 };
    int r = next_name(u, &name);
    uint32_t type = next_u32(u);
    struct bytes b = next_counted(u);
    if (!r && u->in.bad->set)
        r = -EUCLEAN;
    if (!r)
        r = hive_set_value(u->h->hive, key, name, type, b.p, b.n, hives_now(), NULL);
    free((void *)(uintptr_t)name.units);
    return r;
}

static int unpack_key(struct unpacking *u, uint32_t key)
{
    if (++u->depth > DEPTH_MAX)
        return -EUCLEAN;
    struct bytes class = next_counted(u), security = next_counted(u);
    uint32_t flags = next_u32(u);
    int r = u->in.bad->set ? -EUCLEAN : hive_set_security(u->h->hive, key, security.p, security.n);
    if (!r && class.n)
        r = hive_set_class(u->h->hive, key, class.p, class.n);
    struct hive_key k;
    if (!r)
        r = hive_key(u->h->hive, key, &k);
    if (!r && flags & HIVE_KEY_LINK)
        r = hive_set_key_flags(u->h->hive, key, k.flags | HIVE_KEY_LINK);
    for (uint32_t n = next_u32(u); !r && n; n--)
        r = unpack_value(u, key);
    for (uint32_t n = next_u32(u); !r && n; n--) {
        struct hive_name name = { 0 };
        uint32_t sub;
        r = next_name(u, &name);
        if (!r)
            r = hive_add_key(u->h->hive, key, name, hives_now(), &sub);
        free((void *)(uintptr_t)name.units);
        if (!r)
            r = unpack_key(u, sub);
    }
    u->depth--;
    return r < 0 ? r : u->in.bad->set ? -EUCLEAN : 0;
}

/* ---- changing ---- */

static int delete_tree(const struct reg_at *at)
{
    hives_tree_gone(at->h, at->key);
    return hive_delete_key(at->h->hive, at->key, true, hives_now());
}

static int add_key(const struct reg_at *up, const struct units *name, const uint8_t *bytes, size_t n)
{
    uint32_t key;
    struct bad bad = { 0 };
    int r = hive_add_key(up->h->hive, up->key, name->name, hives_now(), &key);
    if (r < 0 || !bytes)
        return r;
    struct unpacking u = { .h = up->h, .in = bytes_of(bytes, n, 0, &bad) };
    r = unpack_key(&u, key);
    struct reg_at made = { up->h, key };
    if (r < 0)
        delete_tree(&made);
    return r;
}

static int set_value(struct ferry *f, const struct change *c, const struct change_state *s)
{
    struct units name;
    struct reg_at at;
    int r = to_units(c->name, &name);
    if (!r)
        r = open_key(f, c->path, true, NULL, &at);
    if (r < 0)
        return r;
    if (s->there) {
        r = registry_set_value(&at, name.name, s->type, s->bytes, s->n);
    } else {
        r = hive_delete_value(at.h->hive, at.key, name.name, hives_now());
        r = r == -ENOENT ? 0 : r;
        registry_file_forget(&at, name.name);
    }
    hives_done(at.h);
    return r;
}

/* Adds the key (with what bytes say) or takes it: whole, or only if nothing is in it. */
static int set_key(struct ferry *f, const char *path, bool there, const uint8_t *bytes, size_t n, bool whole)
{
    struct units name;
    struct reg_at at;
    int r = open_key(f, path, true, there ? &name : NULL, &at);
    if (r < 0)
        return r == -ENOENT && !there ? 0 : r;
    if (there) {
        r = add_key(&at, &name, bytes, n);
    } else if (whole) {
        r = delete_tree(&at);
    } else {
        struct hive_key k;
        r = hive_key(at.h->hive, at.key, &k);
        if (!r && !k.n_subkeys && !k.n_values)
            r = delete_tree(&at);
    }
    hives_done(at.h);
    return r;
}

int key_do(struct ferry *f, const struct change *c)
{
    if (c->new.there && changes_in_current_set(c->path))
        return -EINVAL;
    if (c->kind == CHANGE_VALUE)
        return set_value(f, c, &c->new);
    return set_key(f, c->path, c->kind == CHANGE_KEY, NULL, 0, true);
}

int key_undo(struct ferry *f, const struct change *c)
{
    int r = c->kind == CHANGE_VALUE
                ? set_value(f, c, &c->old)
                : set_key(f, c->path, c->kind == CHANGE_UNKEY, c->old.bytes, c->old.n, false);
    return r == -ENOENT && !c->old.there ? 0 : r;
}
