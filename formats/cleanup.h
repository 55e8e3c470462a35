/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_CLEANUP_H
#define FERRYFS_CLEANUP_H
/* Scope attributes. Every variable so marked is initialised where it is declared (NULL, -1).
 *
 *     _cleanup_free_ char *name = NULL;
 *     _cleanup_(file_unrefp) struct file *f = NULL;
 *     ...
 *     *ret = TAKE_PTR(f);
 *     return 0; */
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(fn) __attribute__((cleanup(fn)))

static inline void cleanup_free(void *p)
{
    free(*(void **)p);
}
static inline void cleanup_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}
#define _cleanup_free_  _cleanup_(cleanup_free)
#define _cleanup_close_ _cleanup_(cleanup_close)

/* Hand a pointer on and forget it. */
#define TAKE_PTR(p)                                                                                          \
    ({                                                                                                       \
        __typeof__(p) take_ = (p);                                                                           \
        (p) = NULL;                                                                                          \
        take_;                                                                                               \
    })

/* static void/inline NAMEp(type **p): calls fn(*p) when it isn't NULL */
#define DEFINE_CLEANUP(type, fn)                                                                             \
    static inline void fn##p(type *p)                                                                        \
    {                                                                                                        \
        if (*p)                                                                                              \
            fn(*p);                                                                                          \
    }
#endif
