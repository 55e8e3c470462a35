/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making a list of changes, and taking one back: all or nothing, with the record that undo needs.
 *
 * The record lies in a file of its own beside the overlay's disks, written and synced before the commit,
 * under a name that has its digest; the note in commit.json that names it comes with the commit. So after a
 * kill there is either both, the changes and their record, or neither. A record that a kill leaves
 * and no note names is removed at the next mount (ovl_files_sweep).
 *
 * Should a change fail, and taking back what was done fail too, then nothing is committed until the next
 * mount, which has what was committed last: as after a kill. */
#include "changes-impl.h"

#include "../formats/cleanup.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

static int do_one(struct ferry *f, struct change *c)
{
    return change_is_registry(c->kind) ? key_do(f, c) : file_do(f, c);
}

static int undo_one(struct ferry *f, const struct change *c)
{
    return change_is_registry(c->kind) ? key_undo(f, c) : file_undo(f, c);
}

static const char *separator(const struct change *c)
{
    return !c->name ? "" : "\\";
}

static int say(struct fault *fault, int r, const struct change *c, const char *what)
{
    return fault_in(fault, r, "", "%s%s%s: %s: %s", c->path, separator(c), c->name ? c->name : "", what,
                    strerror(-r));
}

/* Takes back what is done, in reverse. `from`: and what failed there may be half done, if it is a file's. */
static void roll_back(struct changes *c, size_t from)
{
    c->f->edits++; /* the hives were written to, and are to be committed, though nothing is different */
    for (size_t i = from + 1; i--;) {
        struct change *one = i < c->n ? &c->list[i] : NULL;
        if (!one || (!one->done && change_is_registry(one->kind)))
            continue;
        int r = undo_one(c->f, one);
        one->done = false;
        if (r < 0) {
            c->f->broken = true;
            syslog(LOG_ERR,
                   "%s: a change can't be taken back (%s): nothing is committed before the next mount",
                   one->path, strerror(-r));
        }
    }
}

static int do_all(struct changes *c, struct fault *fault)
{
    for (size_t i = 0; i < c->n; i++)
        c->list[i].done = false;
    for (size_t i = 0; i < c->n; i++) {
        int r = do_one(c->f, &c->list[i]);
        if (r < 0) {
            say(fault, r, &c->list[i], "can't be changed");
            roll_back(c, i);
            return r;
        }
        c->list[i].done = true;
    }
    return 0;
}

/* ---- records ---- */

static int record_sum(const uint8_t *bytes, size_t n, char ret[DIGEST_HEX_MAX])
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

/* Notes are for one thread at a time; a record may be read while another is written. */
static pthread_mutex_t notes_lock = PTHREAD_MUTEX_INITIALIZER;

/* A copy, owned by the caller. -ENOENT. */
static int get_note(struct ferry *f, const char *key, char **ret)
{
    if (!f->overlay)
        return -ENOENT;
    pthread_mutex_lock(&notes_lock);
    const char *note = overlay_note(f->overlay, key);
    *ret = note ? strdup(note) : NULL;
    int r = !note ? -ENOENT : *ret ? 0 : -ENOMEM;
    pthread_mutex_unlock(&notes_lock);
    return r;
}

static int set_note(struct ferry *f, const char *key, const char *text)
{
    pthread_mutex_lock(&notes_lock);
    int r = overlay_note_set(f->overlay, key, text);
    pthread_mutex_unlock(&notes_lock);
    return r;
}

/* The note of a record, "NAME SUM", and the name out of it; owned by the caller. -ENOENT: there is no such
 * record. */
static int find_record(struct ferry *f, const char *record, char **ret_note, char name[OVERLAY_FILE_NAME + 1])
{
    char key[160];
    record_note_key(record, key);
    int r = get_note(f, key, ret_note);
    if (r < 0)
        return r;
    size_t n = strcspn(*ret_note, " ");
    if (!(*ret_note)[n] || n > OVERLAY_FILE_NAME)
        return -EUCLEAN;
    memcpy(name, *ret_note, n);
    name[n] = 0;
    return 0;
}

static int load_record(struct changes *c, const char *record, struct fault *fault)
{
    char name[OVERLAY_FILE_NAME + 1], sum[DIGEST_HEX_MAX];
    _cleanup_free_ char *note = NULL;
    _cleanup_free_ uint8_t *bytes = NULL;
    size_t n;
    int r = find_record(c->f, record, &note, name);
    if (r == -ENOENT)
        return fault_in(fault, r, "", "nothing was applied");
    if (!r)
        r = overlay_file_read(c->f->overlay, name, RECORD_MAX, &bytes, &n);
    if (!r)
        r = record_sum(bytes, n, sum);
    if (!r && strcmp(sum, note + strlen(name) + 1))
        r = -EUCLEAN;
    if (!r)
        r = record_unpack(c, bytes, n);
    return r < 0 ? fault_in(fault, r == -ENOENT ? -EUCLEAN : r, record, "the record can't be read: %s",
                            strerror(-r))
                 : 0;
}

int changes_read_record(struct ferry *f, const char *record, struct changes **ret, struct fault *fault)
{
    _cleanup_(changes_freep) struct changes *c = changes_new(f);
    if (!c)
        return -ENOMEM;
    int r = load_record(c, record, fault);
    if (!r)
        *ret = TAKE_PTR(c);
    return r;
}

/* What the record was, to put the note back if the commit fails, and to remove the file if it doesn't. */
struct old_record {
    char key[160];
    char *note; /* owned; NULL: there was none */
    char file[OVERLAY_FILE_NAME + 1];
};

static int remember_record(struct ferry *f, const char *record, struct old_record *ret)
{
    *ret = (struct old_record){ 0 };
    record_note_key(record, ret->key);
    int r = find_record(f, record, &ret->note, ret->file);
    return r == -ENOENT ? 0 : r;
}

/* Writes all changes of `before` (may be NULL) and of c, and sets the note. */
static int write_record(const struct changes *c, struct changes *before, const struct old_record *old,
                        const char *record, char name[OVERLAY_FILE_NAME + 1])
{
    struct changes both = { .n = before ? before->n : 0 };
    struct change *list = calloc(both.n + c->n + 1, sizeof *list);
    _cleanup_free_ uint8_t *bytes = NULL;
    char sum[DIGEST_HEX_MAX], note[OVERLAY_FILE_NAME + DIGEST_HEX_MAX + 2];
    size_t n;
    if (!list)
        return -ENOMEM;
    if (before && before->n)
        memcpy(list, before->list, before->n * sizeof *list);
    memcpy(list + both.n, c->list, c->n * sizeof *list);
    both.list = list;
    both.n += c->n;
    int r = record_pack(&both, &bytes, &n);
    free(list);
    if (!r)
        r = record_sum(bytes, n, sum);
    if (r < 0)
        return r;
    snprintf(name, OVERLAY_FILE_NAME + 1, "record-%.100s-%.16s", record, sum);
    snprintf(note, sizeof note, "%s %s", name, sum);
    r = overlay_file_write(c->f->overlay, name, bytes, n);
    if (!r)
        r = set_note(c->f, old->key, note);
    return r;
}

/* ---- apply ---- */

static int commit(struct ferry *f, struct fault *fault)
{
    int r = ferry_alone_commit(f);
    return r < 0 ? fault_in(fault, r, "", "the overlay can't be committed: %s", strerror(-r)) : 0;
}

static int apply_recorded(struct changes *c, const char *record, struct fault *fault)
{
    struct old_record old;
    char name[OVERLAY_FILE_NAME + 1] = "";
    _cleanup_(changes_freep) struct changes *before = NULL;
    int r = remember_record(c->f, record, &old);
    if (!r && old.note)
        r = changes_read_record(c->f, record, &before, fault);
    if (!r)
        r = do_all(c, fault);
    if (!r) {
        r = write_record(c, before, &old, record, name);
        if (r < 0) {
            fault_in(fault, r, "overlay", "the record can't be written: %s", strerror(-r));
            if (strcmp(name, old.file))
                overlay_file_remove(c->f->overlay, name);
        } else {
            r = commit(c->f, fault);
        }
        if (r < 0) {
            roll_back(c, c->n);
            set_note(c->f, old.key, old.note);
            /* The record of a commit stays: one that failed at its last step may be what the next mount
             * finds. */
        } else if (old.note && strcmp(name, old.file)) {
            overlay_file_remove(c->f->overlay, old.file);
        }
    }
    free(old.note);
    return r;
}

int changes_apply(struct changes *c, const char *record, struct fault *fault)
{
    if (c->error)
        return fault_in(fault, c->error, "", "the plan can't be made: %s", strerror(-c->error));
    if (c->blocked)
        return fault_in(fault, -EPERM, "", "%s", c->blocked);
    if (!c->n)
        return 0;
    if (record)
        return apply_recorded(c, record, fault);
    int r = do_all(c, fault);
    if (!r && (r = commit(c->f, fault)) < 0)
        roll_back(c, c->n);
    return r;
}

/* ---- undo ---- */

static bool same_bytes(const struct change_state *a, const struct change_state *b)
{
    return a->there == b->there && (!a->there || (a->type == b->type && a->n == b->n &&
                                                  (!a->n || !memcmp(a->bytes, b->bytes, a->n))));
}

/* Is the thing as the change left it? `s` is how it is now, or was before a later change. */
static bool is_as_left(const struct change *c, const struct change_state *s)
{
    switch (c->kind) {
    case CHANGE_FILE:
        return s->there && s->size == c->new.size && !strcmp(s->sum, c->new.sum);
    case CHANGE_APPEND:
        return s->there && s->size == c->new.size && (!s->sum[0] || !strcmp(s->sum, c->new.sum));
    case CHANGE_LINK:
        return s->there && S_ISLNK(s->type) && s->n == c->new.n && !memcmp(s->bytes, c->new.bytes, s->n);
    case CHANGE_MKDIR:
        return s->there && S_ISDIR(s->type);
    case CHANGE_VALUE:
        return same_bytes(s, &c->new);
    default:
        return s->there == c->new.there;
    }
}

static int state_now(struct ferry *f, const struct change *c, struct change_state *ret)
{
    *ret = (struct change_state){ 0 };
    int r;
    if (c->kind == CHANGE_VALUE) {
        r = key_value(f, c->path, c->name, &ret->type, &ret->bytes, &ret->n);
        ret->there = !r;
    } else if (change_is_registry(c->kind)) {
        r = key_there(f, c->path);
        ret->there = !r;
    } else {
        bool content = c->kind == CHANGE_FILE || c->kind == CHANGE_APPEND;
        r = file_state(f, c->kind, c->path, c->kind == CHANGE_LINK ? CHANGE_FILE_MAX : 0,
                       !content                   ? NO_SUM
                       : c->kind == CHANGE_APPEND ? c->old.size
                                                  : 0,
                       ret);
    }
    return r == -ENOENT ? 0 : r;
}

/* How the thing was before the next change of the record that is about it; NULL: none is. *ret_covered: a
 * later change took the whole key, and brings it back as it was. */
static const struct change_state *before_next(const struct changes *c, size_t i, bool *ret_covered)
{
    *ret_covered = false;
    for (size_t k = i + 1; k < c->n; k++) {
        const struct change *next = &c->list[k];
        if (next->kind == CHANGE_UNKEY && change_is_registry(c->list[i].kind) &&
            changes_key_in(c->list[i].path, next->path) && strcmp(c->list[i].path, next->path)) {
            *ret_covered = true;
            return NULL;
        }
        if (change_is_same(next, &c->list[i]))
            return &next->old;
    }
    return NULL;
}

static int check_undo(const struct changes *c, struct fault *fault)
{
    for (size_t i = c->n; i--;) {
        const struct change *one = &c->list[i];
        struct change_state now = { 0 };
        bool covered;
        const struct change_state *then = before_next(c, i, &covered);
        if (covered)
            continue;
        int r = then ? 0 : state_now(c->f, one, &now);
        bool same = !r && is_as_left(one, then ? then : &now);
        change_state_done(&now);
        if (r < 0)
            return say(fault, r, one, "can't be looked at");
        if (!same)
            return fault_in(fault, -EBUSY, "", "%s%s%s was changed since: nothing is taken back", one->path,
                            separator(one), one->name ? one->name : "");
    }
    return 0;
}

/* Takes all back. With an error: what is taken back can't be made again, since the bytes of files that were
 * written aren't kept; so nothing more is committed. */
static int take_back(struct changes *c, struct fault *fault)
{
    for (size_t i = c->n; i--;) {
        int r = undo_one(c->f, &c->list[i]);
        if (r < 0) {
            c->f->broken = true;
            return say(fault, r, &c->list[i],
                       "can't be taken back; nothing is committed before the next mount");
        }
    }
    return 0;
}

int changes_undo(struct ferry *f, const char *record, struct fault *fault)
{
    struct old_record old;
    _cleanup_(changes_freep) struct changes *c = NULL;
    int r = changes_read_record(f, record, &c, fault);
    if (!r)
        r = check_undo(c, fault);
    if (r < 0)
        return r;
    r = remember_record(f, record, &old);
    if (!r)
        r = take_back(c, fault);
    if (!r)
        r = set_note(f, old.key, NULL);
    if (!r) {
        r = commit(f, fault);
        if (r < 0)
            f->broken = true; /* the next mount has what was committed last */
        else
            overlay_file_remove(f->overlay, old.file);
    }
    free(old.note);
    return r;
}
