/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The states of the disks: each has a current one, and may have internal snapshots. What a state costs is
 * made when it is asked for: the image of a snapshot (small, kept), and the views (a bit per block each). The
 * views of the current states are kept; of snapshots, only those in use and IDLE_KEPT that were used last. */
#include "ferry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { IDLE_KEPT = 4 };

static bool later(struct timespec a, struct timespec b)
{
    return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec);
}

/* ---- making and freeing ---- */

static void init_state(struct ferry_state *s, size_t disk, size_t snapshot)
{
    s->disk = disk;
    s->snapshot = snapshot;
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->info_lock, NULL);
}

static bool is_taken(const struct ferry_disk *d, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(d->names[i], d->names[n]))
            return true;
    return false;
}

/* Images take any name, and any number of times. */
static void name_snapshots(struct ferry_disk *d, const struct image_snapshot *s)
{
    for (size_t i = 0; i < d->n_snapshots; i++) {
        name_escape(s[i].name, s[i].name_n, d->names[i]);
        if (!d->names[i][0] || is_taken(d, i))
            name_number(d->names[i], i + 1);
    }
}

/* How many of the disks before i are in the overlay: those that could be opened. */
static size_t disks_before(const struct ferry *f, size_t i)
{
    size_t n = 0;
    while (i--)
        n += f->vm->disks[i].image != NULL;
    return n;
}

static int open_disk(struct ferry *f, size_t i)
{
    struct ferry_disk *d = &f->disks[i];
    struct image *image = f->vm->disks[i].image;
    init_state(&d->current, i, 0);
    d->current.opened = true;
    d->current.image = image;
    d->disk = !image ? NULL : f->overlay ? overlay_disk(f->overlay, disks_before(f, i)) : image->disk;
    if (later(f->vm->disks[i].mtime, f->mtime))
        f->mtime = f->vm->disks[i].mtime;
    size_t n = image ? image->layers[0].n_snapshots : 0;
    if (!n)
        return 0;
    d->snapshots = calloc(n, sizeof *d->snapshots);
    d->names = calloc(n, sizeof *d->names);
    if (!d->snapshots || !d->names)
        return -ENOMEM;
    for (; d->n_snapshots < n; d->n_snapshots++)
        init_state(&d->snapshots[d->n_snapshots], i, d->n_snapshots + 1);
    name_snapshots(d, image->layers[0].snapshots);
    return 0;
}

int ferry_states_open(struct ferry *f)
{
    while (view_formats[f->n_views] && f->n_views < MAX_VIEWS)
        f->n_views++;
    f->disks = calloc(f->vm->n_disks ? f->vm->n_disks : 1, sizeof *f->disks);
    int r = f->disks ? 0 : -ENOMEM;
    for (size_t i = 0; !r && i < f->vm->n_disks; i++)
        r = open_disk(f, i);
    return r;
}

static void free_set(struct view_set *set)
{
    for (size_t i = 0; set && i < MAX_VIEWS; i++)
        view_close(set->views[i]);
    free(set);
}

static void close_state(struct ferry_state *s)
{
    free_set(s->set);
    if (s->snapshot)
        image_close(s->image);
    free(s->image_why);
    shared_text_unref(s->info);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->info_lock);
}

void ferry_states_close(struct ferry *f)
{
    for (size_t i = 0; f->disks && i < f->vm->n_disks; i++) {
        struct ferry_disk *d = &f->disks[i];
        for (size_t k = 0; k < d->n_snapshots; k++)
            close_state(&d->snapshots[k]);
        close_state(&d->current);
        free(d->snapshots);
        free(d->names);
    }
    free(f->disks);
}

/* ---- images ---- */

static void open_image(struct ferry *f, struct ferry_state *s)
{
    struct fault why = { 0 };
    s->opened = true;
    if (image_open_snapshot(f->vm->disks[s->disk].image, s->snapshot - 1, &s->image, &why) == 0)
        return;
    s->image = NULL;
    s->image_why = malloc(sizeof why);
    if (s->image_why)
        *s->image_why = why;
}

struct ferry_state *ferry_state(struct ferry *f, size_t disk, size_t snapshot)
{
    struct ferry_disk *d = &f->disks[disk];
    if (snapshot > d->n_snapshots)
        return NULL;
    struct ferry_state *s = snapshot ? &d->snapshots[snapshot - 1] : &d->current;
    pthread_mutex_lock(&s->lock);
    if (!s->opened)
        open_image(f, s);
    pthread_mutex_unlock(&s->lock);
    return s->image ? s : NULL;
}

/* ---- views ---- */

struct disk *ferry_state_disk(const struct ferry *f, const struct ferry_state *s)
{
    return s->snapshot ? s->image->disk : f->disks[s->disk].disk;
}

static uint64_t generation_of(const struct ferry *f, const struct ferry_state *s)
{
    return f->overlay && !s->snapshot ? overlay_generation(f->overlay) : 0;
}

struct timespec ferry_mtime(const struct ferry *f, size_t disk, size_t snapshot)
{
    bool edited = f->overlay && !snapshot && overlay_generation(f->overlay);
    return edited ? overlay_time(f->overlay) : f->vm->disks[disk].mtime;
}

static struct view_set *new_set(const struct ferry *f, const struct ferry_state *s)
{
    struct view_set *set = calloc(1, sizeof *set);
    if (set)
        set->generation = generation_of(f, s);
    return set;
}

static void note_view(struct view_set *set, size_t i, int r)
{
    if (r == 0)
        return;
    set->views[i] = NULL;
    fault_in(&set->why[i], r, "", "%s", strerror(-r));
}

/* Makes the views that don't need the survey. */
static void make_early(const struct ferry *f, const struct ferry_state *s, struct view_set *set)
{
    struct view_source src = { .disk = ferry_state_disk(f, s), .sector_size = image_sector_size(s->image) };
    for (size_t i = 0; i < f->n_views; i++)
        if (view_formats[i]->early && !set->views[i] && !set->why[i].err)
            note_view(set, i, view_open_early(view_formats[i], &src, &set->views[i], &set->why[i]));
}

/* Makes the survey, and the views that aren't there; those that are may be in use. */
static void complete_set(const struct ferry *f, const struct ferry_state *s, struct view_set *set)
{
    const struct image *image = s->image;
    struct view_source src = { .disk = ferry_state_disk(f, s), .sector_size = image_sector_size(image) };
    set->complete = true;
    view_identity(image, src.id);
    _cleanup_(blockmap_freep) struct blockmap *survey = NULL;
    if (!view_survey(src.disk, &survey)) /* else view_open says why, for each view */
        src.survey = survey;
    for (size_t i = 0; i < f->n_views; i++) {
        struct view *v = set->views[i];
        if (v && (!survey || view_complete(v, survey) < 0))
            v->allocated = v->layout.size; /* no memory: it stays as it is */
        if (!v && !set->why[i].err)
            note_view(set, i, view_open(view_formats[i], &src, &set->views[i], &set->why[i]));
    }
}

/* Takes a reference of the newest set, if it is of the state as it now is. */
static struct view_set *newest(struct ferry *f, struct ferry_state *s)
{
    pthread_mutex_lock(&f->states_lock);
    struct view_set *set = s->set && s->set->generation == generation_of(f, s) ? s->set : NULL;
    if (set)
        set->users++;
    pthread_mutex_unlock(&f->states_lock);
    return set;
}

/* Puts a new set (may be NULL) in the place of the old one, which its users keep as long as they like. */
static void replace_set(struct ferry *f, struct ferry_state *s, struct view_set *set)
{
    pthread_mutex_lock(&f->states_lock);
    struct view_set *old = s->set;
    s->set = set;
    if (set)
        set->users = 2; /* the state's, and the caller's */
    bool unused = old && !--old->users;
    pthread_mutex_unlock(&f->states_lock);
    if (unused)
        free_set(old);
}

static struct view_set *get_set(struct ferry *f, struct ferry_state *s, bool early)
{
    pthread_mutex_lock(&s->lock);
    struct view_set *set = newest(f, s);
    if (!set && (set = new_set(f, s)))
        replace_set(f, s, set);
    if (set && !set->complete && early)
        make_early(f, s, set);
    else if (set && !set->complete)
        complete_set(f, s, set);
    pthread_mutex_unlock(&s->lock);
    return set;
}

struct view_set *ferry_views_get(struct ferry *f, struct ferry_state *s)
{
    return get_set(f, s, false);
}

/* A disk with an overlay changes: there, a survey must be of the same moment as the view. */
struct view_set *ferry_views_get_early(struct ferry *f, struct ferry_state *s)
{
    return get_set(f, s, !f->overlay || s->snapshot);
}

/* Takes the views that were idle for longest, if too many are. */
static struct view_set *take_idle_locked(struct ferry *f)
{
    struct ferry_state *oldest = NULL;
    size_t idle = 0;
    for (size_t i = 0; i < f->vm->n_disks; i++)
        for (size_t k = 0; k < f->disks[i].n_snapshots; k++) {
            struct ferry_state *s = &f->disks[i].snapshots[k];
            if (!s->set || s->set->users > 1)
                continue;
            idle++;
            if (!oldest || s->used < oldest->used)
                oldest = s;
        }
    if (idle <= IDLE_KEPT)
        return NULL;
    struct view_set *set = oldest->set;
    oldest->set = NULL;
    return set;
}

void ferry_views_put(struct ferry *f, struct ferry_state *s, struct view_set *set)
{
    struct view_set *unused = NULL;
    pthread_mutex_lock(&f->states_lock);
    s->used = ++f->states_clock;
    if (!--set->users)
        unused = set;
    else if (set->users == 1 && s->snapshot)
        unused = take_idle_locked(f);
    pthread_mutex_unlock(&f->states_lock);
    free_set(unused);
}
