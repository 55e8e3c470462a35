/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the file system says of files that are made here, held against what was written into them: with more
 * pieces than one question tells of, by walks and by jumps, with pieces that were only allocated, and with
 * data that isn't on the disk yet. In $TMPDIR and in /dev/shm, which has no FIEMAP. */
#include "formats/host-map.h"
#include "formats/checked.h"
#include "formats/file.h"
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 65536, BLOCKS = 5000 };
#define SIZE ((uint64_t)BLOCK * BLOCKS)

struct sample {
    int fd;
    bool written[BLOCKS], touched[BLOCKS]; /* touched: at least allocated */
};

static uint32_t next_random(uint32_t *r)
{
    *r = *r * 1664525 + 1013904223;
    return *r >> 8;
}

static bool make_file(struct sample *s, const char *dir)
{
    char path[256];
    snprintf(path, sizeof path, "%s/ferryfs-host-map-XXXXXX", dir);
    s->fd = mkstemp(path);
    if (s->fd < 0)
        return false;
    unlink(path);
    return ftruncate(s->fd, (off_t)SIZE) == 0;
}

static void write_block(struct sample *s, unsigned i)
{
    static char data[4096];
    memset(data, 'x', sizeof data);
    assert_int_equal(pwrite(s->fd, data, sizeof data, (off_t)i * BLOCK), sizeof data);
    s->written[i] = s->touched[i] = true;
}

/* Pieces of data, some of them within what is only allocated. */
static void fill(struct sample *s)
{
    uint32_t r = 1;
    for (unsigned i = 0; i < BLOCKS; i += 1 + next_random(&r) % 4) {
        unsigned n = 1 + next_random(&r) % 3;
        if (next_random(&r) % 4 == 0 && i + n <= BLOCKS &&
            fallocate(s->fd, 0, (off_t)i * BLOCK, (off_t)n * BLOCK) == 0)
            memset(s->touched + i, true, n);
        if (next_random(&r) % 4)
            write_block(s, i);
    }
}

/* The file system may call data what was only allocated, but neither a hole what was written nor data what
 * nobody touched. */
static void check_at(struct sample *s, struct host_map *m, unsigned i)
{
    struct extent e;
    host_map_at(m, (uint64_t)i * BLOCK, SIZE - (uint64_t)i * BLOCK, &e);
    assert_in_range(e.length, 1, SIZE - (uint64_t)i * BLOCK);
    if (s->written[i])
        assert_int_equal(e.kind, EXTENT_DATA);
    if (!s->touched[i])
        assert_int_equal(e.kind, EXTENT_HOLE);
    for (unsigned k = i + 1; e.kind == EXTENT_HOLE && k < i + e.length / BLOCK; k++)
        assert_false(s->written[k]);
}

static uint64_t data_of(struct host_map *m)
{
    uint64_t sum = 0;
    struct extent e;
    for (uint64_t at = 0; at < SIZE; at += e.length) {
        host_map_at(m, at, SIZE - at, &e);
        assert_in_range(e.length, 1, SIZE - at);
        sum += e.kind == EXTENT_DATA ? e.length : 0;
    }
    return sum;
}

/* Blocks that are a hole by `m`, though they are allocated. */
static unsigned unwritten_holes(struct sample *s, struct host_map *m)
{
    unsigned n = 0;
    struct extent e;
    for (unsigned i = 0; i < BLOCKS; i++) {
        host_map_at(m, (uint64_t)i * BLOCK, BLOCK, &e);
        n += s->touched[i] && !s->written[i] && e.kind == EXTENT_HOLE;
    }
    return n;
}

static void read_all(int fd)
{
    char *buf = malloc(BLOCK);
    assert_non_null(buf);
    for (off_t at = 0; at < (off_t)SIZE; at += BLOCK)
        assert_int_equal(pread(fd, buf, BLOCK, at), BLOCK);
    free(buf);
}

static void check_in(const char *dir)
{
    struct sample *s = calloc(1, sizeof *s);
    struct host_map m, again;
    uint32_t r = 7;
    assert_non_null(s);
    if (!make_file(s, dir)) {
        print_message("can't write in %s\n", dir);
        free(s);
        return;
    }
    fill(s);
    host_map_init(&m, s->fd, SIZE);
    for (unsigned i = 0; i < BLOCKS; i++)
        check_at(s, &m, i);
    for (unsigned i = 0; i < 2000; i++)
        check_at(s, &m, next_random(&r) % BLOCKS);
    for (unsigned i = BLOCKS; i-- > BLOCKS - 500;)
        check_at(s, &m, i);
    uint64_t before = data_of(&m);
    read_all(s->fd); /* zeros of what was only allocated come into the page cache */
    host_map_init(&again, s->fd, SIZE);
    if (again.asking == HOST_FIEMAP) {
        assert_int_equal(data_of(&again), before);
        assert_true(unwritten_holes(s, &again) > 0);
    }
    host_map_done(&again);
    host_map_done(&m);
    close(s->fd);
    free(s);
}

static void tells_what_was_written(void **state)
{
    (void)state;
    const char *dir = getenv("TMPDIR");
    check_in(dir ? dir : "/var/tmp");
}

static void tells_it_without_fiemap(void **state)
{
    (void)state;
    check_in("/dev/shm");
}

/* One run that the file system keeps in many extents is told as one, or in pieces that join. */
static void empty_and_whole_files(void **state)
{
    (void)state;
    FILE *f = tmpfile();
    struct host_map m;
    struct extent e;
    assert_non_null(f);
    host_map_init(&m, fileno(f), 0);
    assert_int_equal(m.asking, HOST_NEVER);
    host_map_done(&m);
    assert_int_equal(ftruncate(fileno(f), 1 << 20), 0);
    host_map_init(&m, fileno(f), 1 << 20);
    host_map_at(&m, 5, 100, &e);
    assert_int_equal(e.length, 100);
    assert_int_equal(e.kind, EXTENT_HOLE);
    host_map_done(&m);
    fclose(f);
}

/* A pipe knows no holes: all is data. */
static void what_cant_be_asked_is_data(void **state)
{
    (void)state;
    int fd[2];
    struct host_map m;
    struct extent e;
    assert_int_equal(pipe(fd), 0);
    host_map_init(&m, fd[0], 4096);
    host_map_at(&m, 0, 4096, &e);
    assert_int_equal(e.kind, EXTENT_DATA);
    assert_int_equal(e.length, 4096);
    host_map_done(&m);
    close(fd[0]);
    close(fd[1]);
}

/* Space that was allocated but never written, before and after it was read: the same, or the file says that
 * it may change, and then a disk asks before it reads. */
static void stays_in(const char *dir)
{
    static char zeros[8192], buf[8192];
    char path[256];
    struct file *f;
    struct fault fault;
    struct trust trust = { 0 };
    struct extent before, after;
    snprintf(path, sizeof path, "%s/ferryfs-host-map-XXXXXX", dir);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    bool allocated = fallocate(fd, 0, 0, BLOCK) == 0 && ftruncate(fd, 2 * BLOCK) == 0;
    int r = file_open_source(path, &trust, &f, &fault);
    unlink(path);
    assert_int_equal(r, 0);
    /* Where only SEEK_DATA is known, some file systems change their answer (ext4 would, by SEEK_DATA). */
    struct host_map m;
    host_map_init(&m, fd, 2 * BLOCK);
    assert_int_equal(file_map_stays(f), m.asking != HOST_SEEK);
    host_map_done(&m);
    if (allocated) {
        assert_int_equal(file_map(f, 0, sizeof buf, &before), 0);
        assert_int_equal(file_pread(f, buf, sizeof buf, 0), 0);
        assert_memory_equal(buf, zeros, sizeof buf);
        struct file *anew;
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        assert_int_equal(file_open_source(path, &trust, &anew, &fault), 0); /* it remembers nothing */
        assert_int_equal(file_map(anew, 0, sizeof buf, &after), 0);
        assert_int_equal(file_map_stays(anew), file_map_stays(f));
        if (file_map_stays(f))
            assert_int_equal(before.kind, after.kind);
        file_unref(anew);
    }
    file_unref(f);
    close(fd);
}

static void what_was_read_changes_no_map_that_stays(void **state)
{
    (void)state;
    const char *dir = getenv("TMPDIR");
    stays_in(dir ? dir : "/var/tmp");
    stays_in("/dev/shm");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_what_was_written),
        cmocka_unit_test(tells_it_without_fiemap),
        cmocka_unit_test(empty_and_whole_files),
        cmocka_unit_test(what_cant_be_asked_is_data),
        cmocka_unit_test(what_was_read_changes_no_map_that_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
