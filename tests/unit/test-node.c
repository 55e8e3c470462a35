/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The node table: equal ids are one node, parents live as long as their children, nothing is left at the end.
 */
#include "fs/node.h"
#include "unit.h"

#include <pthread.h>

static struct node_table *table;

static struct node_id id(uint64_t a)
{
    return (struct node_id){ .a = a, .b = a * 3, .c = 1 };
}

static void equal_ids_are_one_node(void **state)
{
    (void)state;
    struct node_id root = { 0 }, one = id(1), two = id(2);
    table = node_table_new(&root);
    struct node *r = node_root(table);
    struct node *a = node_get(table, &one, r, true), *b = node_get(table, &one, r, true);
    assert_ptr_equal(a, b);
    assert_ptr_equal(a->parent, r);
    struct node *child = node_get(table, &two, a, true),
                *file = node_get(table, &(struct node_id){ .a = 9 }, a, false);
    assert_null(file->parent);
    node_forget(table, a, 2);
    assert_ptr_equal(child->parent, a); /* kept alive by its child */
    assert_int_equal(a->id.a, 1);
    node_forget(table, child, 1); /* and both are gone */
    node_forget(table, file, 1);
    node_forget(table, r, 100); /* the root stays */
    assert_ptr_equal(node_root(table), r);
    node_table_free(table);
}

static void *churn(void *arg)
{
    struct node *r = node_root(table);
    for (uint64_t round = 0; round < 20; round++)
        for (uint64_t i = 1; i <= 500; i++) {
            struct node_id want = id(i);
            struct node *n = node_get(table, &want, r, true);
            if (n->id.a != i)
                return (void *)1;
            node_forget(table, n, 1);
        }
    return arg;
}

static void many_threads_and_many_nodes(void **state)
{
    (void)state;
    struct node_id root = { 0 };
    static struct node *kept[20000];
    pthread_t t[4];
    table = node_table_new(&root);
    for (uint64_t i = 0; i < 20000; i++) { /* past several sizes of the table */
        struct node_id want = id(i + 1000);
        kept[i] = node_get(table, &want, node_root(table), false);
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, churn, NULL), 0);
    for (int i = 0; i < 4; i++) {
        void *r;
        pthread_join(t[i], &r);
        assert_null(r);
    }
    for (uint64_t i = 0; i < 20000; i++) {
        struct node_id want = id(i + 1000);
        assert_ptr_equal(node_get(table, &want, node_root(table), false), kept[i]);
        node_forget(table, kept[i], 2);
    }
    node_table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_ids_are_one_node),
        cmocka_unit_test(many_threads_and_many_nodes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
