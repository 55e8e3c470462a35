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

/* driver-values-write.c: makes what the lines say, where HKR is the key `hkr`. `set`: the control set for
 * which lines of HKLM are meant, too; what lies in none is written with the first. DRIVER_NO_SET: they
 * aren't; DRIVER_QUIET: nor is said what can't be done, since it was. DRIVER_TEMPLATE: `hkr` is what Windows
 * makes a new device's own key of, and the section is one that it runs then. */
enum { DRIVER_NO_SET = 1000, DRIVER_QUIET, DRIVER_TEMPLATE };
void driver_write_values(struct driver_edit *e, const char *hkr, const struct driver_values *v, unsigned set);

/* driver-installed.c: INF\oemN.inf and a plan of it, where the store's directory has the name that g->store
 * has now. As driver_installed. */
int driver_read_plan(struct prepare *p, const struct driver_guest *g, unsigned oem, struct inf **ret_inf,
                     struct driver_plan **ret_plan);

/* driver-inbox.c: for driver_includes, with a struct driver_inbox as its ctx. */
struct driver_inbox {
    struct prepare *p;
    const struct driver_guest *g;
    const struct driver_package *pkg; /* NULL: it is in the store, */
    bool stored;                      /* in the directory g->store */
};
int driver_inbox_read(void *ctx, const char *name, uint8_t **ret, size_t *ret_n, char **ret_store);

/* driver-keep.c: a file of the package outside of the store, which is there. */
struct driver_placed {
    char *path;      /* owned: Windows', "C:\\Windows\\System32\\drivers\\x.sys" */
    char *host;      /* owned: of `struct prepare` */
    const char *why; /* it stays; NULL: it goes */
};

struct driver_kept {
    struct driver_placed *files; /* owned */
    size_t n;
    bool runs;       /* a service that isn't taken out runs a file of the package, */
    bool runs_store; /* and that in the store */
};

/* What stays of the package's files when the services that the plan leaves must work. Also with an error
 * *ret is to be freed. Without e->plan no file is placed. */
int driver_look_kept(struct driver_edit *e, struct driver_kept *ret);
void driver_kept_done(struct driver_kept *kept);
#endif
