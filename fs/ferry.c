/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ferry.h"

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

static bool later(struct timespec a, struct timespec b)
{
    return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec);
}

static void set_owner(struct ferry *f, const struct options *o)
{
    mode_t mask = umask(022);
    umask(mask);
    f->uid = o->uid >= 0 ? (uid_t)o->uid : getuid();
    f->gid = o->gid >= 0 ? (gid_t)o->gid : getgid();
    f->umask = o->umask >= 0 ? (mode_t)o->umask : mask;
}

static int open_disks(struct ferry *f)
{
    while (view_formats[f->n_views] && f->n_views < MAX_VIEWS)
        f->n_views++;
    f->disks = calloc(f->vm->n_disks ? f->vm->n_disks : 1, sizeof *f->disks);
    if (!f->disks)
        return -ENOMEM;
    for (size_t i = 0; i < f->vm->n_disks; i++) {
        pthread_mutex_init(&f->disks[i].lock, NULL);
        pthread_mutex_init(&f->disks[i].info_lock, NULL);
        if (later(f->vm->disks[i].mtime, f->mtime))
            f->mtime = f->vm->disks[i].mtime;
    }
    return 0;
}

int ferry_open(const struct options *o, struct ferry **ret, struct fault *fault)
{
    struct ferry *f = calloc(1, sizeof *f);
    if (!f)
        return fault_in(fault, -ENOMEM, "", "out of memory");
    f->options = o;
    pthread_mutex_init(&f->guest_lock, NULL);
    pthread_mutex_init(&f->info_lock, NULL);
    set_owner(f, o);
    f->pool = pool_new(o->threads ? o->threads : default_threads());
    f->cache = f->pool ? cache_new((size_t)o->cache_mib << 20, f->pool) : NULL;
    int r = f->cache ? 0 : fault_in(fault, -ENOMEM, "", "out of memory");
    if (!r) {
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
    if (!r && open_disks(f) < 0)
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
    pool_free(f->pool); /* first: its jobs use everything else */
    node_table_free(f->nodes);
    guest_free(f->guest);
    for (size_t i = 0; f->disks && i < f->vm->n_disks; i++) {
        for (size_t k = 0; k < MAX_VIEWS; k++)
            view_close(f->disks[i].views[k]);
        free(f->disks[i].info.bytes);
        pthread_mutex_destroy(&f->disks[i].lock);
        pthread_mutex_destroy(&f->disks[i].info_lock);
    }
    free(f->disks);
    vm_close(f->vm);
    cache_free(f->cache);
    free(f->info.bytes);
    pthread_mutex_destroy(&f->guest_lock);
    pthread_mutex_destroy(&f->info_lock);
    free(f);
}

static void make_views(struct ferry *f, size_t disk)
{
    struct ferry_disk *d = &f->disks[disk];
    const struct image *image = f->vm->disks[disk].image;
    struct view_source src = { .disk = image->disk, .sector_size = image_sector_size(image) };
    view_identity(image, src.id);
    _cleanup_(blockmap_freep) struct blockmap *survey = NULL;
    if (!view_survey(src.disk, &survey)) /* else view_open says why, for each view */
        src.survey = survey;
    for (size_t i = 0; i < f->n_views; i++) {
        int r = view_open(view_formats[i], &src, &d->views[i], &d->why[i]);
        if (r < 0) {
            d->views[i] = NULL;
            fault_in(&d->why[i], r, "", "%s", strerror(-r));
        }
    }
}

int ferry_views(struct ferry *f, size_t disk, struct ferry_disk **ret)
{
    struct ferry_disk *d = &f->disks[disk];
    pthread_mutex_lock(&d->lock);
    if (!d->made)
        make_views(f, disk);
    d->made = true;
    pthread_mutex_unlock(&d->lock);
    *ret = d;
    return 0;
}

struct guest *ferry_guest(struct ferry *f)
{
    pthread_mutex_lock(&f->guest_lock);
    if (!f->guest_scanned) {
        struct disk **disks = calloc(f->vm->n_disks ? f->vm->n_disks : 1, sizeof *disks);
        for (size_t i = 0; disks && i < f->vm->n_disks; i++)
            disks[i] = f->vm->disks[i].image ? f->vm->disks[i].image->disk : NULL;
        if (disks)
            f->guest = guest_scan(disks, f->vm->n_disks, f->cache);
        free(disks);
        f->guest_scanned = true;
    }
    pthread_mutex_unlock(&f->guest_lock);
    return f->guest;
}
