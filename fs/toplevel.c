/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What stands in the root of the mount. A new name: its file, its declaration and its row here, its line in
 * meson.build. */
#include "tree.h"

extern const struct toplevel info_toplevel, integrity_toplevel, disks_toplevel, volumes_toplevel,
    guest_toplevel;
extern const struct toplevel hives_toplevel, registry_toplevel, bcd_toplevel, drivers_toplevel,
    prepare_toplevel, diff_toplevel;

const struct toplevel *const toplevels[] = {
    &info_toplevel,    &integrity_toplevel, &disks_toplevel,    &volumes_toplevel,
    &guest_toplevel,   &hives_toplevel,     &registry_toplevel, &bcd_toplevel,
    &drivers_toplevel, &prepare_toplevel,   &diff_toplevel,     NULL,
};
