/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_FUZZ_HIVE_INPUT_H
#define FERRYFS_FUZZ_HIVE_INPUT_H
/* A hive made of a fuzzer's input: the 512 bytes of the base block that mean something, then the bins. Its
 * checksum is made right, or nothing behind it would be reached; bit 0 of the input's byte 504, which means
 * nothing, forbids it. */
#include "registry/hive-file.h"
#include "registry/hive-internal.h"

#include <stdlib.h>

static struct hive_file *hive_of_input(const uint8_t *data, size_t size)
{
    struct hive_file *f = NULL;
    size_t bins = size > BASE_SUM_SIZE ? size - BASE_SUM_SIZE : 0;
    uint8_t *b = calloc(1, HIVE_BASE_SIZE + bins);
    if (!b)
        return NULL;
    memcpy(b, data, size < BASE_SUM_SIZE ? size : BASE_SUM_SIZE);
    if (bins)
        memcpy(b + HIVE_BASE_SIZE, data + BASE_SUM_SIZE, bins);
    if (!(b[504] & 1))
        put_le32(b + BASE_CHECKSUM, hive_checksum(b));
    if (hive_file_memory(b, HIVE_BASE_SIZE + bins, "input", &f) < 0)
        f = NULL;
    free(b);
    return f;
}

/* Reads all that the hive has; every name that is listed must be found. */
struct fuzz_walk {
    const struct hive *h;
    uint32_t key;
    unsigned depth;
    uint64_t keys, values; /* seen */
};

static int fuzz_value(void *ctx, uint32_t index, uint32_t cell)
{
    struct fuzz_walk *w = ctx;
    struct hive_value v;
    uint16_t name[64];
    uint8_t data[64];
    size_t n;
    (void)index;
    if (++w->values > 100000)
        return 1;
    if (hive_value(w->h, cell, &v) < 0 || hive_value_name(w->h, cell, name, 64, &n) < 0)
        abort();
    size_t len = v.length < sizeof data ? v.length : sizeof data;
    (void)hive_value_data(w->h, cell, data, len, 0);
    (void)hive_value_data(w->h, cell, data, len, v.length - len);
    return 0;
}

static int fuzz_key(void *ctx, uint32_t index, uint32_t cell)
{
    struct fuzz_walk *w = ctx, below = *w;
    struct hive_key k;
    uint16_t name[HIVE_KEY_NAME_MAX];
    uint8_t buf[64];
    size_t n;
    uint32_t found;
    (void)index;
    if (++w->keys > 10000 || w->depth > 600)
        return 1;
    if (hive_key(w->h, cell, &k) < 0 || hive_key_name(w->h, cell, name, HIVE_KEY_NAME_MAX, &n) < 0)
        abort();
    if (w->depth && n <= HIVE_KEY_NAME_MAX &&
        hive_find_key(w->h, w->key, (struct hive_name){ name, n }, &found) < 0)
        abort();
    (void)hive_key_class(w->h, cell, buf, sizeof buf, &n);
    (void)hive_key_security(w->h, cell, buf, sizeof buf, &n);
    (void)hive_values(w->h, cell, 0, fuzz_value, w, NULL);
    below.key = cell;
    below.depth++;
    below.keys = w->keys;
    below.values = w->values;
    (void)hive_subkeys(w->h, cell, 0, fuzz_key, &below, NULL);
    w->keys = below.keys;
    w->values = below.values;
    return 0;
}

static inline void fuzz_walk_all(const struct hive *h)
{
    struct fuzz_walk w = { .h = h };
    struct hive_key k;
    if (!hive_key(h, hive_root(h), &k))
        fuzz_key(&w, 0, hive_root(h));
}
#endif
