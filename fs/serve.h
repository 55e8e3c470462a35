/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_SERVE_H
#define FERRYFS_SERVE_H
/* The threads that take requests from the kernel.
 *
 * One at a time waits for the next request; the others wait for their turn to. Who took a request answers it,
 * and then waits for the next one itself, if nobody else does by then: so a program that asks, waits, and
 * asks again is served by one thread, whose processor and caches are warm. (libfuse's own loop has them take
 * turns, as the kernel wakes whoever waits longest: on a machine of few processors that costs a third of the
 * requests a second.) The turn is handed on when more requests are there already, and by a clock when one
 * takes longer than a millisecond. */
#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

/* Serves until the session has ended: unmounted, or by a signal to this thread whose handler ends it. At most
 * `threads` are made, as many as were needed at once. 0, or -errno: the connection broke, or there is no
 * thread at all. */
int serve(struct fuse_session *fuse, unsigned threads);
#endif
