/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A volume of hostile bytes as ext2/3/4, journal and all: opened, walked and read within bounds. Checked
 * beyond "no crash": two walks over fresh caches agree, and the replayed layer's map covers it. Since nothing
 * random survives a checksum, the seeds are without metadata_csum. */
#include "../unit/ext-tree.h"
#include "guest/ext.h"

enum { SIZE_MAX_INPUT = 4 << 20, NAMES = 100, BYTES = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *walk(const uint8_t *data, size_t size)
{
    struct memory_disk d = memory_disk(data, size);
    struct cache *cache = cache_new(1 << 20, NULL);
    struct volume *v;
    char *text = NULL;
    if (ext_driver.open(&d.disk, "disk0", cache, &v, NULL) == 0) {
        struct disk *layer = ((struct ext_volume *)(void *)v)->replayed;
        unsigned steps = 0;
        for (uint64_t off = 0; layer && off < layer->size && steps < 1000; steps++) {
            struct extent e;
            if (disk_map(layer, off, layer->size - off, &e) < 0)
                abort();
            off += e.length;
        }
        text = tree_read(v, NAMES, BYTES);
        volume_close(v);
    }
    cache_free(cache);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > SIZE_MAX_INPUT)
        return 0;
    char *one = walk(data, size), *two = walk(data, size);
    if (!one != !two || (one && strcmp(one, two) != 0))
        abort();
    free(one);
    free(two);
    return 0;
}
