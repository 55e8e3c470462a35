/* SPDX-License-Identifier: GPL-2.0-or-later */
/* os-release, fstab and a link's text as a guest may have them, over a toy volume of a few directories.
 * Whatever fstab says, a volume is mounted once and where a directory is; whatever a link says, the text that
 * the kernel is given begins inside the mount and never climbs above the tree's root.
 *
 *     os-release \0 fstab \0 a link's text */
#include "guest/walk.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VOLUMES = 3, NAMES = 8, SIZE_MAX_INPUT = 8192, TEXTS = 3 };

/* The same in each volume; the inode is the index + 2. */
static const struct {
    const char *path;
    mode_t type;
} names[NAMES] = { { "etc", S_IFDIR },     { "etc/os-release", S_IFREG }, { "etc/fstab", S_IFREG },
                   { "boot", S_IFDIR },    { "boot/efi", S_IFDIR },       { "link", S_IFLNK },
                   { "boot/up", S_IFLNK }, { "b\377", S_IFDIR } };
static const char *texts[TEXTS]; /* of files and links */

struct toy_file {
    struct volume_file file;
    const char *text;
};

static const char *path_of(uint64_t ino)
{
    return ino == VOLUME_ROOT ? "" : names[ino - 2].path;
}

static int toy_lookup(struct volume *v, uint64_t dir, const char *name, uint64_t *ret)
{
    char want[600];
    (void)v;
    snprintf(want, sizeof want, "%s%s%s", path_of(dir), dir == VOLUME_ROOT ? "" : "/", name);
    for (unsigned i = 0; i < NAMES; i++) {
        if (strcmp(names[i].path, want) != 0)
            continue;
        *ret = i + 2;
        return 0;
    }
    return -ENOENT;
}

static int toy_getattr(struct volume *v, uint64_t ino, struct volume_attr *ret)
{
    (void)v;
    *ret = (struct volume_attr){ .mode = ino == VOLUME_ROOT ? S_IFDIR : names[ino - 2].type };
    return 0;
}

static int toy_link(struct volume *v, uint64_t ino, char *buf, size_t size, enum link_style *style)
{
    (void)v;
    if (strlen(texts[2]) >= size)
        return -ENAMETOOLONG;
    strcpy(buf, texts[2]);
    *style = ino % 2 ? LINK_POSIX : LINK_WINDOWS;
    return 0;
}

static int toy_open(struct volume *v, uint64_t ino, struct volume_file **ret)
{
    struct toy_file *f = calloc(1, sizeof *f);
    if (!f)
        return -ENOMEM;
    f->file.volume = v;
    f->text = texts[ino == 3 ? 0 : 1];
    *ret = &f->file;
    return 0;
}

static int toy_read(struct volume_file *f, void *buf, size_t len, uint64_t off, size_t *ret)
{
    const char *text = ((struct toy_file *)(void *)f)->text;
    size_t n = strlen(text);
    *ret = off >= n ? 0 : n - off < len ? n - off : len;
    memcpy(buf, text + off, *ret);
    return 0;
}

static void toy_release(struct volume_file *f)
{
    free(f);
}

static void toy_close(struct volume *v)
{
    (void)v;
}

static const struct volume_ops toy_ops = {
    .lookup = toy_lookup,
    .getattr = toy_getattr,
    .link = toy_link,
    .open = toy_open,
    .read = toy_read,
    .release = toy_release,
    .close = toy_close,
};

static struct guest *make_guest(struct volume volumes[VOLUMES])
{
    static const struct signature signatures[VOLUMES] = { { "ext4", "", "1111" },
                                                          { "ext4", "boot", "2222" },
                                                          { "fat32", "E", "AAAA-BBBB" } };
    struct guest *g = calloc(1, sizeof *g);
    if (!g)
        abort();
    g->n_disks = 1;
    g->disks = calloc(1, sizeof *g->disks);
    g->n_volumes = VOLUMES;
    g->volumes = calloc(VOLUMES, sizeof *g->volumes);
    if (!g->disks || !g->volumes)
        abort();
    for (size_t i = 0; i < VOLUMES; i++) {
        volumes[i] = (struct volume){ .ops = &toy_ops };
        g->volumes[i].volume = &volumes[i];
        g->volumes[i].signature = signatures[i];
        snprintf(g->volumes[i].name, sizeof g->volumes[i].name, "disk0p%zu", i + 1);
    }
    guest_inspect(g);
    return g;
}

static void check_system(const struct guest *g, const struct guest_system *s)
{
    bool used[VOLUMES] = { false };
    assert(s->root < VOLUMES && s->n_mounts >= 1 && s->n_mounts <= VOLUMES);
    assert(memchr(s->name, 0, sizeof s->name));
    for (size_t i = 0; i < s->n_mounts; i++) {
        const struct guest_mount *m = &s->mounts[i];
        assert(m->volume < g->n_volumes && !used[m->volume] && m->path[0] != '/');
        used[m->volume] = true;
    }
}

/* What the kernel is told, `depth` directories below the tree's root. */
static void check_link(const char *out, size_t depth)
{
    char *copy = strdup(out), *save = NULL;
    assert(copy && out[0] != '/');
    for (char *c = strtok_r(copy, "/", &save); c; c = strtok_r(NULL, "/", &save)) {
        if (!strcmp(c, "..")) {
            assert(depth);
            depth--;
        } else if (strcmp(c, ".") != 0) {
            depth++;
        }
    }
    free(copy);
}

static void check_links(const struct guest *g, const struct guest_system *system)
{
    struct realm r = { g, system, 0 };
    struct place at[3], found;
    char out[4096];
    assert(!realm_root(&r, &at[0]));
    for (size_t n = 1; n < 3; n++) {
        for (int style = 0; style < 2; style++) {
            if (!realm_rewrite_link(&r, at, n, texts[2], style ? LINK_WINDOWS : LINK_POSIX, out, sizeof out))
                check_link(out, n - 1 + !system); /* volumes/NAME: the list of volumes is above */
        }
        if (realm_lookup(&r, at[n - 1], n == 1 ? "boot" : "efi", &at[n]) < 0)
            break;
    }
    if (!realm_resolve(&r, texts[2], &found))
        assert(found.volume < g->n_volumes && found.ino < NAMES + 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char input[SIZE_MAX_INPUT + TEXTS];
    struct volume volumes[VOLUMES];
    if (size > SIZE_MAX_INPUT)
        return 0;
    memcpy(input, data, size);
    memset(input + size, 0, TEXTS);
    texts[0] = input;
    for (unsigned i = 1; i < TEXTS; i++)
        texts[i] = texts[i - 1] + strlen(texts[i - 1]) + (texts[i - 1] + strlen(texts[i - 1]) < input + size);
    struct guest *g = make_guest(volumes);
    for (size_t i = 0; i < g->n_systems; i++) {
        check_system(g, &g->systems[i]);
        check_links(g, &g->systems[i]);
    }
    check_links(g, NULL);
    for (size_t i = 0; i < g->n_volumes; i++)
        g->volumes[i].volume = NULL;
    guest_free(g);
    return 0;
}
