/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Installing and uninstalling: a plan by guest/driver-install.h, made and applied while nobody else changes
 * the guest, in one commit. */
#include "drivers.h"

#include "changes.h"
#include "hives.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static void say(void *ctx, const char *line)
{
    drivers_say(ctx, line);
}

int drivers_system(struct ferry *f, char *ret, size_t size)
{
    static const char tail[] = "/System32/config/SYSTEM";
    struct reg_hive *h = hives_find(f, HIVE_MACHINE, "SYSTEM");
    size_t n = h && !h->in_volume ? strlen(h->path) : 0;
    if (n <= sizeof tail - 1 || strcasecmp(h->path + n - (sizeof tail - 1), tail) ||
        n - sizeof tail + 2 > size)
        return -ENOENT;
    memcpy(ret, h->path, n - (sizeof tail - 1));
    ret[n - (sizeof tail - 1)] = 0;
    return 0;
}

static void say_fault(struct drivers *d, const char *what, const struct fault *fault)
{
    char why[1400], line[2000];
    fault_format(fault, why, sizeof why);
    snprintf(line, sizeof line, "%s: nothing is changed: %s", what, why);
    drivers_say(d, line);
}

/* Looks at the guest, with what a list has already. */
static int look(struct ferry *f, struct changes *c, struct driver_guest *g, struct fault *fault)
{
    char dir[128];
    int r = drivers_system(f, dir, sizeof dir);
    return r ? fault_in(fault, r, "the guest", "it has no Windows")
             : driver_guest_look(changes_prepare(c), dir, g, fault);
}

static bool is_inf(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot && !strcasecmp(dot, ".inf") && !strchr(path, '/');
}

/* All INFs of the package that are for this guest and aren't there yet. */
static int plan_package(struct ferry *f, struct changes *c, const struct driver_package *pkg,
                        struct fault *fault)
{
    struct driver_guest g;
    struct driver_log log = { say, f->drivers };
    struct fault passed = { 0 };
    unsigned done = 0;
    int r = look(f, c, &g, fault);
    for (size_t i = 0; i < pkg->n && !r; i++) {
        struct fault why = { 0 };
        unsigned oem;
        if (!is_inf(pkg->files[i].path))
            continue;
        r = driver_install(changes_prepare(c), &g, pkg, &pkg->files[i], log, &oem, &why);
        if (!r) {
            done++;
        } else if (r == -ENOEXEC || r == -EEXIST) { /* others of the package may be */
            char line[1400];
            fault_format(&why, line, sizeof line);
            drivers_say(f->drivers, line);
            if (!passed.err || r == -EEXIST)
                passed = why;
            r = 0;
        } else {
            *fault = why;
        }
    }
    if (r || done)
        return r;
    if (passed.err) {
        *fault = passed;
        return passed.err;
    }
    return fault_in(fault, -ENOENT, "the package", "there is no INF in its directory");
}

static int apply(struct changes *c, struct fault *fault)
{
    int r = changes_error(c);
    if (!r)
        r = changes_apply(c, NULL, fault);
    return r < 0 && !fault->err ? fault_in(fault, r, "the guest", "%s", strerror(-r)) : r;
}

/* With no other writer inside, so that the bytes of what is staged stay where they are. */
static int install_alone(struct ferry *f, uint64_t dir, const char *name, struct fault *fault)
{
    struct drivers *d = f->drivers;
    struct driver_package pkg = { 0 };
    struct driver_package_file *files = NULL;
    pthread_mutex_lock(&d->lock);
    struct staged *in = staged_at(d, dir), *package = in ? staged_child(in, name) : NULL;
    int r = !package ? -ENOENT : !package->dir ? -ENOTDIR : staged_package(package, &files, &pkg.n);
    pthread_mutex_unlock(&d->lock);
    if (r)
        return fault_in(fault, r, name, "%s", strerror(-r));
    pkg.files = files;
    _cleanup_(changes_freep) struct changes *c = changes_new(f);
    r = c ? plan_package(f, c, &pkg, fault) : -ENOMEM;
    if (!r)
        r = apply(c, fault);
    if (!r) {
        pthread_mutex_lock(&d->lock);
        staged_remove_all(d, package);
        pthread_mutex_unlock(&d->lock);
    }
    staged_package_free(files, pkg.n);
    return r;
}

int drivers_install(struct ferry *f, uint64_t dir, const char *name)
{
    struct fault fault = { 0 };
    int r = ferry_alone_begin(f);
    if (r)
        return r;
    r = install_alone(f, dir, name, &fault);
    ferry_alone_end(f);
    if (r)
        say_fault(f->drivers, name, &fault);
    else
        drivers_say(f->drivers, "installed");
    return r == -EINVAL || r == -EXDEV ? -EIO : r; /* mv misreads these */
}

int drivers_uninstall(struct ferry *f, unsigned oem)
{
    struct fault fault = { 0 };
    struct driver_guest g;
    struct driver_log log = { say, f->drivers };
    char name[24];
    snprintf(name, sizeof name, "oem%u.inf", oem);
    int r = ferry_alone_begin(f);
    if (r)
        return r;
    _cleanup_(changes_freep) struct changes *c = changes_new(f);
    r = c ? look(f, c, &g, &fault) : -ENOMEM;
    if (!r)
        r = driver_uninstall(changes_prepare(c), &g, oem, log, &fault);
    if (!r)
        r = apply(c, &fault);
    ferry_alone_end(f);
    if (r)
        say_fault(f->drivers, name, &fault);
    return r;
}

/* ---- info.json ---- */

static void member(struct json_out *o, const char *before, const char *key, const char *text)
{
    json_raw(o, before);
    json_key(o, key);
    json_quote(o, text);
}

static void put_services(struct json_out *o, const struct driver_plan *plan)
{
    json_raw(o, ",\n  \"services\": [");
    for (size_t i = 0; i < plan->n_services; i++) {
        const struct driver_service *s = &plan->services[i];
        member(o, i ? ", {" : "{", "name", s->name);
        json_raw(o, ", \"start\": ");
        json_number(o, s->start);
        member(o, ", ", "image", s->image_path);
        json_raw(o, "}");
    }
    json_raw(o, "],\n  \"hardware_ids\": [");
    bool first = true;
    for (size_t i = 0; i < plan->n_models; i++) {
        const struct driver_model *m = &plan->models[i];
        for (unsigned k = 0; k <= m->n_compatible; k++) {
            const char *id = k ? m->compatible[k - 1].text : m->hardware_id;
            if (!*id)
                continue;
            json_raw(o, first ? "\n    " : ",\n    ");
            json_quote(o, id);
            first = false;
        }
    }
    json_raw(o, "]");
}

int drivers_info(struct ferry *f, unsigned oem, char **ret)
{
    struct fault fault = { 0 };
    struct driver_guest g;
    struct inf *inf = NULL;
    struct driver_plan *plan = NULL;
    _cleanup_(changes_freep) struct changes *c = changes_new(f);
    int r = c ? look(f, c, &g, &fault) : -ENOMEM;
    if (!r)
        r = driver_installed(changes_prepare(c), &g, oem, &inf, &plan, &fault);
    struct json_out o = { 0 };
    json_raw(&o, "{\n  \"schema\": 1");
    if (plan) {
        char version[40];
        snprintf(version, sizeof version, "%u.%u.%u.%u", (unsigned)(plan->version >> 48),
                 (unsigned)(plan->version >> 32 & 0xffff), (unsigned)(plan->version >> 16 & 0xffff),
                 (unsigned)(plan->version & 0xffff));
        member(&o, ",\n  ", "store", g.store);
        member(&o, ",\n  ", "class", plan->class_name);
        member(&o, ",\n  ", "class_guid", plan->class_guid);
        member(&o, ",\n  ", "provider", plan->provider);
        member(&o, ",\n  ", "version", version);
        json_raw(&o, plan->boot_critical ? ",\n  \"boot_critical\": true" : ",\n  \"boot_critical\": false");
        put_services(&o, plan);
    } else if (inf || r != -ENOENT) {
        char why[1400];
        fault_reason(&fault, why, sizeof why);
        member(&o, ",\n  ", "why", why);
    }
    json_raw(&o, "\n}\n");
    driver_plan_free(plan);
    inf_free(inf);
    if (r == -ENOENT || r == -ENOMEM || o.failed) {
        json_out_done(&o);
        return r == -ENOENT ? r : -ENOMEM;
    }
    *ret = o.text;
    return 0;
}
