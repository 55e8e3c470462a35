/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_TESTS_CHANGES_WORLD_H
#define FERRYFS_TESTS_CHANGES_WORLD_H
/* A guest of a few files and keys in memory, in the place of what changes-files.c and changes-registry.c
 * reach, and an overlay that keeps notes and files: so every step of a list of changes can be made to fail.
 */
#include "../../fs/changes-impl.h"

struct world {
    struct ferry ferry;
    int fail_at;        /* this edit or commit fails, counted from 0; < 0: none */
    int steps, commits; /* so far */
    bool stuck;         /* what failed goes on failing */
};

extern struct world world;
void world_clear(void);
/* `kind`: 'f' file, 'd' directory, 'l' link, 'k' key, 'v' value ("key|name") */
void world_put(char kind, const char *path, uint32_t type, const void *bytes, size_t n);
void world_text(const char *key_and_name, const char *ascii); /* a REG_SZ value, with its key */
void world_dword(const char *key_and_name, uint32_t v);       /* likewise */
/* All there is, sorted; owned by the caller. */
char *world_show(void);
/* What overlay_note has of all keys, and how many files there are beside. */
size_t world_files(void);
#endif
