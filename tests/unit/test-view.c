/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The engine, by two formats of its own (one of them with all segment kinds) on random disks, against bytes
 * that the test puts together by itself. */
#include "formats/image.h"
#include "formats/view.h"
#include "toy-disk.h"

static uint64_t seed;

/* ---- a format with everything: header | table | blocks with heads | zeros | a part of the disk | footer
 * ---- */

enum { HEAD = 24, PART_AT = 1000, PART = 70000, ZEROS = 9000, TABLE = 10007, HEADER = 20000, FOOTER = 512 };

static uint64_t toy_block_size = 4096;

static uint8_t table_byte(uint64_t off)
{
    return (uint8_t)(off * 7 + off / 251) | 1;
}

static void all_table(const struct view *v, void *buf, size_t len, uint64_t off)
{
    assert_int_equal(v->layout.segment[1].kind, SEGMENT_TABLE);
    assert_true(off + len <= TABLE);
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)buf)[i] = table_byte(off + i);
}

static int all_layout(const struct view_source *src, struct layout *ret, struct fault *fault)
{
    (void)fault;
    uint8_t *p;
    int r = layout_add_bytes(ret, HEADER, 100, &p);
    if (r < 0)
        return r;
    memset(p, 'h', 100);
    layout_add(ret, SEGMENT_TABLE, TABLE)->table = all_table;
    r = layout_set_blocks(ret, src, toy_block_size);
    if (r < 0)
        return r;
    ret->block_head = HEAD;
    layout_add(ret, SEGMENT_BLOCKS, blockmap_allocated(ret->blocks) * (HEAD + toy_block_size));
    layout_add(ret, SEGMENT_ZERO, ZEROS);
    layout_add(ret, SEGMENT_DISK, PART)->disk_offset = PART_AT;
    r = layout_add_bytes(ret, FOOTER, FOOTER, &p);
    if (!r)
        memset(p, 'f', FOOTER);
    return r;
}

static const struct view_format all_format = { "disk.all", "all", all_layout, false };

/* The same without heads, so that adjacent blocks are one piece. */
static int plain_layout(const struct view_source *src, struct layout *ret, struct fault *fault)
{
    (void)fault;
    int r = layout_set_blocks(ret, src, toy_block_size);
    if (!r)
        layout_add(ret, SEGMENT_BLOCKS, blockmap_allocated(ret->blocks) * toy_block_size);
    return r;
}

static const struct view_format plain_format = { "disk.plain", "plain", plain_layout, false };

/* ---- the same by hand ---- */

struct expected {
    uint8_t *bytes;
    size_t size, room;
};

static void put(struct expected *e, const void *p, size_t n)
{
    if (e->size + n + 1 > e->room) { /* rarely: a sanitizer's realloc copies each time */
        e->room = 2 * (e->size + n + 1);
        e->bytes = realloc(e->bytes, e->room);
    }
    if (p)
        memcpy(e->bytes + e->size, p, n);
    else
        memset(e->bytes + e->size, 0, n);
    e->size += n;
}

static void put_repeated(struct expected *e, int c, size_t n)
{
    put(e, NULL, n);
    memset(e->bytes + e->size - n, c, n);
}

static void put_blocks(struct expected *e, const struct toy *t, size_t head)
{
    uint8_t *block = malloc(toy_block_size);
    for (uint64_t off = 0; off < t->disk.size; off += toy_block_size) {
        bool data = false;
        for (uint64_t at = off; at < off + toy_block_size && !data; at++)
            data = toy_kind(t, at) == 'D';
        if (!data)
            continue;
        put_repeated(e, 0xff, head);
        toy_fill(t, block, toy_block_size, off);
        put(e, block, toy_block_size);
    }
    free(block);
}

static struct expected expect(const struct view_format *format, const struct toy *t)
{
    struct expected e = { calloc(1, 1), 0, 1 };
    uint8_t *part = malloc(PART);
    if (format == &all_format) {
        put_repeated(&e, 'h', 100);
        put(&e, NULL, HEADER - 100);
        for (uint64_t i = 0; i < TABLE; i++) {
            uint8_t b = table_byte(i);
            put(&e, &b, 1);
        }
    }
    if (format == &all_format || format == &plain_format)
        put_blocks(&e, t, format == &all_format ? HEAD : 0);
    if (format == &all_format) {
        put(&e, NULL, ZEROS);
        toy_fill(t, part, PART, PART_AT);
        put(&e, part, PART);
        put_repeated(&e, 'f', FOOTER);
    }
    if (!strcmp(format->name, "raw")) {
        put(&e, NULL, round_up(t->disk.size, 512));
        toy_fill(t, e.bytes, e.size, 0);
    }
    free(part);
    return e;
}

static bool all_zeros(const uint8_t *p, uint64_t n)
{
    while (n && !*p) {
        p++;
        n--;
    }
    return !n;
}

static void check_reads(struct view *v, const struct expected *e, uint64_t r)
{
    uint8_t *buf = malloc(e->size + 1);
    assert_int_equal(view_pread(v, buf, e->size, 0), 0);
    assert_memory_equal(buf, e->bytes, e->size);
    for (int i = 0; i < 200; i++) {
        uint64_t off = toy_random(&r, e->size + 1);
        size_t most = (size_t)min_u64(e->size - off, i % 2 ? 100 : 200000);
        size_t len = (size_t)toy_random(&r, most + 1);
        memset(buf, 0xaa, len);
        assert_int_equal(view_pread(v, buf, len, off), 0);
        assert_memory_equal(buf, e->bytes + off, len);
    }
    assert_int_equal(view_pread(v, buf, 2, e->size - 1), -EINVAL);
    assert_int_equal(view_pread(v, buf, 1, UINT64_MAX), -EINVAL);
    free(buf);
}

/* Holes are zeros; kinds alternate; the sum of data is st_blocks; a question from within, or for less, has
 * the same answer. */
static void check_map(struct view *v, const struct expected *e, uint64_t r)
{
    uint64_t allocated = 0;
    struct extent x, y;
    enum extent_kind last = EXTENT_ZERO;
    for (uint64_t off = 0; off < e->size; off += x.length) {
        assert_int_equal(view_map(v, off, UINT64_MAX, &x), 0);
        assert_true(x.length && x.length <= e->size - off);
        assert_true(x.kind == EXTENT_DATA || x.kind == EXTENT_HOLE);
        assert_int_not_equal(x.kind, last);
        last = x.kind;
        if (x.kind == EXTENT_HOLE)
            assert_true(all_zeros(e->bytes + off, x.length));
        else
            allocated += x.length;
        uint64_t within = toy_random(&r, x.length), len = 1 + toy_random(&r, x.length);
        assert_int_equal(view_map(v, off + within, len, &y), 0);
        assert_int_equal(y.kind, x.kind);
        if (len <= x.length - within)
            assert_int_equal(y.length, len);
    }
    assert_int_equal(v->allocated, allocated);
    assert_int_equal(view_map(v, e->size, 1, &x), -EINVAL);
}

static void check_view(const struct view_format *format, struct toy *t, struct blockmap *survey, uint64_t r)
{
    struct view_source src = { .disk = &t->disk, .sector_size = 512, .survey = survey };
    struct view *v;
    assert_int_equal(view_open(format, &src, &v, NULL), 0);
    struct expected e = expect(format, t);
    assert_int_equal(v->layout.size, e.size);
    if (e.size) {
        check_reads(v, &e, r);
        check_map(v, &e, r);
    }
    view_close(v);
    free(e.bytes);
}

static void random_disks_read_and_map_as_built_by_hand(void **state)
{
    (void)state;
    static const uint64_t means[] = { 3, 30, 300, 2000 };
    for (uint64_t round = 0; round < (UNIT_SANITIZED ? 12 : 48); round++) {
        uint64_t s = seed + round * 11, r = s;
        struct toy *t = toy_new_random(1 + toy_random(&r, 3 << 20), means[round % 4], "D..Z", s);
        struct blockmap *survey = NULL;
        toy_block_size = UINT64_C(4096) << 2 * toy_random(&r, 5); /* below, at and above the survey's */
        if (round % 2)
            assert_int_equal(view_survey(&t->disk, &survey), 0);
        check_view(&all_format, t, survey, r);
        check_view(&plain_format, t, survey, r);
        check_view(view_formats[0], t, survey, r);
        blockmap_free(survey);
        disk_close(&t->disk);
    }
}

/* ---- damage ---- */

static void damage_is_data_that_reads_as_eio(void **state)
{
    (void)state;
    toy_block_size = 1 << 16;
    const struct toy_extent list[] = { { 1 << 20, '.' }, { 1 << 17, 'D' }, { 1 << 18, 'E' }, { 1 << 20, '.' },
                                       { 1 << 16, 'R' }, { 1 << 20, '.' }, { 0, 0 } };
    struct toy *t = toy_new(list, 3);
    struct view_source src = { .disk = &t->disk, .sector_size = 512 };
    struct view *raw, *plain;
    struct extent e;
    uint8_t *buf = malloc(1 << 20);
    assert_int_equal(view_open(view_formats[0], &src, &raw, NULL), 0);
    assert_int_equal(view_map(raw, 0, UINT64_MAX, &e), 0);
    assert_int_equal(e.kind, EXTENT_HOLE);
    assert_int_equal(e.length, 1 << 20);
    assert_int_equal(view_map(raw, 1 << 20, UINT64_MAX, &e), 0);
    assert_int_equal(e.kind, EXTENT_DATA);
    assert_true(e.length >= (1 << 17) + (1 << 18));
    for (uint64_t off = (1 << 20) + (1 << 17); off < (1 << 20) + (1 << 17) + (1 << 18); off += 4096) {
        assert_int_equal(view_pread(raw, buf, 512, off), -EIO);
        assert_int_equal(view_map(raw, off, 1, &e), 0);
        assert_int_equal(e.kind, EXTENT_DATA);
    }
    assert_int_equal(view_pread(raw, buf, 1 << 20, 1 << 19), -EIO);
    assert_int_equal(view_pread(raw, buf, 1 << 17, 1 << 20), 0);
    assert_int_equal(view_pread(raw, buf, 1, t->starts[4] + 5), -EIO);
    assert_int_equal(view_pread(raw, buf, 1 << 20, t->starts[5]), 0);

    assert_int_equal(view_open(&plain_format, &src, &plain, NULL), 0);
    assert_true(plain->layout.size >= (1 << 17) + (1 << 18) + (1 << 16));
    assert_int_equal(view_pread(plain, buf, 1 << 17, 0), 0);
    assert_int_equal(view_pread(plain, buf, 1, 1 << 17), -EIO);
    assert_int_equal(view_pread(plain, buf, 1, plain->layout.size - 1), -EIO);
    view_close(raw);
    view_close(plain);
    free(buf);
    disk_close(&t->disk);
}

static void layouts_that_fail_leave_nothing(void **state)
{
    (void)state;
    const struct toy_extent over[] = { { UINT64_C(1) << 63, '.' }, { 0, 0 } };
    struct toy *t = toy_new(over, 1);
    struct view_source src = { .disk = &t->disk, .sector_size = 512 };
    struct view *v = NULL;
    struct fault fault = { 0 };
    for (size_t i = 0; view_formats[i]; i++) {
        fault.err = 0;
        assert_int_equal(view_open(view_formats[i], &src, &v, &fault), -EFBIG);
        assert_int_equal(fault.err, -EFBIG);
        assert_null(v);
    }
    t->disk.size = t->extents[0].length = 1 << 20;
    t->extents[0].kind = 'E';
    t->map_error = -ENOMEM;
    assert_int_equal(view_open(&plain_format, &src, &v, NULL), -ENOMEM);
    t->extents[0].kind = '.';
    t->disk.size = UINT64_C(1) << 61;
    t->extents[0].length = t->disk.size;
    toy_block_size = 4096;
    assert_int_equal(view_open(&all_format, &src, &v, NULL), -EFBIG); /* too many blocks, half a layout */
    disk_close(&t->disk);
}

static void prefetch_asks_for_the_disk_behind_the_view(void **state)
{
    (void)state;
    toy_block_size = 1 << 16;
    const struct toy_extent list[] = {
        { 1 << 20, '.' }, { 1 << 17, 'D' }, { 1 << 20, '.' }, { 1000, 'D' }, { 0, 0 }
    };
    struct toy *t = toy_new(list, 3);
    struct view_source src = { .disk = &t->disk, .sector_size = 512 };
    struct view *v;
    assert_int_equal(view_open(&plain_format, &src, &v, NULL), 0);
    view_prefetch(v, 100, UINT64_MAX);
    assert_int_equal(t->prefetch, (1 << 17) - 100 + 1000);
    t->prefetch = 0;
    view_prefetch(v, v->layout.size, 1);
    view_prefetch(v, UINT64_MAX, UINT64_MAX);
    view_prefetch(v, 0, 0);
    assert_int_equal(t->prefetch, 0);
    view_close(v);
    disk_close(&t->disk);
}

static void a_survey_serves_all_views_with_one_walk(void **state)
{
    (void)state;
    toy_block_size = 1 << 16;
    struct toy *t = toy_new_random(8 << 20, 50, "D.", seed);
    struct view_source src = { .disk = &t->disk, .sector_size = 512 };
    struct blockmap *survey;
    struct view *v;
    assert_int_equal(view_survey(&t->disk, &survey), 0);
    src.survey = survey;
    t->maps = 0;
    for (size_t i = 0; view_formats[i]; i++) {
        assert_int_equal(view_open(view_formats[i], &src, &v, NULL), 0);
        view_close(v);
    }
    assert_int_equal(view_open(&plain_format, &src, &v, NULL), 0);
    view_close(v);
    assert_int_equal(t->maps, 0);
    blockmap_free(survey);
    disk_close(&t->disk);
}

/* What is read, and what is called a hole, is the same before and after the survey came. */
static void an_early_view_is_the_same_view(void **state)
{
    (void)state;
    toy_block_size = 1 << 14;
    struct toy *t = toy_new_random(2 << 20, 70, "D.E", seed);
    struct view_source src = { .disk = &t->disk, .sector_size = 512 };
    struct view *early, *whole;
    struct blockmap *survey;
    static uint8_t a[5000], b[5000];
    assert_true(view_formats[0]->early);
    t->maps = 0;
    assert_int_equal(view_open_early(view_formats[0], &src, &early, NULL), 0);
    assert_int_equal(t->maps, 0);
    assert_false(view_is_complete(early));
    assert_int_equal(view_survey(&t->disk, &survey), 0);
    src.survey = survey;
    assert_int_equal(view_open(view_formats[0], &src, &whole, NULL), 0);
    assert_int_equal(early->layout.size, whole->layout.size);
    for (unsigned round = 0; round < 2; round++) {
        for (uint64_t off = 0; off + sizeof a < whole->layout.size; off += 4999) {
            struct extent x, y;
            int r = view_pread(early, a, sizeof a, off);
            assert_int_equal(r, view_pread(whole, b, sizeof b, off));
            if (!r)
                assert_memory_equal(a, b, sizeof a);
            assert_int_equal(view_map(early, off, sizeof a, &x), view_map(whole, off, sizeof a, &y));
            assert_int_equal(x.kind, y.kind);
        }
        if (!round)
            assert_int_equal(view_complete(early, survey), 0);
    }
    assert_true(view_is_complete(early));
    assert_int_equal(early->allocated, whole->allocated);
    view_close(early);
    view_close(whole);
    blockmap_free(survey);
    disk_close(&t->disk);
}

/* ---- identity ---- */

static void identity_of(struct toy *t, const char *link_id, uint8_t ret[32])
{
    struct layer_info layer = { .format = "toy" };
    snprintf(layer.link_id, sizeof layer.link_id, "%s", link_id);
    struct image image = { .disk = &t->disk, .layers = &layer, .n_layers = 1 };
    view_identity(&image, ret);
}

static void identity_follows_what_the_disk_is(void **state)
{
    (void)state;
    uint8_t a[32], b[32];
    const struct toy_extent list[] = { { 8192, 'D' }, { 1 << 20, 'D' }, { 0, 0 } };
    struct toy *t = toy_new(list, 3), *u = toy_new(list, 4);
    identity_of(t, "x", a);
    identity_of(t, "x", b);
    assert_memory_equal(a, b, 32);
    identity_of(t, "y", b);
    assert_memory_not_equal(a, b, 32);
    identity_of(u, "x", b);
    assert_memory_not_equal(a, b, 32);
    t->disk.size -= 512;
    identity_of(t, "x", b);
    assert_memory_not_equal(a, b, 32);
    t->extents[0].kind = 'R'; /* left out, the rest still counts */
    identity_of(t, "x", a);
    assert_memory_not_equal(a, b, 32);
    u->disk.size -= 512;
    u->extents[0].kind = 'R';
    identity_of(u, "x", b);
    assert_memory_not_equal(a, b, 32);
    disk_close(&t->disk);
    disk_close(&u->disk);
}

static void names_are_told_apart(void **state)
{
    (void)state;
    for (size_t i = 0; view_formats[i]; i++)
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(view_formats[i]->name, view_formats[k]->name);
            assert_string_not_equal(view_formats[i]->file_name, view_formats[k]->file_name);
        }
}

int main(void)
{
    seed = toy_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_disks_read_and_map_as_built_by_hand),
        cmocka_unit_test(damage_is_data_that_reads_as_eio),
        cmocka_unit_test(layouts_that_fail_leave_nothing),
        cmocka_unit_test(prefetch_asks_for_the_disk_behind_the_view),
        cmocka_unit_test(a_survey_serves_all_views_with_one_walk),
        cmocka_unit_test(an_early_view_is_the_same_view),
        cmocka_unit_test(identity_follows_what_the_disk_is),
        cmocka_unit_test(names_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
