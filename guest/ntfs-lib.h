/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_NTFS_LIB_H
#define FERRYFS_NTFS_LIB_H
/* libntfs-3g's headers, all that are needed at once. They have types u8, le16, ..., be64 and cache_free,
 * which are functions of ours (formats/bytes.h, formats/cache.h): here those types get other names. Only the
 * library's headers may be included between the two halves. */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define u8         ntfs_lib_u8
#define le16       ntfs_lib_le16
#define le32       ntfs_lib_le32
#define le64       ntfs_lib_le64
#define be16       ntfs_lib_be16
#define be32       ntfs_lib_be32
#define be64       ntfs_lib_be64
#define cache_free ntfs_lib_cache_free

#include <ntfs-3g/attrib.h>
#include <ntfs-3g/cache.h>
#include <ntfs-3g/device.h>
#include <ntfs-3g/dir.h>
#include <ntfs-3g/index.h>
#include <ntfs-3g/inode.h>
#include <ntfs-3g/logfile.h>
#include <ntfs-3g/logging.h>
#include <ntfs-3g/reparse.h>
#include <ntfs-3g/security.h>
#include <ntfs-3g/unistr.h>
#include <ntfs-3g/volume.h>
#include <ntfs-3g/xattrs.h>

#undef u8
#undef le16
#undef le32
#undef le64
#undef be16
#undef be32
#undef be64
#undef cache_free
#endif
