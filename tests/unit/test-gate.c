/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The gate: a writer that has the guest alone really is, and none waits for ever. */
#include "unit.h"

#include "../../fs/gate.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>

enum { THREADS = 4, ROUNDS = 2000 };

struct shared {
    struct gate *gate;
    _Atomic int inside; /* writers who don't claim to be alone */
    _Atomic int alone;
    _Atomic bool wrong;
};

static void *write_often(void *arg)
{
    struct shared *s = arg;
    for (int i = 0; i < ROUNDS; i++) {
        if (gate_write_begin(s->gate))
            s->wrong = true;
        s->inside++;
        if (s->alone)
            s->wrong = true;
        s->inside--;
        if (i % 8 == 0) {
            if (gate_alone_begin(s->gate))
                s->wrong = true;
            if (++s->alone != 1 || s->inside)
                s->wrong = true;
            s->alone--;
            gate_alone_end(s->gate);
        }
        gate_write_end(s->gate);
    }
    return NULL;
}

static void *commit_often(void *arg)
{
    struct shared *s = arg;
    for (int i = 0; i < ROUNDS; i++) {
        gate_commit_begin(s->gate);
        if (s->alone || s->inside)
            s->wrong = true;
        gate_commit_end(s->gate, false);
    }
    return NULL;
}

static void test_alone_is_alone(void **state)
{
    (void)state;
    struct shared s = { .gate = gate_new() };
    pthread_t threads[THREADS];
    assert_non_null(s.gate);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, i ? write_often : commit_often, &s), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_false(s.wrong);
    gate_free(s.gate);
}

/* An open view keeps writers out, and who was alone leaves nobody behind. */
static void test_view_keeps_out(void **state)
{
    (void)state;
    struct gate *g = gate_new();
    assert_non_null(g);
    gate_commit_begin(g);
    gate_commit_end(g, true);
    assert_int_equal(gate_write_begin(g), -EBUSY);
    gate_view_end(g);
    assert_int_equal(gate_write_begin(g), 0);
    assert_int_equal(gate_alone_begin(g), 0);
    gate_alone_end(g);
    gate_write_end(g);
    gate_commit_begin(g); /* nobody is left inside */
    gate_commit_end(g, false);
    gate_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alone_is_alone),
        cmocka_unit_test(test_view_keeps_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
