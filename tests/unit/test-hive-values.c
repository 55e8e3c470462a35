/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Keys of many values, whose names are looked for in a table: edits at random against an array that says
 * which values there are and which number each holds, with edits taken back, and two keys in turn. */
#include "unit.h"

#include "../../registry/hive-check.h"
#include "../../registry/hive-file.h"
#include "hive-sample.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES = 1500, ABSENT = -1, BEGINNING = 70 };

struct model {
    struct hive *h;
    uint32_t keys[2];
    int held[2][NAMES], saved[2][NAMES]; /* ABSENT, or the number */
};

/* Half of the names differ only behind the part that is hashed. */
static struct hive_name name_of(int i, bool upper, uint16_t units[100])
{
    char text[100];
    int n = snprintf(text, sizeof text, "%0*d-%c%d", i % 2 ? BEGINNING : 1, 0, upper ? 'N' : 'n', i);
    for (int k = 0; k < n; k++)
        units[k] = (uint8_t)text[k];
    return (struct hive_name){ units, (size_t)n };
}

static int held(const struct model *m, int key, int i, bool upper)
{
    uint16_t units[100];
    uint32_t value, data;
    int r = hive_find_value(m->h, m->keys[key], name_of(i, upper, units), &value);
    if (r == -ENOENT)
        return ABSENT;
    assert_int_equal(r, 0);
    assert_int_equal(hive_value_data(m->h, value, &data, sizeof data, 0), 0);
    return (int)data;
}

static void edit(struct model *m, int key, int i, int what)
{
    uint16_t units[100], other_units[100];
    struct hive_name name = name_of(i, what & 8, units);
    int *now = m->held[key], other = (i + 777) % NAMES, r;
    switch (what % 8) {
    case 0:
        r = hive_delete_value(m->h, m->keys[key], name, 1);
        assert_int_equal(r, now[i] == ABSENT ? -ENOENT : 0);
        now[i] = ABSENT;
        break;
    case 1:
        r = hive_rename_value(m->h, m->keys[key], name, name_of(other, false, other_units), 1);
        assert_int_equal(r, now[i] == ABSENT ? -ENOENT : now[other] != ABSENT ? -EEXIST : 0);
        if (!r) {
            now[other] = now[i];
            now[i] = ABSENT;
        }
        break;
    default:
        now[i] = rand() & 0xffff;
        assert_int_equal(hive_set_value(m->h, m->keys[key], name, 4, &now[i], 4, 1, NULL), 0);
    }
}

static void check_all(const struct model *m)
{
    for (int key = 0; key < 2; key++)
        for (int i = 0; i < NAMES; i++)
            assert_int_equal(held(m, key, i, i & 4), m->held[key][i]);
}

static void new_model(struct model *m)
{
    struct hive_files files = { .primary = sample_empty(5) };
    uint16_t units[] = { 'a' };
    memset(m->held, 0xff, sizeof m->held);
    assert_int_equal(hive_open(&files, HIVE_WRITABLE, 0, &m->h, NULL), 0);
    for (int key = 0; key < 2; key++, units[0]++)
        assert_int_equal(
            hive_add_key(m->h, hive_root(m->h), (struct hive_name){ units, 1 }, 1, &m->keys[key]), 0);
}

/* Names of one length that differ only behind what is hashed, more than the table lets stand side by side:
 * there is none then, and each is found all the same. */
static void test_alike(void **state)
{
    (void)state;
    enum { ALIKE = 1100, WIDTH = 5 };
    struct hive_files files = { .primary = sample_empty(5) };
    struct hive *h;
    uint32_t key, value, data;
    uint16_t units[BEGINNING + WIDTH], letter = 'a';
    assert_int_equal(hive_open(&files, HIVE_WRITABLE, 0, &h, NULL), 0);
    assert_int_equal(hive_add_key(h, hive_root(h), (struct hive_name){ &letter, 1 }, 1, &key), 0);
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < ALIKE; i++) {
            char text[BEGINNING + WIDTH + 1];
            snprintf(text, sizeof text, "%0*d", BEGINNING + WIDTH, i);
            for (int k = 0; k < BEGINNING + WIDTH; k++)
                units[k] = (uint8_t)text[k];
            struct hive_name name = { units, BEGINNING + WIDTH };
            uint32_t number = (uint32_t)i;
            if (pass) {
                assert_int_equal(hive_find_value(h, key, name, &value), 0);
                assert_int_equal(hive_value_data(h, value, &data, sizeof data, 0), 0);
                assert_int_equal(data, i);
                continue;
            }
            assert_int_equal(hive_find_value(h, key, name, &value), -ENOENT);
            assert_int_equal(hive_set_value(h, key, name, 4, &number, 4, 1, NULL), 0);
        }
    hive_close(h);
}

static void test_edits(void **state)
{
    (void)state;
    static struct model m;
    new_model(&m);
    srand(5);
    for (int round = 0; round < (UNIT_SANITIZED ? 9 : 30); round++) {
        bool back = round % 3 == 2;
        memcpy(m.saved, m.held, sizeof m.held);
        if (back)
            assert_int_equal(hive_savepoint(m.h), 0);
        for (int n = 0; n < 400; n++) { /* mostly one key: the table is that of who asks twice in a row */
            int key = n % 50 ? round % 2 : !(round % 2), i = rand() % NAMES;
            edit(&m, key, i, rand() % 16);
            assert_int_equal(held(&m, key, i, false), m.held[key][i]);
        }
        check_all(&m);
        if (back) {
            hive_rollback(m.h);
            memcpy(m.held, m.saved, sizeof m.held);
            check_all(&m);
        }
    }
    assert_int_equal(hive_commit(m.h, 2, NULL), 0);
    assert_int_equal(hive_check_lost(m.h, NULL, NULL), 0);
    /* a key in a cell that was another's */
    assert_int_equal(hive_delete_key(m.h, m.keys[0], true, 3), 0);
    assert_int_equal(
        hive_add_key(m.h, hive_root(m.h), (struct hive_name){ (uint16_t[]){ 'a' }, 1 }, 1, &m.keys[0]), 0);
    memset(m.held[0], 0xff, sizeof m.held[0]);
    check_all(&m);
    hive_close(m.h);
}

static void *look(void *ctx)
{
    struct model *m = ctx;
    intptr_t bad = 0;
    for (int i = 0; i < 4 * NAMES; i++)
        bad += held(m, i / 500 % 2, i % NAMES, false) != m->held[i / 500 % 2][i % NAMES];
    return (void *)bad;
}

static void test_parallel(void **state)
{
    (void)state;
    static struct model m;
    pthread_t threads[4];
    new_model(&m);
    for (int i = 0; i < 2 * NAMES; i++)
        edit(&m, i % 2, i / 2, 7);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, look, &m), 0);
    for (size_t i = 0; i < 4; i++) {
        void *bad;
        pthread_join(threads[i], &bad);
        assert_null(bad);
    }
    hive_close(m.h);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_alike), cmocka_unit_test(test_edits),
                                        cmocka_unit_test(test_parallel) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
