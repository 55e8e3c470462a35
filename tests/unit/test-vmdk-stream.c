/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tables that lost something: every entry of every grain directory and grain table of images that are built
 * here is zeroed, or made to say what another one says, and the disk must then be right, refused or
 * unreadable, and never zeros. Whole images of all writers' kinds must be taken as they are. */
#include "formats/checked.h"
#include "formats/image.h"
#include "formats/vmdk-sparse.h"
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

enum {
    GRAIN = 8, /* sectors */
    GRAIN_LEN = GRAIN * 512,
    GTES = 8,
    TABLES = 6,
    GRAINS = TABLES * GTES - 3,
    CAPACITY = GRAINS * GRAIN,
    DISK = CAPACITY * 512,
    OVERHEAD = 32,
    FRONT_GD = 2,
    FRONT_RGD = 10,
    IMAGE_MAX = 512 * 512,
};

/* Tables 2 and 4 have nothing, 1 begins and ends with holes, 5 is the short last one. */
static const uint8_t present[] = { 0, 1, 3, 7, 10, 11, 13, 24, 25, 26, 27, 28, 29, 30, 31, 41, 44 };

enum kind {
    BEHIND,   /* a stream: each table behind its grains, none for those that are absent; a footer */
    FRONT,    /* a stream: all tables in front of the grains, and all there */
    TWICE,    /* the same, and a second copy of the tables */
    SWAPPED,  /* as FRONT, its grains in descending order */
    PLAIN,    /* no stream: two copies */
    UNCLEAN,  /* the same, not closed */
    SINGLE,   /* no stream, one copy: nothing tells what was lost */
    UNFILLED, /* the same, closed, but nobody ever wrote into the second copies */
    KINDS,
};

static const char *const names[KINDS] = { "behind", "front",   "twice",  "swapped",
                                          "plain",  "unclean", "single", "unfilled" };

static struct built {
    enum kind kind;
    uint8_t p[IMAGE_MAX];
    size_t n;
    uint32_t gd;           /* sector */
    uint32_t gt[TABLES];   /* sectors; 0: none */
    uint32_t copy[TABLES]; /* the same */
    uint8_t truth[DISK];
} built;

static bool is_stream(void)
{
    return built.kind <= SWAPPED;
}

static bool has_copies(void)
{
    return built.kind == TWICE || (!is_stream() && built.kind != SINGLE);
}

static void put_header(uint8_t *p, uint64_t gd)
{
    memset(p, 0, 512);
    memcpy(p, "KDMV", 4);
    put_le32(p + 4, is_stream() ? 3 : 1);
    put_le32(p + 8, (is_stream() ? 0x30001 : 1) | (has_copies() ? 2 : 0));
    put_le64(p + 12, CAPACITY);
    put_le64(p + 20, GRAIN);
    put_le32(p + 44, GTES);
    put_le64(p + 48, has_copies() ? FRONT_RGD : 0);
    put_le64(p + 56, gd);
    put_le64(p + 64, OVERHEAD);
    p[72] = built.kind == UNCLEAN;
    memcpy(p + 73, "\n \r\n", 4);
    p[77] = is_stream();
}

static void put_grain(unsigned g)
{
    uint8_t *t = built.truth + g * GRAIN_LEN;
    uint8_t *to = built.p + built.n;
    for (unsigned i = 0; i < GRAIN_LEN; i++)
        t[i] = (uint8_t)(1 + g + (i * 2654435761u >> 27));
    uint32_t sector = (uint32_t)(built.n / 512);
    put_le32(built.p + built.gt[g / GTES] * 512 + g % GTES * 4, sector);
    if (built.copy[g / GTES] && built.kind != UNFILLED)
        put_le32(built.p + built.copy[g / GTES] * 512 + g % GTES * 4, sector);
    if (!is_stream()) {
        memcpy(to, t, GRAIN_LEN);
        built.n += GRAIN_LEN;
        return;
    }
    uLongf n = 2 * GRAIN_LEN;
    assert_int_equal(compress(to + 12, &n, t, GRAIN_LEN), Z_OK);
    put_le64(to, g * GRAIN);
    put_le32(to + 8, (uint32_t)n);
    built.n += round_up(12 + n, 512);
}

static void put_marker(uint64_t sectors, uint32_t type)
{
    put_le64(built.p + built.n, sectors);
    put_le32(built.p + built.n + 12, type);
    built.n += 512;
}

static void build_behind(void)
{
    uint8_t entries[TABLES][512] = { 0 };
    put_header(built.p, UINT64_MAX);
    built.n = OVERHEAD * 512;
    for (unsigned i = 0, t = 0; t < TABLES; t++) {
        built.gt[t] = IMAGE_MAX / 512 - 1; /* put_grain() has no place for its entry yet */
        memset(built.p + IMAGE_MAX - 512, 0, 512);
        bool any = false;
        for (; i < sizeof present && present[i] / GTES == t; i++, any = true)
            put_grain(present[i]);
        memcpy(entries[t], built.p + IMAGE_MAX - 512, 512);
        memset(built.p + IMAGE_MAX - 512, 0, 512);
        built.gt[t] = 0;
        if (!any)
            continue;
        put_marker(1, 1);
        built.gt[t] = (uint32_t)(built.n / 512);
        memcpy(built.p + built.n, entries[t], 512);
        built.n += 512;
    }
    put_marker(1, 2);
    built.gd = (uint32_t)(built.n / 512);
    for (unsigned t = 0; t < TABLES; t++)
        put_le32(built.p + built.n + t * 4, built.gt[t]);
    built.n += 512;
    put_marker(1, 3);
    put_header(built.p + built.n, built.gd);
    built.n += 2 * 512;
}

static void build(enum kind kind)
{
    memset(&built, 0, sizeof built);
    built.kind = kind;
    if (kind == BEHIND) {
        build_behind();
        return;
    }
    bool copies = has_copies();
    put_header(built.p, built.gd = FRONT_GD);
    for (unsigned t = 0; t < TABLES; t++) {
        put_le32(built.p + FRONT_GD * 512 + t * 4, built.gt[t] = FRONT_GD + 1 + t);
        if (copies)
            put_le32(built.p + FRONT_RGD * 512 + t * 4, built.copy[t] = FRONT_RGD + 1 + t);
    }
    built.n = OVERHEAD * 512;
    for (unsigned i = 0; i < sizeof present; i++)
        put_grain(present[kind == SWAPPED ? sizeof present - 1 - i : i]);
}

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

/* `above`: links of a chain above this one; many leave the tables to be checked when they are needed. */
static int open_built(unsigned above, struct layer_info *info, struct disk **ret, struct fault *fault)
{
    struct image_env env = { .cache = cache, .above = above };
    struct vmdk_context ctx = { .env = &env, .info = info };
    struct file *f;
    *info = (struct layer_info){ 0 };
    *fault = (struct fault){ 0 };
    assert_int_equal(file_memory_new(built.p, built.n, "t.vmdk", &f), 0);
    int r = vmdk_sparse_open(f, 0, &ctx, ret, fault);
    file_unref(f);
    if (r < 0)
        assert_true(fault->err == r && fault->what[0]);
    return r;
}

enum { AT_OPEN = 0, ON_DEMAND = 1 << 20 };

/* How many sectors can't be read; all others must be right. */
static unsigned compare(struct disk *d, const char *what)
{
    unsigned unreadable = 0;
    uint8_t sector[512];
    for (uint64_t off = 0; off < DISK; off += 512) {
        int r = disk_pread(d, sector, 512, off);
        if (r == -EIO)
            unreadable++;
        else if (r || memcmp(sector, built.truth + off, 512) != 0)
            fail_msg("%s, %s: wrong bytes with success at %llu", names[built.kind], what,
                     (unsigned long long)off);
    }
    return unreadable;
}

enum outcome { IS_RIGHT, IS_REFUSED, IS_UNREADABLE };

static enum outcome read_built(unsigned above, const char *what)
{
    struct layer_info info;
    struct disk *d;
    struct fault fault;
    enum outcome out = IS_REFUSED;
    if (open_built(above, &info, &d, &fault) == 0) {
        out = compare(d, what) ? IS_UNREADABLE : IS_RIGHT;
        disk_close(d);
    }
    notes_done(&info.notes);
    return out;
}

static void whole_images_are_read(void **state)
{
    (void)state;
    for (enum kind k = 0; k < KINDS; k++) {
        build(k);
        assert_int_equal(read_built(AT_OPEN, "whole"), IS_RIGHT);
        assert_int_equal(read_built(ON_DEMAND, "whole"), IS_RIGHT);
    }
}

/* What a lost entry of the kind must lead to. */
static bool expected(bool at_open, enum outcome out)
{
    switch (built.kind) {
    case UNCLEAN: /* the last writer may have been cut off: the rest is readable */
        return out == IS_UNREADABLE;
    default:
        return out == (at_open ? IS_REFUSED : IS_UNREADABLE);
    }
}

static void a_zeroed_table_entry_is_noticed(void **state)
{
    (void)state;
    for (enum kind k = 0; k < KINDS; k++) {
        if (k == SWAPPED || k == UNFILLED || k == SINGLE)
            continue; /* nothing there says that the grain exists */
        for (unsigned i = 0; i < sizeof present; i++) {
            char what[40];
            snprintf(what, sizeof what, "grain %u", present[i]);
            build(k);
            put_le32(built.p + built.gt[present[i] / GTES] * 512 + present[i] % GTES * 4, 0);
            if (!expected(true, read_built(AT_OPEN, what)) || !expected(false, read_built(ON_DEMAND, what)))
                fail_msg("%s, %s: not noticed", names[k], what);
        }
    }
}

static void zeroed_runs_of_entries_are_noticed(void **state)
{
    (void)state;
    static const enum kind kinds[] = { BEHIND, FRONT, TWICE, PLAIN };
    for (unsigned k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        for (unsigned t = 0; t < TABLES; t++) {
            build(kinds[k]);
            uint8_t *table = built.p + built.gt[t] * 512;
            bool any = built.gt[t] && memcmp(table, (uint8_t[GTES * 4]){ 0 }, GTES * 4);
            if (!any)
                continue;
            memset(table, 0, GTES * 4);
            assert_true(expected(true, read_built(AT_OPEN, "table")));
            assert_true(expected(false, read_built(ON_DEMAND, "table")));
        }
    }
}

static void directories_that_lie_are_noticed(void **state)
{
    (void)state;
    static const enum kind kinds[] = { BEHIND, FRONT, TWICE, PLAIN };
    for (unsigned k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        for (unsigned t = 0; t < TABLES; t++) {
            for (unsigned say = 0; say <= TABLES + 1; say++) {
                build(kinds[k]);
                /* none; the place of another table; sectors of zeros; for the copies, the copy itself */
                uint32_t sector = say == 0 ? 0 : say <= TABLES ? built.gt[say - 1] : OVERHEAD - 1;
                if (sector == built.gt[t])
                    continue;
                char what[60];
                snprintf(what, sizeof what, "table %u at sector %u", t, sector);
                put_le32(built.p + built.gd * 512 + t * 4, sector);
                read_built(AT_OPEN, what);
            }
        }
    }
}

/* Damage of what tells where the next item is makes the check blind there, but nothing else. */
static void a_damaged_grain_hides_nothing_else(void **state)
{
    (void)state;
    static const enum kind kinds[] = { BEHIND, FRONT };
    for (unsigned k = 0; k < 2; k++) {
        for (unsigned i = 1; i < sizeof present; i++) {
            build(kinds[k]);
            const uint8_t *entry = built.p + built.gt[present[i] / GTES] * 512 + present[i] % GTES * 4;
            uint32_t gte;
            memcpy(&gte, entry, 4);
            memset(built.p + le32toh(gte) * 512, 0xff, 12);
            enum outcome out = read_built(AT_OPEN, "head");
            assert_true(out == IS_UNREADABLE || (out == IS_REFUSED && i == sizeof present - 1));
        }
    }
}

static void two_lost_neighbours(void **state)
{
    (void)state;
    static const enum kind kinds[] = { BEHIND, FRONT };
    for (unsigned k = 0; k < 2; k++) {
        for (unsigned i = 1; i < sizeof present; i++) {
            build(kinds[k]);
            for (unsigned n = i - 1; n <= i; n++)
                put_le32(built.p + built.gt[present[n] / GTES] * 512 + present[n] % GTES * 4, 0);
            assert_int_equal(read_built(AT_OPEN, "two"), IS_REFUSED);
            /* and one whose neighbour's entry is another plausible place */
            if (present[i] / GTES != present[i - 1] / GTES)
                continue;
            build(kinds[k]);
            put_le32(built.p + built.gt[present[i] / GTES] * 512 + present[i] % GTES * 4, 0);
            put_le32(built.p + built.gt[present[i - 1] / GTES] * 512 + present[i - 1] % GTES * 4,
                     OVERHEAD + 1);
            assert_int_not_equal(read_built(AT_OPEN, "moved"), IS_RIGHT);
        }
    }
}

static void shared_tables_are_refused(void **state)
{
    (void)state;
    struct layer_info info;
    struct disk *d;
    struct fault fault;
    build(SINGLE);
    put_le32(built.p + FRONT_GD * 512 + 4 * 4, built.gt[2]); /* both are empty */
    assert_int_equal(read_built(AT_OPEN, "shared"), IS_RIGHT);
    for (unsigned t = 0; t < TABLES; t++) {
        for (unsigned other = 0; other < TABLES; other++) {
            if (t == other || other == 2 || other == 4)
                continue;
            build(SINGLE);
            put_le32(built.p + FRONT_GD * 512 + t * 4, built.gt[other]);
            assert_int_equal(open_built(AT_OPEN, &info, &d, &fault), -EUCLEAN);
            assert_non_null(strstr(fault.what, "overlap"));
        }
    }
}

static void the_refusal_names_both_places(void **state)
{
    (void)state;
    struct layer_info info;
    struct disk *d;
    struct fault fault;
    build(BEHIND);
    put_le32(built.p + built.gt[0] * 512 + 3 * 4, 0);
    assert_int_equal(open_built(AT_OPEN, &info, &d, &fault), -EUCLEAN);
    assert_non_null(strstr(fault.what, "there is no grain 3"));
    assert_int_equal(fault.offset, built.gt[0] * 512 + 12);
    build(BEHIND);
    put_le32(built.p + built.gd * 512 + 3 * 4, 0);
    assert_int_equal(open_built(AT_OPEN, &info, &d, &fault), -EUCLEAN);
    assert_non_null(strstr(fault.what, "there is no grain 24"));
    assert_int_equal(fault.offset, built.gd * 512 + 12);
    build(PLAIN);
    put_le32(built.p + built.gt[0] * 512 + 3 * 4, 0);
    assert_int_equal(open_built(AT_OPEN, &info, &d, &fault), -EUCLEAN);
    assert_non_null(strstr(fault.what, "redundant copy"));
    assert_int_equal(fault.offset, built.gt[0] * 512 + 12);
    build(UNCLEAN);
    put_le32(built.p + built.gt[0] * 512 + 3 * 4, 0);
    assert_int_equal(open_built(AT_OPEN, &info, &d, &fault), 0);
    assert_int_equal(info.notes.n, 2);
    disk_close(d);
    notes_done(&info.notes);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(whole_images_are_read),
        T(a_zeroed_table_entry_is_noticed),
        T(zeroed_runs_of_entries_are_noticed),
        T(directories_that_lie_are_noticed),
        T(a_damaged_grain_hides_nothing_else),
        T(two_lost_neighbours),
        T(shared_tables_are_refused),
        T(the_refusal_names_both_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
