/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The third-party packages that a guest has, by its INF\oemN.inf. */
#include "driver-registry.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { MAX_PACKAGES = 10000 };

#define STORE "System32/DriverStore/FileRepository"

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

static bool store_by_registry(struct prepare *p, struct driver_guest *g, unsigned oem)
{
    char key[200];
    for (size_t i = 0; i < 2; i++) {
        snprintf(key, sizeof key, "%s\\DriverInfFiles\\oem%u.inf", databases[i], oem);
        _cleanup_free_ char *active = driver_get_text(p, key, "Active");
        if (active && *active && strlen(active) < sizeof g->store && !strpbrk(active, "\\/") &&
            *active != '.') {
            snprintf(g->store, sizeof g->store, "%s", active);
            return true;
        }
    }
    return false;
}

static void store_by_bytes(struct prepare *p, struct driver_guest *g, const uint8_t *inf, size_t n)
{
    struct search s = { p, g, inf, n };
    char path[300];
    snprintf(path, sizeof path, "%s/" STORE, g->dir);
    p->ops->list(p, path, compare, &s);
}

static int read_inf(struct prepare *p, const struct driver_guest *g, unsigned oem, uint8_t **ret,
                    size_t *ret_n, struct fault *fault)
{
    char path[200], name[24];
    snprintf(name, sizeof name, "oem%u.inf", oem);
    snprintf(path, sizeof path, "%s/INF/%s", g->dir, name);
    int r = p->ops->read(p, path, INF_MAX_SIZE, ret, ret_n);
    return r ? fault_in(fault, r, name, "can't be read") : 0;
}

int driver_find_store(struct prepare *p, struct driver_guest *g, unsigned oem)
{
    _cleanup_free_ uint8_t *bytes = NULL;
    size_t n;
    g->store[0] = 0;
    if (store_by_registry(p, g, oem))
        return 0;
    int r = read_inf(p, g, oem, &bytes, &n, NULL);
    if (!r)
        store_by_bytes(p, g, bytes, n);
    return r;
}

/* `stored`: g->store is the package's. */
static int plan_bytes(struct prepare *p, const uint8_t *bytes, size_t n, const struct driver_guest *g,
                      unsigned oem, bool stored, struct inf **ret_inf, struct driver_plan **ret_plan,
                      struct fault *fault)
{
    struct driver_inbox inbox = { p, g, NULL, stored && *g->store };
    const struct driver_includes from = { driver_inbox_read, &inbox };
    char name[24];
    snprintf(name, sizeof name, "oem%u.inf", oem);
    int r = inf_parse(bytes, n, name, INF_ENGLISH, ret_inf, fault);
    return r ? r : driver_plan(*ret_inf, &g->target, &from, ret_plan, fault);
}

int driver_installed(struct prepare *p, struct driver_guest *g, unsigned oem, struct inf **ret_inf,
                     struct driver_plan **ret_plan, struct fault *fault)
{
    _cleanup_free_ uint8_t *bytes = NULL;
    size_t n;
    *ret_inf = NULL;
    *ret_plan = NULL;
    g->store[0] = 0;
    int r = read_inf(p, g, oem, &bytes, &n, fault);
    if (r)
        return r;
    if (!store_by_registry(p, g, oem))
        store_by_bytes(p, g, bytes, n);
    return plan_bytes(p, bytes, n, g, oem, true, ret_inf, ret_plan, fault);
}

int driver_read_plan(struct prepare *p, const struct driver_guest *g, unsigned oem, struct inf **ret_inf,
                     struct driver_plan **ret_plan)
{
    _cleanup_free_ uint8_t *bytes = NULL;
    size_t n;
    *ret_inf = NULL;
    *ret_plan = NULL;
    int r = read_inf(p, g, oem, &bytes, &n, NULL);
    return r ? r : plan_bytes(p, bytes, n, g, oem, false, ret_inf, ret_plan, NULL);
}
