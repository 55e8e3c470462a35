/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A journal of 64 blocks of 1 KiB made of the input, in two runs of a file system of 256: the layer, when
 * there is one, maps all of it in order and reads the same twice, and blocks that no entry names are those
 * below.
 *
 *     flags (bit 0: make the superblock's checksum right) | the journal's blocks from the first on */
#include "../unit/memdisk.h"
#include "formats/bytes.h"
#include "formats/hash.h"
#include "guest/jbd2.h"

#include <assert.h>

enum { BLOCK = 1024, BLOCKS = 256, RING = 64, FIRST_RUN = 10, RUN_A = 40, RUN_B = 100, CHECKSUM = 0xFC };

static const struct jbd2_run runs[] = { { 0, RUN_A, FIRST_RUN }, { FIRST_RUN, RUN_B, RING - FIRST_RUN } };
static uint8_t image[BLOCKS * BLOCK];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void make(const uint8_t *data, size_t size)
{
    for (unsigned i = 0; i < BLOCKS; i++)
        memset(image + i * BLOCK, (int)i, BLOCK);
    for (unsigned i = 0; i < RING; i++) {
        uint8_t *block = image + BLOCK * (i < FIRST_RUN ? RUN_A + i : RUN_B + i - FIRST_RUN);
        size_t at = 1 + (size_t)i * BLOCK, n = size > at ? size - at : 0;
        memset(block, 0, BLOCK);
        memcpy(block, data + (n ? at : 0), n < BLOCK ? n : BLOCK);
    }
    if (size && data[0] & 1) {
        uint8_t *super = image + RUN_A * BLOCK;
        put_be32(super + CHECKSUM, 0);
        put_be32(super + CHECKSUM, crc32c_update(~0u, super, 1024));
    }
}

static void check(struct disk *layer, const struct jbd2_info *info)
{
    static uint8_t once[BLOCKS * BLOCK], again[BLOCK];
    assert(layer->size == sizeof image);
    struct extent e;
    for (uint64_t off = 0; off < layer->size; off += e.length)
        assert(!disk_map(layer, off, layer->size - off, &e));
    assert(!disk_pread(layer, once, sizeof once, 0));
    uint64_t changed = 0;
    for (unsigned i = 0; i < BLOCKS; i++) {
        assert(!disk_pread(layer, again, BLOCK, i * BLOCK));
        assert(!memcmp(once + i * BLOCK, again, BLOCK));
        changed += memcmp(again, image + i * BLOCK, BLOCK) != 0;
    }
    assert(changed <= info->blocks + 1); /* and the journal's own superblock */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 1 + RING * BLOCK)
        return 0;
    make(data, size);
    struct memdisk d = memdisk_of(image, sizeof image);
    const struct jbd2_place place = {
        .block_size = BLOCK, .first_block = 1, .fs_blocks = BLOCKS, .runs = runs, .n_runs = 2, .name = "disk0"
    };
    struct jbd2_info info = { 0 };
    struct fault fault = { 0 };
    struct disk *layer = NULL;
    int r = jbd2_open(&d.disk, &place, &info, &layer, &fault);
    assert(d.reads < 100 * RING);
    if (r < 0) {
        assert(fault.err == r && fault.what[0] && !layer);
        return 0;
    }
    check(layer, &info);
    disk_close(layer);
    return 0;
}
