/* SPDX-License-Identifier: GPL-2.0-or-later */
/* NTFS by our driver over libntfs-3g, on a volume that the unit test's sample is (mkntfs makes it at the
 * start, so inputs mean the same on every machine but for times and serial numbers), into which the input
 * writes pieces:
 *
 *     sector u16, byte in it u16, length u8, bytes | ...
 *
 * Opened, walked and read within bounds, twice alike. */
#include "../unit/ext-tree.h"
#include "../unit/ntfs-sample.h"

#include <assert.h>

enum { SECTOR = 512, NAMES = 60, BYTES = 1 << 20, PIECES = 64 };

/* The library forgets an inode or two when a mount fails, and has no frame pointers by which a leak of its
 * could be told from ours: leaks are looked for by tests/unit/test-ntfs.c. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

static uint8_t *pristine, *volume_bytes;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    pristine = sample_make();
    volume_bytes = malloc(SAMPLE_SIZE);
    if (!pristine || !volume_bytes) {
        fputs("fuzz-ntfs: mkntfs is missing\n", stderr);
        exit(1);
    }
    memcpy(volume_bytes, pristine, SAMPLE_SIZE);
    return 0;
}

/* Writes the input's pieces, or takes them back. */
static void patch(const uint8_t *data, size_t size, bool back)
{
    struct bad bad = { 0 };
    struct bytes in = bytes_of(data, size, 0, &bad);
    for (size_t at = 0, i = 0; i < PIECES && at + 5 <= size; i++) {
        uint64_t to = (uint64_t)le16(in, at) * SECTOR + le16(in, at + 2) % SECTOR;
        size_t n = min_u64(u8(in, at + 4), size - at - 5);
        to %= SAMPLE_SIZE;
        n = min_u64(n, SAMPLE_SIZE - to);
        memcpy(volume_bytes + to, back ? pristine + to : data + at + 5, n);
        at += 5 + n;
    }
}

static char *walk(void)
{
    struct memory_disk d = memory_disk(volume_bytes, SAMPLE_SIZE);
    struct cache *cache = cache_new(1 << 20, NULL);
    struct volume *v;
    char *text = NULL;
    if (volume_driver_for("ntfs")->open(&d.disk, "disk0", cache, &v, NULL) == 0) {
        text = tree_read(v, NAMES, BYTES);
        volume_close(v);
    }
    cache_free(cache);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    patch(data, size, false);
    char *one = walk(), *two = walk();
    if (!one != !two || (one && strcmp(one, two) != 0))
        abort();
    free(one);
    free(two);
    patch(data, size, true);
    return 0;
}
