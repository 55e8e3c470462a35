/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_QCOW2_NAME_H
#define FERRYFS_QCOW2_NAME_H
/* QEMU's json: names of backing files, as far as they only say what a path would: a file of the host, the
 * format to read it as, and which part of it (what lies in an archive). */
#include "fault.h"

#include <stdbool.h>
#include <stdint.h>

struct qcow2_json_name {
    char driver[16]; /* the first level's: a format beside the name that is another would win over it in QEMU
                      */
    char *path;      /* owned; absolute */
    char *format;    /* owned; QEMU's name */
    bool part;       /* not the whole file, but: */
    uint64_t offset, length; /* length UINT64_MAX: to its end */
};

/* `text` begins with "json:". 0 and *ret, or -EPERM: it says more, or is none; -ENOMEM. */
int qcow2_json_name_read(const char *text, struct qcow2_json_name *ret);
#endif
