/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The cache: one load however many ask, failures not kept, the bound held, prefetch. */
#include "formats/cache.h"
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static atomic_uint loads;

static int load_fill(void *ctx, uint64_t id, void *buf, size_t size)
{
    (void)ctx;
    atomic_fetch_add(&loads, 1);
    usleep(1000);
    memset(buf, (int)id, size);
    return 0;
}

static int load_fail(void *ctx, uint64_t id, void *buf, size_t size)
{
    (void)id, (void)buf, (void)size;
    return *(int *)ctx;
}

static struct cache *shared;

static void *reader(void *arg)
{
    for (uint64_t id = 0; id < 50; id++) {
        struct cache_block *b;
        if (cache_get(shared, 1, id, 4096, load_fill, NULL, &b) || b->data[4095] != (uint8_t)id)
            return (void *)1;
        cache_put(shared, b);
    }
    return arg;
}

static void many_readers_one_load(void **state)
{
    (void)state;
    pthread_t t[8];
    shared = cache_new(1 << 20, NULL);
    loads = 0;
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&t[i], NULL, reader, NULL), 0);
    for (int i = 0; i < 8; i++) {
        void *r;
        pthread_join(t[i], &r);
        assert_null(r);
    }
    assert_int_equal(loads, 50);
    cache_free(shared);
}

static void failures_are_not_kept(void **state)
{
    (void)state;
    struct cache *c = cache_new(1 << 20, NULL);
    struct cache_block *b;
    int err = -EIO;
    assert_int_equal(cache_get(c, 1, 3, 100, load_fail, &err, &b), -EIO);
    err = 0;
    assert_int_equal(cache_get(c, 1, 3, 100, load_fail, &err, &b), 0);
    cache_put(c, b);
    cache_free(c);
}

static void the_bound_holds(void **state)
{
    (void)state;
    struct cache *c = cache_new(1 << 20, NULL);
    struct cache_block *b, *held;
    assert_int_equal(cache_get(c, 1, 9999, 65536, load_fill, NULL, &held), 0);
    for (uint64_t id = 0; id < 200; id++) {
        assert_int_equal(cache_get(c, 1, id, 65536, load_fill, NULL, &b), 0);
        cache_put(c, b);
        assert_true(cache_used(c) <= (1 << 20));
    }
    loads = 0;
    assert_int_equal(cache_get(c, 1, 9999, 65536, load_fill, NULL, &b), 0); /* held: never evicted */
    assert_ptr_equal(b, held);
    assert_int_equal(loads, 0);
    cache_put(c, b);
    cache_put(c, held);
    cache_free(c);
}

static void prefetch_loads_in_the_background(void **state)
{
    (void)state;
    struct pool *pool = pool_new(2);
    struct cache *c = cache_new(1 << 20, pool);
    struct cache_block *b;
    loads = 0;
    for (uint64_t id = 0; id < 8; id++)
        cache_prefetch(c, 1, id, 4096, load_fill, NULL);
    for (uint64_t id = 0; id < 8; id++) {
        assert_int_equal(cache_get(c, 1, id, 4096, load_fill, NULL, &b), 0);
        assert_int_equal(b->data[0], (uint8_t)id);
        cache_put(c, b);
    }
    assert_int_equal(loads, 8);
    pool_free(pool);
    cache_free(c);
}

/* What its reader is through with goes first, and its memory is used again; but not at once. */
static void used_up_blocks_go_first(void **state)
{
    enum { SIZE = 4096, N = 400 };
    (void)state;
    struct cache *c = cache_new(SIZE * 1000, NULL);
    struct cache_block *b;
    assert_int_equal(cache_get(c, 1, 0, SIZE, load_fill, NULL, &b), 0);
    cache_put(c, b); /* kept, as the budget has room */
    for (uint64_t id = 1; id < N; id++) {
        assert_int_equal(cache_get(c, 1, id, SIZE, load_fill, NULL, &b), 0);
        assert_int_equal(b->data[0], (uint8_t)id);
        cache_put_used(c, b);
    }
    assert_in_range(cache_used(c), SIZE, SIZE * 40);
    b = cache_peek(c, 1, 0);
    assert_non_null(b);
    assert_int_equal(b->data[0], 0);
    cache_put(c, b);
    b = cache_peek(c, 1, N - 1); /* for a second reader close behind */
    assert_non_null(b);
    cache_put(c, b);
    assert_null(cache_peek(c, 1, 1));
    assert_null(cache_peek(c, 2, 0));
    cache_free(c);
}

static void large_readers_pass_by(void **state)
{
    (void)state;
    struct cache *c = cache_new(1 << 20, NULL);
    struct cache_block *b;
    uint8_t buf[4096];
    int err = -EIO;
    loads = 0;
    assert_int_equal(cache_pass_by(c, 1, 7, buf, sizeof buf, load_fill, NULL), 0);
    assert_int_equal(buf[4095], 7);
    assert_int_equal(cache_used(c), 0);
    assert_int_equal(cache_get(c, 1, 7, sizeof buf, load_fill, NULL, &b), 0);
    cache_put(c, b);
    assert_int_equal(loads, 2);
    memset(buf, 0, sizeof buf);
    assert_int_equal(cache_pass_by(c, 1, 7, buf, sizeof buf, load_fill, NULL), 0); /* it is there */
    assert_int_equal(buf[4095], 7);
    assert_int_equal(loads, 2);
    assert_int_equal(cache_pass_by(c, 1, 8, buf, sizeof buf, load_fail, &err), -EIO);
    cache_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_readers_one_load),   cmocka_unit_test(failures_are_not_kept),
        cmocka_unit_test(the_bound_holds),         cmocka_unit_test(prefetch_loads_in_the_background),
        cmocka_unit_test(used_up_blocks_go_first), cmocka_unit_test(large_readers_pass_by),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
