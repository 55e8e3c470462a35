/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing NTFS: see volume-write.h. */
#include "volume-write.h"

enum { VOLUMES = 2 };

/* The library forgets an inode or two when a mount fails, and has no frame pointers by which a leak of its
 * could be told from ours: leaks are looked for by tests/unit/test-ntfs-write.c. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

static struct fuzz_disk disks[VOLUMES];

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    disks[0] = fuzz_mkfs("mkntfs -qF -c 4096 $f", 4 << 20);
    disks[1] = fuzz_mkfs("mkntfs -qF -c 512 $f", 2 << 20);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    return fuzz_write(volume_driver_for("ntfs"), disks, VOLUMES, MODEL_CASELESS | MODEL_XATTRS | MODEL_HOLES,
                      NULL, data, n);
}
