/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "reader.h"

#include "../formats/cleanup.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* By strace: coreutils' cp and install, GNU tar and its kin, QEMU's tools. Not: dd, cat, rsync, scp. */
static const char *const skippers[] = { "cp", "install", "mv", "tar", "bsdtar", "qemu-img", "xfs_copy" };

bool reader_skips_holes(pid_t pid)
{
    char path[64], name[32];
    snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, name, sizeof name - 1);
    if (n <= 0)
        return false;
    name[n] = 0;
    name[strcspn(name, "\n")] = 0;
    for (size_t i = 0; i < sizeof skippers / sizeof skippers[0]; i++)
        if (!strcmp(name, skippers[i]))
            return true;
    return false;
}
