/* SPDX-License-Identifier: GPL-2.0-or-later */
/* LVM's label and metadata. The first byte chooses: the input is a text, in a physical volume whose checksums
 * are right; or it is the volume's first bytes, with the label's and the header's checksums made right. Every
 * volume's map covers it, and it reads the same twice. */
#include "../unit/lvm-sample.h"
#include "../unit/memdisk.h"

#include <assert.h>

enum { TEXT_MAX_INPUT = SAMPLE_AREA_SIZE - 512 - 1 };
static const char uuid[] = "AAAAAAaaaaaaaaaaaaaaaaaaaaaaAAAA";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_volume(const struct lvm_volume *v)
{
    static uint8_t once[8192], again[8192];
    uint64_t off = 0;
    assert(v->vg[0] && v->lv[0] && !strchr(v->vg, '/') && !strchr(v->lv, '/'));
    if (!v->disk) {
        assert(v->why[0]);
        return;
    }
    assert(v->disk->size == v->size && v->n_devices);
    for (unsigned i = 0; i < 64 && off < v->size; i++) {
        struct extent e;
        int r = disk_map(v->disk, off, v->size - off, &e);
        off += r < 0 ? 4096 : e.length;
    }
    size_t n = v->size < sizeof once ? (size_t)v->size : sizeof once;
    int r = disk_pread(v->disk, once, n, v->size - n), s = disk_pread(v->disk, again, n, v->size - n);
    assert(r == s && (r < 0 || !memcmp(once, again, n)));
}

static void make_checksums_right(uint8_t *pv)
{
    uint8_t *s = pv + SAMPLE_LABEL_AT, *h = pv + SAMPLE_AREA_AT;
    struct bad bad = { 0 };
    struct bytes b = bytes_of(h, SAMPLE_SIZE - SAMPLE_AREA_AT, 0, &bad);
    uint64_t off = le64(b, 40), size = le64(b, 48);
    if (off < SAMPLE_AREA_SIZE && size < SAMPLE_AREA_SIZE - off)
        put_le32(h + 56, lvm_crc(h + off, size));
    put_le32(s + 16, lvm_crc(s + 20, 512 - 20));
    put_le32(h, lvm_crc(h + 4, 512 - 4));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static uint8_t pv[SAMPLE_SIZE];
    if (!n || n - 1 > TEXT_MAX_INPUT)
        return 0;
    memset(pv, 0, sizeof pv);
    if (data[0] & 1) {
        memcpy(pv + SAMPLE_LABEL_AT, data + 1, n - 1);
        make_checksums_right(pv);
    } else {
        char text[TEXT_MAX_INPUT + 1];
        memcpy(text, data + 1, n - 1);
        text[n - 1] = 0;
        sample_label(pv, uuid, 1);
        sample_text(pv, text, 512, 0);
    }
    struct memdisk disk = memdisk_of(pv, sizeof pv);
    struct lvm_device device = { .disk = &disk.disk, .name = "disk0", .there = disk.disk.size };
    struct notes notes = { 0 };
    struct lvm *lvm;
    int r = lvm_assemble(&device, 1, &notes, &lvm);
    assert(!r && device.why[0]);
    for (size_t i = 0; i < lvm->n; i++)
        check_volume(&lvm->volumes[i]);
    lvm_free(lvm);
    notes_done(&notes);
    return 0;
}
