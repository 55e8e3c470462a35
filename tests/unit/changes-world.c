/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "changes-world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct world world = { .fail_at = -1 };

enum { THINGS = 512, TREES = 32 };

struct thing {
    char kind;
    char path[200];
    uint32_t type;
    uint8_t bytes[4096];
    size_t n;
};
static struct thing things[THINGS];
static size_t n_things;
/* What key_pack() gave out: its bytes are the index. */
static struct thing trees[TREES][THINGS];
static size_t n_in_tree[TREES], n_trees;

/* ---- things ---- */

static struct thing *find(const char *kinds, const char *path)
{
    for (size_t i = 0; i < n_things; i++)
        if (strchr(kinds, things[i].kind) && !strcasecmp(things[i].path, path))
            return &things[i];
    return NULL;
}

static void take(struct thing *t)
{
    *t = things[--n_things];
}

void world_put(char kind, const char *path, uint32_t type, const void *bytes, size_t n)
{
    char kinds[2] = { kind, 0 };
    struct thing *t = find(kinds, path);
    if (!t) {
        if (n_things >= THINGS)
            abort();
        t = &things[n_things++];
    }
    if (n > sizeof t->bytes)
        abort();
    *t = (struct thing){ .kind = kind, .type = type, .n = n };
    snprintf(t->path, sizeof t->path, "%s", path);
    if (n)
        memcpy(t->bytes, bytes, n);
}

static void put_key_of(const char *value)
{
    char key[200];
    snprintf(key, sizeof key, "%s", value);
    *strchr(key, '|') = 0;
    for (char *at = key; (at = strchr(at, '\\')); at++) {
        *at = 0;
        world_put('k', key, 0, NULL, 0);
        *at = '\\';
    }
    world_put('k', key, 0, NULL, 0);
}

void world_text(const char *key_and_name, const char *ascii)
{
    uint8_t bytes[256] = { 0 };
    size_t n = strlen(ascii);
    for (size_t i = 0; i < n; i++)
        bytes[2 * i] = (uint8_t)ascii[i];
    put_key_of(key_and_name);
    world_put('v', key_and_name, 1, bytes, 2 * n + 2);
}

void world_dword(const char *key_and_name, uint32_t v)
{
    uint8_t bytes[4] = { (uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24) };
    put_key_of(key_and_name);
    world_put('v', key_and_name, 4, bytes, 4);
}

static int by_name(const void *a, const void *b)
{
    const struct thing *x = a, *y = b;
    int r = strcasecmp(x->path, y->path);
    return r ? r : x->kind - y->kind;
}

char *world_show(void)
{
    struct json_out out = { 0 };
    char line[400];
    qsort(things, n_things, sizeof *things, by_name);
    for (size_t i = 0; i < n_things; i++) {
        snprintf(line, sizeof line, "%c %s %o ", things[i].kind, things[i].path, things[i].type);
        json_raw(&out, line);
        for (size_t k = 0; k < things[i].n; k++) {
            snprintf(line, sizeof line, "%02x", things[i].bytes[k]);
            json_raw(&out, line);
        }
        json_raw(&out, "\n");
    }
    return out.text ? out.text : strdup("");
}

static int step(void)
{
    bool failed =
        world.fail_at >= 0 && (world.steps == world.fail_at || (world.stuck && world.steps > world.fail_at));
    world.steps++;
    return failed ? -ENOSPC : 0;
}

/* ---- what changes-files.c gives ---- */

int file_stat(struct ferry *f, const char *path, struct prepare_stat *ret)
{
    const struct thing *t = find("fd", path);
    (void)f;
    if (!t)
        return -ENOENT;
    *ret = (struct prepare_stat){ t->type, t->n };
    return 0;
}

int file_read(struct ferry *f, const char *path, size_t max, uint8_t **ret, size_t *ret_n)
{
    const struct thing *t = find("f", path);
    (void)f;
    if (!t || t->n > max)
        return t ? -EFBIG : -ENOENT;
    *ret = calloc(1, t->n + 1);
    memcpy(*ret, t->bytes, t->n);
    *ret_n = t->n;
    return 0;
}

int file_read_at(struct ferry *f, const char *path, void *buf, size_t len, uint64_t off, size_t *ret_len)
{
    const struct thing *t = find("f", path);
    (void)f;
    if (!t)
        return -ENOENT;
    *ret_len = off < t->n ? t->n - (size_t)off : 0;
    *ret_len = *ret_len < len ? *ret_len : len;
    memcpy(buf, t->bytes + off, *ret_len);
    return 0;
}

int file_list(struct ferry *f, const char *path, prepare_each fn, void *ctx)
{
    size_t n = strlen(path);
    int r = find("d", path) ? 0 : -ENOENT;
    (void)f;
    for (size_t i = 0; !r && i < n_things; i++)
        if (strchr("fdl", things[i].kind) && !strncasecmp(things[i].path, path, n) &&
            things[i].path[n] == '/' && !strchr(things[i].path + n + 1, '/'))
            r = fn(ctx, things[i].path + n + 1, things[i].type);
    return r;
}

int file_readlink(struct ferry *f, const char *path, char *buf, size_t size)
{
    const struct thing *t = find("l", path);
    (void)f;
    if (!t)
        return -ENOENT;
    snprintf(buf, size, "%.*s", (int)t->n, (const char *)t->bytes);
    return 0;
}

/* No device of this world has a file system. */
int file_uuid(struct ferry *f, const char *device, char *buf, size_t size)
{
    (void)f;
    (void)device;
    (void)buf;
    (void)size;
    return -ENOENT;
}

static void sum(const void *bytes, size_t n, char ret[DIGEST_HEX_MAX])
{
    struct digest *d;
    if (digest_new("SHA256", &d) < 0)
        abort();
    digest_update(d, bytes, n);
    digest_final(d, ret);
    digest_free(d);
}

int file_state(struct ferry *f, enum change_kind kind, const char *path, uint64_t keep, uint64_t from,
               struct change_state *ret)
{
    const struct thing *t = find("fdl", path);
    (void)f;
    (void)kind;
    *ret = (struct change_state){ 0 };
    if (!t)
        return 0;
    ret->there = true;
    ret->type = t->type;
    ret->size = t->n;
    if (keep && t->n > keep)
        return -EFBIG;
    if (keep) {
        ret->bytes = calloc(1, t->n + 1);
        memcpy(ret->bytes, t->bytes, t->n);
        ret->n = t->n;
    }
    if (from != NO_SUM && from <= t->n)
        sum(t->bytes + from, t->n - (size_t)from, ret->sum);
    return 0;
}

static void put_file(const char *path, const struct change_state *s)
{
    struct thing *old = find("fdl", path);
    if (old)
        take(old);
    if (s->there)
        world_put(S_ISLNK(s->type) ? 'l' : S_ISDIR(s->type) ? 'd' : 'f', path, s->type, s->bytes, s->n);
}

static bool is_below(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    return !strncmp(path, dir, n) && path[n] == '/';
}

int file_do(struct ferry *f, const struct change *c)
{
    struct thing *t = find("f", c->path);
    (void)f;
    int r = step();
    for (size_t i = 0; !r && c->kind == CHANGE_RMDIR && i < n_things; i++)
        if (things[i].kind != 'k' && things[i].kind != 'v' && is_below(things[i].path, c->path))
            return -ENOTEMPTY;
    if (c->kind == CHANGE_APPEND) {
        if (!t || t->n + c->new.n > sizeof t->bytes)
            return -ENOENT;
        size_t n = r < 0 ? c->new.n / 2 : c->new.n; /* a write that fails may have begun */
        memcpy(t->bytes + t->n, c->new.bytes, n);
        t->n += n;
    } else if (r < 0 && c->kind == CHANGE_FILE) {
        struct change_state half = c->new;
        half.n /= 2;
        put_file(c->path, &half);
    } else if (!r) {
        put_file(c->path, &c->new);
    }
    return r;
}

int file_undo(struct ferry *f, const struct change *c)
{
    struct thing *t = find("f", c->path);
    (void)f;
    int r = step();
    if (r < 0)
        return r;
    if (c->kind == CHANGE_APPEND)
        t->n = (size_t)c->old.size;
    else
        put_file(c->path, &c->old);
    return 0;
}

/* ---- what changes-registry.c gives ---- */

int key_there(struct ferry *f, const char *key)
{
    (void)f;
    return find("k", key) ? 0 : -ENOENT;
}

int key_value(struct ferry *f, const char *key, const char *name, uint32_t *ret_type, uint8_t **ret,
              size_t *ret_n)
{
    char path[400];
    snprintf(path, sizeof path, "%s|%s", key, name);
    const struct thing *t = find("v", path);
    (void)f;
    if (!t)
        return -ENOENT;
    *ret = calloc(1, t->n + 1);
    memcpy(*ret, t->bytes, t->n);
    *ret_n = t->n;
    *ret_type = t->type;
    return 0;
}

int key_subkeys(struct ferry *f, const char *key, prepare_each fn, void *ctx)
{
    size_t n = strlen(key);
    int r = find("k", key) ? 0 : -ENOENT;
    (void)f;
    for (size_t i = 0; !r && i < n_things; i++)
        if (things[i].kind == 'k' && !strncasecmp(things[i].path, key, n) && things[i].path[n] == '\\' &&
            !strchr(things[i].path + n + 1, '\\'))
            r = fn(ctx, things[i].path + n + 1, 0);
    return r;
}

int key_values(struct ferry *f, const char *key, prepare_each fn, void *ctx)
{
    size_t n = strlen(key);
    int r = find("k", key) ? 0 : -ENOENT;
    (void)f;
    for (size_t i = 0; !r && i < n_things; i++)
        if (things[i].kind == 'v' && !strncasecmp(things[i].path, key, n) && things[i].path[n] == '|')
            r = fn(ctx, things[i].path + n + 1, things[i].type);
    return r;
}

static bool in_tree(const struct thing *t, const char *key)
{
    size_t n = strlen(key);
    return strchr("kv", t->kind) && !strncasecmp(t->path, key, n) &&
           (!t->path[n] || strchr("\\|", t->path[n]));
}

int key_pack(struct ferry *f, const char *key, uint8_t **ret, size_t *ret_n)
{
    (void)f;
    if (n_trees >= TREES)
        abort();
    n_in_tree[n_trees] = 0;
    for (size_t i = 0; i < n_things; i++)
        if (in_tree(&things[i], key))
            trees[n_trees][n_in_tree[n_trees]++] = things[i];
    *ret = calloc(1, 1);
    **ret = (uint8_t)n_trees++;
    *ret_n = 1;
    return 0;
}

static void take_tree(const char *key)
{
    for (size_t i = n_things; i--;)
        if (in_tree(&things[i], key))
            take(&things[i]);
}

static void put_value(const struct change *c, const struct change_state *s)
{
    char path[400];
    snprintf(path, sizeof path, "%s|%s", c->path, c->name);
    struct thing *t = find("v", path);
    if (t)
        take(t);
    if (s->there)
        world_put('v', path, s->type, s->bytes, s->n);
}

int key_do(struct ferry *f, const struct change *c)
{
    (void)f;
    int r = step();
    if (r < 0)
        return r;
    if (c->kind == CHANGE_VALUE)
        put_value(c, &c->new);
    else if (c->kind == CHANGE_KEY)
        world_put('k', c->path, 0, NULL, 0);
    else
        take_tree(c->path);
    return 0;
}

int key_undo(struct ferry *f, const struct change *c)
{
    (void)f;
    int r = step();
    if (r < 0)
        return r;
    if (c->kind == CHANGE_VALUE)
        put_value(c, &c->old);
    else if (c->kind == CHANGE_KEY)
        take_tree(c->path);
    else
        for (size_t i = 0; i < n_in_tree[c->old.bytes[0]]; i++) {
            const struct thing *t = &trees[c->old.bytes[0]][i];
            world_put(t->kind, t->path, t->type, t->bytes, t->n);
        }
    return 0;
}

/* ---- the overlay ---- */

static struct kept {
    char name[OVERLAY_FILE_NAME + 1];
    uint8_t *bytes;
    size_t n;
} kept[8];
static char note_key[160], note_text[512];

int overlay_file_write(struct overlay *o, const char *name, const void *bytes, size_t n)
{
    (void)o;
    int r = step();
    size_t i = 0;
    while (i < 8 && kept[i].bytes && strcmp(kept[i].name, name))
        i++;
    if (i == 8)
        abort();
    if (r < 0)
        return r;
    free(kept[i].bytes);
    snprintf(kept[i].name, sizeof kept[i].name, "%s", name);
    kept[i].bytes = malloc(n + 1);
    memcpy(kept[i].bytes, bytes, n);
    kept[i].n = n;
    return 0;
}

int overlay_file_read(struct overlay *o, const char *name, size_t max, uint8_t **ret, size_t *ret_n)
{
    (void)o;
    (void)max;
    for (size_t i = 0; i < 8; i++)
        if (kept[i].bytes && !strcmp(kept[i].name, name)) {
            *ret = malloc(kept[i].n + 1);
            memcpy(*ret, kept[i].bytes, kept[i].n);
            *ret_n = kept[i].n;
            return 0;
        }
    return -ENOENT;
}

void overlay_file_remove(struct overlay *o, const char *name)
{
    (void)o;
    for (size_t i = 0; i < 8; i++)
        if (kept[i].bytes && !strcmp(kept[i].name, name)) {
            free(kept[i].bytes);
            size_t last = world_files();
            for (last = 7; !kept[last].bytes && last > i;)
                last--;
            kept[i] = kept[last];
            kept[last] = (struct kept){ 0 };
            if (last == i)
                kept[i] = (struct kept){ 0 };
            return;
        }
}

size_t world_files(void)
{
    size_t n = 0;
    for (size_t i = 0; i < 8; i++)
        n += kept[i].bytes != NULL;
    return n;
}

int overlay_note_set(struct overlay *o, const char *key, const char *text)
{
    (void)o;
    snprintf(note_key, sizeof note_key, "%s", key);
    snprintf(note_text, sizeof note_text, "%s", text ? text : "");
    return 0;
}

const char *overlay_note(const struct overlay *o, const char *key)
{
    (void)o;
    return note_text[0] && !strcmp(note_key, key) ? note_text : NULL;
}

int ferry_alone_commit(struct ferry *f)
{
    int r = f->broken ? -EIO : step();
    world.commits += !r;
    return r;
}

void world_clear(void)
{
    n_things = n_trees = 0;
    note_text[0] = 0;
    for (size_t i = 0; i < 8; i++) {
        free(kept[i].bytes);
        kept[i] = (struct kept){ 0 };
    }
    memset(&world, 0, sizeof world);
    world.fail_at = -1;
    world.ferry.overlay = (struct overlay *)(void *)&world; /* nobody looks into it */
}
