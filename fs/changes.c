/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A list of changes while it is being made: each adding call compares what must be so with what is so, seen
 * through what the list has already. */
#include "changes-impl.h"

#include "../formats/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct prepare_ops prepare_ops;

struct changes *changes_new(struct ferry *f)
{
    struct changes *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->prepare.ops = &prepare_ops;
    c->f = f;
    c->keep_max = CHANGE_FILE_MAX;
    c->make_max = RECORD_MAX;
    return c;
}

void changes_keep(struct changes *c, uint64_t kept, uint64_t made)
{
    c->keep_max = kept;
    c->make_max = made;
}

/* What of that may still be kept. */
static uint64_t keep_room(const struct changes *c)
{
    return c->keep_max > c->kept ? c->keep_max - c->kept : 1;
}

static uint64_t kept_bytes(const struct change *c)
{
    return c->old.n + c->old.n_attributes;
}

void change_state_done(struct change_state *s)
{
    free(s->bytes);
    free(s->attributes);
    *s = (struct change_state){ 0 };
}

void change_done(struct change *c)
{
    free(c->path);
    free(c->name);
    free(c->reason);
    change_state_done(&c->old);
    change_state_done(&c->new);
    *c = (struct change){ 0 };
}

void changes_free(struct changes *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n; i++)
        change_done(&c->list[i]);
    for (size_t i = 0; i < c->n_notes; i++)
        free(c->notes[i]);
    free(c->notes);
    free(c->blocked);
    free(c->list);
    free(c);
}

struct prepare *changes_prepare(struct changes *c)
{
    return &c->prepare;
}

static struct changes *changes_of(struct prepare *p)
{
    return (struct changes *)(void *)p;
}

size_t changes_count(const struct changes *c)
{
    return c->n;
}

bool changes_blocked(const struct changes *c)
{
    return c->blocked;
}

int changes_error(const struct changes *c)
{
    return c->error;
}

/* ---- the list ---- */

bool change_is_registry(enum change_kind k)
{
    return k == CHANGE_VALUE || k == CHANGE_KEY || k == CHANGE_UNKEY;
}

/* The registry has no case. A file's path is compared as it is: where a volume has no case a planner that
 * writes one file under two spellings gets two changes, each true when it is made. */
static bool is_about(const struct change *c, bool registry, const char *path, const char *name)
{
    if (change_is_registry(c->kind) != registry || !c->name != !name)
        return false;
    if (!registry)
        return !strcmp(c->path, path);
    return !strcasecmp(c->path, path) && (!name || !strcasecmp(c->name, name));
}

bool change_is_same(const struct change *a, const struct change *b)
{
    return is_about(a, change_is_registry(b->kind), b->path, b->name);
}

struct change *changes_find(struct changes *c, size_t end, bool registry, const char *path, const char *name)
{
    while (end--)
        if (is_about(&c->list[end], registry, path, name))
            return &c->list[end];
    return NULL;
}

bool changes_key_in(const char *key, const char *ancestor)
{
    size_t n = strlen(ancestor);
    return !strncasecmp(key, ancestor, n) && (!key[n] || key[n] == '\\');
}

bool changes_in_current_set(const char *key)
{
    return changes_key_in(key, "HKLM\\SYSTEM\\CurrentControlSet") ||
           changes_key_in(key, "HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet");
}

int changes_push(struct changes *c, struct change *made)
{
    int r = !made->path || !made->reason ? -ENOMEM : c->n >= CHANGES_MAX ? -EFBIG : 0;
    if (!r && kept_bytes(made) && kept_bytes(made) > keep_room(c))
        r = -EFBIG;
    if (!r && made->new.n > c->make_max - c->made)
        r = -EFBIG;
    struct change *list = r ? NULL : reallocarray(c->list, c->n + 1, sizeof *list);
    if (!list) {
        change_done(made);
        return r ? r : -ENOMEM;
    }
    c->list = list;
    c->kept += kept_bytes(made);
    c->made += made->new.n;
    list[c->n++] = *made;
    *made = (struct change){ 0 };
    return 0;
}

void changes_drop(struct changes *c, struct change *which)
{
    size_t i = (size_t)(which - c->list);
    c->kept -= kept_bytes(which);
    c->made -= which->new.n;
    change_done(which);
    memmove(which, which + 1, (--c->n - i) * sizeof *which);
}

static int fail(struct changes *c, int r)
{
    if (r < 0 && !c->error)
        c->error = r;
    return r;
}

/* With a NUL behind them, since they may be a link's text. */
static int set_bytes(struct change_state *s, const void *bytes, size_t n)
{
    s->bytes = malloc(n + 1);
    if (!s->bytes)
        return -ENOMEM;
    if (n)
        memcpy(s->bytes, bytes, n);
    s->bytes[n] = 0;
    s->n = n;
    return 0;
}

static bool has_bytes(const struct change_state *s, const void *bytes, size_t n)
{
    return s->there && s->bytes && s->n == n && (!n || !memcmp(s->bytes, bytes, n));
}

static int sum_of(const void *bytes, size_t n, char ret[DIGEST_HEX_MAX])
{
    struct digest *d;
    int r = digest_new("SHA256", &d);
    if (r < 0)
        return r;
    digest_update(d, bytes, n);
    digest_final(d, ret);
    digest_free(d);
    return 0;
}

/* ---- files ---- */

/* A volume that can't be written is no error of the plan's: it says why it can't be made. */
static int fail_at(struct changes *c, const char *path, int r)
{
    char why[512];
    if (r != -EROFS)
        return fail(c, r);
    snprintf(why, sizeof why, "%.400s lies on a volume that can't be written", path);
    return changes_block(c, why, "info.json has the reason");
}

/* Where directories begin in a path: behind the name of a volume, where it is one of those. */
static size_t first_part(const char *path)
{
    static const char volumes[] = PREPARE_VOLUMES;
    size_t n = sizeof volumes - 1;
    return strncmp(path, volumes, n) != 0 ? 0 : n + strcspn(path + n, "/");
}

/* The directories on the way to `path` that aren't there. */
static int need_parents(struct changes *c, const char *path, const char *reason)
{
    _cleanup_free_ char *part = strdup(path);
    if (!part)
        return -ENOMEM;
    int r = 0;
    for (char *at = part + first_part(path); !r && (at = strchr(at, '/')); *at++ = '/') {
        struct prepare_stat st;
        *at = 0;
        const struct change *planned = changes_find(c, c->n, false, part, NULL);
        if (*part && at > part + first_part(path) && (planned || file_stat(c->f, part, &st) == -ENOENT))
            r = changes_mkdir(c, part, 0755, reason);
    }
    return r;
}

static int add_content(struct changes *c, enum change_kind kind, const char *path, const void *bytes,
                       size_t n, mode_t mode, const char *reason)
{
    struct change made = { .kind = kind, .path = strdup(path), .reason = strdup(reason) };
    int r = n > CHANGE_FILE_MAX ? -EFBIG : 0;
    if (!r && kind == CHANGE_FILE)
        r = file_state(c->f, kind, path, keep_room(c), 0, &made.old);
    else if (!r)
        r = file_state(c->f, kind, path, 0, NO_SUM, &made.old);
    if (!r && kind == CHANGE_APPEND && !made.old.there)
        r = -ENOENT;
    if (!r && kind == CHANGE_FILE && has_bytes(&made.old, bytes, n)) {
        change_done(&made);
        return 0;
    }
    made.new.there = true;
    made.new.type = made.old.there ? made.old.type : S_IFREG | (mode & 07777);
    made.new.size = (kind == CHANGE_APPEND ? made.old.size : 0) + n;
    if (!r)
        r = set_bytes(&made.new, bytes, n);
    if (!r)
        r = sum_of(bytes, n, made.new.sum);
    if (r < 0) {
        change_done(&made);
        return r;
    }
    return changes_push(c, &made);
}

int changes_file(struct changes *c, const char *path, const void *bytes, size_t n, mode_t mode,
                 const char *reason)
{
    if (c->error)
        return c->error;
    struct change *there = changes_find(c, c->n, false, path, NULL);
    if (there && there->kind != CHANGE_FILE)
        return fail(c, -EINVAL);
    if (there)
        changes_drop(c, there); /* what it would write is replaced as a whole */
    int r = need_parents(c, path, reason);
    return r < 0 ? r : fail_at(c, path, add_content(c, CHANGE_FILE, path, bytes, n, mode, reason));
}

int changes_append(struct changes *c, const char *path, const void *bytes, size_t n, const char *reason)
{
    if (c->error || !n)
        return c->error;
    if (changes_find(c, c->n, false, path, NULL))
        return fail(c, -EINVAL);
    return fail_at(c, path, add_content(c, CHANGE_APPEND, path, bytes, n, 0, reason));
}

int changes_remove(struct changes *c, const char *path, const char *reason)
{
    if (c->error)
        return c->error;
    struct change *there = changes_find(c, c->n, false, path, NULL);
    if (there)
        changes_drop(c, there);
    struct change made = { .kind = CHANGE_REMOVE, .path = strdup(path), .reason = strdup(reason) };
    int r = file_state(c->f, CHANGE_REMOVE, path, keep_room(c), NO_SUM, &made.old);
    if (!r && made.old.there && S_ISDIR(made.old.type))
        r = -EISDIR;
    if (r < 0 || !made.old.there) {
        change_done(&made);
        return fail_at(c, path, r);
    }
    return fail(c, changes_push(c, &made));
}

int changes_mkdir(struct changes *c, const char *path, mode_t mode, const char *reason)
{
    if (c->error)
        return c->error;
    struct change *there = changes_find(c, c->n, false, path, NULL);
    if (there && there->kind == CHANGE_RMDIR)
        changes_drop(c, there); /* it stays */
    if (there)
        return 0;
    struct change made = { .kind = CHANGE_MKDIR, .path = strdup(path), .reason = strdup(reason) };
    int r = file_state(c->f, CHANGE_MKDIR, path, 0, NO_SUM, &made.old);
    if (!r && made.old.there && !S_ISDIR(made.old.type))
        r = -ENOTDIR;
    if (r < 0 || made.old.there) {
        change_done(&made);
        return fail_at(c, path, r);
    }
    made.new.there = true;
    made.new.type = S_IFDIR | (mode & 07777);
    return fail(c, changes_push(c, &made));
}

int changes_rmdir(struct changes *c, const char *path, const char *reason)
{
    if (c->error)
        return c->error;
    struct change *there = changes_find(c, c->n, false, path, NULL);
    if (there && there->kind == CHANGE_RMDIR)
        return 0;
    if (there && there->kind != CHANGE_MKDIR)
        return fail(c, -ENOTDIR);
    if (there) {
        changes_drop(c, there);
        return 0;
    }
    struct change made = { .kind = CHANGE_RMDIR, .path = strdup(path), .reason = strdup(reason) };
    int r = file_state(c->f, CHANGE_RMDIR, path, keep_room(c), NO_SUM, &made.old);
    if (!r && made.old.there && !S_ISDIR(made.old.type))
        r = -ENOTDIR;
    if (r < 0 || !made.old.there) {
        change_done(&made);
        return fail(c, r);
    }
    return fail(c, changes_push(c, &made));
}

int changes_link(struct changes *c, const char *path, const char *target, const char *reason)
{
    if (c->error)
        return c->error;
    struct change *there = changes_find(c, c->n, false, path, NULL);
    if (there)
        changes_drop(c, there);
    int r = need_parents(c, path, reason);
    if (r < 0)
        return r;
    struct change made = { .kind = CHANGE_LINK, .path = strdup(path), .reason = strdup(reason) };
    r = file_state(c->f, CHANGE_LINK, path, keep_room(c), NO_SUM, &made.old);
    bool same = !r && S_ISLNK(made.old.type) && has_bytes(&made.old, target, strlen(target));
    if (!r && made.old.there && S_ISDIR(made.old.type))
        r = -EISDIR;
    made.new.there = true;
    made.new.type = S_IFLNK | 0777;
    if (!r && !same)
        r = set_bytes(&made.new, target, strlen(target));
    if (r < 0 || same) {
        change_done(&made);
        return fail_at(c, path, r);
    }
    return fail(c, changes_push(c, &made));
}

/* ---- the registry, seen through the list ---- */

static int seen_key(struct changes *c, const char *key)
{
    for (size_t i = c->n; i--;) {
        const struct change *p = &c->list[i];
        if (p->kind == CHANGE_KEY && changes_key_in(p->path, key))
            return 0;
        if (p->kind == CHANGE_UNKEY && changes_key_in(key, p->path))
            return -ENOENT;
    }
    return key_there(c->f, key);
}

static int seen_value(struct changes *c, const char *key, const char *name, struct change_state *ret)
{
    *ret = (struct change_state){ 0 };
    for (size_t i = c->n; i--;) {
        const struct change *p = &c->list[i];
        if (p->kind == CHANGE_UNKEY && changes_key_in(key, p->path))
            return 0;
        if (!is_about(p, true, key, name))
            continue;
        ret->there = p->new.there;
        ret->type = p->new.type;
        return ret->there ? set_bytes(ret, p->new.bytes, p->new.n) : 0;
    }
    int r = key_value(c->f, key, name, &ret->type, &ret->bytes, &ret->n);
    ret->there = !r;
    return r == -ENOENT ? 0 : r;
}

static int add_key(struct changes *c, const char *key, const char *reason)
{
    struct change made = { .kind = CHANGE_KEY, .path = strdup(key), .reason = strdup(reason) };
    made.new.there = true;
    return changes_push(c, &made);
}

/* The key with those on the way to it; the hive must be there. -EINVAL: of CurrentControlSet, which is a link
 * that Windows makes when it starts; a key of that name in the hive would keep it from starting. */
static int need_key(struct changes *c, const char *key, const char *reason)
{
    int r = changes_in_current_set(key) ? -EINVAL : seen_key(c, key);
    if (r != -ENOENT)
        return r;
    _cleanup_free_ char *part = strdup(key);
    if (!part)
        return -ENOMEM;
    char *at = strchr(part, '\\');
    if (strncasecmp(part, "BCD\\", 4))
        at = at ? strchr(at + 1, '\\') : NULL; /* behind "HKLM\SYSTEM" */
    if (!at)
        return -ENOENT;
    for (r = 0; !r && at;) {
        at = strchr(at + 1, '\\');
        if (at)
            *at = 0;
        if (seen_key(c, part) == -ENOENT)
            r = add_key(c, part, reason);
        if (at)
            *at = '\\';
    }
    return r;
}

/* Makes the list say that the value is to be `want` (taken over). */
static int add_value(struct changes *c, const char *key, const char *name, struct change_state *want,
                     const char *reason)
{
    struct change *there = changes_find(c, c->n, true, key, name);
    struct change made = { .kind = CHANGE_VALUE,
                           .path = strdup(key),
                           .name = strdup(name),
                           .reason = strdup(reason),
                           .new = *want };
    *want = (struct change_state){ 0 };
    int r = made.name ? 0 : -ENOMEM;
    bool undone = false;
    for (size_t i = there ? (size_t)(there - c->list) : c->n; there && i < c->n; i++)
        undone = undone || (c->list[i].kind == CHANGE_UNKEY && changes_key_in(key, c->list[i].path));
    if (!r && there && !undone) {     /* one change from what is to what shall be */
        c->kept -= kept_bytes(there); /* they are counted again with what they are given to */
        made.old = there->old;
        there->old = (struct change_state){ 0 };
        changes_drop(c, there);
    } else if (!r) {
        r = seen_value(c, key, name, &made.old);
    }
    bool same = made.old.there == made.new.there &&
                (!made.old.there ||
                 (made.old.type == made.new.type &&has_bytes(&made.old, made.new.bytes, made.new.n)));
    if (r < 0 || same) {
        change_done(&made);
        return r;
    }
    return changes_push(c, &made);
}

int changes_value(struct changes *c, const char *key, const char *name, uint32_t type, const void *bytes,
                  size_t n, const char *reason)
{
    struct change_state now = { 0 }, want = { .there = true, .type = type };
    if (c->error)
        return c->error;
    int r = seen_value(c, key, name, &now);
    bool same = !r && now.there && now.type == type && has_bytes(&now, bytes, n);
    change_state_done(&now);
    if (r < 0 || same)
        return fail(c, r);
    r = need_key(c, key, reason);
    if (!r)
        r = set_bytes(&want, bytes, n);
    if (!r)
        r = add_value(c, key, name, &want, reason);
    change_state_done(&want);
    return fail(c, r);
}

int changes_value_gone(struct changes *c, const char *key, const char *name, const char *reason)
{
    struct change_state now = { 0 }, want = { 0 };
    if (c->error)
        return c->error;
    int r = seen_value(c, key, name, &now);
    bool there = now.there;
    change_state_done(&now);
    if (!r && there)
        r = add_value(c, key, name, &want, reason);
    return fail(c, r);
}

int changes_key(struct changes *c, const char *key, const char *reason)
{
    return c->error ? c->error : fail(c, need_key(c, key, reason));
}

int changes_key_gone(struct changes *c, const char *key, const char *reason)
{
    if (c->error)
        return c->error;
    for (size_t i = c->n; i--;) /* what was to be done in it needn't be any more */
        if (change_is_registry(c->list[i].kind) && c->list[i].kind != CHANGE_UNKEY &&
            changes_key_in(c->list[i].path, key))
            changes_drop(c, &c->list[i]);
    int r = seen_key(c, key);
    if (r < 0)
        return r == -ENOENT ? 0 : fail(c, r);
    struct change made = { .kind = CHANGE_UNKEY, .path = strdup(key), .reason = strdup(reason) };
    made.old.there = true;
    r = key_pack(c->f, key, &made.old.bytes, &made.old.n);
    if (r < 0) {
        change_done(&made);
        return fail(c, r);
    }
    return fail(c, changes_push(c, &made));
}

/* ---- the rest ---- */

int changes_block(struct changes *c, const char *why, const char *what_to_do)
{
    if (!c->blocked && asprintf(&c->blocked, "%s; %s", why, what_to_do) < 0) {
        c->blocked = NULL;
        return fail(c, -ENOMEM);
    }
    return 0;
}

int changes_note(struct changes *c, const char *text)
{
    char **notes = reallocarray(c->notes, c->n_notes + 1, sizeof *notes);
    if (!notes)
        return fail(c, -ENOMEM);
    c->notes = notes;
    notes[c->n_notes] = strdup(text);
    if (!notes[c->n_notes])
        return fail(c, -ENOMEM);
    c->n_notes++;
    return 0;
}

/* ---- as planners see it ---- */

static const struct change *planned(struct prepare *p, const char *path)
{
    struct changes *c = changes_of(p);
    return changes_find(c, c->n, false, path, NULL);
}

static int see_stat(struct prepare *p, const char *path, struct prepare_stat *ret)
{
    const struct change *c = planned(p, path);
    if (!c || c->kind == CHANGE_LINK)
        return file_stat(changes_of(p)->f, path, ret);
    if (!c->new.there)
        return -ENOENT;
    *ret = (struct prepare_stat){ c->new.type, c->new.size };
    return 0;
}

static int see_read(struct prepare *p, const char *path, size_t max, uint8_t **ret, size_t *ret_n)
{
    const struct change *c = planned(p, path);
    if (!c || c->kind == CHANGE_LINK || c->kind == CHANGE_APPEND)
        return file_read(changes_of(p)->f, path, max, ret, ret_n);
    if (!c->new.there)
        return -ENOENT;
    if (c->kind == CHANGE_MKDIR)
        return -EISDIR;
    if (c->new.n > max)
        return -EFBIG;
    *ret = malloc(c->new.n + 1);
    if (!*ret)
        return -ENOMEM;
    memcpy(*ret, c->new.bytes, c->new.n);
    (*ret)[c->new.n] = 0;
    *ret_n = c->new.n;
    return 0;
}

static int see_read_at(struct prepare *p, const char *path, void *buf, size_t len, uint64_t off,
                       size_t *ret_len)
{
    return file_read_at(changes_of(p)->f, path, buf, len, off, ret_len);
}

static int see_list(struct prepare *p, const char *path, prepare_each fn, void *ctx)
{
    return file_list(changes_of(p)->f, path, fn, ctx);
}

static int see_readlink(struct prepare *p, const char *path, char *buf, size_t size)
{
    return file_readlink(changes_of(p)->f, path, buf, size);
}

static int see_uuid(struct prepare *p, const char *device, char *buf, size_t size)
{
    return file_uuid(changes_of(p)->f, device, buf, size);
}

static int see_value(struct prepare *p, const char *key, const char *name, uint32_t *ret_type, uint8_t **ret,
                     size_t *ret_n)
{
    struct change_state s;
    int r = seen_value(changes_of(p), key, name, &s);
    if (!r && !s.there)
        r = -ENOENT;
    if (r < 0) {
        change_state_done(&s);
        return r;
    }
    *ret_type = s.type;
    *ret = s.bytes;
    *ret_n = s.n;
    return 0;
}

static int see_subkeys(struct prepare *p, const char *key, prepare_each fn, void *ctx)
{
    return key_subkeys(changes_of(p)->f, key, fn, ctx);
}

static int see_values(struct prepare *p, const char *key, prepare_each fn, void *ctx)
{
    return key_values(changes_of(p)->f, key, fn, ctx);
}

static int say_file(struct prepare *p, const char *path, const void *bytes, size_t n, mode_t mode,
                    const char *reason)
{
    return changes_file(changes_of(p), path, bytes, n, mode, reason);
}

static int say_append(struct prepare *p, const char *path, const void *bytes, size_t n, const char *reason)
{
    return changes_append(changes_of(p), path, bytes, n, reason);
}

static int say_remove(struct prepare *p, const char *path, const char *reason)
{
    return changes_remove(changes_of(p), path, reason);
}

static int say_mkdir(struct prepare *p, const char *path, mode_t mode, const char *reason)
{
    return changes_mkdir(changes_of(p), path, mode, reason);
}

static int say_rmdir(struct prepare *p, const char *path, const char *reason)
{
    return changes_rmdir(changes_of(p), path, reason);
}

static int say_link(struct prepare *p, const char *path, const char *target, const char *reason)
{
    return changes_link(changes_of(p), path, target, reason);
}

static int say_set(struct prepare *p, const char *key, const char *name, uint32_t type, const void *bytes,
                   size_t n, const char *reason)
{
    return changes_value(changes_of(p), key, name, type, bytes, n, reason);
}

static int say_unset(struct prepare *p, const char *key, const char *name, const char *reason)
{
    return changes_value_gone(changes_of(p), key, name, reason);
}

static int say_key(struct prepare *p, const char *key, const char *reason)
{
    return changes_key(changes_of(p), key, reason);
}

static int say_unkey(struct prepare *p, const char *key, const char *reason)
{
    return changes_key_gone(changes_of(p), key, reason);
}

static int say_block(struct prepare *p, const char *why, const char *what_to_do)
{
    return changes_block(changes_of(p), why, what_to_do);
}

static int say_note(struct prepare *p, const char *text)
{
    return changes_note(changes_of(p), text);
}

static const struct prepare_ops prepare_ops = {
    .stat = see_stat,
    .read = see_read,
    .read_at = see_read_at,
    .list = see_list,
    .readlink = see_readlink,
    .uuid = see_uuid,
    .value = see_value,
    .subkeys = see_subkeys,
    .values = see_values,
    .file = say_file,
    .append = say_append,
    .remove = say_remove,
    .mkdir = say_mkdir,
    .rmdir = say_rmdir,
    .link = say_link,
    .set = say_set,
    .unset = say_unset,
    .key = say_key,
    .unkey = say_unkey,
    .block = say_block,
    .note = say_note,
};
