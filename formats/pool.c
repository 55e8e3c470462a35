/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

enum { POOL_QUEUE = 512 };

struct job {
    void (*fn)(void *arg);
    void *arg;
};

struct pool {
    pthread_mutex_t lock; /* protects all below; nothing is called with it held */
    pthread_cond_t work;
    struct job queue[POOL_QUEUE]; /* a ring */
    unsigned head, count;
    bool stop;
    unsigned threads, started;
    pthread_t thread[];
};

static void *pool_worker(void *arg)
{
    struct pool *p = arg;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->count && !p->stop)
            pthread_cond_wait(&p->work, &p->lock);
        if (p->stop)
            break;
        struct job job = p->queue[p->head];
        p->head = (p->head + 1) % POOL_QUEUE;
        p->count--;
        pthread_mutex_unlock(&p->lock);
        job.fn(job.arg);
        free(job.arg);
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

struct pool *pool_new(unsigned threads)
{
    struct pool *p = calloc(1, sizeof *p + threads * sizeof p->thread[0]);
    if (!p)
        return NULL;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    p->threads = threads;
    return p;
}

/* Signals are for the main thread. */
static void pool_start_locked(struct pool *p)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (p->started < p->threads && !pthread_create(&p->thread[p->started], NULL, pool_worker, p))
        p->started++;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

bool pool_submit(struct pool *p, void (*fn)(void *arg), void *arg)
{
    bool ok = false;
    if (p) {
        pthread_mutex_lock(&p->lock);
        if (!p->started)
            pool_start_locked(p);
        if (p->started && p->count < POOL_QUEUE && !p->stop) {
            p->queue[(p->head + p->count++) % POOL_QUEUE] = (struct job){ fn, arg };
            pthread_cond_signal(&p->work);
            ok = true;
        }
        pthread_mutex_unlock(&p->lock);
    }
    if (!ok)
        free(arg);
    return ok;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->started; i++)
        pthread_join(p->thread[i], NULL);
    for (; p->count; p->count--, p->head = (p->head + 1) % POOL_QUEUE) {
        p->queue[p->head].fn(p->queue[p->head].arg);
        free(p->queue[p->head].arg);
    }
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->work);
    free(p);
}
