/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_FAT_H
#define FERRYFS_FAT_H
/* What the files of the FAT driver share: fat-bpb.c (boot sector), fat-chain.c (allocation table), fat-dir.c
 * (directories and names), fat.c (the volume). Others include volume.h.
 *
 * Everything but the cached count of free clusters is constant once a volume is open that is only read; no
 * locks. What writing adds is in fat-write.h. */
#include "../formats/bytes.h"
#include "text.h"
#include "volume.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    FAT_SECTOR = 512, /* the smallest, and where the boot sector's fields lie */
    FAT_FIRST_CLUSTER = 2,
    FAT_PIECE = 16384,   /* bytes of table or directory in one cache block */
    FAT_ENTRY = 32,      /* bytes of a directory entry */
    FAT_DIR_MAX = 65536, /* entries of a directory, by Microsoft's specification */
    FAT_NAME_MAX = 255,  /* UTF-16 units */
};

/* What the boot sector says, checked: all in bytes on the volume, each sum and product below 2^48. */
struct fat_geometry {
    unsigned bits; /* 12, 16, 32 */
    uint32_t sector_size, cluster_size;
    uint64_t fat_at, fat_size;   /* the copy that is in use */
    unsigned fats;               /* copies that are alike, from that one on */
    uint64_t root_at, root_size; /* FAT12 and FAT16 */
    uint32_t root_cluster;       /* FAT32 */
    uint64_t data_at;            /* of cluster 2 */
    uint32_t clusters;           /* data clusters: the numbers 2 to clusters + 1 */
    uint64_t size;               /* of the whole file system */
    uint32_t info_sector;        /* FAT32: FSInfo, 0 none */
    bool has_serial, dirty;
    uint32_t serial;
    char label[12]; /* as stored, padded; "" none */
};

/* From the first 512 bytes. NULL when they are a FAT's; else why not. */
const char *fat_geometry_read(struct bytes sector, struct fat_geometry *ret);

struct fat {
    struct volume volume;
    struct disk *disk;   /* not owned */
    struct cache *cache; /* not owned */
    uint64_t owner;      /* of the FAT's pieces in the cache */
    struct fat_geometry g;
    atomic_int_least64_t free_clusters; /* -1: not counted yet */
    pthread_rwlock_t gate; /* of a writable volume: whoever changes something holds it alone, whoever reads
                              holds it with others, over the reading of data too */
    struct fat_writer *writer; /* of a writable volume, else NULL; owned */
};

/* Round everything that reads; and everything that changes something. */
void fat_read_begin(struct fat *v);
void fat_write_begin(struct fat *v);
void fat_end(struct fat *v);

/* ---- fat-chain.c ---- */

/* Reads small things through the cache; holds the piece read last, so that neighbours cost nothing. One
 * thread each. Ended by fat_cursor_done(). */
struct fat_cursor {
    struct fat *fat;
    struct cache_block *block; /* NULL: none */
    uint64_t piece;
    uint8_t *sector; /* of a writable volume: a copy, owned, or NULL */
    uint64_t sector_at;
};
void fat_cursor_done(struct fat_cursor *c);
/* Any bytes of the volume; -EIO where it ends or can't be read. */
int fat_cursor_read(struct fat_cursor *c, void *buf, size_t len, uint64_t off);
/* disk_pread, a range outside the volume being -EIO. */
int fat_pread(struct fat *v, void *buf, size_t len, uint64_t off);

enum fat_link {
    FAT_NEXT, /* *ret is the next cluster, a valid one */
    FAT_END,
    FAT_STRAY, /* to a cluster that doesn't exist, or a reserved number */
    FAT_FREE,  /* this cluster isn't in use, or is bad */
};
bool fat_cluster_valid(const struct fat *v, uint32_t cluster);
/* What the table says of `cluster` (a valid one). */
int fat_link_of(struct fat_cursor *c, uint32_t cluster, enum fat_link *ret_link, uint32_t *ret);

/* A chain that has been walked to its end: so it has no loop, or it is known where. Every `stride`th cluster
 * is kept, at most FAT_MARKS of them: 16 KiB, however long the file. */
enum { FAT_MARKS = 4096 };
struct fat_chain {
    uint64_t clusters; /* that are sound */
    bool damaged;    /* what follows them is lost: a loop, a free, bad or missing cluster, unreadable table */
    uint32_t *marks; /* owned */
    uint32_t n_marks, stride;
};
/* `first` 0 is an empty chain. Only -ENOMEM; damage is in the result. */
int fat_chain_walk(struct fat *v, uint32_t first, struct fat_chain *ret);
void fat_chain_done(struct fat_chain *chain);
/* The cluster at `index` (< chain->clusters). -EIO. */
int fat_chain_at(struct fat_cursor *c, const struct fat_chain *chain, uint64_t index, uint32_t *ret);
uint64_t fat_cluster_at(const struct fat *v, uint32_t cluster);

/* ---- fat-dir.c ---- */

enum { FAT_RDONLY = 1, FAT_LABEL = 8, FAT_DIRECTORY = 16, FAT_ARCHIVE = 32 };

/* Slots, and their fields. */
enum {
    SLOT_NAME = 0,
    SLOT_ATTRIBUTES = 11,
    SLOT_CASE = 12, /* 0x08 the base, 0x10 the extension is in lower case */
    SLOT_BIRTH_CENTIS = 13,
    SLOT_BIRTH_TIME = 14,
    SLOT_BIRTH_DATE = 16,
    SLOT_ACCESS_DATE = 18,
    SLOT_CLUSTER_HIGH = 20, /* FAT32 */
    SLOT_TIME = 22,
    SLOT_DATE = 24,
    SLOT_CLUSTER_LOW = 26,
    SLOT_SIZE = 28,

    LONG_ORD = 0, /* from 1, in descending order; 0x40: the last, which comes first */
    LONG_LAST = 0x40,
    LONG_ORD_MASK = 0x3f,
    LONG_CHECKSUM = 13,
    LONG_ATTRIBUTES = 0x0f, /* of the low 6 bits */
    LONG_UNITS = 13,        /* in one slot */
    LONG_SLOTS = 20,

    SLOT_FREE = 0xe5,
    SLOT_FREE_ESCAPED = 0x05, /* stands for a name's first byte 0xe5 */
    SLOT_CASE_BASE = 0x08,
    SLOT_CASE_EXTENSION = 0x10,
};
extern const uint8_t fat_long_places[LONG_UNITS]; /* of the units in a slot */
uint8_t fat_name_checksum(const uint8_t raw[11]);

/* The fixed part of an entry, on which an inode stands. */
struct fat_entry {
    uint8_t raw_name[11], attributes, case_bits;
    uint8_t birth_centis; /* 10 ms each, 0-199 */
    uint16_t birth_time, birth_date, access_date, time, date;
    uint32_t cluster, size;
};
/* False when it is no file's or directory's: free, a label, a part of a long name, "." or "..". */
bool fat_entry_read(const struct fat *v, const uint8_t raw[FAT_ENTRY], struct fat_entry *ret);

/* A directory that is being read. */
struct fat_dir {
    struct fat_cursor cursor;
    struct fat_chain chain; /* not of a fixed root */
    bool fixed_root;
    uint32_t index; /* of the next 32-byte slot */
};
struct fat_name {
    struct fat_entry entry;
    uint64_t ino;
    uint32_t next;                /* slot behind it */
    uint32_t slots;               /* that it takes, the last of them before `next` */
    uint16_t units[FAT_NAME_MAX]; /* its long name, else the short one with the case that its bits say */
    uint16_t alias[12];           /* the short one as stored */
    size_t n_units, n_alias;
    char name[TEXT_UTF8_SIZE(FAT_NAME_MAX)];
};
/* `dir` is ended by fat_dir_done(), also after an error. */
int fat_dir_open(struct fat *v, uint64_t ino, uint32_t index, struct fat_dir *ret);
void fat_dir_done(struct fat_dir *dir);
/* Where a slot lies on the volume. 1; 0: the directory's space ends before it; -EIO. */
int fat_dir_slot_at(struct fat_dir *dir, uint32_t index, uint64_t *ret_at);
/* 1: *ret is the next one; 0: the end; -EIO: the directory is damaged from here on. */
int fat_dir_next(struct fat_dir *dir, struct fat_name *ret);
/* The entry of an inode other than the root. */
int fat_inode(struct fat *v, uint64_t ino, struct fat_entry *ret);

/* The volume's label as the root directory's entries give it, 11 stored bytes to UTF-8. */
void fat_label_text(const uint8_t raw[11], char *ret, size_t size);
#endif
