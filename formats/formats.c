/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The formats that can be read. A new one: its file, its declaration and its row here, its line in
 * meson.build. */
#include "image.h"

#include <string.h>

extern const struct format qcow2_format;
extern const struct format raw_format;
extern const struct format vhdx_format;
extern const struct format vmdk_format;

const struct format *const formats[] = {
    &qcow2_format,
    &raw_format,
    &vhdx_format,
    &vmdk_format,
    NULL,
};

const struct format *format_by_name(const char *name)
{
    for (const struct format *const *f = formats; *f; f++)
        if (!strcmp((*f)->name, name))
            return *f;
    return NULL;
}
