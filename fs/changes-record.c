/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A list of changes as bytes, for undo: what each thing was, and what it became. Of files that were written
 * only the digest of what they became; all else is whole.
 *
 *     "ferryfs changes 1\n", number of changes, and of each: kind, path, name, reason, old state, new state
 *
 * Numbers are little-endian; what has a length has it before it. */
#include "changes-impl.h"

#include "../formats/bytes.h"
#include "../formats/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char magic[] = "ferryfs changes 1\n";

void blob_put(struct blob *b, const void *bytes, size_t n)
{
    if (!b->failed && n > b->room - b->n) {
        size_t room = n > RECORD_MAX || b->n + n > RECORD_MAX ? 0 : (b->n + n) * 3 / 2 + 256;
        uint8_t *p = room ? realloc(b->p, room) : NULL;
        b->failed = !p;
        if (p) {
            b->p = p;
            b->room = room;
        }
    }
    if (b->failed)
        return;
    if (n)
        memcpy(b->p + b->n, bytes, n);
    b->n += n;
}

void blob_u32(struct blob *b, uint32_t v)
{
    uint8_t bytes[4];
    put_le32(bytes, v);
    blob_put(b, bytes, 4);
}

void blob_u64(struct blob *b, uint64_t v)
{
    uint8_t bytes[8];
    put_le64(bytes, v);
    blob_put(b, bytes, 8);
}

void blob_counted(struct blob *b, const void *bytes, size_t n)
{
    if (n > UINT32_MAX)
        b->failed = true;
    blob_u32(b, (uint32_t)n);
    blob_put(b, bytes, n);
}

static void pack_state(struct blob *b, const struct change_state *s, bool with_bytes)
{
    blob_u32(b, s->there);
    blob_u32(b, s->type);
    blob_u64(b, s->size);
    blob_counted(b, s->sum, strlen(s->sum));
    blob_u32(b, with_bytes && s->bytes);
    blob_counted(b, s->bytes, with_bytes && s->bytes ? s->n : 0);
    blob_u32(b, s->uid);
    blob_u32(b, s->gid);
    blob_u64(b, (uint64_t)s->mtime);
    blob_u32(b, s->mtime_nsec);
    blob_counted(b, s->attributes, s->n_attributes);
}

int record_pack(const struct changes *c, uint8_t **ret, size_t *ret_n)
{
    struct blob b = { 0 };
    blob_put(&b, magic, strlen(magic));
    blob_u32(&b, (uint32_t)c->n);
    for (size_t i = 0; i < c->n; i++) {
        const struct change *one = &c->list[i];
        bool content = one->kind == CHANGE_FILE || one->kind == CHANGE_APPEND;
        blob_u32(&b, one->kind);
        blob_counted(&b, one->path, strlen(one->path));
        blob_u32(&b, one->name != NULL);
        blob_counted(&b, one->name, one->name ? strlen(one->name) : 0);
        blob_counted(&b, one->reason, strlen(one->reason));
        pack_state(&b, &one->old, true);
        pack_state(&b, &one->new, !content);
    }
    if (b.failed) {
        free(b.p);
        return -ENOMEM;
    }
    *ret = b.p;
    *ret_n = b.n;
    return 0;
}

/* ---- reading ---- */

struct reading {
    struct bytes in;
    size_t at;
    bool failed; /* no memory */
};

static uint32_t get_u32(struct reading *r)
{
    uint32_t v = le32(r->in, r->at);
    r->at += 4;
    return v;
}

static uint64_t get_u64(struct reading *r)
{
    uint64_t v = le64(r->in, r->at);
    r->at += 8;
    return v;
}

/* With a NUL behind it. */
static uint8_t *get_counted(struct reading *r, size_t *ret_n)
{
    uint32_t n = get_u32(r);
    struct bytes b = bytes_sub(r->in, r->at, n);
    r->at += b.n;
    uint8_t *p = malloc(b.n + 1);
    r->failed = r->failed || !p;
    if (p) {
        memcpy(p, b.p, b.n);
        p[b.n] = 0;
    }
    *ret_n = b.n;
    return p;
}

static char *get_text(struct reading *r)
{
    size_t n;
    return (char *)get_counted(r, &n);
}

static void get_state(struct reading *r, struct change_state *s)
{
    s->there = get_u32(r);
    s->type = get_u32(r);
    s->size = get_u64(r);
    _cleanup_free_ char *sum = get_text(r);
    snprintf(s->sum, sizeof s->sum, "%s", sum ? sum : "");
    bool with_bytes = get_u32(r);
    s->bytes = get_counted(r, &s->n);
    if (!with_bytes) {
        free(TAKE_PTR(s->bytes));
        s->n = 0;
    }
    s->uid = get_u32(r);
    s->gid = get_u32(r);
    s->mtime = (int64_t)get_u64(r);
    s->mtime_nsec = get_u32(r);
    s->attributes = get_counted(r, &s->n_attributes);
}

/* What taking the change back needs is there. */
static bool is_whole(const struct change *c)
{
    if (c->kind < CHANGE_FILE || c->kind > CHANGE_RMDIR || (c->kind == CHANGE_VALUE) != (c->name != NULL))
        return false;
    bool kept = c->kind != CHANGE_APPEND && c->kind != CHANGE_MKDIR && c->kind != CHANGE_KEY &&
                c->kind != CHANGE_RMDIR;
    if (c->kind == CHANGE_RMDIR && !S_ISDIR(c->old.type))
        return false;
    return !kept || !c->old.there || c->old.bytes;
}

int record_unpack(struct changes *c, const uint8_t *bytes, size_t n)
{
    struct bad bad = { 0 };
    struct reading r = { .in = bytes_of(bytes, n, 0, &bad), .at = strlen(magic) };
    if (!bytes_match(r.in, 0, magic, strlen(magic)))
        return -EUCLEAN;
    for (uint32_t left = get_u32(&r); left && !bad.set; left--) {
        struct change one = { .kind = get_u32(&r) };
        one.path = get_text(&r);
        bool named = get_u32(&r);
        one.name = get_text(&r);
        if (!named)
            free(TAKE_PTR(one.name));
        one.reason = get_text(&r);
        get_state(&r, &one.old);
        get_state(&r, &one.new);
        int e = r.failed ? -ENOMEM : bad.set || !is_whole(&one) ? -EUCLEAN : 0;
        if (!e)
            e = changes_push(c, &one);
        if (e < 0) {
            change_done(&one);
            return e;
        }
    }
    return bad.set || r.at != n ? -EUCLEAN : 0;
}

void record_note_key(const char *record, char ret[160])
{
    snprintf(ret, 160, "record.%.120s", record);
}
