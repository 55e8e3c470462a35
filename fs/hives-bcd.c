/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where the firmware would look for the boot configuration: on the EFI system partition of a disk that has
 * one, else on the active partition. A stale store elsewhere is none. */
#include "hives-impl.h"

#include <stdio.h>
#include <string.h>

static const uint8_t efi_system[16] = { 0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11,
                                        0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b };
enum { MBR_EFI_SYSTEM = 0xef };

static bool is_efi_system(const struct partition_table *t, const struct partition *p)
{
    return t->kind == TABLE_GPT ? !memcmp(p->type_guid, efi_system, 16) : p->mbr_type == MBR_EFI_SYSTEM;
}

void hives_scan_bcd(struct ferry *f, struct hives *hs)
{
    const struct guest *g = f->guest;
    for (int efi = 1; efi >= 0; efi--)
        for (size_t i = 0; g && i < g->n_volumes; i++) {
            const struct guest_volume *v = &g->volumes[i];
            const struct partition_table *t = g->disks[v->disk].table;
            struct realm realm = { g, NULL, i };
            if (!v->volume || !v->partition || !t ||
                !(efi ? is_efi_system(t, v->partition) : v->partition->active))
                continue;
            if (hives_add_at(f, hs, HIVE_BCD, &realm, "BCD", efi ? "EFI/Microsoft/Boot/BCD" : "Boot/BCD"))
                return;
        }
}
