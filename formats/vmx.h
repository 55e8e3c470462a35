/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_VMX_H
#define FERRYFS_VMX_H
/* The text of a .vmx, VMware's description of a machine, as keys and values; nothing of what they mean
 * (vm-vmx.c knows that). */
#include "cleanup.h"
#include "fault.h"
#include "notes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    VMX_MAX_SIZE = 1024 * 1024, /* bytes; the largest seen are below 64 KiB */
    VMX_MAX_ENTRIES = 65536,
};

struct vmx_entry {
    char *key;   /* owned, in lower case */
    char *value; /* owned, UTF-8, without quotes and escapes; "" where it is empty */
    char *raw;   /* owned: the value's bytes as they stand in the file, where they aren't UTF-8; else NULL */
};

struct vmx {
    struct vmx_entry *entries; /* sorted by key, each key once */
    size_t n;
    struct notes notes;
};

/* What a text is, by its keys. */
enum vmx_kind {
    VMX_NONE,      /* none of VMware's */
    VMX_MACHINE,   /* a .vmx (or .vmtx, a template) */
    VMX_SNAPSHOTS, /* a .vmsd, the list of a machine's snapshots */
};
enum vmx_kind vmx_probe(const char *text, size_t n);

/* `name` is the file's, for messages. -EFBIG over a limit above, -EUCLEAN it has a NUL byte, -ENOMEM. What
 * is odd but can be read becomes a note. */
int vmx_parse(const char *text, size_t n, const char *name, struct vmx **ret, struct fault *fault);
void vmx_free(struct vmx *vmx);
DEFINE_CLEANUP(struct vmx *, vmx_free)

/* The entry of a key (in lower case), or NULL. Valid as long as the vmx. */
const struct vmx_entry *vmx_find(const struct vmx *vmx, const char *key);
/* Its value; NULL where it is missing or empty. */
const char *vmx_value(const struct vmx *vmx, const char *key);
/* "TRUE" or 1: 1; "FALSE" or 0: 0; missing or anything else: -1. */
int vmx_bool(const struct vmx *vmx, const char *key);
#endif
