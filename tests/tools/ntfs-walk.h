/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_TESTS_NTFS_WALK_H
#define FERRYFS_TESTS_NTFS_WALK_H
/* What the parts of the checker ntfs-walk share. It reads an NTFS volume's image by itself, as it lies in
 * memory, with none of the code that it checks. The image is one that a test has written, not a hostile one:
 * a broken rule is printed and counted, and what makes no sense at all ends the program. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    AT_STANDARD = 0x10,
    AT_LIST = 0x20,
    AT_NAME = 0x30,
    AT_DATA = 0x80,
    AT_INDEX_ROOT = 0x90,
    AT_INDEX_ALLOCATION = 0xa0,
    AT_BITMAP = 0xb0,
    AT_REPARSE = 0xc0,
    AT_END = 0xffffffff,
};

struct run {
    uint64_t vcn, n;
    int64_t lcn; /* -1: a hole */
};

/* One attribute of a file, all its extents together. */
struct attr {
    uint32_t type;
    uint16_t flags; /* 1 compressed, 0x8000 sparse, 0x4000 encrypted */
    uint8_t name[512];
    unsigned name_len; /* units */
    bool resident;
    const uint8_t *value; /* of a resident one; in the MFT as fixed up */
    uint64_t size, allocated, initialized, packed;
    struct run *runs;
    size_t n_runs;
};

/* One file: what its base record and its extension records hold. */
struct file {
    bool used, is_base, is_dir;
    uint16_t seq, links;
    struct attr *attrs;
    size_t n;
    unsigned entries; /* index entries that refer to it */
};

struct vol {
    uint8_t *image;
    uint64_t size;                         /* bytes */
    unsigned cluster, record, index_block; /* bytes */
    uint64_t clusters, records;
    uint8_t *mft; /* fixed up; records * record */
    struct file *files;
    uint8_t *owners;  /* a byte per cluster: how many attributes hold it */
    uint16_t *upcase; /* 65536 */
};

extern struct vol vol;
extern unsigned complaints;

void complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void give_up(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void *get_memory(size_t n); /* zeroed */

uint64_t get(const uint8_t *p, unsigned bytes); /* little-endian */
/* Undoes the update sequence of a multi-sector structure; false: torn, or not what `magic` says. */
bool fix_up(uint8_t *p, unsigned size, const char *magic);
/* An attribute of a file; NULL: none. `name` is ASCII. */
struct attr *find_attr(uint64_t file, uint32_t type, const char *name);
/* The attribute's whole value, a->size bytes, uncompressed ones only; in get_memory(). */
uint8_t *read_attr(const struct attr *a);

/* ntfs-walk-record.c */
void load_mft(void);
/* UTF-16 by the volume's upcase table. */
int compare_units(const uint8_t *a, unsigned na, const uint8_t *b, unsigned nb);
void check_records(void);

/* ntfs-walk-index.c */
/* Calls fn for each entry of the file's index, in order, having checked the tree. */
typedef void (*entry_fn)(void *ctx, const uint8_t *entry, unsigned length);
void walk_index(uint64_t file, const char *name, entry_fn fn, void *ctx);
void check_names(void);
void check_security(void);
void check_reparse(void);
#endif
