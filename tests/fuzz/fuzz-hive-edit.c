/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Edits of a hostile hive: none may crash, or make the checker find anything that wasn't there before; the
 * stored hive reads as the one in memory does.
 *
 *     u8 number of edits, 6 bytes each: what, key, key, name, size low, size high | hive */
#include "hive-input.h"

#include "registry/hive-check.h"

enum { EDIT = 6, KEYS = 64 };

struct keys {
    const struct hive *h;
    uint32_t at[KEYS];
    unsigned n;
};

static int collect(void *ctx, uint32_t index, uint32_t cell)
{
    struct keys *k = ctx;
    (void)index;
    if (k->n == KEYS)
        return 1;
    k->at[k->n++] = cell;
    (void)hive_subkeys(k->h, cell, 0, collect, k, NULL);
    return 0;
}

static struct hive_name make_name(uint16_t *units, uint8_t seed)
{
    size_t n = seed < 250 ? 1 + seed % 7 : 255;
    for (size_t i = 0; i < n; i++)
        units[i] = (uint16_t)((seed & 64 ? 0x430 : 'a') + (seed + i * (seed >> 3)) % 26);
    return (struct hive_name){ units, n };
}

static void edit(struct hive *h, const uint8_t *e, uint64_t now)
{
    static uint8_t data[65536];
    uint16_t units[255], other_units[255];
    struct keys k = { .h = h };
    struct hive_key key;
    size_t len = e[4] | (size_t)e[5] << 8;
    if (hive_key(h, hive_root(h), &key) < 0)
        return;
    collect(&k, 0, hive_root(h));
    uint32_t a = k.at[e[1] % k.n], b = k.at[e[2] % k.n];
    struct hive_name name = make_name(units, e[3]), other = make_name(other_units, e[4]);
    switch (e[0] % 10) {
    case 0:
        (void)hive_add_key(h, a, name, now, NULL);
        break;
    case 1:
        (void)hive_delete_key(h, a, e[2] & 1, now);
        break;
    case 2:
        (void)hive_move_key(h, a, b, name, now, NULL);
        break;
    case 3:
    case 4:
        (void)hive_set_value(h, a, name, e[2], data, len, now, NULL);
        break;
    case 5:
        (void)hive_delete_value(h, a, name, now);
        break;
    case 6:
        (void)hive_rename_value(h, a, name, other, now);
        break;
    case 7:
        (void)hive_set_class(h, a, data, len);
        break;
    case 8:
        if (!hive_key_security(h, b, data, sizeof data, &len) && len <= sizeof data)
            (void)hive_set_security(h, a, data, len);
        memset(data, 0, sizeof data);
        break;
    default:
        if (!hive_savepoint(h)) {
            (void)hive_set_value(h, a, name, 1, data, len, now, NULL);
            (void)hive_delete_key(h, b, true, now);
            (void)hive_add_key(h, a, other, now, NULL);
            hive_rollback(h);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hive_files files = { 0 }, again = { 0 };
    struct hive_state state;
    struct hive *h;
    size_t n = size ? data[0] % 24 : 0;
    if (size < 1 + n * EDIT)
        return 0;
    struct hive_file *primary = files.primary = hive_of_input(data + 1 + n * EDIT, size - 1 - n * EDIT);
    if (!primary || hive_open(&files, HIVE_WRITABLE | HIVE_ACCEPT_DIRTY, 0, &h, NULL) < 0)
        return 0;
    int before = hive_check_lost(h, NULL, NULL);
    for (size_t i = 0; i < n; i++)
        edit(h, data + 1 + i * EDIT, i + 1);
    if (hive_check_lost(h, NULL, NULL) > before)
        abort();
    fuzz_walk_all(h);
    hive_state(h, &state);
    if (state.writable && hive_is_dirty(h)) {
        if (hive_commit(h, 1, NULL) < 0 ||
            hive_file_memory(hive_file_bytes(primary), primary->size, "again", &again.primary) < 0)
            abort();
        hive_close(h);
        if (hive_open(&again, HIVE_WRITABLE, 0, &h, NULL) < 0 || hive_check_lost(h, NULL, NULL) > before)
            abort();
    }
    hive_close(h);
    return 0;
}
