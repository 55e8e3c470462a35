/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_FAT_WRITE_H
#define FERRYFS_FAT_WRITE_H
/* What the writing files of the FAT driver share. Everything is called with the gate held alone, unless it
 * says otherwise.
 *
 *     fat-table.c   the allocation table: clusters taken, freed, chained; a sync
 *     fat-node.c    inode numbers, and files that are open
 *     fat-slot.c    slots of directories: names long and short
 *     fat-write.c   bytes, sizes, attributes
 *     fat-names.c   create, unlink, rename
 *
 * Table and directories are changed in a store (block-store.h), in blocks of a sector; bytes of files are
 * written past it. */
#include "block-store.h"
#include "fat.h"

/* A file that is open, or is being worked on: where its clusters are, all of them. */
struct fat_node {
    struct fat_node *next; /* in its bucket */
    uint64_t ino;
    unsigned handles;
    bool orphan;            /* it has no name; its clusters are marked as used in memory only */
    struct fat_entry entry; /* of an orphan; of others, its cluster and size */
    uint32_t *clusters;     /* owned */
    uint32_t n, room;
    bool damaged; /* its chain doesn't go on as its size would have it */
};

enum { FAT_NODE_BUCKETS = 256 };

/* Numbers that aren't places: of what was created, or moved, since the open. */
struct fat_place {
    uint64_t key, value;
};
struct fat_places {
    struct fat_place *p; /* owned; a hash table, key 0: none */
    size_t n, room;
};

struct fat_writer {
    struct block_store *store; /* owned */
    uint8_t *used;             /* owned; a bit per cluster, from cluster 2 on */
    uint32_t free;             /* clusters that are free in the table */
    uint32_t held;             /* of them, those that orphans hold */
    uint32_t next;             /* where to look for the next one */
    bool info_stale;           /* FSInfo doesn't say so yet */
    struct fat_freed {
        uint32_t cluster, count;
    } * freed; /* owned; to be discarded at the sync */
    size_t n_freed, room_freed;
    pthread_mutex_t lock; /* protects `nodes` where the gate isn't held alone; taken after it */
    struct fat_node *nodes[FAT_NODE_BUCKETS];
    struct fat_places slot_of; /* by number: the slot, 1 for one that is gone */
    struct fat_places ino_of;  /* by slot: the number */
    uint64_t next_ino;
};

/* ---- fat-table.c ---- */

/* NULL, or why it can't be written. */
const char *fat_writer_new(struct fat *v);
void fat_writer_free(struct fat *v);
uint32_t fat_clusters_free(const struct fat *v);
/* Marks a free cluster as used, in memory, the next one from `goal` on; there is one. */
uint32_t fat_cluster_take(struct fat *v, uint32_t goal);
void fat_cluster_untake(struct fat *v, uint32_t cluster);
/* The table says that `next` follows `cluster`, whose mark is as it was. 0: the chain ends. */
int fat_table_link(struct fat *v, uint32_t cluster, uint32_t next);
/* The table says that it is free; `keep`: it stays marked as used in memory, for an orphan. */
int fat_table_free(struct fat *v, uint32_t cluster, bool keep);
/* Clusters that an orphan held are free in memory too. */
void fat_orphan_free(struct fat *v, uint32_t cluster);
/* Bytes past the store. */
int fat_pwrite(struct fat *v, const void *buf, size_t len, uint64_t off);
/* Zeros over a whole cluster. */
int fat_cluster_clear(struct fat *v, uint32_t cluster);
int fat_sync(struct volume *v);

/* ---- fat-node.c ---- */

/* The slot of a number, as the number itself where nothing is known of it; 0: none any more. These three with
 * the gate held in either way, also of volumes that aren't writable. */
uint64_t fat_ino_slot(const struct fat *v, uint64_t ino);
uint64_t fat_slot_ino(const struct fat *v, uint64_t slot);
/* The entry of an open file that has no name any more. */
bool fat_orphan_entry(struct fat *v, uint64_t ino, struct fat_entry *ret);
/* What is new at a slot has a number that nothing else had. 0: no memory. */
uint64_t fat_ino_new(struct fat *v, uint64_t slot);
/* The number stays with what moved to another slot; and goes with what is no more. -ENOMEM, before anything
 * is changed. */
int fat_ino_reserve(struct fat *v);
void fat_ino_move(struct fat *v, uint64_t ino, uint64_t slot);
void fat_ino_drop(struct fat *v, uint64_t ino);

/* The node, with one more handle. With the gate held in either way. */
int fat_node_get(struct fat *v, uint64_t ino, struct fat_node **ret);
/* One handle less; with the last one of an orphan its clusters are freed. */
void fat_node_put(struct fat *v, struct fat_node *n);
struct fat_node *fat_node_find(struct fat *v, uint64_t ino);
int fat_node_room(struct fat_node *n, uint32_t clusters);
/* Reads [off, off + len), which lies in the size. With the gate held in either way. */
int fat_node_read(struct fat *v, const struct fat_node *n, void *buf, size_t len, uint64_t off);

/* ---- fat-slot.c ---- */

/* Is this a name that Windows takes? -EINVAL, -ENAMETOOLONG. */
int fat_name_check(const char *name, uint16_t units[FAT_NAME_MAX], size_t *ret_n);
/* Puts an entry with this name into the directory: *e gives all but the name. */
int fat_slot_add(struct fat *v, uint64_t dir, const char *name, const struct fat_entry *e,
                 uint64_t *ret_slot);
/* Frees the slots of what fat_slot_find() found; and puts them back. */
enum { FAT_SLOTS_MAX = LONG_SLOTS + 1 };
int fat_slot_remove(struct fat *v, uint64_t dir, const struct fat_name *f, uint8_t saved[FAT_SLOTS_MAX]);
int fat_slot_restore(struct fat *v, uint64_t dir, const struct fat_name *f, uint8_t saved[FAT_SLOTS_MAX]);
/* The entry that a look-up of this name finds. -ENOENT. With the gate held in either way. */
int fat_slot_find(struct fat *v, uint64_t dir, const char *name, struct fat_name *ret);
/* Writes all of an entry's fields but its name. */
int fat_slot_write(struct fat *v, uint64_t slot, const struct fat_entry *e);
/* The slot's 32 bytes but its name. */
void fat_entry_write(const struct fat *v, const struct fat_entry *e, uint8_t raw[FAT_ENTRY]);
/* The first cluster of a directory, 0 for the root. */
int fat_dir_cluster(struct fat *v, uint64_t dir, uint32_t *ret);
/* Makes `cluster` the one of a new and empty directory. */
int fat_dir_init(struct fat *v, uint32_t cluster, uint32_t parent, const struct fat_entry *e);
int fat_dir_set_parent(struct fat *v, uint32_t cluster, uint32_t parent);
int fat_dir_get_parent(struct fat *v, uint32_t cluster, uint32_t *ret);

/* ---- fat-write.c ---- */

void fat_time_put(struct timespec t, uint16_t *ret_date, uint16_t *ret_time, uint8_t *ret_centis);
int fat_file_write(struct fat *v, struct fat_node *n, const void *buf, size_t len, uint64_t off);
int fat_file_resize(struct fat *v, struct fat_node *n, uint64_t size);
int fat_setattr(struct volume *v, uint64_t ino, const struct volume_attr *a, unsigned which);
/* Frees the file's clusters: in the table, and for good, or until its last handle goes. */
int fat_node_unlink(struct fat *v, struct fat_node *n);

/* ---- fat-names.c ---- */

int fat_create(struct volume *v, uint64_t dir, const char *name, const struct volume_new *what,
               uint64_t *ret_ino);
int fat_unlink(struct volume *v, uint64_t dir, const char *name);
int fat_rmdir(struct volume *v, uint64_t dir, const char *name);
int fat_rename(struct volume *v, uint64_t dir, const char *name, uint64_t new_dir, const char *new_name,
               unsigned flags);
#endif
