/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_OVF_H
#define FERRYFS_OVF_H
/* The OVF descriptor: what it says, and nothing of the files it names (vm-ovf.c opens those).
 *
 * Read with libxml2, from memory: no network, no DTD, no entities but XML's own five, bounded size and depth.
 * All versions from 0.9 to 2.1, of all exporters; elements and attributes go by their local names. */
#include "cleanup.h"
#include "fault.h"
#include "notes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    OVF_MAX_SIZE = 16 * 1024 * 1024, /* bytes; the largest seen, with all its languages, are below 1 MiB */
    OVF_MAX_ENTRIES =
        4096, /* Files, Disks, and Items of one system: vSphere allows 256 disks; lookups are linear */
};

struct ovf_file {
    char *id, *href;     /* owned; id may be NULL, href is "" where it is missing */
    char *compression;   /* owned: "gzip", ...; NULL: stored as it is */
    uint64_t chunk_size; /* bytes; 0: in one piece */
    uint64_t size;       /* bytes as it is stored; 0: not stated; often wrong */
    bool used;           /* something in the descriptor refers to it */
};

struct ovf_disk {
    char *id;          /* owned, may be NULL */
    char *file_ref;    /* owned: the id of its File; NULL: a blank disk */
    char *parent_ref;  /* owned: the id of the Disk that it is a delta of; NULL: none */
    uint64_t capacity; /* bytes; 0: not stated, or not understood (then there is a note) */
    bool boot;         /* oVirt: the disk to boot from */
};

/* A disk of the VM. */
struct ovf_drive {
    const struct ovf_disk *disk; /* NULL: the Item names a File at once, or something missing */
    const struct ovf_file *file; /* NULL: blank, or something is missing */
    char *missing; /* owned: "Disk vmdisk3", "File file2": what is referred to and isn't there; or NULL */
    const char *controller; /* "scsi", "ide", "sata", "nvme", or NULL */
    int bus, unit;          /* -1: unknown */
};

struct ovf_nic {
    char *type, *network, *mac; /* owned, may be NULL */
};

struct ovf_controller {
    const char *kind; /* "scsi", "ide", "sata", "nvme" */
    char *subtype;    /* owned, may be NULL: "lsilogic", "VirtualSCSI", ... */
    int bus;
};

struct ovf {
    /* Of the first VirtualSystem; owned; NULL: not stated. */
    char *name, *os_type;
    char *firmware;   /* "bios" or "efi" */
    char *boot_order; /* what to boot from, by the words of the exporter, commas between: "cdrom,hdd" */
    unsigned cpus;    /* 0: not stated */
    unsigned cores;   /* per socket; 0: not stated */
    uint64_t memory;  /* bytes; 0: not stated */
    struct ovf_file *files;
    size_t n_files;
    struct ovf_disk *disks;
    size_t n_disks;
    struct ovf_drive *drives; /* in boot order */
    size_t n_drives;
    struct ovf_nic *nics;
    size_t n_nics;
    struct ovf_controller *controllers; /* of disks */
    size_t n_controllers;
    struct notes notes;
};

/* Could these first bytes of a file be XML? (By a '<' after blanks and a byte order mark.) */
bool ovf_looks_like_xml(const void *head, size_t n);

/* `name` is the descriptor's, for messages. -EUCLEAN not well-formed (with the line) or with a DOCTYPE,
 * -EMEDIUMTYPE well-formed, but no OVF, -EFBIG over a limit above. */
int ovf_parse(const void *text, size_t n, const char *name, struct ovf **ret, struct fault *fault);
void ovf_free(struct ovf *ovf);
DEFINE_CLEANUP(struct ovf *, ovf_free)

/* How many bytes one unit of DSP0004 ("byte * 2^20") or of the older words ("MegaBytes") is. False: not
 * understood, or over 64 bits. */
bool ovf_unit_bytes(const char *unit, uint64_t *ret);
#endif
