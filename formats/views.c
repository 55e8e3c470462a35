/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of view formats: one row each, in the order that a directory shows them. */
#include "view.h"

extern const struct view_format raw_view, vhdx_view, vhdx_fixed_view, vhd_view, vhd_fixed_view;

const struct view_format *const view_formats[] = {
    &raw_view,
    &vhdx_view,
    &vhdx_fixed_view,
    &vhd_view,
    &vhd_fixed_view,
    NULL,
};
