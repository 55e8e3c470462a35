/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_OVERLAY_H
#define FERRYFS_OVERLAY_H
/* The copy-on-write overlay of a VM: one standard qcow2 for each disk, written by shadow paging, so that any
 * set of writes over all disks becomes durable in one step.
 *
 * Between commits nothing that the last commit reaches is overwritten: a write goes to a new cluster, with
 * the rest of the old one copied; changed L2 tables and the L1 wait in memory, or spill to clusters that
 * nothing refers to yet, so that a transaction of any size fits bounded memory. Their clusters are reserved
 * on the host when they are first changed: it is the write that finds no room, not the commit.
 * overlay_commit() makes data, new L2 tables and L1 durable, then moves the header; with several disks, or
 * notes, the rename of commit.json (generation, and each disk's L1) is the step, and a header that disagrees
 * with it at the next open is moved to it. Clusters that the commit replaced become free after it.
 *
 * Refcounts are written when the overlay is closed. The qcow2 dirty bit stands while it is open, as with
 * QEMU's lazy refcounts, so that after a kill the next open works them out from the tables, and so does QEMU.
 *
 * Memory: 8 MiB of L2 tables for all disks (of very many, 256 KiB each), and for a TiB of edits 6 MiB; for a
 * TiB of disk 20 KiB.
 *
 * Locking: reads and writes of the disks may run in parallel from any thread; overlay_commit needs that no
 * write is under way (reads may be). The rest is for one thread at a time, but what only asks. */
#include "disk.h"
#include "fault.h"
#include "image.h"

#include <time.h>

struct overlay;
struct overlay_io;

struct overlay_options {
    const char *dir; /* where the overlay is kept; NULL: scratch, in unlinked files in $TMPDIR or /var/tmp */
    bool rebind;     /* the source was copied or moved: bind to it anew if ids, size and samples agree */
    const char *mountpoint;      /* for the lock file, which names who has the overlay; absolute */
    unsigned wait_seconds;       /* for a daemon that is unmounted and still finishing */
    const struct overlay_io *io; /* the calls that change files, for tests; NULL: the system's */
};

/* A disk of the VM. */
struct overlay_source {
    /* Its disk is read for what the overlay hasn't; outlives the overlay. NULL: it couldn't be opened, and
     * has no overlay, now as when the overlay was made. */
    struct image *image;
    const char *name; /* of the source as the user named it, absolute path of the host file that holds it */
    struct timespec mtime; /* newest of the source's files */
    /* How QEMU can open the source by itself: a backing file name (may be "json:{...}", for an image inside
     * an OVA) and its format's name ("vmdk"). NULL: it can't, and the overlay's backing name is one that does
     * not exist, so that QEMU refuses rather than reads zeros. */
    const char *backing, *backing_format;
};

/* How QEMU can open an image that we have open, for overlay_source: *ret_backing is owned by the caller, and
 * NULL when it can't, or would read it otherwise than we do. -ENOMEM. */
int overlay_backing(const struct image *image, char **ret_backing, const char **ret_format);
/* Opens or makes the overlay of these disks: 0; -EBUSY another daemon has it and is mounted (the fault names
 * its mount point), -ESTALE it is bound to another source, or to another state of it (see rebind), -EUCLEAN
 * damaged, -ENOSPC, -EACCES... Strings are copied. */
int overlay_open(const struct overlay_options *o, const struct overlay_source *sources, size_t n,
                 struct overlay **ret, struct fault *fault);
/* The writable disk i: the source with the edits over it. Borrowed; NULL where the source is. Its map says
 * DATA, ZERO or HOLE as the source's does, depth counted with the overlay as 0. A write that finds no room is
 * -ENOSPC; it may have changed the clusters before the one for which there was none. */
struct disk *overlay_disk(struct overlay *o, size_t i);
/* Makes all writes so far durable, over all disks or none. An error leaves the last commit as what the next
 * open finds, and the writes in place for another try. Only when the host fails to sync (-EIO, or what it
 * says) is there no other try: all later writes and commits are -EIO, and the next open finds the last commit
 * or this one, whole. Nothing to do: 0 at once. */
int overlay_commit(struct overlay *o, struct fault *fault);
/* Are there writes that aren't committed? And how many bytes, roughly: for commits by amount. */
bool overlay_is_dirty(const struct overlay *o);
uint64_t overlay_uncommitted(const struct overlay *o);
/* Counts commits that changed something, over the overlay's whole life; 0: nothing was ever written. */
uint64_t overlay_generation(const struct overlay *o);
/* When the last commit of the current generation was; the zero time for generation 0. Each is in a later
 * second than the one before, and the first in a later one than the sources' mtime. */
struct timespec overlay_time(const struct overlay *o);
/* Small texts that are committed with the rest (lists of files to delete at the next mount, journals of
 * prepare/): kept in commit.json under `key`. NULL or "" removes one. Copied. -EFBIG over 1 MiB in all. */
int overlay_note_set(struct overlay *o, const char *key, const char *text);
const char *overlay_note(const struct overlay *o, const char *key); /* NULL: none; valid until the next set */
/* A file beside the overlay's disks, for what is too large for a note: durable when this returns, but bound
 * to no commit; so it is written under a fresh name before the commit of a note that names it, and the one
 * before is removed after. Names: [a-z0-9.-]. -EINVAL: another name; -EFBIG over `max`; -ENOENT. Bytes that
 * are read are the caller's. A scratch overlay keeps them in memory. The next open removes "record-WHAT-SUM"
 * (SUM: 16 hexadecimal digits) where that is no note's first word. */
enum { OVERLAY_FILE_NAME = 200 };
int overlay_file_write(struct overlay *o, const char *name, const void *bytes, size_t n);
int overlay_file_read(struct overlay *o, const char *name, size_t max, uint8_t **ret, size_t *ret_n);
void overlay_file_remove(struct overlay *o, const char *name);
/* Says to a daemon that waits for the lock that this one is unmounted and about to finish. */
void overlay_finishing(struct overlay *o);
/* Without a commit: what isn't committed is lost. Clears the dirty bit, gives the lock free. */
void overlay_close(struct overlay *o);
#endif
