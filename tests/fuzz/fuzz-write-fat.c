/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing FAT12, FAT16 and FAT32: see volume-write.h. */
#include "volume-write.h"

extern const struct volume_driver fat_driver;

enum { VOLUMES = 3 };

static struct fuzz_disk disks[VOLUMES];

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    disks[0] = fuzz_mkfs("mkfs.vfat -F 12 -s 1 $f", 1 << 20);
    disks[1] = fuzz_mkfs("mkfs.vfat -F 16 -s 1 $f", 3 << 20);
    disks[2] = fuzz_mkfs("mkfs.vfat -F 32 -s 1 $f", 36 << 20);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    return fuzz_write(&fat_driver, disks, VOLUMES, MODEL_CASELESS, NULL, data, n);
}
