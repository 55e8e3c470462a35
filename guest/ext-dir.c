/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Directories: blocks full of entries, each {inode, rec_len, name_len, type, name}, chained by rec_len; inode
 * 0 is a free one. The nodes of a hashed directory (htree) look like free entries to who reads on, and a
 * leaf's checksum hides in one at the block's end. So every form is read in order, and a cookie is a byte
 * offset. The htree only tells a look-up where to begin: without it, each would read half the directory.
 *
 * An inline directory has its entries in i_block behind the parent's number (4 bytes), and in the attribute
 * system.data. Entries don't cross from one to the other.
 *
 * Names in encrypted directories are ciphertext, and may hold any byte: they are shown in base64 with '-' and
 * '_', a long one cut and ended by '~' and a hash. A look-up compares names as shown.
 *
 * Damage ends the reading with EIO where it is met, as it does in Linux. */
#include "ext.h"
#include "../formats/checked.h"
#include "../formats/hash.h"

#include <errno.h>
#include <string.h>

enum { DE_INODE = 0, DE_REC_LEN = 4, DE_NAME_LEN = 6, DE_TYPE = 7, DE_NAME = 8, DE_SIZE = 8 };
enum { TAIL_SIZE = 12, TAIL_TYPE = 0xDE, TAIL_CSUM = 8 };
enum { NAME_MAX_LEN = 255, INLINE_PARENT = 4 };
/* ext4 without large_dir stops at this size (two levels of htree of 4 KiB blocks come to less). */
static const uint64_t dir_size_max = 1ull << 31;

struct dir_walk {
    struct ext_fs *x;
    const struct ext_inode *dir;
    uint64_t from; /* entries before this byte of the directory are passed over */
    ext_dir_visit visit;
    void *ctx;
};

static mode_t dirent_type(const struct ext_fs *x, struct bytes e)
{
    static const mode_t types[] = { 0, S_IFREG, S_IFDIR, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK, S_IFLNK };
    if (!(x->super.incompat & EXT2_FEATURE_INCOMPAT_FILETYPE))
        return 0;
    uint8_t t = u8(e, DE_TYPE);
    return t < sizeof types / sizeof *types ? types[t] : 0;
}

static uint32_t dirent_rec_len(const struct ext_fs *x, struct bytes e)
{
    uint32_t v = le16(e, DE_REC_LEN);
    if (x->super.block_size < 65536)
        return v;
    return v == 65535 || !v ? 65536 : (v & 65532) | (v & 3) << 16;
}

/* 255 bytes of ciphertext would be 340 characters: the first 150 make 200. */
enum { ENCODED_WHOLE = 189, ENCODED_PART = 150 };

static size_t name_encode(const uint8_t *p, size_t n, char out[NAME_MAX_LEN + 1])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t take = n <= ENCODED_WHOLE ? n : ENCODED_PART, o = 0;
    for (size_t k = 0; k < take; k += 3) {
        uint32_t v = (uint32_t)p[k] << 16;
        v |= k + 1 < take ? (uint32_t)p[k + 1] << 8 : 0;
        v |= k + 2 < take ? p[k + 2] : 0;
        for (int d = 0; d < 4 && (d < 2 || k + (size_t)d - 1 < take); d++)
            out[o++] = digits[v >> (18 - 6 * d) & 63];
    }
    if (take < n) {
        static const char hex[] = "0123456789abcdef";
        uint32_t hash = crc32c(p, n), rest = crc32c(p + take, n - take);
        out[o++] = '~';
        for (int d = 28; d >= 0; d -= 4)
            out[o++] = hex[hash >> d & 15];
        for (int d = 28; d >= 0; d -= 4)
            out[o++] = hex[rest >> d & 15];
    }
    out[o] = 0;
    return o;
}

static int dir_entry_visit(const struct dir_walk *w, struct bytes e, uint64_t next)
{
    size_t len = le16(e, DE_NAME_LEN);
    if (w->x->super.incompat & EXT2_FEATURE_INCOMPAT_FILETYPE)
        len &= 0xff;
    uint32_t ino = le32(e, DE_INODE);
    struct bytes name = bytes_sub(e, DE_NAME, len);
    if (!len || len > NAME_MAX_LEN || name.n != len || ino > w->x->super.inodes)
        return -EIO;
    if (name.p[0] == '.' && (len == 1 || (len == 2 && name.p[1] == '.')))
        return 0;
    char shown[NAME_MAX_LEN + 1];
    if (w->dir->flags & EXT4_ENCRYPT_FL) {
        len = name_encode(name.p, len, shown);
    } else {
        if (memchr(name.p, '/', len) || memchr(name.p, 0, len))
            return -EIO;
        memcpy(shown, name.p, len);
        shown[len] = 0;
    }
    const struct ext_dirent d = {
        .name = shown, .len = len, .ino = ino, .type = dirent_type(w->x, e), .next = next
    };
    return w->visit(w->ctx, &d);
}

/* Entries of one block, or one part of an inline directory, that lies at byte `at` of the directory. */
static int dir_walk_entries(const struct dir_walk *w, struct bytes b, uint64_t at)
{
    for (size_t off = 0; off < b.n;) {
        struct bytes e = bytes_sub(b, off, DE_SIZE);
        uint32_t rec = dirent_rec_len(w->x, e);
        if (b.bad->set || rec < DE_SIZE || rec % 4 || rec > b.n - off)
            return -EIO;
        if (le32(e, DE_INODE) && at + off >= w->from) {
            int r = dir_entry_visit(w, bytes_sub(b, off, rec), at + off + rec);
            if (r)
                return r;
        }
        off += rec;
    }
    return 0;
}

/* A leaf ends in a free entry of the type 0xDE with the checksum. Nodes of the htree have theirs elsewhere;
 * nothing is taken from them. */
static bool dir_block_csum_good(const struct ext_fs *x, const struct ext_inode *dir, struct bytes b,
                                uint64_t logical)
{
    bool node = !logical || (!le32(b, DE_INODE) && dirent_rec_len(x, b) == b.n);
    if (node && dir->flags & EXT2_INDEX_FL) /* may end in what was a leaf's checksum once */
        return true;
    struct bytes tail = bytes_sub(b, b.n - TAIL_SIZE, TAIL_SIZE);
    return !le32(tail, DE_INODE) && le16(tail, DE_REC_LEN) == TAIL_SIZE && !u8(tail, DE_NAME_LEN) &&
           u8(tail, DE_TYPE) == TAIL_TYPE &&
           crc32c_update(dir->csum_seed, b.p, b.n - TAIL_SIZE) == le32(tail, TAIL_CSUM);
}

static int dir_block_get(struct ext_fs *x, const struct ext_inode *dir, uint64_t logical,
                         struct cache_block **ret)
{
    struct ext_run run;
    int r = ext_map(x, dir, logical, &run);
    if (r < 0)
        return r;
    if (!run.block) /* a directory has no holes */
        return -EIO;
    return ext_block_get(x, run.block, ret);
}

static int dir_walk_block(const struct dir_walk *w, uint64_t logical)
{
    struct ext_fs *x = w->x;
    struct cache_block *held;
    int r = dir_block_get(x, w->dir, logical, &held);
    if (r < 0)
        return r;
    struct bad bad = { 0 };
    struct bytes b = bytes_of(held->data, held->size, 0, &bad);
    if (x->super.has_csum && !dir_block_csum_good(x, w->dir, b, logical))
        r = -EIO;
    else
        r = dir_walk_entries(w, b, logical * x->super.block_size);
    ext_block_put(x, held);
    return r;
}

static int dir_walk_inline(const struct dir_walk *w)
{
    uint8_t buf[EXT_INLINE_MAX];
    size_t len;
    int r = ext_inline_read(w->x, w->dir, buf, &len);
    if (r < 0)
        return r;
    struct bad bad = { 0 };
    struct bytes b = bytes_of(buf, len, 0, &bad);
    size_t first = (size_t)min_u64(len, EXT_INODE_BLOCK_SIZE);
    if (first < INLINE_PARENT)
        return -EIO;
    r = dir_walk_entries(w, bytes_sub(b, INLINE_PARENT, first - INLINE_PARENT), INLINE_PARENT);
    if (!r && len > first)
        r = dir_walk_entries(w, bytes_sub(b, first, len - first), first);
    return r;
}

int ext_dir_each(struct ext_fs *x, const struct ext_inode *dir, uint64_t from, ext_dir_visit visit, void *ctx)
{
    struct dir_walk w = { x, dir, from, visit, ctx };
    if (!S_ISDIR(dir->mode))
        return -ENOTDIR;
    if (dir->flags & EXT4_INLINE_DATA_FL)
        return dir_walk_inline(&w);
    uint64_t size = x->super.block_size;
    if (dir->size % size || dir->size / size > x->super.blocks ||
        (dir->size > dir_size_max && !(x->super.incompat & EXT4_FEATURE_INCOMPAT_LARGEDIR)))
        return -EIO;
    for (uint64_t n = from / size; n < dir->size / size; n++) {
        int r = dir_walk_block(&w, n);
        if (r)
            return r;
    }
    return 0;
}

/* ---- the hashed directory, for look-ups ---- */

enum { /* offsets in the root, which is block 0, behind "." and ".." */
       DX_ZERO = 0x18,
       DX_VERSION = 0x1c,
       DX_INFO_LENGTH = 0x1d,
       DX_LEVELS = 0x1e,
       DX_ROOT_ENTRIES = 0x20,
       DX_NODE_ENTRIES = 8, /* in the other nodes, behind a free entry as long as the block */
       DX_INFO_SIZE = 8,
       DX_LEVELS_MAX = 3,
       DX_ENTRY = 8, /* {hash, block}; the first one's hash is {limit, count} instead */
       DX_BLOCK = 4,
       DX_BLOCK_MASK = 0x0fffffff,
};

/* The child that has `hash`, of the node whose entries begin at `at`; 0, which is the root, when there is
 * none. */
static uint64_t htree_child(struct bytes b, size_t at, uint32_t hash)
{
    uint32_t limit = le16(b, at), lo = 0, hi = le16(b, at + 2);
    if (!hi || hi > limit || limit > (b.n - at) / DX_ENTRY)
        return 0;
    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (le32(b, at + mid * DX_ENTRY) <= hash)
            lo = mid;
        else
            hi = mid;
    }
    return le32(b, at + lo * DX_ENTRY + DX_BLOCK) & DX_BLOCK_MASK;
}

/* The hash of `name` and the levels of nodes below the root, from the root block. */
static bool htree_hash(const struct ext_fs *x, struct bytes root, const char *name, size_t len, uint32_t *ret,
                       unsigned *ret_levels)
{
    uint8_t version = u8(root, DX_VERSION);
    uint32_t seed[4];
    ext2_dirhash_t hash = 0, minor;
    *ret_levels = u8(root, DX_LEVELS);
    if (le32(root, DX_ZERO) || u8(root, DX_INFO_LENGTH) != DX_INFO_SIZE || *ret_levels > DX_LEVELS_MAX ||
        version > EXT2_HASH_TEA)
        return false;
    memcpy(seed, x->super.hash_seed, sizeof seed);
    if (ext2fs_dirhash(version + (x->super.hash_unsigned ? 3 : 0), name, (int)len, seed, &hash, &minor))
        return false;
    *ret = hash;
    return true;
}

/* The one block in which the index says that `name` is, if anywhere; 0: it has to be searched for. */
static uint64_t htree_leaf(struct ext_fs *x, const struct ext_inode *dir, const char *name, size_t len)
{
    struct cache_block *held;
    uint32_t hash = 0;
    unsigned levels = 0;
    if (!(x->super.compat & EXT2_FEATURE_COMPAT_DIR_INDEX) || !(dir->flags & EXT2_INDEX_FL) ||
        dir->flags & (EXT4_INLINE_DATA_FL | EXT4_ENCRYPT_FL | EXT4_CASEFOLD_FL) ||
        dir_block_get(x, dir, 0, &held) < 0)
        return 0;
    struct bad bad = { 0 };
    struct bytes b = bytes_of(held->data, held->size, 0, &bad);
    uint64_t at = 0;
    if (htree_hash(x, b, name, len, &hash, &levels))
        at = htree_child(b, DX_ROOT_ENTRIES, hash);
    ext_block_put(x, held);
    while (at && levels--) {
        if (dir_block_get(x, dir, at, &held) < 0)
            return 0;
        at = htree_child(bytes_of(held->data, held->size, 0, &bad), DX_NODE_ENTRIES, hash);
        ext_block_put(x, held);
    }
    return bad.set || at >= dir->size / x->super.block_size ? 0 : at;
}

uint64_t ext_dir_leaf(struct ext_fs *x, const struct ext_inode *dir, const char *name)
{
    return htree_leaf(x, dir, name, strlen(name));
}

struct dir_find {
    const char *name;
    size_t len;
    const struct ext2fs_nls_table *fold; /* NULL: byte by byte */
    uint64_t stop; /* what begins at this byte of the directory was looked at; 0: nothing was */
    uint32_t ino;
    uint64_t end; /* of the entry that was found */
};

static int dir_find_visit(void *ctx, const struct ext_dirent *e)
{
    struct dir_find *f = ctx;
    if (f->stop && e->next > f->stop)
        return -ENOENT;
    bool same = f->fold ? !ext2fs_casefold_cmp(f->fold, (const unsigned char *)f->name, f->len,
                                               (const unsigned char *)e->name, e->len)
                        : e->len == f->len && !memcmp(e->name, f->name, f->len);
    if (same) {
        f->ino = e->ino;
        f->end = e->next;
    }
    return same;
}

/* Every entry, from the block on in which one was found last: who looks up names in the order in which they
 * are listed would else read half the directory for each, where it has no index. */
static int dir_search(struct ext_fs *x, const struct ext_inode *dir, struct dir_find *f)
{
    _Atomic uint64_t *hint = &x->dir_hints[dir->ino % EXT_DIR_HINTS];
    uint64_t last = *hint, at = (uint32_t)last;
    int r = 0;
    if (last >> 32 == dir->ino && at && !(dir->flags & EXT4_INLINE_DATA_FL)) {
        uint64_t from = at * x->super.block_size;
        r = ext_dir_each(x, dir, from, dir_find_visit, f);
        f->stop = r == 0 ? from : 0; /* the damage may lie behind the entry */
    }
    if (r <= 0)
        r = ext_dir_each(x, dir, 0, dir_find_visit, f);
    f->stop = 0;
    if (r > 0 && !(dir->flags & EXT4_INLINE_DATA_FL))
        *hint = (uint64_t)dir->ino << 32 | (f->end - 1) / x->super.block_size;
    return r == -ENOENT ? 0 : r;
}

int ext_dir_lookup(struct ext_fs *x, const struct ext_inode *dir, const char *name, uint32_t *ret_ino)
{
    struct dir_find f = { .name = name, .len = strlen(name) };
    if (f.len > NAME_MAX_LEN)
        return -ENAMETOOLONG;
    struct dir_walk w = { x, dir, 0, dir_find_visit, &f };
    uint64_t leaf = S_ISDIR(dir->mode) ? htree_leaf(x, dir, name, f.len) : 0;
    int r = leaf ? dir_walk_block(&w, leaf) : 0;
    if (r <= 0) /* not indexed, damaged, in the next block of the same hash, or not there: look everywhere */
        r = dir_search(x, dir, &f);
    bool folds = dir->flags & EXT4_CASEFOLD_FL && x->super.incompat & EXT4_FEATURE_INCOMPAT_CASEFOLD &&
                 !(dir->flags & EXT4_ENCRYPT_FL);
    if (!r && folds && (f.fold = ext2fs_load_nls_table(x->super.encoding)))
        r = ext_dir_each(x, dir, 0, dir_find_visit, &f);
    if (r <= 0)
        return r < 0 ? r : -ENOENT;
    *ret_ino = f.ino;
    return 0;
}
