/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of view formats: one row each, in the order that a directory shows them. */
#include "view.h"

extern const struct view_format raw_view, vhdx_view, vhdx_fixed_view, vhd_view, vhd_fixed_view, qcow2_view,
    vmdk_view;

const struct view_format *const view_formats[] = {
    &raw_view,        /* disk.raw */
    &vhdx_view,       /* disk.vhdx */
    &vhdx_fixed_view, /* disk-fixed.vhdx */
    &vhd_view,        /* disk.vhd */
    &vhd_fixed_view,  /* disk-fixed.vhd */
    &qcow2_view,      /* disk.qcow2 */
    &vmdk_view,       /* disk.vmdk */
    NULL,
};
