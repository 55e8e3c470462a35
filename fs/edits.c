/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The edits of a writable mount: when they are committed, and how. One commit takes what the hives hold into
 * the guest's files, what the file systems hold to the disks, and the disks to the overlay's next generation.
 */
#include "ferry.h"
#include "gate.h"
#include "hives.h"

#include "../formats/cleanup.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>

enum {
    COMMIT_SECONDS = 5,       /* so much is lost at most */
    COMMIT_BYTES = 256 << 20, /* or so much is written between two commits, about */
};

bool ferry_writable(const struct ferry *f)
{
    return f->overlay != NULL;
}

int ferry_edit_begin(struct ferry *f)
{
    if (!f->overlay)
        return -EROFS;
    return f->broken ? -EIO : gate_write_begin(f->gate);
}

void ferry_edit_end(struct ferry *f, bool changed)
{
    if (changed) {
        f->edits++;
        if (overlay_uncommitted(f->overlay) > COMMIT_BYTES)
            pthread_cond_signal(&f->committer_wake);
    }
    gate_write_end(f->gate);
}

/* ---- opening ---- */

/* What the overlay has to know of a disk: 0, or -ENOMEM. */
static int name_source(const struct vm_disk *d, struct overlay_source *ret, char **ret_backing)
{
    const char *path = d->image->layers[0].place.path;
    *ret = (struct overlay_source){ .image = d->image, .name = path ? path : d->source, .mtime = d->mtime };
    int r = overlay_backing(d->image, ret_backing, &ret->backing_format);
    ret->backing = *ret_backing;
    return r;
}

int ferry_overlay_open(struct ferry *f, const char *mountpoint, struct fault *fault)
{
    const struct options *o = f->options;
    if (o->command != COMMAND_MOUNT || (!o->overlay && !o->scratch))
        return 0;
    size_t n = 0;
    int r = 0;
    _cleanup_free_ struct overlay_source *sources = calloc(f->vm->n_disks + 1, sizeof *sources);
    _cleanup_free_ char **backings = calloc(f->vm->n_disks + 1, sizeof *backings);
    f->gate = gate_new();
    if (!sources || !backings || !f->gate)
        r = -ENOMEM;
    for (size_t i = 0; !r && i < f->vm->n_disks; i++) { /* one that can't be opened has no overlay */
        struct vm_disk *d = &f->vm->disks[i];
        if (d->image) {
            r = name_source(d, &sources[n], &backings[n]);
            n++;
        }
    }
    struct overlay_options oo = {
        .dir = o->overlay,
        .rebind = o->rebind,
        .mountpoint = mountpoint,
        .wait_seconds = 60,
    };
    r = r < 0 ? fault_in(fault, r, "", "out of memory") : overlay_open(&oo, sources, n, &f->overlay, fault);
    for (size_t i = 0; backings && i < n; i++)
        free(backings[i]);
    return r;
}

/* ---- committing ---- */

static int sync_volumes(struct guest *g)
{
    int r = 0;
    for (size_t i = 0; g && i < g->n_volumes; i++) {
        struct volume *v = g->volumes[i].volume;
        int one = v && v->writable && v->ops->sync ? v->ops->sync(v) : 0;
        if (one < 0 && !r) {
            syslog(LOG_ERR, "%s: the file system's changes can't be written: %s", g->volumes[i].name,
                   strerror(-one));
            r = one;
        }
    }
    return r;
}

static int commit_hives(struct ferry *f)
{
    struct guest *g = f->guest;
    for (size_t i = 0; g && i < g->n_volumes; i++)
        if (g->volumes[i].volume)
            g->volumes[i].volume->committing = true;
    int r = hives_commit(f);
    for (size_t i = 0; g && i < g->n_volumes; i++)
        if (g->volumes[i].volume)
            g->volumes[i].volume->committing = false;
    return r;
}

/* With the gate for itself. */
static int commit_locked(struct ferry *f)
{
    struct fault fault = { 0 };
    uint64_t edits = f->edits;
    if (f->broken)
        return -EIO;
    if (edits == f->committed)
        return 0;
    int r = commit_hives(f);
    if (!r)
        r = sync_volumes(f->guest);
    if (!r && (r = overlay_commit(f->overlay, &fault)) < 0) {
        char line[2048];
        fault_in(&fault, r, "overlay", "%s", strerror(-r));
        fault_format(&fault, line, sizeof line);
        syslog(LOG_ERR, "the edits can't be committed: %s", line);
    }
    if (!r)
        f->committed = edits;
    return r;
}

int ferry_commit(struct ferry *f)
{
    if (!f->overlay || f->edits == f->committed)
        return 0;
    gate_commit_begin(f->gate);
    int r = commit_locked(f);
    gate_commit_end(f->gate, false);
    return r;
}

int ferry_alone_begin(struct ferry *f)
{
    return gate_alone_begin(f->gate);
}

int ferry_alone_commit(struct ferry *f)
{
    f->edits++;
    return commit_locked(f);
}

void ferry_alone_end(struct ferry *f)
{
    gate_alone_end(f->gate);
}

int ferry_freeze(struct ferry *f, uint64_t *ret_edits)
{
    *ret_edits = 0;
    if (!f->overlay)
        return 0;
    gate_commit_begin(f->gate);
    int r = commit_locked(f);
    *ret_edits = f->committed;
    gate_commit_end(f->gate, !r);
    return r;
}

void ferry_thaw(struct ferry *f)
{
    if (f->overlay)
        gate_view_end(f->gate);
}

/* ---- now and then ---- */

static void *committer(void *arg)
{
    struct ferry *f = arg;
    pthread_mutex_lock(&f->committer_lock);
    while (!f->committer_stop) {
        struct timespec end;
        clock_gettime(CLOCK_MONOTONIC, &end);
        end.tv_sec += COMMIT_SECONDS;
        pthread_cond_timedwait(&f->committer_wake, &f->committer_lock, &end);
        if (f->committer_stop)
            break;
        pthread_mutex_unlock(&f->committer_lock);
        ferry_commit(f);
        pthread_mutex_lock(&f->committer_lock);
    }
    pthread_mutex_unlock(&f->committer_lock);
    return NULL;
}

int ferry_edits_start(struct ferry *f)
{
    sigset_t all, old;
    if (!f->overlay)
        return 0;
    sigfillset(&all); /* signals are for the main thread */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = -pthread_create(&f->committer, NULL, committer, f);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    f->committer_runs = !r;
    return r;
}

int ferry_edits_stop(struct ferry *f)
{
    if (f->committer_runs) {
        pthread_mutex_lock(&f->committer_lock);
        f->committer_stop = true;
        pthread_cond_signal(&f->committer_wake);
        pthread_mutex_unlock(&f->committer_lock);
        pthread_join(f->committer, NULL);
        f->committer_runs = false;
    }
    return ferry_commit(f);
}
