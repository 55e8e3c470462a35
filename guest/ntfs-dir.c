/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names in NTFS directories: look-up and listing.
 *
 * A directory is a B+ tree of index entries, whose root is an attribute and whose blocks lie in another, with
 * a bitmap of those in use. Entries hold a reference to an MFT record, with the sequence number that the
 * record must have: one that disagrees is damage (a deleted file's name), as is a directory that doesn't know
 * its parent, so that a hostile tree can't be endless.
 *
 * The library is told to match names exactly, as it is after a mount; only a look-up that found nothing is
 * repeated without case. (Its caseless mode lower-cases every name that it lists.) A file's 8.3 name is an
 * entry of its own: found, but not listed. */
#include "ntfs.h"

#include "../formats/bytes.h"
#include "../formats/checked.h"

#include <errno.h>

/* ---- look-up ---- */

int ntfs_name_of(const char *name, struct ntfs_name *ret)
{
    ntfschar *ucs = NULL;
    int len = ntfs_mbstoucs(name, &ucs), r = 0;
    if (len < 0 && errno == ENOMEM)
        r = -ENOMEM;
    else if (len > NTFS_MAX_NAME_LEN || (len < 0 && errno == ENAMETOOLONG))
        r = -ENAMETOOLONG;
    else if (len <= 0) /* not UTF-8: no name of NTFS */
        r = -ENOENT;
    if (r < 0)
        free(ucs);
    else
        *ret = (struct ntfs_name){ ucs, len };
    return r;
}

void ntfs_name_done(struct ntfs_name *name)
{
    free(name->ucs);
    name->ucs = NULL;
}

int ntfs_find_exact(ntfs_inode *dir, const struct ntfs_name *name, uint64_t *ret_mref)
{
    uint64_t mref = ntfs_inode_lookup_by_name(dir, name->ucs, name->len);
    if (mref == UINT64_MAX)
        return errno == ENOENT ? -ENOENT : ntfs_failed();
    if (MREF(mref) < FILE_first_user) /* metadata, the root itself */
        return -ENOENT;
    *ret_mref = mref;
    return 0;
}

int ntfs_find(struct ntfs *v, ntfs_inode *dir, const struct ntfs_name *name, uint64_t *ret_mref)
{
    int r = ntfs_find_exact(dir, name, ret_mref);
    if (r == -ENOENT) {
        NVolClearCaseSensitive(v->lib);
        r = ntfs_find_exact(dir, name, ret_mref);
        NVolSetCaseSensitive(v->lib);
    }
    return r;
}

/* `name` in an inode that may be no directory. */
static int lookup_in(struct ntfs *v, ntfs_inode *dir, const char *name, uint64_t *ret_mref)
{
    struct ntfs_name n;
    if (!ntfs_is_dir(dir))
        return -ENOTDIR;
    int r = ntfs_name_of(name, &n);
    if (r < 0)
        return r;
    r = ntfs_find(v, dir, &n, ret_mref);
    ntfs_name_done(&n);
    if (!r && v->volume.writable && ntfs_is_gone_name(name, *ret_mref))
        r = -ENOENT;
    return r;
}

static int has_parent(void *ctx, const FILE_NAME_ATTR *name)
{
    return MREF_LE(name->parent_directory) == *(const uint64_t *)ctx;
}

/* Is the record what the directory's entry meant? */
static int check_entry(struct ntfs *v, uint64_t dir_mft, uint64_t mref, uint64_t *ret_ino)
{
    ntfs_inode *ni;
    int r = ntfs_get_record(v, MREF(mref), &ni);
    if (r < 0)
        return r == -ENOENT ? -EIO : r;
    *ret_ino = ntfs_ino_of(ni);
    if (MSEQNO(mref) && MSEQNO(mref) != le16_to_cpu(ni->mrec->sequence_number))
        r = -EIO;
    else if (ntfs_is_dir(ni)) {
        r = ntfs_each_name(ni, has_parent, &dir_mft);
        r = r > 0 ? 0 : r < 0 ? r : -EIO;
    }
    ntfs_inode_close(ni);
    return r;
}

int ntfs_lookup(struct volume *volume, uint64_t dir, const char *name, uint64_t *ret_ino)
{
    struct ntfs *v = ntfs_of(volume);
    ntfs_inode *ni;
    uint64_t mref = 0, dir_mft = 0, found = 0;
    ntfs_lock(v);
    int r = ntfs_get_inode(v, dir, &ni);
    if (!r) {
        dir_mft = ni->mft_no;
        r = lookup_in(v, ni, name, &mref);
        ntfs_inode_close(ni);
    }
    if (!r)
        r = check_entry(v, dir_mft, mref, &found);
    ntfs_unlock(v);
    if (!r)
        *ret_ino = found;
    return r;
}

/* ---- listing ---- */

uint64_t ntfs_complete_ino(struct ntfs *v, uint64_t mref)
{
    ntfs_inode *ni;
    if (MSEQNO(mref) || ntfs_get_record(v, MREF(mref), &ni))
        return mref;
    uint64_t ino = ntfs_ino_of(ni);
    ntfs_inode_close(ni);
    return ino;
}

/* Entries are taken from the library in batches under the lock and handed out without it, so that `emit` may
 * call back. The library names an entry's own place; the smallest step behind it continues with the next one.
 */
enum { BATCH_FIRST = 128, BATCH_MAX = 2048 }; /* entries */
/* A bit for each index block: 8 GiB of index blocks of 4 KiB, which is more than 50 million names. */
enum { INDEX_BITMAP_MAX = 2 << 20 };

struct entry {
    char *name; /* owned */
    uint64_t ino, next;
    mode_t type;
};

struct batch {
    struct entry *entries;
    size_t n, max;
    s64 from; /* entries before this position are passed over */
    int error;
};

static int take_entry(void *ctx, const ntfschar *ucs, const int len, const int name_type, const s64 pos,
                      const MFT_REF mref, const unsigned dt_type)
{
    struct batch *b = ctx;
    if (pos < b->from || name_type == FILE_NAME_DOS || pos < 2 || MREF(mref) < FILE_first_user)
        return 0; /* 8.3 names are found but not listed; "." and ".."; metadata */
    if (b->n == b->max)
        return 1;
    char *name = NULL;
    if (ntfs_ucstombs(ucs, len, &name, 0) < 0) {
        free(name);
        b->error = errno == ENOMEM ? -ENOMEM : 0;
        return b->error ? -1 : 0;
    }
    if (!*name || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, "..")) {
        free(name); /* can't be a name here */
        return 0;
    }
    /* System files and reparse points may be something else: look at them to know. */
    mode_t type = dt_type == NTFS_DT_REG ? S_IFREG : dt_type == NTFS_DT_DIR ? S_IFDIR : 0;
    b->entries[b->n++] = (struct entry){ name, mref, (uint64_t)pos + 1, type };
    return 0;
}

/* The library walks the index bitmap bit by bit, holes and all: its size must make sense first. */
static int check_index_bitmap(ntfs_inode *dir)
{
    ntfs_attr *na = ntfs_attr_open(dir, AT_BITMAP, NTFS_INDEX_I30, 4);
    if (!na)
        return errno == ENOENT ? 0 : ntfs_failed();
    bool ok = na->data_size >= 0 && na->data_size <= INDEX_BITMAP_MAX;
    ntfs_attr_close(na);
    return ok ? 0 : -EIO;
}

/* Bytes of the directory's index blocks, as its index root says. */
static int index_block_size(ntfs_inode *dir, uint32_t *ret)
{
    enum { ROOT_BLOCK_SIZE = 8, ROOT_SIZE = 12 };
    uint8_t root[ROOT_SIZE];
    ntfs_attr *na = ntfs_attr_open(dir, AT_INDEX_ROOT, NTFS_INDEX_I30, 4);
    if (!na)
        return ntfs_failed();
    s64 n = ntfs_attr_pread(na, 0, sizeof root, root);
    ntfs_attr_close(na);
    struct bad bad = { 0 };
    *ret = le32(bytes_of(root, sizeof root, 0, &bad), ROOT_BLOCK_SIZE);
    return n == sizeof root && *ret >= NTFS_BLOCK_SIZE && is_power_of_two(*ret) ? 0 : -EIO;
}

int ntfs_check_index(ntfs_inode *dir, uint32_t *ret_block_size)
{
    int r = check_index_bitmap(dir);
    return r < 0 ? r : index_block_size(dir, ret_block_size);
}

static int list_from(struct ntfs *v, ntfs_inode *dir, s64 cookie, struct batch *b)
{
    uint32_t block = 0;
    int r = ntfs_check_index(dir, &block);
    if (r < 0)
        return r;
    s64 pos = cookie, blocks_at = v->lib->mft_record_size;
    if (pos > blocks_at)
        pos = blocks_at + (pos - blocks_at) / (8 * (s64)block) * (8 * (s64)block);
    b->from = cookie;
    if (ntfs_readdir(dir, &pos, b, take_entry) && b->n < b->max)
        return b->error ? b->error : ntfs_failed();
    return 0;
}

/* An entry refers to its file with the sequence number; where one doesn't, the file is asked. */
static void complete_inos(struct ntfs *v, struct batch *b)
{
    for (size_t i = 0; i < b->n; i++)
        b->entries[i].ino = ntfs_complete_ino(v, b->entries[i].ino);
}

/* Fills `b` from the cookie on; *ret_end: there is nothing behind it. */
static int fill_batch(struct ntfs *v, uint64_t dir, uint64_t cookie, struct batch *b, bool *ret_end)
{
    ntfs_inode *ni;
    ntfs_lock(v);
    v->hints = NTFS_HINTS;
    int r = ntfs_get_inode(v, dir, &ni);
    if (!r) {
        r = ntfs_is_dir(ni) ? list_from(v, ni, (s64)cookie, b) : -ENOTDIR;
        ntfs_inode_close(ni);
        complete_inos(v, b);
    }
    ntfs_unlock(v);
    *ret_end = b->n < b->max;
    return r;
}

static void drop_entries(struct batch *b)
{
    while (b->n)
        free(b->entries[--b->n].name);
}

int ntfs_list(struct volume *volume, uint64_t dir, uint64_t cookie, volume_emit emit, void *ctx)
{
    if (volume->writable)
        return ntfs_list_writable(ntfs_of(volume), dir, cookie, emit, ctx);
    if (cookie > INT64_MAX)
        return -EINVAL;
    struct batch b = { .max = BATCH_FIRST };
    bool end = false, stopped = false;
    int r = 0;
    while (!r && !end && !stopped) {
        struct entry *grown = realloc(b.entries, b.max * sizeof *grown);
        if (!grown) {
            r = -ENOMEM;
            break;
        }
        b.entries = grown;
        r = fill_batch(ntfs_of(volume), dir, cookie, &b, &end);
        /* What was read before a damaged block is handed out; the next call meets the damage at once. */
        if (r == -EIO && b.n) {
            r = 0;
            end = true;
        }
        for (size_t i = 0; !r && i < b.n && !stopped; i++) {
            struct entry *e = &b.entries[i];
            stopped = emit(ctx, e->name, e->ino, e->type, e->next);
            cookie = e->next;
        }
        drop_entries(&b);
        b.max = min_u64(b.max * 4, BATCH_MAX);
    }
    free(b.entries);
    return r;
}
