/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_HIVE_INTERNAL_H
#define FERRYFS_HIVE_INTERNAL_H
/* What the parts of the hive engine share. Users see hive.h.
 *
 * "regf": a base block of 4 KiB, then the hive bins data: bins ("hbin", a multiple of 4 KiB each, without
 * gaps), each tiled by cells. A cell is an i32 size (negative: in use) and a payload; all pointers are
 * offsets of cells in the bins data.
 *
 *     nk key ── list of subkeys (ri of) lf|lh|li ── nk ...
 *       ├────── value list ── vk ── data cell, or db ── segment list ── segments
 *       ├────── class name
 *       └────── sk security, shared, in a ring with all others */
#include "hive-page.h"

#include "../formats/bytes.h"
#include "../formats/checked.h"
#include "../formats/cleanup.h"

#include <errno.h>

enum {
    HIVE_BIN_HEADER = 32,
    HIVE_CELL_MIN = 8,
    HIVE_SIZE_MAX = 0x7ffff000, /* bit 31 of a pointer means volatile storage */
    HIVE_DEPTH_MAX = 512,
};

/* Fields of the base block. */
enum {
    BASE_SEQUENCE1 = 4,
    BASE_SEQUENCE2 = 8,
    BASE_WRITTEN = 12,
    BASE_MAJOR = 20,
    BASE_MINOR = 24,
    BASE_TYPE = 28,
    BASE_FORMAT = 32,
    BASE_ROOT = 36,
    BASE_BINS = 40,
    BASE_CLUSTER = 44,
    BASE_FLAGS = 144,
    BASE_CHECKSUM = 508,
    BASE_SUM_SIZE = 512, /* what the checksum is of, and itself; also the whole base block of a log */
};
enum { BASE_FLAG_KTM = 1, BASE_FLAG_LAYERED = 2 };

/* Fields of the nk, vk and sk cells' payloads. */
enum {
    NK_FLAGS = 2,
    NK_WRITTEN = 4,
    NK_LAYERED = 13,
    NK_PARENT = 16,
    NK_SUBKEYS = 20,
    NK_VOLATILE = 24,
    NK_LIST = 28,
    NK_VOLATILE_LIST = 32,
    NK_VALUES = 36,
    NK_VALUE_LIST = 40,
    NK_SECURITY = 44,
    NK_CLASS = 48,
    NK_MAX_NAME = 52,  /* u16: bytes of the longest subkey's name in UTF-16 */
    NK_MAX_CLASS = 56, /* bytes */
    NK_MAX_VALUE_NAME = 60,
    NK_MAX_VALUE_DATA = 64,
    NK_NAME_BYTES = 72,
    NK_CLASS_BYTES = 74,
    NK_NAME = 76,

    VK_NAME_BYTES = 2,
    VK_LENGTH = 4,
    VK_DATA = 8,
    VK_TYPE = 12,
    VK_FLAGS = 16,
    VK_NAME = 20,

    SK_NEXT = 4,
    SK_PREVIOUS = 8,
    SK_REFS = 12,
    SK_LENGTH = 16,
    SK_DESCRIPTOR = 20,
};
enum { NK_FLAG_ROOT = 0x04, NK_FLAG_NO_DELETE = 0x08, NK_FLAG_LINK = 0x10, NK_FLAG_COMPRESSED = 0x20 };
enum { VK_FLAG_COMPRESSED = 1 };
enum { HIVE_INLINE_BIT = 0x80000000u, HIVE_INLINE_MAX = 4, HIVE_SEGMENT = 16344 };

struct hive_edits; /* hive-edit.h: what exists only once something is written */

struct hive {
    struct hive_files files;
    struct hive_pages *pages;
    uint8_t base[HIVE_BASE_SIZE]; /* as found or recovered; fields that edits change are set at the commit */
    uint32_t root;
    uint32_t sequence; /* the next commit's sequence numbers are this + 1 */
    bool base_dirty;   /* the base block must be stored: the hive was replayed, or is accepted dirty */
    bool base_bad;     /* its checksum or fields were wrong and no log had a better one */
    struct hive_state state;
    struct hive_sorted *sorted;
    struct hive_value_index *value_index;
    struct hive_edits *edits;
};

/* Is the format 1.`minor` that has big data (db), or lh lists? */
static inline bool hive_has_big_data(const struct hive *h)
{
    return h->state.minor > 3;
}
static inline bool hive_has_hashes(const struct hive *h)
{
    return h->state.minor > 4;
}

/* ---- cells ---- */

/* Notes the damage for hive_last_fault(); `off` is an offset of the bins data. Gives -EUCLEAN. */
int hive_damage(const struct hive *h, uint32_t off, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Range of the bins data; -EUCLEAN outside it or when the file lacks it. */
int hive_read(const struct hive *h, uint32_t off, void *buf, size_t len);

struct hive_cell {
    uint32_t at;   /* the cell */
    uint32_t size; /* bytes of its payload, which begins at `at` + 4 */
};
/* Checks that `at` is a cell in use and copies the first `want` bytes of its payload, or as many as there are
 * (*ret_got). `what` for messages. */
int hive_cell_peek(const struct hive *h, uint32_t at, const char *what, void *buf, size_t want,
                   struct hive_cell *ret, size_t *ret_got);
/* Only the check. */
int hive_cell_open(const struct hive *h, uint32_t at, const char *what, struct hive_cell *ret);
/* A range of the payload; -EUCLEAN outside it. */
int hive_cell_read(const struct hive *h, const struct hive_cell *c, uint32_t off, void *buf, size_t len);

/* ---- names as they are stored ---- */

enum { HIVE_NAME_HEAD = 128 };
struct hive_stored_name {
    uint32_t at;     /* first byte, in the bins data */
    uint32_t bytes;  /* stored length */
    bool compressed; /* Latin-1, else UTF-16LE */
    uint32_t n_head;
    uint8_t head[HIVE_NAME_HEAD]; /* the first n_head bytes */
};
size_t hive_stored_units(const struct hive_stored_name *s);
/* Units [from, from + n), which exist. */
int hive_stored_read(const struct hive *h, const struct hive_stored_name *s, size_t from, uint16_t *units,
                     size_t n);
/* Stored name against a name: *ret <0, 0, >0. */
int hive_stored_compare(const struct hive *h, const struct hive_stored_name *s, struct hive_name name,
                        int *ret);
/* Whole, for up to HIVE_KEY_NAME_MAX units; a longer one is -EUCLEAN. */
struct hive_name_buf {
    uint16_t units[HIVE_KEY_NAME_MAX];
    size_t n;
};
int hive_stored_whole(const struct hive *h, const struct hive_stored_name *s, struct hive_name_buf *ret);
static inline struct hive_name hive_name_of(const struct hive_name_buf *b)
{
    return (struct hive_name){ b->units, b->n };
}
uint32_t hive_name_hash(struct hive_name name); /* of lh lists */

/* ---- keys and values ---- */

struct hive_nk {
    struct hive_cell cell;
    uint16_t flags;
    uint8_t layered;
    uint64_t last_written;
    uint32_t parent, n_subkeys, list, n_values, values, security, class;
    uint32_t max_name, max_class, max_value_name, max_value_data;
    uint32_t class_bytes;
    struct hive_stored_name name;
};
int hive_nk(const struct hive *h, uint32_t at, struct hive_nk *ret);
/* The same, and its parent must be `parent`. */
int hive_nk_child(const struct hive *h, uint32_t at, uint32_t parent, struct hive_nk *ret);

struct hive_vk {
    struct hive_cell cell;
    uint32_t type;
    uint32_t length;                /* bytes */
    bool in_place;                  /* the data is in the vk itself */
    uint8_t bytes[HIVE_INLINE_MAX]; /* then these */
    uint32_t data;                  /* else its cell; HIVE_NIL for none */
    uint16_t flags;
    struct hive_stored_name name;
};
int hive_vk(const struct hive *h, uint32_t at, struct hive_vk *ret);
/* Is the data in a db with segments, or in one plain cell? (Not for data in place.) */
int hive_vk_is_big(const struct hive *h, const struct hive_vk *v, bool *ret);

struct hive_sk {
    struct hive_cell cell;
    uint32_t next, previous, refs, length;
};
int hive_sk(const struct hive *h, uint32_t at, struct hive_sk *ret);

/* ---- lists of subkeys ---- */

enum hive_leaf_kind { HIVE_LI, HIVE_LF, HIVE_LH };
struct hive_leaf {
    struct hive_cell cell;
    enum hive_leaf_kind kind;
    uint32_t step;     /* bytes of an element */
    uint32_t n;        /* elements that are there */
    uint32_t declared; /* as its header says; more than n when the cell is too small */
};
int hive_leaf(const struct hive *h, uint32_t at, struct hive_leaf *ret);
int hive_leaf_element(const struct hive *h, const struct hive_leaf *l, uint32_t i, uint32_t *ret_key,
                      uint8_t hint[4]);

/* The list itself: one leaf, or an ri of several. */
struct hive_list {
    bool is_ri;
    struct hive_cell cell; /* of the ri */
    uint32_t n_leaves;     /* of the ri */
    uint32_t declared;     /* as the ri's header says */
    struct hive_leaf leaf; /* when it isn't an ri */
};
int hive_list(const struct hive *h, uint32_t at, struct hive_list *ret);
int hive_list_leaf(const struct hive *h, const struct hive_list *l, uint32_t i, struct hive_leaf *ret);

/* All elements in order. 1: an element, 0: the end, negative: -EIO or -ENOMEM; damage is counted and passed
 * over. */
struct hive_list_iter {
    const struct hive *h;
    struct hive_list list;
    uint32_t next_leaf, next;
    struct hive_leaf leaf;
    uint32_t index;       /* of the element last given, over the whole list */
    uint64_t given, most; /* elements, and how many a hive of this size can have */
    unsigned damaged;
};
int hive_list_begin(const struct hive *h, uint32_t at, struct hive_list_iter *it);
int hive_list_next(struct hive_list_iter *it, uint32_t *ret_key, uint8_t hint[4]);

/* Where `name` is in the subkeys of `k` (*ret its cell), or -ENOENT. */
int hive_list_find(const struct hive *h, const struct hive_nk *k, struct hive_name name, uint32_t *ret);

/* Which keys' lists were seen to be sorted, so that a name that isn't found isn't looked for one by one. */
struct hive_sorted *hive_sorted_new(void);
void hive_sorted_free(struct hive_sorted *s);
bool hive_sorted_has(struct hive_sorted *s, uint32_t key);
void hive_sorted_put(struct hive_sorted *s, uint32_t key);
void hive_sorted_drop(struct hive_sorted *s, uint32_t key); /* HIVE_NIL: all */

/* Where the values of one key with many are, by name: see hive-value-index.c. Has a lock of its own, so that
 * readers of the hive may ask at once. `added` and `removed` follow edits of the key's list of values, and
 * `drop` whatever else becomes of the key (HIVE_NIL: of any). `find`: -ENOENT; -EOPNOTSUPP: look at each. */
struct hive_value_index *hive_value_index_new(void);
void hive_value_index_free(struct hive_value_index *x);
int hive_value_index_find(const struct hive *h, const struct hive_nk *k, struct hive_name name,
                          uint32_t *ret);
void hive_value_index_added(struct hive *h, uint32_t key, struct hive_name name, uint32_t value);
void hive_value_index_removed(struct hive *h, uint32_t key, struct hive_name name, uint32_t value);
void hive_value_index_drop(struct hive_value_index *x, uint32_t key);

/* ---- the base block and the logs ---- */

uint32_t hive_checksum(const uint8_t base[BASE_SUM_SIZE]);
/* Signature, checksum and fields right? `type`: 0 of a hive; of a log 1, 2 or 6. */
bool hive_base_is_valid(const uint8_t base[BASE_SUM_SIZE], bool is_log);
/* Applies the logs to h->pages, and to h->base what they say of it; sets state.replayed and h->sequence. 0
 * also when nothing could be applied. h->base_bad: take the base block from the log. */
int hive_replay(struct hive *h);
/* Makes them unreplayable. */
int hive_logs_clear(struct hive *h);
void hive_edits_free(struct hive *h);
/* The base block of a clean hive as it now is. */
void hive_base_now(const struct hive *h, uint32_t sequence, uint8_t ret[HIVE_BASE_SIZE]);
#endif
