/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_VOLUME_DIFF_H
#define FERRYFS_VOLUME_DIFF_H
/* What differs between two states of one volume: its files as the source has them, and as they are now.
 *
 * Both trees are walked in step. What a file is made of lies somewhere on the volume (volume_ops.pieces), so
 * one whose bytes all lie where nothing was written is the same, and is neither read nor compared; whatever
 * its times say, since those can be set. Only what has a byte in a changed place is compared, at last by
 * reading it.
 *
 * Compared are: type, content, target of a link, number of a device; and the attributes: permissions, owner,
 * extended attributes, the mtime of what is no directory. Not the ctime, the atime, a directory's times.
 *
 * The result is a tree of what differs and the directories above it; immutable once made. A directory that is
 * gone is one node, without those of what it held. */
#include "volume.h"

enum volume_diff_what {
    DIFF_SAME, /* a directory with differences below it */
    DIFF_ADDED,
    DIFF_CHANGED, /* content, target, device, or type */
    DIFF_ATTRIBUTES,
    DIFF_REMOVED,
    DIFF_UNKNOWN, /* one of the states can't be read: see err */
};
enum volume_diff_attribute { DIFF_MODE = 1, DIFF_OWNER = 2, DIFF_XATTRS = 4, DIFF_MTIME = 8 };
enum { DIFF_NONE = UINT32_MAX, DIFF_DEPTH_MAX = 1024 };

struct volume_diff_node {
    uint32_t parent;          /* a node; DIFF_NONE */
    uint32_t first, children; /* kids[first], ...: in the order of their cookies */
    uint32_t name;            /* in names[] */
    uint64_t ino;             /* of the new state; of what is removed: 0 */
    uint64_t old_size, size;  /* bytes, of files and links */
    mode_t old_type, type;    /* S_IFMT bits; 0: isn't there */
    uint8_t what;             /* enum volume_diff_what */
    uint8_t attributes;       /* DIFF_MODE ... that differ; also of what is CHANGED */
    int16_t err;              /* -errno of DIFF_UNKNOWN */
};

struct volume_diff {
    struct volume_diff_node *nodes; /* owned; nodes[0] is the root. A node comes after its parent */
    size_t n, room;
    char *names; /* owned; each NUL-terminated; the root's is "" */
    size_t names_n, names_room;
    uint32_t *kids; /* owned: nodes by their parents */
    uint32_t *dirs; /* owned: the nodes that are directories now, in the order of their ino */
    size_t n_dirs;
    size_t bytes; /* that all this takes */
};

struct volume_diff_source {
    struct volume *old, *new; /* NULL `old`: all of it is new */
    /* Was anything of [off, off+len) of the volume's disk written since the old state? Never says no when it
     * was. */
    bool (*changed)(void *ctx, uint64_t off, uint64_t len);
    /* Asked now and then: is the answer of no use any more? Then -EINTR. NULL: never. */
    bool (*given_up)(void *ctx);
    void *ctx;
    size_t room; /* bytes that the result may take: -EFBIG */
};

/* The new volume may be written meanwhile: then what is written may be seen or not. -ENOMEM, -EFBIG, -EINTR;
 * damage is a node's. Takes no lock but the volumes', for a moment each time. */
int volume_diff_new(const struct volume_diff_source *s, struct volume_diff **ret);
void volume_diff_free(struct volume_diff *d);
DEFINE_CLEANUP(struct volume_diff *, volume_diff_free)

/* The node of the directory that has this number now. DIFF_NONE. */
uint32_t volume_diff_dir(const struct volume_diff *d, uint64_t ino);
uint32_t volume_diff_child(const struct volume_diff *d, uint32_t dir, const char *name);
/* A number for a name in its directory, the same in every diff of this process: from 1 on, below
 * DIFF_COOKIE_END. A listing that goes on behind it misses no entry and gives none twice, whatever was added
 * or went away in between. Drawn at random, so no two names of a directory have the same. */
uint64_t volume_diff_cookie(const char *name);
#define DIFF_COOKIE_END (UINT64_C(1) << 60)
/* Which kid of `dir` comes first behind the cookie; `children` of it: none. */
uint32_t volume_diff_behind(const struct volume_diff *d, uint32_t dir, uint64_t cookie);
static inline const char *volume_diff_name(const struct volume_diff *d, uint32_t node)
{
    return d->names + d->nodes[node].name;
}
static inline bool volume_diff_empty(const struct volume_diff *d)
{
    return d->n <= 1 && d->nodes[0].what == DIFF_SAME;
}
#endif
