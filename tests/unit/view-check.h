/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_TESTS_VIEW_CHECK_H
#define FERRYFS_TESTS_VIEW_CHECK_H
/* What the tests of the view formats have in common: opening a view of a toy disk, copying it to a file, and
 * the checks that hold for any format. */
#include "formats/bytes.h"
#include "formats/view.h"
#include "toy-disk.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)
#define TIB(n) ((uint64_t)(n) << 40)

static inline const struct view_format *view_by_name(const char *name)
{
    for (size_t i = 0; view_formats[i]; i++)
        if (!strcmp(view_formats[i]->name, name))
            return view_formats[i];
    fail_msg("no view %s", name);
    return NULL;
}

static inline struct view *open_view(const char *name, struct toy *t, unsigned sector_size, uint8_t id)
{
    struct view_source src = { .disk = &t->disk, .sector_size = sector_size, .id = { id } };
    struct view *v = NULL;
    assert_int_equal(view_open(view_by_name(name), &src, &v, NULL), 0);
    return v;
}

/* The view of a disk with one extent: 0, or the error, which the fault must name. */
static inline int try_view(const char *name, uint64_t size, char kind)
{
    const struct toy_extent list[] = { { size, kind }, { 0, 0 } };
    struct toy *t = toy_new(list, 1);
    struct view_source src = { .disk = &t->disk, .sector_size = 512 };
    struct view *v = NULL;
    struct fault fault = { 0 };
    int r = view_open(view_by_name(name), &src, &v, &fault);
    assert_int_equal(fault.err, r);
    assert_true(!v == (r < 0));
    view_close(v);
    disk_close(&t->disk);
    return r;
}

/* Is there data in [off, end)? */
static inline bool toy_has_data(const struct toy *t, uint64_t off, uint64_t end)
{
    for (size_t i = toy_find(t, off); i < t->n && t->starts[i] < end; i++)
        if (t->extents[i].kind == 'D')
            return true;
    return false;
}

/* The view's bytes at `at` are the disk's at `off`. */
static inline void check_data(struct view *v, const struct toy *t, uint64_t at, size_t n, uint64_t off)
{
    uint8_t *want = malloc(n), *got = malloc(n);
    toy_fill(t, want, n, off);
    assert_int_equal(view_pread(v, got, n, at), 0);
    assert_memory_equal(got, want, n);
    free(want);
    free(got);
}

/* What lies before `end`, read in pieces of any alignment, is what it is when read at once. */
static inline void check_pieces(struct view *v, uint64_t end)
{
    uint64_t r = 5;
    uint8_t *whole = malloc(end), *piece = malloc(5000);
    assert_int_equal(view_pread(v, whole, end, 0), 0);
    for (int i = 0; i < 3000; i++) {
        size_t len = (size_t)min_u64(end, 1 + toy_random(&r, i % 2 ? 5000 : 20));
        uint64_t off = toy_random(&r, end - len + 1);
        assert_int_equal(view_pread(v, piece, len, off), 0);
        assert_memory_equal(piece, whole + off, len);
    }
    free(whole);
    free(piece);
}

/* st_blocks is what view_map calls data, and its holes before `end` are zeros. */
static inline void check_holes(struct view *v, uint64_t end)
{
    static uint8_t buf[65536];
    struct extent e;
    uint64_t data = 0;
    for (uint64_t off = 0; off < v->layout.size; off += e.length) {
        assert_int_equal(view_map(v, off, UINT64_MAX, &e), 0);
        if (e.kind == EXTENT_DATA)
            data += e.length;
        for (uint64_t at = off; e.kind != EXTENT_DATA && at < min_u64(end, off + e.length);) {
            size_t n = (size_t)min_u64(sizeof buf, min_u64(end, off + e.length) - at);
            assert_int_equal(view_pread(v, buf, n, at), 0);
            for (size_t i = 0; i < n; i++)
                assert_int_equal(buf[i], 0);
            at += n;
        }
    }
    assert_int_equal(v->allocated, data);
}

/* ---- other programs ---- */

static inline int run(const char *command)
{
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Copies what view_map calls data; the rest stays a hole of the file, as cp --sparse does. */
static inline void copy_sparse(struct view *v, const char *path)
{
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    uint8_t *buf = malloc(MIB(1));
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)v->layout.size), 0);
    struct extent e;
    for (uint64_t off = 0; off < v->layout.size; off += e.length) {
        assert_int_equal(view_map(v, off, UINT64_MAX, &e), 0);
        for (uint64_t at = 0; e.kind == EXTENT_DATA && at < e.length; at += MIB(1)) {
            size_t n = (size_t)min_u64(MIB(1), e.length - at);
            assert_int_equal(view_pread(v, buf, n, off + at), 0);
            assert_int_equal(pwrite(fd, buf, n, (off_t)(off + at)), n);
        }
    }
    free(buf);
    close(fd);
}

/* The disk itself, by the toy's list and not by any view. */
static inline void write_raw(const struct toy *t, const char *path)
{
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    uint8_t *buf = malloc(MIB(1));
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)round_up(t->disk.size, 512)), 0);
    for (size_t i = 0; i < t->n; i++)
        for (uint64_t at = 0; t->extents[i].kind == 'D' && at < t->extents[i].length; at += MIB(1)) {
            size_t n = (size_t)min_u64(MIB(1), t->extents[i].length - at);
            toy_fill(t, buf, n, t->starts[i] + at);
            assert_int_equal(pwrite(fd, buf, n, (off_t)(t->starts[i] + at)), n);
        }
    free(buf);
    close(fd);
}

/* qemu-img finds the view clean, and if `compare`, reads the toy's bytes in it. */
static inline void check_with_qemu(struct view *v, const struct toy *t, const char *what, bool compare)
{
    char dir[] = "/tmp/ferryfs-view-XXXXXX", raw[64], image[64], command[256];
    assert_non_null(mkdtemp(dir));
    snprintf(raw, sizeof raw, "%s/disk.raw", dir);
    snprintf(image, sizeof image, "%s/image", dir);
    copy_sparse(v, image);
    snprintf(command, sizeof command, "qemu-img check -q -f %s %s", v->format->name, image);
    if (run(command))
        fail_msg("%s: %s", what, command);
    if (compare) {
        write_raw(t, raw);
        snprintf(command, sizeof command, "qemu-img compare -q -f %s -F raw %s %s", v->format->name, image,
                 raw);
        if (run(command))
            fail_msg("%s: %s", what, command);
        unlink(raw);
    }
    unlink(image);
    rmdir(dir);
}

/* Skips the test that calls it when there is no qemu-img. */
static inline void need_qemu(void)
{
    if (!run("command -v qemu-img >/dev/null"))
        return;
    print_message("no qemu-img: not compared\n");
    skip();
}
#endif
