/* SPDX-License-Identifier: GPL-2.0-or-later */
/* changes.json and removed.txt, a piece at a time, so that a list of any length costs little memory. */
#include "diff.h"

#include "../formats/cleanup.h"
#include "../formats/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 32 << 10 };

struct diff_text {
    pthread_mutex_t lock; /* protects the rest */
    enum diff_list which;
    size_t only;    /* volume, or DIFF_GUEST */
    struct diff *d; /* owned */
    size_t volume;
    uint32_t node;
    bool begun, first, end;
    struct json_out out; /* the piece at hand */
    uint64_t at;         /* of its first byte */
};

/* ---- paths ---- */

static void put_path(struct json_out *out, const struct volume_diff *v, uint32_t node)
{
    uint32_t chain[DIFF_DEPTH_MAX + 2];
    size_t n = 0;
    for (; node && n < sizeof chain / sizeof *chain; node = v->nodes[node].parent)
        chain[n++] = node;
    while (n) {
        json_raw(out, volume_diff_name(v, chain[--n]));
        if (n)
            json_raw(out, "/");
    }
}

/* The path in guest/, or in the volume. */
static void put_relative(struct json_out *out, const struct diff *d, size_t volume, uint32_t node)
{
    const char *at = d->at[volume];
    if (at)
        json_raw(out, at);
    if (at && *at && node)
        json_raw(out, "/");
    put_path(out, d->volumes[volume], node);
}

static char *mount_path(const struct diff *d, size_t volume, uint32_t node)
{
    struct json_out out = { 0 };
    json_raw(&out, d->at[volume] ? "guest/" : "volumes/");
    if (!d->at[volume])
        json_raw(&out, d->guest->volumes[volume].name);
    if (!d->at[volume] && node)
        json_raw(&out, "/");
    if (d->volumes[volume])
        put_relative(&out, d, volume, node);
    else if (d->at[volume])
        json_raw(&out, d->at[volume]);
    if (out.failed)
        json_out_done(&out);
    return out.text;
}

/* ---- changes.json ---- */

static const char *type_name(mode_t type)
{
    switch (type) {
    case S_IFREG:
        return "file";
    case S_IFDIR:
        return "directory";
    case S_IFLNK:
        return "link";
    case 0:
        return "unknown";
    default:
        return S_ISCHR(type) || S_ISBLK(type) ? "device" : "special";
    }
}

static void put_attributes(struct json_out *out, unsigned which)
{
    static const char *const names[] = { "mode", "owner", "xattrs", "mtime" };
    bool first = true;
    json_raw(out, ", \"attributes\": [");
    for (unsigned i = 0; i < 4; i++)
        if (which >> i & 1) {
            if (!first)
                json_raw(out, ", ");
            json_quote(out, names[i]);
            first = false;
        }
    json_raw(out, "]");
}

static void put_size(struct json_out *out, const char *key, mode_t type, uint64_t size)
{
    if (!S_ISREG(type) && !S_ISLNK(type))
        return;
    json_raw(out, ", ");
    json_key(out, key);
    json_number(out, size);
}

static void begin_entry(struct diff_text *t, const char *path, const char *what)
{
    json_raw(&t->out, t->first ? "\n    { \"path\": " : ",\n    { \"path\": ");
    t->first = false;
    json_quote(&t->out, path);
    json_raw(&t->out, ", \"what\": ");
    json_quote(&t->out, what);
}

static void put_error(struct json_out *out, int err)
{
    json_raw(out, ", \"error\": ");
    json_quote(out, err == -EIO || err == -EUCLEAN ? "damaged, or can't be read" : strerror(-err));
}

static void put_change(struct diff_text *t, const struct volume_diff_node *n)
{
    static const char *const what[] = { "same", "added", "changed", "attributes", "removed", "unknown" };
    char *path = mount_path(t->d, t->volume, t->node);
    if (!path) {
        t->out.failed = true;
        return;
    }
    begin_entry(t, path, what[n->what]);
    free(path);
    json_raw(&t->out, ", \"type\": ");
    json_quote(&t->out, type_name(n->type ? n->type : n->old_type));
    if (n->old_type && n->type && n->old_type != n->type) {
        json_raw(&t->out, ", \"old_type\": ");
        json_quote(&t->out, type_name(n->old_type));
    }
    put_size(&t->out, "old_size", n->old_type, n->old_size);
    put_size(&t->out, "size", n->type, n->size);
    if (n->attributes)
        put_attributes(&t->out, n->attributes);
    if (n->err)
        put_error(&t->out, n->err);
    json_raw(&t->out, " }");
}

/* A volume that can't be compared at all. */
static void put_volume_error(struct diff_text *t)
{
    char *path = mount_path(t->d, t->volume, 0);
    begin_entry(t, path ? path : "", "unknown");
    t->out.failed = t->out.failed || !path;
    free(path);
    put_error(&t->out, t->d->errs[t->volume]);
    json_raw(&t->out, " }");
}

static void put_hives(struct ferry *f, struct json_out *out)
{
    struct reg_hive *h;
    bool first = true;
    json_raw(out, ",\n  \"registry\": [");
    for (size_t i = 0; (h = diff_hive_nth(f, i)); i++) {
        char name[300];
        if (!diff_hive_differs(f, h))
            continue;
        diff_hive_name(h, name, sizeof name);
        json_raw(out, first ? "\n    { \"hive\": " : ",\n    { \"hive\": ");
        first = false;
        json_quote(out, h->name);
        json_raw(out, ", \"file\": ");
        json_quote(out, name);
        json_raw(out, " }");
    }
    json_raw(out, first ? "]" : "\n  ]");
}

/* ---- removed.txt ---- */

/* A line that begins with a backslash has its name escaped, as sha256sum has it. */
static void put_removed(struct diff_text *t, const struct volume_diff_node *n)
{
    struct json_out path = { 0 };
    put_relative(&path, t->d, t->volume, t->node);
    if (path.failed) {
        t->out.failed = true;
    } else if (path.text && strpbrk(path.text, "\n\\")) {
        json_raw(&t->out, "\\");
        for (const char *p = path.text; *p; p++) {
            char c[2] = { *p, 0 };
            json_raw(&t->out, *p == '\n' ? "\\n" : *p == '\\' ? "\\\\" : c);
        }
    } else if (path.text) {
        json_raw(&t->out, path.text);
    }
    json_raw(&t->out, S_ISDIR(n->old_type) ? "/\n" : "\n");
    json_out_done(&path);
}

/* ---- pieces ---- */

static bool is_wanted(const struct diff_text *t)
{
    if (t->which == DIFF_CHANGES)
        return true;
    return t->only == DIFF_GUEST ? t->d->at[t->volume] != NULL : t->only == t->volume;
}

static bool is_gone(const struct volume_diff_node *n)
{
    bool other = n->what == DIFF_CHANGED && n->old_type != n->type; /* a copy over it would fail */
    return n->what == DIFF_REMOVED || (other && n->old_type);
}

static void put_node(struct diff_text *t)
{
    const struct volume_diff_node *n = &t->d->volumes[t->volume]->nodes[t->node];
    if (t->which == DIFF_CHANGES && n->what != DIFF_SAME)
        put_change(t, n);
    else if (t->which == DIFF_REMOVED_FILES && is_gone(n))
        put_removed(t, n);
}

/* Goes on to the next node, or volume. */
static void next_node(struct diff_text *t)
{
    const struct volume_diff *v = t->d->volumes[t->volume];
    if (!is_wanted(t)) {
        t->volume++;
        return;
    }
    if (t->d->errs[t->volume] && t->which == DIFF_CHANGES)
        put_volume_error(t);
    if (v)
        put_node(t);
    if (!v || ++t->node >= v->n) {
        t->volume++;
        t->node = 0;
    }
}

static int next_piece(struct ferry *f, struct diff_text *t)
{
    t->at += t->out.n;
    json_out_done(&t->out);
    t->out = (struct json_out){ 0 };
    if (!t->begun && t->which == DIFF_CHANGES)
        json_raw(&t->out, "{ \"schema\": 1,\n  \"files\": [");
    t->begun = true;
    while (t->volume < t->d->n && t->out.n < PIECE && !t->out.failed)
        next_node(t);
    if (t->volume >= t->d->n) {
        t->end = true;
        if (t->which == DIFF_CHANGES) {
            json_raw(&t->out, t->first ? "]" : "\n  ]");
            if (hives_present(f))
                put_hives(f, &t->out);
            json_raw(&t->out, " }\n");
        }
    }
    return t->out.failed ? -ENOMEM : 0;
}

static void rewind_text(struct diff_text *t)
{
    json_out_done(&t->out);
    t->out = (struct json_out){ 0 };
    t->volume = t->node = 0;
    t->at = 0;
    t->begun = t->end = false;
    t->first = true;
}

int diff_text_open(struct ferry *f, enum diff_list which, size_t volume, struct diff_text **ret)
{
    struct diff_text *t = calloc(1, sizeof *t);
    if (!t)
        return -ENOMEM;
    *t = (struct diff_text){ .which = which, .only = volume, .first = true };
    int r = diff_get(f, &t->d);
    if (r < 0) {
        free(t);
        return r;
    }
    pthread_mutex_init(&t->lock, NULL);
    *ret = t;
    return 0;
}

static int read_at(struct ferry *f, struct diff_text *t, char *buf, size_t len, uint64_t off, size_t *ret_len)
{
    int r = 0;
    if (off < t->at)
        rewind_text(t);
    while (!r && *ret_len < len) {
        uint64_t from = off + *ret_len - t->at;
        if (from < t->out.n) {
            size_t n = t->out.n - (size_t)from < len - *ret_len ? t->out.n - (size_t)from : len - *ret_len;
            memcpy(buf + *ret_len, t->out.text + from, n);
            *ret_len += n;
        } else if (t->end) {
            break;
        } else {
            r = next_piece(f, t);
        }
    }
    return r;
}

int diff_text_read(struct ferry *f, struct diff_text *t, void *buf, size_t len, uint64_t off, size_t *ret_len)
{
    *ret_len = 0;
    pthread_mutex_lock(&t->lock);
    int r = read_at(f, t, buf, len, off, ret_len);
    pthread_mutex_unlock(&t->lock);
    return r;
}

void diff_text_close(struct diff_text *t)
{
    diff_put(t->d);
    json_out_done(&t->out);
    pthread_mutex_destroy(&t->lock);
    free(t);
}
