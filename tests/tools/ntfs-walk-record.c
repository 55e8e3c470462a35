/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ntfs-walk: MFT records, attributes and their lists, runs and sizes. */
#include "ntfs-walk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One attribute record as it lies in an MFT record. */
struct piece {
    const uint8_t *p;
    uint64_t record;
    bool listed;
};

struct pieces {
    struct piece *p;
    size_t n;
};

static uint8_t *record_of(uint64_t n)
{
    return vol.mft + n * vol.record;
}

/* ---- runs ---- */

static void add_run(struct attr *a, struct run r)
{
    a->runs = realloc(a->runs, (a->n_runs + 1) * sizeof *a->runs);
    if (!a->runs)
        give_up("out of memory");
    a->runs[a->n_runs++] = r;
}

/* The runs of one attribute record, which continue at *vcn. */
static void add_runs(struct attr *a, const uint8_t *p, uint64_t file, uint64_t *vcn)
{
    const uint8_t *at = p + get(p + 32, 2), *end = p + get(p + 4, 4);
    uint64_t last = get(p + 24, 8);
    int64_t lcn = 0;
    if (get(p + 16, 8) != *vcn)
        complain("file %llu: attribute 0x%x: extent begins at %llu, not %llu", (unsigned long long)file,
                 a->type, (unsigned long long)get(p + 16, 8), (unsigned long long)*vcn);
    while (at < end && *at) {
        unsigned n_len = *at & 15, n_lcn = *at >> 4;
        uint64_t n = get(at + 1, n_len);
        int64_t delta = (int64_t)get(at + 1 + n_len, n_lcn);
        if (n_lcn && n_lcn < 8 && delta >> (8 * n_lcn - 1))
            delta -= (int64_t)1 << (8 * n_lcn);
        lcn += delta;
        if (!n || (n_lcn && (lcn < 0 || (uint64_t)lcn + n > vol.clusters)))
            give_up("file %llu: attribute 0x%x: a run outside the volume", (unsigned long long)file, a->type);
        add_run(a, (struct run){ *vcn, n, n_lcn ? lcn : -1 });
        *vcn += n;
        at += 1 + n_len + n_lcn;
    }
    if (at >= end)
        complain("file %llu: attribute 0x%x: runs without an end", (unsigned long long)file, a->type);
    if (*vcn != last + 1)
        complain("file %llu: attribute 0x%x: runs end at %llu, not %llu", (unsigned long long)file, a->type,
                 (unsigned long long)*vcn, (unsigned long long)last + 1);
}

/* Counts the clusters, and holds the sizes against them. $BadClus names clusters that are nobody's. */
static void check_sizes(const struct attr *a, uint64_t file, uint64_t end_vcn)
{
    uint64_t stored = 0;
    for (size_t i = 0; i < a->n_runs; i++) {
        if (a->runs[i].lcn < 0)
            continue;
        stored += a->runs[i].n;
        for (uint64_t c = 0; c < a->runs[i].n; c++)
            vol.owners[(uint64_t)a->runs[i].lcn + c]++;
    }
    if (a->allocated != end_vcn * vol.cluster || a->size > a->allocated || a->initialized > a->size)
        complain("file %llu: attribute 0x%x: sizes %llu %llu %llu over %llu clusters",
                 (unsigned long long)file, a->type, (unsigned long long)a->allocated,
                 (unsigned long long)a->size, (unsigned long long)a->initialized,
                 (unsigned long long)end_vcn);
    if (a->flags & 0x8001 && a->packed != stored * vol.cluster)
        complain("file %llu: attribute 0x%x: packed size %llu, %llu clusters stored",
                 (unsigned long long)file, a->type, (unsigned long long)a->packed,
                 (unsigned long long)stored);
    if (!(a->flags & 0x8001) && stored != end_vcn && file != 8)
        complain("file %llu: attribute 0x%x: has holes, but isn't sparse", (unsigned long long)file, a->type);
}

/* ---- attributes ---- */

static void name_attr(struct attr *a, const uint8_t *p)
{
    a->type = (uint32_t)get(p, 4);
    a->flags = (uint16_t)get(p + 12, 2);
    a->name_len = p[9];
    memcpy(a->name, p + get(p + 10, 2), 2u * p[9]);
    a->resident = !p[8];
}

static bool same_attr(const uint8_t *p, const uint8_t *q)
{
    return !memcmp(p, q, 4) && p[9] == q[9] && !memcmp(p + get(p + 10, 2), q + get(q + 10, 2), 2u * p[9]);
}

/* Joins the pieces from `i` on that are extents of one attribute; returns how many. */
static size_t join(uint64_t file, const struct pieces *all, size_t i, struct attr *a)
{
    const uint8_t *p = all->p[i].p;
    name_attr(a, p);
    if (a->resident) {
        a->size = get(p + 16, 4);
        a->value = p + get(p + 20, 2);
        if (get(p + 20, 2) + a->size > get(p + 4, 4))
            give_up("file %llu: attribute 0x%x: a value past its end", (unsigned long long)file, a->type);
        return 1;
    }
    a->allocated = get(p + 40, 8);
    a->size = get(p + 48, 8);
    a->initialized = get(p + 56, 8);
    a->packed = a->flags & 0x8001 ? get(p + 64, 8) : 0;
    uint64_t vcn = 0;
    size_t n = 0;
    while (i + n < all->n && all->p[i + n].p[8] && same_attr(all->p[i + n].p, p) &&
           (!n || get(all->p[i + n].p + 16, 8)))
        add_runs(a, all->p[i + n++].p, file, &vcn);
    check_sizes(a, file, vcn);
    return n;
}

/* ---- records ---- */

int compare_units(const uint8_t *a, unsigned na, const uint8_t *b, unsigned nb)
{
    for (unsigned i = 0; i < na && i < nb; i++) {
        uint64_t x = get(a + 2 * i, 2), y = get(b + 2 * i, 2);
        if (vol.upcase) {
            x = vol.upcase[x];
            y = vol.upcase[y];
        }
        if (x != y)
            return x < y ? -1 : 1;
    }
    return (int)na - (int)nb;
}

/* The layout of a record, and its attributes in order. */
static void take_pieces(uint64_t n, struct pieces *all)
{
    const uint8_t *r = record_of(n);
    unsigned at = (unsigned)get(r + 20, 2), used = (unsigned)get(r + 24, 4);
    unsigned next_instance = (unsigned)get(r + 40, 2);
    const uint8_t *last = NULL;
    if (used > vol.record || get(r + 28, 4) != vol.record || used % 8)
        complain("record %llu: %u bytes used of %llu", (unsigned long long)n, used,
                 (unsigned long long)get(r + 28, 4));
    while (at + 4 <= used && get(r + at, 4) != AT_END) {
        const uint8_t *p = r + at;
        unsigned length = (unsigned)get(p + 4, 4);
        if (length < 24 || length % 8 || at + length > used)
            give_up("record %llu: an attribute of %u bytes at %u", (unsigned long long)n, length, at);
        if (last && get(last, 4) > get(p, 4))
            complain("record %llu: attributes are out of order", (unsigned long long)n);
        if (get(p + 14, 2) >= next_instance)
            complain("record %llu: instance %llu, next is %u", (unsigned long long)n,
                     (unsigned long long)get(p + 14, 2), next_instance);
        for (size_t i = 0; i < all->n; i++)
            if (all->p[i].record == n && get(all->p[i].p + 14, 2) == get(p + 14, 2))
                complain("record %llu: an instance twice", (unsigned long long)n);
        all->p = realloc(all->p, (all->n + 1) * sizeof *all->p);
        if (!all->p)
            give_up("out of memory");
        all->p[all->n++] = (struct piece){ p, n, false };
        last = p;
        at += length;
    }
    if (at + 8 != used)
        complain("record %llu: ends at %u, %u bytes used", (unsigned long long)n, at, used);
}

static bool is_used(uint64_t n)
{
    return n < vol.records && !memcmp(record_of(n), "FILE", 4) && get(record_of(n) + 22, 2) & 1;
}

/* The list names each attribute record of the file, where it is, and nothing else. */
static void take_listed(uint64_t file, struct pieces *all)
{
    const uint8_t *list = NULL;
    struct attr a = { 0 };
    for (size_t i = 0; i < all->n && !list; i++)
        if (get(all->p[i].p, 4) == AT_LIST)
            list = all->p[i].p;
    if (!list)
        return;
    struct piece list_piece = { list, file, false };
    struct pieces only = { &list_piece, 1 };
    join(file, &only, 0, &a); /* its clusters are counted with those of all others, below */
    for (size_t i = 0; i < a.n_runs; i++)
        for (uint64_t c = 0; a.runs[i].lcn >= 0 && c < a.runs[i].n; c++)
            vol.owners[(uint64_t)a.runs[i].lcn + c]--;
    uint8_t *p = read_attr(&a), *end = p + a.size;
    for (const uint8_t *e = p; e < end; e += get(e + 4, 2)) {
        uint64_t where = get(e + 16, 6);
        if (end - e < 26 || get(e + 4, 2) < 26)
            give_up("file %llu: a bad list entry", (unsigned long long)file);
        if (!is_used(where) || get(e + 22, 2) != get(record_of(where) + 16, 2)) {
            complain("file %llu: listed record %llu isn't in use", (unsigned long long)file,
                     (unsigned long long)where);
            continue;
        }
        bool known = where == file;
        for (size_t i = 0; i < all->n && !known; i++)
            known = all->p[i].record == where;
        if (!known) {
            if (get(record_of(where) + 32, 6) != file)
                complain("file %llu: listed record %llu is another's", (unsigned long long)file,
                         (unsigned long long)where);
            take_pieces(where, all);
            vol.files[where].entries++; /* belongs to somebody */
        }
        bool found = false;
        for (size_t i = 0; i < all->n && !found; i++) {
            const uint8_t *q = all->p[i].p;
            found = all->p[i].record == where && get(q, 4) == get(e, 4) && get(q + 14, 2) == get(e + 24, 2) &&
                    q[9] == e[6] && !memcmp(q + get(q + 10, 2), e + e[7], 2u * e[6]) &&
                    (q[8] ? get(q + 16, 8) : 0) == get(e + 8, 8);
            if (found)
                all->p[i].listed = true;
        }
        if (!found)
            complain("file %llu: a listed attribute 0x%llx isn't in record %llu", (unsigned long long)file,
                     (unsigned long long)get(e, 4), (unsigned long long)where);
    }
    for (size_t i = 0; i < all->n; i++)
        if (!all->p[i].listed && get(all->p[i].p, 4) != AT_LIST)
            complain("file %llu: attribute 0x%llx in record %llu isn't listed", (unsigned long long)file,
                     (unsigned long long)get(all->p[i].p, 4), (unsigned long long)all->p[i].record);
    free(a.runs);
    free(p);
}

static int by_place(const void *a, const void *b)
{
    const uint8_t *x = ((const struct piece *)a)->p, *y = ((const struct piece *)b)->p;
    if (get(x, 4) != get(y, 4))
        return get(x, 4) < get(y, 4) ? -1 : 1;
    int r = compare_units(x + get(x + 10, 2), x[9], y + get(y + 10, 2), y[9]);
    if (!r)
        r = memcmp(x + get(x + 10, 2), y + get(y + 10, 2), 2u * x[9]);
    uint64_t vx = x[8] ? get(x + 16, 8) : 0, vy = y[8] ? get(y + 16, 8) : 0;
    return r ? r : vx < vy ? -1 : vx > vy;
}

static void load_file(uint64_t n)
{
    struct file *f = &vol.files[n];
    struct pieces all = { 0 };
    take_pieces(n, &all);
    take_listed(n, &all);
    qsort(all.p, all.n, sizeof *all.p, by_place);
    f->attrs = get_memory(all.n * sizeof *f->attrs);
    for (size_t i = 0; i < all.n; i += join(n, &all, i, &f->attrs[f->n++]))
        ;
    free(all.p);
}

/* ---- the MFT itself ---- */

/* The $DATA extents of record 0 that its own list names come one by one: each lies in what is known by then.
 */
void load_mft(void)
{
    static uint8_t first[65536];
    uint64_t lcn = get(vol.image + 0x30, 8);
    memcpy(first, vol.image + lcn * vol.cluster, vol.record);
    if (!fix_up(first, vol.record, "FILE"))
        give_up("the MFT's first record is damaged");
    vol.mft = first;
    vol.records = 1;
    struct pieces all = { 0 };
    take_pieces(0, &all);
    struct attr data = { 0 }, list = { 0 };
    uint64_t vcn = 0;
    for (size_t i = 0; i < all.n; i++) {
        struct pieces one = { &all.p[i], 1 };
        if (get(all.p[i].p, 4) == AT_LIST)
            join(0, &one, 0, &list);
        if (get(all.p[i].p, 4) != AT_DATA)
            continue;
        name_attr(&data, all.p[i].p);
        data.allocated = get(all.p[i].p + 40, 8);
        data.size = get(all.p[i].p + 48, 8);
        data.initialized = get(all.p[i].p + 56, 8);
        add_runs(&data, all.p[i].p, 0, &vcn);
    }
    free(all.p);
    uint8_t *entries = list.size ? read_attr(&list) : NULL;
    uint8_t *mft = get_memory(data.allocated);
    size_t done = 0;
    for (const uint8_t *e = entries;; e += get(e + 4, 2)) {
        for (; done < data.n_runs; done++)
            memcpy(mft + data.runs[done].vcn * vol.cluster,
                   vol.image + (uint64_t)data.runs[done].lcn * vol.cluster, data.runs[done].n * vol.cluster);
        if (!entries || e >= entries + list.size)
            break;
        if (get(e, 4) != AT_DATA || !get(e + 8, 8))
            continue;
        static uint8_t extension[65536];
        memcpy(extension, mft + get(e + 16, 6) * vol.record, vol.record);
        if (!fix_up(extension, vol.record, "FILE"))
            give_up("an extension record of the MFT is damaged");
        for (const uint8_t *p = extension + get(extension + 20, 2); get(p, 4) != AT_END; p += get(p + 4, 4))
            if (get(p, 4) == AT_DATA)
                add_runs(&data, p, 0, &vcn);
    }
    free(entries);
    memset(vol.owners, 0, vol.clusters);
    vol.mft = mft;
    vol.records = data.initialized / vol.record;
    vol.files = get_memory(vol.records * sizeof *vol.files);
    free(data.runs);
    free(list.runs);
}

static void check_record(uint64_t n, bool marked)
{
    uint8_t *r = record_of(n);
    struct file *f = &vol.files[n];
    if (memcmp(r, "FILE", 4)) {
        if (marked)
            complain("record %llu is marked used and is none", (unsigned long long)n);
        return;
    }
    if (!fix_up(r, vol.record, "FILE"))
        complain("record %llu is torn", (unsigned long long)n);
    f->used = get(r + 22, 2) & 1;
    f->is_dir = get(r + 22, 2) & 2;
    f->seq = (uint16_t)get(r + 16, 2);
    f->links = (uint16_t)get(r + 18, 2);
    f->is_base = !get(r + 32, 8);
    if (get(r + 44, 4) != (n & 0xffffffff))
        complain("record %llu says it is %llu", (unsigned long long)n, (unsigned long long)get(r + 44, 4));
    /* records 12 to 15 are in use, and 16 to 23 kept free, whatever the bitmap says */
    if (f->used != marked && (n < 12 || n > 23))
        complain("record %llu is %s, and marked %s", (unsigned long long)n, f->used ? "used" : "free",
                 marked ? "used" : "free");
}

static void load_upcase(void)
{
    const struct attr *a = find_attr(10, AT_DATA, "");
    vol.upcase = (uint16_t *)(void *)read_attr(a);
    if (a->size != 131072)
        give_up("$UpCase has %llu bytes", (unsigned long long)a->size);
}

void check_records(void)
{
    uint8_t *r = record_of(0);
    if (!fix_up(r, vol.record, "FILE"))
        give_up("record 0 is torn");
    vol.files[0] = (struct file){ .used = true, .is_base = true, .seq = 1, .links = 1 };
    /* Those of the MFT's own records that its attributes need must be whole before anything is judged. */
    for (uint64_t n = 1; n < vol.records; n++)
        if (!memcmp(record_of(n), "FILE", 4) && get(record_of(n) + 22, 2) & 1)
            check_record(n, true);
    load_file(0);
    const struct attr *bits = find_attr(0, AT_BITMAP, "");
    uint8_t *bitmap = read_attr(bits);
    for (uint64_t n = 1; n < vol.records; n++) {
        bool marked = n / 8 < bits->size && bitmap[n / 8] >> (n % 8) & 1;
        if (vol.files[n].used ? !marked : marked)
            check_record(n, marked);
    }
    for (uint64_t n = vol.records; n < bits->size * 8; n++)
        if (bitmap[n / 8] >> (n % 8) & 1)
            complain("record %llu is marked used, past the end of the MFT", (unsigned long long)n);
    free(bitmap);
    for (uint64_t n = 1; n < vol.records; n++)
        if (vol.files[n].used && vol.files[n].is_base)
            load_file(n);
    for (uint64_t n = 1; n < vol.records; n++) {
        if (vol.files[n].used && !vol.files[n].is_base && vol.files[n].entries != 1)
            complain("record %llu belongs to %u files", (unsigned long long)n, vol.files[n].entries);
        vol.files[n].entries = 0;
    }
    load_upcase();
}
