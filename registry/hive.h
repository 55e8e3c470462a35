/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_HIVE_H
#define FERRYFS_HIVE_H
/* A registry hive ("regf"): keys and values, read on demand and edited in memory until they are committed.
 *
 * Reading is tolerant: damage concerns the key or value that has it (-EUCLEAN), never the rest. Writing is
 * strict: what is written holds all the rules of Windows' loader, and all that an edit doesn't touch stays
 * byte-identical.
 *
 * A key or a value is named by its cell: the offset of its nk or vk cell in the hive bins data. A cell stays
 * that key's until the key is deleted or rolled back; then the number may come to name another.
 *
 * Locking: functions that take a `const struct hive *` may run in parallel with each other; the others need
 * the hive for themselves. The caller sees to it (fs/ has a reader-writer lock per hive).
 *
 * Errors are negative errnos: -ENOENT no such key or value, -EEXIST, -EROFS the hive isn't writable (see
 * hive_state), -EUCLEAN damage (fault of hive_last_fault()), -ENAMETOOLONG, -ENOTEMPTY, -EFBIG the hive would
 * pass 2 GiB, -EIO, -ENOMEM. An edit that fails changes nothing. */
#include "../formats/fault.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- what a hive lies in ---- */

/* A small file: the hive itself, or one of its logs. pread fills all or is -EIO; the range lies in the file.
 */
struct hive_file;
struct hive_file_ops {
    int (*pread)(struct hive_file *f, void *buf, size_t len, uint64_t off);
    /* NULL: read-only. Extends the file where need be. */
    int (*pwrite)(struct hive_file *f, const void *buf, size_t len, uint64_t off);
    int (*truncate)(struct hive_file *f, uint64_t size);
    int (*sync)(struct hive_file *f); /* NULL: whoever owns the file makes it durable */
    void (*close)(struct hive_file *f);
};
struct hive_file {
    const struct hive_file_ops *ops;
    uint64_t size;    /* bytes; kept by pwrite and truncate */
    const char *name; /* for messages; owned by the implementer */
};

struct hive_files {
    struct hive_file *primary;
    struct hive_file *log, *log1, *log2; /* NULL: there is none */
};
void hive_files_close(struct hive_files *files);

/* ---- the hive ---- */

struct hive;
enum { HIVE_NIL = 0xffffffffu };
enum { HIVE_VALUE_MAX = 1 << 30, HIVE_KEY_NAME_MAX = 255, HIVE_VALUE_NAME_MAX = 16383 }; /* bytes; units */

enum hive_open_flags {
    HIVE_WRITABLE = 1,
    HIVE_ACCEPT_DIRTY = 2, /* a dirty hive without usable logs may be written all the same */
};

struct hive_state {
    unsigned minor;    /* version 1.minor */
    bool dirty;        /* as found: the base block said so */
    unsigned replayed; /* log entries (or an old log: 1) applied in memory */
    bool writable;
    char why[256]; /* not writable although asked for: why; or a warning */
};

/* Takes the files over (closed by hive_close, and on failure). Reads the base block, and the logs if it is
 * dirty; pages of the bins only when they are asked for. -EMEDIUMTYPE: not a hive. `cache_bytes` bounds the
 * clean pages that are kept (dirty ones are kept besides). */
int hive_open(const struct hive_files *files, unsigned flags, size_t cache_bytes, struct hive **ret,
              struct fault *fault);
void hive_close(struct hive *h); /* uncommitted edits are lost */
void hive_state(const struct hive *h, struct hive_state *ret);

/* UTF-16 units, not terminated. Names are compared as Windows does: unit by unit, by its upcase table. */
struct hive_name {
    const uint16_t *units;
    size_t n;
};
/* Windows' upcase of one unit, and the comparison: <0, 0, >0. */
uint16_t hive_upcase(uint16_t unit);
int hive_name_compare(struct hive_name a, struct hive_name b);

struct hive_key {
    uint64_t last_written; /* FILETIME: 100 ns since 1601-01-01 UTC */
    uint32_t parent;       /* cell; meaningless for the root */
    uint32_t flags;        /* HIVE_KEY_* */
    uint32_t n_subkeys, n_values;
    uint32_t security; /* sk cell */
    size_t name_units, class_bytes;
};
enum hive_key_flags { HIVE_KEY_ROOT = 0x04, HIVE_KEY_NO_DELETE = 0x08, HIVE_KEY_LINK = 0x10 };

struct hive_value {
    uint32_t type;     /* any */
    uint32_t length;   /* bytes of data */
    size_t name_units; /* 0: the default value */
};

uint32_t hive_root(const struct hive *h);
int hive_key(const struct hive *h, uint32_t key, struct hive_key *ret);
/* Up to `room` units are put into `units`; *ret_n is the whole number. */
int hive_key_name(const struct hive *h, uint32_t key, uint16_t *units, size_t room, size_t *ret_n);
int hive_value(const struct hive *h, uint32_t value, struct hive_value *ret);
int hive_value_name(const struct hive *h, uint32_t value, uint16_t *units, size_t room, size_t *ret_n);
/* All of [off, off + len), which lies in the value's data. */
int hive_value_data(const struct hive *h, uint32_t value, void *buf, size_t len, size_t off);
int hive_key_class(const struct hive *h, uint32_t key, void *buf, size_t room, size_t *ret_n);
/* The self-relative security descriptor of the key's sk cell. */
int hive_key_security(const struct hive *h, uint32_t key, void *buf, size_t room, size_t *ret_n);

/* By name, without case. Costs what the key costs, whatever the size of the hive. */
int hive_find_key(const struct hive *h, uint32_t parent, struct hive_name name, uint32_t *ret);
int hive_find_value(const struct hive *h, uint32_t key, struct hive_name name, uint32_t *ret);

/* Calls fn for the subkeys (in their order) or values (in the order stored), from index `from` on; nonzero of
 * fn ends it and isn't an error. The hive mustn't change meanwhile. A subkey that can't be read is passed
 * over; `*ret_damaged` (may be NULL) counts those. */
typedef int (*hive_each)(void *ctx, uint32_t index, uint32_t cell);
int hive_subkeys(const struct hive *h, uint32_t key, uint32_t from, hive_each fn, void *ctx,
                 unsigned *ret_damaged);
int hive_values(const struct hive *h, uint32_t key, uint32_t from, hive_each fn, void *ctx,
                unsigned *ret_damaged);

/* ---- editing ----
 * `now` is a FILETIME that becomes the key's last-written time. */

/* A new key shares its parent's security. -EEXIST; -EINVAL: an empty name, or one with a backslash;
 * -ENAMETOOLONG also deeper than 512 levels. *ret may be NULL here and below. */
int hive_add_key(struct hive *h, uint32_t parent, struct hive_name name, uint64_t now, uint32_t *ret);
/* With all values; -ENOTEMPTY with subkeys unless `whole`. -EPERM: the root, or one that says NO_DELETE. */
int hive_delete_key(struct hive *h, uint32_t key, bool whole, uint64_t now);
/* Into another parent of this hive (or the same) under another name (or the same). *ret (may be NULL) is the
 * key's cell from then on: another when the name is too long for the old one. -EEXIST; -EINVAL: into itself;
 * -EPERM: the root. Between hives, callers copy. */
int hive_move_key(struct hive *h, uint32_t key, uint32_t parent, struct hive_name name, uint64_t now,
                  uint32_t *ret);
/* The key's class and security, for copies between keys and hives; equal descriptors share a cell. */
int hive_set_class(struct hive *h, uint32_t key, const void *bytes, size_t len);
int hive_set_security(struct hive *h, uint32_t key, const void *descriptor, size_t len);
int hive_set_key_flags(struct hive *h, uint32_t key, uint32_t flags); /* only HIVE_KEY_LINK may change */
/* Creates or replaces; the value's stored name keeps its case when it exists. */
int hive_set_value(struct hive *h, uint32_t key, struct hive_name name, uint32_t type, const void *data,
                   size_t len, uint64_t now, uint32_t *ret);
int hive_delete_value(struct hive *h, uint32_t key, struct hive_name name, uint64_t now);
int hive_rename_value(struct hive *h, uint32_t key, struct hive_name from, struct hive_name to, uint64_t now);

/* Edits between a savepoint and its rollback are undone; one savepoint at a time. */
int hive_savepoint(struct hive *h);
void hive_rollback(struct hive *h);
void hive_release(struct hive *h); /* the edits stay */

/* Has it edits (or replayed log entries that a writable hive must store) that aren't in the file? */
bool hive_is_dirty(const struct hive *h);
/* Writes the changed pages and a clean base block (equal sequence numbers), and makes the logs unreplayable.
 * Atomic only if the files are (an overlay that commits them in one step). After an error the edits are still
 * there, and another commit may succeed. */
int hive_commit(struct hive *h, uint64_t now, struct fault *fault);
/* The whole hive as it now is, as a clean file, for a copy: size, and any range of it. */
uint64_t hive_image_size(const struct hive *h);
int hive_image_read(const struct hive *h, void *buf, size_t len, uint64_t off);
/* What was damaged in the last -EUCLEAN of this thread: file and byte. */
const struct fault *hive_last_fault(void);
#endif
