/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ferry.h"
#include "gate.h"
#include "diff.h"
#include "drivers.h"
#include "hives.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static unsigned default_threads(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > 8 ? 8 : (unsigned)n;
}

static void set_owner(struct ferry *f, const struct options *o)
{
    mode_t mask = umask(022);
    umask(mask);
    f->uid = o->uid >= 0 ? (uid_t)o->uid : getuid();
    f->gid = o->gid >= 0 ? (gid_t)o->gid : getgid();
    f->umask = o->umask >= 0 ? (mode_t)o->umask : mask;
}

int ferry_open(const struct options *o, const char *mountpoint, struct ferry **ret, struct fault *fault)
{
    struct ferry *f = calloc(1, sizeof *f);
    if (!f)
        return fault_in(fault, -ENOMEM, "", "out of memory");
    f->options = o;
    pthread_mutex_init(&f->guest_lock, NULL);
    pthread_mutex_init(&f->info_lock, NULL);
    pthread_mutex_init(&f->states_lock, NULL);
    pthread_mutex_init(&f->committer_lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&f->committer_wake, &attr);
    pthread_condattr_destroy(&attr);
    set_owner(f, o);
    unsigned threads = o->threads ? o->threads : default_threads();
    f->pool = pool_new(threads);
    f->digesters = digesters_new(threads);
    f->cache = f->pool ? cache_new((size_t)o->cache_mib << 20, f->pool) : NULL;
    int r = f->cache && f->digesters ? 0 : fault_in(fault, -ENOMEM, "", "out of memory");
    if (!r)
        r = hives_open(f, fault);
    if (!r)
        r = drivers_open(f, fault);
    if (!r)
        r = diffs_open(f, fault);
    if (!r && hives_alone(f)) {
        r = vm_none(o->sources[0], "hive", &f->vm, fault);
    } else if (!r) {
        struct vm_options vo = {
            .sources = o->sources,
            .n_sources = o->n_sources,
            .format = o->format,
            .trust = o->trust,
            .n_trust = o->n_trust,
        };
        struct image_env env = { .cache = f->cache };
        r = vm_open(&vo, &env, &f->vm, fault);
    }
    if (!r)
        r = ferry_overlay_open(f, mountpoint, fault);
    if (!r)
        r = hives_bind(f, fault);
    if (!r && ferry_states_open(f) < 0)
        r = fault_in(fault, -ENOMEM, "", "out of memory");
    struct node_id root = { .ops = &root_ops };
    if (!r && !(f->nodes = node_table_new(&root)))
        r = fault_in(fault, -ENOMEM, "", "out of memory");
    if (r < 0) {
        ferry_close(f);
        return r;
    }
    *ret = f;
    return 0;
}

void ferry_close(struct ferry *f)
{
    if (!f)
        return;
    if (f->overlay)
        overlay_finishing(f->overlay);
    ferry_edits_stop(f);
    digesters_free(f->digesters);
    pool_free(f->pool); /* before all that its jobs use */
    node_table_free(f->nodes);
    diffs_close(f);
    drivers_close(f);
    hives_close(f);
    guest_free(f->guest);
    ferry_states_close(f);
    if (f->overlay)
        overlay_close(f->overlay);
    vm_close(f->vm);
    cache_free(f->cache);
    gate_free(f->gate);
    shared_text_unref(f->info);
    pthread_mutex_destroy(&f->committer_lock);
    pthread_cond_destroy(&f->committer_wake);
    pthread_mutex_destroy(&f->guest_lock);
    pthread_mutex_destroy(&f->info_lock);
    pthread_mutex_destroy(&f->states_lock);
    free(f);
}

void ferry_stop(struct ferry *f)
{
    digesters_stop(f->digesters);
}

struct guest *ferry_guest(struct ferry *f)
{
    pthread_mutex_lock(&f->guest_lock);
    if (!f->guest_scanned) {
        struct disk **disks = calloc(f->vm->n_disks ? f->vm->n_disks : 1, sizeof *disks);
        for (size_t i = 0; disks && i < f->vm->n_disks; i++)
            disks[i] = f->disks[i].disk;
        struct guest_options o = { .writable = f->overlay != NULL,
                                   .discard_hibernation = f->options->discard_hibernation };
        if (disks)
            f->guest = guest_scan(disks, f->vm->n_disks, f->cache, &o);
        free(disks);
        f->guest_scanned = true;
    }
    pthread_mutex_unlock(&f->guest_lock);
    return f->guest;
}
