/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The third-party packages that a guest has, by its INF\oemN.inf, and taking one out.
 *
 * What is taken is what the INF asks for and nobody else does: a service goes when no other INF is among its
 * Owners, a file when it is the package's still and no other package puts one there. */
#include "driver-registry.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { MAX_FILE = 256 << 20, MAX_DEPTH = 8, MAX_PACKAGES = 10000 };

#define CATALOGS "System32/CatRoot/{F750E6C3-38EE-11D1-85E5-00C04FC295EE}"
#define STORE    "System32/DriverStore/FileRepository"

static const char *const databases[] = { "HKLM\\SYSTEM\\DriverDatabase", "HKLM\\DRIVERS\\DriverDatabase" };

/* ---- finding ---- */

struct each {
    unsigned *oems; /* owned */
    size_t n;
};

static int add_oem(void *ctx, const char *name, uint32_t type)
{
    struct each *e = ctx;
    unsigned oem;
    int used = 0;
    if (strncasecmp(name, "oem", 3) || name[3] < '0' || name[3] > '9' ||
        sscanf(name + 3, "%5u%n", &oem, &used) != 1 || strcasecmp(name + 3 + used, ".inf") ||
        (type & S_IFMT) != S_IFREG || e->n == MAX_PACKAGES)
        return 0;
    if (!(e->n & (e->n - 1)) || !e->n) {
        void *grown = realloc(e->oems, (e->n ? 2 * e->n : 1) * sizeof *e->oems);
        if (!grown)
            return -ENOMEM;
        e->oems = grown;
    }
    e->oems[e->n++] = oem;
    return 0;
}

int driver_each(struct prepare *p, const struct driver_guest *g, int (*fn)(void *ctx, unsigned oem),
                void *ctx)
{
    char path[200];
    struct each e = { 0 };
    snprintf(path, sizeof path, "%s/INF", g->dir);
    int r = p->ops->list(p, path, add_oem, &e);
    if (r == -ENOENT)
        r = 0;
    for (size_t i = 0; i < e.n && !r; i++)
        r = fn(ctx, e.oems[i]);
    free(e.oems);
    return r;
}

/* Which directory of the store has this INF, where no registry says it: Windows 7. */
struct search {
    struct prepare *p;
    struct driver_guest *g;
    const uint8_t *inf;
    size_t n;
};

static int compare(void *ctx, const char *name, uint32_t type)
{
    struct search *s = ctx;
    char path[1024];
    struct prepare_stat st;
    _cleanup_free_ uint8_t *bytes = NULL;
    size_t n;
    const char *end = strcasestr(name, ".inf_");
    if ((type & S_IFMT) != S_IFDIR || !end || strlen(name) >= sizeof s->g->store)
        return 0;
    int len =
        snprintf(path, sizeof path, "%s/" STORE "/%s/%.*s", s->g->dir, name, (int)(end - name + 4), name);
    if (len >= (int)sizeof path || s->p->ops->stat(s->p, path, &st) || st.size != s->n ||
        s->p->ops->read(s->p, path, s->n, &bytes, &n) || n != s->n || memcmp(bytes, s->inf, n))
        return 0;
    snprintf(s->g->store, sizeof s->g->store, "%s", name);
    return 1;
}

static void find_store(struct prepare *p, struct driver_guest *g, unsigned oem, const uint8_t *inf, size_t n)
{
    char key[200], path[300];
    g->store[0] = 0;
    for (size_t i = 0; i < 2; i++) {
        snprintf(key, sizeof key, "%s\\DriverInfFiles\\oem%u.inf", databases[i], oem);
        _cleanup_free_ char *active = driver_get_text(p, key, "Active");
        if (active && *active && strlen(active) < sizeof g->store && !strpbrk(active, "\\/") &&
            *active != '.') {
            snprintf(g->store, sizeof g->store, "%s", active);
            return;
        }
    }
    struct search s = { p, g, inf, n };
    snprintf(path, sizeof path, "%s/" STORE, g->dir);
    p->ops->list(p, path, compare, &s);
}

int driver_installed(struct prepare *p, struct driver_guest *g, unsigned oem, struct inf **ret_inf,
                     struct driver_plan **ret_plan, struct fault *fault)
{
    char path[200], name[24];
    _cleanup_free_ uint8_t *bytes = NULL;
    size_t n;
    *ret_inf = NULL;
    *ret_plan = NULL;
    snprintf(name, sizeof name, "oem%u.inf", oem);
    snprintf(path, sizeof path, "%s/INF/%s", g->dir, name);
    int r = p->ops->read(p, path, INF_MAX_SIZE, &bytes, &n);
    if (r)
        return fault_in(fault, r, name, "can't be read");
    find_store(p, g, oem, bytes, n);
    r = inf_parse(bytes, n, name, INF_ENGLISH, ret_inf, fault);
    return r ? r : driver_plan(*ret_inf, &g->target, ret_plan, fault);
}

/* ---- taking out ---- */

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

/* What the list has but for one; false: that one isn't in it. */
static bool without(const char *list, const char *one, char *ret, size_t size)
{
    bool found = false;
    size_t n = 0, len;
    ret[0] = 0;
    for (const char *p = list; *p; p += len + (p[len] != 0)) {
        len = strcspn(p, ",");
        if (len == strlen(one) && !strncasecmp(p, one, len)) {
            found = true;
        } else if (len && n + len + 2 < size) {
            n += (size_t)snprintf(ret + n, size - n, "%s%.*s", n ? "," : "", (int)len, p);
        }
    }
    return found;
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

static void forget_service(struct driver_edit *e, unsigned set, const struct driver_service *s)
{
    char key[DRIVER_KEY_MAX], rest[DRIVER_KEY_MAX];
    if (!driver_key(e, key, "HKLM\\SYSTEM\\ControlSet%03u\\Services\\%s", set, s->name))
        return;
    _cleanup_free_ char *owners = driver_get_text(e->p, key, "Owners");
    if (!owners || !without(owners, e->inf, rest, sizeof rest))
        return;
    if (*rest) {
        driver_say(e, "%s: the service %s stays: it is of %s, too", e->inf, s->name, rest);
        driver_set_list(e, key, "Owners", rest);
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

/* Does another package put a file there? */
struct others {
    struct driver_edit *e;
    const struct driver_file *file;
};

static int wants(void *ctx, unsigned oem)
{
    struct others *o = ctx;
    struct inf *inf;
    struct driver_plan *plan;
    struct driver_guest g = *o->e->g;
    int found = 0;
    if (oem == o->e->oem)
        return 0;
    g.target.root = g.root;
    g.target.store = g.store;
    driver_installed(o->e->p, &g, oem, &inf, &plan, NULL);
    for (size_t i = 0; plan && i < plan->n_files; i++)
        found |=
            !strcasecmp(plan->files[i].dir, o->file->dir) && !strcasecmp(plan->files[i].name, o->file->name);
    driver_plan_free(plan);
    inf_free(inf);
    return found;
}

static void forget_file(struct driver_edit *e, const struct driver_file *f)
{
    char path[2048], stored[2048];
    _cleanup_free_ uint8_t *a = NULL, *b = NULL;
    size_t n, m;
    struct others others = { e, f };
    if (e->err || f->dirid == 13 || f->dirid == 1)
        return;
    snprintf(path, sizeof path, "%.1s%s/%s", f->dir, f->dir + 2, f->name);
    for (char *c = path; *c; c++)
        *c = *c == '\\' ? '/' : *c;
    snprintf(stored, sizeof stored, "%s/" STORE "/%s/%s", e->g->dir, e->g->store, f->source);
    if (e->p->ops->read(e->p, path, MAX_FILE, &a, &n) || e->p->ops->read(e->p, stored, MAX_FILE, &b, &m))
        return;
    if (n != m || memcmp(a, b, n))
        driver_say(e, "%s: %s stays: it isn't the package's any more", e->inf, path);
    else if (driver_each(e->p, e->g, wants, &others) == 1)
        driver_say(e, "%s: %s stays: another package has it, too", e->inf, path);
    else
        remove_file(e, path);
}

static void take_out(struct driver_edit *e)
{
    char path[1024];
    for (size_t i = 0; e->plan && i < e->plan->n_services; i++)
        for (unsigned s = 0; s < e->g->n_sets; s++)
            forget_service(e, e->g->sets[s], &e->plan->services[i]);
    for (size_t i = 0; e->plan && i < e->plan->n_files; i++)
        forget_file(e, &e->plan->files[i]);
    if (e->g->has_database)
        forget_package(e, databases[0]);
    if (e->g->has_drivers_hive)
        forget_package(e, databases[1]);
    snprintf(path, sizeof path, "%s/INF/oem%u.pnf", e->g->dir, e->oem); /* Windows' cache of it */
    remove_file(e, path);
    snprintf(path, sizeof path, "%s/" CATALOGS "/oem%u.cat", e->g->dir, e->oem);
    remove_file(e, path);
    if (*e->g->store) {
        snprintf(path, sizeof path, "%s/" STORE "/%s", e->g->dir, e->g->store);
        int r = e->err ? 0 : remove_tree(e, path, 0);
        if (r && r != -ENOENT)
            e->err = e->err ? e->err : r;
    }
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
