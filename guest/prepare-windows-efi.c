/* SPDX-License-Identifier: GPL-2.0-or-later */
/* \EFI\Boot\bootx64.efi in a Windows' EFI system partition: what a VM's firmware starts that has no boot
 * entries yet. Windows' setup and bcdboot put a copy of the boot manager there; where it is missing, it is
 * made. One that is there stays, whatever it is: another system may start Windows.
 *
 * Source: the UEFI specification, "Removable Media Boot Behavior"; Microsoft's bcdboot reference. */
#include "prepare-windows.h"

#include "../formats/bytes.h"
#include "../formats/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_LOADER = 16 << 20, MZ_HEADER = 0x3c, COFF_MACHINE = 4 };

static const struct {
    uint16_t machine;
    const char *name;
} loaders[] = {
    { 0x8664, "bootx64.efi" },
    { 0xaa64, "bootaa64.efi" },
    { 0x014c, "bootia32.efi" },
};
enum { N_LOADERS = sizeof loaders / sizeof loaders[0] };

static bool has_file(const struct windows *w, const char *path)
{
    struct prepare_stat st;
    return w->p->ops->stat(w->p, path, &st) == 0 && S_ISREG(st.mode);
}

/* By the processor that the program is for; NULL: none that is known. */
static const char *name_of(const uint8_t *program, size_t n)
{
    struct bad bad = { 0 };
    struct bytes b = bytes_of(program, n, 0, &bad);
    uint32_t at = le32(b, MZ_HEADER);
    uint16_t machine = le16(b, (size_t)at + COFF_MACHINE);
    for (size_t i = 0; i < N_LOADERS; i++)
        if (!bad.set && bytes_match(b, 0, "MZ", 2) && bytes_match(b, at, "PE\0\0", 4) &&
            loaders[i].machine == machine)
            return loaders[i].name;
    return NULL;
}

int windows_plan_efi(const struct windows *w)
{
    static const char reason[] = "a new VM's firmware has no boot entries: it starts the loader that is here";
    char manager[400], dir[400], path[440];
    _cleanup_free_ uint8_t *bytes = NULL;
    struct prepare_stat st;
    size_t n;
    for (size_t i = 0; i < N_LOADERS; i++) {
        snprintf(path, sizeof path, "%.300s/EFI/Boot/%s", w->p->esp, loaders[i].name);
        if (has_file(w, path))
            return 0;
    }
    snprintf(manager, sizeof manager, "%.300s/EFI/Microsoft/Boot/bootmgfw.efi", w->p->esp);
    int r = w->p->ops->read(w->p, manager, MAX_LOADER, &bytes, &n);
    const char *name = r < 0 ? NULL : name_of(bytes, n);
    if (r == -ENOMEM || r == -EIO)
        return r;
    if (!name)
        return w->p->ops->block(
            w->p, "its EFI system partition has no boot loader that a new VM's firmware would start",
            "run bcdboot C:\\Windows /f UEFI in the guest and copy it again");
    snprintf(dir, sizeof dir, "%.300s/EFI/Boot", w->p->esp);
    r = w->p->ops->stat(w->p, dir, &st) == 0 ? 0 : w->p->ops->mkdir(w->p, dir, 0755, reason);
    snprintf(path, sizeof path, "%.380s/%s", dir, name);
    return r < 0 ? r : w->p->ops->file(w->p, path, bytes, n, 0755, reason);
}
