/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The old hypervisor's tools: disabled, not removed, so that their uninstaller still works. A disk driver of
 * the old hypervisor stays (pvscsi, LSI_SAS), since it is the way back.
 *
 * A filter whose driver can't start keeps its whole class of devices from starting; so what is disabled is
 * taken out of the classes' filter lists, too, and a list that was only that is removed. */
#include "prepare-windows.h"

#include "../formats/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct tool {
    const char *service, *maker;
};

static const struct tool tools[] = {
    { "VMTools", "VMware Tools" },
    { "VGAuthService", "VMware Tools" },
    { "vmvss", "VMware Tools" },
    { "VM3DService", "VMware Tools" },
    { "GISvc", "VMware Tools" },
    { "VMUpgradeHelper", "VMware Tools" },
    { "VMwareCAFCommAmqpListener", "VMware Tools" },
    { "VMwareCAFManagementAgentHost", "VMware Tools" },
    { "VMMemCtl", "VMware Tools" },
    { "vmhgfs", "VMware Tools" },
    { "VMRawDsk", "VMware Tools" },
    { "vmdebug", "VMware Tools" },
    { "vmdesched", "VMware Tools" },
    { "vmci", "VMware Tools" },
    { "vsock", "VMware Tools" },
    { "vsepflt", "VMware's guest introspection" },
    { "vnetflt", "VMware's guest introspection" },
    { "vnetWFP", "VMware's guest introspection" },
    { "xenagent", "Xen's tools" },
    { "xenbus", "Xen's drivers" },
    { "xenfilt", "Xen's drivers" },
    { "xenvbd", "Xen's drivers" },
    { "xendisk", "Xen's drivers" },
    { "xeniface", "Xen's drivers" },
    { "xenvif", "Xen's drivers" },
    { "xennet", "Xen's drivers" },
    { "rhelscsi", "Xen's drivers of Red Hat" },
    { "rhelnet", "Xen's drivers of Red Hat" },
    { "prl_strg", "Parallels' tools" },
    { "VBoxService", "VirtualBox' additions" },
    { "VBoxGuest", "VirtualBox' additions" },
    { "VBoxSF", "VirtualBox' additions" },
};

enum { DISABLED = 4 };

static int disable(const struct windows *w, const char *key, const char *maker)
{
    char reason[128];
    uint32_t start;
    if (!windows_dword(w, key, "Start", &start)) /* an installer leaves keys of what it didn't install */
        return 0;
    snprintf(reason, sizeof reason, "%s: of no use on the new hypervisor, and may harm there", maker);
    return windows_set_dword(w, key, "Start", DISABLED, reason);
}

/* ---- Nutanix: names vary, but not where the programs lie ---- */

struct nutanix {
    const struct windows *w;
    size_t set;
    struct windows_strings image;
};

static bool has_word(const char *text, const char *word)
{
    size_t n = strlen(word);
    for (; *text; text++)
        if (!strncasecmp(text, word, n))
            return true;
    return false;
}

static int nutanix_service(void *ctx, const char *name, uint32_t type)
{
    struct nutanix *x = ctx;
    char key[WINDOWS_KEY];
    (void)type;
    windows_key(x->w, x->set, key, "Services\\%s", name);
    if (!windows_strings(x->w, key, "ImagePath", &x->image) || !x->image.n ||
        !has_word(x->image.s[0], "\\Nutanix\\"))
        return 0;
    return disable(x->w, key, "Nutanix Guest Tools");
}

static int nutanix_off(const struct windows *w, size_t set)
{
    char key[WINDOWS_KEY];
    struct nutanix *x = calloc(1, sizeof *x);
    if (!x)
        return -ENOMEM;
    x->w = w;
    x->set = set;
    windows_key(w, set, key, "Services");
    int r = w->p->ops->subkeys(w->p, key, nutanix_service, x);
    free(x);
    return r == -ENOENT ? 0 : r;
}

/* ---- filters ---- */

static bool is_tool(const char *service)
{
    for (size_t i = 0; i < sizeof tools / sizeof tools[0]; i++)
        if (!strcasecmp(tools[i].service, service))
            return true;
    return false;
}

struct filters {
    const struct windows *w;
    size_t set;
    struct windows_strings list;
};

static int clean_list(struct filters *x, const char *key, const char *name)
{
    struct windows_strings *l = &x->list;
    if (!windows_strings(x->w, key, name, l) || l->type != PREPARE_MULTI_SZ || l->n == WINDOWS_STRINGS)
        return 0; /* a list that is longer than any isn't ours to cut */
    size_t kept = 0;
    for (size_t i = 0; i < l->n; i++)
        if (!is_tool(l->s[i])) {
            if (kept != i)
                memcpy(l->s[kept], l->s[i], sizeof l->s[i]);
            kept++;
        }
    if (kept == l->n)
        return 0;
    l->n = kept;
    return windows_set_strings(x->w, key, name, l,
                               "a filter that is disabled would keep the devices from starting");
}

static int clean_class(void *ctx, const char *name, uint32_t type)
{
    struct filters *x = ctx;
    char key[WINDOWS_KEY];
    (void)type;
    windows_key(x->w, x->set, key, "Control\\Class\\%s", name);
    int r = clean_list(x, key, "UpperFilters");
    return r < 0 ? r : clean_list(x, key, "LowerFilters");
}

static int filters_off(const struct windows *w, size_t set)
{
    char key[WINDOWS_KEY];
    struct filters *x = calloc(1, sizeof *x);
    if (!x)
        return -ENOMEM;
    x->w = w;
    x->set = set;
    windows_key(w, set, key, "Control\\Class");
    int r = w->p->ops->subkeys(w->p, key, clean_class, x);
    free(x);
    return r == -ENOENT ? 0 : r;
}

/* ---- VMware's shared folders among the network providers ---- */

/* "P9NP,vmhgfs,RDPNP" without the one. True: it was there. */
static bool drop_token(char *list, const char *token)
{
    size_t n = strlen(token);
    for (char *at = list; *at;) {
        size_t len = strcspn(at, ",");
        if (len == n && !strncasecmp(at, token, n)) {
            if (at[len] == ',')
                memmove(at, at + len + 1, strlen(at + len + 1) + 1);
            else if (at > list)
                at[-1] = 0;
            else
                at[0] = 0;
            return true;
        }
        at += len + (at[len] == ',');
    }
    return false;
}

static int provider_off(const struct windows *w, size_t set, const char *order)
{
    char key[WINDOWS_KEY];
    struct windows_strings *s = calloc(1, sizeof *s);
    int r = s ? 0 : -ENOMEM;
    windows_key(w, set, key, "Control\\NetworkProvider\\%s", order);
    if (s && windows_strings(w, key, "ProviderOrder", s) && s->n && s->type != PREPARE_MULTI_SZ &&
        strlen(s->s[0]) < WINDOWS_STRING - 4 && drop_token(s->s[0], "vmhgfs"))
        r = windows_set_strings(w, key, "ProviderOrder", s,
                                "VMware's shared folders are no network provider any more");
    free(s);
    return r;
}

static int time_provider_off(const struct windows *w, size_t set)
{
    char key[WINDOWS_KEY];
    windows_key(w, set, key, "Services\\W32Time\\TimeProviders\\vmwTimeProvider");
    if (!windows_has_value(w, key, "Enabled"))
        return 0;
    return windows_set_dword(w, key, "Enabled", 0, "VMware gives no time any more");
}

/* ---- the whole ---- */

int windows_tools_off(const struct windows *w, size_t set)
{
    int r = 0;
    for (size_t i = 0; !r && i < sizeof tools / sizeof tools[0]; i++) {
        char key[WINDOWS_KEY];
        windows_key(w, set, key, "Services\\%s", tools[i].service);
        r = disable(w, key, tools[i].maker);
    }
    if (!r)
        r = nutanix_off(w, set);
    if (!r)
        r = filters_off(w, set);
    if (!r)
        r = provider_off(w, set, "Order");
    if (!r)
        r = provider_off(w, set, "HwOrder");
    return r < 0 ? r : time_provider_off(w, set);
}

int windows_tools_off_all(const struct windows *w)
{
    static const char *const names[] = { "VMware User Process", "VMware VM3DService Process",
                                         "VMware Tools" };
    static const char key[] = "HKLM\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Run";
    int r = 0;
    for (size_t i = 0; !r && i < sizeof names / sizeof names[0]; i++)
        if (windows_has_value(w, key, names[i]))
            r = w->p->ops->unset(w->p, key, names[i], "VMware Tools isn't started at logon");
    return r;
}
