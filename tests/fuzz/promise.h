/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_TESTS_PROMISE_H
#define FERRYFS_TESTS_PROMISE_H
/* What a fuzz target checks: the fuzzer keeps an input for which it isn't so. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define PROMISE(x)                                                                                           \
    do {                                                                                                     \
        if (!(x))                                                                                            \
            abort();                                                                                         \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
#endif
