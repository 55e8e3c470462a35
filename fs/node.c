/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "node.h"

#include <pthread.h>
#include <stdlib.h>

struct node_table {
    pthread_mutex_t lock; /* protects all below, and every node's chain and lookups */
    struct node **bucket;
    size_t n_buckets; /* a power of two */
    size_t n;
    struct node root;
    pthread_rwlock_t parents; /* every node's parent; taken before `lock` */
};

static uint64_t id_hash(const struct node_id *id)
{
    uint64_t h = (uint64_t)(uintptr_t)id->ops;
    const uint64_t words[] = { id->a, id->b, id->c };
    for (size_t i = 0; i < 3; i++)
        h = (h ^ words[i] ^ (h >> 31)) * 0x9e3779b97f4a7c15u;
    return h ^ (h >> 32);
}

static bool id_equal(const struct node_id *a, const struct node_id *b)
{
    return a->ops == b->ops && a->a == b->a && a->b == b->b && a->c == b->c;
}

struct node_table *node_table_new(const struct node_id *root)
{
    struct node_table *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->n_buckets = 1024;
    t->bucket = calloc(t->n_buckets, sizeof t->bucket[0]);
    if (!t->bucket) {
        free(t);
        return NULL;
    }
    pthread_mutex_init(&t->lock, NULL);
    pthread_rwlock_init(&t->parents, NULL);
    t->root = (struct node){ .id = *root, .lookups = 1 };
    return t;
}

void node_table_free(struct node_table *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n_buckets; i++)
        for (struct node *n = t->bucket[i], *next; n; n = next) {
            next = n->chain;
            free(n);
        }
    pthread_mutex_destroy(&t->lock);
    pthread_rwlock_destroy(&t->parents);
    free(t->bucket);
    free(t);
}

struct node *node_root(struct node_table *t)
{
    return &t->root;
}

/* Longer chains are no error, so failing to grow is none. */
static void grow_locked(struct node_table *t)
{
    size_t n = t->n_buckets * 4;
    struct node **bucket = calloc(n, sizeof bucket[0]);
    if (!bucket)
        return;
    for (size_t i = 0; i < t->n_buckets; i++)
        for (struct node *p = t->bucket[i], *next; p; p = next) {
            next = p->chain;
            struct node **b = &bucket[id_hash(&p->id) & (n - 1)];
            p->chain = *b;
            *b = p;
        }
    free(t->bucket);
    t->bucket = bucket;
    t->n_buckets = n;
}

static struct node *find_locked(const struct node_table *t, const struct node_id *id, uint64_t hash)
{
    struct node *n = t->bucket[hash & (t->n_buckets - 1)];
    while (n && !id_equal(&n->id, id))
        n = n->chain;
    return n;
}

static void forget_locked(struct node_table *t, struct node *n, uint64_t lookups);

void node_moved(struct node_table *t, const struct node_id *id, struct node *parent)
{
    pthread_rwlock_wrlock(&t->parents);
    pthread_mutex_lock(&t->lock);
    struct node *n = find_locked(t, id, id_hash(id));
    if (n && n->parent) {
        n->moved = !parent;
        if (parent && parent != n->parent) {
            struct node *old = n->parent;
            parent->lookups++;
            n->parent = parent;
            forget_locked(t, old, 1);
        }
    }
    pthread_mutex_unlock(&t->lock);
    pthread_rwlock_unlock(&t->parents);
}

void node_parents_lock(struct node_table *t)
{
    pthread_rwlock_rdlock(&t->parents);
}

void node_parents_unlock(struct node_table *t)
{
    pthread_rwlock_unlock(&t->parents);
}

struct node *node_get(struct node_table *t, const struct node_id *id, struct node *parent, bool keep_parent)
{
    uint64_t hash = id_hash(id);
    pthread_mutex_lock(&t->lock);
    struct node *n = find_locked(t, id, hash);
    if (!n && (n = malloc(sizeof *n))) {
        *n = (struct node){ .id = *id };
        if (keep_parent) {
            n->parent = parent;
            parent->lookups++;
        }
        if (t->n++ > 2 * t->n_buckets)
            grow_locked(t);
        struct node **b = &t->bucket[hash & (t->n_buckets - 1)];
        n->chain = *b;
        *b = n;
    }
    bool moved = n && n->moved;
    if (n)
        n->lookups++;
    pthread_mutex_unlock(&t->lock);
    if (moved)
        node_moved(t, id, parent);
    return n;
}

static void forget_locked(struct node_table *t, struct node *n, uint64_t lookups)
{
    while (n && n != &t->root) {
        n->lookups -= lookups < n->lookups ? lookups : n->lookups;
        if (n->lookups)
            break;
        struct node **p = &t->bucket[id_hash(&n->id) & (t->n_buckets - 1)];
        while (*p != n)
            p = &(*p)->chain;
        *p = n->chain;
        t->n--;
        struct node *parent = n->parent;
        free(n);
        n = parent; /* one child less */
        lookups = 1;
    }
}

void node_forget(struct node_table *t, struct node *n, uint64_t lookups)
{
    pthread_mutex_lock(&t->lock);
    forget_locked(t, n, lookups);
    pthread_mutex_unlock(&t->lock);
}
