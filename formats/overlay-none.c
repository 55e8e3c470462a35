/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Until the overlay is here: there is none. */
#include "overlay.h"

#include <errno.h>

int overlay_open(const struct overlay_options *o, const struct overlay_source *sources, size_t n,
                 struct overlay **ret, struct fault *fault)
{
    (void)o, (void)sources, (void)n, (void)ret;
    return fault_in(fault, -ENOTSUP, "overlay", "this build has none");
}
struct disk *overlay_disk(struct overlay *o, size_t i)
{
    (void)o, (void)i;
    return NULL;
}
int overlay_commit(struct overlay *o, struct fault *fault)
{
    (void)o, (void)fault;
    return -ENOTSUP;
}
bool overlay_is_dirty(const struct overlay *o)
{
    (void)o;
    return false;
}
uint64_t overlay_uncommitted(const struct overlay *o)
{
    (void)o;
    return 0;
}
uint64_t overlay_generation(const struct overlay *o)
{
    (void)o;
    return 0;
}
struct timespec overlay_time(const struct overlay *o)
{
    (void)o;
    return (struct timespec){ 0 };
}
void overlay_close(struct overlay *o)
{
    (void)o;
}
