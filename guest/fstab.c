/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A Linux guest's other volumes, by its fstab.
 *
 *     what     where   type   options
 *     UUID= LABEL= PARTUUID= PARTLABEL=, /dev/disk/by-*    by what stands in the volume or the table
 *     /dev/mapper/VG-LV, /dev/VG/LV                        logical volumes; /dev/mapper doubles dashes of the
 * names /dev/sda3 vda3 hda3 xvda3 nvme0n1p3                  any hypervisor's naming: all of these are on the
 * first disk
 *
 * What a boot would mount is mounted: also what is mounted when it is first used (x-systemd.automount), not
 * what says noauto alone. Swap and network file systems aren't looked at. A bind mount isn't followed: what
 * it shows is in the tree already, where it really is, and a directory can't be at two places of it. Whatever
 * else isn't shown, the notes name it. Source: fstab(5), mount(8), systemd.mount(5), udev's names in
 * /dev/disk. */
#include "inspect.h"

#include "../formats/hash.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_LINES = 256, MAX_SIZE = 65536, MAX_DEPTH = 16, MAX_DEVICE = 1 << 16 };

struct line {
    char *spec, *path, *type, *options;
};

/* ---- names of devices ---- */

/* A decimal number of at least one digit, at most MAX_DEVICE. */
static bool take_number(const char **p, unsigned *ret)
{
    unsigned n = 0;
    if (!isdigit((unsigned char)**p))
        return false;
    while (isdigit((unsigned char)**p) && n <= MAX_DEVICE)
        n = n * 10 + (unsigned)(*(*p)++ - '0');
    *ret = n;
    return n <= MAX_DEVICE;
}

/* "nvme0n1p3": a second disk is either a namespace (nvme0n2) or a controller (nvme1n1). */
static bool nvme_name(const char *p, unsigned *ret_disk, unsigned *ret_partition)
{
    unsigned controller, namespace;
    if (!take_number(&p, &controller) || *p++ != 'n' || !take_number(&p, &namespace) || !namespace)
        return false;
    *ret_disk = controller + namespace - 1;
    *ret_partition = 0;
    return !*p || (*p++ == 'p' && take_number(&p, ret_partition) && !*p);
}

/* "sda3" and its like: the disk by its letters (z is followed by aa), the partition by its number, 0 for
 * none. */
static bool device_name(const char *dev, unsigned *ret_disk, unsigned *ret_partition)
{
    static const char *const lettered[] = { "xvd", "sd", "vd", "hd" };
    if (!strncmp(dev, "nvme", 4))
        return nvme_name(dev + 4, ret_disk, ret_partition);
    for (size_t i = 0; i < sizeof lettered / sizeof lettered[0]; i++) {
        size_t n = strlen(lettered[i]);
        const char *p = dev + n;
        unsigned disk = 0;
        if (strncmp(dev, lettered[i], n) || !islower((unsigned char)*p))
            continue;
        while (islower((unsigned char)*p) && disk <= MAX_DEVICE)
            disk = disk * 26 + (unsigned)(*p++ - 'a') + 1;
        *ret_disk = disk - 1;
        *ret_partition = 0;
        return disk <= MAX_DEVICE && (!*p || (take_number(&p, ret_partition) && !*p));
    }
    return false;
}

static bool is_partition(const struct guest_volume *v, unsigned disk, unsigned partition)
{
    return !v->lv && v->disk == disk && (v->partition ? v->partition->number : 0) == partition;
}

/* Names by a disk's own id or its place on the bus, neither of which an image tells: where the machine has
 * one disk, it can only be that. */
static bool hardware_matches(const struct guest *g, const struct guest_volume *v, const char *name)
{
    unsigned partition = 0;
    const char *part = strstr(name, "-part");
    if (part) {
        part += strlen("-part");
        if (!take_number(&part, &partition) || *part)
            return false;
    }
    return g->n_disks == 1 && is_partition(v, 0, partition);
}

/* "dm-uuid-LVM-" and the two uuids without their dashes. */
static bool lv_uuid_matches(const struct guest_volume *v, const char *name)
{
    char plain[LVM_UUID_SIZE], *o = plain;
    for (const char *p = v->lv->uuid; *p; p++)
        if (*p != '-')
            *o++ = *p;
    *o = 0;
    size_t n = strlen(name), k = strlen(plain);
    return k && n == 2 * k && !strcmp(name + n - k, plain);
}

static bool by_id_matches(const struct guest *g, const struct guest_volume *v, const char *name)
{
    static const char dm_name[] = "dm-name-", dm_uuid[] = "dm-uuid-LVM-";
    if (!strncmp(name, dm_name, strlen(dm_name)))
        return v->lv && !strcmp(v->lv->mapper, name + strlen(dm_name));
    if (!strncmp(name, dm_uuid, strlen(dm_uuid)))
        return v->lv && lv_uuid_matches(v, name + strlen(dm_uuid));
    return hardware_matches(g, v, name);
}

static bool path_matches(const struct guest *g, const struct guest_volume *v, const char *path)
{
    static const char dev[] = "/dev/", mapper[] = "/dev/mapper/";
    unsigned disk, partition;
    if (strncmp(path, dev, strlen(dev)) != 0)
        return false;
    if (!strncmp(path, mapper, strlen(mapper)))
        return v->lv && !strcmp(v->lv->mapper, path + strlen(mapper));
    path += strlen(dev);
    if (device_name(path, &disk, &partition))
        return disk < g->n_disks && is_partition(v, disk, partition);
    size_t n = v->lv ? strlen(v->lv->vg) : 0;
    return n && !strncmp(path, v->lv->vg, n) && path[n] == '/' && !strcmp(path + n + 1, v->lv->lv);
}

/* ---- tags ---- */

static bool uuid_matches(const struct guest *g, const struct guest_volume *v, const char *want)
{
    (void)g;
    return v->signature.uuid[0] && !strcasecmp(v->signature.uuid, want);
}

static bool label_matches(const struct guest *g, const struct guest_volume *v, const char *want)
{
    (void)g;
    return v->signature.label[0] && !strcmp(v->signature.label, want);
}

static bool partuuid_matches(const struct guest *g, const struct guest_volume *v, const char *want)
{
    char text[40];
    if (!v->partition)
        return false;
    if (g->disks[v->disk].table->kind == TABLE_GPT)
        guid_format(v->partition->guid, text);
    else
        snprintf(text, sizeof text, "%08x-%02x", g->disks[v->disk].table->mbr_signature,
                 v->partition->number);
    return !strcasecmp(text, want);
}

static bool partlabel_matches(const struct guest *g, const struct guest_volume *v, const char *want)
{
    (void)g;
    return v->partition && v->partition->name[0] && !strcmp(v->partition->name, want);
}

static const struct {
    const char *tag, *path;
    bool (*matches)(const struct guest *g, const struct guest_volume *v, const char *want);
} forms[] = {
    { "UUID=", "/dev/disk/by-uuid/", uuid_matches },
    { "LABEL=", "/dev/disk/by-label/", label_matches },
    { "PARTUUID=", "/dev/disk/by-partuuid/", partuuid_matches },
    { "PARTLABEL=", "/dev/disk/by-partlabel/", partlabel_matches },
    { "ID=", "/dev/disk/by-id/", by_id_matches },
    { NULL, "/dev/disk/by-path/", hardware_matches },
};
enum { N_FORMS = sizeof forms / sizeof forms[0] };

/* The form that a spec is of, N_FORMS for none; what it names. */
static size_t form_of(const char *spec, const char **ret_value)
{
    for (size_t i = 0; i < N_FORMS; i++) {
        size_t tag = forms[i].tag ? strlen(forms[i].tag) : 0, path = strlen(forms[i].path);
        bool tagged = tag && !strncmp(spec, forms[i].tag, tag);
        if (tagged || !strncmp(spec, forms[i].path, path)) {
            *ret_value = spec + (tagged ? tag : path);
            return i;
        }
    }
    return N_FORMS;
}

static bool volume_matches(const struct guest *g, const struct guest_volume *v, const char *spec)
{
    const char *value;
    size_t form = form_of(spec, &value);
    return form < N_FORMS ? forms[form].matches(g, v, value) : path_matches(g, v, spec);
}

const struct guest_volume *guest_find_device(const struct guest *g, const char *device)
{
    for (size_t i = 0; i < g->n_volumes; i++)
        if (volume_matches(g, &g->volumes[i], device))
            return &g->volumes[i];
    return NULL;
}

/* Of this machine's disks, by its look. */
static bool is_local(const char *spec)
{
    const char *value;
    return form_of(spec, &value) < N_FORMS || !strncmp(spec, "/dev/", 5);
}

/* ---- a line ---- */

/* \040 and its like. */
static void unescape(char *s)
{
    char *out = s;
    for (const char *p = s; *p; out++) {
        if (p[0] == '\\' && p[1] >= '0' && p[1] <= '3' && p[2] >= '0' && p[2] <= '7' && p[3] >= '0' &&
            p[3] <= '7') {
            *out = (char)((p[1] - '0') * 64 + (p[2] - '0') * 8 + (p[3] - '0'));
            p += 4;
        } else {
            *out = *p++;
        }
    }
    *out = 0;
}

static int hex_digit(char c)
{
    if (isdigit((unsigned char)c))
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* udev writes what isn't plain in the names of /dev/disk as \x20. */
static void unescape_udev(char *s)
{
    char *out = s;
    for (const char *p = s; *p; out++) {
        if (p[0] == '\\' && p[1] == 'x' && hex_digit(p[2]) > 0 && hex_digit(p[3]) >= 0) {
            *out = (char)(hex_digit(p[2]) * 16 + hex_digit(p[3]));
            p += 4;
        } else {
            *out = *p++;
        }
    }
    *out = 0;
}

/* TAG="value", TAG='value' */
static void unquote(char *spec)
{
    char *value = strchr(spec, '='), quote;
    size_t n;
    if (!value || spec[0] == '/')
        return;
    quote = *++value;
    n = strlen(value);
    if (n < 2 || (quote != '"' && quote != '\'') || value[n - 1] != quote)
        return;
    memmove(value, value + 1, n - 2);
    value[n - 2] = 0;
}

static bool split_line(char *text, struct line *ret)
{
    char *save = NULL;
    char *first = text + strspn(text, " \t");
    if (*first == '#' || !*first)
        return false;
    ret->spec = strtok_r(text, " \t\r", &save);
    ret->path = strtok_r(NULL, " \t\r", &save);
    ret->type = strtok_r(NULL, " \t\r", &save);
    ret->options = strtok_r(NULL, " \t\r", &save);
    if (!ret->spec || !ret->path || !ret->type || ret->path[0] != '/')
        return false;
    unescape(ret->spec);
    unescape(ret->path);
    unquote(ret->spec);
    if (!strncmp(ret->spec, "/dev/disk/", 10))
        unescape_udev(ret->spec);
    return ret->spec[0] && ret->path[0] == '/';
}

/* The option, or NAME=value; NULL: it isn't there. */
static const char *find_option(const char *options, const char *want)
{
    size_t n = strlen(want);
    for (const char *p = options; p && *p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
        if (!strncmp(p, want, n) && (!p[n] || p[n] == ',' || p[n] == '='))
            return p;
    return NULL;
}

static bool is_mounted_at_boot(const char *options)
{
    const char *comment = find_option(options, "comment");
    return !find_option(options, "noauto") || find_option(options, "x-systemd.automount") ||
           (comment && !strncmp(comment, "comment=systemd.automount", 25));
}

/* ---- mounting ---- */

static bool find_directory(const struct realm *r, const char *path, struct place *ret)
{
    struct volume_attr a;
    if (realm_resolve(r, path, ret) < 0)
        return false;
    struct volume *v = r->guest->volumes[ret->volume].volume;
    return v->ops->getattr(v, ret->ino, &a) == 0 && S_ISDIR(a.mode);
}

/* NULL: volume i can be mounted at l->path, which is *ret. */
static const char *why_not(const struct guest *g, const struct guest_system *s, const struct line *l,
                           size_t i, struct place *ret)
{
    const struct realm r = { g, s, 0 };
    for (size_t k = 0; k < s->n_mounts; k++)
        if (s->mounts[k].volume == i)
            return "it is mounted elsewhere already";
    if (!g->volumes[i].volume)
        return g->volumes[i].why[0] ? g->volumes[i].why : "it can't be read";
    if (!find_directory(&r, l->path, ret))
        return "there is no such directory";
    /* the root of a volume is the one place that can only be reached as a mount, or as / */
    return ret->ino == VOLUME_ROOT ? "something else is mounted there already" : NULL;
}

static void mount_volume(struct guest *g, struct guest_system *s, const struct line *l, size_t i)
{
    struct place at = { 0 };
    const char *why = why_not(g, s, l, i, &at), *subvol = find_option(l->options, "subvol");
    if (why) {
        notes_add(&g->notes, "%.200s%s%.*s (%s in fstab) isn't shown at %.200s: %s", l->spec,
                  subvol ? ", " : "", subvol ? (int)strcspn(subvol, ",") : 0, subvol ? subvol : "",
                  g->volumes[i].name, l->path, why);
        return;
    }
    struct guest_mount *m = inspect_add_mount(s, l->path + strspn(l->path, "/"), i);
    if (m) {
        m->at_volume = at.volume;
        m->at_ino = at.ino;
    }
}

static void mount_line(struct guest *g, struct guest_system *s, const struct line *l)
{
    if (!l->path[strspn(l->path, "/")] || !strcmp(l->type, "swap") || !is_mounted_at_boot(l->options))
        return;
    if (find_option(l->options, "bind") || find_option(l->options, "rbind")) {
        notes_add(&g->notes, "%.200s isn't shown at %.200s as well: a bind mount of fstab", l->spec, l->path);
        return;
    }
    if (!is_local(l->spec))
        return;
    const struct guest_volume *v = guest_find_device(g, l->spec);
    if (v) {
        mount_volume(g, s, l, (size_t)(v - g->volumes));
        return;
    }
    notes_add(&g->notes, "%.200s, which fstab mounts at %.200s, isn't on any of the disks", l->spec, l->path);
}

static size_t path_depth(const char *path)
{
    size_t n = 0;
    for (; *path; path++)
        n += *path == '/' && path[1] && path[1] != '/';
    return n;
}

void inspect_fstab(struct guest *g, struct guest_system *s)
{
    struct realm r = { g, s, 0 };
    struct line lines[MAX_LINES];
    size_t n = 0;
    char *text, *save = NULL;
    if (realm_slurp(&r, "etc/fstab", MAX_SIZE, &text) < 0)
        return;
    for (char *line = strtok_r(text, "\n", &save); line && n < MAX_LINES; line = strtok_r(NULL, "\n", &save))
        if (split_line(line, &lines[n]))
            n++;
    /* outer mount points first, whatever the order of the lines */
    for (size_t depth = 1; depth < MAX_DEPTH; depth++)
        for (size_t i = 0; i < n; i++)
            if (path_depth(lines[i].path) == depth)
                mount_line(g, s, &lines[i]);
    free(text);
}
