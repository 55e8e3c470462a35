/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A dirty hive with two logs made of the input: opened, which replays them, read, and stored; what was stored
 * is the same hive, clean, and its logs have nothing any more.
 *
 *     flags | u16 length of the hive | u16 length of the first log | hive | first log | second log
 *
 * Flags: bit 0, 1: the first, second log is of the old kind, with its checksum made right; bit 2: make the
 * hashes of the entries of new logs right. */
#include "hive-input.h"

#include "registry/hive-check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t field(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Marvin32, written anew: the fuzzer can't guess hashes. */
static uint32_t rotate_left(uint32_t v, unsigned n)
{
    return v << n | v >> (32 - n);
}

static void hash(const uint8_t *p, size_t n, uint8_t ret[8])
{
    uint32_t lo = 0x7a4e55c5, hi = 0x82ef4d88;
    for (size_t i = 0; i <= n / 4 + 1; i++) {
        lo += i < n / 4 ? field(p + 4 * i) : i == n / 4 ? 0x80 : 0;
        hi ^= lo;
        lo = rotate_left(lo, 20) + hi;
        hi = rotate_left(hi, 9) ^ lo;
        lo = rotate_left(lo, 27) + hi;
        hi = rotate_left(hi, 19);
    }
    put_le32(ret, lo);
    put_le32(ret + 4, hi);
}

static struct hive_file *log_of(const uint8_t *data, size_t size, bool hashes)
{
    struct hive_file *f = NULL;
    uint8_t *b = malloc(size + 1);
    memcpy(b, data, size);
    if (size >= BASE_SUM_SIZE)
        put_le32(b + BASE_CHECKSUM, hive_checksum(b));
    for (size_t at = 512; hashes && size - at >= 40 && at < size;) {
        uint32_t n = field(b + at + 4);
        if (n < 40 || n % 512 || n > size - at)
            break;
        hash(b + at + 40, n - 40, b + at + 24);
        hash(b + at, 32, b + at + 32);
        at += n;
    }
    if (hive_file_memory(b, size, "log", &f) < 0)
        f = NULL;
    free(b);
    return f;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hive_files files = { 0 }, again = { 0 };
    struct hive *h;
    struct hive_state state;
    if (size < 5)
        return 0;
    size_t n = data[1] | data[2] << 8, n_log = data[3] | data[4] << 8, left = size - 5;
    bool hashes = data[0] & 4;
    n = n < left ? n : left;
    n_log = n_log < left - n ? n_log : left - n;
    files.primary = hive_of_input(data + 5, n);
    files.log1 = log_of(data + 5 + n, n_log, hashes);
    files.log2 = log_of(data + 5 + n + n_log, left - n - n_log, hashes);
    struct hive_file *primary = files.primary, *log1 = files.log1, *log2 = files.log2;
    if (hive_open(&files, HIVE_WRITABLE | HIVE_ACCEPT_DIRTY, 0, &h, NULL) < 0)
        return 0;
    fuzz_walk_all(h);
    hive_state(h, &state);
    if (state.writable && hive_is_dirty(h)) {
        int before = hive_check_lost(h, NULL, NULL);
        bool was_dirty = state.dirty && !state.replayed;
        if (hive_commit(h, 1, NULL) < 0 || hive_is_dirty(h) || log1->size || log2->size)
            abort();
        if (hive_file_memory(hive_file_bytes(primary), primary->size, "again", &again.primary) < 0)
            abort();
        hive_close(h);
        if (hive_open(&again, HIVE_WRITABLE, 0, &h, NULL) < 0)
            abort();
        hive_state(h, &state);
        if (state.dirty || hive_check_lost(h, NULL, NULL) != before - was_dirty)
            abort();
    }
    hive_close(h);
    return 0;
}
