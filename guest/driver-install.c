/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A driver package into a guest, as DISM /Add-Driver does it to a system that isn't running:
 *
 *     System32\DriverStore\FileRepository\viostor.inf_amd64_0123456789abcdef\   the package's files
 *     INF\oem3.inf                                                             its INF
 *     System32\CatRoot\{F750E6C3-...}\oem3.cat                                 its catalog
 *     the files of a driver that the system may start from, in their places
 *     the registry (driver-registry.c)
 *
 * How Windows makes the digits of the store's name isn't published; any that are unique do, since the
 * registry says the name. Ours come from the INF's and the catalog's bytes, so that the same package gets the
 * same. Drivers that the system doesn't start from are installed by Windows from its store when it sees their
 * device: their services are made then. */
#include "driver-policy.h"

#include "../formats/hash.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { MAX_OEM = 9999, FILE_MODE = 0644, DIR_MODE = 0755, MAX_RENAMED = 64 << 20 };
enum { CHECKED = 1, STORED = 2 }; /* what was done with a file of the package */

#define CATALOGS "System32/CatRoot/{F750E6C3-38EE-11D1-85E5-00C04FC295EE}"

const struct driver_package_file *driver_package_find(const struct driver_package *pkg, const char *path)
{
    for (size_t i = 0; i < pkg->n; i++)
        if (!strcasecmp(pkg->files[i].path, path))
            return &pkg->files[i];
    return NULL;
}

/* The name after the last slash. */
static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* "C:\Windows\INF" as guest/ has it, "C/Windows/INF". */
static bool host_path(const char *dir, const char *name, char *ret, size_t size)
{
    int n = snprintf(ret, size, "%.1s%s/%s", dir, dir + 2, name);
    for (char *p = ret; *p; p++)
        if (*p == '\\')
            *p = '/';
    return n > 0 && (size_t)n < size;
}

/* ---- what must hold ---- */

struct check {
    struct driver_edit *e;
    const struct driver_package *pkg;
    const struct driver_package_file *inf;
    const struct driver_package_file *catalog; /* NULL: none */
    struct der list;                           /* what is signed of it */
    uint8_t *done;                             /* of each file of the package: CHECKED, STORED; owned */
    struct fault *fault;
};

/* Several lines of an INF may name one source. True: it was done before. */
static bool done_before(struct check *c, const struct driver_package_file *file, uint8_t what)
{
    uint8_t *done = &c->done[file - c->pkg->files];
    bool before = *done & what;
    *done |= what;
    return before;
}

/* Where hives are. Windows keeps a registry that is in use; nobody else would. */
static bool is_registry(const struct driver_edit *e, const char *dir)
{
    char config[300];
    size_t n = (size_t)snprintf(config, sizeof config, "%s\\System32\\config", e->g->root);
    return n < sizeof config && !strncasecmp(dir, config, n) && (!dir[n] || strchr("\\/", dir[n]));
}

/* A file that is named as source, or compressed as Microsoft's old tools did, which we can't unpack. */
static int check_file(struct check *c, const struct driver_file *f)
{
    const char *inf = inf_name(f->inf);
    if (is_registry(c->e, f->dir))
        return fault_in(c->fault, -EUCLEAN, inf, "line %u: %s would go to where the registry is", f->line,
                        f->name);
    if (f->store)
        return 0;
    const struct driver_package_file *file = driver_package_find(c->pkg, f->source);
    if (!file)
        return fault_in(c->fault, -ENOENT, inf, "line %u: %s is not in the package", f->line, f->source);
    if (done_before(c, file, CHECKED))
        return 0;
    if (c->catalog && !driver_catalog_names(c->list, file))
        driver_say(c->e, "%s: line %u: warning: the catalog %s does not have the digest of %s", inf, f->line,
                   c->e->plan->catalog, f->source);
    return driver_check_program(f, file, c->e->g->target.arch, inf, c->fault);
}

static int check_package(struct check *c)
{
    const struct driver_plan *plan = c->e->plan;
    const char *inf = inf_name(plan->inf);
    c->catalog = plan->catalog ? driver_package_find(c->pkg, plan->catalog) : NULL;
    int r = driver_check_signature(c->e, c->pkg, c->catalog, &c->list, c->fault);
    if (r)
        return r;
    if (c->catalog && !driver_catalog_names(c->list, c->inf))
        driver_say(c->e, "%s: line %u: warning: the catalog %s does not match the INF", inf,
                   plan->catalog_line, plan->catalog);
    for (size_t i = 0; i < plan->n_files; i++) {
        r = check_file(c, &plan->files[i]);
        if (r)
            return r;
    }
    return driver_check_policy(c->e->p, plan, c->fault);
}

/* ---- its names ---- */

struct same {
    struct driver_edit *e;
    const struct driver_package_file *inf;
    int found; /* the number of an oemN.inf with the same bytes; -1: none */
};

static int compare(void *ctx, unsigned oem)
{
    struct same *s = ctx;
    char path[256];
    struct prepare *p = s->e->p;
    struct prepare_stat st;
    _cleanup_free_ uint8_t *bytes = NULL;
    size_t n;
    snprintf(path, sizeof path, "%s/INF/oem%u.inf", s->e->g->dir, oem);
    if (p->ops->stat(p, path, &st) || st.size != s->inf->n)
        return 0;
    int r = p->ops->read(p, path, s->inf->n, &bytes, &n);
    if (r)
        return r == -ENOMEM ? r : 0;
    if (n != s->inf->n || memcmp(bytes, s->inf->bytes, n))
        return 0;
    s->found = (int)oem;
    return 1;
}

/* Is the number in OemInfMap, the DriverInfFiles of that database? */
static bool number_taken(struct driver_edit *e, const char *hive)
{
    char base[64], key[128];
    uint32_t type;
    _cleanup_free_ uint8_t *map = NULL;
    size_t n;
    snprintf(base, sizeof base, "%s\\DriverDatabase", hive);
    snprintf(key, sizeof key, "%s\\DriverInfFiles\\%s", base, e->inf);
    if (driver_key_exists(e->p, key))
        return true;
    return !e->p->ops->value(e->p, base, "OemInfMap", &type, &map, &n) && e->oem / 8 < n &&
           map[e->oem / 8] & 0x80 >> e->oem % 8;
}

/* The lowest number that neither a file nor the registry has. */
static int free_number(struct driver_edit *e)
{
    for (e->oem = 0; e->oem <= MAX_OEM; e->oem++) {
        char path[256];
        struct prepare_stat st;
        snprintf(e->inf, sizeof e->inf, "oem%u.inf", e->oem);
        snprintf(path, sizeof path, "%s/INF/%s", e->g->dir, e->inf);
        int r = e->p->ops->stat(e->p, path, &st);
        if (r && r != -ENOENT)
            return r;
        if (r == -ENOENT && !number_taken(e, "HKLM\\SYSTEM") && !number_taken(e, "HKLM\\DRIVERS"))
            return 0;
    }
    return -ENOSPC;
}

static int store_name(struct driver_guest *g, const struct driver_package_file *inf,
                      const struct driver_package_file *catalog)
{
    struct digest *d;
    char hex[DIGEST_HEX_MAX];
    int r = digest_new("SHA256", &d);
    if (r)
        return r;
    digest_update(d, inf->bytes, inf->n);
    if (catalog)
        digest_update(d, catalog->bytes, catalog->n);
    digest_final(d, hex);
    digest_free(d);
    bool neutral = g->target.major < 6 || (g->target.major == 6 && g->target.minor < 2);
    int n = snprintf(g->store, sizeof g->store, "%s_%s_%s%.16s", base_name(inf->path),
                     driver_arch_name(g->target.arch), neutral ? "neutral_" : "", hex);
    for (char *c = g->store; *c; c++)
        *c = *c >= 'A' && *c <= 'Z' ? (char)(*c + 32) : *c;
    return n < (int)sizeof g->store && n <= 255 ? 0 : -ENAMETOOLONG;
}

/* ---- files ---- */

static void write_file(struct driver_edit *e, const char *path, const struct driver_package_file *file)
{
    if (!e->err)
        e->err = e->p->ops->file(e->p, path, file->bytes, file->n, FILE_MODE, e->reason);
}

/* The directories on the way to `path` that aren't there, below the first `from` bytes. */
static void make_dirs(struct driver_edit *e, const char *path, size_t from)
{
    char dir[2048];
    struct prepare_stat st;
    if ((size_t)snprintf(dir, sizeof dir, "%s", path) >= sizeof dir) {
        e->err = e->err ? e->err : -ENAMETOOLONG;
        return;
    }
    for (char *p = strchr(dir + from, '/'); p && !e->err; p = strchr(p + 1, '/')) {
        *p = 0;
        if (e->p->ops->stat(e->p, dir, &st))
            e->err = e->p->ops->mkdir(e->p, dir, DIR_MODE, e->reason);
        *p = '/';
    }
}

static void write_stored(struct driver_edit *e, const char *name, const struct driver_package_file *file)
{
    char path[2048];
    int n = snprintf(path, sizeof path, "%s/System32/DriverStore/FileRepository/%s/%s", e->g->dir,
                     e->g->store, name);
    if (n < 0 || n >= (int)sizeof path)
        e->err = e->err ? e->err : -ENAMETOOLONG;
    make_dirs(e, path, strlen(e->g->dir) + 1);
    write_file(e, path, file);
}

static void write_placed(struct driver_edit *e, const struct driver_file *f,
                         const struct driver_package_file *file)
{
    char path[2048];
    struct prepare_stat st;
    if (f->dirid == 13 || f->dirid == 1)
        return; /* run from the store */
    if (!host_path(f->dir, f->name, path, sizeof path)) {
        e->err = e->err ? e->err : -ENAMETOOLONG;
        return;
    }
    bool there = !e->p->ops->stat(e->p, path, &st);
    if ((f->no_overwrite && there) || (f->replace_only && !there))
        return;
    make_dirs(e, path, 2);
    write_file(e, path, file);
}

/* What an in-box INF copies is in its place already, as a rule; else it is taken from that INF's own package.
 */
static void write_inbox(struct driver_edit *e, const struct driver_file *f)
{
    char path[2048], stored[2048];
    struct prepare_stat st;
    _cleanup_free_ uint8_t *bytes = NULL;
    size_t n;
    if (e->err || f->dirid == 13 || f->dirid == 1)
        return;
    if (!host_path(f->dir, f->name, path, sizeof path) ||
        snprintf(stored, sizeof stored, "%s/System32/DriverStore/FileRepository/%s/%s", e->g->dir, f->store,
                 f->source) >= (int)sizeof stored) {
        e->err = -ENAMETOOLONG;
        return;
    }
    int r = e->p->ops->stat(e->p, path, &st);
    if (!r)
        return;
    if (r == -ENOENT)
        r = *f->store ? e->p->ops->read(e->p, stored, MAX_RENAMED, &bytes, &n) : r;
    if (r == -ENOENT || r == -EFBIG) {
        driver_say(e, "%s: line %u: %s\\%s is left to Windows: its package isn't in the guest",
                   inf_name(f->inf), f->line, f->dir, f->name);
        return;
    }
    e->err = r;
    make_dirs(e, path, 2);
    if (!e->err)
        e->err = e->p->ops->file(e->p, path, bytes, n, FILE_MODE, e->reason);
}

/* Does the package itself put a file there? */
static bool is_copied(const struct driver_plan *plan, const char *dir, const char *name)
{
    for (size_t i = 0; i < plan->n_files; i++)
        if (!strcasecmp(plan->files[i].dir, dir) && !strcasecmp(plan->files[i].name, name))
            return true;
    return false;
}

/* As under its new name. What has that name already stays, as it does in Windows. */
static void rename_old(struct driver_edit *e, const struct driver_old_file *f, const char *path,
                       uint64_t size)
{
    char to[2048];
    struct prepare_stat st;
    _cleanup_free_ uint8_t *bytes = NULL;
    size_t n;
    if (!host_path(f->dir, f->to, to, sizeof to)) {
        e->err = e->err ? e->err : -ENAMETOOLONG;
    } else if (size > MAX_RENAMED || !e->p->ops->stat(e->p, to, &st)) {
        driver_say(e, "%s: line %u: %s\\%s is not renamed: %s", inf_name(f->inf), f->line, f->dir, f->name,
                   size > MAX_RENAMED ? "it is too large" : "its new name is taken");
    } else {
        e->err = e->p->ops->read(e->p, path, MAX_RENAMED, &bytes, &n);
        if (!e->err)
            e->err = e->p->ops->file(e->p, to, bytes, n, FILE_MODE, e->reason);
        if (!e->err && !is_copied(e->plan, f->dir, f->name))
            e->err = e->p->ops->remove(e->p, path, e->reason);
    }
}

/* DelFiles and RenFiles. What the package copies is written over as it is. */
static void remove_old(struct driver_edit *e, const struct driver_old_file *f)
{
    char path[2048];
    struct prepare_stat st;
    if (!host_path(f->dir, f->name, path, sizeof path))
        e->err = e->err ? e->err : -ENAMETOOLONG;
    if (e->err || e->p->ops->stat(e->p, path, &st) || !S_ISREG(st.mode))
        return;
    if (is_registry(e, f->dir))
        driver_say(e, "%s: line %u: %s\\%s stays: it may be of the registry", inf_name(f->inf), f->line,
                   f->dir, f->name);
    else if (f->to)
        rename_old(e, f, path, st.size);
    else if (!is_copied(e->plan, f->dir, f->name))
        e->err = e->p->ops->remove(e->p, path, e->reason);
}

static void write_files(struct check *c)
{
    struct driver_edit *e = c->e;
    const struct driver_plan *plan = e->plan;
    char path[512];
    for (size_t i = 0; i < plan->n_old_files && plan->boot_critical && !e->err; i++)
        remove_old(e, &plan->old_files[i]); /* before anything is planned that it could take for an old one */
    write_stored(e, base_name(c->inf->path), c->inf);
    if (c->catalog)
        write_stored(e, plan->catalog, c->catalog);
    for (size_t i = 0; i < plan->n_files; i++) {
        if (plan->files[i].store) {
            if (plan->boot_critical)
                write_inbox(e, &plan->files[i]);
            continue;
        }
        const struct driver_package_file *file = driver_package_find(c->pkg, plan->files[i].source);
        if (!done_before(c, file, STORED))
            write_stored(e, plan->files[i].source, file);
        if (plan->boot_critical)
            write_placed(e, &plan->files[i], file);
    }
    snprintf(path, sizeof path, "%s/INF/%s", e->g->dir, e->inf);
    make_dirs(e, path, strlen(e->g->dir) + 1);
    write_file(e, path, c->inf);
    if (!c->catalog)
        return;
    snprintf(path, sizeof path, "%s/" CATALOGS "/oem%u.cat", e->g->dir, e->oem);
    make_dirs(e, path, strlen(e->g->dir) + 1);
    write_file(e, path, c->catalog);
}

/* ---- the whole ---- */

/* A planner's classes as mv should hear of them. */
static int to_contract(int r)
{
    return r == -EUCLEAN || r == -EFBIG || r == -ENOTSUP || r == -EINVAL ? -EBADMSG : r;
}

static void tell(struct driver_edit *e)
{
    const struct driver_plan *plan = e->plan;
    for (size_t i = 0; i < plan->n_notes; i++)
        driver_say(e, "%s", plan->notes[i]);
    driver_say(e, "%s: %s %s, class %s, is %s%s", inf_name(plan->inf), plan->provider, plan->version_text,
               plan->class_name, e->inf,
               plan->boot_critical ? ", starts with the system"
                                   : ": Windows installs it when it sees its device");
}

/* Half of it is in the plan, with what others have there, and must not be applied. */
static int half_done(struct check *c)
{
    struct driver_edit *e = c->e;
    char why[400];
    const char *name = inf_name(e->plan->inf);
    snprintf(why, sizeof why, "%.200s can't be written into the guest: %s", name, strerror(-e->err));
    int r = e->p->ops->block(e->p, why, "leave this driver out");
    fault_in(c->fault, e->err, name, "it can't be written into the guest: %s", strerror(-e->err));
    return r == -ENOMEM ? r : e->err;
}

static int install(struct check *c, unsigned *ret_oem)
{
    struct driver_edit *e = c->e;
    struct same same = { e, c->inf, -1 };
    int r = check_package(c);
    if (!r)
        r = driver_each(e->p, e->g, compare, &same);
    if (r < 0)
        return r;
    if (same.found >= 0)
        return fault_in(c->fault, -EEXIST, inf_name(e->plan->inf), "is installed already, as oem%d.inf",
                        same.found);
    r = free_number(e);
    if (r)
        return fault_in(c->fault, r, inf_name(e->plan->inf), "there is no number left for it");
    write_files(c);
    driver_write_registry(e);
    if (e->err)
        return half_done(c);
    tell(e);
    *ret_oem = e->oem;
    return 0;
}

int driver_install(struct prepare *p, struct driver_guest *g, const struct driver_package *pkg,
                   const struct driver_package_file *inf_file, struct driver_log log, unsigned *ret_oem,
                   struct fault *fault)
{
    _cleanup_(inf_freep) struct inf *inf = NULL;
    _cleanup_(driver_plan_freep) struct driver_plan *plan = NULL;
    const char *name = base_name(inf_file->path);
    struct driver_inbox inbox = { p, g, pkg, false };
    const struct driver_includes from = { driver_inbox_read, &inbox };
    char reason[400];
    int r = inf_parse(inf_file->bytes, inf_file->n, name, INF_ENGLISH, &inf, fault);
    if (!r)
        r = driver_plan(inf, &g->target, NULL, &plan,
                        fault); /* for the catalog, which the store's name needs */
    if (!r)
        r = store_name(g, inf_file, plan->catalog ? driver_package_find(pkg, plan->catalog) : NULL);
    if (r)
        return to_contract(r);
    driver_plan_free(TAKE_PTR(plan));
    r = driver_plan(inf, &g->target, &from, &plan, fault);
    if (r)
        return to_contract(r);
    snprintf(reason, sizeof reason, "driver %s %s", name, plan->version_text);
    struct driver_edit e = { .p = p, .g = g, .plan = plan, .log = log, .reason = reason };
    _cleanup_free_ uint8_t *done = calloc(1, pkg->n);
    if (!done)
        return fault_in(fault, -ENOMEM, name, "out of memory");
    struct check c = { .e = &e, .pkg = pkg, .inf = inf_file, .done = done, .fault = fault };
    return to_contract(install(&c, ret_oem));
}
