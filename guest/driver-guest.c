/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a Windows guest is, by its registry, as far as drivers care. */
#include "driver-registry.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define NT_KEY "HKLM\\SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion"

static int add_set(void *ctx, const char *name, uint32_t type)
{
    struct driver_guest *g = ctx;
    unsigned n;
    int used = 0;
    (void)type;
    if (strncasecmp(name, "ControlSet", 10) || sscanf(name + 10, "%3u%n", &n, &used) != 1 || used != 3 ||
        name[13] || g->n_sets == sizeof g->sets / sizeof g->sets[0])
        return 0;
    g->sets[g->n_sets++] = n;
    return 0;
}

static bool find_version(struct prepare *p, struct driver_target *t)
{
    uint32_t major, minor;
    _cleanup_free_ char *build = driver_get_text(p, NT_KEY, "CurrentBuildNumber");
    if (!build)
        build = driver_get_text(p, NT_KEY, "CurrentBuild");
    _cleanup_free_ char *version = driver_get_text(p, NT_KEY, "CurrentVersion");
    if (!build || sscanf(build, "%u", &t->build) != 1)
        return false;
    if (driver_get_dword(p, NT_KEY, "CurrentMajorVersionNumber", &major) && /* Windows 10 and later */
        driver_get_dword(p, NT_KEY, "CurrentMinorVersionNumber", &minor)) {
        t->major = major;
        t->minor = minor;
        return true;
    }
    return version && sscanf(version, "%u.%u", &t->major, &t->minor) == 2;
}

static bool find_arch(struct prepare *p, const char *set, struct driver_target *t)
{
    char key[DRIVER_KEY_MAX];
    snprintf(key, sizeof key, "%s\\Control\\Session Manager\\Environment", set);
    _cleanup_free_ char *arch = driver_get_text(p, key, "PROCESSOR_ARCHITECTURE");
    for (unsigned i = DRIVER_X86; arch && i <= DRIVER_ARM64; i++)
        if (!strcasecmp(arch, driver_arch_name(i))) {
            t->arch = i;
            return true;
        }
    return false;
}

/* A server that says nothing is one that is none: Windows' own default is a workstation. */
static void find_product(struct prepare *p, const char *set, struct driver_target *t)
{
    static const struct {
        const char *name;
        unsigned bit;
    } suites[] = {
        { "Enterprise", 0x2 }, { "Terminal Server", 0x10 }, { "DataCenter", 0x80 },
        { "Personal", 0x200 }, { "Blade", 0x400 },
    };
    char key[DRIVER_KEY_MAX];
    snprintf(key, sizeof key, "%s\\Control\\ProductOptions", set);
    _cleanup_free_ char *product = driver_get_text(p, key, "ProductType");
    _cleanup_free_ char *suite = driver_get_text(p, key, "ProductSuite");
    t->product = !product || !strcasecmp(product, "WinNT") ? DRIVER_WORKSTATION
                 : !strcasecmp(product, "LanmanNT")        ? DRIVER_CONTROLLER
                                                           : DRIVER_SERVER;
    char *rest = suite;
    for (char *one; rest && (one = strsep(&rest, ","));)
        for (size_t i = 0; i < sizeof suites / sizeof suites[0]; i++)
            if (!strcasecmp(one, suites[i].name))
                t->suite |= suites[i].bit;
}

/* "C/Windows" as "C:\Windows" */
static int find_root(struct driver_guest *g, const char *dir)
{
    const char *slash = strchr(dir, '/');
    if (!slash || strlen(dir) >= sizeof g->dir - 1)
        return -ENAMETOOLONG;
    snprintf(g->dir, sizeof g->dir, "%s", dir);
    snprintf(g->root, sizeof g->root, "%.*s:%s", (int)(slash - dir), dir, slash);
    for (char *c = g->root; *c; c++)
        if (*c == '/')
            *c = '\\';
    return 0;
}

int driver_guest_look(struct prepare *p, const char *dir, struct driver_guest *g, struct fault *fault)
{
    char set[64];
    uint32_t current = 0;
    *g = (struct driver_guest){ 0 };
    int r = find_root(g, dir);
    if (!r)
        r = p->ops->subkeys(p, "HKLM\\SYSTEM", add_set, g);
    if (r < 0)
        return fault_in(fault, r == -ENOMEM ? r : -ENOTSUP, dir, "the SYSTEM hive can't be read");
    if (!driver_get_dword(p, "HKLM\\SYSTEM\\Select", "Current", &current) || current > 999)
        current = g->n_sets ? g->sets[0] : 1;
    snprintf(set, sizeof set, "HKLM\\SYSTEM\\ControlSet%03u", current);
    if (!g->n_sets || !find_version(p, &g->target) || !find_arch(p, set, &g->target))
        return fault_in(fault, -ENOTSUP, dir, "the registry doesn't say which Windows this is");
    find_product(p, set, &g->target);
    g->target.root = g->root;
    g->target.store = g->store;
    g->has_database = driver_key_exists(p, "HKLM\\SYSTEM\\DriverDatabase");
    g->has_drivers_hive = driver_key_exists(p, "HKLM\\DRIVERS\\DriverDatabase");
    return 0;
}
