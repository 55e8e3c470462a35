/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which systems the volumes hold, and how each puts its volumes together.
 *
 * Windows: an NTFS volume with the SYSTEM hive where it always is. Until the registry can be read it is C,
 * and the other volumes that Windows would give a letter take the next ones in disk order.
 *
 * Linux: see inspect-linux.c and fstab.c. */
#include "inspect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct guest_system *inspect_add_system(struct guest *g, enum guest_kind kind, size_t root)
{
    struct guest_system *all = realloc(g->systems, (g->n_systems + 1) * sizeof *all);
    if (!all)
        return NULL;
    g->systems = all;
    struct guest_system *s = &all[g->n_systems++];
    *s = (struct guest_system){ .kind = kind, .root = root };
    return s;
}

struct guest_mount *inspect_add_mount(struct guest_system *s, const char *path, size_t volume)
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

bool inspect_exists(const struct realm *r, const char *path)
{
    struct place p;
    return realm_resolve(r, path, &p) == 0;
}

/* ---- Windows ---- */

static bool is_windows(const struct guest *g, size_t i)
{
    struct realm r = { g, NULL, i };
    return !strcmp(g->volumes[i].signature.type, "ntfs") &&
           (inspect_exists(&r, "Windows/System32/config/SYSTEM") ||
            inspect_exists(&r, "WINNT/system32/config/system"));
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
    struct guest_system *s = inspect_add_system(g, GUEST_WINDOWS, root);
    if (!s)
        return;
    snprintf(s->name, sizeof s->name, "Windows");
    inspect_add_mount(s, "C", root);
    char letter[2] = "D";
    for (size_t i = 0; i < g->n_volumes && letter[0] <= 'Z'; i++)
        if (i != root && wants_letter(g, i) && !is_windows(g, i) && inspect_add_mount(s, letter, i))
            letter[0]++;
}

void guest_inspect(struct guest *g)
{
    for (size_t i = 0; i < g->n_volumes; i++) {
        if (!g->volumes[i].volume)
            continue;
        if (is_windows(g, i))
            find_windows(g, i);
        else
            inspect_linux(g, i);
    }
}
