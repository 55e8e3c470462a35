/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Linux: a volume with os-release (or an older distribution's mark), or one that has at least an fstab and
 * looks like a root. Source: os-release(5). */
#include "inspect.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Takes NAME=value or NAME="value" out of an os-release. */
static bool os_release_get(const char *text, const char *name, char *ret, size_t size)
{
    size_t n = strlen(name);
    for (const char *p = text; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
        if (strncmp(p, name, n) || p[n] != '=')
            continue;
        p += n + 1;
        char quote = *p == '"' || *p == '\'' ? *p++ : 0;
        size_t len = 0;
        while (p[len] && p[len] != '\n' && p[len] != quote && len + 1 < size)
            len++;
        snprintf(ret, size, "%.*s", (int)len, p);
        return true;
    }
    return false;
}

/* PRETTY_NAME, if there is an os-release: it may lie on a /usr of its own. */
static bool read_name(const struct realm *r, char *ret, size_t size)
{
    static const char *const releases[] = { "etc/os-release", "usr/lib/os-release" };
    for (size_t k = 0; k < sizeof releases / sizeof releases[0]; k++) {
        char *text;
        if (realm_slurp(r, releases[k], 16384, &text) < 0)
            continue;
        os_release_get(text, "PRETTY_NAME", ret, size);
        free(text);
        return true;
    }
    return false;
}

/* There, even as a link that leads nowhere yet: a /bin that is a link to a /usr that isn't mounted. */
static bool has_name(const struct realm *r, const char *name)
{
    struct place root, p;
    return realm_root(r, &root) == 0 && realm_lookup(r, root, name, &p) == 0;
}

static bool is_linux(const struct guest *g, size_t i, char *name, size_t size)
{
    static const char *const marks[] = { "etc/debian_version", "etc/redhat-release", "etc/SuSE-release",
                                         "etc/alpine-release", "etc/gentoo-release" };
    const struct guest_volume *v = &g->volumes[i];
    struct realm r = { g, NULL, i };
    if (!v->volume || !strcmp(v->signature.type, "ntfs") || !strncmp(v->signature.type, "fat", 3))
        return false;
    if (read_name(&r, name, size))
        return true;
    for (size_t k = 0; k < sizeof marks / sizeof marks[0]; k++)
        if (inspect_exists(&r, marks[k]))
            return true;
    return inspect_exists(&r, "etc/fstab") && (has_name(&r, "bin") || inspect_exists(&r, "usr/bin"));
}

bool inspect_linux(struct guest *g, size_t i)
{
    char name[sizeof g->systems->name] = "Linux";
    if (!is_linux(g, i, name, sizeof name))
        return false;
    struct guest_system *s = inspect_add_system(g, GUEST_LINUX, i);
    if (!s)
        return true;
    if (inspect_add_mount(s, "", i))
        inspect_fstab(g, s);
    struct realm whole = { g, s, 0 };
    read_name(&whole, name, sizeof name);
    snprintf(s->name, sizeof s->name, "%s", name);
    return true;
}
