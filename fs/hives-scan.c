/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where Windows has its hives. Of the machine: all of System32\config, by content and not by name, since
 * there are logs and copies, too. Of the users: by the list of profiles in SOFTWARE. A hive's file is read
 * and written through its volume. */
#include "hives-impl.h"

#include "../formats/bytes.h"
#include "../formats/cleanup.h"
#include "../guest/text.h"
#include "../guest/walk.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { PATH_SIZE = 1024, PROFILES_MAX = 500 };

/* ---- a hive in a file of a volume ---- */

struct volume_hive_file {
    struct hive_file file;
    struct volume *volume;
    uint64_t ino;
    struct volume_file *open;
    char name[PATH_SIZE];
};

static struct volume_hive_file *vhf(struct hive_file *f)
{
    return (struct volume_hive_file *)(void *)f;
}

static int vhf_pread(struct hive_file *f, void *buf, size_t len, uint64_t off)
{
    struct volume_hive_file *v = vhf(f);
    for (size_t done = 0; done < len;) {
        size_t n = 0;
        int r = v->volume->ops->read(v->open, (char *)buf + done, len - done, off + done, &n);
        if (r < 0)
            return r;
        if (!n)
            return -EIO;
        done += n;
    }
    return 0;
}

static int vhf_pwrite(struct hive_file *f, const void *buf, size_t len, uint64_t off)
{
    struct volume_hive_file *v = vhf(f);
    int r = v->volume->ops->write(v->open, buf, len, off);
    if (!r && off + len > f->size)
        f->size = off + len;
    return r;
}

static int vhf_truncate(struct hive_file *f, uint64_t size)
{
    struct volume_hive_file *v = vhf(f);
    struct volume_attr a = { .size = size };
    int r = v->volume->ops->setattr(v->volume, v->ino, &a, SET_SIZE);
    if (!r)
        f->size = size;
    return r;
}

static void vhf_close(struct hive_file *f)
{
    struct volume_hive_file *v = vhf(f);
    v->volume->ops->release(v->open);
    free(v);
}

static const struct hive_file_ops readable = { .pread = vhf_pread, .close = vhf_close };
static const struct hive_file_ops writable = {
    .pread = vhf_pread,
    .pwrite = vhf_pwrite,
    .truncate = vhf_truncate,
    .close = vhf_close,
};

static int open_in(const struct guest *g, struct place p, const char *path, bool may_write,
                   struct hive_file **ret)
{
    struct volume *v = g->volumes[p.volume].volume;
    struct volume_attr a;
    int r = v->ops->getattr(v, p.ino, &a);
    if (!r && !S_ISREG(a.mode))
        r = -EMEDIUMTYPE;
    if (r < 0)
        return r;
    struct volume_hive_file *h = calloc(1, sizeof *h);
    if (!h)
        return -ENOMEM;
    bool write = may_write && v->writable && v->ops->write && v->ops->setattr;
    h->volume = v;
    h->ino = p.ino;
    snprintf(h->name, sizeof h->name, "guest/%s", path);
    h->file = (struct hive_file){ .ops = write ? &writable : &readable, .size = a.size, .name = h->name };
    r = v->ops->open(v, p.ino, &h->open);
    if (r < 0)
        free(h);
    else
        *ret = &h->file;
    return r;
}

static int open_place(struct ferry *f, struct place p, const char *path, struct hive_file **ret)
{
    return open_in(f->guest, p, path, ferry_writable(f), ret);
}

static struct realm windows_realm(struct ferry *f)
{
    return (struct realm){ f->guest, &f->guest->systems[f->options->os], 0 };
}

static struct realm realm_of(struct ferry *f, const struct reg_hive *h)
{
    struct realm realm = { f->guest, NULL, h->volume };
    return h->in_volume ? realm : windows_realm(f);
}

/* The hive's file at `p`, and the logs that lie beside `path` of the realm. */
static int open_files(const struct realm *realm, struct place p, const char *path, bool may_write,
                      struct hive_files *ret)
{
    static const char *const suffixes[] = { ".LOG", ".LOG1", ".LOG2" };
    struct hive_file **logs[] = { &ret->log, &ret->log1, &ret->log2 };
    int r = open_in(realm->guest, p, path, may_write, &ret->primary);
    for (int i = 0; i < 3 && !r; i++) {
        char name[PATH_SIZE + 8];
        struct place log;
        snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
        r = realm_resolve(realm, name, &log);
        r = r == -ENOENT ? 0 : r < 0 ? r : open_in(realm->guest, log, name, may_write, logs[i]);
    }
    if (r < 0)
        hive_files_close(ret);
    return r;
}

int hives_guest_files(struct ferry *f, const struct reg_hive *h, struct hive_files *ret, struct fault *fault)
{
    struct realm realm = realm_of(f, h);
    int r = open_files(&realm, (struct place){ h->volume, h->ino }, h->path, ferry_writable(f), ret);
    if (r < 0)
        fault_in(fault, r, h->path, "the hive's files can't be opened: %s", strerror(-r));
    return r;
}

/* Letters may have changed since: what stays is the volume, and the path on it. */
int hives_source_files(struct ferry *f, const struct reg_hive *h, const struct guest *source,
                       struct hive_files *ret)
{
    const char *slash = h->in_volume ? NULL : strchr(h->path, '/');
    struct realm realm = { .guest = source };
    struct place p;
    while (realm.volume < source->n_volumes &&
           strcmp(source->volumes[realm.volume].name, f->guest->volumes[h->volume].name))
        realm.volume++;
    if (realm.volume == source->n_volumes || !source->volumes[realm.volume].volume)
        return -EIO;
    const char *path = slash ? slash + 1 : h->path;
    int r = realm_resolve(&realm, path, &p);
    return r < 0 ? r : open_files(&realm, p, path, false, ret);
}

/* ---- the machine's ---- */

/* Does the file begin as a hive, not as a log of one? */
static bool is_hive(struct ferry *f, struct place p)
{
    struct hive_file *file = NULL;
    uint8_t head[36];
    struct bad bad = { 0 };
    if (open_place(f, p, "", &file) < 0)
        return false;
    bool ok = file->size >= sizeof head && file->ops->pread(file, head, sizeof head, 0) == 0;
    file->ops->close(file);
    struct bytes b = bytes_of(head, sizeof head, 0, &bad);
    return ok && bytes_match(b, 0, "regf", 4) && le32(b, 28) == 0;
}

bool hives_add_at(struct ferry *f, struct hives *hs, enum hive_place where, const struct realm *realm,
                  const char *name, const char *path)
{
    struct place p;
    if (realm_resolve(realm, path, &p) < 0 || p.volume == WALK_LETTERS || !is_hive(f, p))
        return false;
    struct reg_hive *h = hives_add(hs, where, name, path);
    if (h) {
        h->in_volume = !realm->system;
        h->volume = p.volume;
        h->ino = p.ino;
        h->placed = true;
    }
    return h != NULL;
}

int hives_resolve(struct ferry *f, const struct reg_hive *h, struct place *ret)
{
    struct realm realm = realm_of(f, h);
    int r = realm_resolve(&realm, h->path, ret);
    return r < 0 ? r : ret->volume == WALK_LETTERS ? -ENOENT : 0;
}

bool hives_is_below(struct ferry *f, const struct reg_hive *h, struct place dir)
{
    struct realm realm = realm_of(f, h);
    char path[PATH_SIZE];
    struct place p;
    for (const char *slash = strchr(h->path, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(path, sizeof path, "%.*s", (int)(slash - h->path), h->path);
        if (realm_resolve(&realm, path, &p) == 0 && p.volume == dir.volume && p.ino == dir.ino)
            return true;
    }
    return false;
}

static bool add_at(struct ferry *f, struct hives *hs, enum hive_place where, const char *name,
                   const char *path)
{
    struct realm realm = windows_realm(f);
    return hives_add_at(f, hs, where, &realm, name, path);
}

struct config {
    struct ferry *ferry;
    struct hives *hives;
    char dir[256];
    char names[64][64];
    size_t n;
};

/* Copies and logs have a suffix (SYSTEM.LOG1, system.sav); hives have none. */
static int config_entry(void *ctx, const char *name, uint64_t ino, mode_t type, uint64_t next)
{
    struct config *c = ctx;
    (void)ino;
    (void)next;
    if (strchr(name, '.') || strlen(name) >= sizeof c->names[0] || c->n >= 64 || (type && !S_ISREG(type)))
        return 0;
    strcpy(c->names[c->n++], name);
    return 0;
}

/* Windows' own spelling of what it loads, whatever the file's. */
static void machine_name(char *name)
{
    static const char *const known[] = { "SYSTEM",     "SOFTWARE", "SAM",  "SECURITY",
                                         "COMPONENTS", "DRIVERS",  "ELAM", "BBI" };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (!strcasecmp(name, known[i]))
            strcpy(name, known[i]);
}

static int by_name(const void *a, const void *b)
{
    return strcasecmp(a, b);
}

/* "C": the letter of the volume that Windows lies on. */
static const char *system_letter(const struct guest_system *s)
{
    for (size_t i = 0; i < s->n_mounts; i++)
        if (s->mounts[i].volume == s->root)
            return s->mounts[i].path;
    return "C";
}

static bool find_root(struct ferry *f, char *ret, size_t size)
{
    static const char *const roots[] = { "Windows", "WINNT" };
    struct realm realm = windows_realm(f);
    for (int i = 0; i < 2; i++) {
        struct place p;
        char path[PATH_SIZE];
        snprintf(ret, size, "%s/%s", system_letter(realm.system), roots[i]);
        snprintf(path, sizeof path, "%s/System32/config/SYSTEM", ret);
        if (realm_resolve(&realm, path, &p) == 0)
            return true;
    }
    return false;
}

void hives_scan_machine(struct ferry *f, struct hives *hs)
{
    struct realm realm = windows_realm(f);
    struct place dir;
    char root[64], path[PATH_SIZE];
    _cleanup_free_ struct config *c = calloc(1, sizeof *c);
    if (!c || !find_root(f, root, sizeof root))
        return;
    snprintf(c->dir, sizeof c->dir, "%s/System32/config", root);
    if (realm_resolve(&realm, c->dir, &dir) < 0)
        return;
    struct volume *v = f->guest->volumes[dir.volume].volume;
    v->ops->readdir(v, dir.ino, 0, config_entry, c);
    qsort(c->names, c->n, sizeof c->names[0], by_name);
    for (size_t i = 0; i < c->n; i++) {
        snprintf(path, sizeof path, "%s/%s", c->dir, c->names[i]);
        machine_name(c->names[i]);
        bool of_users = !strcasecmp(c->names[i], "DEFAULT");
        add_at(f, hs, of_users ? HIVE_USERS : HIVE_MACHINE, of_users ? ".DEFAULT" : c->names[i], path);
    }
}

/* ---- the users' ---- */

static struct hive_name units_of(const char *text, uint16_t *units, size_t max)
{
    int n = text_to_utf16(text, units, max);
    return (struct hive_name){ units, n < 0 ? 0 : (size_t)n };
}

static int find_path(const struct hive *h, const char *path, uint32_t *ret)
{
    char part[128];
    uint16_t units[128];
    *ret = hive_root(h);
    while (*path) {
        size_t n = strcspn(path, "/");
        snprintf(part, sizeof part, "%.*s", (int)n, path);
        path += n + (path[n] == '/');
        int r = hive_find_key(h, *ret, units_of(part, units, 128), ret);
        if (r < 0)
            return r;
    }
    return 0;
}

/* A text value in UTF-8 without its terminator. */
static bool text_value(const struct hive *h, uint32_t key, const char *name, char *ret, size_t size)
{
    uint16_t units[512];
    struct hive_value v;
    uint32_t cell;
    if (hive_find_value(h, key, units_of(name, units, 512), &cell) < 0 || hive_value(h, cell, &v) < 0 ||
        v.length > sizeof units || hive_value_data(h, cell, units, v.length & ~1u, 0) < 0)
        return false;
    size_t n = 0;
    while (n < v.length / 2 && units[n]) {
        units[n] = le16toh(units[n]);
        n++;
    }
    text_from_utf16(units, n, ret, size);
    return true;
}

/* "%SystemDrive%\Users\bob" as a path of the guest: "C/Users/bob". */
static void guest_path(struct ferry *f, const char *text, const char *root, char *ret, size_t size)
{
    static const char drive[] = "%SystemDrive%", windows[] = "%SystemRoot%";
    const struct guest_system *s = &f->guest->systems[f->options->os];
    const char *rest = text;
    if (!strncasecmp(text, drive, strlen(drive))) {
        rest = text + strlen(drive);
        snprintf(ret, size, "%s%s", system_letter(s), rest);
    } else if (!strncasecmp(text, windows, strlen(windows))) {
        snprintf(ret, size, "%s%s", root, text + strlen(windows));
    } else if (isalpha((unsigned char)text[0]) && text[1] == ':') {
        snprintf(ret, size, "%c%s", text[0], text + 2);
    } else {
        snprintf(ret, size, "%s/%s", system_letter(s), text);
    }
    for (char *p = ret; *p; p++)
        if (*p == '\\')
            *p = '/';
}

static bool is_sid(const char *name)
{
    return !strncasecmp(name, "S-1-", 4) && strspn(name + 4, "0123456789-") == strlen(name + 4) &&
           strlen(name) < 184 && strcasecmp(name, "S-1-5-18"); /* whose hive is .DEFAULT */
}

static void add_profile(struct ferry *f, struct hives *hs, const char *sid, const char *profile)
{
    static const char *const classes[] = { "AppData/Local/Microsoft/Windows/UsrClass.dat",
                                           "Local Settings/Application Data/Microsoft/Windows/UsrClass.dat" };
    char path[PATH_SIZE], name[200];
    for (size_t i = 0; i < hs->n; i++)
        if (hs->list[i]->where == HIVE_USERS && !strcasecmp(hs->list[i]->name, sid))
            return;
    snprintf(path, sizeof path, "%s/NTUSER.DAT", profile);
    add_at(f, hs, HIVE_USERS, sid, path);
    snprintf(name, sizeof name, "%s_Classes", sid);
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", profile, classes[i]);
        if (add_at(f, hs, HIVE_USERS, name, path))
            return;
    }
}

struct profiles {
    const struct hive *hive;
    struct profile {
        char sid[192], path[PATH_SIZE / 2];
    } * list; /* owned */
    size_t n;
};

static int profile_key(void *ctx, uint32_t index, uint32_t key)
{
    struct profiles *p = ctx;
    uint16_t units[HIVE_KEY_NAME_MAX];
    size_t n;
    (void)index;
    if (p->n >= PROFILES_MAX || hive_key_name(p->hive, key, units, HIVE_KEY_NAME_MAX, &n) < 0 ||
        n > HIVE_KEY_NAME_MAX)
        return 0;
    struct profile *list = realloc(p->list, (p->n + 1) * sizeof *list);
    if (!list)
        return 1;
    p->list = list;
    struct profile *one = &list[p->n];
    text_from_utf16(units, n, one->sid, sizeof one->sid);
    if (is_sid(one->sid) && text_value(p->hive, key, "ProfileImagePath", one->path, sizeof one->path))
        p->n++;
    return 0;
}

void hives_scan_users(struct ferry *f, struct hives *hs)
{
    static const char *const services[][2] = { { "S-1-5-19", "ServiceProfiles/LocalService" },
                                               { "S-1-5-20", "ServiceProfiles/NetworkService" } };
    struct profiles p = { 0 };
    struct reg_hive *software = NULL;
    char root[64], path[PATH_SIZE];
    uint32_t key;
    if (!find_root(f, root, sizeof root))
        return;
    for (size_t i = 0; i < hs->n; i++)
        if (hs->list[i]->where == HIVE_MACHINE && !strcmp(hs->list[i]->name, "SOFTWARE"))
            software = hs->list[i];
    if (software && hives_read(f, software) == 0) {
        p.hive = software->hive;
        if (find_path(p.hive, "Microsoft/Windows NT/CurrentVersion/ProfileList", &key) == 0)
            hive_subkeys(p.hive, key, 0, profile_key, &p, NULL);
        hives_done(software);
    }
    for (size_t i = 0; i < p.n; i++) {
        guest_path(f, p.list[i].path, root, path, sizeof path);
        add_profile(f, hs, p.list[i].sid, path);
    }
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", root, services[i][1]);
        add_profile(f, hs, services[i][0], path);
    }
    free(p.list);
}
