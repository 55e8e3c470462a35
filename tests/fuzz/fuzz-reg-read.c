/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The reader of .reg files on any bytes: an end, in the bounds that it promises, and an error with its line.
 */
#include "registry/reg-read.h"
#include "promise.h"

#include <stdlib.h>
#include <string.h>

static int on_key(void *ctx, const struct hive_name *parts, size_t n, bool deleted, struct reg_error *error)
{
    (void)error;
    PROMISE(n >= 1 && n <= REG_PARTS_MAX);
    *(bool *)ctx = !deleted;
    for (size_t i = 0; i < n; i++) {
        PROMISE(parts[i].n >= 1 && parts[i].n <= HIVE_KEY_NAME_MAX);
        for (size_t k = 0; k < parts[i].n; k++)
            PROMISE(parts[i].units[k] != '\\' && parts[i].units[k] != '\n');
    }
    return 0;
}

static int on_value(void *ctx, struct hive_name name, uint32_t type, const uint8_t *data, size_t len,
                    struct reg_error *error)
{
    volatile uint8_t seen = 0;
    (void)error;
    PROMISE(*(bool *)ctx && name.n <= HIVE_VALUE_NAME_MAX);
    for (size_t i = 0; i < len; i++)
        seen = seen ^ data[i];
    (void)type;
    return 0;
}

static int on_delete(void *ctx, struct hive_name name, struct reg_error *error)
{
    (void)error;
    PROMISE(*(bool *)ctx && name.n <= HIVE_VALUE_NAME_MAX);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool has_key = false;
    struct reg_sink sink = { &has_key, on_key, on_value, on_delete };
    struct reg_error e;
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        return 0;
    if (size)
        memcpy(copy, data, size);
    int r = reg_read(copy, size, &sink, &e);
    PROMISE(r ? e.line && e.what[0] : !e.line);
    free(copy);
    return 0;
}
