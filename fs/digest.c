/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A job is one view's digest: it waits in the list for a thread, and is then computed by it, chunk by chunk.
 * Between chunks its thread looks who has given up; a job that nobody waits for ends. While a job is computed
 * only its own thread answers its waiters, since with the last of them the view may go.
 *
 * SHA-256 is nettle's: 1.7 GB/s with the processor's SHA instructions, where libcrypto had 1.9. Zeros must be
 * hashed like all else; a hole costs no reading, since the disk gives its zeros into a buffer that stays in
 * the processor's cache. What must be inflated is read ahead for, and so inflated by the pool's threads. */
#include "digest.h"

#include "../formats/checked.h"

#include <errno.h>
#include <nettle/sha2.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 256 << 10, LOOK_UP = 1 << 20 /* bytes between looks at who waits */, READ_AHEAD = 4 << 20 };
enum { MAX_THREADS = 4 };

struct digest_job {
    struct digest_job *next;
    struct view_digest *digest;
    struct view *view;
    bool running;
    struct digest_waiter *waiters;
};

struct digesters {
    pthread_mutex_t lock; /* protects all below, and every digest's fields */
    pthread_cond_t work;
    struct digest_job *jobs; /* waiting and running, oldest first */
    bool stop;
    unsigned threads, started;
    pthread_t thread[MAX_THREADS];
};

struct digesters *digesters_new(unsigned threads)
{
    struct digesters *ds = calloc(1, sizeof *ds);
    if (!ds)
        return NULL;
    pthread_mutex_init(&ds->lock, NULL);
    pthread_cond_init(&ds->work, NULL);
    ds->threads = threads < MAX_THREADS ? threads : MAX_THREADS;
    return ds;
}

/* ---- jobs ---- */

/* Takes a job out of the list and frees it; whoever asks next begins anew. Its waiters are handed over. */
static struct digest_waiter *end_job_locked(struct digesters *ds, struct digest_job *job)
{
    struct digest_job **p = &ds->jobs;
    struct digest_waiter *waiters = job->waiters;
    while (*p != job)
        p = &(*p)->next;
    *p = job->next;
    if (job->digest->job == job)
        job->digest->job = NULL;
    free(job);
    return waiters;
}

/* Moves those of a job's waiters that have given up to *ret. */
static void take_given_up_locked(struct digest_job *job, struct digest_waiter **ret)
{
    for (struct digest_waiter **p = &job->waiters, *w; (w = *p);) {
        if (!w->given_up(w)) {
            p = &w->next;
            continue;
        }
        *p = w->next;
        w->next = *ret;
        *ret = w;
    }
}

static void answer(struct digest_waiter *w, int r, const uint8_t *sum)
{
    while (w) {
        struct digest_waiter *next = w->next; /* done() frees it */
        w->done(w, r, sum);
        w = next;
    }
}

/* Does anybody still wait for this job? Looks after the jobs that no thread has taken yet, too. */
static bool goes_on(struct digesters *ds, struct digest_job *job)
{
    struct digest_waiter *gone = NULL;
    pthread_mutex_lock(&ds->lock);
    take_given_up_locked(job, &gone);
    bool on = job->waiters && !ds->stop;
    for (struct digest_job *j = ds->jobs, *next; j; j = next) {
        next = j->next;
        if (j->running)
            continue;
        take_given_up_locked(j, &gone);
        if (!j->waiters)
            end_job_locked(ds, j);
    }
    if (!job->waiters) /* who comes now mustn't find a job that ends: their view may not be this one */
        job->digest->job = NULL;
    pthread_mutex_unlock(&ds->lock);
    answer(gone, -EINTR, NULL);
    return on;
}

/* ---- computing ---- */

static int compute(struct digesters *ds, struct digest_job *job, uint8_t *buf, uint8_t ret[32])
{
    struct sha256_ctx ctx;
    const uint64_t size = job->view->layout.size;
    uint64_t ahead = 0;
    sha256_init(&ctx);
    for (uint64_t off = 0; off < size;) {
        size_t n = (size_t)min_u64(CHUNK, size - off);
        if (off % LOOK_UP == 0 && !goes_on(ds, job))
            return -EINTR;
        if (off + READ_AHEAD / 2 >= ahead) {
            uint64_t from = max_u64(ahead, off);
            ahead = off + READ_AHEAD;
            view_prefetch(job->view, from, ahead - from);
        }
        int r = view_pread(job->view, buf, n, off);
        if (r < 0)
            return r;
        sha256_update(&ctx, n, buf);
        off += n;
    }
    sha256_digest(&ctx, SHA256_DIGEST_SIZE, ret);
    return 0;
}

static struct digest_job *next_job_locked(struct digesters *ds)
{
    for (struct digest_job *job = ds->jobs; job; job = job->next)
        if (!job->running)
            return job;
    return NULL;
}

static void *digester(void *arg)
{
    struct digesters *ds = arg;
    uint8_t *buf = malloc(CHUNK), sum[32] = { 0 };
    pthread_mutex_lock(&ds->lock);
    while (!ds->stop) {
        struct digest_job *job = next_job_locked(ds);
        if (!job) {
            pthread_cond_wait(&ds->work, &ds->lock);
            continue;
        }
        job->running = true;
        pthread_mutex_unlock(&ds->lock);
        int r = buf ? compute(ds, job, buf, sum) : -ENOMEM;
        pthread_mutex_lock(&ds->lock);
        if (!r) {
            memcpy(job->digest->sum, sum, sizeof sum);
            job->digest->known = true;
        }
        struct digest_waiter *waiters = end_job_locked(ds, job);
        pthread_mutex_unlock(&ds->lock);
        answer(waiters, r, sum);
        pthread_mutex_lock(&ds->lock);
    }
    pthread_mutex_unlock(&ds->lock);
    free(buf);
    return NULL;
}

/* Signals are for the main thread. */
static void start_thread_locked(struct digesters *ds)
{
    sigset_t all, old;
    if (ds->started == ds->threads)
        return;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    if (!pthread_create(&ds->thread[ds->started], NULL, digester, ds))
        ds->started++;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* ---- for the trees ---- */

/* Adds the waiter to the job of its digest, made if need be. False: no memory, or no thread. */
static bool enqueue_locked(struct digesters *ds, struct view_digest *digest, struct view *view,
                           struct digest_waiter *w)
{
    struct digest_job *job = digest->job;
    if (!job) {
        start_thread_locked(ds);
        job = ds->started ? calloc(1, sizeof *job) : NULL;
        if (!job)
            return false;
        *job = (struct digest_job){ .digest = digest, .view = view };
        struct digest_job **end = &ds->jobs;
        while (*end)
            end = &(*end)->next;
        *end = digest->job = job;
        pthread_cond_signal(&ds->work);
    }
    w->next = job->waiters;
    job->waiters = w;
    return true;
}

void digest_ask(struct digesters *ds, struct view_digest *digest, struct view *view, struct digest_waiter *w)
{
    uint8_t sum[32] = { 0 };
    int r = -EINPROGRESS;
    pthread_mutex_lock(&ds->lock);
    if (digest->known) {
        memcpy(sum, digest->sum, sizeof sum);
        r = 0;
    } else if (ds->stop) {
        r = -EINTR;
    } else if (!enqueue_locked(ds, digest, view, w)) {
        r = -ENOMEM;
    }
    pthread_mutex_unlock(&ds->lock);
    if (r != -EINPROGRESS)
        w->done(w, r, sum);
}

void digesters_stop(struct digesters *ds)
{
    pthread_mutex_lock(&ds->lock);
    ds->stop = true;
    unsigned started = ds->started;
    pthread_cond_broadcast(&ds->work);
    pthread_mutex_unlock(&ds->lock);
    for (unsigned i = 0; i < started; i++)
        pthread_join(ds->thread[i], NULL);
    pthread_mutex_lock(&ds->lock);
    ds->started = 0;
    struct digest_waiter *waiters = NULL;
    while (ds->jobs) { /* those that no thread has taken */
        struct digest_waiter *of = end_job_locked(ds, ds->jobs), **end = &of;
        while (*end)
            end = &(*end)->next;
        *end = waiters;
        waiters = of;
    }
    pthread_mutex_unlock(&ds->lock);
    answer(waiters, -EINTR, NULL);
}

void digesters_free(struct digesters *ds)
{
    if (!ds)
        return;
    digesters_stop(ds);
    pthread_mutex_destroy(&ds->lock);
    pthread_cond_destroy(&ds->work);
    free(ds);
}
