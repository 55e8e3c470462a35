/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which files of a package stay when it is taken out. Each source of reasons is gone through once: the
 * package's own files, the services that are left, the other packages. All that it costs has a bound; behind
 * that a file stays. */
#include "driver-registry.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum {
    PIECE = 1 << 20,
    MAX_FILE = 256 << 20,   /* bytes of a file that is compared */
    MAX_COMPARED = 1 << 30, /* of all */
    MAX_LOOKED = 256 << 20, /* bytes of other packages' INFs */
    MAX_SERVICES = 1 << 16, /* that are looked at */
    MAX_SPACES = 16,        /* in an image's path, whose arguments aren't known from it */
    DIR_STORE = 13,
    DIR_SOURCE = 1,
};

#define STORE "System32/DriverStore/FileRepository"

struct keeping {
    struct driver_edit *e;
    struct driver_kept *kept;
    uint64_t compared, looked;
    const char *services; /* key of those that are gone through */
    unsigned n_services;
    uint8_t *a, *b; /* owned: PIECE bytes each */
};

/* ---- the package's own ---- */

static int same_bytes(struct keeping *k, const char *a, const char *b, uint64_t size)
{
    struct prepare *p = k->e->p;
    for (uint64_t at = 0; at < size; at += PIECE) {
        size_t len = size - at < PIECE ? (size_t)(size - at) : PIECE, n = 0, m = 0;
        int r = p->ops->read_at(p, a, k->a, len, at, &n);
        if (!r)
            r = p->ops->read_at(p, b, k->b, len, at, &m);
        if (r)
            return r;
        if (n != len || m != len || memcmp(k->a, k->b, len))
            return 0;
    }
    return 1;
}

/* NULL: it is the package's, as it was put there. */
static const char *why_other(struct keeping *k, const struct driver_file *f, const char *host, uint64_t size)
{
    static const char changed[] = "it isn't the package's any more";
    char stored[2048];
    struct prepare_stat st;
    int n = snprintf(stored, sizeof stored, "%s/" STORE "/%s/%s", k->e->g->dir, k->e->g->store, f->source);
    if (n >= (int)sizeof stored || k->e->p->ops->stat(k->e->p, stored, &st) || st.size != size)
        return changed;
    if (size > MAX_FILE || size > MAX_COMPARED - k->compared)
        return "there is too much to compare";
    k->compared += size;
    return same_bytes(k, host, stored, size) == 1 ? NULL : changed;
}

static int add_placed(struct keeping *k, const struct driver_file *f)
{
    struct driver_placed made = { 0 };
    struct prepare_stat st;
    if (f->dirid == DIR_STORE || f->dirid == DIR_SOURCE || f->store)
        return 0; /* in the store, or Windows' own */
    if (asprintf(&made.path, "%s\\%s", f->dir, f->name) < 0)
        return -ENOMEM;
    if (asprintf(&made.host, "%.1s%s", made.path, made.path + 2) < 0) {
        free(made.path);
        return -ENOMEM;
    }
    for (char *c = made.host; *c; c++)
        *c = *c == '\\' ? '/' : *c;
    if (k->e->p->ops->stat(k->e->p, made.host, &st) || !S_ISREG(st.mode)) {
        free(made.path);
        free(made.host);
        return 0;
    }
    made.why = why_other(k, f, made.host, st.size);
    k->kept->files[k->kept->n++] = made;
    return 0;
}

static int by_path(const void *a, const void *b)
{
    return strcasecmp(((const struct driver_placed *)a)->path, ((const struct driver_placed *)b)->path);
}

static int find_placed(struct keeping *k)
{
    const struct driver_plan *plan = k->e->plan;
    k->kept->files = calloc(plan->n_files + 1, sizeof *k->kept->files);
    int r = k->kept->files ? 0 : -ENOMEM;
    for (size_t i = 0; i < plan->n_files && !r; i++)
        r = add_placed(k, &plan->files[i]);
    if (!r && k->kept->n)
        qsort(k->kept->files, k->kept->n, sizeof *k->kept->files, by_path);
    return r;
}

/* False: no file of the package has this path of Windows. */
static bool keep(struct keeping *k, char *path, const char *why)
{
    struct driver_placed key = { .path = path };
    struct driver_placed *f =
        k->kept->n ? bsearch(&key, k->kept->files, k->kept->n, sizeof key, by_path) : NULL;
    if (f && !f->why)
        f->why = why;
    return f;
}

/* ---- services that are left ---- */

static bool after(const char *text, const char *begin, const char **ret)
{
    size_t n = strlen(begin);
    if (strncasecmp(text, begin, n))
        return false;
    *ret = text + n;
    return true;
}

/* "\\SystemRoot\\System32\\x.sys" and its like as "C:\\Windows\\System32\\x.sys". False: too long. */
static bool full_path(const struct driver_guest *g, const char *image, char *ret, size_t size)
{
    const char *rest = image + (*image == '"');
    after(rest, "\\??\\", &rest);
    bool below = after(rest, "\\SystemRoot\\", &rest) || after(rest, "%SystemRoot%\\", &rest) ||
                 after(rest, "%windir%\\", &rest);
    below = below || !*rest || rest[1] != ':';
    while (below && *rest == '\\')
        rest++;
    int n = snprintf(ret, size, "%s%s%s", below ? g->root : "", below ? "\\" : "", rest);
    if (n < 0 || (size_t)n >= size)
        return false;
    ret[strcspn(ret, "\"")] = 0;
    for (char *c = ret; *c; c++)
        *c = *c == '/' ? '\\' : *c;
    return true;
}

static void keep_image(struct keeping *k, char *path)
{
    static const char why[] = "a service that stays runs it";
    const struct driver_guest *g = k->e->g;
    char store[DRIVER_KEY_MAX];
    int n =
        snprintf(store, sizeof store, "%s\\System32\\DriverStore\\FileRepository\\%s\\", g->root, g->store);
    if (*g->store && !strncasecmp(path, store, (size_t)n))
        k->kept->runs = k->kept->runs_store = true;
    k->kept->runs |= keep(k, path, why);
    char *at = path;
    for (int i = 0; i < MAX_SPACES && (at = strchr(at, ' ')); i++) { /* arguments may follow */
        *at = 0;
        k->kept->runs |= keep(k, path, why);
        *at++ = ' ';
    }
}

/* A driver without an ImagePath is one in the usual place. */
static int look_at_service(void *ctx, const char *name, uint32_t type)
{
    struct keeping *k = ctx;
    struct driver_edit *e = k->e;
    char key[DRIVER_KEY_MAX], path[DRIVER_KEY_MAX];
    uint32_t v;
    (void)type;
    if (++k->n_services > MAX_SERVICES)
        return -EFBIG;
    if (!driver_key(e, key, "%s\\%s", k->services, name))
        return e->err;
    _cleanup_free_ char *image = driver_get_text(e->p, key, "ImagePath");
    bool usual = !image || !*image;
    if (usual && !driver_get_dword(e->p, key, "Type", &v))
        return 0;
    if (usual) {
        free(image);
        image = NULL;
        if (asprintf(&image, "System32\\drivers\\%s.sys", name) < 0)
            image = NULL;
        if (!image)
            return -ENOMEM;
    }
    if (full_path(e->g, image, path, sizeof path))
        keep_image(k, path);
    return 0;
}

static int look_at_services(struct keeping *k)
{
    char key[80];
    int r = 0;
    k->services = key;
    for (unsigned i = 0; i < k->e->g->n_sets && r >= 0; i++) {
        snprintf(key, sizeof key, "HKLM\\SYSTEM\\ControlSet%03u\\Services", k->e->g->sets[i]);
        r = k->e->p->ops->subkeys(k->e->p, key, look_at_service, k);
        r = r == -ENOENT ? 0 : r;
    }
    k->services = NULL;
    return r < 0 ? r : 0;
}

/* ---- other packages ---- */

static int look_at_package(void *ctx, unsigned oem)
{
    struct keeping *k = ctx;
    struct prepare *p = k->e->p;
    struct prepare_stat st;
    struct inf *inf;
    struct driver_plan *plan;
    char path[DRIVER_KEY_MAX];
    if (oem == k->e->oem)
        return 0;
    snprintf(path, sizeof path, "%s/INF/oem%u.inf", k->e->g->dir, oem);
    if (p->ops->stat(p, path, &st))
        return 0;
    if (st.size > MAX_LOOKED - k->looked) {
        for (size_t i = 0; i < k->kept->n; i++)
            if (!k->kept->files[i].why)
                k->kept->files[i].why = "there are too many packages to look through";
        return 1;
    }
    k->looked += st.size;
    int r = driver_read_plan(p, k->e->g, oem, &inf, &plan);
    for (size_t i = 0; plan && i < plan->n_files; i++) {
        const struct driver_file *f = &plan->files[i];
        int n = snprintf(path, sizeof path, "%s\\%s", f->dir, f->name);
        if (n < (int)sizeof path)
            keep(k, path, "another package has it, too");
    }
    driver_plan_free(plan);
    inf_free(inf);
    return r == -ENOMEM ? r : 0;
}

static bool any_goes(const struct driver_kept *kept)
{
    for (size_t i = 0; i < kept->n; i++)
        if (!kept->files[i].why)
            return true;
    return false;
}

int driver_look_kept(struct driver_edit *e, struct driver_kept *ret)
{
    struct keeping k = { .e = e, .kept = ret, .a = malloc(PIECE), .b = malloc(PIECE) };
    int r = !k.a || !k.b ? -ENOMEM : e->plan ? find_placed(&k) : 0;
    if (!r)
        r = look_at_services(&k);
    if (!r && any_goes(ret))
        r = driver_each(e->p, e->g, look_at_package, &k);
    free(k.a);
    free(k.b);
    return r < 0 ? r : 0;
}

void driver_kept_done(struct driver_kept *kept)
{
    for (size_t i = 0; i < kept->n; i++) {
        free(kept->files[i].path);
        free(kept->files[i].host);
    }
    free(kept->files);
    *kept = (struct driver_kept){ 0 };
}
