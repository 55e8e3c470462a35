/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_CALLER_H
#define FERRYFS_CALLER_H
/* Who sent a request: what the kernel leaves for a file system to ask, with the answers that it would give
 * itself. They come from /proc, so ask only where it matters. */
#include <fuse_lowlevel.h>

#include <stdbool.h>
#include <sys/stat.h>

/* One of CAP_*, which only root is asked for: who has become somebody else gave them up. */
bool caller_capable(fuse_req_t req, unsigned capability);
/* May the caller give a file of this group the bit S_ISGID? A member may, and who has CAP_FSETID. */
bool caller_may_setgid(fuse_req_t req, gid_t group);
/* `mode` without the bits that a change of the file's data by the caller takes away. */
mode_t caller_leaves(fuse_req_t req, mode_t mode);
/* Takes the names that the caller mustn't see out of a list of xattrs (each with its NUL): those of
 * trusted.*, which the kernel wouldn't let it read. The new length. */
size_t caller_sees(fuse_req_t req, char *names, size_t len);
#endif
