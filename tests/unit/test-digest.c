/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Digests: right, computed once for all who wait, given up one by one, and ended with the mount. */
#include "formats/checked.h"
#include "fs/digest.h"
#include "unit.h"

#include <errno.h>
#include <nettle/sha2.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern const struct view_format raw_view;

enum { SIZE = (5 << 20) + 512 };

/* A disk of one byte's value, whose reads wait at a gate. */
struct gated {
    struct disk disk;
    atomic_bool open, broken;
    atomic_uint reads;
};

static int gated_map(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    (void)d;
    (void)off;
    *ret = (struct extent){ .length = len, .kind = EXTENT_DATA };
    return 0;
}

static int gated_pread(struct disk *d, void *buf, size_t len, uint64_t off, const struct extent *e)
{
    struct gated *g = (struct gated *)(void *)d;
    (void)off;
    (void)e;
    atomic_fetch_add(&g->reads, 1);
    while (!atomic_load(&g->open))
        usleep(1000);
    memset(buf, 'g', len);
    return atomic_load(&g->broken) ? -EIO : 0;
}

static void gated_close(struct disk *d)
{
    (void)d;
}

static const struct disk_ops gated_ops = {
    .name = "gated", .pread = gated_pread, .map = gated_map, .close = gated_close
};

struct waiter {
    struct digest_waiter w;
    atomic_bool gone;
    atomic_int answers;
    int r;
    uint8_t sum[32];
};

static void waiter_done(struct digest_waiter *w, int r, const uint8_t sum[32])
{
    struct waiter *me = (struct waiter *)(void *)w;
    me->r = r;
    if (!r)
        memcpy(me->sum, sum, 32);
    atomic_fetch_add(&me->answers, 1);
}

static bool waiter_given_up(struct digest_waiter *w)
{
    return atomic_load(&((struct waiter *)(void *)w)->gone);
}

static struct waiter waiter_new(void)
{
    return (struct waiter){ .w = { .done = waiter_done, .given_up = waiter_given_up } };
}

static void wait_for(struct waiter *w)
{
    for (unsigned i = 0; i < 60000 && !atomic_load(&w->answers); i++)
        usleep(1000);
    assert_int_equal(atomic_load(&w->answers), 1);
}

struct bench {
    struct gated disk;
    struct view *view;
    struct view_digest digest;
    struct digesters *ds;
    uint8_t want[32];
};

static void bench_new(struct bench *b, bool open)
{
    memset(b, 0, sizeof *b);
    b->disk.disk = (struct disk){ .ops = &gated_ops, .size = SIZE };
    atomic_store(&b->disk.open, true);
    struct view_source src = { .disk = &b->disk.disk, .sector_size = 512 };
    assert_int_equal(view_open(&raw_view, &src, &b->view, NULL), 0);
    struct sha256_ctx ctx;
    uint8_t *bytes = malloc(SIZE);
    memset(bytes, 'g', SIZE);
    sha256_init(&ctx);
    sha256_update(&ctx, SIZE, bytes);
    sha256_digest(&ctx, 32, b->want);
    free(bytes);
    atomic_store(&b->disk.open, open);
    atomic_store(&b->disk.reads, 0);
    b->ds = digesters_new(2);
}

static void bench_free(struct bench *b)
{
    digesters_free(b->ds);
    view_close(b->view);
}

static void ask(struct bench *b, struct waiter *w)
{
    digest_ask(b->ds, &b->digest, b->view, &w->w);
}

static void computed_once_for_all(void **state)
{
    (void)state;
    enum { N = 5 };
    struct bench b;
    struct waiter w[N], later = waiter_new();
    bench_new(&b, false);
    for (int i = 0; i < N; i++) {
        w[i] = waiter_new();
        ask(&b, &w[i]);
    }
    atomic_store(&b.disk.open, true);
    for (int i = 0; i < N; i++) {
        wait_for(&w[i]);
        assert_int_equal(w[i].r, 0);
        assert_memory_equal(w[i].sum, b.want, 32);
    }
    unsigned reads = atomic_load(&b.disk.reads);
    assert_int_equal(reads, div_up(SIZE, 256 << 10));
    ask(&b, &later); /* kept: answered at once */
    assert_int_equal(atomic_load(&later.answers), 1);
    assert_memory_equal(later.sum, b.want, 32);
    assert_int_equal(atomic_load(&b.disk.reads), reads);
    bench_free(&b);
}

static void one_gives_up_and_the_other_gets_it(void **state)
{
    (void)state;
    struct bench b;
    struct waiter a = waiter_new(), c = waiter_new();
    bench_new(&b, false);
    ask(&b, &a);
    ask(&b, &c);
    atomic_store(&a.gone, true);
    atomic_store(&b.disk.open, true);
    wait_for(&a);
    wait_for(&c);
    assert_int_equal(a.r, -EINTR);
    assert_int_equal(c.r, 0);
    assert_memory_equal(c.sum, b.want, 32);
    bench_free(&b);
}

static void nobody_waits_so_it_ends(void **state)
{
    (void)state;
    struct bench b;
    struct waiter a = waiter_new(), c = waiter_new();
    bench_new(&b, false);
    ask(&b, &a);
    while (!atomic_load(&b.disk.reads)) /* it has begun */
        usleep(1000);
    atomic_store(&a.gone, true);
    atomic_store(&b.disk.open, true);
    wait_for(&a);
    assert_int_equal(a.r, -EINTR);
    assert_true(atomic_load(&b.disk.reads) <= 4); /* a MiB: it didn't go on to the end */
    ask(&b, &c);                                  /* and whoever asks then gets it */
    wait_for(&c);
    assert_int_equal(c.r, 0);
    assert_memory_equal(c.sum, b.want, 32);
    bench_free(&b);
}

static void damage_is_an_error_and_not_kept(void **state)
{
    (void)state;
    struct bench b;
    struct waiter a = waiter_new(), c = waiter_new();
    bench_new(&b, true);
    atomic_store(&b.disk.broken, true);
    ask(&b, &a);
    wait_for(&a);
    assert_int_equal(a.r, -EIO);
    atomic_store(&b.disk.broken, false);
    ask(&b, &c);
    wait_for(&c);
    assert_int_equal(c.r, 0);
    bench_free(&b);
}

static void *open_soon(void *arg)
{
    usleep(100000);
    atomic_store(&((struct gated *)arg)->open, true);
    return NULL;
}

/* Two jobs run, a third waits for a thread: all are answered when the mount ends, and none is taken after. */
static void the_end_answers_everybody(void **state)
{
    (void)state;
    struct bench b;
    struct view_digest digests[3] = { 0 };
    struct waiter w[3], late = waiter_new();
    pthread_t thread;
    bench_new(&b, false);
    for (int i = 0; i < 3; i++) {
        w[i] = waiter_new();
        digest_ask(b.ds, &digests[i], b.view, &w[i].w);
    }
    assert_int_equal(pthread_create(&thread, NULL, open_soon, &b.disk), 0);
    digesters_stop(b.ds);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(atomic_load(&w[i].answers), 1);
        assert_int_equal(w[i].r, -EINTR);
    }
    ask(&b, &late);
    assert_int_equal(late.r, -EINTR);
    pthread_join(thread, NULL);
    bench_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(computed_once_for_all),     cmocka_unit_test(one_gives_up_and_the_other_gets_it),
        cmocka_unit_test(nobody_waits_so_it_ends),   cmocka_unit_test(damage_is_an_error_and_not_kept),
        cmocka_unit_test(the_end_answers_everybody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
