/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The small helpers: bytes, checked, fault, file, disk, chain, detection. */
#include "formats/bytes.h"
#include "formats/checked.h"
#include "formats/hash.h"
#include "formats/image.h"
#include "formats/inflate.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

static void bytes_outside_give_zero_and_are_noted(void **state)
{
    (void)state;
    const uint8_t raw[] = { 1, 2, 3, 4, 5, 6, 7, 8 };
    struct bad bad = { 0 };
    struct bytes b = bytes_of(raw, sizeof raw, 1000, &bad);
    assert_int_equal(le32(b, 0), 0x04030201);
    assert_int_equal(be16(b, 6), 0x0708);
    assert_int_equal(le64(b, 0), 0x0807060504030201);
    assert_false(bad.set);
    assert_int_equal(le32(b, 5), 0);
    assert_true(bad.set);
    assert_int_equal(bad.at, 1005);
    struct bad again = { 0 };
    struct bytes child = bytes_sub(bytes_of(raw, sizeof raw, 0, &again), 2, 4);
    assert_int_equal(le32(child, 0), 0x06050403);
    assert_int_equal(u8(child, 4), 0);
    assert_int_equal(again.at, 6);
    assert_int_equal(u8(bytes_sub(child, SIZE_MAX, 1), 0), 0);
}

static void checked_refuses_overflow(void **state)
{
    (void)state;
    uint64_t v = 7;
    assert_false(checked_add(UINT64_MAX, 1, &v));
    assert_false(checked_mul(UINT64_C(1) << 33, UINT64_C(1) << 31, &v));
    assert_int_equal(v, 7);
    assert_true(checked_mul(3, 5, &v));
    assert_int_equal(v, 15);
    assert_true(range_inside(10, 0, 10));
    assert_false(range_inside(UINT64_MAX, 2, 10));
    assert_int_equal(round_up(513, 512), 1024);
    assert_true(round_up(UINT64_MAX, 512) == UINT64_MAX);
}

static void first_fault_wins(void **state)
{
    (void)state;
    struct fault f = { 0 };
    char line[2048];
    assert_int_equal(fault_at(&f, -EUCLEAN, "a\nb.vmdk", 12, "bad %s", "grain"), -EUCLEAN);
    fault_in(&f, -EIO, "other", "later");
    fault_hint(&f, -EUCLEAN, "do this");
    fault_format(&f, line, sizeof line);
    assert_string_equal(line, "a?b.vmdk: bad grain at byte 12; do this");
    assert_int_equal(fault_in(NULL, -EIO, "x", "y"), -EIO);
}

static void memory_file_never_reads_outside(void **state)
{
    (void)state;
    struct file *f, *s;
    char buf[4];
    assert_int_equal(file_memory_new("abcdef", 6, "m", &f), 0);
    assert_int_equal(file_pread(f, buf, 4, 3), -ENODATA);
    assert_int_equal(file_pread(f, buf, 3, 3), 0);
    assert_memory_equal(buf, "def", 3);
    assert_int_equal(file_slice_new(f, 2, 5, "s", NULL, NULL, &s), -ENODATA);
    assert_int_equal(file_slice_new(f, 2, 3, "s", NULL, NULL, &s), 0);
    assert_int_equal(file_pread(s, buf, 2, 1), 0);
    assert_memory_equal(buf, "de", 2);
    assert_int_equal(file_pread(s, buf, 1, 3), -ENODATA);
    file_unref(f);
    file_unref(s);
}

static void references_stay_in_trusted_directories(void **state)
{
    (void)state;
    char dir[] = "/tmp/ferryfs-unit-XXXXXX", path[256], link[256];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/inside", dir);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/inside/a", dir);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    snprintf(link, sizeof link, "%s/inside/out", dir);
    assert_int_equal(symlink("/etc/passwd", link), 0);

    struct trust trust = { 0 };
    struct file *f = NULL, *r = NULL;
    struct fault fault = { 0 };
    char inside[256];
    snprintf(inside, sizeof inside, "%s/inside", dir);
    assert_int_equal(trust_add(&trust, inside, &fault), 0);
    assert_int_equal(file_open_source(path, &trust, &f, &fault), 0);
    assert_int_equal(file_open_ref(f, "extent", "../x", &r, NULL), -ENOENT);
    assert_int_equal(file_open_ref(f, "extent", "/etc/passwd", &r, NULL), -EPERM);
    assert_int_equal(file_open_ref(f, "extent", "out", &r, &fault), -EPERM);
    assert_non_null(strstr(fault.what, "/etc/passwd"));
    assert_int_equal(file_open_ref(f, "extent", "../inside/a", &r, NULL), 0);
    assert_true(file_same(f, r));
    file_unref(r);
    file_unref(f);
    trust_done(&trust);
    unlink(link);
    unlink(path);
    rmdir(inside);
    rmdir(dir);
}

/* A file whose first MiB is data and whose second is a hole, cut. What is past the end is nothing that could
 * be taken for zeros (unless it was seen as a hole before: `seen`), what is before it is as it was, and what
 * comes back can be read again. */
static void shrink_to(int fd, const char *path, off_t cut, bool seen)
{
    struct trust trust = { 0 };
    struct fault fault = { 0 };
    struct file *f;
    struct extent e;
    char buf[4096], xs[4096], zeros[4096] = { 0 };
    const uint64_t hole = 3 << 19, last = (1 << 20) - sizeof buf;
    memset(xs, 'x', sizeof xs);
    assert_int_equal(ftruncate(fd, 0), 0);
    for (off_t at = 0; at < 1 << 20; at += sizeof xs)
        assert_int_equal(pwrite(fd, xs, sizeof xs, at), sizeof xs);
    assert_int_equal(ftruncate(fd, 2 << 20), 0);
    assert_int_equal(file_open_source(path, &trust, &f, &fault), 0);
    if (seen) {
        assert_int_equal(file_map(f, hole, sizeof buf, &e), 0);
        assert_int_equal(e.kind, EXTENT_HOLE);
        assert_int_equal(file_pread(f, buf, sizeof buf, hole), 0);
        assert_memory_equal(buf, zeros, sizeof buf);
    }
    assert_int_equal(ftruncate(fd, cut), 0);
    assert_int_equal(file_map(f, hole, sizeof buf, &e), 0);
    assert_true(e.kind == EXTENT_DATA || seen);
    assert_int_equal(file_map(f, last, sizeof buf, &e), 0);
    assert_int_equal(e.kind, EXTENT_DATA);
    assert_int_equal(file_pread(f, buf, sizeof buf, hole), -EIO);
    assert_int_equal(file_pread(f, buf, sizeof buf, last), cut >= 1 << 20 ? 0 : -EIO);
    if (cut) { /* a part of it is there */
        assert_int_equal(file_pread(f, buf, 200, (uint64_t)cut - 100), -EIO);
        assert_int_equal(file_pread(f, buf, 100, (uint64_t)cut - 100), 0);
        assert_memory_equal(buf, cut > 1 << 20 ? zeros : xs, 100);
    }
    for (off_t at = 0; at < 1 << 20; at += sizeof xs)
        assert_int_equal(pwrite(fd, xs, sizeof xs, at), sizeof xs);
    assert_int_equal(file_pread(f, buf, sizeof buf, last), 0);
    assert_memory_equal(buf, xs, sizeof buf);
    file_unref(f);
}

/* What was cut off under us before anybody asked about it is neither a hole nor zeros. */
static void a_file_that_shrinks_is_data_and_eio(void **state)
{
    (void)state;
    static const off_t cuts[] = { 3 << 19, 1 << 20, (1 << 20) - 1, 1 << 19, (1 << 19) - 100, 0 };
    char path[] = "/tmp/ferryfs-core-XXXXXX";
    int fd = mkstemp(path);
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        shrink_to(fd, path, cuts[i], false);
        shrink_to(fd, path, cuts[i], true);
    }
    close(fd);
    unlink(path);
}

/* A disk of blocks of 4 bytes by a string: 'D' data (filled with the layer's letter), 'Z' zero, '.' hole, 'E'
 * its table can't be read. */
struct toy {
    struct disk disk;
    const char *blocks;
    char fill;
};

static int toy_map(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    char c = ((struct toy *)(void *)d)->blocks[off / 4];
    if (c == 'E')
        return -EIO;
    *ret = (struct extent){ .length = min_u64(len, 4 - off % 4) };
    ret->kind = c == 'D' ? EXTENT_DATA : c == 'Z' ? EXTENT_ZERO : EXTENT_HOLE;
    return 0;
}

static int toy_pread(struct disk *d, void *buf, size_t len, uint64_t off, const struct extent *e)
{
    (void)off;
    assert_int_equal(e->kind, EXTENT_DATA);
    memset(buf, ((struct toy *)(void *)d)->fill, len);
    return 0;
}

static void toy_close(struct disk *d)
{
    free(d);
}

static struct disk *toy(const char *blocks, char fill)
{
    static const struct disk_ops ops = {
        .name = "toy", .pread = toy_pread, .map = toy_map, .close = toy_close
    };
    struct toy *t = calloc(1, sizeof *t);
    *t = (struct toy){ { &ops, strlen(blocks) * 4 }, blocks, fill };
    return &t->disk;
}

static void chain_reads_the_topmost_layer_that_knows(void **state)
{
    (void)state;
    struct disk *layers[] = { toy("D..Z.", 't'), toy("DD.D", 'm'), toy("DDD", 'b') }, *d;
    assert_int_equal(chain_new(layers, 3, &d), 0);
    assert_int_equal(d->size, 512); /* 20 bytes, padded to a sector */
    char buf[512];
    assert_int_equal(disk_pread(d, buf, 512, 0), 0);
    assert_memory_equal(buf, "ttttmmmmbbbb\0\0\0\0\0\0\0\0\0\0\0\0", 24);
    assert_int_equal(buf[511], 0);
    struct extent e;
    assert_int_equal(disk_map(d, 8, 100, &e), 0);
    assert_int_equal(e.kind, EXTENT_DATA);
    assert_int_equal(e.depth, 2);
    assert_int_equal(e.length, 4);
    assert_int_equal(disk_map(d, 12, 100, &e), 0);
    assert_int_equal(e.kind, EXTENT_ZERO);
    assert_int_equal(disk_map_joined(d, 16, 4096, &e), 0);
    assert_int_equal(e.length, 496);
    assert_int_equal(disk_pread(d, buf, 2, 511), -EINVAL);
    disk_close(d);
}

/* The layers below hold data there that the guest gave up when the disk was shrunk. */
static void past_the_end_of_a_layer_are_zeros(void **state)
{
    (void)state;
    struct disk *layers[] = { toy("D....", 't'), toy("D.", 'm'), toy("DDDDDDD", 'b') }, *d;
    assert_int_equal(chain_new(layers, 3, &d), 0);
    char buf[512], zeros[504] = { 0 };
    assert_int_equal(disk_pread(d, buf, 512, 0), 0);
    assert_memory_equal(buf, "ttttbbbb", 8);
    assert_memory_equal(buf + 8, zeros, 504);
    struct extent e;
    assert_int_equal(disk_map_joined(d, 8, 4096, &e), 0);
    assert_int_equal(e.kind, EXTENT_HOLE);
    assert_int_equal(e.length, 504);
    disk_close(d);
}

static void unreadable_table_is_eio_and_never_zeros(void **state)
{
    (void)state;
    struct disk *layers[] = { toy("DE.", 't'), toy("DDD", 'b') }, *d;
    assert_int_equal(chain_new(layers, 2, &d), 0);
    char buf[12];
    assert_int_equal(disk_pread(d, buf, 12, 0), -EIO);
    assert_int_equal(disk_pread(d, buf, 4, 4), -EIO);
    assert_int_equal(disk_pread(d, buf, 4, 8), 0);
    disk_close(d);
}

static void slice_past_the_end_is_eio(void **state)
{
    (void)state;
    struct disk *d = toy("DD", 'x'), *s;
    char buf[8];
    assert_int_equal(disk_slice_new(d, 4, 100, &s), 0);
    assert_int_equal(disk_pread(s, buf, 4, 0), 0);
    assert_int_equal(disk_pread(s, buf, 4, 4), -EIO);
    assert_int_equal(disk_pread(s, buf, 8, 0), -EIO);
    disk_close(s);
    disk_close(d);
}

static void detection(void **state)
{
    (void)state;
    static const struct {
        const char *name, *content;
        int want;
    } rows[] = {
        { "disk.img", "\0\0just bytes", 0 },    { "no-suffix", "text that is no descriptor", 0 },
        { "disk.vhd", "just bytes", -EUCLEAN }, { "x.ova(disk1.vhdx)", "just bytes", -EUCLEAN },
        { "disk.img", "SHSKD", -ENOTSUP },      { "disk.raw", "\x1f\x8b gz", -ENOTSUP },
        { "disk.raw", "", -EMEDIUMTYPE },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct file *f;
        const struct format *format = NULL;
        size_t n = rows[i].content[0] || i == 0 ? strlen(rows[i].content + 2 * (i == 0)) + 2 * (i == 0) : 0;
        assert_int_equal(file_memory_new(rows[i].content, n, rows[i].name, &f), 0);
        assert_int_equal(image_detect(f, &format, NULL), rows[i].want);
        if (!rows[i].want)
            assert_string_equal(format->name, "raw");
        file_unref(f);
    }
}

/* Containers that lost their first sector, and nothing that a disk might have by chance. */
static void traces_of_containers_are_no_raw_disks(void **state)
{
    (void)state;
    static const struct {
        const char *magic[2];
        size_t at[2];
        int want;
    } rows[] = {
        { { "head", "head" }, { 64 << 10, 128 << 10 }, -EUCLEAN },
        { { "head", "regi" }, { 128 << 10, 256 << 10 }, -EUCLEAN },
        { { "head", "x" }, { 64 << 10, 128 << 10 }, 0 },
        { { "regi", "x" }, { 192 << 10, 0 }, 0 },
        { { "cxsparse", "" }, { 512, 0 }, -EUCLEAN },
        { { "cxsparse", "" }, { 1024, 0 }, 0 },
        { { "<<< Oracle VM VirtualBox Disk Image >>>", "" }, { 0, 0 }, -EUCLEAN },
        { { "<<< QEMU VM Virtual Disk Image >>>", "" }, { 0, 0 }, -EUCLEAN },
    };
    enum { SIZE = 1 << 20 };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct file *f;
        const struct format *format = NULL;
        char *p = calloc(1, SIZE);
        for (int j = 0; j < 2; j++)
            memcpy(p + rows[i].at[j], rows[i].magic[j], strlen(rows[i].magic[j]));
        assert_int_equal(file_memory_new(p, SIZE, "5f2e7a", &f), 0);
        assert_int_equal(image_detect(f, &format, NULL), rows[i].want);
        file_unref(f);
        free(p);
    }
}

static void checksums(void **state)
{
    (void)state;
    assert_int_equal(crc32c("123456789", 9), 0xE3069283);
    assert_int_equal(~crc32c_portable(~0u, "123456789", 9), 0xE3069283);
    uint8_t bytes[67];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * i + 7 * i);
    for (size_t from = 0; from < 9; from++) /* each length of the tail, each way to lie */
        for (size_t n = 0; n <= sizeof bytes - from; n++)
            assert_int_equal(crc32c_portable(5, bytes + from, n), crc32c_update(5, bytes + from, n));
    uint8_t id[32] = { 1 }, a[16], b[16];
    guid_derive(id, "disk", a);
    guid_derive(id, "data", b);
    assert_memory_not_equal(a, b, 16);
    char text[37];
    guid_format(a, text);
    assert_int_equal(text[14], '8');
}

static void inflate_takes_only_whole_streams(void **state)
{
    (void)state;
    uint8_t plain[4096], packed[8192], out[4096];
    for (size_t i = 0; i < sizeof plain; i++)
        plain[i] = (uint8_t)(i * i >> 5);
    uLongf n = sizeof packed;
    assert_int_equal(compress(packed, &n, plain, sizeof plain), Z_OK);
    size_t made;
    assert_int_equal(inflate_zlib(packed, n, out, sizeof out, &made), 0);
    assert_int_equal(made, sizeof plain);
    assert_memory_equal(plain, out, sizeof plain);
    assert_int_equal(inflate_zlib(packed, n - 5, out, sizeof out, &made), -EUCLEAN);
    packed[n / 2] ^= 0x40;
    assert_int_equal(inflate_zlib(packed, n, out, sizeof out, &made), -EUCLEAN);
    packed[n / 2] ^= 0x40;
    assert_int_equal(inflate_raw(packed + 2, n - 6, out, sizeof out), 0);
    assert_memory_equal(plain, out, sizeof plain);
    assert_int_equal(inflate_raw(packed + 2, n - 6, out, 1000), 0); /* a stream that goes on is no error */
    assert_int_equal(inflate_raw(packed + 2, n / 2, out, sizeof out), -EUCLEAN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_outside_give_zero_and_are_noted),
        cmocka_unit_test(checked_refuses_overflow),
        cmocka_unit_test(first_fault_wins),
        cmocka_unit_test(memory_file_never_reads_outside),
        cmocka_unit_test(references_stay_in_trusted_directories),
        cmocka_unit_test(a_file_that_shrinks_is_data_and_eio),
        cmocka_unit_test(chain_reads_the_topmost_layer_that_knows),
        cmocka_unit_test(past_the_end_of_a_layer_are_zeros),
        cmocka_unit_test(unreadable_table_is_eio_and_never_zeros),
        cmocka_unit_test(slice_past_the_end_is_eio),
        cmocka_unit_test(detection),
        cmocka_unit_test(traces_of_containers_are_no_raw_disks),
        cmocka_unit_test(checksums),
        cmocka_unit_test(inflate_takes_only_whole_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
