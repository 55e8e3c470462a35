/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The name that QEMU is told: images that qemu-img makes are opened, edited in an overlay, and qemu-img reads
 * the overlay as it is, edits over source, while the source stays as it was. */
#include "overlay-kit.h"

#include "formats/pool.h"

#include <errno.h>
#include <fcntl.h>

#define MIB (UINT64_C(1) << 20)
enum { SIZE = 24 << 20 };

struct bench {
    struct kit_dir dir;
    struct pool *pool;
    struct cache *cache;
    struct trust trust;
};

static void bench_init(struct bench *b)
{
    *b = (struct bench){ 0 };
    kit_dir_init(&b->dir);
    b->pool = pool_new(1);
    b->cache = cache_new(8 << 20, b->pool);
    assert_int_equal(trust_add(&b->trust, b->dir.path, NULL), 0);
    /* data with holes */
    assert_int_equal(
        kit_run("cd %s && truncate -s %d d.raw && for at in 0 3 11 23; do dd if=/dev/urandom of=d.raw "
                "bs=1M seek=$at count=1 conv=notrunc status=none; done",
                b->dir.path, SIZE),
        0);
}

static void bench_done(struct bench *b)
{
    pool_free(b->pool);
    cache_free(b->cache);
    trust_done(&b->trust);
    kit_dir_done(&b->dir);
}

/* Opens the image (within a file: at `off`), edits it, and lets qemu-img compare. */
static void edit_and_compare(struct bench *b, const char *name, uint64_t off, uint64_t len)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", b->dir.path, name);
    _cleanup_(file_unrefp) struct file *host = NULL, *file = NULL;
    assert_int_equal(file_open_source(path, &b->trust, &host, NULL), 0);
    if (len)
        assert_int_equal(file_slice_new(host, off, len, "member", NULL, NULL, &file), 0);
    else
        file = file_ref(host);
    struct image_env env = { .cache = b->cache };
    _cleanup_(image_closep) struct image *image = NULL;
    struct fault fault = { 0 };
    if (image_open(file, NULL, &env, &image, &fault) < 0)
        fail_msg("%s: %s", name, fault.what);
    _cleanup_free_ char *backing = NULL;
    const char *format;
    assert_int_equal(overlay_backing(image, &backing, &format), 0);
    if (!backing)
        fail_msg("%s: QEMU should be able to open it", name);

    struct overlay_source s = { .image = image, .name = path, .backing = backing, .backing_format = format };
    struct overlay_options o = { .dir = b->dir.overlay, .mountpoint = "/mnt/x" };
    struct overlay *v = NULL;
    assert_int_equal(overlay_open(&o, &s, 1, &v, NULL), 0);
    struct disk *d = overlay_disk(v, 0);
    uint8_t buf[10000];
    memset(buf, 0x5a, sizeof buf);
    assert_int_equal(disk_pwrite(d, buf, sizeof buf, 3 * MIB + 1234 * 512), 0);
    assert_int_equal(disk_pwrite(d, buf, 512, d->size - 512), 0);
    assert_int_equal(disk_discard(d, 11 * MIB, MIB / 2), 0);
    kit_commit(v);
    snprintf(path, sizeof path, "%s/expect.raw", b->dir.path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    static uint8_t mib[1 << 20];
    for (uint64_t at = 0; at < d->size; at += sizeof mib) {
        size_t n = (size_t)min_u64(sizeof mib, d->size - at);
        assert_int_equal(disk_pread(d, mib, n, at), 0);
        assert_int_equal(pwrite(fd, mib, n, (off_t)at), n);
    }
    close(fd);
    overlay_close(v);
    if (kit_run(
            "cd %s && qemu-img check -q ov/disk0.qcow2 && qemu-img compare -q -f qcow2 -F raw ov/disk0.qcow2 "
            "expect.raw && rm -rf ov",
            b->dir.path))
        fail_msg("%s: qemu-img reads \"%s\" otherwise", name, backing);
}

static void qemu_reads_the_overlay(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        /* the file, and how qemu-img makes it of d.raw */
        { "d.raw", "true" },
        { "odd.raw", "head -c 1000100 d.raw >odd.raw && truncate -s 24000100 odd.raw" },
        { "with \"quotes\": and, commas.raw", "cp d.raw 'with \"quotes\": and, commas.raw'" },
        { "a.qcow2", "qemu-img convert -c -O qcow2 d.raw a.qcow2" },
        { "child.qcow2", "qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 child.qcow2 && "
                         "qemu-io -c 'write -P 7 5M 100k' child.qcow2 >/dev/null" },
        { "onraw.qcow2", "qemu-img create -q -f qcow2 -b d.raw -F raw onraw.qcow2" },
        { "ext.qcow2", "qemu-img convert -O qcow2 -o data_file=ext.data d.raw ext.qcow2" },
        { "s.vmdk", "qemu-img convert -O vmdk d.raw s.vmdk" },
        { "stream.vmdk", "qemu-img convert -O vmdk -o subformat=streamOptimized d.raw stream.vmdk" },
        { "flat.vmdk", "qemu-img convert -O vmdk -o subformat=monolithicFlat d.raw flat.vmdk" },
        { "two.vmdk", "qemu-img convert -O vmdk -o subformat=twoGbMaxExtentSparse d.raw two.vmdk" },
        { "twoflat.vmdk", "qemu-img convert -O vmdk -o subformat=twoGbMaxExtentFlat d.raw twoflat.vmdk" },
        { "vchild.vmdk", "qemu-img create -q -f vmdk -b s.vmdk -F vmdk vchild.vmdk && "
                         "qemu-io -c 'write -P 9 6M 100k' vchild.vmdk >/dev/null" },
        { "d.vhdx", "qemu-img convert -O vhdx d.raw d.vhdx" },
        { "d.vdi", "qemu-img convert -O vdi d.raw d.vdi" },
        { "static.vdi", "qemu-img convert -O vdi -o static=on d.raw static.vdi" },
        { "d.vhd", "qemu-img convert -O vpc -o force_size=on d.raw d.vhd" },
        { "fixed.vhd", "qemu-img convert -O vpc -o subformat=fixed,force_size=on d.raw fixed.vhd" },
    };
    if (!kit_have_qemu()) {
        print_message("SKIP: qemu-img isn't here\n");
        return;
    }
    struct bench b;
    bench_init(&b);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(kit_run("cd %s && %s", b.dir.path, rows[i][1]), 0);
    assert_int_equal(kit_run("cd %s && chmod 0444 *.* && sha256sum *.* >sums", b.dir.path), 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        edit_and_compare(&b, rows[i][0], 0, 0);
    /* the sources are as they were */
    assert_int_equal(kit_run("cd %s && sha256sum --quiet -c sums", b.dir.path), 0);
    bench_done(&b);
}

static void qemu_reads_what_lies_in_an_archive(void **state)
{
    (void)state;
    static const char *const names[] = { "d.raw",  "a.qcow2", "stream.vmdk", "s.vmdk",
                                         "d.vhdx", "d.vdi",   "d.vhd" };
    static const char *const format[] = {
        "raw", "qcow2", "vmdk -o subformat=streamOptimized", "vmdk", "vhdx", "vdi", "vpc -o force_size=on"
    };
    if (!kit_have_qemu()) {
        print_message("SKIP: qemu-img isn't here\n");
        return;
    }
    struct bench b;
    bench_init(&b);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[200];
        struct stat st;
        if (i)
            assert_int_equal(
                kit_run("cd %s && qemu-img convert -O %s d.raw %s", b.dir.path, format[i], names[i]), 0);
        snprintf(path, sizeof path, "%s/%s", b.dir.path, names[i]);
        assert_int_equal(stat(path, &st), 0);
        /* as tar has it: a header of 512 bytes before, something else behind */
        assert_int_equal(kit_run("cd %s && rm -f a.ova && { head -c 1536 /dev/urandom; cat %s; head -c 9728 "
                                 "/dev/urandom; } >a.ova",
                                 b.dir.path, names[i]),
                         0);
        edit_and_compare(&b, "a.ova", 1536, (uint64_t)st.st_size);
    }
    bench_done(&b);
}

/* A source that QEMU can't open, or reads otherwise. */
static void refused_by_name(struct bench *b, const char *name)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", b->dir.path, name);
    _cleanup_(file_unrefp) struct file *file = NULL;
    assert_int_equal(file_open_source(path, &b->trust, &file, NULL), 0);
    struct image_env env = { .cache = b->cache };
    _cleanup_(image_closep) struct image *image = NULL;
    struct fault fault = { 0 };
    if (image_open(file, NULL, &env, &image, &fault) < 0)
        fail_msg("%s: %s", name, fault.what);
    char *backing = NULL;
    const char *format;
    assert_int_equal(overlay_backing(image, &backing, &format), 0);
    if (backing)
        fail_msg("%s: QEMU isn't to be told \"%s\"", name, backing);
    struct overlay_source s = { .image = image, .name = path };
    struct overlay_options o = { .dir = b->dir.overlay, .mountpoint = "/mnt/x" };
    struct overlay *v = NULL;
    assert_int_equal(overlay_open(&o, &s, 1, &v, NULL), 0);
    overlay_close(v);
    assert_int_not_equal(
        kit_run("cd %s && qemu-img convert -O raw ov/disk0.qcow2 out.raw >log 2>&1", b->dir.path), 0);
    assert_int_equal(kit_run("cd %s && grep -q 'only ferryfs can read' log && rm -rf ov", b->dir.path), 0);
}

static void qemu_is_not_told_what_it_reads_otherwise(void **state)
{
    (void)state;
    if (!kit_have_qemu()) {
        print_message("SKIP: qemu-img isn't here\n");
        return;
    }
    struct bench b;
    bench_init(&b);
    /* an extent that isn't RW is one that QEMU passes over */
    assert_int_equal(kit_run("cd %s && qemu-img convert -O vmdk -o subformat=monolithicFlat d.raw ro.vmdk && "
                             "sed -i 's/^RW /RDONLY /' ro.vmdk",
                             b.dir.path),
                     0);
    refused_by_name(&b, "ro.vmdk");
    bench_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(qemu_reads_the_overlay),
        cmocka_unit_test(qemu_reads_what_lies_in_an_archive),
        cmocka_unit_test(qemu_is_not_told_what_it_reads_otherwise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
