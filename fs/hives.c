/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hives-impl.h"

#include "bcd-store.h"
#include "registry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>

enum { FILETIME_UNIX = 11644473600, TICKS = 10000000 };

uint64_t hives_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return ((uint64_t)now.tv_sec + FILETIME_UNIX) * TICKS + (uint64_t)now.tv_nsec / 100;
}

/* ---- the list ---- */

struct reg_hive *hives_add(struct hives *hs, enum hive_place where, const char *name, const char *path)
{
    size_t n = hs->n;
    struct reg_hive *h = n < HIVES_MAX && strlen(name) < sizeof h->name ? calloc(1, sizeof *h) : NULL;
    if (!h)
        return NULL;
    h->path = strdup(path);
    if (!h->path) {
        free(h);
        return NULL;
    }
    strcpy(h->name, name);
    h->where = where;
    h->index = n;
    h->all = hs;
    pthread_rwlock_init(&h->lock, NULL);
    hs->list[n] = h;
    hs->n = n + 1;
    return h;
}

static const struct guest_system *windows(struct ferry *f)
{
    struct guest *g = ferry_guest(f);
    const struct guest_system *s = g && f->options->os < g->n_systems ? &g->systems[f->options->os] : NULL;
    return s && s->kind == GUEST_WINDOWS ? s : NULL;
}

bool hives_alone(const struct ferry *f)
{
    return f->hives->alone;
}

static void scan(struct ferry *f, enum hive_place where)
{
    struct hives *hs = f->hives;
    if (hs->alone || !windows(f))
        return;
    pthread_mutex_lock(&hs->lock);
    if (!hs->machine_scanned)
        hives_scan_machine(f, hs);
    hs->machine_scanned = true;
    if (where == HIVE_USERS && !hs->users_scanned) {
        hives_scan_users(f, hs);
        hs->users_scanned = true;
    }
    if (where == HIVE_BCD && !hs->bcd_scanned) {
        hives_scan_bcd(f, hs);
        hs->bcd_scanned = true;
    }
    pthread_mutex_unlock(&hs->lock);
}

bool hives_is_there(struct ferry *f, struct reg_hive *h)
{
    struct hives *hs = f->hives;
    while (!hs->alone && !h->placed) {
        struct place p;
        pthread_mutex_lock(&hs->place_lock);
        unsigned moves = h->moves;
        pthread_mutex_unlock(&hs->place_lock);
        if (hives_resolve(f, h, &p) < 0)
            return false;
        pthread_mutex_lock(&hs->place_lock);
        if (h->moves == moves) { /* else it may be what was there before */
            h->volume = p.volume;
            h->ino = p.ino;
            h->placed = true;
        }
        pthread_mutex_unlock(&hs->place_lock);
    }
    return true;
}

bool hives_present(struct ferry *f)
{
    return f->hives->alone || hives_nth(f, HIVE_MACHINE, 0);
}

struct reg_hive *hives_at(struct ferry *f, size_t index)
{
    return index < f->hives->n ? f->hives->list[index] : NULL;
}

struct reg_hive *hives_nth(struct ferry *f, enum hive_place where, size_t i)
{
    scan(f, where);
    for (size_t k = 0; k < f->hives->n; k++)
        if (f->hives->list[k]->where == where && hives_is_there(f, f->hives->list[k]) && !i--)
            return f->hives->list[k];
    return NULL;
}

struct reg_hive *hives_find(struct ferry *f, enum hive_place where, const char *name)
{
    scan(f, where);
    for (size_t k = 0; k < f->hives->n; k++)
        if (f->hives->list[k]->where == where && !strcasecmp(f->hives->list[k]->name, name))
            return hives_is_there(f, f->hives->list[k]) ? f->hives->list[k] : NULL;
    return NULL;
}

/* ---- opening ---- */

static size_t cache_bytes(const struct ferry *f)
{
    return ((size_t)f->options->cache_mib << 20) / 4;
}

/* Not if its file was moved since it was looked for. */
static void open_locked(struct ferry *f, struct reg_hive *h)
{
    if (!f->hives->alone && !h->placed)
        return;
    struct hive_files files = { 0 };
    struct fault fault = { 0 };
    struct hive_state state;
    unsigned flags = ferry_writable(f) ? HIVE_WRITABLE : 0;
    if (f->options->accept_dirty_hive)
        flags |= HIVE_ACCEPT_DIRTY;
    h->tried = true;
    h->epoch++;
    h->err =
        f->hives->alone ? hives_alone_files(f, h, &files, &fault) : hives_guest_files(f, h, &files, &fault);
    if (!h->err)
        h->err = hive_open(&files, flags, cache_bytes(f), &h->hive, &fault);
    if (h->err < 0) {
        h->hive = NULL;
        fault_in(&fault, h->err, h->path, "the hive can't be opened: %s", strerror(-h->err));
        fault_reason(&fault, h->why, sizeof h->why);
        syslog(LOG_WARNING, "%s: %s", h->path, h->why);
        return;
    }
    hive_state(h->hive, &state);
    memcpy(h->why, state.why, sizeof h->why);
    h->writable = state.writable && ferry_writable(f);
}

/* A hive that can't be opened is damaged, whatever it isn't: its file has its name. */
static int open_error(const struct reg_hive *h)
{
    return h->err == -EMEDIUMTYPE || h->err == -ENOENT ? -EUCLEAN : h->err;
}

int hives_read(struct ferry *f, struct reg_hive *h)
{
    pthread_rwlock_rdlock(&h->lock);
    while (!h->tried) {
        pthread_rwlock_unlock(&h->lock);
        if (!hives_is_there(f, h))
            return -ENOENT;
        pthread_rwlock_wrlock(&h->lock);
        if (!h->tried)
            open_locked(f, h);
        pthread_rwlock_unlock(&h->lock);
        pthread_rwlock_rdlock(&h->lock);
    }
    if (h->hive)
        return 0;
    int r = open_error(h);
    pthread_rwlock_unlock(&h->lock);
    return r;
}

int hives_write(struct ferry *f, struct reg_hive *h)
{
    pthread_rwlock_wrlock(&h->lock);
    while (!h->tried) {
        open_locked(f, h);
        if (h->tried)
            break;
        pthread_rwlock_unlock(&h->lock);
        if (!hives_is_there(f, h))
            return -ENOENT;
        pthread_rwlock_wrlock(&h->lock);
    }
    int r = !h->hive ? open_error(h) : h->writable ? 0 : -EROFS;
    if (r < 0) {
        pthread_rwlock_unlock(&h->lock);
        return r;
    }
    registry_merge_settled(h);
    h->edits++; /* at most one too many: a commit that finds nothing changed is cheap */
    return 0;
}

void hives_done(struct reg_hive *h)
{
    pthread_rwlock_unlock(&h->lock);
}

/* ---- keys that are gone ---- */

/* The cell's place, or where it would be. */
static struct reused_cell *reused_slot(struct reused_cell *table, size_t size, uint32_t cell)
{
    size_t i = cell * 0x9e3779b1u & (size - 1);
    while (table[i].cell && table[i].cell != cell)
        i = (i + 1) & (size - 1);
    return &table[i];
}

uint32_t hives_generation(const struct reg_hive *h, uint32_t key)
{
    return h->size_reused ? reused_slot(h->reused, h->size_reused, key)->generation : 0;
}

static bool grow_reused(struct reg_hive *h)
{
    size_t size = h->size_reused ? 2 * h->size_reused : 64;
    struct reused_cell *table = calloc(size, sizeof *table);
    if (!table)
        return false;
    for (size_t i = 0; i < h->size_reused; i++)
        if (h->reused[i].cell)
            *reused_slot(table, size, h->reused[i].cell) = h->reused[i];
    free(h->reused);
    h->reused = table;
    h->size_reused = size;
    return true;
}

void hives_key_gone(struct reg_hive *h, uint32_t key)
{
    if (2 * h->n_reused >= h->size_reused && !grow_reused(h))
        return; /* an old directory handle might then show another key: no harm to the hive */
    struct reused_cell *c = reused_slot(h->reused, h->size_reused, key);
    h->n_reused += !c->cell;
    c->cell = key;
    c->generation++;
}

struct gone {
    struct reg_hive *h;
    unsigned depth;
};

static int key_gone(void *ctx, uint32_t index, uint32_t key)
{
    struct gone *g = ctx;
    (void)index;
    hives_key_gone(g->h, key);
    struct gone below = { g->h, g->depth + 1 };
    if (below.depth < 512)
        hive_subkeys(g->h->hive, key, 0, key_gone, &below, NULL);
    return 0;
}

void hives_tree_gone(struct reg_hive *h, uint32_t key)
{
    key_gone(&(struct gone){ h, 0 }, 0, key);
}

/* ---- names that were shown cut ---- */

static struct cut_name *find_cut(struct hives *hs, uint64_t hash)
{
    for (size_t i = 0; i < CUT_NAMES_MAX && hs->cut[i].units; i++)
        if (hs->cut[i].hash == hash)
            return &hs->cut[i];
    return NULL;
}

void hives_learn(const struct reg_hive *h, uint64_t hash, struct hive_name name)
{
    struct hives *hs = h->all;
    pthread_mutex_lock(&hs->cut_lock);
    uint16_t *units = find_cut(hs, hash) ? NULL : malloc(name.n * sizeof *units);
    if (units) {
        struct cut_name *c = &hs->cut[hs->n_cut++ % CUT_NAMES_MAX];
        free(c->units);
        memcpy(units, name.units, name.n * sizeof *units);
        *c = (struct cut_name){ hash, units, name.n };
    }
    pthread_mutex_unlock(&hs->cut_lock);
}

uint16_t *hives_recall(const struct reg_hive *h, uint64_t hash, size_t *ret_n)
{
    struct hives *hs = h->all;
    pthread_mutex_lock(&hs->cut_lock);
    const struct cut_name *c = find_cut(hs, hash);
    uint16_t *units = c ? malloc(c->n * sizeof *units) : NULL;
    if (units) {
        memcpy(units, c->units, c->n * sizeof *units);
        *ret_n = c->n;
    }
    pthread_mutex_unlock(&hs->cut_lock);
    return units;
}

/* ---- committing ---- */

/* True: it was open. */
static bool close_locked(struct reg_hive *h)
{
    bool open = h->hive;
    registry_files_drop(h);
    bcd_files_drop(h);
    hive_close(h->hive);
    h->hive = NULL;
    h->tried = false;
    return open;
}

/* After a hive that was open has been closed: the kernel may know keys of it for a moment, by cells that mean
 * nothing in the next one, and what is made in such a directory has no second look-up. No lock is held. */
static void let_names_go(void)
{
    struct timespec moment = { .tv_nsec = (TREE_MOMENT_MS + 20) * 1000000L };
    nanosleep(&moment, NULL);
}

static int commit_hive(struct ferry *f, struct reg_hive *h)
{
    struct fault fault = { 0 };
    if (!h->hive || !h->writable || (!f->hives->alone && !hive_is_dirty(h->hive)) || h->edits == h->committed)
        return 0;
    registry_merge_settled(h);
    int r = f->hives->alone ? hives_alone_commit(f, h) : hive_commit(h->hive, hives_now(), &fault);
    if (r < 0) {
        char line[1024];
        fault_in(&fault, r, h->path, "%s", strerror(-r));
        fault_format(&fault, line, sizeof line);
        syslog(LOG_ERR, "a hive can't be written: %s", line);
    } else {
        h->committed = h->edits;
    }
    return r;
}

int hives_commit(struct ferry *f)
{
    int r = 0;
    for (size_t i = 0; i < f->hives->n; i++) {
        struct reg_hive *h = f->hives->list[i];
        pthread_rwlock_wrlock(&h->lock);
        int one = commit_hive(f, h);
        pthread_rwlock_unlock(&h->lock);
        r = r < 0 ? r : one;
    }
    return r;
}

static bool has_edits(const struct reg_hive *h)
{
    return h->hive && hive_is_dirty(h->hive) && h->edits != h->committed;
}

int hives_guest_write(struct ferry *f, size_t volume, uint64_t ino)
{
    bool closed = false;
    int r = 0;
    for (size_t i = 0; i < f->hives->n && !f->hives->alone; i++) {
        struct reg_hive *h = f->hives->list[i];
        if (h->volume != volume || h->ino != ino)
            continue;
        pthread_rwlock_wrlock(&h->lock);
        if (has_edits(h))
            r = -EBUSY;
        else
            closed |= close_locked(h);
        pthread_rwlock_unlock(&h->lock);
    }
    if (closed)
        let_names_go();
    return r;
}

/* ---- files that come and go ---- */

static void forget_place(struct reg_hive *h)
{
    pthread_mutex_lock(&h->all->place_lock);
    h->placed = false;
    h->moves++;
    pthread_mutex_unlock(&h->all->place_lock);
}

static bool is_directory(struct ferry *f, struct place p)
{
    struct volume_attr a;
    struct volume *v = f->guest->volumes[p.volume].volume;
    return v->ops->getattr(v, p.ino, &a) == 0 && S_ISDIR(a.mode);
}

static int close_unless_edited(struct reg_hive *h, bool *closed)
{
    if (has_edits(h))
        return -EBUSY;
    *closed |= close_locked(h);
    forget_place(h);
    return 0;
}

/* Who has opened it since then, and edited it, did so before it went: that stays in the file. */
static bool close_moved(struct ferry *f, struct reg_hive *h)
{
    commit_hive(f, h);
    bool closed = close_locked(h);
    forget_place(h);
    return closed;
}

int hives_moving(struct ferry *f, size_t volume, uint64_t ino)
{
    struct hives *hs = f->hives;
    struct place p = { volume, ino };
    bool dir = !hs->alone && hs->n && is_directory(f, p);
    bool closed = false;
    int r = 0;
    for (size_t i = 0; i < hs->n && !hs->alone && !r; i++) {
        struct reg_hive *h = hs->list[i];
        if ((h->volume != volume || h->ino != ino) && !(dir && hives_is_below(f, h, p)))
            continue;
        pthread_rwlock_wrlock(&h->lock);
        r = close_unless_edited(h, &closed);
        pthread_rwlock_unlock(&h->lock);
    }
    if (closed)
        let_names_go();
    return r;
}

/* Does the path lead elsewhere than it did? */
static bool is_astray(struct ferry *f, const struct reg_hive *h)
{
    struct place p;
    return h->placed && (hives_resolve(f, h, &p) < 0 || p.volume != h->volume || p.ino != h->ino);
}

void hives_moved(struct ferry *f, size_t volume, uint64_t ino)
{
    struct hives *hs = f->hives;
    bool dir = !hs->alone && hs->n && is_directory(f, (struct place){ volume, ino }), closed = false;
    for (size_t i = 0; i < hs->n && !hs->alone; i++) {
        struct reg_hive *h = hs->list[i];
        if ((h->volume != volume || h->ino != ino) && !(dir && is_astray(f, h)))
            continue;
        pthread_rwlock_wrlock(&h->lock);
        closed |= close_moved(f, h);
        pthread_rwlock_unlock(&h->lock);
    }
    if (closed)
        let_names_go();
}

/* ---- the whole ---- */

int hives_open(struct ferry *f, struct fault *fault)
{
    const struct options *o = f->options;
    struct hives *hs = f->hives = calloc(1, sizeof *hs);
    if (!hs)
        return fault_in(fault, -ENOMEM, "", "out of memory");
    pthread_mutex_init(&hs->lock, NULL);
    pthread_mutex_init(&hs->place_lock, NULL);
    pthread_mutex_init(&hs->cut_lock, NULL);
    if (o->n_sources != 1 || o->format || !hives_is_hive(o->sources[0]))
        return 0;
    /* the name is the user's, the place that of the file: it is opened again when we are elsewhere */
    const char *slash = strrchr(o->sources[0], '/');
    _cleanup_free_ char *real = realpath(o->sources[0], NULL);
    hs->alone = true;
    if (!real || !hives_add(hs, HIVE_ALONE, slash ? slash + 1 : o->sources[0], real))
        return fault_in(fault, -ENOMEM, "", "out of memory");
    struct stat st;
    if (stat(o->sources[0], &st) == 0)
        f->mtime = st.st_mtim;
    /* what can't be read at all is told before the mount */
    struct reg_hive *h = hs->list[0];
    struct hive_files files = { 0 };
    int r = hives_alone_files(f, h, &files, fault);
    if (!r)
        hive_files_close(&files);
    return r;
}

int hives_bind(struct ferry *f, struct fault *fault)
{
    return hives_alone(f) ? hives_alone_bind(f, f->hives->list[0], fault) : 0;
}

void hives_close(struct ferry *f)
{
    struct hives *hs = f->hives;
    if (!hs)
        return;
    for (size_t i = 0; i < hs->n; i++) {
        struct reg_hive *h = hs->list[i];
        registry_files_drop(h);
        bcd_files_drop(h);
        if (h->hive)
            hive_close(h->hive);
        pthread_rwlock_destroy(&h->lock);
        free(h->reused);
        free(h->path);
        free(h);
    }
    for (size_t i = 0; i < CUT_NAMES_MAX; i++)
        free(hs->cut[i].units);
    pthread_mutex_destroy(&hs->cut_lock);
    pthread_mutex_destroy(&hs->place_lock);
    pthread_mutex_destroy(&hs->lock);
    free(hs);
    f->hives = NULL;
}
