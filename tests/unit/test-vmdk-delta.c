/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ESXi's deltas on extents that are built here: what each entry means, what damage does to headers and
 * tables, truncation at many points, and how many reads of the file a run of grains costs. */
#include "formats/checked.h"
#include "formats/vmdk-sparse.h"
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* An extent of either kind, of three tables of which the middle one is absent, its last grain cut by the end
 * of the disk. */
enum { SECTOR = 512, TABLE = 4096, IMAGE_MAX = 400 * SECTOR };

struct built {
    const char *name;
    int (*open)(struct file *file, uint64_t sectors, const struct vmdk_context *ctx, struct disk **ret,
                struct fault *fault);
    uint64_t grain, capacity; /* bytes */
    size_t directory, first_table, last_table;
    size_t n;
    uint8_t p[IMAGE_MAX];
};

/* What is stored, grain by grain: 0 to 2 lie in a row, 5 before 4. */
static const struct {
    unsigned grain, place;
} stored[] = { { 0, 0 }, { 1, 1 }, { 2, 2 }, { 5, 3 }, { 4, 4 }, { 2 * TABLE + 1, 5 }, { 2 * TABLE + 3, 6 } };
enum { N_STORED = sizeof stored / sizeof stored[0], LAST_GRAIN = 2 * TABLE + 3 };

static uint8_t byte_of(unsigned grain, uint64_t within)
{
    return (uint8_t)(1 + grain * 7 + (within * 2654435761u >> 27));
}

static void put_grain(struct built *b, unsigned i, size_t at)
{
    for (uint64_t k = 0; k < b->grain; k++)
        b->p[at + k] = byte_of(stored[i].grain, k);
}

static size_t entry_at(const struct built *b, unsigned grain, unsigned width)
{
    return (grain < TABLE ? b->first_table : b->last_table) + grain % TABLE * width;
}

/* Header 4 sectors, directory 1, tables of 32 sectors, grains of 2 sectors. */
static void build_cowd(struct built *b)
{
    memset(b, 0, sizeof *b);
    b->name = "cowd";
    b->open = vmdk_cowd_open;
    b->grain = 2 * SECTOR;
    b->capacity = LAST_GRAIN * b->grain + SECTOR;
    b->directory = 4 * SECTOR;
    b->first_table = 5 * SECTOR;
    b->last_table = 37 * SECTOR;
    memcpy(b->p, "COWD", 4);
    put_le32(b->p + 4, 1);
    put_le32(b->p + 8, 3);
    put_le32(b->p + 12, (uint32_t)(b->capacity / SECTOR));
    put_le32(b->p + 16, 2);
    put_le32(b->p + 20, 4);
    put_le32(b->p + 24, 3);
    put_le32(b->p + b->directory, 5);
    put_le32(b->p + b->directory + 8, 37);
    for (unsigned i = 0; i < N_STORED; i++) {
        unsigned sector = 69 + 2 * stored[i].place;
        put_le32(b->p + entry_at(b, stored[i].grain, 4), sector);
        put_grain(b, i, (size_t)sector * SECTOR);
    }
    b->n = (69 + 2 * N_STORED) * SECTOR;
}

/* Const header, volatile header, directory, two tables (the second is the first by number), grains. */
static void build_sesparse(struct built *b)
{
    memset(b, 0, sizeof *b);
    b->name = "sesparse";
    b->open = vmdk_sesparse_open;
    b->grain = 8 * SECTOR;
    b->capacity = LAST_GRAIN * b->grain + 3 * SECTOR;
    b->directory = 2 * SECTOR;
    b->first_table = 67 * SECTOR;
    b->last_table = 3 * SECTOR;
    put_le64(b->p, 0xcafebabe);
    put_le64(b->p + 8, UINT64_C(0x200000001));
    put_le64(b->p + 16, b->capacity / SECTOR);
    put_le64(b->p + 24, 8);
    put_le64(b->p + 32, 64);
    put_le64(b->p + 80, 1);
    put_le64(b->p + 128, 2);
    put_le64(b->p + 136, 1);
    put_le64(b->p + 144, 3);
    put_le64(b->p + 192, 131);
    put_le64(b->p + SECTOR, 0xcafecafe);
    put_le64(b->p + b->directory, UINT64_C(1) << 60 | 1);
    put_le64(b->p + b->directory + 16, UINT64_C(1) << 60);
    for (unsigned i = 0; i < N_STORED; i++) {
        put_le64(b->p + entry_at(b, stored[i].grain, 8), UINT64_C(3) << 60 | (uint64_t)stored[i].place << 48);
        put_grain(b, i, 131 * SECTOR + stored[i].place * b->grain);
    }
    b->n = 131 * SECTOR + N_STORED * b->grain;
}

static void (*const builders[])(struct built *b) = { build_cowd, build_sesparse };
enum { KINDS = sizeof builders / sizeof builders[0] };

static struct built built;
static struct cache *cache; /* of one test */

static int setup(void **state)
{
    (void)state;
    cache = cache_new(1 << 20, NULL);
    return cache ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    cache_free(cache);
    return 0;
}

static struct layer_info info;

/* Opens the first n bytes of `built`. */
static int open_built(size_t n, uint64_t sectors, struct disk **ret, struct fault *fault)
{
    struct image_env env = { .cache = cache };
    struct vmdk_context ctx = { .env = &env, .info = &info };
    struct file *f;
    notes_done(&info.notes);
    info = (struct layer_info){ 0 };
    *fault = (struct fault){ 0 };
    assert_int_equal(file_memory_new(built.p, n, "t.vmdk", &f), 0);
    int r = built.open(f, sectors, &ctx, ret, fault);
    file_unref(f);
    if (r < 0)
        assert_true(fault->err == r && fault->what[0]);
    return r;
}

static struct disk *open_whole(void)
{
    struct disk *d = NULL;
    struct fault fault;
    if (open_built(built.n, 0, &d, &fault) != 0)
        fail_msg("%s: %s", built.name, fault.what);
    return d;
}

static const struct {
    unsigned first, last; /* grains */
    enum extent_kind kind;
} runs[] = {
    { 0, 3, EXTENT_DATA },
    { 3, 4, EXTENT_HOLE },
    { 4, 6, EXTENT_DATA },
    { 6, TABLE, EXTENT_HOLE },
    { TABLE, 2 * TABLE, EXTENT_HOLE },
    { 2 * TABLE, 2 * TABLE + 1, EXTENT_HOLE },
    { 2 * TABLE + 1, 2 * TABLE + 2, EXTENT_DATA },
    { 2 * TABLE + 2, 2 * TABLE + 3, EXTENT_HOLE },
    { 2 * TABLE + 3, 2 * TABLE + 4, EXTENT_DATA },
};
enum { N_RUNS = sizeof runs / sizeof runs[0] };

/* Every sector of the runs of data is right, or -EIO, but where a run of zeros or none is asked for; how many
 * can't be read. */
static unsigned compare(struct disk *d)
{
    unsigned unreadable = 0;
    uint8_t sector[SECTOR];
    for (unsigned i = 0; i < N_RUNS; i++) {
        uint64_t end = min_u64(runs[i].last * built.grain, built.capacity);
        if (runs[i].last - runs[i].first > 100)
            end = runs[i].first * built.grain + SECTOR;
        for (uint64_t off = runs[i].first * built.grain; off < end; off += SECTOR) {
            int r = disk_pread(d, sector, SECTOR, off);
            unreadable += r == -EIO;
            if (r && r != -EIO)
                fail_msg("%s: %d at %llu", built.name, r, (unsigned long long)off);
            for (unsigned k = 0; !r && k < SECTOR; k++) {
                unsigned g = (unsigned)(off / built.grain);
                uint8_t want = runs[i].kind == EXTENT_DATA ? byte_of(g, off % built.grain + k) : 0;
                if (sector[k] != want)
                    fail_msg("%s: wrong byte with success at %llu", built.name, (unsigned long long)off + k);
            }
        }
    }
    return unreadable;
}

static void whole_extents_are_mapped_and_read(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        builders[kind](&built);
        struct disk *d = open_whole();
        assert_int_equal(d->size, built.capacity);
        assert_int_equal(info.block_size, built.grain);
        assert_int_equal(info.notes.n, 0);
        assert_int_equal(compare(d), 0);
        for (unsigned i = 0; i < N_RUNS; i++) {
            uint64_t start = runs[i].first * built.grain;
            uint64_t end = min_u64(runs[i].last * built.grain, built.capacity);
            struct extent e;
            assert_int_equal(disk_map(d, start, d->size, &e), 0);
            assert_int_equal(e.kind, runs[i].kind);
            assert_int_equal(e.length, end - start);
            assert_int_equal(disk_map(d, start + 1, 10, &e), 0);
            assert_int_equal(e.length, 10);
        }
        uint8_t odd[3000], *again = malloc(built.grain * 6);
        assert_non_null(again);
        assert_int_equal(disk_pread(d, again, built.grain * 6, 0), 0);
        assert_int_equal(disk_pread(d, odd, 3000, 777), 0);
        assert_memory_equal(odd, again + 777, 3000);
        free(again);
        disk_prefetch(d, 0, d->size);
        disk_close(d);
        built.n -=
            built.grain - (built.capacity % built.grain); /* nothing of the disk: the last grain's end */
        d = open_whole();
        assert_int_equal(compare(d), 0);
        disk_close(d);
    }
}

static void entries_of_zeros_hide_the_parent(void **state)
{
    (void)state;
    build_sesparse(&built);
    for (unsigned g = 6; g < 12; g++) /* the low bits say nothing here */
        put_le64(built.p + entry_at(&built, g, 8), (uint64_t)(1 + g % 2) << 60 | g);
    struct disk *d = open_whole();
    struct extent e;
    uint8_t bytes[100] = { 1 };
    assert_int_equal(disk_map(d, 6 * built.grain, d->size, &e), 0);
    assert_int_equal(e.kind, EXTENT_ZERO);
    assert_int_equal(e.length, 6 * built.grain);
    assert_int_equal(disk_pread(d, bytes, sizeof bytes, 7 * built.grain), 0);
    assert_int_equal(bytes[0], 0);
    disk_close(d);
}

/* The lower 12 bits of a grain's number are the upper ones of the entry. */
static void numbers_of_grains_are_put_together(void **state)
{
    (void)state;
    static uint8_t large[131 * SECTOR + (4096 + 5) * 4096];
    build_sesparse(&built);
    put_le64(built.p + entry_at(&built, 0, 8), UINT64_C(3) << 60 | UINT64_C(4) << 48 | 1);
    memcpy(large, built.p, built.n);
    memset(large + sizeof large - 4096, 0x5a, 4096);
    struct image_env env = { .cache = cache };
    struct vmdk_context ctx = { .env = &env, .info = &info };
    struct file *f;
    struct disk *d;
    uint8_t byte = 0;
    assert_int_equal(file_memory_new(large, sizeof large, "t.vmdk", &f), 0);
    assert_int_equal(vmdk_sesparse_open(f, 0, &ctx, &d, NULL), 0);
    assert_int_equal(disk_pread(d, &byte, 1, 0), 0);
    assert_int_equal(byte, 0x5a);
    disk_close(d);
    file_unref(f);
    struct fault fault;
    assert_int_equal(open_built(built.n, 0, &d, &fault), -ENODATA);
}

struct damage {
    const char *what;
    size_t at;
    unsigned width;
    uint64_t value;
    int error;
};

static void try_damage(void (*build)(struct built *b), const struct damage *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct disk *d;
        struct fault fault;
        build(&built);
        uint64_t value = htole64(rows[i].value);
        memcpy(built.p + rows[i].at, &value, rows[i].width);
        int r = open_built(built.n, 0, &d, &fault);
        if (r != rows[i].error)
            fail_msg("%s, %s: %d (%s)", built.name, rows[i].what, r, fault.what);
        if (r == 0) {
            assert_int_equal(compare(d), 0);
            disk_close(d);
        }
    }
}

static void damaged_cowd_is_refused(void **state)
{
    (void)state;
    enum { GD = 4 * SECTOR, GT = 5 * SECTOR };
    static const struct damage rows[] = {
        { "version", 4, 4, 2, -ENOTSUP },
        { "flags", 8, 4, 0x103, -ENOTSUP },
        { "flags of a child", 8, 4, 2, 0 },
        { "capacity", 12, 4, 0, -EUCLEAN },
        { "capacity beyond the directory", 12, 4, 0xffffffff, -EUCLEAN },
        { "grain 0", 16, 4, 0, -EUCLEAN },
        { "grain 3", 16, 4, 3, -EUCLEAN },
        { "grain too large", 16, 4, 4096, -EUCLEAN },
        { "directory in the header", 20, 4, 3, -EUCLEAN },
        { "directory outside", 20, 4, 0xffffffff, -ENODATA },
        { "directory too short", 24, 4, 2, -EUCLEAN },
        { "directory longer than needed", 24, 4, 128, 0 },
        { "unclean", 1648, 4, 1, 0 },
        { "table in the header", GD, 4, 1, -EUCLEAN },
        { "table in the directory", GD, 4, 4, -EUCLEAN },
        { "table outside", GD, 4, 0xffffffff, -ENODATA },
        { "table cut off", GD, 4, 69 + 2 * N_STORED - 10, -ENODATA },
        { "last table's end outside: not needed", GD + 8, 4, 37, 0 },
        { "grain in the header", GT, 4, 1, -EUCLEAN },
        { "grain in the directory", GT, 4, 4, -EUCLEAN },
        { "grain outside", GT, 4, 0xffffffff, -ENODATA },
        { "grain cut off", GT, 4, 69 + 2 * N_STORED - 1, -ENODATA },
    };
    try_damage(build_cowd, rows, sizeof rows / sizeof rows[0]);
    struct fault fault;
    struct disk *d;
    build_cowd(&built);
    built.p[1648] = 1;
    assert_int_equal(open_built(built.n, 0, &d, &fault), 0);
    assert_int_equal(info.notes.n, 1);
    disk_close(d);
}

static void damaged_sesparse_is_refused(void **state)
{
    (void)state;
    enum { GD = 2 * SECTOR, GT = 67 * SECTOR };
    static const struct damage rows[] = {
        { "version", 8, 8, UINT64_C(0x200000002), -ENOTSUP },
        { "capacity", 16, 8, 0, -EUCLEAN },
        { "capacity beyond the directory", 16, 8, UINT64_C(1) << 32, -EUCLEAN },
        { "capacity beyond our limit", 16, 8, UINT64_MAX, -EFBIG },
        { "grain size", 24, 8, 16, -ENOTSUP },
        { "table size", 32, 8, 32, -ENOTSUP },
        { "flags", 40, 8, 1, -ENOTSUP },
        { "reserved", 72, 8, 1, -ENOTSUP },
        { "volatile header nowhere", 80, 8, 0, -EUCLEAN },
        { "volatile header elsewhere", 80, 8, 2, -EUCLEAN },
        { "volatile header outside", 80, 8, 1 << 20, -ENODATA },
        { "volatile header overflows", 80, 8, UINT64_MAX, -EUCLEAN },
        { "directory outside", 128, 8, 1 << 20, -ENODATA },
        { "directory overflows", 128, 8, UINT64_C(1) << 55, -EUCLEAN },
        { "directory without size", 136, 8, 0, -EUCLEAN },
        { "directory of any size", 136, 8, UINT64_MAX, 0 },
        { "tables outside", 144, 8, 1 << 20, -ENODATA },
        { "tables overflow", 144, 8, UINT64_MAX / SECTOR, -EUCLEAN },
        { "grains outside", 192, 8, 1 << 20, -ENODATA },
        { "grains overflow", 192, 8, UINT64_MAX, -EUCLEAN },
        { "dirty", SECTOR + 24, 8, 1, -ENOTSUP },
        { "table's type", GD, 8, UINT64_C(2) << 60, -EUCLEAN },
        { "table's upper bits", GD, 8, UINT64_C(0x1000000100000000), -EUCLEAN },
        { "table among the grains", GD, 8, UINT64_C(0x1000000000000002), -EUCLEAN },
        { "table outside", GD, 8, UINT64_C(0x10000000ffffffff), -EUCLEAN },
        { "absent, with a number", GT, 8, 1, -EUCLEAN },
        { "grain's type 4", GT, 8, UINT64_C(4) << 60, -EUCLEAN },
        { "grain's type 15", GT, 8, UINT64_MAX, -EUCLEAN },
        { "grain outside", GT, 8, UINT64_C(0x3007000000000000), -ENODATA },
        { "grain overflows", GT, 8, UINT64_C(0x3fffffffffffffff), -EUCLEAN },
    };
    try_damage(build_sesparse, rows, sizeof rows / sizeof rows[0]);
}

static void truncated_copies_never_give_zeros_for_data(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        unsigned opened = 0;
        builders[kind](&built);
        for (size_t n = 0; n < built.n; n += 100) {
            struct disk *d;
            struct fault fault;
            int r = open_built(n, 0, &d, &fault);
            if (r == 0) {
                assert_int_equal(compare(d), 0);
                disk_close(d);
                opened++;
            } else {
                assert_int_equal(r, -ENODATA);
            }
        }
        /* only what the disk doesn't have of its last grain may go */
        assert_true(opened <= (built.grain - built.capacity % built.grain) / 100 + 1);
    }
}

/* What the file lacks of a table must not read as entries of none. */
static void cut_tables_are_not_empty(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        struct disk *d;
        struct fault fault;
        builders[kind](&built);
        unsigned sector = (unsigned)(built.n / SECTOR); /* a sector of zeros behind the end becomes table 0 */
        built.n += SECTOR;
        if (kind == 0) {
            put_le32(built.p + built.directory, sector);
        } else {
            put_le64(built.p + 144, sector);
            put_le64(built.p + 192, 3); /* grains before tables: not met, nothing speaks against it */
            put_le64(built.p + built.directory, UINT64_C(1) << 60);
            put_le64(built.p + built.directory + 16, 0);
        }
        assert_int_equal(open_built(built.n, 0, &d, &fault), -ENODATA);
        assert_non_null(strstr(fault.what, "grain table 0"));
    }
}

static void lines_decide_the_size(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        struct disk *d;
        struct fault fault;
        struct extent e;
        builders[kind](&built);
        uint64_t sectors = built.capacity / SECTOR;
        assert_int_equal(open_built(built.n, sectors + 3, &d, &fault), 0);
        assert_int_equal(d->size, built.capacity + 3 * SECTOR);
        assert_int_equal(info.notes.n, 1);
        assert_int_equal(compare(d), 0);
        assert_int_equal(disk_map(d, built.capacity, SECTOR * 10, &e), 0);
        assert_true(e.kind == EXTENT_HOLE && e.length == 3 * SECTOR);
        disk_close(d);
        assert_int_equal(open_built(built.n, 7, &d, &fault), -EUCLEAN); /* grains would be lost */
        assert_non_null(strstr(fault.what, "behind the end that the descriptor states"));
        assert_int_equal(open_built(built.n, sectors + 20000, &d, &fault), -EUCLEAN);
    }
}

/* ---- a file that counts its reads, and fails when it is told to ---- */

static unsigned reads;
static bool broken;
static const struct file_ops *memory_ops;

static int counted_pread(struct file *f, void *buf, size_t len, uint64_t off)
{
    reads++;
    return broken ? -EIO : memory_ops->pread(f, buf, len, off);
}

static void runs_of_grains_are_one_read(void **state)
{
    (void)state;
    struct image_env env = { .cache = cache };
    struct vmdk_context ctx = { .env = &env, .info = &info };
    for (int kind = 0; kind < KINDS; kind++) {
        struct file *f;
        struct disk *d;
        uint8_t buf[6 * 4096];
        builders[kind](&built);
        assert_int_equal(file_memory_new(built.p, built.n, "t.vmdk", &f), 0);
        memory_ops = f->ops;
        struct file_ops counted = *memory_ops;
        counted.pread = counted_pread;
        f->ops = &counted;
        broken = false;
        assert_int_equal(built.open(f, 0, &ctx, &d, NULL), 0);
        reads = 0; /* the tables are in the cache */
        assert_int_equal(disk_pread(d, buf, (size_t)built.grain * 3, 0), 0);
        assert_int_equal(reads, 1);
        assert_int_equal(disk_pread(d, buf, (size_t)built.grain * 6, 0), 0);
        assert_int_equal(reads, 1 + 1 + 2);
        broken = true;
        assert_int_equal(disk_pread(d, buf, 1, 0), -EIO);
        assert_int_equal(disk_pread(d, buf, 1, 3 * built.grain), 0); /* nothing to be read */
        disk_close(d);
        assert_int_equal(built.open(f, 0, &ctx, &d, NULL), -EIO);
        f->ops = memory_ops;
        file_unref(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(whole_extents_are_mapped_and_read),  T(entries_of_zeros_hide_the_parent),
        T(numbers_of_grains_are_put_together), T(damaged_cowd_is_refused),
        T(damaged_sesparse_is_refused),        T(truncated_copies_never_give_zeros_for_data),
        T(cut_tables_are_not_empty),           T(lines_decide_the_size),
        T(runs_of_grains_are_one_read),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    notes_done(&info.notes);
    return failed;
}
