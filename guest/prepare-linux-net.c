/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Network adapters keep the names that the guest's configuration calls them by. A name follows from the slot,
 * and that is another one on the target; the MAC address goes along. So each name is bound to its MAC by a
 * .link file, and the configuration (of ifupdown, netplan, NetworkManager, networkd, ifcfg; firewalls too)
 * stays as it is.
 *
 * Which MAC a name had: what the configuration says; else, the names in the order of their numbers are the
 * VM's adapters in their order, where there are as many (ens160, ens192, ens224, ens256 are those of a VMware
 * VM).
 *
 * Source: systemd.link(5), interfaces(5), netplan(5), nm-settings-keyfile(5), systemd.network(5), udev(7). */
#include "../formats/cleanup.h"
#include "initramfs.h"
#include "prepare-linux.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ADAPTERS = 32, MAX_FILES = 64, NAME_SIZE = 16, MAC_SIZE = 18 };

struct adapter {
    char name[NAME_SIZE];
    char mac[MAC_SIZE]; /* lower case; "": the configuration doesn't say */
};

struct adapters {
    struct adapter a[MAX_ADAPTERS];
    size_t n;
};

/* ---- words ---- */

static bool take_mac(const char *p, size_t n, char ret[MAC_SIZE])
{
    if (n != MAC_SIZE - 1)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (i % 3 == 2 ? p[i] != ':' && p[i] != '-' : !isxdigit((unsigned char)p[i]))
            return false;
        ret[i] = i % 3 == 2 ? ':' : (char)tolower((unsigned char)p[i]);
    }
    ret[n] = 0;
    return true;
}

/* "ens192", "eno1", "enp2s0f1", "eth0": what a card is called, and no bridge, bond or VLAN. */
static bool is_card(const char *p, size_t n)
{
    if (n < 4 || n >= NAME_SIZE || (memcmp(p, "en", 2) && memcmp(p, "eth", 3)))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)p[i]))
            return false;
    return isdigit((unsigned char)p[n - 1]) && memcmp(p, "enx", 3);
}

static void add_adapter(struct adapters *all, const char *name, size_t n, const char *mac)
{
    struct adapter *a = all->a;
    if (!is_card(name, n))
        return;
    while (a < all->a + all->n && (strncmp(a->name, name, n) || a->name[n]))
        a++;
    if (a == all->a + MAX_ADAPTERS)
        return;
    if (a == all->a + all->n) {
        *a = (struct adapter){ 0 };
        memcpy(a->name, name, n);
        all->n++;
    }
    if (mac[0])
        memcpy(a->mac, mac, MAC_SIZE);
}

/* The value of "KEY=value" or "KEY: value", without quotes, if the line is that. */
static bool value_of(const char *line, size_t n, const char *key, const char **ret, size_t *ret_n)
{
    size_t k = strlen(key);
    while (n && (*line == ' ' || *line == '\t'))
        line++, n--;
    if (n <= k || strncasecmp(line, key, k) || (line[k] != '=' && line[k] != ':'))
        return false;
    line += k + 1;
    n -= k + 1;
    while (n && strchr(" \t\"'", *line))
        line++, n--;
    while (n && strchr(" \t\r\"'", line[n - 1]))
        n--;
    *ret = line;
    *ret_n = n;
    return true;
}

/* ---- files ---- */

typedef void (*read_lines)(struct adapters *all, const char *text);

static const char *next_line(const char *p)
{
    p += strcspn(p, "\n");
    return *p ? p + 1 : p;
}

/* ifupdown: "iface ens192 inet static". */
static void read_interfaces(struct adapters *all, const char *text)
{
    for (const char *p = text; *p; p = next_line(p)) {
        p += strspn(p, " \t");
        if (strncmp(p, "iface", 5) || (p[5] != ' ' && p[5] != '\t'))
            continue;
        const char *name = p + 5 + strspn(p + 5, " \t");
        add_adapter(all, name, strcspn(name, " \t\n"), "");
    }
}

/* Files of one adapter, that say its name and perhaps its MAC: ifcfg, NetworkManager, networkd. */
static void read_keys(struct adapters *all, const char *text)
{
    static const char *const names[] = { "DEVICE", "interface-name", "Name" };
    static const char *const macs[] = { "HWADDR", "mac-address", "MACAddress" };
    const char *name = NULL, *v;
    size_t name_n = 0, n;
    char mac[MAC_SIZE] = "";
    for (const char *p = text; *p; p = next_line(p)) {
        size_t length = strcspn(p, "\n");
        for (size_t i = 0; i < 3; i++) {
            if (!name && value_of(p, length, names[i], &v, &n) && is_card(v, n)) {
                name = v;
                name_n = n;
            }
            if (value_of(p, length, macs[i], &v, &n))
                take_mac(v, n, mac);
        }
    }
    if (name)
        add_adapter(all, name, name_n, mac);
}

/* netplan: the keys below "ethernets:", each with what stands deeper. */
static void read_netplan(struct adapters *all, const char *text)
{
    size_t section = 0, child = 0;
    bool inside = false;
    const char *name = NULL, *v;
    size_t name_n = 0, n;
    for (const char *p = text; *p; p = next_line(p)) {
        size_t length = strcspn(p, "\n"), indent = strspn(p, " ");
        char mac[MAC_SIZE] = "";
        if (indent >= length || p[indent] == '#')
            continue;
        if (!strncmp(p + indent, "ethernets:", 10)) {
            inside = true;
            section = indent;
            child = 0;
        } else if (inside && indent <= section) {
            inside = false;
        } else if (inside && (!child || indent == child)) {
            child = indent;
            name = p + indent;
            name_n = strcspn(name, ":\n");
            if (name_n > 1 && (*name == '"' || *name == '\'')) {
                name++;
                name_n -= 2;
            }
            add_adapter(all, name, name_n, mac);
        } else if (inside && name && value_of(p, length, "macaddress", &v, &n) && take_mac(v, n, mac)) {
            add_adapter(all, name, name_n, mac);
        }
    }
}

/* udev: SUBSYSTEM=="net", ..., ATTR{address}=="00:0c:29:..", ..., NAME="eth0" */
static void read_rules(struct adapters *all, const char *text)
{
    static const char address[] = "ATTR{address}==\"", called[] = " NAME=\"";
    for (const char *p = text; *p; p = next_line(p)) {
        size_t length = strcspn(p, "\n");
        const char *a = memmem(p, length, address, strlen(address)),
                   *c = memmem(p, length, called, strlen(called));
        char mac[MAC_SIZE];
        if (*p == '#' || !a || !c)
            continue;
        a += strlen(address);
        c += strlen(called);
        if (take_mac(a, strcspn(a, "\"\n"), mac))
            add_adapter(all, c, strcspn(c, "\"\n"), mac);
    }
}

struct files {
    char names[MAX_FILES][256];
    size_t n;
};

static int note_file(void *ctx, const char *name, uint32_t type)
{
    struct files *f = ctx;
    if ((type & S_IFMT) == S_IFREG && f->n < MAX_FILES && strlen(name) < sizeof f->names[0])
        snprintf(f->names[f->n++], sizeof f->names[0], "%s", name);
    return 0;
}

static int read_one(struct linux_plan *l, const char *path, read_lines fn, struct adapters *all)
{
    _cleanup_free_ char *text = NULL;
    int r = linux_text(l, path, &text);
    if (r == 0)
        fn(all, text);
    return r == -ENOENT ? 0 : r;
}

/* The files of a directory whose names begin with `prefix`. */
static int read_dir(struct linux_plan *l, const char *dir, const char *prefix, read_lines fn,
                    struct adapters *all)
{
    struct files *f = calloc(1, sizeof *f);
    if (!f)
        return -ENOMEM;
    int r = l->p->ops->list(l->p, dir, note_file, f);
    r = r == -ENOENT || r == -ENOTDIR ? 0 : r;
    for (size_t i = 0; i < f->n && r == 0; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", dir, f->names[i]);
        if (!strncmp(f->names[i], prefix, strlen(prefix)))
            r = read_one(l, path, fn, all);
    }
    free(f);
    return r;
}

static int find_adapters(struct linux_plan *l, struct adapters *all)
{
    static const struct {
        const char *path, *prefix; /* NULL: a file */
        read_lines fn;
    } where[] = {
        { "etc/network/interfaces", NULL, read_interfaces },
        { "etc/network/interfaces.d", "", read_interfaces },
        { "etc/netplan", "", read_netplan },
        { "etc/NetworkManager/system-connections", "", read_keys },
        { "etc/systemd/network", "", read_keys },
        { "etc/sysconfig/network-scripts", "ifcfg-", read_keys },
        { "etc/sysconfig/network", "ifcfg-", read_keys },
        { "etc/udev/rules.d/70-persistent-net.rules", NULL, read_rules },
    };
    int r = 0;
    for (size_t i = 0; i < sizeof where / sizeof where[0] && r == 0; i++)
        r = where[i].prefix ? read_dir(l, where[i].path, where[i].prefix, where[i].fn, all)
                            : read_one(l, where[i].path, where[i].fn, all);
    return r;
}

/* ---- names and MACs ---- */

static int compare_adapters(const void *a, const void *b)
{
    return strverscmp(((const struct adapter *)a)->name, ((const struct adapter *)b)->name);
}

/* Gives those without a MAC the VM's that no other one has, when there are as many. */
static bool deal_macs(const struct prepare *p, struct adapters *all)
{
    const char *left[MAX_ADAPTERS];
    size_t n_left = 0, without = 0;
    for (size_t m = 0; m < p->n_macs; m++) {
        bool used = false;
        for (size_t i = 0; i < all->n; i++)
            used |= !strcasecmp(all->a[i].mac, p->macs[m]);
        if (!used && n_left < MAX_ADAPTERS)
            left[n_left++] = p->macs[m];
    }
    for (size_t i = 0; i < all->n; i++)
        without += !all->a[i].mac[0];
    if (without && without != n_left)
        return false;
    for (size_t i = 0, m = 0; i < all->n; i++) {
        struct adapter *a = &all->a[i];
        if (a->mac[0])
            continue;
        if (!take_mac(left[m], strlen(left[m]), a->mac))
            return false;
        m++;
    }
    return true;
}

static int add_link(struct linux_plan *l, const struct adapter *a)
{
    struct linux_link_file *f = &l->links[l->n_links++];
    snprintf(f->path, sizeof f->path, INITRAMFS_LINKS "%s.link", a->name);
    /* A bridge, a bond, a VLAN may have the MAC too, but no path. (Type=ether would say it, but the udev of
     * systemd 229 matches nothing by it.) On Hyper-V a virtual function has the MAC of the adapter that it
     * stands for: only one gets the name. */
    snprintf(f->text, sizeof f->text, "[Match]\nMACAddress=%s\n%s\n[Link]\nName=%s\n", a->mac,
             prepare_is_hyperv(l->p) ? "Driver=hv_netvsc\n" : "Path=*pci-*\n", a->name);
    return linux_file(l, f->path, f->text, 0644, "the adapter keeps the name that the configuration has");
}

static bool has_systemd(struct linux_plan *l)
{
    return linux_has(l, "usr/lib/systemd/systemd") || linux_has(l, "lib/systemd/systemd");
}

int linux_plan_net(struct linux_plan *l)
{
    struct adapters all = { .n = 0 };
    int r = find_adapters(l, &all);
    if (r < 0 || !all.n)
        return r;
    qsort(all.a, all.n, sizeof all.a[0], compare_adapters);
    bool old_names = !strncmp(all.a[0].name, "eth", 3);
    if (old_names && (l->kernel_names || prepare_is_hyperv(l->p) || all.n > 1))
        return all.n > 1
                   ? linux_note(l,
                                "the adapters eth0 and so on are numbered in the order of the VM's: keep it")
                   : 0;
    if (!has_systemd(l))
        return linux_note(l, "there is no systemd to keep %s: name the adapter by its MAC", all.a[0].name);
    if (!deal_macs(l->p, &all))
        return linux_note(l, "which adapter %s is can't be told: the VM's MACs are %s", all.a[0].name,
                          l->p->n_macs ? "more or fewer than the names" : "not known");
    if (!linux_has(l, "etc/systemd/network"))
        r = l->p->ops->mkdir(l->p, "etc/systemd/network", 0755, "for the names of adapters");
    l->links = calloc(all.n, sizeof *l->links);
    if (!l->links)
        return -ENOMEM;
    for (size_t i = 0; i < all.n && r == 0; i++)
        r = add_link(l, &all.a[i]);
    return r;
}
