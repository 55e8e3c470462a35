/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_SCAN_H
#define FERRYFS_SCAN_H
/* What the VM's disks hold: every partition and volume, and the systems put together of them. Made once;
 * immutable. */
#include "lvm.h"
#include "partition.h"
#include "signature.h"
#include "volume.h"

struct guest_disk {
    struct disk *disk;             /* not owned; NULL: it couldn't be opened */
    struct partition_table *table; /* owned; NULL: damaged (see why) or no disk */
    struct fault why;
};

struct guest_volume {
    char name[256];                    /* "disk0p2", "disk0" without a table, "VG-LV" of a logical volume */
    size_t disk;                       /* index; of a logical volume: of one that has a part of it */
    const struct partition *partition; /* NULL: the whole disk, or a logical volume */
    const struct lvm_volume *lv;       /* NULL: no logical volume */
    uint64_t start, length;            /* bytes; a logical volume has no start */
    struct signature signature;
    struct volume *volume; /* NULL: not shown, see why */
    char why[1024];
    struct disk *slice; /* owned, under volume */
};

enum guest_kind { GUEST_WINDOWS, GUEST_LINUX };

/* Volume `volume` stands at `path`: a Windows letter ("C"), or a Linux mount point without the leading slash
 * ("boot/efi"; "" is the root). */
struct guest_mount {
    char *path;       /* owned */
    size_t volume;    /* index */
    size_t at_volume; /* Linux: the directory that it covers; meaningless for the root */
    uint64_t at_ino;
};

struct guest_system {
    enum guest_kind kind;
    char name[128];             /* "Windows", or os-release's PRETTY_NAME */
    size_t root;                /* index of the volume with Windows or / */
    struct guest_mount *mounts; /* owned; the root among them */
    size_t n_mounts;
};

struct guest {
    struct guest_disk *disks;
    size_t n_disks;
    struct guest_volume *volumes;
    size_t n_volumes;
    struct guest_system *systems;
    size_t n_systems;
    struct lvm *lvm; /* owned; NULL: no physical volumes; its `devices` are indices of volumes */
    struct notes notes;
};

/* `disks` outlive the guest. Damage of any part is noted where it is and never fails the rest. NULL: no
 * memory. */
struct guest_options {
    bool writable; /* open volumes for writing, where their disk can be written and they can be safely */
    bool discard_hibernation; /* a hibernated Windows may be written too */
};
/* `o` may be NULL: for reading only. */
struct guest *guest_scan(struct disk *const *disks, size_t n, struct cache *cache,
                         const struct guest_options *o);
void guest_free(struct guest *g);

/* The volume that a device of fstab or of a kernel's command line is: a tag ("UUID=...") or any hypervisor's
 * name for it ("/dev/sda3"). NULL: none here. */
const struct guest_volume *guest_find_device(const struct guest *g, const char *device);

/* Finds systems on the volumes; guest_scan() calls it. See inspect.c. */
void guest_inspect(struct guest *g);
#endif
