/* SPDX-License-Identifier: GPL-2.0-or-later */
#define FUSE_USE_VERSION 312
#include "caller.h"

#include "../formats/cleanup.h"

#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool caller_capable(fuse_req_t req, unsigned capability)
{
    const struct fuse_ctx *c = fuse_req_ctx(req);
    static const char field[] = "CapEff:";
    char path[64];
    if (c->uid)
        return false;
    snprintf(path, sizeof path, "/proc/%d/status", (int)c->pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return true; /* gone, or of another PID namespace: root as it mostly is */
    bool capable = true;
    _cleanup_free_ char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, file) > 0)
        if (!strncmp(line, field, sizeof field - 1))
            capable = strtoull(line + sizeof field - 1, NULL, 16) >> capability & 1;
    fclose(file);
    return capable;
}

static bool in_group(fuse_req_t req, gid_t group)
{
    if (fuse_req_ctx(req)->gid == group)
        return true;
    int n = fuse_req_getgroups(req, 0, NULL);
    _cleanup_free_ gid_t *groups = n > 0 ? calloc((size_t)n, sizeof *groups) : NULL;
    int m = groups ? fuse_req_getgroups(req, n, groups) : 0;
    for (int i = 0; i < m && i < n; i++)
        if (groups[i] == group)
            return true;
    return false;
}

bool caller_may_setgid(fuse_req_t req, gid_t group)
{
    return in_group(req, group) || caller_capable(req, CAP_FSETID);
}

mode_t caller_leaves(fuse_req_t req, mode_t mode)
{
    mode_t gone = mode & S_ISUID;
    if (!S_ISREG(mode))
        return mode;
    if ((mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP))
        gone |= S_ISGID;
    return gone && !caller_capable(req, CAP_FSETID) ? mode & ~gone : mode;
}

size_t caller_sees(fuse_req_t req, char *names, size_t len)
{
    static const char hidden[] = "trusted.";
    bool asked = false, all = false;
    size_t kept = 0;
    for (size_t at = 0, n; at < len; at += n) {
        n = strnlen(names + at, len - at);
        n += at + n < len;
        bool hide = n > sizeof hidden - 1 && !memcmp(names + at, hidden, sizeof hidden - 1);
        if (hide && !asked) {
            asked = true;
            all = caller_capable(req, CAP_SYS_ADMIN);
        }
        if (hide && !all)
            continue;
        memmove(names + kept, names + at, n);
        kept += n;
    }
    return kept;
}
