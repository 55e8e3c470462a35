/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The OVF parser on any bytes. Beyond "no crash": what it gives hangs together, and twice alike. */
#include "formats/ovf.h"
#include "promise.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void check_drive(const struct ovf *o, const struct ovf_drive *d)
{
    PROMISE(!d->disk || (d->disk >= o->disks && d->disk < o->disks + o->n_disks));
    PROMISE(!d->file || (d->file >= o->files && d->file < o->files + o->n_files));
    PROMISE(!d->missing || !d->file);
    PROMISE(d->disk || d->file || d->missing);
    PROMISE(d->bus >= -1 && d->unit >= -1);
}

static void check(const struct ovf *o)
{
    uint64_t unit;
    for (size_t i = 0; i < o->n_drives; i++)
        check_drive(o, &o->drives[i]);
    for (size_t i = 0; i < o->n_files; i++)
        PROMISE(o->files[i].href);
    PROMISE(!o->firmware || !strcmp(o->firmware, "efi") || !strcmp(o->firmware, "bios"));
    if (o->name && ovf_unit_bytes(o->name, &unit))
        PROMISE(unit != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ovf *a = NULL, *b = NULL;
    struct fault fault = { 0 };
    if (size > 65536)
        return 0;
    ovf_looks_like_xml(data, size);
    int r = ovf_parse(data, size, "fuzz.ovf", &a, &fault);
    PROMISE(r == fault.err);
    PROMISE(ovf_parse(data, size, "fuzz.ovf", &b, NULL) == r);
    if (a) {
        check(a);
        PROMISE(a->n_drives == b->n_drives && a->n_nics == b->n_nics && a->memory == b->memory);
    }
    ovf_free(a);
    ovf_free(b);
    return 0;
}
