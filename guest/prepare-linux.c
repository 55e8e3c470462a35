/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a Linux guest needs on another hypervisor, but for its initramfs, boot loader and network
 * (prepare-linux-*.c):
 *
 *     fstab        device names that another bus gives otherwise become UUIDs
 *     LVM          the list of devices by their hardware's ids goes: they are other ones now
 *     tools        of the hypervisor that it leaves: their services and udev rules are masked, not removed
 *     SELinux      a relabel, where files are new
 *
 * Source: fstab(5), lvmdevices(8), systemd.unit(5) and udev(7) for masks, selinux(8). */
#include "../formats/cleanup.h"
#include "prepare-linux.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- helpers ---- */

bool linux_has(struct linux_plan *l, const char *path)
{
    struct prepare_stat st;
    char link[LINUX_PATH_MAX];
    return l->p->ops->stat(l->p, path, &st) == 0 || l->p->ops->readlink(l->p, path, link, sizeof link) == 0;
}

int linux_text(struct linux_plan *l, const char *path, char **ret)
{
    uint8_t *bytes;
    size_t n;
    int r = l->p->ops->read(l->p, path, LINUX_TEXT_MAX, &bytes, &n);
    if (r == -EISDIR || r == -EFBIG || r == -ELOOP || r == -ENOTDIR || r == -EINVAL)
        return -ENOENT;
    if (r < 0)
        return r;
    if (memchr(bytes, 0, n)) { /* no text */
        free(bytes);
        return -ENOENT;
    }
    *ret = (char *)bytes;
    return 0;
}

int linux_file(struct linux_plan *l, const char *path, const char *text, mode_t mode, const char *reason)
{
    l->adds_files |= !linux_has(l, path);
    return l->p->ops->file(l->p, path, text, strlen(text), mode, reason);
}

static int note_name(void *ctx, const char *name, uint32_t type)
{
    struct linux_names *names = ctx;
    size_t n = strlen(name), k = strlen(names->suffix);
    if ((type & S_IFMT) != S_IFDIR && n > k && n < sizeof names->names[0] &&
        !strcmp(name + n - k, names->suffix) && names->n < sizeof names->names / sizeof names->names[0])
        memcpy(names->names[names->n++], name, n + 1);
    return 0;
}

int linux_list(struct linux_plan *l, const char *dir, const char *suffix, struct linux_names *ret)
{
    ret->n = 0;
    ret->suffix = suffix;
    int r = l->p->ops->list(l->p, dir, note_name, ret);
    return r == -ENOENT || r == -ENOTDIR ? 0 : r;
}

int linux_link(struct linux_plan *l, const char *path, const char *target, const char *reason)
{
    l->adds_files |= !linux_has(l, path);
    return l->p->ops->link(l->p, path, target, reason);
}

int linux_note(struct linux_plan *l, const char *fmt, ...)
{
    char text[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return l->p->ops->note(l->p, text);
}

int linux_block(struct linux_plan *l, const char *what_to_do, const char *fmt, ...)
{
    char text[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return l->p->ops->block(l->p, text, what_to_do);
}

void linux_put(struct linux_out *o, const char *p, size_t n)
{
    if (o->failed || n > SIZE_MAX / 4 - o->n) {
        o->failed = true;
        return;
    }
    if (o->n + n > o->size) {
        size_t size = 2 * (o->n + n);
        char *grown = realloc(o->p, size);
        if (!grown) {
            o->failed = true;
            return;
        }
        o->p = grown;
        o->size = size;
    }
    if (n)
        memcpy(o->p + o->n, p, n);
    o->n += n;
}

/* ---- device names ---- */

/* "/dev/sda3" and all that hardware gives; not LVM's, and not what stands in the volume itself. */
static bool is_hardware_name(const char *device)
{
    static const char *const names[] = { "/dev/sd",         "/dev/hd",   "/dev/vd",
                                         "/dev/xvd",        "/dev/nvme", "/dev/disk/by-path/",
                                         "/dev/disk/by-id/" };
    if (!strncmp(device, "/dev/disk/by-id/dm-", 19) || !strncmp(device, "/dev/disk/by-id/lvm-", 20) ||
        !strncmp(device, "/dev/disk/by-id/md-uuid-", 24))
        return false;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        size_t n = strlen(names[i]);
        if (!strncmp(device, names[i], n) && device[n] && (i >= 5 || !strchr(device + n, '/')))
            return true;
    }
    return false;
}

bool linux_steady_name(struct linux_plan *l, const char *device, char *ret, size_t size, bool *ret_lost)
{
    char uuid[128];
    *ret_lost = false;
    if (!is_hardware_name(device))
        return false;
    *ret_lost = l->p->ops->uuid(l->p, device, uuid, sizeof uuid) < 0 || !uuid[0];
    if (!*ret_lost)
        snprintf(ret, size, "UUID=%s", uuid);
    return !*ret_lost;
}

/* ---- fstab ---- */

struct fstab_words {
    const char *p[4]; /* device, where, type, options */
    size_t n[4];
};

static size_t split_line(const char *line, size_t length, struct fstab_words *w)
{
    const char *end = line + length;
    size_t count = 0;
    *w = (struct fstab_words){ 0 };
    for (; count < 4; count++) {
        while (line < end && (*line == ' ' || *line == '\t'))
            line++;
        if (line == end || (*line == '#' && !count))
            return count;
        w->p[count] = line;
        while (line < end && *line != ' ' && *line != '\t')
            line++;
        w->n[count] = (size_t)(line - w->p[count]);
    }
    return count;
}

static bool word_is(const struct fstab_words *w, size_t i, const char *want)
{
    return w->n[i] == strlen(want) && !memcmp(w->p[i], want, w->n[i]);
}

/* Would a boot fail without it? */
static bool boot_needs(const struct fstab_words *w)
{
    static const char *const easy[] = { "nofail", "noauto" };
    for (size_t k = 0; k < 2; k++)
        if (w->p[3] && memmem(w->p[3], w->n[3], easy[k], strlen(easy[k])))
            return false;
    return !word_is(w, 2, "swap");
}

static int put_fstab_line(struct linux_plan *l, const char *line, size_t n, struct linux_out *o)
{
    struct fstab_words w;
    char device[LINUX_PATH_MAX], steady[160];
    bool lost = false;
    if (split_line(line, n, &w) < 2 || w.n[0] >= sizeof device) {
        linux_put(o, line, n);
        return 0;
    }
    snprintf(device, sizeof device, "%.*s", (int)w.n[0], w.p[0]);
    if (linux_steady_name(l, device, steady, sizeof steady, &lost)) {
        linux_put(o, line, (size_t)(w.p[0] - line));
        linux_put(o, steady, strlen(steady));
        linux_put(o, w.p[0] + w.n[0], n - (size_t)(w.p[0] + w.n[0] - line));
        return 0;
    }
    linux_put(o, line, n);
    if (!lost)
        return 0;
    if (boot_needs(&w))
        return linux_block(
            l, "name the file system by its UUID in /etc/fstab, or give the line the option nofail",
            "/etc/fstab has %s at %.*s, which no volume here can be told to be", device, (int)w.n[1], w.p[1]);
    return linux_note(l, "/etc/fstab has %s at %.*s, which no volume here can be told to be", device,
                      (int)w.n[1], w.p[1]);
}

static int plan_fstab(struct linux_plan *l)
{
    _cleanup_free_ char *text = NULL;
    struct linux_out o = { 0 };
    int r = linux_text(l, "etc/fstab", &text);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    for (const char *line = text; *line && r == 0;) {
        size_t n = strcspn(line, "\n");
        r = put_fstab_line(l, line, n, &o);
        linux_put(&o, line + n, line[n] == '\n');
        line += n + (line[n] == '\n');
    }
    r = r < 0 ? r : linux_out_done(&o);
    r = r < 0 ? r : linux_file(l, "etc/fstab", o.p, 0644, "the target's bus gives disks other names");
    free(o.p);
    return r;
}

/* ---- LVM ---- */

static int plan_lvm(struct linux_plan *l)
{
    static const char path[] = "etc/lvm/devices/system.devices";
    if (!linux_has(l, path))
        return 0;
    return l->p->ops->remove(
        l->p, path, "it has physical volumes by their disks' ids, which change: LVM would ignore them");
}

/* ---- tools of hypervisors ---- */

static const char *const foreign_units[] = {
    "open-vm-tools.service",
    "vmtoolsd.service",
    "vgauth.service",
    "vgauthd.service",
    "vmware-tools.service",
    "vmware-tools-services.service",
    "run-vmblock\\x2dfuse.mount",
    "ngt_guest_agent.service",
    "nutanix-guest-agent.service",
    "xe-linux-distribution.service",
    "xe-daemon.service",
    "vboxadd.service",
    "vboxadd-service.service",
    "prltoolsd.service",
};
static const char *const foreign_scripts[] = { "vmware-tools",          "open-vm-tools", "ngt_guest_agent",
                                               "xe-linux-distribution", "vboxadd",       "vboxadd-service" };

static bool unit_is_there(struct linux_plan *l, const char *unit)
{
    static const char *const where[] = { "etc/systemd/system", "usr/lib/systemd/system",
                                         "lib/systemd/system" };
    char path[256];
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", where[i], unit);
        if (linux_has(l, path))
            return true;
    }
    return false;
}

static int mask_units(struct linux_plan *l)
{
    int r = 0;
    for (size_t i = 0; i < sizeof foreign_units / sizeof foreign_units[0] && r == 0; i++) {
        char path[256];
        snprintf(path, sizeof path, "etc/systemd/system/%s", foreign_units[i]);
        if (unit_is_there(l, foreign_units[i]))
            r = linux_link(l, path, "/dev/null", "tools of another hypervisor: the service is masked");
    }
    return r;
}

/* A service of System V's init, or what systemd makes of one. */
static bool is_foreign_script(const char *name)
{
    if (name[0] != 'S' || !isdigit((unsigned char)name[1]) || !isdigit((unsigned char)name[2]))
        return false;
    for (size_t i = 0; i < sizeof foreign_scripts / sizeof foreign_scripts[0]; i++)
        if (!strcmp(name + 3, foreign_scripts[i]))
            return true;
    return false;
}

enum { MAX_FOUND = 64 };
struct found {
    char names[MAX_FOUND][256];
    size_t n;
    bool (*wanted)(const char *name);
};

static int note_found(void *ctx, const char *name, uint32_t type)
{
    struct found *f = ctx;
    if ((type & S_IFMT) != S_IFDIR && f->n < MAX_FOUND && strlen(name) < sizeof f->names[0] &&
        f->wanted(name))
        snprintf(f->names[f->n++], sizeof f->names[0], "%s", name);
    return 0;
}

/* The names of a directory that `wanted` wants; none where there is no such directory. */
static int find_names(struct linux_plan *l, const char *dir, bool (*wanted)(const char *), struct found *ret)
{
    ret->n = 0;
    ret->wanted = wanted;
    int r = l->p->ops->list(l->p, dir, note_found, ret);
    return r == -ENOENT || r == -ENOTDIR ? 0 : r;
}

static int unlink_scripts(struct linux_plan *l, struct found *f)
{
    static const char *const roots[] = { "etc", "etc/rc.d" };
    int r = 0;
    for (size_t k = 0; k < 2 * 8 && r == 0; k++) {
        char dir[32], path[512];
        snprintf(dir, sizeof dir, "%s/rc%c.d", roots[k / 8], "0123456S"[k % 8]);
        r = find_names(l, dir, is_foreign_script, f);
        for (size_t i = 0; i < f->n && r == 0; i++) {
            snprintf(path, sizeof path, "%s/%s", dir, f->names[i]);
            r = l->p->ops->remove(l->p, path, "tools of another hypervisor: the service isn't started");
            r = r == -ENOENT ? 0 : r; /* etc/rc.d may be a link to etc, or the other way round */
        }
    }
    return r;
}

static bool is_foreign_rule(const char *name)
{
    size_t n = strlen(name);
    return n > 6 && !strcmp(name + n - 6, ".rules") &&
           (strstr(name, "vmware") || strstr(name, "open-vm-tools") || strstr(name, "nutanix") ||
            strstr(name, "xen-vcpu"));
}

/* A rule in /etc hides one of its name elsewhere; a link to nowhere is no rule. */
static int mask_rules(struct linux_plan *l, struct found *f)
{
    static const char *const dirs[] = { "etc/udev/rules.d", "usr/lib/udev/rules.d", "lib/udev/rules.d" };
    int r = 0;
    for (size_t k = 0; k < 3 && r == 0; k++) {
        r = find_names(l, dirs[k], is_foreign_rule, f);
        for (size_t i = 0; i < f->n && r == 0; i++) {
            char path[512];
            snprintf(path, sizeof path, "%s/%s", dirs[0], f->names[i]);
            r = linux_link(l, path, "/dev/null", "a udev rule of another hypervisor's is masked");
        }
    }
    return r;
}

static int plan_tools(struct linux_plan *l)
{
    struct found *f = calloc(1, sizeof *f);
    if (!f)
        return -ENOMEM;
    int r = mask_units(l);
    r = r < 0 ? r : unlink_scripts(l, f);
    r = r < 0 ? r : mask_rules(l, f);
    free(f);
    return r;
}

/* ---- SELinux ---- */

static int plan_selinux(struct linux_plan *l)
{
    _cleanup_free_ char *text = NULL;
    int r = linux_text(l, "etc/selinux/config", &text);
    if (r < 0 || !l->adds_files)
        return r == -ENOENT ? 0 : r;
    for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        if (!strncmp(line, "SELINUX=enforcing", 17) || !strncmp(line, "SELINUX=permissive", 18))
            return linux_file(l, ".autorelabel", "", 0644,
                              "the new files have no label: SELinux gives them at the next boot");
    return 0;
}

int plan_linux(struct prepare *p)
{
    struct linux_plan l = { .p = p };
    int r = plan_fstab(&l);
    r = r < 0 ? r : linux_plan_boot(&l);
    r = r < 0 ? r : plan_lvm(&l);
    r = r < 0 ? r : linux_plan_net(&l);
    r = r < 0 ? r : linux_plan_initramfs(&l);
    r = r < 0 ? r : plan_tools(&l);
    r = r < 0 ? r : plan_selinux(&l);
    free(l.links);
    return r;
}
