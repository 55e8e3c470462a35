/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Elements of a boot configuration from any bytes: a text that can be had can be read back, and says the same
 * again. And any text. */
#include "registry/bcd.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void from_bytes(uint32_t object, uint32_t element, const uint8_t *data, size_t size)
{
    static const uint32_t types[] = { BCD_REG_SZ, BCD_REG_BINARY, BCD_REG_MULTI_SZ };
    for (size_t i = 0; i < 3; i++) {
        char *text = NULL, *again = NULL;
        struct bcd_bytes b;
        if (bcd_to_text(object, element, types[i], data, size, NULL, &text) < 0)
            continue;
        if (bcd_from_text(object, element, text, strlen(text), NULL, NULL, &b) == 0) {
            assert(b.reg_type == types[i]);
            assert(bcd_to_text(object, element, b.reg_type, b.data, b.n, NULL, &again) == 0);
            assert(!strcmp(text, again));
            free(b.data);
        }
        struct bcd_bytes was = { types[i], (uint8_t *)(uintptr_t)data, size };
        assert(bcd_from_text(object, element, text, strlen(text), &was, NULL, &b) == 0);
        assert(b.n == size && (!size || !memcmp(b.data, data, size)));
        free(b.data);
        free(text);
        free(again);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t objects[] = { 0x10100002, 0x10200003, 0x10200004, 0x30000000 };
    uint32_t element;
    struct bcd_bytes b;
    if (size < 5)
        return 0;
    memcpy(&element, data, 4);
    uint32_t object = objects[data[4] & 3];
    data += 5;
    size -= 5;
    from_bytes(object, element, data, size);
    from_bytes(object, 0x11000001, data, size);
    if (bcd_from_text(object, element, (const char *)data, size, NULL, NULL, &b) == 0)
        free(b.data);
    if (bcd_from_text(object, 0x11000001, (const char *)data, size, NULL, NULL, &b) == 0)
        free(b.data);
    return 0;
}
