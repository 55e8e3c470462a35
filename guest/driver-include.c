/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Include and Needs: sections of other INFs, most of them Windows' own, that are done with those of a
 * package.
 *
 *     [X.NTamd64]           Include = machine.inf        Needs = PciIoSpaceNotRequired
 *     [X.NTamd64.Services]  Include = mshdc.inf          Needs = pciide_Inst.Services
 *
 * An INF that was included is looked through by every Needs that follows, behind the INF itself; a section
 * that several have is of all of them. It is read with its own tokens, directories and sources. Each section
 * is done once for each that needs it, so a circle ends. */
#include "driver-impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum {
    MAX_INCLUDED = 8,
    MAX_INCLUDED_BYTES = 2 * INF_MAX_SIZE, /* of all */
    MAX_NEEDED = 64,                       /* sections of one, and so how deep it goes */
};

/* The sections that one section needs, itself among them. */
struct needed {
    struct planner *p;
    const struct inf_section *seen[MAX_NEEDED];
    unsigned n;
    bool own_first;
    driver_section_fn fn;
    void *ctx;
};

/* ---- Include ---- */

static struct driver_included *find_included(const struct driver_plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->n_included; i++)
        if (!strcasecmp(plan->included[i].name, name))
            return &plan->included[i];
    return NULL;
}

static bool is_file_name(const char *name)
{
    return *name && strlen(name) < 200 && !strpbrk(name, "\\/:,\n") && *name != '.';
}

static int parse_included(struct planner *p, struct driver_included *i, const uint8_t *bytes, size_t n,
                          unsigned line)
{
    struct fault why = { 0 };
    if (n > MAX_INCLUDED_BYTES - p->included_bytes) {
        p->over = true;
        return fault_in(p->fault, -EFBIG, inf_name(p->inf), "line %u: more than %u MiB of included INFs",
                        line, MAX_INCLUDED_BYTES >> 20);
    }
    p->included_bytes += n;
    int r = inf_parse(bytes, n, i->name, INF_ENGLISH, &i->inf, &why);
    if (r == -EUCLEAN) {
        driver_note(p, line, "sections of %s are left to Windows: %s", i->name, why.what);
        return 0;
    }
    return r ? fault_in(p->fault, r, i->name, "%s", why.what) : 0;
}

/* Once for each name; what isn't found is a note. */
static int include(struct planner *p, const char *name, unsigned line)
{
    struct driver_plan *plan = p->plan;
    struct driver_included made = { .name = name };
    _cleanup_free_ uint8_t *bytes = NULL;
    size_t n = 0;
    if (find_included(plan, name) || !strcasecmp(name, inf_name(plan->inf)))
        return 0;
    void *more = driver_more_of(p, plan->included, &plan->n_included, sizeof made, MAX_INCLUDED, line);
    if (!more)
        return driver_no_memory(p);
    plan->included = more;
    int r =
        p->from && is_file_name(name) ? p->from->read(p->from->ctx, name, &bytes, &n, &made.store) : -ENOENT;
    if (!r)
        r = parse_included(p, &made, bytes, n, line);
    else if (r != -ENOMEM && r != -EFBIG) {
        driver_note(p, line, "sections of %.80s are left to Windows", name);
        r = 0;
    } else
        fault_in(p->fault, r, inf_name(p->inf), "line %u: %.80s can't be read: %s", line, name, strerror(-r));
    plan->included[plan->n_included++] = made;
    return r;
}

/* For DriverDatabase, each once. */
static int remember(struct planner *p, const char *name)
{
    struct driver_install *i = p->install;
    struct driver_included *found = find_included(p->plan, name);
    size_t n = strlen(name);
    if (!i || !found || !found->inf)
        return 0;
    for (const char *at = i->included, *end; at; at = end ? end + 1 : NULL) {
        end = strchr(at, '\n');
        if (!strncasecmp(at, name, n) && (!at[n] || at[n] == '\n'))
            return 0;
    }
    i->included = i->included ? driver_text(p, "%s\n%s", i->included, name) : name;
    return i->included ? 0 : driver_no_memory(p);
}

static int include_all(struct planner *p, const struct inf_section *section)
{
    for (const struct inf_line *l = inf_find(p->inf, section, "Include"); l; l = l->alike)
        for (unsigned i = 0; i < l->n; i++) {
            int r = driver_charge(p, 0, 1, l->line) ? 0 : -EFBIG;
            if (!r && *inf_text(l, i))
                r = include(p, inf_text(l, i), l->line);
            if (!r && *inf_text(l, i))
                r = remember(p, inf_text(l, i));
            if (r)
                return r;
        }
    return 0;
}

/* ---- Needs ---- */

static int visit(struct needed *n, const struct inf_section *section);

/* In the INF `i` of those that were included; SIZE_MAX: in the package's own. */
static int visit_in(struct needed *n, size_t i, const struct inf_section *section)
{
    struct planner *p = n->p;
    const struct inf *inf = p->inf;
    const struct driver_target *target = p->target;
    const char *store = p->store;
    const struct driver_included *in = i < p->plan->n_included ? &p->plan->included[i] : NULL;
    struct driver_target own = *p->package_target;
    if (in && in->store)
        own.store = in->store;
    p->inf = in ? in->inf : p->plan->inf;
    p->store = in ? in->store : NULL;
    p->target = in ? &own : p->package_target;
    int r = visit(n, section);
    p->inf = inf;
    p->store = store;
    p->target = target;
    return r;
}

/* All sections of that name. */
static int visit_name(struct needed *n, const char *name, bool *found)
{
    const struct driver_plan *plan = n->p->plan;
    const struct inf_section *s = inf_section(plan->inf, name);
    int r = s ? visit_in(n, SIZE_MAX, s) : 0;
    *found = s;
    for (size_t i = 0; i < plan->n_included && !r; i++) {
        s = plan->included[i].inf ? inf_section(plan->included[i].inf, name) : NULL;
        *found |= s != NULL;
        if (s)
            r = visit_in(n, i, s);
    }
    return r;
}

/* As it is called; else with a decoration, the first that there is. */
static int visit_needed(struct needed *n, const char *name, unsigned line)
{
    struct planner *p = n->p;
    char decorated[600];
    bool found;
    int r = driver_charge(p, 0, 1, line) ? visit_name(n, name, &found) : -EFBIG;
    for (int i = 0; !r && !found && i < 2; i++) {
        snprintf(decorated, sizeof decorated, "%s.NT%s", name, i ? "" : driver_arch_name(p->target->arch));
        r = visit_name(n, decorated, &found);
    }
    if (!r && !found)
        driver_note(p, line, "[%.200s] is left to Windows: no INF that is included has it", name);
    return r;
}

static int visit_needs(struct needed *n, const struct inf_section *section)
{
    int r = include_all(n->p, section);
    for (const struct inf_line *l = inf_find(n->p->inf, section, "Needs"); l && !r; l = l->alike)
        for (unsigned i = 0; i < l->n && !r; i++)
            if (*inf_text(l, i))
                r = visit_needed(n, inf_text(l, i), l->line);
    return r;
}

static int visit(struct needed *n, const struct inf_section *section)
{
    struct planner *p = n->p;
    for (unsigned i = 0; i < n->n; i++)
        if (n->seen[i] == section)
            return 0;
    if (n->n == MAX_NEEDED) {
        p->over = true;
        return fault_in(p->fault, -EFBIG, inf_name(p->inf),
                        "line %u: a section that needs more than %u others", section->line, MAX_NEEDED);
    }
    n->seen[n->n++] = section;
    int r = n->own_first ? n->fn(p, section, n->ctx) : 0;
    if (!r)
        r = visit_needs(n, section);
    return r || n->own_first ? r : n->fn(p, section, n->ctx);
}

int driver_each_needed(struct planner *p, const struct inf_section *section, bool own_first,
                       driver_section_fn fn, void *ctx)
{
    struct needed n = { .p = p, .own_first = own_first, .fn = fn, .ctx = ctx };
    return section ? visit(&n, section) : 0;
}
