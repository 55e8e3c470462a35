/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Gzip files read at random (file-gzip.c, gzip-index.c), and files joined of chunks (file-chunks.c). */
#include "formats/checked.h"
#include "formats/file-chunks.h"
#include "formats/file-gzip.h"
#include "formats/gzip-index.h"
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <zlib.h>

struct buffer {
    uint8_t *p;
    size_t n;
};

static void append(struct buffer *b, const void *p, size_t n)
{
    b->p = realloc(b->p, b->n + n + 1);
    assert_non_null(b->p);
    if (n)
        memcpy(b->p + b->n, p, n);
    b->n += n;
}

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

/* Noise, words and zeros in turn, each of some 100 KiB, and whole chunks of zeros here and there. */
static struct buffer content(size_t n, uint64_t seed)
{
    struct buffer b = { .p = malloc(n + 1), .n = n };
    assert_non_null(b.p);
    for (size_t at = 0; at < n;) {
        uint64_t kind = next_random(&seed) % 4;
        size_t len = (size_t)min_u64(n - at, 1 + next_random(&seed) % (kind == 3 ? 1 << 20 : 200000));
        for (size_t i = 0; i < len; i++)
            b.p[at + i] = kind == 0   ? (uint8_t)next_random(&seed)
                          : kind == 1 ? (uint8_t)("words and words "[i % 16] + i / 4000 % 3)
                                      : 0;
        at += len;
    }
    return b;
}

/* Adds a gzip member. */
static void gzip(struct buffer *out, const void *p, size_t n, int level, int strategy)
{
    z_stream z = { .next_in = (Bytef *)(uintptr_t)p, .avail_in = (uInt)n };
    assert_int_equal(deflateInit2(&z, level, Z_DEFLATED, 31, 8, strategy), Z_OK);
    size_t room = deflateBound(&z, (uLong)n);
    uint8_t *packed = malloc(room);
    assert_non_null(packed);
    z.next_out = packed;
    z.avail_out = (uInt)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    append(out, packed, room - z.avail_out);
    deflateEnd(&z);
    free(packed);
}

struct opened {
    struct file *stored, *f;
    struct cache *cache;
    struct notes notes;
    size_t memory;
};

static int open_gzip(struct opened *o, const struct buffer *b, size_t memory, struct fault *fault)
{
    *o = (struct opened){ .memory = memory, .cache = cache_new(1 << 20, NULL) };
    assert_int_equal(file_memory_new(b->p, b->n, "d.gz", &o->stored), 0);
    return file_gzip_new(o->stored, o->cache, &o->memory, &o->notes, &o->f, fault);
}

static void close_gzip(struct opened *o)
{
    file_unref(o->f);
    file_unref(o->stored);
    cache_free(o->cache);
    notes_done(&o->notes);
}

static void check_reads(struct file *f, const struct buffer *want, unsigned times)
{
    uint64_t seed = 7;
    uint8_t *buf = malloc(want->n + 1);
    assert_non_null(buf);
    assert_int_equal(f->size, want->n);
    for (unsigned i = 0; i < times; i++) {
        size_t off = (size_t)(next_random(&seed) % (want->n + 1));
        size_t len = (size_t)min_u64(want->n - off, next_random(&seed) % 100000);
        assert_int_equal(file_pread(f, buf, len, off), 0);
        assert_memory_equal(buf, want->p + off, len);
    }
    assert_int_equal(file_pread(f, buf, want->n, 0), 0); /* in sequence, chunk after chunk */
    assert_memory_equal(buf, want->p, want->n);
    assert_int_equal(file_pread(f, buf, 1, want->n), -ENODATA);
    free(buf);
}

/* Holes hold zeros, and chunks of zeros are holes. */
static void check_map(struct file *f, const struct buffer *want)
{
    for (uint64_t at = 0; at < want->n;) {
        struct extent e;
        assert_int_equal(file_map(f, at, want->n - at, &e), 0);
        assert_true(e.length > 0 && e.length <= want->n - at);
        for (uint64_t i = at; e.kind == EXTENT_HOLE && i < at + e.length; i++)
            assert_int_equal(want->p[i], 0);
        at += e.length;
    }
}

static void every_writer(void **state)
{
    static const struct {
        size_t n;
        int level, strategy;
    } t[] = {
        { 1, 6, 0 },
        { GZIP_CHUNK - 1, 6, 0 },
        { GZIP_CHUNK, 1, 0 },
        { GZIP_CHUNK + 1, 9, 0 },
        { 9 * GZIP_CHUNK, 6, 0 },
        { 7654321, 1, 0 },
        { 7654321, 0, 0 }, /* stored blocks */
        { 7654321, 6, Z_FIXED },
        { 7654321, 6, Z_HUFFMAN_ONLY },
    };
    static const size_t memory[] = { 16 << 20, 40000, 0 };
    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct buffer want = content(t[i].n, i), b = { 0 };
        gzip(&b, want.p, want.n, t[i].level, t[i].strategy);
        for (size_t k = 0; k < sizeof memory / sizeof memory[0]; k++) {
            struct opened o;
            assert_int_equal(open_gzip(&o, &b, memory[k], NULL), 0);
            assert_true(o.memory <= memory[k] + 4096);
            assert_int_equal(o.notes.n, 0);
            check_reads(o.f, &want, k ? 20 : 300);
            check_map(o.f, &want);
            close_gzip(&o);
        }
        free(want.p);
        free(b.p);
    }
}

static void the_index(void **state)
{
    struct buffer want = content(20000000, 5), b = { 0 };
    struct file *f;
    struct gzip_index *ix;
    (void)state;
    gzip(&b, want.p, want.n, 6, 0);
    assert_int_equal(file_memory_new(b.p, b.n, "d.gz", &f), 0);
    assert_int_equal(gzip_index_build(f, 16 << 20, NULL, &ix, NULL), 0);
    assert_true(ix->n >= 10 && ix->span == GZIP_SPAN); /* a point for each MiB or so */
    for (size_t i = 0; i < ix->n; i++) {
        uint8_t window[GZIP_WINDOW];
        assert_ptr_equal(gzip_index_find(ix, ix->points[i].out), &ix->points[i]);
        if (!i)
            continue;
        assert_ptr_equal(gzip_index_find(ix, ix->points[i].out - 1), &ix->points[i - 1]);
        assert_true(ix->points[i].out - ix->points[i - 1].out >= GZIP_SPAN);
        assert_int_equal(gzip_point_window(&ix->points[i], window), 0);
        assert_memory_equal(window, want.p + ix->points[i].out - GZIP_WINDOW, GZIP_WINDOW);
    }
    gzip_index_free(ix);
    assert_int_equal(gzip_index_build(f, 40000, NULL, &ix, NULL), 0);
    assert_true(ix->n >= 2 && ix->span > GZIP_SPAN && ix->memory <= 40000 + 4096);
    gzip_index_free(ix);
    file_unref(f);
    free(want.p);
    free(b.p);
}

static void members(void **state)
{
    struct buffer want = content(3000000, 9), b = { 0 };
    struct opened o;
    (void)state;
    gzip(&b, "", 0, 6, 0);
    for (size_t at = 0, n; at < want.n; at += n) {
        n = (size_t)min_u64(want.n - at, at < 500000 ? 99 * 1024 : 1400000);
        gzip(&b, want.p + at, n, at % 3 ? 6 : 1, 0);
        gzip(&b, "", 0, 6, 0);
    }
    assert_int_equal(open_gzip(&o, &b, 16 << 20, NULL), 0);
    check_reads(o.f, &want, 300);
    assert_int_equal(o.notes.n, 0);
    close_gzip(&o);
    uint8_t zeros[70000] = { 0 };
    size_t end = b.n;
    append(&b, zeros, sizeof zeros); /* as a tape's padding */
    assert_int_equal(open_gzip(&o, &b, 16 << 20, NULL), 0);
    check_reads(o.f, &want, 10);
    assert_int_equal(o.notes.n, 0);
    close_gzip(&o);
    append(&b, "garbage", 7);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(open_gzip(&o, &b, 16 << 20, NULL), 0);
        check_reads(o.f, &want, 10);
        assert_int_equal(o.notes.n, 1);
        assert_string_equal(o.notes.lines[0], "d.gz: what follows the gzip data is ignored");
        close_gzip(&o);
        b.n = end;
        append(&b, "\x1f", 1);
    }
    b.n = end;
    append(&b, "\x1f\x8b\x08", 3); /* a member that is cut off is no garbage */
    assert_int_equal(open_gzip(&o, &b, 16 << 20, NULL), -ENODATA);
    close_gzip(&o);
    free(want.p);
    free(b.p);
    b = (struct buffer){ 0 };
    gzip(&b, "", 0, 6, 0);
    assert_int_equal(open_gzip(&o, &b, 16 << 20, NULL), 0);
    assert_int_equal(o.f->size, 0);
    close_gzip(&o);
    free(b.p);
}

static void damage(void **state)
{
    struct buffer want = content(700000, 3), b = { 0 };
    struct opened o;
    (void)state;
    gzip(&b, want.p, want.n, 6, 0);
    struct buffer cut = b;
    for (cut.n = 1; cut.n < b.n; cut.n += cut.n < 40 || cut.n + 40 > b.n ? 1 : 30011) {
        struct fault fault = { 0 };
        int r = open_gzip(&o, &cut, 1 << 20, &fault);
        assert_int_equal(r, cut.n < 2 ? -EUCLEAN : -ENODATA);
        if (cut.n >= 2) {
            assert_string_equal(fault.what, "truncated: the file ends inside its gzip data");
            assert_true(fault.has_offset && fault.offset == cut.n);
        }
        close_gzip(&o);
    }
    /* all of the data but the header's time and system: any flipped bit is found */
    for (size_t i = 10; i<b.n; i += i + 9> b.n ? 1 : 7919) {
        struct fault fault = { 0 };
        b.p[i] ^= 4;
        int r = open_gzip(&o, &b, 1 << 20, &fault);
        assert_true(r == -EUCLEAN || r == -ENODATA);
        assert_true(fault.err == r && fault.has_offset && fault.offset <= b.n);
        close_gzip(&o);
        b.p[i] ^= 4;
    }
    struct fault fault = { 0 };
    b.p[b.n - 8] ^= 1;
    assert_int_equal(open_gzip(&o, &b, 1 << 20, &fault), -EUCLEAN);
    assert_string_equal(fault.what, "damaged gzip data (incorrect data check)");
    close_gzip(&o);
    b.p[b.n - 8] ^= 1;
    fault = (struct fault){ 0 };
    b.p[b.n - 1] ^= 1;
    assert_int_equal(open_gzip(&o, &b, 1 << 20, &fault), -EUCLEAN);
    assert_string_equal(fault.what, "damaged gzip data (incorrect length check)");
    close_gzip(&o);
    free(want.p);
    free(b.p);
}

/* One block of fixed codes: a zero, and then 258 more of them by each 13 bits. */
static void an_endless_block(void **state)
{
    struct buffer b = { 0 };
    struct opened o;
    struct fault fault = { 0 };
    uint64_t bits = 3, n = 3; /* the last block, fixed codes */
    (void)state;
    append(&b, "\x1f\x8b\x08\0\0\0\0\0\0\3", 10);
    b.p = realloc(b.p, GZIP_BLOCK_MAX / 100);
    assert_non_null(b.p);
    bits |= (uint64_t)0x0c << n; /* the literal 0: 00110000, first bit first */
    n += 8;
    for (uint64_t done = 1; done < GZIP_BLOCK_MAX + 1000000; done += 258) {
        bits |= (uint64_t)0xa3 << n; /* length 258: 11000101, first bit first; then distance 1: 00000 */
        for (n += 13; n >= 8; n -= 8, bits >>= 8)
            b.p[b.n++] = (uint8_t)bits;
    }
    assert_int_equal(open_gzip(&o, &b, 1 << 20, &fault), -ENOTSUP);
    assert_string_equal(fault.what, "a deflate block has more than 256 MiB, so it can't be read at random");
    close_gzip(&o);
    free(b.p);
}

/* ---- a device that fails ---- */

struct flaky {
    struct file file;
    const struct buffer *b;
    bool broken;
};

static int flaky_pread(struct file *f, void *buf, size_t len, uint64_t off)
{
    struct flaky *y = (struct flaky *)(void *)f;
    memcpy(buf, y->b->p + off, len);
    return y->broken ? -EIO : 0;
}

static void flaky_close(struct file *f)
{
    (void)f;
}

static void reads_that_fail(void **state)
{
    static const struct file_ops ops = { .name = "flaky", .pread = flaky_pread, .close = flaky_close };
    struct buffer want = content(3000000, 4), b = { 0 };
    uint8_t byte;
    (void)state;
    want.p[0] = want.p[2000000] = 1;
    gzip(&b, want.p, want.n, 6, 0);
    struct flaky y = { .file = { .ops = &ops, .refs = 1, .size = b.n, .name = strdup("y") }, .b = &b };
    struct cache *cache = cache_new(8 << 20, NULL);
    struct file *f;
    size_t memory = 1 << 20;
    assert_int_equal(file_gzip_new(&y.file, cache, &memory, NULL, &f, NULL), 0);
    y.broken = true;
    assert_int_equal(file_pread(f, &byte, 1, 0), -EIO);
    assert_int_equal(file_pread(f, &byte, 1, 2000000), -EIO);
    y.broken = false;
    check_reads(f, &want, 20); /* a failure isn't kept */
    file_unref(f);
    memory = 1 << 20;
    y.broken = true;
    struct fault fault = { 0 };
    assert_int_equal(file_gzip_new(&y.file, cache, &memory, NULL, &f, &fault), -EIO);
    assert_int_equal(fault.err, -EIO);
    file_unref(&y.file);
    cache_free(cache);
    free(want.p);
    free(b.p);
}

/* ---- many readers ---- */

struct reader {
    struct file *f;
    const struct buffer *want;
    uint64_t seed;
    bool wrong;
};

static void *read_much(void *arg)
{
    struct reader *q = arg;
    uint8_t buf[4096];
    for (unsigned i = 0; i < 400; i++) {
        uint64_t at = i < 200 ? next_random(&q->seed) % (q->want->n - sizeof buf)
                              : (i - 200) * (uint64_t)(q->want->n - sizeof buf) / 200; /* all in sequence */
        if (file_pread(q->f, buf, sizeof buf, at) < 0 || memcmp(buf, q->want->p + at, sizeof buf) != 0)
            q->wrong = true;
        file_advise(q->f, at + 300000, 1 << 20);
    }
    return NULL;
}

static void readers_in_parallel(void **state)
{
    enum { READERS = 8 };
    struct buffer want = content(12000000, 8), b = { 0 };
    struct reader q[READERS];
    pthread_t threads[READERS];
    struct file *stored, *f;
    struct pool *pool = pool_new(3);
    struct cache *cache = cache_new(2 << 20, pool);
    size_t memory = 60000; /* so that several chunks share a span */
    (void)state;
    gzip(&b, want.p, want.n, 1, 0);
    assert_int_equal(file_memory_new(b.p, b.n, "d.gz", &stored), 0);
    assert_int_equal(file_gzip_new(stored, cache, &memory, NULL, &f, NULL), 0);
    for (size_t i = 0; i < READERS; i++) {
        q[i] = (struct reader){ .f = f, .want = &want, .seed = i };
        assert_int_equal(pthread_create(&threads[i], NULL, read_much, &q[i]), 0);
    }
    for (size_t i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
        assert_false(q[i].wrong);
    }
    pool_free(pool);
    file_unref(f);
    file_unref(stored);
    cache_free(cache);
    free(want.p);
    free(b.p);
}

/* ---- chunks ---- */

static void chunks(void **state)
{
    struct buffer want = content(100000, 6);
    static const size_t sizes[] = { 30000, 0, 30000, 30000, 10000, 0 };
    struct file *parts[6], *f;
    (void)state;
    for (size_t i = 0, at = 0; i < 6; at += sizes[i++])
        assert_int_equal(file_memory_new(want.p + at, sizes[i], "part", &parts[i]), 0);
    assert_int_equal(file_chunks_new(parts, 6, "whole", &f), 0);
    for (size_t i = 0; i < 6; i++)
        file_unref(parts[i]);
    assert_string_equal(f->name, "whole");
    check_reads(f, &want, 500);
    check_map(f, &want);
    file_advise(f, 0, want.n);
    file_unref(f);
    assert_int_equal(file_memory_new("", 0, "part", &parts[0]), 0);
    assert_int_equal(file_chunks_new(parts, 1, "none", &f), 0);
    assert_int_equal(f->size, 0);
    file_unref(f);
    file_unref(parts[0]);
    free(want.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_writer),
        cmocka_unit_test(the_index),
        cmocka_unit_test(members),
        cmocka_unit_test(damage),
        cmocka_unit_test(an_endless_block),
        cmocka_unit_test(reads_that_fail),
        cmocka_unit_test(readers_in_parallel),
        cmocka_unit_test(chunks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
