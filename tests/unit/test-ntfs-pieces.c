/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where an NTFS file lies: what its content is depends on the initialized size as well as on the clusters,
 * since behind it a file is zeros, whatever its clusters hold. Two states that differ in it alone (as
 * SetFileValidData makes them) must be different for a comparison by places. */
#include "guest/ntfs-lib.h"
#include "guest/volume-diff.h"
#include "memdisk.h"
#include "unit.h"

#include <stdio.h>
#include <unistd.h>

enum { VOLUME = 4 << 20, FILE_BYTES = 64 << 10, INITIALIZED = 10000, SECTOR = 512 };

static char path[] = "/tmp/ferryfs-ntfs-pieces-XXXXXX";
static uint8_t *before, *after;

static void fill_file(ntfs_volume *vol)
{
    static uint8_t data[FILE_BYTES];
    ntfschar *name = NULL;
    int len = ntfs_mbstoucs("file", &name);
    ntfs_inode *root = ntfs_inode_open(vol, FILE_root);
    ntfs_inode *ni = ntfs_create(root, 0, name, (uint8_t)len, S_IFREG);
    assert_non_null(ni);
    ntfs_attr *na = ntfs_attr_open(ni, AT_DATA, AT_UNNAMED, 0);
    memset(data, 'x', sizeof data);
    assert_int_equal(ntfs_attr_pwrite(na, 0, sizeof data, data), sizeof data);
    ntfs_attr_close(na);
    assert_int_equal(ntfs_inode_close_in_dir(ni, root), 0);
    assert_int_equal(ntfs_inode_close(root), 0);
    free(name);
}

static void initialize(ntfs_volume *vol, s64 size)
{
    ntfs_inode *ni = ntfs_pathname_to_inode(vol, NULL, "file");
    assert_non_null(ni);
    ntfs_attr_search_ctx *ctx = ntfs_attr_get_search_ctx(ni, NULL);
    assert_int_equal(ntfs_attr_lookup(AT_DATA, AT_UNNAMED, 0, CASE_SENSITIVE, 0, NULL, 0, ctx), 0);
    assert_true(ctx->attr->non_resident);
    ctx->attr->initialized_size = cpu_to_sle64(size);
    ntfs_inode_mark_dirty(ctx->ntfs_ino);
    ntfs_attr_put_search_ctx(ctx);
    assert_int_equal(ntfs_inode_close(ni), 0);
}

/* The volume's bytes once it has that initialized size. */
static uint8_t *with_initialized(s64 size, bool first)
{
    ntfs_volume *vol = ntfs_mount(path, NTFS_MNT_NONE);
    assert_non_null(vol);
    if (first)
        fill_file(vol);
    initialize(vol, size);
    assert_int_equal(ntfs_umount(vol, FALSE), 0);
    uint8_t *bytes = malloc(VOLUME);
    FILE *f = fopen(path, "r");
    assert_true(bytes && f);
    assert_int_equal(fread(bytes, 1, VOLUME, f), VOLUME);
    fclose(f);
    return bytes;
}

static bool is_changed(void *ctx, uint64_t off, uint64_t len)
{
    (void)ctx;
    uint64_t from = off / SECTOR * SECTOR, to = (off + len + SECTOR - 1) / SECTOR * SECTOR;
    return memcmp(before + from, after + from, to - from) != 0;
}

static struct volume *open_bytes(struct memdisk *disk, struct cache *cache, const uint8_t *bytes)
{
    struct volume *v = NULL;
    *disk = memdisk_of(bytes, VOLUME);
    assert_int_equal(volume_driver_for("ntfs")->open(&disk->disk, "disk0", cache, &v, NULL), 0);
    return v;
}

static void check_content(struct volume *v, size_t initialized)
{
    static uint8_t data[FILE_BYTES];
    struct volume_file *f;
    uint64_t ino;
    size_t n;
    assert_int_equal(v->ops->lookup(v, VOLUME_ROOT, "file", &ino), 0);
    assert_int_equal(v->ops->open(v, ino, &f), 0);
    assert_int_equal(v->ops->read(f, data, sizeof data, 0, &n), 0);
    v->ops->release(f);
    assert_int_equal(n, sizeof data);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(data[i], i < initialized ? 'x' : 0);
}

static int what_of_file(const struct volume_diff *d)
{
    uint32_t at = volume_diff_child(d, 0, "file");
    return at == DIFF_NONE ? -1 : d->nodes[at].what;
}

/* More or less of the clusters is shown: no byte of them was written. */
static void compare(s64 old_size, s64 new_size)
{
    struct memdisk disks[2];
    struct volume_diff *d = NULL;
    free(before);
    free(after);
    before = with_initialized(old_size, false);
    after = with_initialized(new_size, false);
    struct cache *caches[2] = { cache_new(1 << 20, NULL), cache_new(1 << 20, NULL) };
    struct volume *old = open_bytes(&disks[0], caches[0], before),
                  *new = open_bytes(&disks[1], caches[1], after);
    check_content(old, (size_t)old_size);
    check_content(new, (size_t)new_size);
    struct volume_diff_source s = { .old = old, .new = new, .changed = is_changed, .room = 1 << 20 };
    assert_int_equal(volume_diff_new(&s, &d), 0);
    assert_int_equal(what_of_file(d), old_size == new_size ? -1 : DIFF_CHANGED);
    volume_diff_free(d);
    volume_close(old);
    volume_close(new);
    cache_free(caches[0]);
    cache_free(caches[1]);
}

static void initialized_size_is_content(void **state)
{
    (void)state;
    char command[200];
    int fd = mkstemp(path);
    snprintf(command, sizeof command, "PATH=$PATH:/sbin:/usr/sbin mkntfs -qF -c 4096 %s >/dev/null 2>&1",
             path);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, VOLUME), 0);
    close(fd);
    if (system(command)) {
        unlink(path);
        print_message("SKIP: mkntfs is missing\n");
        skip();
    }
    before = with_initialized(INITIALIZED, true);
    compare(INITIALIZED, FILE_BYTES);
    compare(FILE_BYTES, INITIALIZED);
    compare(INITIALIZED, INITIALIZED + 1);
    compare(INITIALIZED + 1, INITIALIZED + 1);
    free(before);
    free(after);
    unlink(path);
}

int main(void)
{
    ntfs_set_char_encoding("utf8");
    ntfs_log_set_handler(ntfs_log_handler_null);
    const struct CMUnitTest tests[] = { cmocka_unit_test(initialized_size_is_content) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
