/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A hive made of the input: opened, all of it read, and checked. What is listed is found by its name, and the
 * checker says the same twice. */
#include "hive-input.h"

#include "registry/hive-check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hive_files files = { .primary = hive_of_input(data, size) };
    struct hive *h;
    struct fault fault = { 0 };
    if (!files.primary)
        return 0;
    int r = hive_open(&files, 0, 0, &h, &fault);
    if (r < 0) {
        if (fault.err != r || !fault.what[0])
            abort();
        return 0;
    }
    fuzz_walk_all(h);
    if (hive_check_lost(h, NULL, NULL) != hive_check_lost(h, NULL, NULL))
        abort();
    hive_close(h);
    return 0;
}
