/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Any bytes under any name: what format they are, and the whole disk by that format's driver. Raw is only
 * what nothing else speaks for; a refusal has a reason.
 *
 *     which of the names below | the file */
#include "formats/checked.h"
#include "formats/image.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum { BYTES = 1 << 20, CHUNK = 1 << 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_some(struct disk *d)
{
    static uint8_t buf[CHUNK];
    for (uint64_t off = 0; off < d->size && off < BYTES; off += CHUNK) {
        int r = disk_pread(d, buf, (size_t)min_u64(CHUNK, d->size - off), off);
        assert(r == 0 || r == -EIO);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = { "disk",      "disk.vmdk", "disk.qcow2", "disk.vhd",
                                         "disk.vhdx", "disk.vdi",  "disk.raw",   "disk.img" };
    if (!size)
        return 0;
    struct file *file;
    struct image *image = NULL;
    struct fault fault = { 0 };
    struct image_env env = { .cache = cache_new(1 << 20, NULL) };
    if (!env.cache || file_memory_new(data + 1, size - 1, names[data[0] % 8], &file) < 0)
        return 0;
    const struct format *format = NULL;
    int detected = image_detect(file, &format, NULL);
    assert(detected < 0 || format);
    int r = image_open(file, NULL, &env, &image, &fault);
    if (r < 0) {
        assert(fault.err == r && fault.what[0]);
    } else {
        assert(!detected && !strcmp(image->layers[0].format, format->name));
        read_some(image->disk);
        image_close(image);
    }
    file_unref(file);
    cache_free(env.cache);
    return 0;
}
