/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two hives made of the input: its first half and its second, or, with bit 0 of the first byte unset, of the
 * same bytes. The differences come to an end, are the same however they are read, and a hive that is whole
 * has none to itself. */
#include "hive-input.h"

#include "registry/hive-check.h"
#include "registry/reg-diff.h"

enum { OUT_MAX = 1 << 22 };

static struct hive *open_input(const uint8_t *data, size_t size)
{
    struct hive_files files = { .primary = hive_of_input(data, size) };
    struct hive *h = NULL;
    struct fault fault = { 0 };
    return files.primary && hive_open(&files, 0, 0, &h, &fault) == 0 ? h : NULL;
}

/* A number for the text; *ret_found, *ret_whole: it came to its end. */
static uint64_t read_all(const struct hive *old, const struct hive *new, size_t piece, bool *ret_found,
                         bool *ret_whole)
{
    static const uint16_t path[] = { 'H', '\\', 'X' };
    static uint8_t buf[4096];
    struct reg_differ *d = NULL;
    uint64_t hash = 0;
    size_t total = 0;
    bool end = false;
    int r = reg_differ_new(old, (struct hive_name){ path, 3 }, hive_root(new), &d);
    if (r < 0)
        abort();
    while (!r && !end && total < OUT_MAX) {
        size_t n = 0;
        r = reg_differ_read(d, new, buf, piece, &n, &end);
        for (size_t i = 0; i < n; i++)
            hash = (hash ^ buf[i]) * 0x100000001b3;
        total += n;
    }
    *ret_found = reg_differ_found(d);
    *ret_whole = !r && end;
    reg_differ_free(d);
    return hash;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    bool two = data[0] & 1, found, whole, found_again, whole_again;
    size_t half = two ? (size - 1) / 2 : size - 1;
    struct hive *old = open_input(data + 1, half);
    struct hive *new = two ? open_input(data + 1 + half, size - 1 - half) : open_input(data + 1, half);
    if (old && new) {
        uint64_t a = read_all(old, new, 4096, &found, &whole);
        uint64_t b = read_all(old, new, 333, &found_again, &whole_again);
        if (whole && whole_again && (a != b || found != found_again))
            abort();
        if (!two && found && hive_check_lost(new, NULL, NULL) == 0)
            abort();
    }
    if (old)
        hive_close(old);
    if (new)
        hive_close(new);
    return 0;
}
