/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_UKI_H
#define FERRYFS_UKI_H
/* A unified kernel image: an EFI program (PE/COFF) with a kernel, its command line and its initramfs as
 * sections. It is signed, or measured, as a whole: nothing can be put into it from outside, but what its
 * initramfs has can be told. Source: the UAPI group's "Unified Kernel Image", Microsoft's "PE Format". */
#include "initramfs.h"

/* Where a section lies in the file: ".initrd", ".cmdline". -ENOENT: it is no such image, or has none; or what
 * `read` returns. */
int uki_find_section(const struct initramfs_file *f, const char *name, uint64_t *ret_at, uint64_t *ret_n);
/* 1: it has certificates behind it; 0: none; errors as above. */
int uki_is_signed(const struct initramfs_file *f);
#endif
