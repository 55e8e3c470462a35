/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_DRIVER_REGISTRY_H
#define FERRYFS_DRIVER_REGISTRY_H
/* What the parts of driver-install.h share: keys and values by printf's formats, through a plan. */
#include "driver-install.h"

enum { DRIVER_KEY_MAX = 2048 };

/* A change under way: the first error stays and later calls do nothing. */
struct driver_edit {
    struct prepare *p;
    struct driver_guest *g;
    const struct driver_plan *plan;
    unsigned oem;
    char inf[24]; /* "oem3.inf" */
    struct driver_log log;
    const char *reason;
    int err;
};

/* The values go into `key`, made by a format; -ENAMETOOLONG sticks. */
void driver_set(struct driver_edit *e, const char *key, const char *name, uint32_t type, const void *bytes,
                size_t n);
void driver_set_text(struct driver_edit *e, const char *key, const char *name, uint32_t type,
                     const char *text);
/* Texts with a comma between, as a MULTI_SZ. */
void driver_set_list(struct driver_edit *e, const char *key, const char *name, const char *texts);
void driver_set_dword(struct driver_edit *e, const char *key, const char *name, uint32_t v);
/* False, and -ENAMETOOLONG sticks: it doesn't fit. */
bool driver_key(struct driver_edit *e, char ret[DRIVER_KEY_MAX], const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void driver_say(struct driver_edit *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A value's text; owned; NULL: there is none, or it isn't a text. A MULTI_SZ has commas between. */
char *driver_get_text(struct prepare *p, const char *key, const char *name);
bool driver_get_dword(struct prepare *p, const char *key, const char *name, uint32_t *ret);
bool driver_key_exists(struct prepare *p, const char *key);

/* "HKLM\\SYSTEM\\DriverDatabase" and its like in the DRIVERS hive, those that the package belongs to: at
 * most 2.
 */
size_t driver_databases(const struct driver_edit *e, const char *ret[2]);
/* All of the package's services, device ids and database entries. */
void driver_write_registry(struct driver_edit *e);
#endif
