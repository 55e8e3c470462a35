/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_OVERLAY_SET_H
#define FERRYFS_OVERLAY_SET_H
/* The overlay of a whole VM, as overlay.c, overlay-open.c and overlay-store.c share it. */
#include "json.h"
#include "overlay-impl.h"

enum { OVL_NAME = 40, OVL_NOTES_MAX = 1 << 20 };

struct overlay_member {
    struct overlay_file *f; /* NULL: the VM has this disk, but it couldn't be opened */
    struct disk *disk;      /* over f */
    char *bound;            /* JSON: what the source is */
};

struct overlay_note {
    char *key, *text;
};

/* A file of a scratch overlay. */
struct overlay_kept {
    struct overlay_kept *next;
    char name[OVERLAY_FILE_NAME + 1];
    uint8_t *bytes; /* owned */
    size_t n;
};

struct overlay {
    const struct overlay_io *io;
    char *dir; /* NULL: scratch */
    int dir_fd;
    struct ovl_lock lock;
    size_t n;
    struct overlay_member *members;
    /* Protects generation and time for who asks during a commit; only commits write them, one at a time, and
     * read them without. Taken last, for a moment. */
    pthread_mutex_t when;
    uint64_t generation;
    struct timespec time;
    struct overlay_note *notes;
    size_t n_notes, note_bytes;
    bool notes_changed;
    struct overlay_kept *kept; /* owned */
};

void ovl_member_name(size_t i, char ret[OVL_NAME]);
int ovl_note_put(struct overlay *v, const char *key, const char *text);
/* overlay-files.c */
void ovl_files_drop(struct overlay *o);
/* Removes records ("record-WHAT-SUM", see fs/changes-apply.c) whose name is the first word of no note: a
 * daemon that was killed left them. With the lock held and the notes of commit.json read; that this
 * commit.json is the one on the disk, too, is made sure of first. What can't be removed stays, and harms
 * nobody. */
void ovl_files_sweep(struct overlay *o);

/* Writes commit.json with the state that the disks' files were flushed to. With an error the old one holds,
 * or, with *ret_unknown, nobody knows. */
int ovl_store_write(struct overlay *v, uint64_t generation, struct timespec time, bool *ret_unknown);
/* Reads it, and generation, time and notes into `v`. -ENOENT without a fault: there is none. */
int ovl_store_read(struct overlay *v, struct json **ret, struct fault *fault);
#endif
