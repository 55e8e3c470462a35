/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names given, taken and moved. */
#include "../formats/checked.h"
#include "fat-write.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct fat *fat_of(struct volume *v)
{
    return (struct fat *)(void *)v;
}

/* ---- creating ---- */

static struct fat_entry entry_new(bool directory)
{
    struct fat_entry e = { .attributes = directory ? FAT_DIRECTORY : FAT_ARCHIVE };
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    fat_time_put(now, &e.date, &e.time, NULL);
    fat_time_put(now, &e.birth_date, &e.birth_time, &e.birth_centis);
    e.access_date = e.date;
    return e;
}

static int new_directory(struct fat *v, uint64_t parent, struct fat_entry *e)
{
    uint32_t above;
    int r = fat_dir_cluster(v, parent, &above);
    if (r < 0)
        return r;
    if (fat_clusters_free(v) < 2) /* one may be its parent's */
        return -ENOSPC;
    e->cluster = fat_cluster_take(v, 0);
    r = fat_dir_init(v, e->cluster, above, e);
    if (r == 0)
        r = fat_table_link(v, e->cluster, 0);
    if (r < 0)
        fat_cluster_untake(v, e->cluster);
    return r;
}

static int create_in(struct fat *v, uint64_t dir, const char *name, mode_t mode, uint64_t *ret_ino)
{
    struct fat_name f;
    int r = fat_slot_find(v, dir, name, &f);
    if (r != -ENOENT)
        return r < 0 ? r : -EEXIST;
    uint16_t units[FAT_NAME_MAX];
    size_t n;
    if ((r = fat_name_check(name, units, &n)) < 0 || (r = fat_ino_reserve(v)) < 0)
        return r;
    struct fat_entry e = entry_new(S_ISDIR(mode));
    if (!S_ISDIR(mode) && !(mode & 0222))
        e.attributes |= FAT_RDONLY;
    if (S_ISDIR(mode) && (r = new_directory(v, dir, &e)) < 0)
        return r;
    uint64_t slot;
    r = fat_slot_add(v, dir, name, &e, &slot);
    if (r < 0) {
        if (S_ISDIR(mode))
            fat_table_free(v, e.cluster, false);
        return r;
    }
    *ret_ino = fat_ino_new(v, slot);
    return 0;
}

int fat_create(struct volume *volume, uint64_t dir, const char *name, const struct volume_new *what,
               uint64_t *ret_ino)
{
    struct fat *v = fat_of(volume);
    if (!S_ISREG(what->mode) && !S_ISDIR(what->mode))
        return -EPERM;
    fat_write_begin(v);
    int r = create_in(v, dir, name, what->mode, ret_ino);
    fat_end(v);
    return r;
}

/* ---- removing ---- */

static int dir_check_empty(struct fat *v, uint64_t ino)
{
    struct fat_dir d;
    struct fat_name f;
    int r = fat_dir_open(v, ino, 0, &d);
    if (r == 0)
        r = fat_dir_next(&d, &f);
    fat_dir_done(&d);
    return r < 0 ? r : r ? -ENOTEMPTY : 0;
}

static int free_directory(struct fat *v, uint32_t cluster)
{
    struct fat_chain chain;
    struct fat_cursor c = { .fat = v };
    int r = fat_chain_walk(v, cluster, &chain);
    if (r < 0)
        return r;
    if (chain.damaged)
        r = -EIO;
    for (uint64_t k = 0; k < chain.clusters && r == 0; k++) {
        enum fat_link link;
        uint32_t next;
        fat_cursor_done(&c); /* what it holds is about to change */
        r = fat_link_of(&c, cluster, &link, &next);
        if (r == 0)
            r = fat_table_free(v, cluster, false);
        cluster = next;
    }
    fat_cursor_done(&c);
    fat_chain_done(&chain);
    return r;
}

/* An entry that is found, and what is needed to take it away. */
struct victim {
    uint64_t dir;
    struct fat_name f;
    struct fat_node *node; /* of a file; a handle is held */
    uint8_t saved[FAT_SLOTS_MAX];
};

static void victim_done(struct fat *v, struct victim *t)
{
    if (t->node)
        fat_node_put(v, t->node);
}

static bool is_directory(const struct victim *t)
{
    return t->f.entry.attributes & FAT_DIRECTORY;
}

/* Can it go? Its node is held from now on, to the victim's done. */
static int victim_check(struct fat *v, struct victim *t, bool directory)
{
    if (is_directory(t) != directory)
        return directory ? -ENOTDIR : -EISDIR;
    int r = fat_ino_reserve(v);
    if (r < 0)
        return r;
    if (directory)
        return dir_check_empty(v, t->f.ino);
    r = fat_node_get(v, t->f.ino, &t->node);
    return r < 0 ? r : t->node->damaged ? -EIO : 0;
}

/* Its slots are free. */
static int victim_drop(struct fat *v, struct victim *t)
{
    int r = is_directory(t) ? free_directory(v, t->f.entry.cluster) : fat_node_unlink(v, t->node);
    fat_ino_drop(v, t->f.ino);
    return r;
}

static int remove_name(struct volume *volume, uint64_t dir, const char *name, bool directory)
{
    struct fat *v = fat_of(volume);
    struct victim t = { .dir = dir };
    fat_write_begin(v);
    int r = fat_slot_find(v, dir, name, &t.f);
    if (r == 0 && (r = victim_check(v, &t, directory)) == 0 &&
        (r = fat_slot_remove(v, dir, &t.f, t.saved)) == 0)
        r = victim_drop(v, &t);
    victim_done(v, &t);
    fat_end(v);
    return r;
}

int fat_unlink(struct volume *v, uint64_t dir, const char *name)
{
    return remove_name(v, dir, name, false);
}

int fat_rmdir(struct volume *v, uint64_t dir, const char *name)
{
    return remove_name(v, dir, name, true);
}

/* ---- moving ---- */

struct move {
    struct victim from, to;
    bool replaces; /* `to` is somebody else's */
    uint64_t new_dir;
    const char *new_name;
};

/* -EINVAL when a directory would come to lie in itself. */
static int move_check_loop(struct fat *v, uint64_t into, const struct victim *moved)
{
    uint32_t at;
    int r = fat_dir_cluster(v, into, &at);
    for (unsigned depth = 0; r == 0 && at; depth++) {
        if (at == moved->f.entry.cluster)
            return -EINVAL;
        r = depth > FAT_DIR_MAX ? -EIO : fat_dir_get_parent(v, at, &at);
    }
    return r;
}

static int move_check(struct fat *v, struct move *m, unsigned flags)
{
    uint16_t units[FAT_NAME_MAX];
    size_t n;
    int r = fat_slot_find(v, m->new_dir, m->new_name, &m->to.f);
    if (r < 0 && r != -ENOENT)
        return r;
    m->replaces = r == 0 && m->to.f.ino != m->from.f.ino;
    if (m->replaces && flags & RENAME_NOREPLACE)
        return -EEXIST;
    if ((r = fat_name_check(m->new_name, units, &n)) < 0 || (r = fat_ino_reserve(v)) < 0)
        return r;
    if (is_directory(&m->from) && m->new_dir != m->from.dir &&
        (r = move_check_loop(v, m->new_dir, &m->from)) < 0)
        return r;
    return m->replaces ? victim_check(v, &m->to, is_directory(&m->from)) : 0;
}

/* The slots of both are freed first, which gives the new ones their room and their short name. */
static int move_slots(struct fat *v, struct move *m, uint64_t *ret_slot)
{
    int r = m->replaces ? fat_slot_remove(v, m->new_dir, &m->to.f, m->to.saved) : 0;
    if (r < 0)
        return r;
    r = fat_slot_remove(v, m->from.dir, &m->from.f, m->from.saved);
    if (r == 0)
        r = fat_slot_add(v, m->new_dir, m->new_name, &m->from.f.entry, ret_slot);
    if (r == 0)
        return 0;
    fat_slot_restore(v, m->from.dir, &m->from.f, m->from.saved);
    if (m->replaces)
        fat_slot_restore(v, m->new_dir, &m->to.f, m->to.saved);
    return r;
}

static int move_do(struct fat *v, struct move *m)
{
    uint64_t slot;
    uint32_t parent;
    int r = fat_dir_cluster(v, m->new_dir, &parent);
    if (r < 0 || (r = move_slots(v, m, &slot)) < 0)
        return r;
    if (m->replaces)
        r = victim_drop(v, &m->to);
    fat_ino_move(v, m->from.f.ino, slot);
    if (r == 0 && is_directory(&m->from) && m->new_dir != m->from.dir)
        r = fat_dir_set_parent(v, m->from.f.entry.cluster, parent);
    return r;
}

/* ---- two that change their places ---- */

static int exchange_check(struct fat *v, struct move *m)
{
    int r = fat_slot_find(v, m->new_dir, m->new_name, &m->to.f);
    if (r < 0 || (r = fat_ino_reserve(v)) < 0 || m->new_dir == m->from.dir)
        return r;
    if (is_directory(&m->from) && (r = move_check_loop(v, m->new_dir, &m->from)) < 0)
        return r;
    return is_directory(&m->to) ? move_check_loop(v, m->from.dir, &m->to) : 0;
}

static int exchange_parents(struct fat *v, const struct move *m)
{
    uint32_t old, new;
    int r = fat_dir_cluster(v, m->from.dir, &old);
    if (r < 0 || (r = fat_dir_cluster(v, m->new_dir, &new)) < 0)
        return r;
    if (is_directory(&m->from))
        r = fat_dir_set_parent(v, m->from.f.entry.cluster, new);
    int e = is_directory(&m->to) ? fat_dir_set_parent(v, m->to.f.entry.cluster, old) : 0;
    return r < 0 ? r : e;
}

/* The names stay where they are, and what they lead to is exchanged: that needs no room. */
static int exchange_do(struct fat *v, struct move *m)
{
    const struct fat_name *a = &m->from.f, *b = &m->to.f;
    uint64_t slot_a = fat_ino_slot(v, a->ino), slot_b = fat_ino_slot(v, b->ino);
    if (!slot_a || !slot_b)
        return -EIO;
    int r = fat_slot_write(v, slot_b, &a->entry);
    if (r < 0)
        return r;
    r = fat_slot_write(v, slot_a, &b->entry);
    if (r < 0) {
        fat_slot_write(v, slot_b, &b->entry);
        return r;
    }
    fat_ino_move(v, a->ino, slot_b);
    fat_ino_move(v, b->ino, slot_a);
    return m->new_dir != m->from.dir ? exchange_parents(v, m) : 0;
}

int fat_rename(struct volume *volume, uint64_t dir, const char *name, uint64_t new_dir, const char *new_name,
               unsigned flags)
{
    struct fat *v = fat_of(volume);
    bool exchange = flags == RENAME_EXCHANGE;
    if (!exchange && flags & ~(unsigned)RENAME_NOREPLACE)
        return -EINVAL;
    struct move *m = calloc(1, sizeof *m);
    if (!m)
        return -ENOMEM;
    m->from.dir = dir;
    m->new_dir = m->to.dir = new_dir;
    m->new_name = new_name;
    fat_write_begin(v);
    int r = fat_slot_find(v, dir, name, &m->from.f);
    if (r == 0)
        r = exchange ? exchange_check(v, m) : move_check(v, m, flags);
    if (r == 0 && exchange)
        r = m->from.f.ino != m->to.f.ino ? exchange_do(v, m) : 0;
    else if (r == 0 && (dir != new_dir || strcmp(m->from.f.name, new_name) != 0))
        r = move_do(v, m);
    victim_done(v, &m->to);
    fat_end(v);
    free(m);
    return r;
}
