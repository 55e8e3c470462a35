/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_DRIVER_INSTALL_H
#define FERRYFS_DRIVER_INSTALL_H
/* Driver packages of a Windows guest: putting one into its driver store and its registry as DISM /Add-Driver
 * does offline, finding those that are there, and taking one out. All of it is said to a `struct prepare`, so
 * nothing is changed here. Paths, keys and errors as there. */
#include "driver-plan.h"
#include "prepare.h"

enum { DRIVER_NAME_MAX = 300 }; /* of a directory in the store, with its NUL */

/* What the guest is, as far as drivers care. */
struct driver_guest {
    struct driver_target target; /* its texts lie below */
    char dir[128];               /* "C/Windows" */
    char root[128];              /* "C:\\Windows" */
    char store[DRIVER_NAME_MAX]; /* of the package at work */
    unsigned n_sets, sets[16];   /* ControlSet00N */
    bool has_database;           /* HKLM\SYSTEM\DriverDatabase: Windows 8 and later */
    bool has_drivers_hive;       /* HKLM\DRIVERS\DriverDatabase */
};

/* `dir`: "C/Windows". -ENOTSUP: its registry doesn't say what it is. */
int driver_guest_look(struct prepare *p, const char *dir, struct driver_guest *ret, struct fault *fault);

/* A package that isn't in the guest yet: its files, by path below its directory, with slashes. */
struct driver_package_file {
    const char *path;
    const uint8_t *bytes;
    size_t n;
};
struct driver_package {
    const struct driver_package_file *files;
    size_t n;
};
/* Without case; NULL: there is none. */
const struct driver_package_file *driver_package_find(const struct driver_package *pkg, const char *path);

/* Lines for people, one after the other. */
struct driver_log {
    void (*say)(void *ctx, const char *line);
    void *ctx;
};

/* Plans to install the INF of the package. ret_oem: the number that it gets. -EBADMSG: the INF is bad;
 * -ENOENT: a file is missing in the package; -ENOEXEC: not for this guest; -EPERM: a policy of the guest
 * forbids it; -EEXIST: it is there already. The fault gives file and line. Where half of it is planned when
 * it fails, the plan is blocked. */
int driver_install(struct prepare *p, struct driver_guest *g, const struct driver_package *pkg,
                   const struct driver_package_file *inf, struct driver_log log, unsigned *ret_oem,
                   struct fault *fault);

/* Calls fn for the number of each INF\oemN.inf, in no order; nonzero ends it and is returned. */
int driver_each(struct prepare *p, const struct driver_guest *g, int (*fn)(void *ctx, unsigned oem),
                void *ctx);
/* Reads INF\oemN.inf and plans it for the guest; g->store becomes the name of its directory in the store (""
 * if none is found). -ENOEXEC and others as driver_plan: then *ret_inf may be there without a plan. */
int driver_installed(struct prepare *p, struct driver_guest *g, unsigned oem, struct inf **ret_inf,
                     struct driver_plan **ret_plan, struct fault *fault);
/* Only that name: the INF is read where the registry doesn't say it, and not parsed. -ENOENT: there is no
 * INF. */
int driver_find_store(struct prepare *p, struct driver_guest *g, unsigned oem);
/* Plans to take oemN.inf out, leaving what other packages use. -ENOENT: there is none. */
int driver_uninstall(struct prepare *p, struct driver_guest *g, unsigned oem, struct driver_log log,
                     struct fault *fault);
#endif
