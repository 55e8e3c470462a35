/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_VM_OVF_FILE_H
#define FERRYFS_VM_OVF_FILE_H
/* The files of an OVF package: how what the descriptor names is opened. Internal to vm-ovf*.c. */
#include "ovf.h"
#include "vm-source.h"

/* A package whose disks are being opened. */
struct ovf_package {
    struct vm_builder *b;
    struct file *ovf;          /* borrowed: the descriptor, whose references are opened */
    const struct ovf *o;       /* borrowed */
    struct ovf_opened *opened; /* owned: what was dear to open, for when it is wanted again */
    size_t n_opened;
};
void ovf_package_done(struct ovf_package *p);
DEFINE_CLEANUP(struct ovf_package *, ovf_package_done)

/* The content of a File: its chunks joined, then gunzipped. Errors of file_open_ref(), of file_gzip_new(),
 * -EUCLEAN a chunk of a wrong length, -ENOTSUP another compression. */
int ovf_open_file(struct ovf_package *p, const struct ovf_file *ref, struct file **ret, struct fault *fault);
/* The same of a Disk's File; where the Disk has a parentRef, the parent's content is what the image in it
 * finds as its parent. */
int ovf_open_disk(struct ovf_package *p, const struct ovf_disk *disk, const struct ovf_file *file,
                  struct file **ret, struct fault *fault);
/* Is it there, whole or in chunks? */
bool ovf_file_exists(struct file *ovf, const struct ovf_file *ref);
/* Adds the package to the VM's if it has a manifest. -ENOMEM with the builder's fault. */
int ovf_record_package(struct ovf_package *p);
#endif
