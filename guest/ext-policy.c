/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What keeps an ext file system from being written, though it can be read: features whose rules nobody here
 * keeps, and states in which a write could destroy more than the guest's crash did.
 *
 *     quota              usage is counted in hidden files, which libext2fs doesn't update
 *     fast commits       what they say is newer than all that is shown; a write would fall behind it
 *     external journal   it isn't here; what is in it may overwrite what is written
 *     shared blocks      a block may be several files'
 *     unknown features of the read-only kind: that is what they are for
 *
 * Fine are those that libext2fs keeps consistent, by e2fsck's word: bigalloc, inline data, large directories,
 * checksums, extended attributes in inodes, files of orphans. Directories without case, encryption and verity
 * concern single files and are refused there. Source: fact sheet ext4-ntfs-libs A.6. */
#include "ext.h"
#include "jbd2.h"

#include "../formats/checked.h"

#include <stdio.h>

enum { STATE_VALID = 1, STATE_ERROR = 2, RO_COMPAT_BTREE_DIR = 4 };

static const struct {
    uint32_t bit;
    const char *why; /* NULL: nothing */
} ro_compat[] = {
    { EXT2_FEATURE_RO_COMPAT_SPARSE_SUPER, NULL },
    { EXT2_FEATURE_RO_COMPAT_LARGE_FILE, NULL },
    { RO_COMPAT_BTREE_DIR, NULL },
    { EXT4_FEATURE_RO_COMPAT_HUGE_FILE, NULL },
    { EXT4_FEATURE_RO_COMPAT_GDT_CSUM, NULL },
    { EXT4_FEATURE_RO_COMPAT_DIR_NLINK, NULL },
    { EXT4_FEATURE_RO_COMPAT_EXTRA_ISIZE, NULL },
    { EXT4_FEATURE_RO_COMPAT_HAS_SNAPSHOT, "it has snapshots, which a write would change" },
    { EXT4_FEATURE_RO_COMPAT_QUOTA, "it keeps quotas, whose usage would go out of date" },
    { EXT4_FEATURE_RO_COMPAT_BIGALLOC, NULL },
    { EXT4_FEATURE_RO_COMPAT_METADATA_CSUM, NULL },
    { EXT4_FEATURE_RO_COMPAT_REPLICA, "it is a replica of another file system" },
    { EXT4_FEATURE_RO_COMPAT_READONLY, "the guest has marked it read-only" },
    { EXT4_FEATURE_RO_COMPAT_PROJECT, NULL },
    { EXT4_FEATURE_RO_COMPAT_SHARED_BLOCKS, "its files share blocks" },
    { EXT4_FEATURE_RO_COMPAT_VERITY, NULL },
    { EXT4_FEATURE_RO_COMPAT_ORPHAN_PRESENT, NULL },
};

static void why_features(const struct ext_super *s, char *why, size_t size)
{
    uint32_t unknown = s->ro_compat;
    for (size_t i = 0; i < sizeof ro_compat / sizeof ro_compat[0]; i++) {
        unknown &= ~ro_compat[i].bit;
        if (s->ro_compat & ro_compat[i].bit && ro_compat[i].why) {
            snprintf(why, size, "%s", ro_compat[i].why);
            return;
        }
    }
    if (unknown)
        snprintf(why, size, "it has features that ferryfs doesn't know (read-only compatible, 0x%x)",
                 unknown);
}

void ext_why_read_only(const struct ext_super *s, uint64_t disk_size, const struct jbd2_info *journal,
                       char *why, size_t size)
{
    uint64_t need;
    const bool journalled = s->compat & EXT3_FEATURE_COMPAT_HAS_JOURNAL;
    const char *text = NULL;
    why[0] = 0;
    if (journal->fast_commits)
        text = "its journal has fast commits, which aren't replayed; boot the guest once";
    else if (journal->error)
        text = "the guest has aborted its journal; e2fsck is due";
    else if (s->state & STATE_ERROR)
        text = "the guest has recorded errors in it; e2fsck is due";
    else if (!journalled && !(s->state & STATE_VALID))
        text = "it has no journal and wasn't unmounted; e2fsck is due";
    else if (journalled && !s->journal_inode)
        text = "its journal is on another device";
    else if (!checked_mul(s->blocks, s->block_size, &need) || need > disk_size)
        text = "it is longer than its volume";
    if (text)
        snprintf(why, size, "%s", text);
    else
        why_features(s, why, size);
}
