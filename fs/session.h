/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_SESSION_H
#define FERRYFS_SESSION_H
/* The mount: FUSE requests turned into calls of the trees. */
#include "ferry.h"

struct session;

/* Mounts `f` at the (absolute) mount point. 0, or -errno with a fault after nothing was left mounted. From
 * here on a signal to end is an orderly unmount. No other thread may print while it runs: stderr is listened
 * to. */
int session_mount(struct ferry *f, const char *mountpoint, struct session **ret, struct fault *fault);
/* Serves until unmounted or a signal says to stop, then unmounts. `answering` is called once, from any
 * thread, when the kernel and we have agreed on a protocol. 0, or -errno when the connection broke. */
int session_run(struct session *s, void (*answering)(void *ctx), void *ctx);
void session_free(struct session *s);
#endif
