/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TICK_NS = 1000000 };

struct worker {
    struct server *server;
    pthread_t thread;
    struct fuse_buf buf; /* libfuse allocates it */
};

struct server {
    struct fuse_session *fuse;
    sem_t ended;
    pthread_mutex_t lock; /* protects what follows; nothing is taken under it */
    pthread_cond_t turn;  /* there is no reader, or it is over */
    pthread_cond_t clock; /* requests come again, or it is over */
    bool reader;          /* somebody waits for a request, or is about to */
    bool over, clock_waits;
    unsigned idle;     /* who wait for their turn */
    uint64_t requests; /* taken so far */
    int err;
    struct worker **workers; /* owned */
    unsigned n, max;
};

static void *work(void *arg);

static void block_signals(sigset_t *ret_old)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGQUIT);
    pthread_sigmask(SIG_BLOCK, &set, ret_old);
}

/* Signals are for the thread that waits for the end. */
static int start_thread(pthread_t *ret, void *(*fn)(void *), void *arg)
{
    sigset_t old;
    block_signals(&old);
    int r = -pthread_create(ret, NULL, fn, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return r;
}

static int add_worker_locked(struct server *s)
{
    struct worker *w = s->n < s->max ? calloc(1, sizeof *w) : NULL;
    if (!w)
        return -ENOMEM;
    w->server = s;
    int r = start_thread(&w->thread, work, w);
    if (r < 0)
        free(w);
    else
        s->workers[s->n++] = w;
    return r;
}

/* Somebody else is to wait for requests. Where all are busy and no more can be made, who is through first
 * does. */
static void hand_on_locked(struct server *s)
{
    if (s->reader || s->over)
        return;
    if (s->idle)
        pthread_cond_signal(&s->turn);
    else
        add_worker_locked(s);
}

static bool more_wait(const struct server *s)
{
    struct pollfd p = { .fd = fuse_session_fd(s->fuse), .events = POLLIN };
    return poll(&p, 1, 0) > 0;
}

static void end_locked(struct server *s, int err)
{
    if (!s->err)
        s->err = err;
    s->over = true;
    pthread_cond_broadcast(&s->turn);
    pthread_cond_signal(&s->clock);
    fuse_session_exit(s->fuse);
    sem_post(&s->ended);
}

/* Waits for the turn, then for a request: its length, or 0 at the end. */
static int take_request(struct worker *w)
{
    struct server *s = w->server;
    int state, r = -EINTR;
    pthread_mutex_lock(&s->lock);
    s->idle++;
    while (s->reader && !s->over)
        pthread_cond_wait(&s->turn, &s->lock);
    s->idle--;
    bool over = s->over;
    s->reader = true;
    pthread_mutex_unlock(&s->lock);
    if (over)
        return 0;
    while (r == -EINTR || r == -EAGAIN) {
        pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state);
        r = fuse_session_receive_buf(s->fuse, &w->buf);
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
        if (fuse_session_exited(s->fuse))
            r = 0;
    }
    bool more = r > 0 && more_wait(s);
    pthread_mutex_lock(&s->lock);
    s->reader = false;
    s->requests++;
    if (r <= 0)
        end_locked(s, r);
    else if (more)
        hand_on_locked(s);
    if (s->clock_waits)
        pthread_cond_signal(&s->clock);
    pthread_mutex_unlock(&s->lock);
    return r;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    int state;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    while (take_request(w) > 0)
        fuse_session_process_buf(w->server->fuse, &w->buf);
    return NULL;
}

/* Sees that a request that takes long keeps no other waiting. Sleeps while none come. */
static void *watch(void *arg)
{
    struct server *s = arg;
    uint64_t seen = 0;
    pthread_mutex_lock(&s->lock);
    while (!s->over) {
        if (s->requests == seen) {
            hand_on_locked(s);
            s->clock_waits = true;
            pthread_cond_wait(&s->clock, &s->lock);
            s->clock_waits = false;
        }
        seen = s->requests;
        pthread_mutex_unlock(&s->lock);
        nanosleep(&(struct timespec){ .tv_nsec = TICK_NS }, NULL);
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* A reader is still in its read(2), and doesn't wake for a signal to another thread. */
static void stop(struct server *s)
{
    pthread_mutex_lock(&s->lock);
    s->over = true;
    pthread_cond_broadcast(&s->turn);
    pthread_cond_signal(&s->clock);
    unsigned n = s->n; /* no more are made */
    pthread_mutex_unlock(&s->lock);
    for (unsigned i = 0; i < n; i++)
        pthread_cancel(s->workers[i]->thread);
    for (unsigned i = 0; i < n; i++) {
        pthread_join(s->workers[i]->thread, NULL);
        free(s->workers[i]->buf.mem);
        free(s->workers[i]);
    }
}

int serve(struct fuse_session *fuse, unsigned threads)
{
    struct server s = { .fuse = fuse, .max = threads, .lock = PTHREAD_MUTEX_INITIALIZER };
    pthread_t clock;
    s.workers = calloc(threads, sizeof *s.workers);
    if (!s.workers)
        return -ENOMEM;
    sem_init(&s.ended, 0, 0);
    pthread_cond_init(&s.turn, NULL);
    pthread_cond_init(&s.clock, NULL);
    int r = start_thread(&clock, watch, &s);
    if (!r) {
        pthread_mutex_lock(&s.lock);
        r = add_worker_locked(&s);
        pthread_mutex_unlock(&s.lock);
        while (!r && !fuse_session_exited(fuse))
            sem_wait(&s.ended); /* or a signal */
        stop(&s);
        pthread_join(clock, NULL);
    }
    fuse_session_reset(fuse);
    pthread_cond_destroy(&s.clock);
    pthread_cond_destroy(&s.turn);
    sem_destroy(&s.ended);
    free(s.workers);
    return r < 0 ? r : s.err;
}
