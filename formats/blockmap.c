/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The block map: bits, and for each group of 4096 of them how many are set before it.
 *
 *     bits     |0110 1...|0000 0...|1111 1...|     64 words a group
 *     before    0         17        17        4113  one more than there are groups
 *
 * rank(i) is the group's count and the popcount of at most 64 words; select(r) a binary search over the
 * counts, then words, then one word's bits. While the map is built, before[g + 1] counts the bits of group g
 * alone; a prefix sum at the end makes it what it says. Groups that nothing was set in are never touched, so
 * a sparse disk of many TiB costs the pages of its data only.
 *
 * Two linear-time structures with constant-time answers exist (Jacobson 1989; Vigna's rank9, 2008); beside
 * one request through FUSE, the few hundred nanoseconds here can't be seen. */
#include "blockmap.h"
#include "checked.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>

enum { WORD = 64, GROUP = 4096, GROUP_WORDS = GROUP / WORD };

struct blockmap {
    atomic_uint refs;
    uint64_t block_size; /* bytes */
    uint64_t n_blocks, data, compressed;
    size_t n_groups;
    uint64_t *bits;
    uint32_t *before; /* n_groups + 1; at most BLOCKMAP_MAX_BLOCKS each */
};

static int blockmap_new(uint64_t n_blocks, uint64_t block_size, struct blockmap **ret)
{
    if (n_blocks > BLOCKMAP_MAX_BLOCKS)
        return -EFBIG;
    struct blockmap *map = calloc(1, sizeof *map);
    if (!map)
        return -ENOMEM;
    map->refs = 1;
    map->block_size = block_size;
    map->n_blocks = n_blocks;
    map->n_groups = (size_t)div_up(n_blocks, GROUP);
    /* one word more, so that even an empty disk has an array */
    map->bits = calloc(map->n_groups * GROUP_WORDS + 1, sizeof *map->bits);
    map->before = calloc(map->n_groups + 1, sizeof *map->before);
    if (!map->bits || !map->before) {
        blockmap_free(map);
        return -ENOMEM;
    }
    *ret = map;
    return 0;
}

struct blockmap *blockmap_ref(struct blockmap *map)
{
    atomic_fetch_add_explicit(&map->refs, 1, memory_order_relaxed);
    return map;
}

void blockmap_free(struct blockmap *map)
{
    if (!map || atomic_fetch_sub_explicit(&map->refs, 1, memory_order_acq_rel) > 1)
        return;
    free(map->bits);
    free(map->before);
    free(map);
}

static uint32_t popcount(uint64_t word)
{
    return (uint32_t)__builtin_popcountll(word);
}

/* Sets blocks first..last; both lie in the map. */
static void set_range(struct blockmap *map, uint64_t first, uint64_t last)
{
    for (uint64_t w = first / WORD; w <= last / WORD; w++) {
        uint64_t mask = UINT64_MAX;
        if (w == first / WORD)
            mask &= UINT64_MAX << first % WORD;
        if (w == last / WORD)
            mask &= UINT64_MAX >> (WORD - 1 - last % WORD);
        map->before[w / GROUP_WORDS + 1] += popcount(mask & ~map->bits[w]);
        map->bits[w] |= mask;
    }
}

static void sum_up(struct blockmap *map)
{
    for (size_t g = 0; g < map->n_groups; g++)
        map->before[g + 1] += map->before[g];
}

int map_or_data(struct disk *disk, uint64_t off, uint64_t len, uint64_t *skip, struct extent *ret)
{
    assert(off < disk->size && len);
    int r = disk_map(disk, off, len, ret);
    if (!r)
        *skip = MAP_SKIP;
    if (!r || r == -ENOMEM)
        return r;
    len = min_u64(len, disk->size - off);
    *ret = (struct extent){ .kind = EXTENT_DATA, .length = min_u64(len, *skip - off % *skip) };
    if (*skip < UINT64_MAX / 4)
        *skip *= 2;
    return 0;
}

static int walk(struct disk *disk, struct blockmap *map)
{
    unsigned shift = shift_of(map->block_size);
    uint64_t skip = MAP_SKIP;
    struct extent e;
    for (uint64_t off = 0, n = 0; off < disk->size; off += e.length, n++) {
        int r = 0;
        if (n < DISK_WALK_MAX)
            r = map_or_data(disk, off, disk->size - off, &skip, &e);
        else /* what isn't known counts as data */
            e = (struct extent){ .kind = EXTENT_DATA, .length = disk->size - off };
        if (r < 0)
            return r;
        n += e.effort;
        if (e.kind != EXTENT_DATA)
            continue;
        set_range(map, off >> shift, (off + e.length - 1) >> shift);
        map->data += e.length;
        map->compressed += e.compressed ? e.length : 0;
    }
    return 0;
}

int blockmap_build(struct disk *disk, uint64_t block_size, struct blockmap **ret)
{
    assert(is_power_of_two(block_size));
    _cleanup_(blockmap_freep) struct blockmap *map = NULL;
    int r = blockmap_new(div_up(disk->size, block_size), block_size, &map);
    if (!r)
        r = walk(disk, map);
    if (r < 0)
        return r;
    sum_up(map);
    *ret = TAKE_PTR(map);
    return 0;
}

uint64_t blockmap_next(const struct blockmap *map, uint64_t block, uint64_t until)
{
    while (block < until) {
        uint64_t g = block / GROUP;
        if (map->before[g] == map->before[g + 1]) {
            block = (g + 1) * GROUP;
            continue;
        }
        uint64_t word = map->bits[block / WORD] >> block % WORD;
        if (word)
            return min_u64(until, block + (unsigned)__builtin_ctzll(word));
        block = (block / WORD + 1) * WORD;
    }
    return until;
}

int blockmap_coarsen(const struct blockmap *fine, uint64_t block_size, struct blockmap **ret)
{
    assert(is_power_of_two(block_size) && block_size >= fine->block_size);
    unsigned shift = shift_of(block_size / fine->block_size);
    struct blockmap *map;
    int r = blockmap_new((fine->n_blocks + (UINT64_C(1) << shift) - 1) >> shift, block_size, &map);
    if (r < 0)
        return r;
    uint64_t b = blockmap_next(fine, 0, fine->n_blocks);
    while (b < fine->n_blocks) {
        uint64_t coarse = b >> shift;
        set_range(map, coarse, coarse);
        b = blockmap_next(fine, (coarse + 1) << shift, fine->n_blocks);
    }
    map->data = fine->data;
    map->compressed = fine->compressed;
    sum_up(map);
    *ret = map;
    return 0;
}

uint64_t blockmap_block_size(const struct blockmap *map)
{
    return map->block_size;
}

uint64_t blockmap_blocks(const struct blockmap *map)
{
    return map->n_blocks;
}

uint64_t blockmap_allocated(const struct blockmap *map)
{
    return map->before[map->n_groups];
}

uint64_t blockmap_data(const struct blockmap *map)
{
    return map->data;
}

uint64_t blockmap_compressed(const struct blockmap *map)
{
    return map->compressed;
}

bool blockmap_get(const struct blockmap *map, uint64_t block)
{
    assert(block < map->n_blocks);
    return map->bits[block / WORD] >> block % WORD & 1;
}

uint64_t blockmap_rank(const struct blockmap *map, uint64_t block)
{
    assert(block <= map->n_blocks);
    uint64_t word = block / GROUP * GROUP_WORDS;
    uint64_t rank = map->before[block / GROUP];
    for (; word < block / WORD; word++)
        rank += popcount(map->bits[word]);
    if (block % WORD)
        rank += popcount(map->bits[word] & ((UINT64_C(1) << block % WORD) - 1));
    return rank;
}

/* The group in which the block of this rank lies: the last one with before[g] <= rank. */
static size_t group_of_rank(const struct blockmap *map, uint64_t rank)
{
    size_t low = 0, high = map->n_groups; /* before[low] <= rank < before[high] */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (map->before[middle] <= rank)
            low = middle;
        else
            high = middle;
    }
    return low;
}

uint64_t blockmap_select(const struct blockmap *map, uint64_t rank)
{
    assert(rank < blockmap_allocated(map));
    size_t g = group_of_rank(map, rank);
    uint64_t left = rank - map->before[g];
    uint64_t w = (uint64_t)g * GROUP_WORDS;
    uint32_t n;
    for (; left >= (n = popcount(map->bits[w])); w++)
        left -= n;
    uint64_t word = map->bits[w];
    for (; left; left--)
        word &= word - 1;
    return w * WORD + (unsigned)__builtin_ctzll(word);
}

uint64_t blockmap_run(const struct blockmap *map, uint64_t block, uint64_t max)
{
    assert(block < map->n_blocks);
    uint64_t b = block, end = block + min_u64(max, map->n_blocks - block);
    while (b < end) {
        /* the bits shifted in are ones here, so they never end the run */
        uint64_t clear = ~map->bits[b / WORD] >> b % WORD;
        if (clear)
            return min_u64(end, b + (unsigned)__builtin_ctzll(clear)) - block;
        b = (b / WORD + 1) * WORD;
    }
    return end - block;
}
