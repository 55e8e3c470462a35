/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gate.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

enum { WAIT_SECONDS = 2 };

struct gate {
    pthread_mutex_t lock; /* protects all below */
    pthread_cond_t changed;
    unsigned writers, views;
    bool committing;
};

struct gate *gate_new(void)
{
    struct gate *g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&g->changed, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&g->lock, NULL);
    return g;
}

void gate_free(struct gate *g)
{
    if (!g)
        return;
    pthread_mutex_destroy(&g->lock);
    pthread_cond_destroy(&g->changed);
    free(g);
}

/* Waits until neither a commit is under way nor, for 2 s, a view open. */
static int wait_shut(struct gate *g)
{
    struct timespec end;
    int r = 0;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += WAIT_SECONDS;
    while (!r && (g->committing || g->views)) {
        if (g->committing)
            pthread_cond_wait(&g->changed, &g->lock);
        else if (pthread_cond_timedwait(&g->changed, &g->lock, &end) == ETIMEDOUT && g->views)
            r = -EBUSY;
    }
    return r;
}

int gate_write_begin(struct gate *g)
{
    pthread_mutex_lock(&g->lock);
    int r = wait_shut(g);
    if (!r)
        g->writers++;
    pthread_mutex_unlock(&g->lock);
    return r;
}

int gate_alone_begin(struct gate *g)
{
    pthread_mutex_lock(&g->lock);
    if (!--g->writers)
        pthread_cond_broadcast(&g->changed);
    int r = wait_shut(g);
    if (r < 0) {
        g->writers++; /* in name: it leaves at once */
    } else {
        g->committing = true;
        while (g->writers)
            pthread_cond_wait(&g->changed, &g->lock);
    }
    pthread_mutex_unlock(&g->lock);
    return r;
}

void gate_alone_end(struct gate *g)
{
    pthread_mutex_lock(&g->lock);
    g->committing = false;
    g->writers++;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
}

void gate_write_end(struct gate *g)
{
    pthread_mutex_lock(&g->lock);
    if (!--g->writers)
        pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
}

void gate_commit_begin(struct gate *g)
{
    pthread_mutex_lock(&g->lock);
    while (g->committing)
        pthread_cond_wait(&g->changed, &g->lock);
    g->committing = true;
    while (g->writers)
        pthread_cond_wait(&g->changed, &g->lock);
    pthread_mutex_unlock(&g->lock);
}

void gate_commit_end(struct gate *g, bool hold)
{
    pthread_mutex_lock(&g->lock);
    g->committing = false;
    g->views += hold;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
}

void gate_view_end(struct gate *g)
{
    pthread_mutex_lock(&g->lock);
    if (!--g->views)
        pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
}
