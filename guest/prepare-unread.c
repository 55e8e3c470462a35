/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A machine in which no guest is found, since a volume that may be its root can't be read: btrfs, XFS, LUKS,
 * LVM's thin pools. Its plan is only this, and what to do where the guest runs. */
#include "prepare-linux.h"

#include <stdio.h>
#include <string.h>

static const char *const unread_types[] = { "xfs",       "btrfs", "f2fs", "zfs",           "luks",
                                            "md",        "ext2",  "ext3", "ext4",          "ntfs",
                                            "bitlocker", "refs",  "ldm",  "storage-spaces" };
enum { FIRST_OF_WINDOWS = 9 };

static bool type_between(const char *type, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        if (!strcmp(type, unread_types[i]))
            return true;
    return false;
}

bool prepare_may_be_root(const char *type)
{
    return type_between(type, 0, sizeof unread_types / sizeof unread_types[0]);
}

int plan_unread(struct prepare *p, const char *volume, const char *type, const char *why)
{
    char text[1600], names[256], advice[800];
    snprintf(text, sizeof text,
             "no guest is found, and %.256s%s%.40s%s, which may have it, can't be read: %.1000s", volume,
             type[0] ? " (" : "", type, type[0] ? ")" : "", why);
    if (!strcmp(type, "bitlocker"))
        return p->ops->block(p, text,
                             "decrypt it where the guest runs (manage-bde -off), and copy the disk again");
    if (type_between(type, FIRST_OF_WINDOWS, sizeof unread_types / sizeof unread_types[0]))
        return p->ops->block(p, text, "prepare the guest where it runs");
    linux_needed_modules(p, names, sizeof names);
    snprintf(advice, sizeof advice,
             "where the guest runs, before its disks are copied, put %s into its initramfs (dracut --force "
             "--regenerate-all --add-drivers \"%s\", or what else makes it there) and have its file systems "
             "by UUID "
             "in /etc/fstab and in the boot loader",
             names, names);
    return p->ops->block(p, text, advice);
}
