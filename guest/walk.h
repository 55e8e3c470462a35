/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_WALK_H
#define FERRYFS_WALK_H
/* Walking paths inside a guest, over several volumes, and what links mean there. Nothing here can leave the
 * guest: a
 * ".." at the root stays at the root. */
#include "scan.h"

/* A directory or file of the guest. */
struct place {
    size_t volume; /* index in guest->volumes */
    uint64_t ino;
};

/* Which names and roots a walk sees. */
struct realm {
    const struct guest *guest;
    const struct guest_system *system; /* guest/ of this system; NULL: the volume alone (volumes/NAME) */
    size_t volume;                     /* for system NULL */
};

/* The realm's root directory. Windows systems have none of their own (guest/ lists letters): -ENOENT. */
int realm_root(const struct realm *r, struct place *ret);
/* The place that stands at `at`: a volume that a Linux system mounts there, or `at` itself. */
struct place realm_cross(const struct realm *r, struct place at);
/* One name in a directory, crossing mounts; links aren't followed. */
int realm_lookup(const struct realm *r, struct place dir, const char *name, struct place *ret);
/* A path with slashes from the realm's root, following links (at most 40). */
int realm_resolve(const struct realm *r, const char *path, struct place *ret);
/* Reads a whole small file of a volume: at most `max` bytes, NUL-terminated, owned by the caller. */
int realm_slurp(const struct realm *r, const char *path, size_t max, char **ret);

/* What readlink shows for a link so that the host's kernel, walking from where the link stands, ends inside
 * the guest. `ancestors` are the directories from the root of the tree (first) to the one that holds the link
 * (last), n >= 1. In a Windows system the tree's root is the list of letters: its ancestors[0].volume is
 * WALK_LETTERS. NUL-terminated; -ENAMETOOLONG. */
enum { WALK_LETTERS = SIZE_MAX };
/* As deep as one path of 4096 bytes reaches; links of directories below are not given. */
enum { WALK_DEPTH = 2048 };
int realm_rewrite_link(const struct realm *r, const struct place *ancestors, size_t n, const char *target,
                       enum link_style style, char *buf, size_t size);
#endif
