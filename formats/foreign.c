/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Containers that are recognised only to be refused by name: what we can't read must never pass for raw. */
#include "image.h"

struct foreign {
    uint32_t offset; /* of the magic in the head */
    const char *magic;
    uint8_t length;
    const char *name;
    const char *advice; /* NULL: none */
};

static const char unpack[] = "unpack it first";
static const char with_qemu[] = "qemu-img convert reads it";
static const char beside_vmx[] = "mount the .vmx beside it";

static const struct foreign foreign[] = {
    { 0, "WithoutFreeSpace", 16, "a Parallels image, which ferryfs doesn't read", with_qemu },
    { 0, "WithouFreSpacExt", 16, "a Parallels image, which ferryfs doesn't read", with_qemu },
    { 0, "Bochs Virtual HD Image", 22, "a Bochs image, which ferryfs doesn't read", with_qemu },
    { 0, "#!/bin/sh\n#V2.0 Format\n", 23, "a cloop image, which ferryfs doesn't read", with_qemu },
    { 0, "VMA\0", 4, "a Proxmox VMA archive, which ferryfs doesn't read", "vma extract unpacks it" },
    { 0, "QED\0", 4, "a QED image, which ferryfs doesn't read", with_qemu },
    { 0, "EVF\x09\x0d\x0a\xff\x00", 8, "an EWF (E01) image, which ferryfs doesn't read",
      "ewfexport converts it" },
    { 0, "SHSKD", 5, "a SmartDisk image, which ferryfs doesn't read", NULL },
    { 0, "\x1f\x8b", 2, "gzip-compressed", unpack },
    { 0,
      "\xfd"
      "7zXZ\0",
      6, "xz-compressed", unpack },
    { 0, "BZh", 3, "bzip2-compressed", unpack },
    { 0, "\x28\xb5\x2f\xfd", 4, "zstd-compressed", unpack },
    { 0, "PK\x03\x04", 4, "a zip archive", unpack },
    { 0, "7z\xbc\xaf\x27\x1c", 6, "a 7z archive", unpack },
    { 0, "MSWIM\0\0\0", 8, "a WIM archive, not a disk", NULL },
    { 0, "MRVN", 4, "a .nvram: the firmware settings of a VMware machine, not a disk", beside_vmx },
    { 0, "\xd2\xbe\xd2\xbe", 4, "the memory of a suspended VMware machine, not a disk", beside_vmx },
    { 0, "regf", 4, "a registry hive or the log of one, not a disk", "give the hive as the only SOURCE" },
    { 0, "\xa2\x72\x19\xf6\x01\0\0\0", 8, "VMware's changed block tracking (-ctk.vmdk), not a disk",
      "open the disk's descriptor" },
};

const char *foreign_name(const struct probe *p, const char **ret_advice)
{
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++)
        if (bytes_match(p->head, foreign[i].offset, foreign[i].magic, foreign[i].length)) {
            *ret_advice = foreign[i].advice;
            return foreign[i].name;
        }
    return NULL;
}
