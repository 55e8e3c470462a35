/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hashes with a key of the process: caseless, and spread over a table whatever the names have in common. */
#include "formats/keyed-hash.h"
#include "unit.h"

#include <stdio.h>

static void caseless(void **state)
{
    (void)state;
    assert_true(keyed_hash(0, "DefaultDestDir_x") == keyed_hash(0, "defaultdestdir_X"));
    assert_true(keyed_hash(0, "a") != keyed_hash(1, "a"));
    assert_true(keyed_hash(0, "") != keyed_hash(0, "a"));
    assert_true(keyed_hash(keyed_hash(0, "a"), "b") != keyed_hash(keyed_hash(0, "b"), "a"));
    assert_true(keyed_hash(0, "aaaaaaaa") != keyed_hash(0, "aaaaaaa"));
}

static void spread(void **state)
{
    enum { SLOTS = 1024, NAMES = 64 * SLOTS };
    static unsigned n[SLOTS];
    (void)state;
    for (unsigned i = 0; i < NAMES; i++) {
        char name[32];
        snprintf(name, sizeof name, "%010u.sys", i);
        n[keyed_hash(0, name) % SLOTS]++;
    }
    for (unsigned i = 0; i < SLOTS; i++)
        assert_in_range(n[i], 16, 160); /* 64, give or take 8: six times that and more */
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(caseless), cmocka_unit_test(spread) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
