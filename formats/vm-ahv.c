/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Vdisks of Nutanix AHV. A storage container, as NFS exports it, has them in one flat directory:
 *
 *     CONTAINER/.acropolis/vmdisk/4f1c0b1e-....      the bytes of one guest disk and nothing else
 *
 * Nothing there says which VM a vdisk belongs to, or in which order; only Prism knows. So each is shown as a
 * disk of its own, by name, and a warning says what that order is worth. To see one VM, its vdisks are named
 * as SOURCEs of their own. Snapshots and images that lie elsewhere in the container are left alone.
 *
 * A vdisk is raw; but somebody may have copied another image there, and as everywhere the content decides.
 *
 * Sources: the paths that migration scripts of several authors use; Nutanix publishes none. */
#include "vm-source.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* A VM of AHV has at most 256 SCSI disks; more than that are surely the whole container of a cluster. */
enum { MAX_VDISKS = 256 };

static const char vdisks[] = ".acropolis/vmdisk";

bool vm_is_vdisk_name(const char *name)
{
    for (size_t i = 0; i < 36; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? name[i] != '-' : !isxdigit((unsigned char)name[i]))
            return false;
    }
    return !name[36];
}

static bool ends_in_directory(const char *path, const char *tail)
{
    size_t n = strlen(path), t = strlen(tail);
    return n > t && path[n - t - 1] == '/' && !strcmp(path + n - t, tail);
}

char *vm_vdisk_directory(const char *source)
{
    _cleanup_free_ char *real = realpath(source, NULL);
    if (real && ends_in_directory(real, vdisks))
        return strdup(source);
    bool above = real && ends_in_directory(real, ".acropolis");
    struct stat st;
    size_t n = strlen(source);
    char *path = NULL;
    if (asprintf(&path, "%s%s%s", source, n && source[n - 1] == '/' ? "" : "/", above ? "vmdisk" : vdisks) <
        0)
        return NULL;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return path;
    free(path);
    return NULL;
}

static int add_vdisk(struct vm_builder *b, const char *dir, const char *name)
{
    _cleanup_free_ char *path = NULL;
    _cleanup_(file_unrefp) struct file *f = NULL;
    struct fault why = { 0 };
    if (asprintf(&path, "%s/%s", dir, name) < 0) {
        path = NULL;
        return vm_no_memory(b);
    }
    if (!vm_add_disk(b, path))
        return -ENOMEM;
    int r = file_open_inside(dir, name, &b->source->trust, &f, &why);
    if (!r && !f->size)
        r = fault_in(&why, -EMEDIUMTYPE, path, "is empty");
    return r < 0 ? vm_settle_disk(b, r, NULL, &why) : vm_open_disk(b, f);
}

/* As ls(1) has them; numbers in a UUID mean nothing. */
static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int vm_add_vdisks(struct vm_builder *b, const char *dir, struct vm_listing *l)
{
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++)
        n += vm_is_vdisk_name(l->names[i]);
    if (!n)
        return fault_in(b->fault, -EMEDIUMTYPE, dir, "holds no vdisk: no file has a UUID for its name");
    if (n > MAX_VDISKS) {
        fault_in(b->fault, -EFBIG, dir, "holds %zu vdisks, more than the %d of one machine", n, MAX_VDISKS);
        return fault_hint(b->fault, -EFBIG, "name the vdisks of one machine, in their order");
    }
    qsort(l->names, l->n, sizeof *l->names, by_bytes);
    for (size_t i = 0; i < l->n; i++) {
        int r = vm_is_vdisk_name(l->names[i]) ? add_vdisk(b, dir, l->names[i]) : 0;
        if (r < 0)
            return r;
    }
    if (n > 1)
        notes_add(&b->vm->notes,
                  "the %zu vdisks are in the order of their names, and may belong to several machines: only "
                  "Prism knows. Name those of one machine, in their order, to see it put together",
                  n);
    return vm_describe(b, "ahv", NULL);
}
