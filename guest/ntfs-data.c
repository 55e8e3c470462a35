/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The content of an NTFS attribute, without the library.
 *
 * An attribute's value lies in its MFT record (resident), or in clusters that a runlist names:
 *
 *     VCN  0        10        26             42          (clusters of the value)
 *          [lcn 500 ][ hole   ][ lcn 9000    ]           (clusters of the volume)
 *          |<------- initialized size ------>|<- zeros ->| size
 *
 * A compressed value is cut into units of 16 clusters (mostly). In a unit, clusters come first and a hole
 * last: no hole, the unit is stored as it is; only a hole, it is zeros; both, its clusters are one LZNT1
 * stream.
 *
 * ntfs_data_load() takes the runlist out of the library once, checks every run (inside the volume, in order,
 * without gaps) and keeps 16 bytes of each. From then on reads need no lock, so that many readers of one
 * volume run in parallel; a decompressed unit of a file's main stream is kept in the cache under (inode,
 * unit). Nothing here turns damage into zeros: a run outside the volume or a runlist shorter than the size
 * fails the load, a stream that is damaged or ends too early fails the read.
 *
 * Source: fact sheet ext4-ntfs-libs B; layout of attribute records in the Linux-NTFS documentation. */
#include "ntfs.h"

#include "../formats/checked.h"
#include "lznt1.h"

#include <errno.h>
#include <string.h>

/* Windows itself stops at some 6 million runs of a file (the attribute list is full); 16 bytes each. */
enum { RUNS_MAX = 8 << 20 };
/* Units have 16 clusters of at most 4 KiB; Windows 10 allows larger clusters with units of 64 KiB too. */
enum { UNIT_SHIFT_MIN = 10, UNIT_SHIFT_MAX = 20 };
/* A resident value lies in an MFT record, of which the largest has 64 KiB. */
enum { RESIDENT_MAX = 65536 };

int ntfs_failed(void)
{
    return errno == ENOMEM ? -ENOMEM : -EIO;
}

int ntfs_write_failed(void)
{
    switch (errno) {
    case ENOMEM:
    case ENOSPC:
    case EFBIG:
    case EMLINK:
    case EEXIST:
    case ENOTEMPTY:
    case ENAMETOOLONG:
    case EACCES:
        return -errno;
    case EOPNOTSUPP: /* what the library can't change */
        return -EOPNOTSUPP;
    default:
        return -EIO;
    }
}

/* ---- load (locked) ---- */

static int load_resident(ntfs_attr *na, struct ntfs_data *d)
{
    if (d->size > RESIDENT_MAX)
        return -EIO;
    d->resident = malloc(d->size ? d->size : 1);
    if (!d->resident)
        return -ENOMEM;
    s64 n = ntfs_attr_pread(na, 0, (s64)d->size, d->resident);
    if (n != (s64)d->size)
        return n < 0 ? ntfs_failed() : -EIO;
    d->initialized = d->size;
    return 0;
}

/* One run of the library's, that must begin at *vcn. */
static int check_run(const struct ntfs *v, const runlist_element *rl, uint64_t *vcn, struct ntfs_run *ret)
{
    uint64_t end;
    if (rl->vcn < 0 || (uint64_t)rl->vcn != *vcn || rl->length < 0 ||
        !checked_add(*vcn, (uint64_t)rl->length, &end) || end > (uint64_t)INT64_MAX >> v->cluster_shift)
        return -EIO;
    if (rl->lcn >= 0 ? !range_inside((uint64_t)rl->lcn, (uint64_t)rl->length, v->clusters)
                     : rl->lcn != LCN_HOLE)
        return -EIO;
    *ret = (struct ntfs_run){ *vcn, rl->lcn >= 0 ? rl->lcn : NTFS_RUN_HOLE };
    *vcn = end;
    return 0;
}

static int load_runs(const struct ntfs *v, ntfs_attr *na, struct ntfs_data *d)
{
    if (ntfs_attr_map_whole_runlist(na))
        return ntfs_failed();
    size_t n = 0;
    while (na->rl && na->rl[n].length)
        if (++n > RUNS_MAX)
            return -EIO;
    d->runs = malloc((n ? n : 1) * sizeof *d->runs);
    if (!d->runs)
        return -ENOMEM;
    for (d->n = 0; d->n < n; d->n++) {
        int r = check_run(v, &na->rl[d->n], &d->end_vcn, &d->runs[d->n]);
        if (r < 0)
            return r;
    }
    return d->size <= d->end_vcn << v->cluster_shift ? 0 : -EIO;
}

static int load_unit_shift(const struct ntfs *v, const ntfs_attr *na, struct ntfs_data *d)
{
    unsigned flags = le16_to_cpu(na->data_flags & ATTR_COMPRESSION_MASK);
    if (!flags)
        return 0;
    if (flags != 1 || !is_power_of_two(na->compression_block_clusters))
        return -EIO;
    d->unit_shift = v->cluster_shift + shift_of(na->compression_block_clusters);
    return d->unit_shift < UNIT_SHIFT_MIN || d->unit_shift > UNIT_SHIFT_MAX ? -EIO : 0;
}

static int load_attr(const struct ntfs *v, ntfs_attr *na, struct ntfs_data *d)
{
    if (na->data_size < 0 || na->initialized_size < 0)
        return -EIO;
    d->size = (uint64_t)na->data_size;
    d->initialized = min_u64((uint64_t)na->initialized_size, d->size);
    if (na->data_flags & ATTR_IS_ENCRYPTED) {
        d->error = -EACCES;
        return 0;
    }
    if (!NAttrNonResident(na))
        return load_resident(na, d);
    int r = load_unit_shift(v, na, d);
    return r < 0 ? r : load_runs(v, na, d);
}

int ntfs_data_load(struct ntfs *v, ntfs_inode *ni, ATTR_TYPES type, ntfschar *name, uint32_t name_len,
                   struct ntfs_data *ret)
{
    ntfs_attr *na = ntfs_attr_open(ni, type, name, name_len);
    if (!na)
        return errno == ENOENT ? -ENODATA : ntfs_failed();
    struct ntfs_data d = { .ntfs = v };
    if (!name_len && type == AT_DATA) /* what is written may lie otherwise at the next load */
        d.ino = v->volume.writable ? ++v->loads : ni->mft_no;
    int r = load_attr(v, na, &d);
    ntfs_attr_close(na);
    if (r < 0)
        ntfs_data_done(&d);
    else
        *ret = d;
    return r;
}

void ntfs_data_done(struct ntfs_data *d)
{
    free(d->resident);
    free(d->runs);
    ntfs_wof_free(d->wof);
    d->wof = NULL;
    d->resident = NULL;
    d->runs = NULL;
    d->n = 0;
}

int ntfs_load_value(struct ntfs *v, ntfs_inode *ni, ATTR_TYPES type, size_t max, uint8_t **ret,
                    size_t *ret_len)
{
    struct ntfs_data d;
    int r = ntfs_data_load(v, ni, type, AT_UNNAMED, 0, &d);
    if (r < 0)
        return r;
    uint8_t *value = NULL;
    size_t n = 0;
    if (d.size > max)
        r = -EFBIG;
    else if (!(value = malloc(d.size ? d.size : 1)))
        r = -ENOMEM;
    else
        r = ntfs_data_read(&d, value, d.size, 0, &n);
    ntfs_data_done(&d);
    if (r < 0) {
        free(value);
        return r;
    }
    *ret = value;
    *ret_len = n;
    return 0;
}

/* ---- hints ---- */

enum { AHEAD = 65536 }; /* bytes: a grain or cluster of a compressed source */

void ntfs_data_ahead(const struct ntfs_data *d)
{
    if (d->n && d->runs[0].lcn != NTFS_RUN_HOLE && !d->error)
        disk_prefetch(d->ntfs->disk, (uint64_t)d->runs[0].lcn << d->ntfs->cluster_shift,
                      min_u64(d->initialized, AHEAD));
}

void ntfs_attr_ahead(struct ntfs *v, ntfs_attr *na)
{
    if (!NAttrNonResident(na) || na->initialized_size <= 0)
        return;
    LCN lcn = ntfs_attr_vcn_to_lcn(na, 0);
    if (lcn > 0 && (uint64_t)lcn < v->clusters)
        disk_prefetch(v->disk, (uint64_t)lcn << v->cluster_shift,
                      min_u64((uint64_t)na->initialized_size, AHEAD));
}

/* ---- read (not locked) ---- */

/* The run that holds `vcn` (< end_vcn). */
static size_t find_run(const struct ntfs_data *d, uint64_t vcn)
{
    size_t lo = 0, hi = d->n;
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        if (d->runs[mid].vcn <= vcn)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

static uint64_t run_end(const struct ntfs_data *d, size_t i)
{
    return i + 1 < d->n ? d->runs[i + 1].vcn : d->end_vcn;
}

/* Where the bytes at `off` lie: *ret_at on the disk (not set for a hole), and how many follow on. */
static bool locate(const struct ntfs_data *d, uint64_t off, uint64_t *ret_at, uint64_t *ret_len)
{
    unsigned shift = d->ntfs->cluster_shift;
    size_t i = find_run(d, off >> shift);
    *ret_len = (run_end(d, i) << shift) - off;
    if (d->runs[i].lcn == NTFS_RUN_HOLE)
        return false;
    *ret_at = ((uint64_t)d->runs[i].lcn << shift) + (off - (d->runs[i].vcn << shift));
    return true;
}

static int give_zeros(const struct ntfs_data *d, void *buf, size_t len)
{
    if (d->holes_elsewhere)
        return -EIO;
    memset(buf, 0, len);
    return 0;
}

/* Stored bytes and holes, [off, off+len) in the runs. */
static int read_runs(const struct ntfs_data *d, uint8_t *buf, size_t len, uint64_t off)
{
    while (len) {
        uint64_t at, follow;
        bool stored = locate(d, off, &at, &follow);
        size_t n = min_u64(len, follow);
        int r = stored ? late_writes_read(&d->ntfs->late, buf, n, at) : give_zeros(d, buf, n);
        if (r < 0)
            return -EIO;
        buf += n;
        off += n;
        len -= n;
    }
    return 0;
}

/* How many bytes at the beginning of a unit are in clusters; -EIO when clusters follow a hole. */
static int unit_stored(const struct ntfs_data *d, uint64_t unit, size_t *ret)
{
    uint64_t off = unit << d->unit_shift, end = off + ((uint64_t)1 << d->unit_shift);
    end = min_u64(end, d->end_vcn << d->ntfs->cluster_shift);
    bool hole = false;
    *ret = 0;
    while (off < end) {
        uint64_t at, follow;
        bool stored = locate(d, off, &at, &follow);
        follow = min_u64(follow, end - off);
        if (stored && hole)
            return -EIO;
        hole = !stored;
        *ret += stored ? (size_t)follow : 0;
        off += follow;
    }
    return 0;
}

struct unit {
    const struct ntfs_data *data;
    uint64_t number;
    size_t stored; /* bytes */
};

/* Decompresses a unit; what lies behind the initialized size is zeros and need not be in the stream. */
static int load_unit(void *ctx, uint64_t id, void *buf, size_t size)
{
    (void)id;
    const struct unit *u = ctx;
    uint64_t off = u->number << u->data->unit_shift;
    _cleanup_free_ uint8_t *in = malloc(u->stored);
    if (!in)
        return -ENOMEM;
    int r = read_runs(u->data, in, u->stored, off);
    size_t made = 0;
    if (!r)
        r = lznt1_decompress(in, u->stored, buf, size, &made);
    if (r < 0)
        return r;
    if (made < min_u64(size, u->data->initialized - off))
        return -EIO;
    memset((uint8_t *)buf + made, 0, size - made);
    return 0;
}

/* Part of a decompressed unit, from the cache where the unit has a name there. */
static int read_compressed(const struct unit *u, uint8_t *buf, size_t len, size_t within)
{
    const struct ntfs_data *d = u->data;
    size_t size = (size_t)1 << d->unit_shift;
    if (!d->ino || d->ino > UINT32_MAX || u->number > UINT32_MAX) {
        _cleanup_free_ uint8_t *whole = malloc(size);
        int r = whole ? load_unit((void *)u, 0, whole, size) : -ENOMEM;
        if (!r)
            memcpy(buf, whole + within, len);
        return r;
    }
    struct cache_block *b;
    int r = cache_get(d->ntfs->cache, d->ntfs->units_owner[d->unit_shift], d->ino << 32 | u->number, size,
                      load_unit, (void *)u, &b);
    if (r < 0)
        return r;
    memcpy(buf, b->data + within, len);
    cache_put(d->ntfs->cache, b);
    return 0;
}

/* [off, off+len) within the initialized size of a compressed value. */
static int read_units(const struct ntfs_data *d, uint8_t *buf, size_t len, uint64_t off)
{
    uint64_t unit_size = (uint64_t)1 << d->unit_shift;
    while (len) {
        struct unit u = { d, off >> d->unit_shift, 0 };
        size_t within = off & (unit_size - 1), n = min_u64(len, unit_size - within);
        int r = unit_stored(d, u.number, &u.stored);
        if (r < 0)
            return r;
        r = u.stored && u.stored < unit_size ? read_compressed(&u, buf, n, within)
                                             : read_runs(d, buf, n, off);
        if (r < 0)
            return r;
        buf += n;
        off += n;
        len -= n;
    }
    return 0;
}

int ntfs_data_read(const struct ntfs_data *d, void *buf, size_t len, uint64_t off, size_t *ret_len)
{
    if (d->error)
        return d->error;
    len = off < d->size ? min_u64(len, d->size - off) : 0;
    *ret_len = len;
    if (!len)
        return 0;
    if (d->wof)
        return ntfs_wof_read(d, buf, len, off);
    if (d->resident) {
        memcpy(buf, d->resident + off, len);
        return 0;
    }
    size_t n = off < d->initialized ? min_u64(len, d->initialized - off) : 0;
    int r = 0;
    if (n)
        r = d->unit_shift ? read_units(d, buf, n, off) : read_runs(d, buf, n, off);
    if (!r && n < len)
        r = give_zeros(d, (uint8_t *)buf + n, len - n);
    return r;
}

int ntfs_data_map(const struct ntfs_data *d, uint64_t off, uint64_t len, struct extent *ret)
{
    *ret = (struct extent){ .length = len, .kind = EXTENT_DATA };
    if (d->error || d->wof || d->resident || d->holes_elsewhere)
        return 0; /* what can't be read isn't a hole either: a copy must meet the error */
    if (off >= d->initialized) {
        ret->kind = EXTENT_HOLE;
        return 0;
    }
    ret->length = min_u64(len, d->initialized - off);
    if (d->unit_shift) {
        size_t stored;
        int r = unit_stored(d, off >> d->unit_shift, &stored);
        if (r < 0)
            return r;
        uint64_t size = (uint64_t)1 << d->unit_shift;
        ret->length = min_u64(ret->length, size - (off & (size - 1)));
        ret->kind = stored ? EXTENT_DATA : EXTENT_HOLE;
        ret->compressed = stored && stored < size;
        return 0;
    }
    uint64_t at, follow;
    ret->kind = locate(d, off, &at, &follow) ? EXTENT_DATA : EXTENT_HOLE;
    ret->length = min_u64(ret->length, follow);
    return 0;
}
