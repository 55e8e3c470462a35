/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Taking an installed package out.
 *
 * What is taken is what the INF asks for and nobody else does: a service goes when the package is its only
 * owner, a file when it is the package's still, no other package puts one there (driver-keep.c), and no
 * service that stays runs it. Owners are written in pairs by Windows 10: "oem6.inf", and '!' with the name of
 * the package's directory in the store. */
#include "driver-registry.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { MAX_DEPTH = 8 };

#define CATALOGS "System32/CatRoot/{F750E6C3-38EE-11D1-85E5-00C04FC295EE}"
#define STORE    "System32/DriverStore/FileRepository"

static const char *const databases[] = { "HKLM\\SYSTEM\\DriverDatabase", "HKLM\\DRIVERS\\DriverDatabase" };

static void unkey(struct driver_edit *e, const char *key)
{
    if (!e->err)
        e->err = e->p->ops->unkey(e->p, key, e->reason);
}

static void remove_file(struct driver_edit *e, const char *path)
{
    struct prepare_stat st;
    if (!e->err && !e->p->ops->stat(e->p, path, &st))
        e->err = e->p->ops->remove(e->p, path, e->reason);
}

struct tree {
    struct driver_edit *e;
    const char *path;
    unsigned depth;
};

static int remove_entry(void *ctx, const char *name, uint32_t type);

/* What is in it, and then the directory. */
static int remove_tree(struct driver_edit *e, const char *path, unsigned depth)
{
    struct tree t = { e, path, depth };
    int r = depth > MAX_DEPTH ? -ELOOP : e->p->ops->list(e->p, path, remove_entry, &t);
    return r ? r : e->p->ops->rmdir(e->p, path, e->reason);
}

static int remove_entry(void *ctx, const char *name, uint32_t type)
{
    struct tree *t = ctx;
    char path[2048];
    if (!strcmp(name, ".") || !strcmp(name, ".."))
        return 0;
    if (snprintf(path, sizeof path, "%s/%s", t->path, name) >= (int)sizeof path)
        return -ENAMETOOLONG;
    if ((type & S_IFMT) == S_IFDIR)
        return remove_tree(t->e, path, t->depth + 1);
    remove_file(t->e, path);
    return t->e->err;
}

static int count(void *ctx, const char *name, uint32_t type)
{
    (void)name;
    (void)type;
    ++*(unsigned *)ctx;
    return 0;
}

static void forget_id(struct driver_edit *e, const char *base, const char *id)
{
    char key[DRIVER_KEY_MAX];
    uint32_t type;
    uint8_t *bytes = NULL;
    size_t n;
    if (!driver_key(e, key, "%s\\DeviceIds\\%s", base, id))
        return;
    int r = e->p->ops->value(e->p, key, e->inf, &type, &bytes, &n);
    free(bytes);
    if (r == -ENOENT)
        return;
    unsigned values = 0, keys = 0;
    r = e->p->ops->values(e->p, key, count, &values);
    if (r >= 0)
        r = e->p->ops->subkeys(e->p, key, count, &keys);
    if (r < 0)
        e->err = r;
    else if (values == 1 && !keys)
        unkey(e, key);
    else
        e->err = e->p->ops->unset(e->p, key, e->inf, e->reason);
}

static void forget_number(struct driver_edit *e, const char *base)
{
    uint32_t type;
    _cleanup_free_ uint8_t *map = NULL;
    size_t n;
    if (e->err || e->p->ops->value(e->p, base, "OemInfMap", &type, &map, &n) || e->oem / 8 >= n)
        return;
    map[e->oem / 8] &= (uint8_t) ~(0x80 >> e->oem % 8);
    driver_set(e, base, "OemInfMap", type, map, n);
}

static void forget_package(struct driver_edit *e, const char *base)
{
    char key[DRIVER_KEY_MAX];
    for (size_t i = 0; e->plan && i < e->plan->n_models && !e->err; i++) {
        const struct driver_model *m = &e->plan->models[i];
        if (*m->hardware_id)
            forget_id(e, base, m->hardware_id);
        for (unsigned k = 0; k < m->n_compatible; k++)
            if (*m->compatible[k].text)
                forget_id(e, base, m->compatible[k].text);
    }
    if (e->plan)
        forget_id(e, base, e->plan->class_guid);
    if (driver_key(e, key, "%s\\DriverInfFiles\\%s", base, e->inf) && driver_key_exists(e->p, key))
        unkey(e, key);
    if (*e->g->store && driver_key(e, key, "%s\\DriverPackages\\%s", base, e->g->store) &&
        driver_key_exists(e->p, key))
        unkey(e, key);
    forget_number(e, base);
}

static void forget_critical(struct driver_edit *e, unsigned set, const char *id, const char *service)
{
    char key[DRIVER_KEY_MAX];
    if (!*id ||
        !driver_key(e, key, "HKLM\\SYSTEM\\ControlSet%03u\\Control\\CriticalDeviceDatabase\\%s", set, id))
        return;
    for (char *p = key + strlen(key) - strlen(id); *p; p++)
        if (*p == '\\')
            *p = '#';
    _cleanup_free_ char *named = driver_get_text(e->p, key, "Service");
    if (named && !strcasecmp(named, service))
        unkey(e, key);
}

/* Is there a package in that directory of the store? */
static bool has_package(struct driver_edit *e, const char *dir)
{
    char key[DRIVER_KEY_MAX], path[1024];
    struct prepare_stat st;
    for (size_t i = 0; i < 2; i++)
        if (!driver_key(e, key, "%s\\DriverPackages\\%s", databases[i], dir) || driver_key_exists(e->p, key))
            return true;
    return snprintf(path, sizeof path, "%s/" STORE "/%s", e->g->dir, dir) >= (int)sizeof path ||
           e->p->ops->stat(e->p, path, &st) != -ENOENT;
}

/* Owners by their directory may be an earlier version of the package, which a later one took the place of:
 * "!vmmouse.inf_amd64_31990a165ac530d5" in a Windows whose only one is ..._916101d3748847e7. */
static bool is_own(struct driver_edit *e, const char *owner)
{
    const char *end = strcasestr(e->g->store, ".inf_");
    if (!strcasecmp(owner, e->inf))
        return true;
    if (*owner != '!' || !end)
        return false;
    if (!strcasecmp(owner + 1, e->g->store))
        return true;
    size_t n = (size_t)(end - e->g->store) + 5; /* with the ".inf_" */
    return !strncasecmp(owner + 1, e->g->store, n) && !strpbrk(owner, "\\/") && !has_package(e, owner + 1);
}

/* Takes those from the list, with commas between, that are this package. False: none is. */
static bool drop_own(struct driver_edit *e, char *owners)
{
    bool found = false;
    char *to = owners, *rest = owners;
    for (char *one; (one = strsep(&rest, ","));) {
        size_t n = strlen(one);
        bool own = n && is_own(e, one);
        found |= own;
        if (own || !n)
            continue;
        if (to != owners)
            *to++ = ',';
        memmove(to, one, n); /* never behind the one */
        to += n;
    }
    *to = 0;
    return found;
}

static void forget_service(struct driver_edit *e, unsigned set, const struct driver_service *s)
{
    char key[DRIVER_KEY_MAX];
    if (!driver_key(e, key, "HKLM\\SYSTEM\\ControlSet%03u\\Services\\%s", set, s->name))
        return;
    _cleanup_free_ char *owners = driver_get_text(e->p, key, "Owners");
    if (!owners || !drop_own(e, owners))
        return;
    if (*owners) {
        driver_say(e, "%s: the service %s stays: it is of %s, too", e->inf, s->name, owners);
        driver_set_list(e, key, "Owners", owners);
        return;
    }
    unkey(e, key);
    if (s->log_name &&
        driver_key(e, key, "HKLM\\SYSTEM\\ControlSet%03u\\Services\\EventLog\\%s\\%s", set, s->log_type,
                   s->log_name) &&
        driver_key_exists(e->p, key))
        unkey(e, key);
    for (size_t i = 0; i < e->plan->n_models; i++) {
        const struct driver_model *m = &e->plan->models[i];
        const char *named = e->plan->installs[m->install].service;
        if (!named || strcasecmp(named, s->name))
            continue;
        forget_critical(e, set, m->hardware_id, s->name);
        for (unsigned k = 0; k < m->n_compatible; k++)
            forget_critical(e, set, m->compatible[k].text, s->name);
    }
}

static void forget_files(struct driver_edit *e, const struct driver_kept *kept)
{
    for (size_t i = 0; i < kept->n; i++) {
        const struct driver_placed *f = &kept->files[i];
        if (f->why)
            driver_say(e, "%s: %s stays: %s", e->inf, f->path, f->why);
        else
            remove_file(e, f->host);
    }
}

/* What is in the store, and the catalog: Windows checks what stays with it. */
static void forget_store(struct driver_edit *e, const struct driver_kept *kept)
{
    char path[1024];
    if (kept->runs || !e->plan) {
        driver_say(e, "%s: its catalog stays, for the services that stay", e->inf);
    } else {
        snprintf(path, sizeof path, "%s/" CATALOGS "/oem%u.cat", e->g->dir, e->oem);
        remove_file(e, path);
    }
    if (kept->runs_store)
        driver_say(e, "%s: %s stays in the store: a service that stays runs a file in it", e->inf,
                   e->g->store);
    if (!*e->g->store || kept->runs_store || e->err)
        return;
    snprintf(path, sizeof path, "%s/" STORE "/%s", e->g->dir, e->g->store);
    int r = remove_tree(e, path, 0);
    if (r && r != -ENOENT && !e->err)
        e->err = r;
}

static void take_out(struct driver_edit *e)
{
    char path[1024];
    struct driver_kept kept = { 0 };
    for (size_t i = 0; e->plan && i < e->plan->n_services; i++)
        for (unsigned s = 0; s < e->g->n_sets; s++)
            forget_service(e, e->g->sets[s], &e->plan->services[i]);
    if (!e->err)
        e->err = driver_look_kept(e, &kept);
    if (!e->err)
        forget_files(e, &kept);
    if (e->g->has_database)
        forget_package(e, databases[0]);
    if (e->g->has_drivers_hive)
        forget_package(e, databases[1]);
    snprintf(path, sizeof path, "%s/INF/oem%u.pnf", e->g->dir, e->oem); /* Windows' cache of it */
    remove_file(e, path);
    forget_store(e, &kept);
    driver_kept_done(&kept);
    snprintf(path, sizeof path, "%s/INF/%s", e->g->dir, e->inf);
    remove_file(e, path);
}

int driver_uninstall(struct prepare *p, struct driver_guest *g, unsigned oem, struct driver_log log,
                     struct fault *fault)
{
    _cleanup_(inf_freep) struct inf *inf = NULL;
    _cleanup_(driver_plan_freep) struct driver_plan *plan = NULL;
    struct fault why = { 0 };
    int r = driver_installed(p, g, oem, &inf, &plan, &why);
    if (r == -ENOENT || r == -ENOMEM)
        return fault_in(fault, r, why.file, "%s", why.what);
    struct driver_edit e = {
        .p = p, .g = g, .plan = plan, .oem = oem, .log = log, .reason = "driver taken out"
    };
    snprintf(e.inf, sizeof e.inf, "oem%u.inf", oem);
    if (!plan)
        driver_say(&e, "%s: %s; its services stay", e.inf, why.what);
    take_out(&e);
    if (e.err)
        return fault_in(fault, e.err, e.inf, "it can't be taken out: %s", strerror(-e.err));
    driver_say(&e, "%s: taken out", e.inf);
    return 0;
}
