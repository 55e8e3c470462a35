/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The .vmx parser on any bytes: what it accepts is sorted, found again, and the same twice. */
#include "formats/vmx.h"
#include "promise.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vmx *a = NULL, *b = NULL;
    struct fault fault = { 0 };
    char *text = malloc(size ? size : 1); /* exactly as large, so that a sanitizer sees one byte too much */
    if (!text)
        return 0;
    memcpy(text, data, size);
    vmx_probe(text, size);
    int r = vmx_parse(text, size, "fuzz.vmx", &a, &fault);
    PROMISE(r == fault.err);
    PROMISE(vmx_parse(text, size, "fuzz.vmx", &b, NULL) == r);
    free(text);
    for (size_t i = 0; a && i < a->n; i++) {
        const struct vmx_entry *e = &a->entries[i];
        PROMISE(i == 0 || strcmp(a->entries[i - 1].key, e->key) < 0);
        PROMISE(vmx_find(a, e->key) == e && e->key[0]);
        PROMISE(!strcmp(e->value, b->entries[i].value));
        PROMISE(!e->raw || strlen(e->raw) <= size);
    }
    PROMISE(!a || a->n == b->n);
    vmx_free(a);
    vmx_free(b);
    return 0;
}
