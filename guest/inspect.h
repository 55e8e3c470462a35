/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_INSPECT_H
#define FERRYFS_INSPECT_H
/* What inspect.c and inspect-linux.c share; others include scan.h. */
#include "walk.h"

/* NULL: no memory. */
struct guest_system *inspect_add_system(struct guest *g, enum guest_kind kind, size_t root);
/* `path` is copied. NULL: no memory. */
struct guest_mount *inspect_add_mount(struct guest_system *s, const char *path, size_t volume);
bool inspect_exists(const struct realm *r, const char *path);

/* inspect-linux.c: adds the system whose root is volume i, if it is one. */
bool inspect_linux(struct guest *g, size_t i);
/* fstab.c: mounts what etc/fstab of `s` says, noting what can't be. */
void inspect_fstab(struct guest *g, struct guest_system *s);
#endif
