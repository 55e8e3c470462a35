/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Edits: savepoints, and what is written to the files. Each edit has a savepoint of its own, so that one that
 * fails midway (no memory, no room, damage) leaves the hive as it was.
 *
 * At a commit no log is written: whoever owns the files makes the commit atomic, an overlay in one step, a
 * host file by a rename. The logs that are there are made empty, since Windows would take a log's older pages
 * for newer ones if it ever found the hive dirty. */
#include "hive-edit.h"

#include <assert.h>
#include <stdlib.h>

void hive_edits_free(struct hive *h)
{
    struct hive_edits *e = h->edits;
    if (!e)
        return;
    hive_free_free(e->free);
    hive_sorted_free(e->good);
    free(e->sks);
    free(e->undo);
    free(e);
    h->edits = NULL;
}

/* The first edit's preparation: a walk over all of the hive. */
static int prepare(struct hive *h)
{
    if (h->edits)
        return 0;
    struct hive_edits *e = calloc(1, sizeof *e);
    if (!e)
        return -ENOMEM;
    h->edits = e;
    e->good = hive_sorted_new();
    int r = e->good ? hive_free_new(&e->free) : -ENOMEM;
    if (!r)
        r = hive_survey(h, e);
    if (r < 0)
        hive_edits_free(h);
    return r;
}

int hive_undo_add(struct hive *h, enum hive_undo_kind kind, uint32_t at, uint32_t was)
{
    struct hive_edits *e = h->edits;
    if (!e->n_levels)
        return 0;
    if (e->n_undo == e->room_undo) {
        size_t room = e->room_undo ? 2 * e->room_undo : 256;
        struct hive_undo *undo = realloc(e->undo, room * sizeof *undo);
        if (!undo)
            return -ENOMEM;
        e->undo = undo;
        e->room_undo = room;
    }
    e->undo[e->n_undo++] = (struct hive_undo){ kind, at, was };
    return 0;
}

static int savepoint(struct hive *h)
{
    struct hive_edits *e = h->edits;
    int r = hive_pages_savepoint(h->pages);
    if (!r)
        e->marks[e->n_levels++] = e->n_undo;
    return r;
}

static void release(struct hive *h)
{
    struct hive_edits *e = h->edits;
    hive_pages_release(h->pages);
    if (!--e->n_levels)
        e->n_undo = 0;
}

/* Taking a free cell back can fail only without memory; its space is then lost until the hive is opened
 * again, and nothing else: what is on disk doesn't come from here. */
static void rollback(struct hive *h)
{
    struct hive_edits *e = h->edits;
    hive_pages_rollback(h->pages);
    e->n_levels--;
    while (e->n_undo > e->marks[e->n_levels]) {
        struct hive_undo u = e->undo[--e->n_undo];
        if (u.kind == UNDO_FREE_PUT)
            (void)hive_free_put(e->free, u.at, u.was);
        else if (u.kind == UNDO_FREE_TAKE)
            hive_free_take(e->free, u.at);
        else
            e->sks[u.at].refs = u.was;
    }
    hive_sorted_drop(e->good, HIVE_NIL);
    hive_sorted_drop(h->sorted, HIVE_NIL);
    hive_value_index_drop(h->value_index, HIVE_NIL);
}

int hive_edit_begin(struct hive *h)
{
    if (!h->state.writable)
        return -EROFS;
    int r = prepare(h);
    return r < 0 ? r : savepoint(h);
}

int hive_edit_end(struct hive *h, int r)
{
    if (r < 0)
        rollback(h);
    else
        release(h);
    return r;
}

int hive_savepoint(struct hive *h)
{
    if (!h->state.writable)
        return -EROFS;
    int r = prepare(h);
    if (!r && h->edits->n_levels)
        r = -EBUSY;
    return r < 0 ? r : savepoint(h);
}

void hive_rollback(struct hive *h)
{
    rollback(h);
}

void hive_release(struct hive *h)
{
    release(h);
}

bool hive_is_dirty(const struct hive *h)
{
    return h->state.writable && (h->base_dirty || hive_pages_are_dirty(h->pages));
}

static int sync_file(struct hive_file *f)
{
    return f && f->ops->sync ? f->ops->sync(f) : 0;
}

static int store(struct hive *h, uint64_t now)
{
    struct hive_file *f = h->files.primary;
    uint8_t base[HIVE_BASE_SIZE];
    struct bad bad = { 0 };
    hive_base_now(h, h->sequence + 1, base);
    if (le64(bytes_of(base, sizeof base, 0, &bad), BASE_WRITTEN)) /* Windows 8.1 and later leave it 0 */
        put_le64(base + BASE_WRITTEN, now);
    put_le32(base + BASE_CHECKSUM, hive_checksum(base));
    int r = hive_pages_store(h->pages);
    if (!r)
        r = f->ops->pwrite(f, base, sizeof base, 0);
    if (!r)
        r = sync_file(f);
    if (!r)
        r = hive_logs_clear(h);
    if (!r)
        r = sync_file(h->files.log);
    if (!r)
        r = sync_file(h->files.log1);
    if (!r)
        r = sync_file(h->files.log2);
    if (r < 0)
        return r;
    memcpy(h->base, base, sizeof base);
    h->sequence++;
    h->base_dirty = false;
    hive_pages_stored(h->pages);
    return 0;
}

int hive_commit(struct hive *h, uint64_t now, struct fault *fault)
{
    if (h->edits && h->edits->n_levels)
        return fault_in(fault, -EBUSY, h->files.primary->name, "a set of edits isn't complete yet");
    if (!hive_is_dirty(h))
        return 0;
    int r = store(h, now);
    return r < 0 ? fault_in(fault, r, h->files.primary->name, "the hive can't be stored") : 0;
}
