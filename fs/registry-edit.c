/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names made, removed and moved in a key's directory. */
#include "registry.h"

#include "../formats/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/xattr.h>

enum { SCRATCH_FILES = 4096 };

/* What a name in a directory stands for. */
enum kind { NOTHING, A_KEY, A_VALUE, A_SCRATCH, FIXED };

struct thing {
    enum kind kind;
    bool is_link;
    uint32_t cell;           /* of a key or value */
    struct reg_parsed value; /* of a value's file: what its name says; owned */
    struct hive_name stored; /* of a value: its name as stored; owned */
    struct reg_file *file;   /* scratch, or pending */
};

static void thing_done(struct thing *t)
{
    reg_parsed_done(&t->value);
    free((void *)(uintptr_t)t->stored.units);
    t->stored = (struct hive_name){ 0 };
}

static int find_value(const struct reg_at *at, const char *name, struct thing *ret)
{
    struct hive_value v;
    bool raw = false;
    size_t size;
    int r = reg_parse_value(name, &ret->value);
    if (r < 0)
        return -ENOENT;
    registry_recall(at->h, &ret->value);
    ret->file = ret->value.cut ? NULL
                               : registry_file_pending(at, reg_value_hash(reg_parsed_name(&ret->value),
                                                                          ret->value.type, ret->value.raw));
    if (ret->file) {
        ret->kind = A_VALUE;
        ret->cell = HIVE_NIL;
        return 0;
    }
    r = registry_find_value(at->h->hive, at->key, &ret->value, &ret->cell);
    if (!r)
        r = hive_value(at->h->hive, ret->cell, &v);
    if (!r && !ret->value.raw)
        r = registry_value_form(at->h->hive, ret->cell, &raw, &size);
    if (!r && (v.type != ret->value.type || (raw && !ret->value.raw)))
        r = -ENOENT;
    if (!r)
        r = registry_name_of_value(at->h->hive, ret->cell, &ret->stored);
    if (!r && registry_is_hidden(at, ret->stored))
        r = -ENOENT;
    if (!r)
        ret->kind = A_VALUE;
    return r;
}

static int find_key(const struct reg_at *at, const char *name, struct thing *ret)
{
    struct reg_parsed p;
    struct hive_key k;
    if (reg_parse_key(name, &p) < 0)
        return -ENOENT;
    int r = registry_find_key(at->h->hive, at->key, &p, &ret->cell);
    reg_parsed_done(&p);
    if (!r)
        r = hive_key(at->h->hive, ret->cell, &k);
    if (!r) {
        ret->kind = A_KEY;
        ret->is_link = k.flags & HIVE_KEY_LINK;
    }
    return r;
}

/* NOTHING if there is no such name; errors are of reading. */
static int find(const struct reg_at *at, const char *name, struct thing *ret)
{
    uint16_t units[16];
    *ret = (struct thing){ .kind = NOTHING };
    if (!strcasecmp(name, ".reg") ||
        (registry_is_current_set(name) && registry_current_set(at->h->hive, at->key, units))) {
        ret->kind = FIXED;
        return 0;
    }
    int r = find_value(at, name, ret);
    if (r != -ENOENT)
        return r;
    thing_done(ret);
    ret->file = registry_scratch_find(at, name);
    if (ret->file) {
        ret->kind = A_SCRATCH;
        return 0;
    }
    r = find_key(at, name, ret);
    return r == -ENOENT ? 0 : r;
}

/* ---- making ---- */

static int create_key(const struct reg_at *at, const char *name, struct node_id *ret)
{
    struct reg_parsed p;
    uint32_t key;
    mode_t type;
    int r = reg_parse_key(name, &p);
    if (r < 0)
        return r;
    registry_recall(at->h, &p);
    r = p.cut ? -EINVAL : hive_add_key(at->h->hive, at->key, reg_parsed_name(&p), hives_now(), &key);
    reg_parsed_done(&p);
    return r < 0 ? r : registry_subkey_id(at->h, key, ret, &type);
}

static size_t count_scratch(const struct reg_hive *h)
{
    size_t n = 0;
    for (const struct reg_file *file = h->files; file; file = file->next)
        n += file->scratch;
    return n;
}

static int new_scratch(const struct reg_at *at, const char *name, struct reg_file **ret)
{
    if (strlen(name) >= sizeof(*ret)->name)
        return -ENAMETOOLONG;
    if (count_scratch(at->h) >= SCRATCH_FILES)
        return -ENOSPC;
    struct reg_file *file = registry_file_new(at->h, at->key);
    if (!file)
        return -ENOMEM;
    file->scratch = true;
    file->hash = ++at->h->next_file;
    strcpy(file->name, name);
    *ret = file;
    return 0;
}

/* A value's file that isn't in the hive before its first close. */
static int new_value(const struct reg_at *at, struct reg_parsed *p, struct reg_file **ret)
{
    uint32_t value;
    struct hive_value v;
    if (p->cut)
        return -EINVAL; /* nobody can know what the name was */
    struct reg_file *file = registry_file_new(at->h, at->key);
    if (!file)
        return -ENOMEM;
    file->units = p->units;
    file->n_units = p->n;
    *p = (struct reg_parsed){ .type = p->type, .raw = p->raw };
    file->type = p->type;
    file->raw = p->raw;
    file->hash = reg_value_hash((struct hive_name){ file->units, file->n_units }, p->type, p->raw);
    file->created = true;
    struct hive_name name = { file->units, file->n_units };
    int r = hive_find_value(at->h->hive, at->key, name, &value);
    if (!r)
        r = registry_value_load(at->h->hive, value, &v, &file->old);
    if (!r) {
        file->had = true;
        file->old_type = v.type;
        file->old_n = v.length;
    }
    if (r < 0 && r != -ENOENT) {
        registry_file_remove(at->h, file);
        return r;
    }
    *ret = file;
    return 0;
}

static int create_file(const struct reg_at *at, const char *name, struct node_id *ret)
{
    struct reg_parsed p;
    struct reg_file *file;
    int r = reg_parse_value(name, &p);
    bool scratch = r == -ENOENT;
    if (!r)
        registry_recall(at->h, &p);
    r = scratch ? new_scratch(at, name, &file) : r < 0 ? r : new_value(at, &p, &file);
    reg_parsed_done(&p);
    if (r < 0)
        return r;
    *ret = registry_value_id(at->h, at->key, 0, file->hash);
    if (scratch)
        ret->ops = &registry_scratch_ops;
    return 0;
}

int registry_create(struct ferry *f, const struct node *dir, const char *name, const struct tree_new *what,
                    struct node_id *ret)
{
    struct reg_at at;
    struct thing there;
    if (!S_ISDIR(what->mode) && !S_ISREG(what->mode))
        return -EPERM;
    int r = registry_begin(f, &dir->id, true, &at);
    if (r < 0)
        return r;
    r = find(&at, name, &there);
    if (!r && there.kind != NOTHING)
        r = -EEXIST;
    if (!r)
        r = S_ISDIR(what->mode) ? create_key(&at, name, ret) : create_file(&at, name, ret);
    thing_done(&there);
    hives_done(at.h);
    return r;
}

/* ---- removing ---- */

static int delete_value(const struct reg_at *at, struct hive_name name)
{
    int r = hive_delete_value(at->h->hive, at->key, name, hives_now());
    if (!r)
        registry_file_forget(at, name);
    return r;
}

static int delete_key(const struct reg_at *at, uint32_t key)
{
    int r = hive_delete_key(at->h->hive, key, false, hives_now());
    if (!r)
        hives_key_gone(at->h, key);
    return r;
}

/* A scratch file that was a value takes that with it. */
static int delete_scratch(const struct reg_at *at, struct reg_file *file)
{
    int r = 0;
    if (file->from) {
        struct reg_at from = { at->h, file->from_key };
        r = delete_value(&from, (struct hive_name){ file->from_units, file->from_n });
    }
    if (r < 0 && r != -ENOENT)
        return r;
    registry_file_remove(at->h, file);
    return 0;
}

static int unlink_thing(const struct reg_at *at, struct thing *t)
{
    switch (t->kind) {
    case A_VALUE:
        if (t->cell != HIVE_NIL)
            return delete_value(at, t->stored);
        registry_file_remove(at->h, t->file);
        return 0;
    case A_SCRATCH:
        return delete_scratch(at, t->file);
    case A_KEY:
        return t->is_link ? delete_key(at, t->cell) : -EISDIR;
    case FIXED:
        return -EPERM;
    default:
        return -ENOENT;
    }
}

int registry_unlink(struct ferry *f, const struct node *dir, const char *name)
{
    struct reg_at at;
    struct thing t;
    int r = registry_begin(f, &dir->id, true, &at);
    if (r < 0)
        return r;
    r = find(&at, name, &t);
    if (!r)
        r = unlink_thing(&at, &t);
    thing_done(&t);
    hives_done(at.h);
    return r;
}

static int delete_empty(const struct reg_at *at, uint32_t key)
{
    struct hive_key k;
    struct reg_at inside = { at->h, key };
    int r = hive_key(at->h->hive, key, &k);
    if (r < 0)
        return r;
    if (k.n_subkeys || k.n_values || registry_has_scratch(&inside))
        return -ENOTEMPTY;
    return delete_key(at, key);
}

int registry_rmdir(struct ferry *f, const struct node *dir, const char *name)
{
    struct reg_at at;
    struct thing t;
    int r = registry_begin(f, &dir->id, true, &at);
    if (r < 0)
        return r;
    r = find(&at, name, &t);
    if (!r)
        r = t.kind == NOTHING               ? -ENOENT
            : t.kind == A_KEY && !t.is_link ? delete_empty(&at, t.cell)
                                            : -ENOTDIR;
    thing_done(&t);
    hives_done(at.h);
    return r;
}

/* ---- moving ---- */

struct move {
    struct reg_at from, to;
    struct thing what, there;
    const char *new_name;
    struct reg_parsed new_value; /* what the new name says as a value's; owned */
    bool new_is_value;
};

static int move_key(struct move *m)
{
    struct reg_parsed p;
    int r = 0;
    bool itself = m->there.kind == A_KEY && m->there.cell == m->what.cell;
    if (m->there.kind == A_VALUE || m->there.kind == A_SCRATCH)
        return -ENOTDIR;
    if (m->there.kind == A_KEY && !itself)
        r = delete_empty(&m->to, m->there.cell);
    if (!r)
        r = reg_parse_key(m->new_name, &p);
    if (r < 0)
        return r;
    registry_recall(m->to.h, &p);
    uint32_t cell = m->what.cell;
    r = p.cut ? -EINVAL
              : hive_move_key(m->from.h->hive, cell, m->to.key, reg_parsed_name(&p), hives_now(), &cell);
    if (!r && cell != m->what.cell) { /* its name needed more room */
        hives_key_gone(m->from.h, m->what.cell);
        for (struct reg_file *file = m->from.h->files; file; file = file->next) {
            file->key = file->key == m->what.cell ? cell : file->key;
            file->from_key = file->from_key == m->what.cell ? cell : file->from_key;
        }
    }
    reg_parsed_done(&p);
    return r;
}

static void free_target(struct move *m)
{
    if (m->there.kind == A_SCRATCH)
        registry_file_remove(m->to.h, m->there.file);
}

/* To a name without a type: the value stays in the hive until the file is committed somewhere. */
static int value_to_scratch(struct move *m)
{
    struct reg_file *file;
    char *text;
    size_t n;
    int r = registry_value_content(m->from.h->hive, m->what.cell, m->what.value.raw, &text, &n);
    if (r < 0)
        return r;
    r = new_scratch(&m->to, m->new_name, &file);
    if (r < 0) {
        free(text);
        return r;
    }
    file->text = text;
    file->n = file->room = n;
    file->from = true;
    file->from_key = m->from.key;
    file->from_units = (uint16_t *)(uintptr_t)m->what.stored.units;
    file->from_n = m->what.stored.n;
    registry_file_forget(&m->from, m->what.stored);
    m->what.stored = (struct hive_name){ 0 };
    free_target(m);
    return 0;
}

/* The bytes that the value has under its new name: with .raw on either side those of before, else of its
 * text.
 */
static int moved_bytes(struct move *m, uint8_t **ret, size_t *ret_n)
{
    struct hive_value v;
    char *text;
    size_t n;
    if (m->what.value.raw || m->new_value.raw || m->what.value.type == m->new_value.type) {
        int r = registry_value_load(m->from.h->hive, m->what.cell, &v, ret);
        *ret_n = v.length;
        return r;
    }
    int r = registry_value_content(m->from.h->hive, m->what.cell, false, &text, &n);
    if (r < 0)
        return r;
    r = registry_content_bytes(m->new_value.type, false, text, n, ret, ret_n);
    free(text);
    return r;
}

static bool same_value(const struct move *m)
{
    return m->from.key == m->to.key && !hive_name_compare(m->what.stored, reg_parsed_name(&m->new_value));
}

static bool is_respelled(struct hive_name a, struct hive_name b)
{
    return a.n == b.n && a.n && memcmp(a.units, b.units, a.n * sizeof *a.units);
}

static int value_to_value(struct move *m)
{
    uint8_t *data = NULL;
    size_t n;
    struct hive_name name = reg_parsed_name(&m->new_value);
    int r = moved_bytes(m, &data, &n);
    if (r < 0)
        return r;
    bool same = same_value(m);
    registry_file_forget(&m->from, m->what.stored);
    registry_file_forget(&m->to, name);
    r = registry_set_value(&m->to, name, m->new_value.type, data, n);
    if (!r && same && is_respelled(m->what.stored, name))
        r = hive_rename_value(m->from.h->hive, m->from.key, m->what.stored, name, hives_now());
    else if (!r && !same)
        r = hive_delete_value(m->from.h->hive, m->from.key, m->what.stored, hives_now());
    free(data);
    return r;
}

static int scratch_to_scratch(struct move *m)
{
    struct reg_file *file = m->what.file;
    if (strlen(m->new_name) >= sizeof file->name)
        return -ENAMETOOLONG;
    if (m->there.kind == A_SCRATCH && m->there.file != file)
        registry_file_remove(m->to.h, m->there.file);
    strcpy(file->name, m->new_name);
    file->key = m->to.key;
    return 0;
}

static int scratch_to_value(struct move *m)
{
    struct reg_file *file = m->what.file;
    struct hive_name name = reg_parsed_name(&m->new_value);
    uint8_t *data;
    size_t n;
    int r = registry_content_bytes(m->new_value.type, m->new_value.raw, file->text, file->n, &data, &n);
    if (r < 0)
        return r;
    registry_file_forget(&m->to, name);
    r = registry_set_value(&m->to, name, m->new_value.type, data, n);
    free(data);
    return r < 0 ? r : delete_scratch(&m->from, file);
}

static int move_file(struct move *m)
{
    if (m->there.kind == A_KEY)
        return -EISDIR;
    if (m->new_is_value && m->new_value.cut)
        return -EINVAL;
    if (m->what.kind == A_SCRATCH)
        return m->new_is_value ? scratch_to_value(m) : scratch_to_scratch(m);
    if (m->what.cell == HIVE_NIL)
        return -EBUSY; /* created, and not closed yet */
    return m->new_is_value ? value_to_value(m) : value_to_scratch(m);
}

static int move(struct move *m, const char *name, unsigned flags)
{
    int r = find(&m->from, name, &m->what);
    if (!r)
        r = find(&m->to, m->new_name, &m->there);
    if (r < 0)
        return r;
    if (m->what.kind == NOTHING)
        return -ENOENT;
    if (m->what.kind == FIXED || m->there.kind == FIXED)
        return -EPERM;
    if (flags & RENAME_NOREPLACE && m->there.kind != NOTHING)
        return -EEXIST;
    if (m->what.kind == A_KEY)
        return move_key(m);
    r = reg_parse_value(m->new_name, &m->new_value);
    m->new_is_value = !r;
    if (!r)
        registry_recall(m->to.h, &m->new_value);
    return r < 0 && r != -ENOENT ? r : move_file(m);
}

int registry_rename(struct ferry *f, const struct node *dir, const char *name, const struct node *new_dir,
                    const char *new_name, unsigned flags)
{
    struct move m = { .new_name = new_name };
    if (flags & ~(unsigned)RENAME_NOREPLACE)
        return -EINVAL;
    if ((dir->id.a ^ new_dir->id.a) & 0xffff) /* another hive: to be copied */
        return -EXDEV;
    int r = registry_begin(f, &dir->id, true, &m.from);
    if (r < 0)
        return r;
    uint32_t key = (uint32_t)new_dir->id.b;
    m.to = (struct reg_at){ m.from.h, key == HIVE_NIL ? hive_root(m.from.h->hive) : key };
    if (key != HIVE_NIL && hives_generation(m.from.h, key) != new_dir->id.b >> 32)
        r = -ESTALE;
    if (!r)
        r = move(&m, name, flags);
    thing_done(&m.what);
    thing_done(&m.there);
    reg_parsed_done(&m.new_value);
    hives_done(m.from.h);
    return r;
}

/* ---- attributes that a key or value has nowhere to keep ---- */

int registry_drop_attributes(struct ferry *f, const struct node *n, const struct stat *st, unsigned which,
                             struct handle *h)
{
    (void)f;
    (void)n;
    (void)st;
    (void)h;
    return which & TREE_SET_SIZE ? -EISDIR : 0;
}

/* cp -a removes ACLs that aren't there. */
int registry_removexattr(struct ferry *f, const struct node *n, const char *name)
{
    (void)f;
    (void)n;
    return strncmp(name, "system.posix_acl_", 17) ? -ENODATA : 0;
}
