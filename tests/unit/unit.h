/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_TESTS_UNIT_H
#define FERRYFS_TESTS_UNIT_H
/* What every unit test includes: cmocka with its prerequisites, in the order it wants. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#endif
