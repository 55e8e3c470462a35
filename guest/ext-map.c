/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where a file's blocks lie. Two forms, both rooted in the 60 bytes of i_block:
 *
 *     extents (EXT4_EXTENTS_FL)                      block map (ext2, ext3)
 *     header: magic F30A, entries, max, depth        12 direct blocks
 *     depth > 0: index entries {logical, block}      1 single, 1 double, 1 triple indirect block
 *     depth = 0: extents {logical, len, block}       (each: a block of 32-bit block numbers)
 *
 * A lookup walks down once: at most 5 blocks of extents or 3 of indirect numbers, each through the cache, so
 * no list is kept however fragmented a file is, and no loop in the tree can hold it. Each node's depth must
 * be one less than its parent's, its entries ascending and inside what the parent gives it.
 *
 * Holes and unwritten extents (a length over 32768) read as zeros. What is not in the tree is a hole; what
 * contradicts the tree's rules is EIO. */
#include "ext.h"
#include "../formats/checked.h"
#include "../formats/hash.h"

#include <errno.h>
#include <string.h>

enum { EXTENT_MAGIC = 0xF30A, EXTENT_DEPTH_MAX = 5, EXTENT_INIT_MAX = 32768 };
enum { EH_MAGIC = 0, EH_ENTRIES = 2, EH_MAX = 4, EH_DEPTH = 6, EH_SIZE = 12 };
enum { EE_LOGICAL = 0, EE_LEN = 4, EE_START_HI = 6, EE_START_LO = 8, EE_SIZE = 12 };
enum { EI_LOGICAL = 0, EI_LEAF_LO = 4, EI_LEAF_HI = 8 };

/* What a node may speak of: logical blocks [from, to). */
struct extent_node {
    struct bytes b;
    unsigned depth, entries;
    uint64_t from, to;
    bool root;
};

/* A node begins where its parent says that it does. Linux reads no file with one that begins elsewhere. */
static bool extent_node_begins(const struct extent_node *n)
{
    return n->root || !n->entries || le32(n->b, EH_SIZE + EI_LOGICAL) == n->from;
}

static int extent_node_check(struct extent_node *n)
{
    unsigned max = le16(n->b, EH_MAX);
    n->entries = le16(n->b, EH_ENTRIES);
    if (le16(n->b, EH_MAGIC) != EXTENT_MAGIC || le16(n->b, EH_DEPTH) != n->depth || n->entries > max ||
        max > (n->b.n - EH_SIZE) / EE_SIZE)
        return -EIO;
    return (n->depth && !n->entries) || !extent_node_begins(n) ? -EIO : 0;
}

/* An extent block ends in a checksum behind its last possible entry. */
static bool extent_node_csum_good(struct bytes b, uint32_t seed)
{
    size_t tail = EH_SIZE + (size_t)le16(b, EH_MAX) * EE_SIZE;
    if (tail + 4 > b.n)
        return false;
    return crc32c_update(seed, b.p, tail) == le32(b, tail);
}

/* The whole leaf is looked through: that its extents ascend and lie in the file system is part of the answer.
 */
static int extent_leaf_find(const struct ext_fs *x, const struct extent_node *n, uint64_t logical,
                            struct ext_run *ret)
{
    uint64_t end = n->from; /* of the extent before */
    uint64_t hole_to = n->to;
    bool found = false;
    for (unsigned k = 0; k < n->entries; k++) {
        struct bytes e = bytes_sub(n->b, EH_SIZE + (size_t)k * EE_SIZE, EE_SIZE);
        uint64_t first = le32(e, EE_LOGICAL), len = le16(e, EE_LEN);
        uint64_t start = le32(e, EE_START_LO) | (uint64_t)le16(e, EE_START_HI) << 32;
        bool unwritten = len > EXTENT_INIT_MAX;
        if (unwritten)
            len -= EXTENT_INIT_MAX;
        if (!len || first < end || first + len > n->to || start <= x->super.first_data_block ||
            !range_inside(start, len, x->super.blocks))
            return -EIO;
        end = first + len;
        if (first > logical)
            hole_to = min_u64(hole_to, first);
        if (first <= logical && logical < end) {
            uint64_t at = start + (logical - first);
            *ret = (struct ext_run){ unwritten ? 0 : at, end - logical, unwritten, at };
            found = true;
        }
    }
    if (!found)
        *ret = (struct ext_run){ .blocks = hole_to - logical };
    return 0;
}

/* Narrows n->from and n->to to the child that has `logical`; its block goes to *ret_block, or 0 when it lies
 * before the first entry. */
static int extent_index_find(struct extent_node *n, uint64_t logical, uint64_t *ret_block)
{
    uint64_t from = n->from, to = n->to, before = 0; /* the bounds of the child */
    for (unsigned k = 0; k < n->entries; k++) {
        struct bytes e = bytes_sub(n->b, EH_SIZE + (size_t)k * EE_SIZE, EE_SIZE);
        uint64_t first = le32(e, EI_LOGICAL);
        if (first < n->from || first >= n->to || (k && first <= before))
            return -EIO;
        before = first;
        if (first > logical) {
            to = min_u64(to, first);
            continue;
        }
        from = first;
        *ret_block = le32(e, EI_LEAF_LO) | (uint64_t)le16(e, EI_LEAF_HI) << 32;
        if (!*ret_block)
            return -EIO;
    }
    n->from = from;
    n->to = to;
    return 0;
}

static int map_extents(struct ext_fs *x, const struct ext_inode *i, uint64_t logical, struct ext_run *ret)
{
    struct bad bad = { 0 };
    struct extent_node n = { .b = bytes_of(i->raw + EXT_INODE_BLOCK, EXT_INODE_BLOCK_SIZE, 0, &bad),
                             .from = 0,
                             .to = 1ull << 32,
                             .root = true };
    struct cache_block *held = NULL;
    n.depth = le16(n.b, EH_DEPTH);
    int r = n.depth > EXTENT_DEPTH_MAX ? -EIO : extent_node_check(&n);
    while (!r && n.depth) {
        uint64_t block = 0;
        r = extent_index_find(&n, logical, &block);
        if (held)
            ext_block_put(x, held);
        held = NULL;
        if (!r && !block) {
            *ret = (struct ext_run){ .blocks = n.to - logical };
            return bad.set ? -EIO : 0;
        }
        if (r < 0 || (r = ext_block_get(x, block, &held)) < 0)
            break;
        n.root = false;
        n.b = bytes_of(held->data, held->size, 0, &bad);
        n.depth--;
        r = extent_node_check(&n);
        if (!r && x->super.has_csum && !extent_node_csum_good(n.b, i->csum_seed))
            r = -EIO;
    }
    if (!r)
        r = extent_leaf_find(x, &n, logical, ret);
    if (held)
        ext_block_put(x, held);
    return bad.set ? -EIO : r;
}

/* ---- block map ---- */

enum { MAP_DIRECT = 12 };

/* The run of `numbers` from index `at`: numbers that count up, or zeros. */
static int map_numbers(const struct ext_fs *x, struct bytes numbers, uint64_t at, struct ext_run *ret)
{
    uint64_t count = numbers.n / 4, n = 1;
    uint64_t first = le32(numbers, at * 4);
    while (at + n < count && le32(numbers, (at + n) * 4) == (first ? first + n : 0))
        n++;
    if (first && (first <= x->super.first_data_block || !range_inside(first, n, x->super.blocks)))
        return -EIO;
    *ret = (struct ext_run){ .block = first, .blocks = n, .at = first };
    return 0;
}

static int map_indirect(struct ext_fs *x, const struct ext_inode *i, uint64_t logical, struct ext_run *ret)
{
    struct bad bad = { 0 };
    struct bytes root = bytes_of(i->raw + EXT_INODE_BLOCK, EXT_INODE_BLOCK_SIZE, 0, &bad);
    if (logical < MAP_DIRECT)
        return map_numbers(x, bytes_sub(root, 0, MAP_DIRECT * 4), logical, ret);
    logical -= MAP_DIRECT;
    uint64_t per = x->super.block_size / 4, span = per; /* blocks that this level's tree holds */
    unsigned level = 1;
    for (; level <= 3 && logical >= span; level++) {
        logical -= span;
        span *= per; /* at most 2^14 cubed */
    }
    if (level > 3) {
        *ret = (struct ext_run){ .blocks = UINT32_MAX };
        return 0;
    }
    uint64_t block = le32(root, (MAP_DIRECT + level - 1) * 4);
    while (block) {
        struct cache_block *held;
        int r = ext_block_get(x, block, &held);
        if (r < 0)
            return r;
        struct bytes b = bytes_of(held->data, held->size, 0, &bad);
        span /= per;
        if (span == 1) {
            r = map_numbers(x, b, logical, ret);
            ext_block_put(x, held);
            return r;
        }
        block = le32(b, logical / span * 4);
        logical %= span;
        ext_block_put(x, held);
    }
    *ret = (struct ext_run){ .blocks = span - logical };
    return 0;
}

/* ---- the blocks of the tree ---- */

/* More nodes than a file of 16 TiB in pieces of a block has. */
enum { NODES_MAX = 1 << 24 };

struct nodes {
    struct ext_fs *x;
    int (*fn)(void *ctx, uint64_t block);
    void *ctx;
    unsigned n;
};

static int node_each(struct nodes *g, uint64_t block, unsigned depth, bool extents);

/* `b` speaks of nodes of that depth. */
static int below_each(struct nodes *g, struct bytes b, unsigned depth, bool extents)
{
    size_t count = extents ? le16(b, EH_ENTRIES) : b.n / 4;
    int r = 0;
    for (size_t i = 0; i < count && !r && !b.bad->set; i++) {
        struct bytes e = extents ? bytes_sub(b, EH_SIZE + i * EE_SIZE, EE_SIZE) : bytes_sub(b, i * 4, 4);
        uint64_t block = extents ? le32(e, EI_LEAF_LO) | (uint64_t)le16(e, EI_LEAF_HI) << 32 : le32(e, 0);
        if (block)
            r = node_each(g, block, depth, extents);
    }
    return b.bad->set && !r ? -EIO : r;
}

static int node_each(struct nodes *g, uint64_t block, unsigned depth, bool extents)
{
    struct bad bad = { 0 };
    struct cache_block *held;
    if (++g->n > NODES_MAX)
        return -EFBIG;
    int r = g->fn(g->ctx, block);
    if (r || !depth || (r = ext_block_get(g->x, block, &held)) < 0)
        return r;
    r = below_each(g, bytes_of(held->data, held->size, 0, &bad), depth - 1, extents);
    ext_block_put(g->x, held);
    return r;
}

int ext_map_nodes(struct ext_fs *x, const struct ext_inode *i, int (*fn)(void *ctx, uint64_t block),
                  void *ctx)
{
    struct bad bad = { 0 };
    struct nodes g = { x, fn, ctx, 0 };
    struct bytes root = bytes_of(i->raw + EXT_INODE_BLOCK, EXT_INODE_BLOCK_SIZE, 0, &bad);
    int r = 0;
    if (i->flags & EXT4_EXTENTS_FL) {
        unsigned depth = le16(root, EH_DEPTH);
        if (depth > EXTENT_DEPTH_MAX)
            return -EIO;
        return depth ? below_each(&g, root, depth - 1, true) : 0;
    }
    for (unsigned level = 0; level < 3 && !r; level++) {
        uint64_t block = le32(root, (MAP_DIRECT + level) * 4);
        if (block)
            r = node_each(&g, block, level, false);
    }
    return r;
}

int ext_map(struct ext_fs *x, const struct ext_inode *i, uint64_t logical, struct ext_run *ret)
{
    if (i->flags & EXT4_EXTENTS_FL) {
        if (logical > UINT32_MAX)
            return -EIO;
        return map_extents(x, i, logical, ret);
    }
    return map_indirect(x, i, logical, ret);
}

int ext_read_mapped(struct ext_fs *x, const struct ext_inode *i, void *buf, size_t len, uint64_t off)
{
    uint8_t *p = buf;
    uint32_t size = x->super.block_size;
    while (len) {
        struct ext_run run;
        int r = ext_map(x, i, off / size, &run);
        if (r < 0)
            return r;
        uint64_t within = off % size;
        size_t n = (size_t)min_u64(len, run.blocks * size - within); /* < 2^33 blocks of 2^16 */
        if (run.block)
            r = ext_data_read(x, p, n, run.block * size + within);
        else
            memset(p, 0, n);
        if (r < 0)
            return r;
        p += n;
        off += n;
        len -= n;
    }
    return 0;
}
