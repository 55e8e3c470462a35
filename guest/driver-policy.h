/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_DRIVER_POLICY_H
#define FERRYFS_DRIVER_POLICY_H
/* What of a package would keep Windows from taking it, apart from its INF. */
#include "driver-registry.h"

/* -EPERM: a DeviceInstall policy of the guest denies it. */
int driver_check_policy(struct prepare *p, const struct driver_plan *plan, struct fault *fault);
/* -ENOEXEC: the file is a program, or should be one by its name, and isn't for the guest's processor. */
int driver_check_program(const struct driver_file *f, const struct driver_package_file *file,
                         enum driver_arch arch, const char *inf, struct fault *fault);
/* Does the catalog name the file's digest (SHA-1 or SHA-256)? Nothing is said of its signature. */
bool driver_catalog_names(const struct driver_package_file *catalog, const struct driver_package_file *file);
#endif
