/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of internal snapshots: entries of any length, one after the other, each begins at a multiple
 * of 8.
 *
 *     0   L1 table: offset, entries (u32)     24  the guest's clock, ns
 *     12  length of the id, of the name       32  bytes of VM state (u32; the extra data has it in 64 bits)
 *     16  date: seconds, nanoseconds          36  length e of the extra data
 *     40  extra data: u64 bytes of VM state, u64 size of the disk, u64 icount
 *     40 + e   id, name; no NULs behind them
 *
 * What is odd: the disk's size is missing where an old QEMU (version 2 of the format) wrote the entry; the
 * disk had the size then that it has now, for that QEMU couldn't resize a disk with snapshots. An L1 table
 * has the VM state behind the disk's part, and may be shorter than the disk needs.
 *
 * A snapshot of an image with an external data file has no data of its own: a plain cluster there lies where
 * the guest has it, so each write to the disk changes it. QEMU makes none, and none is shown.
 *
 * Source: QEMU's docs/interop/qcow2, "Snapshots". */
#include "checked.h"
#include "qcow2-extras.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    S_L1_OFFSET = 0,
    S_L1_ENTRIES = 8,
    S_ID_LENGTH = 12,
    S_NAME_LENGTH = 14,
    S_SECONDS = 16,
    S_NANOSECONDS = 20,
    S_VM_STATE = 32,
    S_EXTRA_LENGTH = 36,
    S_FIXED = 40,
    EXTRA_VM_STATE = 0,
    EXTRA_DISK_SIZE = 8,
    EXTRA_USED = 16,
};
enum {
    MAX_EXTRA = 1024,        /* QEMU's: longer is taken for damage */
    MAX_TEXT = 1023,         /* of names and ids; QEMU's own interfaces end at 255 */
    MAX_L1_BYTES = 32 << 20, /* as of the active table */
};

struct snapshots_reader {
    struct file *file;
    const struct qcow2_header *h;
    struct layer_info *info;
    struct qcow2_snapshot *places;
    uint64_t pos; /* in the file */
};

struct entry {
    uint8_t fixed[S_FIXED], extra[EXTRA_USED];
    uint32_t extra_length, id_length, name_length;
};

/* ---- one entry ---- */

/* Reads what has a fixed length. False: it isn't in the file, or can't be an entry. */
static bool read_entry(struct snapshots_reader *r, struct entry *e)
{
    struct bad bad = { 0 };
    struct bytes b = bytes_of(e->fixed, sizeof e->fixed, r->pos, &bad);
    if (file_pread(r->file, e->fixed, sizeof e->fixed, r->pos) < 0)
        return false;
    e->extra_length = be32(b, S_EXTRA_LENGTH);
    e->id_length = be16(b, S_ID_LENGTH);
    e->name_length = be16(b, S_NAME_LENGTH);
    if (e->extra_length > MAX_EXTRA)
        return false;
    memset(e->extra, 0, sizeof e->extra);
    return file_pread(r->file, e->extra, (size_t)min_u64(e->extra_length, EXTRA_USED), r->pos + S_FIXED) == 0;
}

/* A string of the entry, at most MAX_TEXT bytes of it, with a NUL behind them. *ret NULL: it isn't in the
 * file. -ENOMEM. */
static int read_text(struct snapshots_reader *r, uint64_t at, uint32_t length, char **ret)
{
    size_t n = (size_t)min_u64(length, MAX_TEXT);
    _cleanup_free_ char *s = calloc(1, n + 1);
    if (!s)
        return -ENOMEM;
    if (range_inside(at, length, r->file->size) && file_pread(r->file, s, n, at) == 0)
        *ret = TAKE_PTR(s);
    return 0;
}

/* Why the snapshot can't be shown, by its entry; "" when it may be. */
static void judge(const struct snapshots_reader *r, const struct qcow2_snapshot *p, uint32_t name_length,
                  char *why, size_t size)
{
    const struct qcow2_header *h = r->h;
    uint64_t needed = div_up(p->size, qcow2_l1_coverage(h));
    *why = 0;
    if (h->data_file)
        snprintf(why, size, "the data lies in a data file, which doesn't keep that of snapshots");
    else if (name_length > MAX_TEXT)
        snprintf(why, size, "its name has %u bytes", name_length);
    else if (p->l1_entries * 8 > MAX_L1_BYTES)
        snprintf(why, size, "an L1 table of %llu entries is larger than QEMU would make one",
                 (unsigned long long)p->l1_entries);
    else if (p->l1_entries < needed)
        snprintf(why, size, "its L1 table of %llu entries is too small for its disk of %llu bytes",
                 (unsigned long long)p->l1_entries, (unsigned long long)p->size);
    else if (p->l1_offset % h->cluster_size || (needed && !p->l1_offset))
        snprintf(why, size, "its L1 table lies at an impossible place, byte %llu",
                 (unsigned long long)p->l1_offset);
    else if (!range_inside(p->l1_offset, needed * 8, r->file->size))
        snprintf(why, size, "the file ends before the end of its L1 table at byte %llu",
                 (unsigned long long)p->l1_offset);
}

static void fill(const struct snapshots_reader *r, const struct entry *e, struct image_snapshot *s,
                 struct qcow2_snapshot *p)
{
    struct bad bad = { 0 };
    struct bytes b = bytes_of(e->fixed, sizeof e->fixed, r->pos, &bad);
    struct bytes x = bytes_of(e->extra, sizeof e->extra, r->pos + S_FIXED, &bad);
    p->l1_offset = be64(b, S_L1_OFFSET);
    p->l1_entries = be32(b, S_L1_ENTRIES);
    p->size = e->extra_length >= EXTRA_USED ? be64(x, EXTRA_DISK_SIZE) : r->h->size;
    s->size = p->size;
    s->vm_state = e->extra_length >= EXTRA_DISK_SIZE ? be64(x, EXTRA_VM_STATE) : be32(b, S_VM_STATE);
    s->date =
        (struct timespec){ .tv_sec = be32(b, S_SECONDS), .tv_nsec = be32(b, S_NANOSECONDS) % 1000000000 };
}

/* Adds the entry at r->pos and goes on behind it. 1; 0 when there is none; -ENOMEM. */
static int add_entry(struct snapshots_reader *r)
{
    struct entry e;
    char why[200];
    struct image_snapshot *s = &r->info->snapshots[r->info->n_snapshots];
    struct qcow2_snapshot *p = &r->places[r->info->n_snapshots];
    if (!read_entry(r, &e))
        return 0;
    uint64_t id_at = r->pos + S_FIXED + e.extra_length, name_at = id_at + e.id_length;
    *s = (struct image_snapshot){ 0 };
    int err = read_text(r, id_at, e.id_length, &s->id);
    if (!err)
        err = read_text(r, name_at, e.name_length, &s->name);
    if (err < 0 || !s->id || !s->name) {
        free(s->id);
        free(s->name);
        return err;
    }
    r->info->n_snapshots++; /* from here on layer_info_done() frees what is in it */
    s->name_n = (size_t)min_u64(e.name_length, MAX_TEXT);
    fill(r, &e, s, p);
    judge(r, p, e.name_length, why, sizeof why);
    if (why[0] && !(s->why = strdup(why)))
        return -ENOMEM;
    r->pos = round_up(name_at + e.name_length, 8);
    return 1;
}

/* ---- the table ---- */

static int read_entries(struct snapshots_reader *r, uint32_t n)
{
    const uint32_t all = r->h->n_snapshots;
    int more = 1;
    while (more > 0 && r->info->n_snapshots < n)
        more = add_entry(r);
    if (more < 0)
        return more;
    if (!more)
        notes_add(&r->info->notes,
                  "the table of snapshots is damaged at byte %llu: only %zu of its %u are known",
                  (unsigned long long)r->pos, r->info->n_snapshots, all);
    else if (n < all)
        notes_add(&r->info->notes, "has %u snapshots, of which only the first %u are looked at", all, n);
    return 0;
}

int qcow2_snapshots_read(struct file *file, const struct qcow2_header *h, struct qcow2_snapshot **ret,
                         struct layer_info *info)
{
    uint32_t n = (uint32_t)min_u64(h->n_snapshots, IMAGE_MAX_SNAPSHOTS);
    *ret = NULL;
    if (!n)
        return 0;
    if (!h->snapshots_offset || h->snapshots_offset % h->cluster_size || h->snapshots_offset >= file->size) {
        notes_add(&info->notes, "the table of its %u snapshots lies at an impossible place, byte %llu",
                  h->n_snapshots, (unsigned long long)h->snapshots_offset);
        return 0;
    }
    struct snapshots_reader r = { .file = file, .h = h, .info = info, .pos = h->snapshots_offset };
    info->snapshots = calloc(n, sizeof *info->snapshots);
    r.places = calloc(n, sizeof *r.places);
    int err = info->snapshots && r.places ? read_entries(&r, n) : -ENOMEM;
    if (err < 0)
        free(r.places); /* what is in info->snapshots goes with info */
    else
        *ret = r.places;
    return err;
}
