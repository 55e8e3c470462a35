/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images of every shape: plain, compressed, both, padded, with an archive of ours behind them, damaged. That
 * the kernel takes what is put behind is shown by tests/e2e/prepare-linux.sh. */
#include "guest/initramfs.h"
#include "unit.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM = 1 << 20 };

struct image {
    uint8_t bytes[ROOM];
    size_t n;
};

static int image_read(void *ctx, void *buf, size_t len, uint64_t off, size_t *ret)
{
    const struct image *i = ctx;
    *ret = off >= i->n ? 0 : len < i->n - off ? len : i->n - (size_t)off;
    memcpy(buf, i->bytes + (off < i->n ? off : 0), *ret);
    return 0;
}

static struct initramfs_file file_of(struct image *i)
{
    return (struct initramfs_file){ image_read, i, i->n, "initrd", 0 };
}

static void put(struct image *i, const void *p, size_t n)
{
    assert_true(n <= ROOM - i->n);
    memcpy(i->bytes + i->n, p, n);
    i->n += n;
}

static void align(struct image *i)
{
    while (i->n & 3)
        put(i, "", 1);
}

/* What initramfs-tools makes, in small. */
static struct cpio_out main_archive(void)
{
    struct cpio_out o = { 0 };
    cpio_add(&o, ".", S_IFDIR | 0755, NULL, 0);
    cpio_add(&o, "conf", S_IFDIR | 0755, NULL, 0);
    cpio_add(&o, "./conf/initramfs.conf", S_IFREG | 0644, "MODULES=dep\n", 12);
    cpio_add(&o, "conf/modules", S_IFREG | 0644, "nvme\n", 5);
    cpio_add(&o, "lib", S_IFLNK | 0777, "usr/lib", 7);
    cpio_add(&o, "usr", S_IFDIR | 0755, NULL, 0);
    cpio_add(&o, "usr/lib/modules/6.1/kernel/nvme.ko", S_IFREG | 0644, "code", 4);
    assert_int_equal(cpio_end(&o), 0);
    return o;
}

static void put_plain(struct image *i)
{
    struct cpio_out o = main_archive();
    put(i, o.p, o.n);
    free(o.p);
}

/* By libarchive, whose writers aren't the readers that the product uses. */
static bool put_packed(struct image *i, const char *filter)
{
    struct cpio_out o = main_archive();
    struct archive *a = archive_write_new();
    struct archive_entry *e = archive_entry_new();
    static uint8_t buf[ROOM];
    size_t used = 0;
    bool ok = archive_write_add_filter_by_name(a, filter) == ARCHIVE_OK;
    if (ok) {
        archive_write_set_format_raw(a);
        archive_write_set_bytes_in_last_block(a, 1);
        assert_int_equal(archive_write_open_memory(a, buf, sizeof buf, &used), ARCHIVE_OK);
        archive_entry_set_filetype(e, AE_IFREG);
        assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
        assert_int_equal(archive_write_data(a, o.p, o.n), o.n);
        assert_int_equal(archive_write_close(a), ARCHIVE_OK);
        put(i, buf, used);
    }
    archive_entry_free(e);
    archive_write_free(a);
    free(o.p);
    return ok;
}

/* The kernel's form of lz4: stored blocks of 100 bytes. */
static void put_lz4(struct image *i)
{
    struct cpio_out o = main_archive();
    put(i, "\x02\x21\x4c\x18", 4);
    for (size_t at = 0; at < o.n; at += 100) {
        size_t n = o.n - at < 100 ? o.n - at : 100;
        uint8_t head[6] = { (uint8_t)(n + (n < 15 ? 1 : 2)), 0, 0, 0, 0xf0, (uint8_t)(n - 15) };
        if (n < 15)
            head[4] = (uint8_t)(n << 4);
        put(i, head, n < 15 ? 5 : 6);
        put(i, o.p + at, n);
    }
    free(o.p);
}

static void put_early(struct image *i)
{
    struct cpio_out o = { 0 };
    cpio_add(&o, "kernel/x86/microcode/GenuineIntel.bin", S_IFREG | 0644, "code", 4);
    assert_int_equal(cpio_end(&o), 0);
    put(i, o.p, o.n);
    while (i->n & 511)
        put(i, "", 1);
    free(o.p);
}

static void is_main(const struct initramfs *i)
{
    assert_int_equal(i->maker, INITRAMFS_TOOLS);
    assert_string_equal(i->kernel, "6.1");
    assert_false(i->several_kernels);
    assert_true(i->lib_is_link);
    assert_string_equal(i->module_suffix, ".ko");
    assert_true(initramfs_has(i, "conf/initramfs.conf"));
    assert_true(initramfs_has_module(i, "kernel/nvme.ko"));
    assert_false(initramfs_has_module(i, "kernel/nvm.ko"));
}

static void add_ours(struct image *image, const char *module, size_t n)
{
    struct initramfs_file f = file_of(image);
    struct initramfs i;
    struct cpio_out o = { 0 };
    struct initramfs_dirs dirs = { 0 };
    uint8_t *bytes, *data = calloc(1, n);
    size_t length;
    char name[100];
    assert_int_equal(initramfs_read(&f, &i, NULL), 0);
    snprintf(name, sizeof name, "usr/lib/modules/6.1/kernel/%s", module);
    initramfs_add(&i, &o, &dirs, name, data, n);
    initramfs_add(&i, &o, &dirs, "conf/modules", module, strlen(module));
    assert_int_equal(initramfs_segment(&i, &f, &o, &bytes, &length), 0);
    put(image, bytes, length);
    free(bytes);
    free(data);
    free(o.p);
    initramfs_dirs_done(&dirs);
    initramfs_done(&i);
}

/* What is in it is seen; so is what is put behind, twice. */
static void all_of_load(struct image *image, const char *packing, const char *load)
{
    struct initramfs_file f = file_of(image);
    struct initramfs i;
    struct fault why = { 0 };
    assert_int_equal(initramfs_read(&f, &i, &why), 0);
    is_main(&i);
    assert_string_equal(i.packing, packing);
    assert_string_equal(i.load, load);
    initramfs_done(&i);

    add_ours(image, "virtio_blk.ko", 5000);
    add_ours(image, "virtio_scsi.ko", 14);
    f = file_of(image);
    assert_int_equal(initramfs_read(&f, &i, &why), 0);
    is_main(&i);
    assert_true(initramfs_has_module(&i, "kernel/virtio_blk.ko"));
    assert_true(initramfs_has_module(&i, "kernel/virtio_scsi.ko"));
    assert_string_equal(i.load, "virtio_scsi.ko");
    initramfs_done(&i);
}

static void all_of(struct image *image, const char *packing)
{
    all_of_load(image, packing, "nvme\n");
}

static void shapes(void **state)
{
    static const char *const filters[][2] = {
        { "gzip", "gzip" }, { "bzip2", "bzip2" }, { "xz", "xz" }, { "lzma", "lzma" }, { "zstd", "zstd" }
    };
    struct image *i = calloc(1, sizeof *i);
    (void)state;
    put_plain(i);
    all_of(i, "");
    for (size_t k = 0; k < sizeof filters / sizeof filters[0]; k++)
        for (int early = 0; early < 2; early++) {
            i->n = 0;
            if (early)
                put_early(i);
            if (put_packed(i, filters[k][0]))
                all_of(i, filters[k][1]);
            else
                print_message("libarchive doesn't write %s here\n", filters[k][0]);
        }
    for (size_t k = 0; k < 4; k++) { /* wherever the blocks end */
        i->n = 0;
        put_early(i);
        put_lz4(i);
        add_ours(i, "virtio_net.ko", 20 + 4 * k);
        all_of_load(i, "lz4", "virtio_net.ko");
    }
    /* A plain archive, and one behind it at a multiple of 4 with zeros between. */
    i->n = 0;
    put_early(i);
    put_plain(i);
    align(i);
    put(i, "\0\0\0\0\0\0\0\0", 8);
    put_early(i);
    all_of(i, "");
    free(i);
}

/* Behind an lz4 stream with something else at its end nothing can be put. */
static void lz4_with_a_tail(void **state)
{
    struct image *image = calloc(1, sizeof *image);
    struct initramfs i;
    struct cpio_out o = { 0 };
    uint8_t *bytes;
    size_t n;
    (void)state;
    put_lz4(image);
    put(image, "\0\0\0\0", 4);
    struct initramfs_file f = file_of(image);
    assert_int_equal(initramfs_read(&f, &i, NULL), 0);
    assert_int_equal(initramfs_segment(&i, &f, &o, &bytes, &n), -ENOTSUP);
    free(o.p);
    initramfs_done(&i);
    free(image);
}

static int read_error(struct image *image)
{
    struct initramfs_file f = file_of(image);
    struct initramfs i;
    struct fault why = { 0 };
    int r = initramfs_read(&f, &i, &why);
    assert_true(r == 0 || why.what[0]);
    initramfs_done(&i);
    return r;
}

static void damaged(void **state)
{
    struct image *i = calloc(1, sizeof *i);
    (void)state;
    assert_int_equal(read_error(i), -EUCLEAN); /* empty */
    put(i, "no image", 8);
    assert_int_equal(read_error(i), -ENOTSUP);
    i->n = 0;
    put_plain(i);
    size_t whole = i->n;
    for (size_t n = 1; n < whole - 124; n++) { /* cut before the last header */
        i->n = n;
        assert_true(read_error(i) < 0);
    }
    i->n = whole;
    i->bytes[54] = 'g'; /* the size isn't hex */
    assert_int_equal(read_error(i), -EUCLEAN);
    i->n = 0;
    if (put_packed(i, "gzip")) {
        i->n /= 2;
        assert_int_equal(read_error(i), -EUCLEAN);
    }
    free(i);
}

/* No directory takes a link's place, and each is named once. */
static void directories(void **state)
{
    struct image *image = calloc(1, sizeof *image);
    struct initramfs_file f;
    struct initramfs i;
    struct cpio_out o = { 0 };
    struct initramfs_dirs dirs = { 0 };
    (void)state;
    put_plain(image);
    f = file_of(image);
    assert_int_equal(initramfs_read(&f, &i, NULL), 0);
    initramfs_add(&i, &o, &dirs, "usr/lib/modules/6.1/kernel/a.ko", "a", 1);
    initramfs_add(&i, &o, &dirs, "usr/lib/modules/6.1/kernel/b.ko", "b", 1);
    assert_int_equal(dirs.n, 4); /* usr/lib, modules, 6.1, kernel: usr is there */
    assert_string_equal(dirs.names[0], "usr/lib");
    assert_string_equal(dirs.names[3], "usr/lib/modules/6.1/kernel");
    free(o.p);
    initramfs_dirs_done(&dirs);
    initramfs_done(&i);
    free(image);
}

/* One file, packed and not. */
static void unpack(void **state)
{
    static const char *const filters[] = { "gzip", "xz", "zstd" };
    static struct image packed;
    struct cpio_out want = main_archive();
    uint8_t *got;
    size_t n;
    (void)state;
    for (size_t k = 0; k < 3; k++) {
        packed.n = 0;
        if (!put_packed(&packed, filters[k]))
            continue;
        assert_int_equal(initramfs_unpack(packed.bytes, packed.n, want.n, &got, &n), 0);
        assert_int_equal(n, want.n);
        assert_memory_equal(got, want.p, n);
        free(got);
        assert_int_equal(initramfs_unpack(packed.bytes, packed.n, want.n - 1, &got, &n), -EFBIG);
        assert_int_equal(initramfs_unpack(packed.bytes, packed.n / 2, want.n, &got, &n), -EUCLEAN);
    }
    assert_true(packed.n); /* zlib is always there */
    assert_int_equal(initramfs_unpack(want.p, want.n, want.n, &got, &n), 0);
    assert_int_equal(n, want.n);
    assert_memory_equal(got, want.p, n);
    free(got);
    free(want.p);
}

/* What would need a program of the host's, or more memory than is allowed, is refused by its first bytes. */
static void refused_by_its_header(void **state)
{
    (void)state;
    static const struct {
        uint8_t head[32];
        size_t n;
        int want;
    } rows[] = {
        { { 0x89, 'L', 'Z', 'O', 0, 0x0d, 0x0a, 0x1a, 0x0a }, 9, 0 /* see below */ },
        { { 0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x11 << 3 }, 6, -EFBIG },     /* a window of 128 MiB */
        { { 0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0x08 }, 9, -EFBIG }, /* a segment of 128 MiB */
        { { 0x28, 0xb5, 0x2f, 0xfd, 0xe3, 1, 2, 3, 4, 0, 0, 0, 0, 1 },
          17,
          -EFBIG }, /* of 4 GiB, behind its dictionary */
        { { 0x5d, 0, 0, 0, 0x08 }, 5, -EFBIG },
        { { 0xfd, '7', 'z', 'X', 'Z', 0, 0, 1, 0, 0, 0, 0, 2, 0, 0x21, 1, 30 }, 17, -EFBIG },
        { { 0xfd, '7', 'z', 'X', 'Z', 0, 0, 1, 0, 0, 0, 0, 3, 0xc1, 0x80, 1, 9, 4, 0, 0x21, 1, 30 },
          22,
          -EFBIG },
    };
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        struct image *image = calloc(1, sizeof *image);
        struct initramfs i;
        struct fault fault = { 0 };
        put(image, rows[k].head, 32);
        image->n = 64;
        struct initramfs_file f = file_of(image);
        int r = initramfs_read(&f, &i, &fault);
        if (rows[k].want)
            assert_int_equal(r, rows[k].want);
        else /* as libarchive has a decompressor of its own for it, or would start lzop */
            assert_true(r == -ENOTSUP || r == -EUCLEAN);
        initramfs_done(&i);
        uint8_t *plain = NULL;
        size_t n;
        r = initramfs_unpack(image->bytes, image->n, 1 << 20, &plain, &n);
        assert_true(rows[k].want ? r == rows[k].want : r < 0);
        free(image);
    }
}

/* A file that is shorter than its size says is damaged, not read for ever; and what is unpacked has a bound.
 */
static void bounds(void **state)
{
    (void)state;
    struct image *image = calloc(1, sizeof *image);
    struct cpio_out o = main_archive();
    struct initramfs i;
    struct fault fault = { 0 };
    put(image, o.p, o.n);
    free(o.p);
    struct initramfs_file f = file_of(image);
    assert_int_equal(initramfs_read(&f, &i, &fault), 0);
    initramfs_done(&i);
    f.size += 4096;
    assert_int_equal(initramfs_read(&f, &i, &fault), -EUCLEAN);
    initramfs_done(&i);
    f.size = (UINT64_C(1) << 30) + 1;
    assert_int_equal(initramfs_read(&f, &i, &fault), -EFBIG);
    initramfs_done(&i);
    free(image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes),  cmocka_unit_test(lz4_with_a_tail),
        cmocka_unit_test(damaged), cmocka_unit_test(directories),
        cmocka_unit_test(unpack),  cmocka_unit_test(refused_by_its_header),
        cmocka_unit_test(bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
