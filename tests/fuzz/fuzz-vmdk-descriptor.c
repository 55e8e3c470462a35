/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The descriptor's parser on any bytes: what it accepts must hold what its header promises. */
#include "formats/vmdk-descriptor.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vmdk_descriptor d;
    struct fault fault = { 0 };
    char *text = malloc(size ? size : 1); /* exactly as large, so that a sanitizer sees one byte too much */
    if (!text)
        return 0;
    memcpy(text, data, size);
    vmdk_descriptor_probe(text, size);
    int r = vmdk_descriptor_parse(text, size, "fuzz", 0, &d, &fault);
    free(text);
    if (r < 0) {
        if (fault.err != r || !fault.what[0])
            abort();
        return 0;
    }
    for (size_t i = 0; i < d.n_extents; i++) {
        const struct vmdk_extent *e = &d.extents[i];
        if (e->sectors > VMDK_MAX_SECTORS || e->offset_sectors > VMDK_MAX_SECTORS || !e->type[0] ||
            e->at >= size)
            abort();
        if (e->name && strchr(e->name, '\\'))
            abort();
    }
    vmdk_descriptor_done(&d);
    return 0;
}
