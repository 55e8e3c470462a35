/* SPDX-License-Identifier: GPL-2.0-or-later */
/* disk.raw: the bytes of the disk, padded with zeros to whole sectors. The shortest layout there is. */
#include "view.h"

extern const struct view_format raw_view;

static int raw_layout(const struct view_source *src, struct layout *ret, struct fault *fault)
{
    (void)fault;
    layout_add(ret, SEGMENT_DISK, view_disk_size(src));
    return 0;
}

const struct view_format raw_view = {
    .file_name = "disk.raw",
    .name = "raw",
    .layout = raw_layout,
    .early = true,
};
