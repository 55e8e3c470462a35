/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_VM_SOURCE_H
#define FERRYFS_VM_SOURCE_H
/* What vm.c and the files for each kind of SOURCE share: a VM under construction. Internal to vm*.c.
 *
 * One kind of description is one file (vm-ovf.c, vm-vmx.c, vm-directory.c, vm-ahv.c) with a function here
 * that vm.c calls when the SOURCE's content says so. It adds disks by vm_add_disk(), opens them, and gives
 * each result to vm_settle_disk(), which decides whether the VM can do without that disk. */
#include "tar.h"
#include "vm.h"
#include "vmx.h"

/* One SOURCE. Lives as long as the VM: the files opened for it point into it. */
struct vm_source {
    const char *path; /* as the user wrote it; valid while the VM is made */
    struct trust trust;
    struct tar *tar; /* NULL: no archive */
    struct vm_source *next;
};

struct vm_builder {
    const struct vm_options *options;
    const struct image_env *env;
    struct fault *fault;
    struct vm *vm;
    struct vm_source *source; /* the one at work */
    /* what OVF packages have taken of the limits in vm-ovf-file.c */
    size_t n_chunks, n_gzips, gzip_memory;
};

/* A new last disk, empty; valid until the next call. NULL: no memory, with a fault. `name` is copied. */
struct vm_disk *vm_add_disk(struct vm_builder *b, const char *name);
/* Takes what opening the last disk gave: `r`, and its fault or its image. 0: go on, the disk is shown or has
 * its `why`. -EPERM, -ENOMEM: the whole VM fails. */
int vm_settle_disk(struct vm_builder *b, int r, struct image *image, const struct fault *why);
/* Opens `file` as the last disk: image_open() and vm_settle_disk(). */
int vm_open_disk(struct vm_builder *b, struct file *file);
/* Sets the VM's kind ("ova", "ovf", "vmx", "ahv", "disks") and name (NULL: none), unless that was done
 * before. -ENOMEM with a fault. */
int vm_describe(struct vm_builder *b, const char *kind, const char *name);
int vm_no_memory(struct vm_builder *b);
/* Adds a controller, unless that of this kind and bus is known; `subtype` may be NULL. -ENOMEM with a fault.
 */
int vm_add_controller(struct vm_builder *b, const char *kind, const char *subtype, int bus);
/* Adds the words of a boot order, between which stand blanks or commas. -ENOMEM with a fault. */
int vm_add_boot_order(struct vm_builder *b, const char *words);
/* No control characters but those of text. */
bool vm_is_text(const uint8_t *p, size_t n);

/* The base name of a path, in `path`. */
const char *vm_base_name(const char *path);
/* macOS's side files, "._web01.ovf": never what they are named after. */
bool vm_is_junk(const char *path);
/* Does a name end in this suffix (with the dot), whatever its case? */
bool vm_has_suffix(const char *name, const char *suffix);

/* An .ovf descriptor; `kind` is "ovf" or "ova". Its references are opened by file_open_ref(ovf). */
int vm_add_ovf(struct vm_builder *b, struct file *ovf, const char *kind);
/* The one of several descriptors whose references are all there. */
int vm_add_one_ovf(struct vm_builder *b, struct file **ovfs, size_t n, const char *kind);
/* A tar archive that holds a descriptor. */
int vm_add_archive(struct vm_builder *b, struct file *archive);
/* A .vmx. Its references are opened by file_open_ref(vmx). */
int vm_add_vmx(struct vm_builder *b, struct file *vmx);
/* What the file is, going by its text; `head` are its first `n` bytes. Errors of reading. */
int vm_probe_vmx(struct file *f, const uint8_t *head, size_t n, enum vmx_kind *ret, struct fault *fault);
/* A directory that holds a descriptor, or the images of one VM. */
int vm_add_directory(struct vm_builder *b);

/* The names in a directory. */
struct vm_listing {
    char **names; /* owned, sorted */
    size_t n;
};
/* All names but hidden ones (macOS's "._x" among them). */
int vm_list_directory(struct vm_builder *b, const char *dir, struct vm_listing *l);
void vm_listing_done(struct vm_listing *l);
DEFINE_CLEANUP(struct vm_listing *, vm_listing_done)

/* Is that a vdisk's name, a UUID and nothing else? */
bool vm_is_vdisk_name(const char *name);
/* The directory in which AHV keeps its vdisks, if the SOURCE is one, or a container that has one; the
 * caller's. NULL: it isn't, or there is no memory. */
char *vm_vdisk_directory(const char *source);
/* Each vdisk in the directory as a disk, by name. Sorts the listing. */
int vm_add_vdisks(struct vm_builder *b, const char *dir, struct vm_listing *l);

/* A disk of zeros, for those that the description gives no file. `capacity` is a multiple of 512. */
int vm_blank_image(const char *name, uint64_t capacity, struct image **ret);
#endif
