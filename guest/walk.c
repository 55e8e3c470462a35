/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Links of a guest, made safe for the host.
 *
 * The kernel resolves what readlink gives it, starting in the directory where the link stands, through our
 * own look-ups; a ".." goes to the parent that the mount shows. So a text is safe when no walk of it climbs
 * over the tree's root. Where a stored text is relative and its walk stays below the root it is given as it
 * is stored. Else the walk is done here, with ".." stopping at the root as it does in the guest, and what
 * comes out is written as a relative path: so many "../" to where the walk left the link's own ancestors,
 * then names. Links on the way are followed here, so that what is written holds none; the last name isn't
 * followed, so a link to a link stays one. */
#include "walk.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    MAX_LINKS = 40, /* as Linux */
    MAX_DEPTH = WALK_DEPTH,
};

static struct volume *volume_of(const struct realm *r, struct place p)
{
    return p.volume == WALK_LETTERS ? NULL : r->guest->volumes[p.volume].volume;
}

struct place realm_cross(const struct realm *r, struct place at)
{
    if (r->system && r->system->kind == GUEST_LINUX)
        for (size_t i = 0; i < r->system->n_mounts; i++) {
            const struct guest_mount *m = &r->system->mounts[i];
            if (m->path[0] && m->at_volume == at.volume && m->at_ino == at.ino)
                return (struct place){ m->volume, VOLUME_ROOT };
        }
    return at;
}

int realm_root(const struct realm *r, struct place *ret)
{
    if (r->system && r->system->kind == GUEST_WINDOWS) {
        *ret = (struct place){ WALK_LETTERS, VOLUME_ROOT };
        return 0;
    }
    *ret = (struct place){ r->system ? r->system->root : r->volume, VOLUME_ROOT };
    return 0;
}

static int letter_lookup(const struct realm *r, const char *name, struct place *ret)
{
    for (size_t i = 0; i < r->system->n_mounts; i++)
        if (!strcasecmp(r->system->mounts[i].path, name)) {
            *ret = (struct place){ r->system->mounts[i].volume, VOLUME_ROOT };
            return 0;
        }
    return -ENOENT;
}

int realm_lookup(const struct realm *r, struct place dir, const char *name, struct place *ret)
{
    if (dir.volume == WALK_LETTERS)
        return letter_lookup(r, name, ret);
    struct volume *v = volume_of(r, dir);
    uint64_t ino;
    int e = v->ops->lookup(v, dir.ino, name, &ino);
    if (!e)
        *ret = realm_cross(r, (struct place){ dir.volume, ino });
    return e;
}

/* ---- the walk ---- */

struct walk {
    const struct realm *realm;
    struct place dir[MAX_DEPTH]; /* from the root to where the walk is */
    size_t n;
    size_t kept;           /* how many of dir[] are still the link's own ancestors */
    char *name[MAX_DEPTH]; /* owned; name[i] led from dir[i-1] to dir[i], for i >= kept */
    bool clamped;          /* a ".." was stopped at the root, or the walk began anew there */
    unsigned links;
    bool lost; /* a name wasn't there: what follows is text only */
};

static void drop_last(struct walk *w)
{
    w->n--;
    free(w->name[w->n]);
    w->name[w->n] = NULL;
    if (w->kept > w->n)
        w->kept = w->n;
}

static void walk_done(struct walk *w)
{
    while (w->n > 1)
        drop_last(w);
}

/* Above a Windows volume's root there is nothing, whatever the list of letters looks like. */
static void walk_up(struct walk *w)
{
    if (w->n <= (w->dir[0].volume == WALK_LETTERS ? 2 : 1))
        w->clamped = true;
    else
        drop_last(w);
}

static void walk_to_root(struct walk *w)
{
    while (w->n > 1)
        drop_last(w);
    w->clamped = true;
    w->lost = false;
}

static int walk_down(struct walk *w, const char *name, struct place to)
{
    if (w->n >= MAX_DEPTH)
        return -ENAMETOOLONG;
    w->name[w->n] = strdup(name);
    if (!w->name[w->n])
        return -ENOMEM;
    w->dir[w->n++] = to;
    return 0;
}

/* What kind of thing a place is, and a link's text when it is one (owned by the caller). */
static int place_examine(struct walk *w, struct place p, mode_t *ret_type, char **ret_text,
                         enum link_style *ret_style)
{
    *ret_text = NULL;
    struct volume *v = volume_of(w->realm, p);
    struct volume_attr a;
    int r = v->ops->getattr(v, p.ino, &a);
    if (r < 0)
        return r;
    *ret_type = a.mode & S_IFMT;
    if (!S_ISLNK(a.mode))
        return 0;
    char *text = malloc(4097);
    if (!text)
        return -ENOMEM;
    r = v->ops->link(v, p.ino, text, 4097, ret_style);
    if (r < 0)
        free(text);
    else
        *ret_text = text;
    return r;
}

/* The path that `text` means from the realm's root ("" stays relative): *ret_absolute says where to start.
 * Owned. */
static char *link_path(const struct realm *r, size_t volume, const char *text, enum link_style style,
                       bool *ret_absolute)
{
    bool letters = r->system && r->system->kind == GUEST_WINDOWS;
    char *path = NULL;
    *ret_absolute = true;
    if (style == LINK_WINDOWS && isalpha((unsigned char)text[0]) && text[1] == ':') {
        if (letters) {
            if (asprintf(&path, "%c/%s", toupper((unsigned char)text[0]), text + 2) < 0)
                return NULL;
            return path;
        }
        for (size_t i = 0; i < r->guest->n_systems; i++) {
            struct realm whole = { r->guest, &r->guest->systems[i], 0 };
            struct place p;
            char letter[2] = { text[0], 0 };
            if (whole.system->kind == GUEST_WINDOWS && !letter_lookup(&whole, letter, &p) &&
                p.volume == volume)
                return strdup(text + 2);
        }
    }
    if (style == LINK_WINDOWS && text[0] == '/' && letters && strncmp(text, "//", 2)) {
        for (size_t i = 0; i < r->system->n_mounts; i++)
            if (r->system->mounts[i].volume == volume)
                return asprintf(&path, "%s%s", r->system->mounts[i].path, text) < 0 ? NULL : path;
    }
    *ret_absolute = text[0] == '/';
    return strdup(text);
}

static int walk_text(struct walk *w, const char *text, bool follow_last);

/* One name. `last`: nothing but slashes comes after it. */
static int walk_name(struct walk *w, const char *name, bool last, bool follow_last)
{
    struct place here = w->dir[w->n - 1], there = { 0 };
    int r = w->lost ? -ENOENT : realm_lookup(w->realm, here, name, &there);
    if (r == -ENOENT || r == -ENOTDIR || r == -ENAMETOOLONG) {
        w->lost = true;
        return walk_down(w, name, here);
    }
    if (r < 0)
        return r;
    if (last && !follow_last)
        return walk_down(w, name, there);
    mode_t type;
    char *text;
    enum link_style style = LINK_POSIX;
    r = place_examine(w, there, &type, &text, &style);
    if (r < 0)
        return r;
    if (!text) {
        w->lost = !S_ISDIR(type) && !last;
        return walk_down(w, name, there);
    }
    bool absolute;
    char *path = link_path(w->realm, here.volume, text, style, &absolute);
    free(text);
    if (!path)
        return -ENOMEM;
    if (++w->links > MAX_LINKS) {
        free(path);
        return -ELOOP;
    }
    if (absolute)
        walk_to_root(w);
    r = walk_text(w, path, true);
    free(path);
    return r;
}

static int walk_text(struct walk *w, const char *text, bool follow_last)
{
    char name[1024];
    while (*text) {
        size_t n = strcspn(text, "/");
        if (n >= sizeof name)
            return -ENAMETOOLONG;
        memcpy(name, text, n);
        name[n] = 0;
        text += n + strspn(text + n, "/");
        int r = 0;
        if (!strcmp(name, ".."))
            walk_up(w);
        else if (n && strcmp(name, "."))
            r = walk_name(w, name, !*text, follow_last);
        if (r < 0)
            return r;
    }
    return 0;
}

int realm_resolve(const struct realm *r, const char *path, struct place *ret)
{
    struct walk *w = calloc(1, sizeof *w);
    if (!w)
        return -ENOMEM;
    w->realm = r;
    int e = realm_root(r, &w->dir[0]);
    w->n = w->kept = 1;
    if (!e)
        e = walk_text(w, path, true);
    if (!e && w->lost)
        e = -ENOENT;
    if (!e)
        *ret = w->dir[w->n - 1];
    walk_done(w);
    free(w);
    return e;
}

int realm_slurp(const struct realm *r, const char *path, size_t max, char **ret)
{
    struct place p;
    struct volume_attr a;
    int e = realm_resolve(r, path, &p);
    if (e < 0)
        return e;
    struct volume *v = volume_of(r, p);
    struct volume_file *f = NULL;
    if (!v)
        return -EISDIR;
    e = v->ops->getattr(v, p.ino, &a);
    if (!e && !S_ISREG(a.mode))
        e = -EINVAL;
    if (!e)
        e = v->ops->open(v, p.ino, &f);
    if (e < 0)
        return e;
    char *buf = malloc(max + 1);
    size_t n = 0;
    e = buf ? v->ops->read(f, buf, max, 0, &n) : -ENOMEM;
    v->ops->release(f);
    if (e < 0) {
        free(buf);
        return e;
    }
    buf[n] = 0;
    *ret = buf;
    return 0;
}

/* ---- rewriting ---- */

/* True when `text` only climbs at its beginning, and not over the root: no walk of it can leave the tree. */
static bool plainly_inside(const char *text, size_t depth)
{
    bool named = false;
    size_t up = 0;
    if (text[0] == '/')
        return false;
    while (*text) {
        size_t n = strcspn(text, "/");
        bool parent = n == 2 && !memcmp(text, "..", 2);
        if (parent && named)
            return false;
        if (parent && ++up > depth)
            return false;
        if (!parent && n && !(n == 1 && text[0] == '.'))
            named = true;
        text += n + strspn(text + n, "/");
    }
    return true;
}

static int append(char *buf, size_t size, size_t *n, const char *text)
{
    size_t len = strlen(text);
    if (*n + len + 2 > size)
        return -ENAMETOOLONG;
    if (*n && buf[*n - 1] != '/')
        buf[(*n)++] = '/';
    memcpy(buf + *n, text, len + 1);
    *n += len;
    return 0;
}

static int write_out(const struct walk *w, size_t ancestors, char *buf, size_t size)
{
    size_t n = 0;
    int r = 0;
    for (size_t i = w->kept; i < ancestors && !r; i++)
        r = append(buf, size, &n, "..");
    for (size_t i = w->kept; i < w->n && !r; i++)
        r = append(buf, size, &n, w->name[i]);
    return r || n ? r : append(buf, size, &n, ".");
}

static int copy_out(const char *text, char *buf, size_t size)
{
    if (strlen(text) >= size)
        return -ENAMETOOLONG;
    strcpy(buf, text);
    return 0;
}

/* A Windows link to another drive, seen in volumes/NAME: over to that volume's own directory there. */
static int other_volume(const struct realm *r, size_t n, const char *target, char *buf, size_t size)
{
    char letter[2] = { target[0], 0 };
    for (size_t i = 0; i < r->guest->n_systems; i++) {
        struct realm whole = { r->guest, &r->guest->systems[i], 0 };
        struct place p;
        if (whole.system->kind != GUEST_WINDOWS || letter_lookup(&whole, letter, &p) < 0)
            continue;
        size_t at = 0;
        int e = 0;
        for (size_t k = 0; k < n && !e; k++)
            e = append(buf, size, &at, "..");
        if (!e)
            e = append(buf, size, &at, r->guest->volumes[p.volume].name);
        const char *rest = target + 2 + strspn(target + 2, "/");
        if (!e && strstr(rest, ".."))
            return -ENOENT; /* nothing that Windows writes, and not worth a walk */
        return e || !*rest ? e : append(buf, size, &at, rest);
    }
    return -ENOENT;
}

/* A walk from the directory that holds the link. `blind`: by the text alone, nothing is looked up. */
static int walk_from(struct walk *w, const struct place *ancestors, size_t n, const char *path, bool absolute,
                     bool blind)
{
    memcpy(w->dir, ancestors, n * sizeof *ancestors);
    w->n = w->kept = n;
    w->clamped = false;
    w->links = 0;
    if (absolute)
        walk_to_root(w);
    w->lost = blind;
    return walk_text(w, path, false);
}

/* A link that can't be walked (a loop, damage on the way, a drive that isn't there) is written by its text
 * alone: it ends inside the tree too, at names that lead no further there than in the guest. */
static int rewrite(struct walk *w, const struct place *ancestors, size_t n, const char *path, bool absolute,
                   bool blind, char *buf, size_t size)
{
    int r = walk_from(w, ancestors, n, path, absolute, blind);
    if (r < 0 && r != -ENOMEM && !blind) {
        walk_done(w);
        blind = true;
        r = walk_from(w, ancestors, n, path, absolute, blind);
    }
    if (r < 0)
        return r;
    bool as_stored = !w->clamped && !w->links && !blind;
    return as_stored ? copy_out(path, buf, size) : write_out(w, n, buf, size);
}

int realm_rewrite_link(const struct realm *r, const struct place *ancestors, size_t n, const char *target,
                       enum link_style style, char *buf, size_t size)
{
    if (n > MAX_DEPTH)
        return -ENAMETOOLONG;
    bool letters = ancestors[0].volume == WALK_LETTERS;
    bool drive = style == LINK_WINDOWS && isalpha((unsigned char)target[0]) && target[1] == ':';
    if (!drive && plainly_inside(target, n > 1 && letters ? n - 2 : n - 1))
        return copy_out(target, buf, size);
    bool absolute;
    char *path = link_path(r, ancestors[n - 1].volume, target, style, &absolute);
    if (!path)
        return -ENOMEM;
    bool nowhere = drive && !absolute; /* "E:/x", and there is no such drive */
    int e = nowhere && !r->system ? other_volume(r, n, target, buf, size) : -ENOENT;
    if (e == -ENOENT) {
        struct walk *w = calloc(1, sizeof *w);
        e = -ENOMEM;
        if (w) {
            w->realm = r;
            e = rewrite(w, ancestors, n, path, absolute, nowhere, buf, size);
            walk_done(w);
        }
        free(w);
    }
    free(path);
    return e;
}
