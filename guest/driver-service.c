/* SPDX-License-Identifier: GPL-2.0-or-later */
/* AddService = name,[flags],section[,event log section[,log type[,event name]]], and what these sections say.
 */
#include "driver-impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { SERVICE_FUNCTION = 2, TYPE_KERNEL = 1, TYPE_FILE_SYSTEM = 2 };

static int need_number(struct planner *p, const struct inf_section *s, const char *key, bool must,
                       uint32_t *ret)
{
    const struct inf_line *l = inf_find(p->inf, s, key);
    if (!l && must)
        return fault_in(p->fault, -EUCLEAN, inf_name(p->inf), "line %u: the service section [%s] has no %s",
                        s->line, s->name, key);
    if (!driver_number(inf_text(l, 0), ret))
        return fault_in(p->fault, -EUCLEAN, inf_name(p->inf), "line %u: %s is no number: %.40s", l->line, key,
                        inf_text(l, 0));
    return 0;
}

/* Is it a path of Windows that begins so? Then the rest, without a backslash before it. */
static const char *after(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    return !strncasecmp(path, dir, n) && path[n] == '\\' ? path + n + 1 : NULL;
}

/* As Windows writes it: what boots is loaded by a path from the system's root; other kernel drivers by an
 * object's name; programs by one with a variable. */
static int image_path(struct planner *p, const struct inf_line *l, struct driver_service *s)
{
    const char *path = driver_expand_dirs(p, inf_text(l, 0));
    if (!path)
        return driver_no_memory(p);
    if (p->store && !*p->store && strstr(inf_text(l, 0), "%13%"))
        return fault_in(p->fault, -EUCLEAN, inf_name(p->inf), "line %u: where its package lies isn't known",
                        l->line);
    const char *rest = after(path, p->target->root);
    bool kernel = s->type & (TYPE_KERNEL | TYPE_FILE_SYSTEM);
    if (!rest)
        s->image_path = driver_text(p, "%s", path);
    else if (!kernel)
        s->image_path = driver_text(p, "%%SystemRoot%%\\%s", rest);
    else if (s->start == 0 && !after(rest, "System32\\DriverStore"))
        s->image_path = driver_text(p, "%s", rest);
    else
        s->image_path = driver_text(p, "\\SystemRoot\\%s", rest);
    return s->image_path ? 0 : driver_no_memory(p);
}

/* Names, of which those with a '+' are groups. */
static int depends(struct planner *p, const struct inf_line *l, struct driver_service *s)
{
    char lists[2][DRIVER_MAX_TEXT];
    size_t n[2] = { 0 };
    char **to[2] = { &s->depends, &s->depends_groups };
    for (unsigned i = 0; l && i < l->n; i++) {
        const char *name = inf_text(l, i);
        bool group = *name == '+';
        size_t room = sizeof lists[0] - n[group];
        if (!*name)
            continue;
        int len = snprintf(lists[group] + n[group], room, "%s%s", n[group] ? "," : "", name + group);
        if (!driver_charge(p, len < 0 || (size_t)len >= room ? SIZE_MAX : 0, 1, l->line))
            return -EFBIG;
        n[group] += (size_t)len;
    }
    for (int i = 0; i < 2; i++) {
        *to[i] = n[i] ? driver_text(p, "%s", lists[i]) : NULL;
        if (n[i] && !*to[i])
            return driver_no_memory(p);
    }
    return 0;
}

static void words(const struct inf_line *l, const char **text, const char **raw)
{
    *text = l && l->n ? inf_text(l, 0) : NULL;
    *raw = l && l->n ? l->fields[0].raw : NULL;
}

static int read_section(struct planner *p, const struct inf_section *in, struct driver_service *s)
{
    const struct inf *inf = p->inf;
    int r = need_number(p, in, "ServiceType", true, &s->type);
    if (!r)
        r = need_number(p, in, "StartType", true, &s->start);
    if (!r)
        r = need_number(p, in, "ErrorControl", true, &s->error_control);
    if (!r)
        r = need_number(p, in, "BootFlags", false, &s->boot_flags);
    if (r)
        return r;
    s->has_boot_flags = inf_find(inf, in, "BootFlags") != NULL;
    if (s->start > 4)
        return fault_in(p->fault, -EUCLEAN, inf_name(inf), "line %u: a StartType of %u",
                        inf_find(inf, in, "StartType")->line, s->start);
    const struct inf_line *binary = inf_find(inf, in, "ServiceBinary");
    if (!binary)
        return fault_in(p->fault, -EUCLEAN, inf_name(inf),
                        "line %u: the service section [%s] has no ServiceBinary", in->line, in->name);
    words(inf_find(inf, in, "DisplayName"), &s->display, &s->display_raw);
    words(inf_find(inf, in, "Description"), &s->description, &s->description_raw);
    const struct inf_line *group = inf_find(inf, in, "LoadOrderGroup"),
                          *account = inf_find(inf, in, "StartName");
    s->group = group ? inf_text(group, 0) : NULL;
    s->object_name = account ? inf_text(account, 0) : NULL;
    r = image_path(p, binary, s);
    if (!r)
        r = depends(p, inf_find(inf, in, "Dependencies"), s);
    return r ? r : driver_add_values(p, in, &s->values);
}

static int add_service(struct planner *p, const struct inf_line *l, struct driver_service *s)
{
    const struct inf_section *in = inf_section(p->inf, inf_text(l, 2));
    if (!*s->name || strpbrk(s->name, "\\/"))
        return fault_in(p->fault, -EUCLEAN, inf_name(p->inf), "line %u: no name for a service", l->line);
    if (!in)
        return fault_in(p->fault, -EUCLEAN, inf_name(p->inf), "line %u: there is no service section [%s]",
                        l->line, inf_text(l, 2));
    int r = read_section(p, in, s);
    const struct inf_section *log = *inf_text(l, 3) ? inf_section(p->inf, inf_text(l, 3)) : NULL;
    if (r || !log)
        return r;
    s->log_type = *inf_text(l, 4) ? inf_text(l, 4) : "System";
    s->log_name = *inf_text(l, 5) ? inf_text(l, 5) : s->name;
    return driver_add_values(p, log, &s->log_values);
}

int driver_add_services(struct planner *p, const struct inf_section *section, struct driver_install *install)
{
    struct driver_plan *plan = p->plan;
    for (const struct inf_line *l = inf_find(p->inf, section, "AddService"); l; l = l->alike) {
        struct driver_service s = { .inf = p->inf, .line = l->line, .name = inf_text(l, 0) };
        if (!driver_number(inf_text(l, 1), &s.flags))
            return fault_in(p->fault, -EUCLEAN, inf_name(p->inf), "line %u: flags that are no number",
                            l->line);
        if (!*s.name && s.flags == SERVICE_FUNCTION)
            continue; /* the null driver */
        if (s.flags & SERVICE_FUNCTION && (!install->service || p->inf == plan->inf))
            install->service = s.name;
        if (!driver_charge(p, 0, plan->n_services / 16 + 1, l->line))
            return -EFBIG;
        bool known = false; /* by another install section */
        for (size_t i = 0; i < plan->n_services; i++)
            known |= !strcasecmp(plan->services[i].name, s.name);
        if (known)
            continue;
        void *more = driver_more(p, plan->services, &plan->n_services, sizeof s, l->line);
        if (!more)
            return driver_no_memory(p);
        plan->services = more;
        int r = add_service(p, l, &s);
        plan->services[plan->n_services++] = s;
        if (r)
            return r;
    }
    return 0;
}
