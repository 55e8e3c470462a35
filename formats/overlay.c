/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The overlay of a VM once it is open: its disks, its commits, its notes. overlay.h says what it is,
 * overlay-open.c opens it, overlay-disk.c reads and writes, overlay-table.c has the tables, overlay-qcow2.c
 * the file, overlay-store.c commit.json. */
#include "overlay-set.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void ovl_member_name(size_t i, char ret[OVL_NAME])
{
    snprintf(ret, OVL_NAME, "disk%zu.qcow2", i);
}

struct disk *overlay_disk(struct overlay *o, size_t i)
{
    return i < o->n ? o->members[i].disk : NULL;
}

/* ---- committing ---- */

static bool is_changed(struct overlay_file *f)
{
    if (!f)
        return false;
    pthread_mutex_lock(&f->lock);
    bool changed = f->changed;
    pthread_mutex_unlock(&f->lock);
    return changed;
}

bool overlay_is_dirty(const struct overlay *o)
{
    bool dirty = o->notes_changed;
    for (size_t i = 0; !dirty && i < o->n; i++)
        dirty = is_changed(o->members[i].f);
    return dirty;
}

uint64_t overlay_uncommitted(const struct overlay *o)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < o->n; i++) {
        struct overlay_file *f = o->members[i].f;
        if (!f)
            continue;
        pthread_mutex_lock(&f->lock);
        sum += f->uncommitted;
        pthread_mutex_unlock(&f->lock);
    }
    return sum;
}

/* Now, but in a later second than the last commit's and the source's, whatever was done to the clock: rsync
 * and make compare whole seconds, and would keep a copy that lacks the edits. */
static struct timespec next_time(const struct overlay *o)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec > o->time.tv_sec ? now : (struct timespec){ .tv_sec = o->time.tv_sec + 1 };
}

static int failed(const struct overlay *o, int r, struct fault *fault)
{
    return fault_in(fault, r, o->dir, "the edits since the last commit can't be made durable: %s",
                    strerror(-r));
}

/* All that the next commit reaches is in the files. */
static int flush_files(struct overlay *o, size_t *ret_n, struct overlay_file **ret_last)
{
    int r = 0;
    *ret_n = 0;
    for (size_t i = 0; !r && i < o->n; i++) {
        struct overlay_file *f = o->members[i].f;
        if (!is_changed(f))
            continue;
        r = ovl_tables_flush(f);
        *ret_last = f;
        ++*ret_n;
    }
    return r;
}

static bool any_stale(const struct overlay *o)
{
    for (size_t i = 0; i < o->n; i++)
        if (o->members[i].f && o->members[i].f->stale_header)
            return true;
    return false;
}

static void follow_all(struct overlay *o, uint64_t generation, struct timespec time)
{
    for (size_t i = 0; i < o->n; i++) {
        struct overlay_file *f = o->members[i].f;
        if (f && (f->changed || f->stale_header))
            ovl_file_follow(f, generation, time);
    }
}

/* Whether the last commit holds isn't known, so neither its state nor the one before may be touched. */
static void break_all(struct overlay *o)
{
    for (size_t i = 0; i < o->n; i++)
        if (o->members[i].f)
            ovl_file_break(o->members[i].f);
}

static bool any_broken(const struct overlay *o)
{
    for (size_t i = 0; i < o->n; i++)
        if (o->members[i].f && o->members[i].f->broken)
            return true;
    return false;
}

static int commit_durable(struct overlay *o, uint64_t generation, struct timespec time)
{
    size_t n;
    struct overlay_file *only = NULL;
    int r = flush_files(o, &n, &only);
    if (r < 0)
        return r;
    if (n == 1 && !o->notes_changed && !any_stale(o))
        return ovl_file_commit(only, generation, time);
    if (n || o->notes_changed) {
        bool unknown;
        r = ovl_store_write(o, generation, time, &unknown);
        if (unknown)
            break_all(o);
        if (r < 0)
            return r;
    }
    follow_all(o, generation, time);
    return 0;
}

int overlay_commit(struct overlay *o, struct fault *fault)
{
    bool dirty = overlay_is_dirty(o);
    if (o->dir)
        ovl_lock_update(&o->lock, o->lock.finishing);
    if (!dirty && !any_stale(o))
        return 0;
    struct timespec time = next_time(o);
    int r = 0;
    if (o->dir)
        r = commit_durable(o, o->generation + 1, time);
    else
        for (size_t i = 0; i < o->n; i++)
            if (o->members[i].f)
                ovl_file_forget(o->members[i].f);
    if (r < 0 && any_broken(o))
        break_all(o);
    if (r < 0)
        return failed(o, r, fault);
    if (dirty) {
        pthread_mutex_lock(&o->when);
        o->generation++;
        o->time = time;
        pthread_mutex_unlock(&o->when);
    }
    o->notes_changed = false;
    return 0;
}

/* Both as one commit left them. */
static uint64_t last_commit(const struct overlay *o, struct timespec *ret_time)
{
    pthread_mutex_t *when = (pthread_mutex_t *)(uintptr_t)&o->when;
    pthread_mutex_lock(when);
    uint64_t generation = o->generation;
    *ret_time = o->time;
    pthread_mutex_unlock(when);
    return generation;
}

uint64_t overlay_generation(const struct overlay *o)
{
    struct timespec time;
    return last_commit(o, &time);
}

struct timespec overlay_time(const struct overlay *o)
{
    struct timespec time;
    return last_commit(o, &time) ? time : (struct timespec){ 0 };
}

/* ---- notes ---- */

static struct overlay_note *find_note(const struct overlay *o, const char *key)
{
    for (size_t i = 0; i < o->n_notes; i++)
        if (!strcmp(o->notes[i].key, key))
            return &o->notes[i];
    return NULL;
}

static void remove_note(struct overlay *o, struct overlay_note *note)
{
    o->note_bytes -= strlen(note->key) + strlen(note->text);
    free(note->key);
    free(note->text);
    *note = o->notes[--o->n_notes];
}

int ovl_note_put(struct overlay *v, const char *key, const char *text)
{
    struct overlay_note *old = find_note(v, key);
    size_t n = strlen(key) + strlen(text), before = old ? strlen(old->key) + strlen(old->text) : 0;
    if (n > OVL_NOTES_MAX || v->note_bytes - before > OVL_NOTES_MAX - n)
        return -EFBIG;
    struct overlay_note *notes = reallocarray(v->notes, v->n_notes + 1, sizeof *notes);
    if (!notes)
        return -ENOMEM;
    v->notes = notes;
    struct overlay_note fresh = { .key = strdup(key), .text = strdup(text) };
    if (!fresh.key || !fresh.text) {
        free(fresh.key);
        free(fresh.text);
        return -ENOMEM;
    }
    if ((old = find_note(v, key)))
        remove_note(v, old);
    v->notes[v->n_notes++] = fresh;
    v->note_bytes += n;
    return 0;
}

int overlay_note_set(struct overlay *o, const char *key, const char *text)
{
    struct overlay_note *old = find_note(o, key);
    if (!text)
        text = "";
    if (old ? !strcmp(old->text, text) : !*text)
        return 0;
    int r = 0;
    if (*text)
        r = ovl_note_put(o, key, text);
    else
        remove_note(o, old);
    if (!r)
        o->notes_changed = true;
    return r;
}

const char *overlay_note(const struct overlay *o, const char *key)
{
    const struct overlay_note *note = find_note(o, key);
    return note ? note->text : NULL;
}

/* ---- the end ---- */

void overlay_finishing(struct overlay *o)
{
    ovl_lock_update(&o->lock, true);
}

void overlay_close(struct overlay *o)
{
    if (!o)
        return;
    for (size_t i = 0; i < o->n; i++) {
        disk_close(o->members[i].disk);
        ovl_file_close(o->members[i].f);
        free(o->members[i].bound);
    }
    free(o->members);
    while (o->n_notes)
        remove_note(o, &o->notes[o->n_notes - 1]);
    free(o->notes);
    ovl_files_drop(o);
    ovl_lock_give(&o->lock); /* last: the next one may open now */
    if (o->dir_fd >= 0)
        close(o->dir_fd);
    free(o->dir);
    pthread_mutex_destroy(&o->when);
    free(o);
}
