/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The file systems that can be shown. A new one: its file, its declaration and its row here, its line in
 * meson.build. */
#include "volume.h"

#include <string.h>

extern const struct volume_driver ext_driver, fat_driver, ntfs_driver;

const struct volume_driver *const volume_drivers[] = {
    &ext_driver,
    &fat_driver,
    &ntfs_driver,
    NULL,
};

const struct volume_driver *volume_driver_for(const char *type)
{
    for (const struct volume_driver *const *d = volume_drivers; *d; d++)
        for (const char *const *t = (*d)->types; *t; t++)
            if (!strcmp(*t, type))
                return *d;
    return NULL;
}
