/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_CHANGES_IMPL_H
#define FERRYFS_CHANGES_IMPL_H
/* What the parts of changes.c share. */
#include "changes.h"

#include "../formats/hash.h"
#include "../guest/walk.h"

/* Values are in records: only add at the end. */
enum change_kind {
    CHANGE_FILE = 1,
    CHANGE_APPEND,
    CHANGE_REMOVE,
    CHANGE_MKDIR,
    CHANGE_LINK,
    CHANGE_VALUE,
    CHANGE_KEY,
    CHANGE_UNKEY,
    CHANGE_RMDIR,
};

enum {
    CHANGES_MAX = 1 << 16,
    CHANGE_FILE_MAX = 512 << 20, /* bytes of a file that is written, or kept for undo */
    CHANGE_TREE_MAX = 64 << 20,  /* of a key with all that is in it, likewise */
    CHANGE_VALUE_MAX = 16 << 20, /* of a value */
    RECORD_MAX = 1 << 30,
};

/* Bytes that are being put together. After a failure `failed` is set, and nothing more is added. */
struct blob {
    uint8_t *p; /* owned */
    size_t n, room;
    bool failed;
};
void blob_put(struct blob *b, const void *bytes, size_t n);
void blob_u32(struct blob *b, uint32_t v);
void blob_u64(struct blob *b, uint64_t v);
/* With its length before it. */
void blob_counted(struct blob *b, const void *bytes, size_t n);

/* A thing's state, as far as its kind of change concerns it. */
struct change_state {
    bool there;
    uint32_t type;            /* of a file its st_mode, of a value its type */
    uint64_t size;            /* of a file */
    char sum[DIGEST_HEX_MAX]; /* SHA-256 of a file's bytes, or of those that were appended; "": unknown */
    uint8_t *bytes;           /* owned: a value's, a file's, a link's target, a key's tree. NULL: not kept */
    size_t n;
    /* of a file, for putting it back */
    uint32_t uid, gid;
    int64_t mtime;
    uint32_t mtime_nsec;
    uint8_t *attributes; /* owned: its xattrs, as files.c packs them */
    size_t n_attributes;
};

struct change {
    enum change_kind kind;
    bool done;    /* while it is applied or taken back */
    char *path;   /* owned: of a file or key */
    char *name;   /* owned: of a value; else NULL */
    char *reason; /* owned */
    struct change_state old, new;
};

struct changes {
    struct prepare prepare; /* first: planners know only this */
    struct ferry *f;
    struct change *list; /* owned */
    size_t n;
    uint64_t kept, keep_max; /* bytes of old states, and of new ones: see changes_keep() */
    uint64_t made, make_max;
    int error;
    char *blocked; /* owned: "why; what to do" */
    char **notes;  /* owned */
    size_t n_notes;
};

void change_state_done(struct change_state *s);
void change_done(struct change *c);
/* Are both about the same file, key or value? */
bool change_is_same(const struct change *a, const struct change *b);
/* The last of the list that is about the thing, of those before `end`; NULL. `name` NULL: a file or key. */
struct change *changes_find(struct changes *c, size_t end, bool registry, const char *path, const char *name);
bool change_is_registry(enum change_kind k);
/* Takes over what `made` owns, also with an error. */
int changes_push(struct changes *c, struct change *made);
void changes_drop(struct changes *c, struct change *which);
/* "HKLM\SYSTEM\x" lies in or is "HKLM\SYSTEM". */
bool changes_key_in(const char *key, const char *ancestor);
/* It is or lies in SYSTEM's CurrentControlSet, which no hive has. */
bool changes_in_current_set(const char *key);

/* ---- changes-files.c: the guest as it is, whatever the plan ---- */

int file_stat(struct ferry *f, const char *path, struct prepare_stat *ret);
int file_read_at(struct ferry *f, const char *path, void *buf, size_t len, uint64_t off, size_t *ret_len);
int file_read(struct ferry *f, const char *path, size_t max, uint8_t **ret, size_t *ret_n);
int file_list(struct ferry *f, const char *path, prepare_each fn, void *ctx);
int file_readlink(struct ferry *f, const char *path, char *buf, size_t size);
int file_uuid(struct ferry *f, const char *device, char *buf, size_t size);
/* The state of what an edit of this kind would change; with bytes and all if there are at most `keep` of
 * them, else -EFBIG; 0: without. Of a regular file that is written or appended to: with the digest of all
 * from `from` on, but for NO_SUM. With an overlay -EROFS where the edit can't be made. */
#define NO_SUM UINT64_MAX
int file_state(struct ferry *f, enum change_kind kind, const char *path, uint64_t keep, uint64_t from,
               struct change_state *ret);
int file_do(struct ferry *f, const struct change *c);
int file_undo(struct ferry *f, const struct change *c);

/* ---- changes-registry.c ---- */

int key_there(struct ferry *f, const char *key); /* 0, -ENOENT */
int key_value(struct ferry *f, const char *key, const char *name, uint32_t *ret_type, uint8_t **ret,
              size_t *ret_n);
int key_subkeys(struct ferry *f, const char *key, prepare_each fn, void *ctx);
int key_values(struct ferry *f, const char *key, prepare_each fn, void *ctx);
/* The key with all that is in it. */
int key_pack(struct ferry *f, const char *key, uint8_t **ret, size_t *ret_n);
int key_do(struct ferry *f, const struct change *c);
int key_undo(struct ferry *f, const struct change *c);

/* ---- changes-record.c ---- */

int record_pack(const struct changes *c, uint8_t **ret, size_t *ret_n);
/* Adds what the bytes hold to c. -EUCLEAN. */
int record_unpack(struct changes *c, const uint8_t *bytes, size_t n);
void record_note_key(const char *record, char ret[160]);
#endif
