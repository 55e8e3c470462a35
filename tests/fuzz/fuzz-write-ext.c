/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing ext2/3/4: see volume-write.h. Since nothing patched survives a checksum, one of the volumes is
 * without. */
#include "guest/ext.h"
#include "volume-write.h"

enum { VOLUMES = 4 };

static struct fuzz_disk disks[VOLUMES];

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const char *const options[VOLUMES] = {
        "-t ext4 -b 1024 -O ^metadata_csum",
        "-t ext4 -b 4096 -I 256 -O metadata_csum_seed",
        "-t ext3 -b 1024",
        "-t ext2 -b 2048 -I 128",
    };
    (void)argc, (void)argv;
    for (unsigned i = 0; i < VOLUMES; i++) {
        char command[200];
        snprintf(command, sizeof command, "mke2fs -q -F %s -N 512 $f", options[i]);
        disks[i] = fuzz_mkfs(command, 3 << 20);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    return fuzz_write(&ext_driver, disks, VOLUMES, MODEL_LINKS | MODEL_OWNERS | MODEL_XATTRS | MODEL_HOLES,
                      "lost+found", data, n);
}
