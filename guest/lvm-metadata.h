/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_LVM_METADATA_H
#define FERRYFS_LVM_METADATA_H
/* What the files of guest/lvm*.c share; others include lvm.h. */
#include "../formats/disk.h"
#include "../formats/fault.h"
#include "lvm.h"

/* ---- lvm-label.c: what a physical volume says of itself ---- */

enum { LVM_AREAS_MAX = 8, LVM_SECTOR = 512 };

struct lvm_label {
    char uuid[LVM_UUID_SIZE];
    struct lvm_metadata_area {
        uint64_t at, size; /* bytes of the device */
    } areas[LVM_AREAS_MAX];
    size_t n_areas;
};

/* The checksum of labels and metadata: CRC-32 without its inversions, from a start value of its own. */
uint32_t lvm_crc(const void *buf, size_t len);
/* -EUCLEAN: no sound label. -EIO. */
int lvm_label_read(struct disk *disk, const char *name, struct lvm_label *ret, struct fault *fault);
/* The committed text of an area, malloc'ed, with a NUL behind its `*ret_len` bytes. -ENODATA: there is none
 * (the device is in no group, or this area isn't used), with no fault. -EUCLEAN, -EFBIG, -EIO. */
int lvm_area_read(struct disk *disk, const char *name, const struct lvm_metadata_area *area, char **ret,
                  size_t *ret_len, struct fault *fault);

/* ---- lvm-text.c: the text as a tree ---- */

enum lvm_node_kind { LVM_SECTION, LVM_ARRAY, LVM_STRING, LVM_NUMBER };

struct lvm_node {
    enum lvm_node_kind kind;
    const char *key;              /* "" in an array */
    const char *text;             /* LVM_STRING */
    int64_t number;               /* LVM_NUMBER; of a fraction its whole part */
    const struct lvm_node *child; /* LVM_SECTION, LVM_ARRAY */
    const struct lvm_node *next;
};

struct lvm_text;
/* Takes `text` (malloc'ed, NUL-terminated), also on failure. -EUCLEAN with the byte of the text, -EFBIG over
 * our limits. */
int lvm_text_parse(char *text, const char *name, struct lvm_text **ret, struct fault *fault);
void lvm_text_free(struct lvm_text *t);
DEFINE_CLEANUP(struct lvm_text *, lvm_text_free)
const struct lvm_node *lvm_text_root(const struct lvm_text *t);
/* NULL: none of that name and kind. */
const struct lvm_node *lvm_get(const struct lvm_node *section, const char *key, enum lvm_node_kind kind);
const char *lvm_get_string(const struct lvm_node *section, const char *key);
/* False: there is none, or it is negative or above `max`. */
bool lvm_get_number(const struct lvm_node *section, const char *key, uint64_t max, uint64_t *ret);
/* Is `word` among the strings of this array? */
bool lvm_has_word(const struct lvm_node *section, const char *key, const char *word);

/* ---- lvm-group.c: the tree as a volume group ---- */

struct lvm_pv {
    const char *name; /* as the segments call it */
    char uuid[LVM_UUID_SIZE];
    uint64_t start; /* bytes: where extent 0 lies */
    uint64_t extents;
    bool missing;  /* the group went on without it: what it holds may be old */
    size_t device; /* filled in by lvm.c; LVM_NO_DEVICE */
};
#define LVM_NO_DEVICE SIZE_MAX

struct lvm_area {
    size_t pv; /* index */
    uint64_t extent;
};

struct lvm_segment {
    uint64_t start, count; /* extents of the logical volume */
    const char *type;
    bool plain;             /* linear or striped: what follows is filled in */
    uint64_t stripe;        /* bytes; meaningless for one area */
    struct lvm_area *areas; /* owned */
    size_t n_areas;
};

struct lvm_lv {
    const char *name;
    char uuid[LVM_UUID_SIZE];
    bool visible, writable;
    bool cow;                     /* holds what a classic snapshot keeps aside */
    bool origin;                  /* has classic snapshots */
    bool merging;                 /* a snapshot is being merged back into it */
    struct lvm_segment *segments; /* owned; by start, without gaps */
    size_t n_segments;
    uint64_t extents;
};

struct lvm_group {
    struct lvm_text *text; /* owned; the names point into it */
    const char *name;
    char uuid[LVM_UUID_SIZE];
    uint64_t seqno;
    uint64_t extent_size; /* bytes */
    bool writable, exported, shared;
    struct lvm_pv *pvs; /* owned; by name */
    size_t n_pvs;
    struct lvm_lv *lvs; /* owned; in the text's order */
    size_t n_lvs;
};

/* Takes `text`, also on failure. -EUCLEAN: it contradicts itself. */
int lvm_group_new(struct lvm_text *text, const char *name, struct lvm_group **ret, struct fault *fault);
void lvm_group_free(struct lvm_group *g);
DEFINE_CLEANUP(struct lvm_group *, lvm_group_free)

/* ---- lvm-disk.c ---- */

/* A piece of a logical volume: `n` areas that take turns by `stripe` bytes. */
struct lvm_piece {
    uint64_t start, length; /* bytes of the volume */
    uint64_t stripe;        /* bytes; `length` is a multiple of n * stripe when n > 1 */
    struct lvm_piece_area {
        struct disk *disk; /* borrowed */
        uint64_t at;
    } * areas; /* owned */
    size_t n;
};

/* Takes the pieces (in order, without gaps, at least one), also on failure. */
int lvm_disk_new(struct lvm_piece *pieces, size_t n, bool writable, struct disk **ret);
void lvm_pieces_free(struct lvm_piece *pieces, size_t n);
#endif
