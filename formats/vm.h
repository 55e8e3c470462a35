/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_VM_H
#define FERRYFS_VM_H
/* A virtual machine: its disks in boot order and what its description says. Made from the user's SOURCEs:
 * disk images, OVAs, OVFs, .vmx files, or directories that hold one. */
#include "image.h"

#include <time.h>

struct vm_disk {
    struct image *image; /* NULL: it couldn't be opened, see why */
    struct fault why;    /* filled in when image is NULL */
    char *source;        /* owned: what was opened, as the user knows it */
    char *id;            /* owned, may be NULL: the description's name of it (OVF diskId) */
    char *controller;    /* owned, may be NULL: "scsi", "ide", "sata", "nvme" */
    int bus, unit;       /* -1: unknown */
    char *mode;          /* owned, may be NULL: VMware's, "persistent", "independent-nonpersistent", ... */
    char *sharing;     /* owned, may be NULL: how other machines may use it too, in the description's words */
    char *device_type; /* owned, may be NULL: "rawDisk", ... as the description calls it */
    uint64_t capacity; /* bytes that the description states; 0: none */
    struct timespec mtime; /* newest of the disk's files */
};

struct vm_nic {
    char *type, *network, *mac; /* owned, may be NULL */
};

/* A file that an OVF refers to. */
struct vm_reference {
    char *name;   /* owned: relative to the descriptor */
    bool chunked; /* it may be there in chunks: NAME.000000000, ... */
};

/* An OVF package with a manifest. What that names is opened by file_open_ref() on it. All owned. */
struct vm_package {
    struct file *ovf, *manifest;
    struct file *certificate; /* NULL: there is none */
    char *ovf_name;           /* in its own directory */
    struct vm_reference *references;
    size_t n_references;
};

/* Of disks. */
struct vm_controller {
    char *kind;    /* owned: "scsi", "ide", "sata", "nvme" */
    char *subtype; /* owned, may be NULL: "lsilogic", "pvscsi", ... as the description calls it */
    int bus;
};

struct vm {
    char *name;          /* owned: of the description, else of the source without its suffix */
    char *kind;          /* owned: "ova", "ovf", "vmx", "ahv", "disks" */
    char *description;   /* owned, may be NULL: the description file's name */
    char *firmware;      /* owned, may be NULL: "bios" or "efi" */
    char *os_type;       /* owned, may be NULL: what the description says of the guest */
    unsigned cpus;       /* 0: unknown */
    unsigned cores;      /* per socket; 0: unknown */
    uint64_t memory;     /* bytes; 0: unknown */
    struct vm_nic *nics; /* owned */
    size_t n_nics;
    struct vm_controller *controllers; /* owned */
    size_t n_controllers;
    char **boot_order; /* owned: what to boot from, in the description's words ("hdd", "cdrom") */
    size_t n_boot_order;
    struct vm_disk *disks; /* owned: disk0, disk1, ... */
    size_t n_disks;
    struct vm_package *packages; /* owned */
    size_t n_packages;
    struct notes notes; /* warnings */
    void *private;      /* the archives and trust lists that the disks stand on */
};

struct vm_options {
    char *const *sources; /* what the user named; several are the disks of one VM, in that order */
    size_t n_sources;
    const char *format; /* -o format=, or NULL */
    char *const *trust; /* -o trust=, directories */
    size_t n_trust;
};

/* Opens everything. A VM of several disks opens without a bad one (its vm_disk has `why`). Fails when nothing
 * is left, or a reference leaves the trusted directories (-EPERM). */
int vm_open(const struct vm_options *o, const struct image_env *env, struct vm **ret, struct fault *fault);
/* One without disks, for a source that is none of a machine's: `kind` says what it is. */
int vm_none(const char *source, const char *kind, struct vm **ret, struct fault *fault);
/* Nothing uses the disks any more. */
void vm_close(struct vm *vm);
DEFINE_CLEANUP(struct vm *, vm_close)
#endif
