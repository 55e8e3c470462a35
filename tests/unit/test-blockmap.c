/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The block map against a naive one, on random disks; its limits; its work on huge and on damaged disks. */
#include "formats/blockmap.h"
#include "formats/checked.h"
#include "toy-disk.h"

static uint64_t seed;

/* Is any byte of the block data or unknown? Asks the toy's list, not its map. */
static bool naive_get(const struct toy *t, uint64_t block, uint64_t block_size)
{
    uint64_t off = block * block_size, end = min_u64(off + block_size, t->disk.size);
    while (off < end) {
        size_t i = toy_find(t, off);
        if (strchr("DRE", t->extents[i].kind))
            return true;
        off = t->starts[i] + t->extents[i].length;
    }
    return false;
}

static void check_against_naive(const struct blockmap *map, const struct toy *t, uint64_t block_size)
{
    uint64_t n = div_up(t->disk.size, block_size), rank = 0, data = 0;
    assert_int_equal(blockmap_blocks(map), n);
    assert_int_equal(blockmap_block_size(map), block_size);
    for (uint64_t i = 0; i < n; i++) {
        bool set = naive_get(t, i, block_size);
        assert_int_equal(blockmap_get(map, i), set);
        assert_int_equal(blockmap_rank(map, i), rank);
        if (set)
            assert_int_equal(blockmap_select(map, rank++), i);
    }
    assert_int_equal(blockmap_rank(map, n), rank);
    assert_int_equal(blockmap_allocated(map), rank);
    uint64_t run = 0;
    for (uint64_t i = n; i-- > 0;) {
        run = naive_get(t, i, block_size) ? run + 1 : 0;
        assert_int_equal(blockmap_run(map, i, UINT64_MAX), run);
    }
    for (size_t i = 0; i < t->n; i++)
        if (strchr("DR", t->extents[i].kind))
            data += t->extents[i].length;
    assert_int_equal(blockmap_data(map), data);
}

static void random_disks_match_a_naive_map(void **state)
{
    (void)state;
    static const uint64_t means[] = { 2, 40, 700, 20000 };
    for (uint64_t round = 0; round < 60; round++) {
        uint64_t s = seed + round * 7, r = s;
        uint64_t size = 1 + toy_random(&r, UINT64_C(16) << 20);
        struct toy *t = toy_new_random(size, means[round % 4], round % 3 ? "D.Z." : "DDDR.", s);
        uint64_t fine_size = UINT64_C(512) << toy_random(&r, 6);
        struct blockmap *fine, *map;
        assert_int_equal(blockmap_build(&t->disk, fine_size, &fine), 0);
        check_against_naive(fine, t, fine_size);
        for (uint64_t b = fine_size; b <= 1 << 20; b *= 8) {
            assert_int_equal(blockmap_coarsen(fine, b, &map), 0);
            check_against_naive(map, t, b);
            blockmap_free(map);
        }
        blockmap_free(fine);
        disk_close(&t->disk);
    }
}

static void sizes_at_the_edges_of_words_and_groups(void **state)
{
    (void)state;
    static const uint64_t blocks[] = { 1, 63, 64, 65, 4095, 4096, 4097, 8192, 12289 };
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
        for (int full = 0; full < 3; full++) {
            const struct toy_extent all[] = { { blocks[i] * 512, full == 1 ? 'D' : '.' }, { 0, 0 } };
            const struct toy_extent ends[] = {
                { 512, 'D' }, { blocks[i] * 512 - 512 + (blocks[i] == 1), '.' }, { 512, 'D' }, { 0, 0 }
            };
            struct toy *t = toy_new(full == 2 ? ends : all, 1);
            struct blockmap *map;
            assert_int_equal(blockmap_build(&t->disk, 512, &map), 0);
            check_against_naive(map, t, 512);
            blockmap_free(map);
            disk_close(&t->disk);
        }
    }
}

static void an_empty_disk_has_no_blocks(void **state)
{
    (void)state;
    struct toy *t = toy_new((const struct toy_extent[]){ { 0, 0 } }, 1);
    struct blockmap *map, *coarse;
    assert_int_equal(blockmap_build(&t->disk, 512, &map), 0);
    assert_int_equal(blockmap_blocks(map), 0);
    assert_int_equal(blockmap_allocated(map), 0);
    assert_int_equal(blockmap_rank(map, 0), 0);
    assert_int_equal(blockmap_coarsen(map, 4096, &coarse), 0);
    assert_int_equal(blockmap_blocks(coarse), 0);
    blockmap_free(map);
    blockmap_free(coarse);
    disk_close(&t->disk);
}

static void too_many_blocks_are_refused(void **state)
{
    (void)state;
    const struct toy_extent e[] = { { (BLOCKMAP_MAX_BLOCKS + 1) << 9, '.' }, { 0, 0 } };
    struct toy *t = toy_new(e, 1);
    struct blockmap *map = NULL;
    assert_int_equal(blockmap_build(&t->disk, 512, &map), -EFBIG);
    assert_null(map);
    assert_int_equal(blockmap_build(&t->disk, 1024, &map), 0);
    blockmap_free(map);
    t->map_error = -ENOMEM;
    t->extents[0].kind = 'E';
    assert_int_equal(blockmap_build(&t->disk, 1024, &map), -ENOMEM);
    disk_close(&t->disk);
}

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void huge_disks_cost_their_extents(void **state)
{
    (void)state;
    const uint64_t tib = UINT64_C(1) << 40;
    const struct toy_extent e[] = {
        { tib * 10, '.' }, { 5, 'D' }, { tib * 50, 'Z' }, { tib * 4 - 5, 'D' }, { 0, 0 }
    };
    struct toy *t = toy_new(e, 1);
    struct blockmap *fine, *map;
    double start = now();
    assert_int_equal(blockmap_build(&t->disk, 1 << 18, &fine), 0);
    assert_int_equal(t->maps, 4);
    assert_int_equal(blockmap_coarsen(fine, 1 << 24, &map), 0);
    assert_true(now() - start < 1.0); /* some ten ms, and slack for sanitizers and busy machines */
    assert_int_equal(blockmap_data(map), tib * 4);
    assert_int_equal(blockmap_select(map, 0), tib * 10 >> 24);
    assert_int_equal(blockmap_select(map, 1), tib * 60 >> 24);
    assert_int_equal(blockmap_run(map, tib * 60 >> 24, UINT64_MAX), tib * 4 >> 24);
    assert_int_equal(blockmap_allocated(map), (tib * 4 >> 24) + 1);
    blockmap_free(map);
    blockmap_free(fine);
    disk_close(&t->disk);
}

/* A damaged table of any size: its blocks are set, none before it, not more than as many again behind it, and
 * few questions are asked. */
static void damaged_maps_are_data_in_bounded_work(void **state)
{
    (void)state;
    const uint64_t gib = UINT64_C(1) << 30;
    const struct toy_extent e[] = { { gib, '.' }, { gib * 100, 'E' }, { gib * 300, '.' },  { 1 << 20, 'E' },
                                    { gib, '.' }, { 4096, 'D' },      { gib - 4096, '.' }, { 0, 0 } };
    struct toy *t = toy_new(e, 1);
    struct blockmap *map;
    assert_int_equal(blockmap_build(&t->disk, 1 << 16, &map), 0);
    assert_true(t->maps < 60);
    assert_int_equal(blockmap_select(map, 0), gib >> 16);
    assert_true(blockmap_run(map, gib >> 16, UINT64_MAX) >= gib * 100 >> 16);
    assert_true(blockmap_run(map, gib >> 16, UINT64_MAX) <= gib * 201 >> 16);
    assert_false(blockmap_get(map, (gib * 401 >> 16) - 1));
    assert_true(blockmap_run(map, gib * 401 >> 16, UINT64_MAX) >= 1 << 4);
    assert_true(blockmap_run(map, gib * 401 >> 16, UINT64_MAX) <= 3 << 4);
    assert_true(blockmap_get(map, blockmap_blocks(map) - (gib >> 16))); /* the 4096 bytes of data */
    assert_int_equal(blockmap_data(map) / (UINT64_C(1) << 16),
                     blockmap_allocated(map) - 1); /* all but that block are whole */
    blockmap_free(map);
    disk_close(&t->disk);
}

/* Every other block of 4 KiB is data, for ever. */
static int endless_map(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    (void)d;
    *ret = (struct extent){ .kind = off >> 12 & 1 ? EXTENT_HOLE : EXTENT_DATA };
    ret->length = min_u64(len, 4096 - off % 4096);
    return 0;
}

static void a_hostile_number_of_extents_is_data_in_the_end(void **state)
{
    (void)state;
    static const struct disk_ops ops = { .name = "endless", .map = endless_map };
    const uint64_t walked = (uint64_t)DISK_WALK_MAX * 4096, rest = UINT64_C(1) << 40;
    struct disk d = { .ops = &ops, .size = walked + rest };
    struct blockmap *map;
    assert_int_equal(blockmap_build(&d, 1 << 16, &map), 0);
    assert_true(blockmap_data(map) == walked / 2 + rest);
    assert_true(blockmap_get(map, blockmap_blocks(map) - 1));
    blockmap_free(map);
}

int main(void)
{
    seed = toy_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_disks_match_a_naive_map),
        cmocka_unit_test(sizes_at_the_edges_of_words_and_groups),
        cmocka_unit_test(an_empty_disk_has_no_blocks),
        cmocka_unit_test(too_many_blocks_are_refused),
        cmocka_unit_test(huge_disks_cost_their_extents),
        cmocka_unit_test(damaged_maps_are_data_in_bounded_work),
        cmocka_unit_test(a_hostile_number_of_extents_is_data_in_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
