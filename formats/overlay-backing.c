/* SPDX-License-Identifier: GPL-2.0-or-later */
/* By which name QEMU can open what we have open, so that it can run the guest from the overlay as it is.
 *
 * A file of the host goes by its path; what lies within one (a member of an OVA) by a json: name, with a raw
 * layer of offset and size below the format. QEMU must read it as we do, or not at all: so nothing that we
 * had to remark on, no links that were found elsewhere than where their child says, and of each format only
 * the kinds that QEMU is known to read (seen with 7.2). */
#include "json.h"
#include "overlay.h"

#include <errno.h>
#include <string.h>

/* ---- which layers QEMU reads as we do ---- */

static bool vmdk_agrees(const struct layer_info *l, bool in_archive)
{
    static const char *const in_one_file[] = { "monolithicSparse", "streamOptimized" };
    static const char *const in_several[] = { "monolithicFlat", "vmfs", "twoGbMaxExtentSparse",
                                              "twoGbMaxExtentFlat" };
    for (size_t i = 0; i < sizeof in_one_file / sizeof in_one_file[0]; i++)
        if (!strcmp(l->subformat, in_one_file[i]))
            return true;
    for (size_t i = 0; !in_archive && i < sizeof in_several / sizeof in_several[0]; i++)
        if (!strcmp(l->subformat, in_several[i]))
            return true;
    return false;
}

static bool agrees(const struct layer_info *l)
{
    enum { VDI_BLOCK = 1 << 20 /* the only size that QEMU has */ };
    if (!l->place.path || l->odd || l->beside || l->notes.n)
        return false;
    if (l->sector_size && l->sector_size != 512)
        return false;
    if (!l->place.whole && l->file_size != l->place.length)
        return false; /* there is another file beside it in the archive */
    if (!strcmp(l->format, "raw") || !strcmp(l->format, "qcow2"))
        return true;
    if (!strcmp(l->format, "vmdk"))
        return vmdk_agrees(l, !l->place.whole);
    if (!strcmp(l->format, "vdi"))
        return l->block_size == VDI_BLOCK;
    return strcmp(l->subformat, "differencing") != 0; /* vhd, vhdx */
}

/* QEMU finds the links by itself, by what each says of the next: qcow2 on anything, vmdk on vmdk. */
static bool chain_agrees(const struct image *image)
{
    for (size_t i = 0; i < image->n_layers; i++) {
        const struct layer_info *l = &image->layers[i];
        if (!agrees(l))
            return false;
        if (image->n_layers > 1 && !l->place.whole)
            return false;
        if (i && !strcmp(image->layers[i - 1].format, "vmdk") && strcmp(l->format, "vmdk"))
            return false;
        /* only the top's name can tell QEMU how to find out the size */
        if (i && !strcmp(l->format, "vhd"))
            return false;
    }
    return true;
}

/* ---- the name ---- */

static const char *qemu_format(const struct layer_info *l)
{
    return strcmp(l->format, "vhd") ? l->format : "vpc";
}

static void put_file(struct json_out *o, const struct file_place *p)
{
    if (!p->whole) {
        json_raw(o, "\"driver\": \"raw\", \"offset\": ");
        json_number(o, p->offset);
        json_raw(o, ", \"size\": ");
        json_number(o, p->length);
        json_raw(o, ", \"file\": {");
    }
    json_raw(o, p->device ? "\"driver\": \"host_device\", \"filename\": "
                          : "\"driver\": \"file\", \"filename\": ");
    json_quote(o, p->path);
    if (!p->whole)
        json_raw(o, "}");
}

static void put_json_name(struct json_out *o, const struct layer_info *l)
{
    json_raw(o, "json:{");
    if (!strcmp(l->format, "raw")) {
        put_file(o, &l->place);
    } else {
        json_raw(o, "\"driver\": ");
        json_quote(o, qemu_format(l));
        /* else QEMU takes the geometry for the size where it doesn't know the creator */
        if (!strcmp(l->format, "vhd"))
            json_raw(o, ", \"force_size_calc\": \"current_size\"");
        json_raw(o, ", \"file\": {");
        put_file(o, &l->place);
        json_raw(o, "}");
    }
    json_raw(o, "}");
}

int overlay_backing(const struct image *image, char **ret_backing, const char **ret_format)
{
    const struct layer_info *top = &image->layers[0];
    *ret_backing = NULL;
    *ret_format = NULL;
    if (!chain_agrees(image))
        return 0;
    struct json_out o = { 0 };
    if (top->place.whole && strcmp(top->format, "vhd") != 0)
        json_raw(&o, top->place.path);
    else if (json_is_utf8(top->place.path)) /* as QEMU's JSON is */
        put_json_name(&o, top);
    else
        return 0;
    if (o.failed)
        return -ENOMEM;
    *ret_backing = o.text;
    *ret_format = qemu_format(top);
    return 0;
}
