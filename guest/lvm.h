/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_LVM_H
#define FERRYFS_LVM_H
/* LVM2: volume groups put together from their physical volumes, on one disk or several. Linear and striped
 * logical volumes are disks over the physical ones; of the others it is said what they are. Source: lvm2's
 * format_text and label, seen with lvm2 2.03; fact sheet volumes, 4. */
#include "../formats/disk.h"
#include "../formats/notes.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    LVM_NAME_MAX = 127, /* LVM's own limit of a VG's and an LV's name */
    LVM_UUID_SIZE = 39, /* 32 characters, 6 dashes, NUL */
    LVM_VOLUME_NAME_SIZE = 2 * (2 * LVM_NAME_MAX) + 8,
};

/* What may hold a physical volume: a partition, or a disk without a table. */
struct lvm_device {
    struct disk *disk; /* borrowed; outlives the volumes */
    const char *name;  /* "disk0p2" */
    uint64_t there;    /* bytes of it that are there: less than its size where the disk was cut short */
    char why[512];     /* filled in: what it is a part of, or what is wrong with it */
    char vg[LVM_NAME_MAX + 1]; /* filled in: the volume group that lists it, "" none */
};

/* A logical volume that the guest's users see. */
struct lvm_volume {
    char vg[LVM_NAME_MAX + 1], lv[LVM_NAME_MAX + 1];
    char uuid[LVM_UUID_SIZE];
    char mapper[LVM_VOLUME_NAME_SIZE]; /* the name in /dev/mapper: dashes of the names doubled */
    char type[32];                     /* "linear", "striped", or LVM's word for what isn't read: "thin" */
    uint64_t size;                     /* bytes */
    size_t *devices;                   /* owned; indices of those that it lies on and that are there */
    size_t n_devices;
    struct disk *disk;       /* owned, by the volume; NULL: see why */
    char why[256];           /* why there is no disk */
    char read_only_why[256]; /* why it mustn't be written, though it can be read; "" it may */
};

struct lvm {
    struct lvm_volume *volumes; /* owned; by the order of groups, then as the metadata has them */
    size_t n;
};

/* Reads the labels and the metadata of all devices. Damage of one is noted or said in its `why`, and fails no
 * other. -ENOMEM. */
int lvm_assemble(struct lvm_device *devices, size_t n, struct notes *notes, struct lvm **ret);
void lvm_free(struct lvm *lvm);
#endif
