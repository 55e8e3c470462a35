/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which systems the volumes hold, and how each puts its volumes together.
 *
 * Windows: an NTFS volume with the SYSTEM hive where it always is. Until the registry can be read it is C,
 * and the other volumes that Windows would give a letter take the next ones in disk order.
 *
 * Linux: a volume with os-release (or an older distribution's mark). Its fstab names the rest, by UUID,
 * LABEL, PARTUUID, PARTLABEL, or by a device name, where any hypervisor's naming of disks is understood: sda,
 * vda, hda, xvda, nvme0n1 are all the first disk. Source: fstab(5), os-release(5), systemd's discoverable
 * partitions. */
#include "walk.h"

#include "../formats/hash.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static struct guest_system *add_system(struct guest *g, enum guest_kind kind, size_t root)
{
    struct guest_system *all = realloc(g->systems, (g->n_systems + 1) * sizeof *all);
    if (!all)
        return NULL;
    g->systems = all;
    struct guest_system *s = &all[g->n_systems++];
    *s = (struct guest_system){ .kind = kind, .root = root };
    return s;
}

static struct guest_mount *add_mount(struct guest_system *s, const char *path, size_t volume)
{
    struct guest_mount *all = realloc(s->mounts, (s->n_mounts + 1) * sizeof *all);
    char *copy = strdup(path);
    if (all)
        s->mounts = all;
    if (!all || !copy) {
        free(copy);
        return NULL;
    }
    s->mounts[s->n_mounts] = (struct guest_mount){ .path = copy, .volume = volume };
    return &s->mounts[s->n_mounts++];
}

static bool exists(const struct realm *r, const char *path)
{
    struct place p;
    return realm_resolve(r, path, &p) == 0;
}

/* ---- Windows ---- */

static bool is_windows(const struct guest *g, size_t i)
{
    struct realm r = { g, NULL, i };
    return !strcmp(g->volumes[i].signature.type, "ntfs") &&
           (exists(&r, "Windows/System32/config/SYSTEM") || exists(&r, "WINNT/system32/config/system"));
}

/* Windows gives letters to basic data partitions, not to the EFI system, reserved or recovery ones, nor to
 * hidden. */
static bool wants_letter(const struct guest *g, size_t i)
{
    static const uint8_t basic_data[16] = { 0xa2, 0xa0, 0xd0, 0xeb, 0xe5, 0xb9, 0x33, 0x44,
                                            0x87, 0xc0, 0x68, 0xb6, 0xb7, 0x26, 0x99, 0xc7 };
    const struct guest_volume *v = &g->volumes[i];
    if (!v->volume || v->lv || (strcmp(v->signature.type, "ntfs") && strncmp(v->signature.type, "fat", 3)))
        return false;
    if (!v->partition || g->disks[v->disk].table->kind == TABLE_MBR)
        return !v->partition || (v->partition->mbr_type != 0x27 && v->partition->mbr_type != 0xef &&
                                 (v->partition->mbr_type & 0xf0) != 0x10);
    return !memcmp(v->partition->type_guid, basic_data, 16) && !(v->partition->attributes >> 63);
}

static void find_windows(struct guest *g, size_t root)
{
    struct guest_system *s = add_system(g, GUEST_WINDOWS, root);
    if (!s)
        return;
    snprintf(s->name, sizeof s->name, "Windows");
    add_mount(s, "C", root);
    char letter[2] = "D";
    for (size_t i = 0; i < g->n_volumes && letter[0] <= 'Z'; i++)
        if (i != root && wants_letter(g, i) && !is_windows(g, i) && add_mount(s, letter, i))
            letter[0]++;
}

/* ---- Linux ---- */

/* Takes NAME=value or NAME="value" out of an os-release. */
static void os_release_get(const char *text, const char *name, char *ret, size_t size)
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
        return;
    }
}

static bool linux_name(const struct guest *g, size_t i, char *ret, size_t size)
{
    static const char *const releases[] = { "etc/os-release", "usr/lib/os-release" };
    static const char *const marks[] = { "etc/debian_version", "etc/redhat-release", "etc/SuSE-release",
                                         "etc/alpine-release", "etc/gentoo-release" };
    const struct guest_volume *v = &g->volumes[i];
    struct realm r = { g, NULL, i };
    if (!v->volume || !strcmp(v->signature.type, "ntfs") || !strncmp(v->signature.type, "fat", 3))
        return false;
    snprintf(ret, size, "Linux");
    for (size_t k = 0; k < sizeof releases / sizeof releases[0]; k++) {
        char *text;
        if (realm_slurp(&r, releases[k], 16384, &text) == 0) {
            os_release_get(text, "PRETTY_NAME", ret, size);
            free(text);
            return true;
        }
    }
    for (size_t k = 0; k < sizeof marks / sizeof marks[0]; k++)
        if (exists(&r, marks[k]))
            return true;
    return exists(&r, "etc/fstab") && (exists(&r, "bin") || exists(&r, "usr/bin"));
}

/* "sda3" and its like: the disk by its letter, the partition by its number; -1 for none of both. */
static bool device_name(const char *dev, long *ret_disk, long *ret_partition)
{
    static const char *const lettered[] = { "xvd", "sd", "vd", "hd" };
    char *end;
    if (!strncmp(dev, "nvme", 4)) {
        *ret_disk = strtol(dev + 4, &end, 10);
        if (end == dev + 4 || *end != 'n')
            return false;
        strtol(end + 1, &end, 10);
        *ret_partition = *end == 'p' ? strtol(end + 1, &end, 10) : 0;
        return !*end;
    }
    for (size_t i = 0; i < sizeof lettered / sizeof lettered[0]; i++) {
        size_t n = strlen(lettered[i]);
        if (strncmp(dev, lettered[i], n) || !islower((unsigned char)dev[n]))
            continue;
        *ret_disk = dev[n] - 'a';
        *ret_partition = strtol(dev + n + 1, &end, 10);
        return !*end;
    }
    return false;
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

static bool volume_matches(const struct guest *g, const struct guest_volume *v, const char *spec)
{
    static const struct {
        const char *tag, *path;
    } forms[] = { { "UUID=", "/dev/disk/by-uuid/" },
                  { "LABEL=", "/dev/disk/by-label/" },
                  { "PARTUUID=", "/dev/disk/by-partuuid/" },
                  { "PARTLABEL=", "/dev/disk/by-partlabel/" } };
    for (int i = 0; i < 4; i++) {
        const char *value = NULL;
        if (!strncmp(spec, forms[i].tag, strlen(forms[i].tag)))
            value = spec + strlen(forms[i].tag);
        else if (!strncmp(spec, forms[i].path, strlen(forms[i].path)))
            value = spec + strlen(forms[i].path);
        if (!value)
            continue;
        if (i == 0)
            return v->signature.uuid[0] && !strcasecmp(v->signature.uuid, value);
        if (i == 1)
            return v->signature.label[0] && !strcmp(v->signature.label, value);
        if (i == 2)
            return partuuid_matches(g, v, value);
        return v->partition && v->partition->name[0] && !strcmp(v->partition->name, value);
    }
    long disk, partition;
    if (strncmp(spec, "/dev/", 5) || !device_name(spec + 5, &disk, &partition))
        return false;
    return (long)v->disk == disk && (v->partition ? (long)v->partition->number : 0) == partition;
}

/* fstab's \040 and its like, and quotes around a tag's value. */
static void unescape(char *s)
{
    char *out = s;
    for (const char *p = s; *p; p++) {
        if (p[0] == '\\' && p[1] >= '0' && p[1] <= '3' && p[2] >= '0' && p[2] <= '7' && p[3] >= '0' &&
            p[3] <= '7') {
            *out++ = (char)((p[1] - '0') * 64 + (p[2] - '0') * 8 + (p[3] - '0'));
            p += 3;
        } else if (*p != '"') {
            *out++ = *p;
        }
    }
    *out = 0;
}

struct fstab_line {
    char *spec, *path, *type, *options;
};

static bool fstab_split(char *line, struct fstab_line *ret)
{
    char *save = NULL;
    char *hash = line + strspn(line, " \t");
    if (*hash == '#' || !*hash)
        return false;
    ret->spec = strtok_r(line, " \t\r", &save);
    ret->path = strtok_r(NULL, " \t\r", &save);
    ret->type = strtok_r(NULL, " \t\r", &save);
    ret->options = strtok_r(NULL, " \t\r", &save);
    if (!ret->spec || !ret->path || !ret->type || ret->path[0] != '/')
        return false;
    unescape(ret->spec);
    unescape(ret->path);
    return true;
}

static bool has_option(const char *options, const char *want)
{
    size_t n = strlen(want);
    for (const char *p = options; p && *p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
        if (!strncmp(p, want, n) && (!p[n] || p[n] == ','))
            return true;
    return false;
}

static bool find_directory(const struct realm *r, const char *path, struct place *ret)
{
    struct volume_attr a;
    if (realm_resolve(r, path, ret) < 0)
        return false;
    struct volume *v = r->guest->volumes[ret->volume].volume;
    return v->ops->getattr(v, ret->ino, &a) == 0 && S_ISDIR(a.mode);
}

static void mount_line(struct guest *g, struct guest_system *s, const struct fstab_line *l)
{
    struct realm r = { g, s, 0 };
    const char *path = l->path + strspn(l->path, "/");
    if (!*path || !strcmp(l->type, "swap") || has_option(l->options, "noauto") ||
        has_option(l->options, "bind"))
        return;
    bool local =
        l->spec[0] == '/' ? !strncmp(l->spec, "/dev/", 5) : strchr(l->spec, '=') && !strchr(l->spec, ':');
    if (!local)
        return;
    for (size_t i = 0; i < g->n_volumes; i++) {
        if (!volume_matches(g, &g->volumes[i], l->spec))
            continue;
        struct place at;
        bool used = false;
        for (size_t k = 0; k < s->n_mounts; k++)
            used |= s->mounts[k].volume == i;
        if (used || !g->volumes[i].volume || !find_directory(&r, path, &at)) {
            notes_add(&g->notes, "%s (%s in fstab) isn't shown at %s: %s", l->spec, g->volumes[i].name,
                      l->path,
                      used                    ? "it is mounted elsewhere already"
                      : !g->volumes[i].volume ? "it can't be read"
                                              : "there is no such directory");
            return;
        }
        struct guest_mount *m = add_mount(s, path, i);
        if (m) {
            m->at_volume = at.volume;
            m->at_ino = at.ino;
        }
        return;
    }
    notes_add(&g->notes, "%s, which fstab mounts at %s, isn't on any of the disks", l->spec, l->path);
}

static size_t path_depth(const char *path)
{
    size_t n = 0;
    for (; *path; path++)
        n += *path == '/';
    return n;
}

static void read_fstab(struct guest *g, struct guest_system *s)
{
    enum { MAX_LINES = 256 };
    struct realm r = { g, s, 0 };
    struct fstab_line lines[MAX_LINES];
    size_t n = 0;
    char *text, *save = NULL;
    if (realm_slurp(&r, "etc/fstab", 65536, &text) < 0)
        return;
    for (char *line = strtok_r(text, "\n", &save); line && n < MAX_LINES; line = strtok_r(NULL, "\n", &save))
        if (fstab_split(line, &lines[n]))
            n++;
    /* outer mount points first, whatever the order of the lines */
    for (size_t depth = 1; depth < 16; depth++)
        for (size_t i = 0; i < n; i++)
            if (path_depth(lines[i].path) == depth)
                mount_line(g, s, &lines[i]);
    free(text);
}

static void find_linux(struct guest *g, size_t root, const char *name)
{
    struct guest_system *s = add_system(g, GUEST_LINUX, root);
    if (!s)
        return;
    snprintf(s->name, sizeof s->name, "%s", name);
    if (add_mount(s, "", root))
        read_fstab(g, s);
}

void guest_inspect(struct guest *g)
{
    char name[sizeof g->systems->name];
    for (size_t i = 0; i < g->n_volumes; i++) {
        if (!g->volumes[i].volume)
            continue;
        if (is_windows(g, i))
            find_windows(g, i);
        else if (linux_name(g, i, name, sizeof name))
            find_linux(g, i, name);
    }
}
