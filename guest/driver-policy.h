/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_DRIVER_POLICY_H
#define FERRYFS_DRIVER_POLICY_H
/* What of a package would keep Windows from taking it, apart from its INF. */
#include "der.h"
#include "driver-registry.h"

/* -EPERM: a DeviceInstall policy of the guest denies it. */
int driver_check_policy(struct prepare *p, const struct driver_plan *plan, struct fault *fault);
/* -ENOEXEC: the file is a program, or should be one by its name, and isn't for the guest's processor. */
int driver_check_program(const struct driver_file *f, const struct driver_package_file *file,
                         enum driver_arch arch, const char *inf, struct fault *fault);
/* Does a catalog's list, which is what is signed of it, name the file's digest (SHA-1 or SHA-256)? */
bool driver_catalog_names(struct der catalog, const struct driver_package_file *file);
/* Does a program have an Authenticode signature of its own? Whether it holds isn't looked at. */
bool driver_has_signature(const struct driver_package_file *file);
/* driver-signature.c: says what is wrong with the signature of the package's catalog (NULL: it isn't there).
 * ret: the list, or all of a catalog that can't be read. -EPERM: the guest doesn't start with such a driver;
 * -ENOMEM. */
int driver_check_signature(struct driver_edit *e, const struct driver_package *pkg,
                           const struct driver_package_file *catalog, struct der *ret, struct fault *fault);
#endif
