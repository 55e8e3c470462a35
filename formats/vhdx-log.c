/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The log of a VHDX, replayed in memory as a layer over the file.
 *
 *     the log, a ring of 4 KiB sectors:   ... data | entry 6 | entry 7: header + descriptors | data | data |
 * ... a descriptor: "desc" write the sector that follows at a place in the file, or "zero" a range of it
 *
 * An entry is valid when its checksum, its log's GUID and the sequence number in each of its sectors are
 * right. A sequence of entries is valid when their numbers go up by one and the last one's tail points to one
 * of them: from there on they are replayed. The ring may wrap anywhere, also within an entry. Of several
 * valid sequences that with the highest number counts. (QEMU 7.2 goes by the first number of each and never
 * looks at the tail, so it loses the older half of a sequence that wraps.) A log that must be replayed and
 * holds no valid sequence makes the file unreadable: any table of it may be half written.
 *
 * Only tables are logged, but how much is for the image to say. So no logged byte is kept: the patches are
 * made flat, one for each place, and say where in the log their bytes lie.
 *
 * Source: [MS-VHDX] 2.3. */
#include "vhdx-log.h"
#include "bytes.h"
#include "hash.h"

#include <errno.h>
#include <string.h>

enum {
    SECTOR = 4096,
    ENTRY_LENGTH = 8,
    ENTRY_TAIL = 12,
    ENTRY_SEQUENCE = 16,
    ENTRY_COUNT = 24,
    ENTRY_GUID = 32,
    ENTRY_FLUSHED = 48,
    ENTRY_LAST = 56,
    ENTRY_DESCRIPTORS = 64,
    ENTRY_CHECKSUM = 4,

    DESCRIPTOR = 32,
    DESC_TRAILING = 4,
    DESC_LEADING = 8, /* a zero descriptor's length */
    DESC_OFFSET = 16,
    DESC_SEQUENCE = 24,

    DATA_SEQUENCE_HIGH = 4,
    DATA_BYTES = 8,
    DATA_SEQUENCE_LOW = SECTOR - 4,
};

/* Limits of ours. Hyper-V's and QEMU's logs have 1 MiB unless somebody asks for more. */
enum { MAX_LOG = 256 << 20, MAX_PATCHES = 1 << 17 };
/* A patch can't lie behind what the largest disk needs; so no sum of two offsets overflows. */
#define MAX_FILE (UINT64_C(128) << 40)
/* How often the bytes of the log are looked at before we call it a trap: each generation of entries that was
 * partly overwritten by a later one costs one look. */
enum { MAX_LOOKS = 32 };

/* [offset, end) of the file. */
struct patch {
    uint64_t offset, end;
    uint32_t descriptor, data; /* where they lie in the log; data == ZEROS: a range of zeros */
};
#define ZEROS UINT32_MAX

struct entry {
    uint32_t at, length, tail, n_descriptors; /* the first three in bytes of the log */
    uint64_t sequence, flushed, last;
};

struct log {
    struct file *file;
    const struct vhdx_header *h;
    uint32_t length;
    uint64_t bytes_left; /* to look at, by MAX_LOOKS */
};

/* Entries that follow each other. */
struct sequence {
    struct entry *entries; /* owned */
    size_t n, room;
};

static uint32_t after(const struct log *log, uint32_t at, uint64_t n)
{
    return (uint32_t)((at + n) % log->length);
}

/* Reads from the ring. len <= length. */
static int ring_pread(struct file *file, const struct vhdx_range *ring, void *buf, size_t len, uint32_t at)
{
    size_t n = (size_t)min_u64(len, ring->length - at);
    int r = file_pread(file, buf, n, ring->offset + at);
    return r < 0 || n == len ? r : file_pread(file, (uint8_t *)buf + n, len - n, ring->offset);
}

static int log_pread(struct log *log, void *buf, size_t len, uint32_t at)
{
    return ring_pread(log->file, &log->h->log, buf, len, at);
}

/* ---- one entry ---- */

static uint64_t descriptor_sectors(uint32_t n)
{
    return div_up(ENTRY_DESCRIPTORS + (uint64_t)n * DESCRIPTOR, SECTOR);
}

/* 1: the header is plausible; 0: there is no entry here. */
static int entry_header(struct log *log, uint32_t at, struct entry *ret)
{
    uint8_t p[ENTRY_DESCRIPTORS];
    struct bad bad = { 0 };
    int r = log_pread(log, p, sizeof p, at);
    if (r < 0)
        return r;
    struct bytes b = bytes_of(p, sizeof p, at, &bad);
    struct entry e = {
        .at = at,
        .length = le32(b, ENTRY_LENGTH),
        .tail = le32(b, ENTRY_TAIL),
        .n_descriptors = le32(b, ENTRY_COUNT),
        .sequence = le64(b, ENTRY_SEQUENCE),
        .flushed = le64(b, ENTRY_FLUSHED),
        .last = le64(b, ENTRY_LAST),
    };
    if (!bytes_match(b, 0, "loge", 4) || !bytes_match(b, ENTRY_GUID, log->h->log_guid, 16) || !e.sequence ||
        !e.length || e.length % SECTOR || e.length > log->length || e.tail % SECTOR ||
        e.tail >= log->length || descriptor_sectors(e.n_descriptors) * SECTOR > e.length)
        return 0;
    *ret = e;
    return 1;
}

/* Is the checksum right? 1, 0, or -errno. */
static int entry_checksum(struct log *log, const struct entry *e)
{
    uint8_t p[16 * SECTOR];
    uint32_t crc = ~0u, want = 0;
    if (e->length > log->bytes_left)
        return -EFBIG;
    log->bytes_left -= e->length;
    for (uint32_t done = 0; done < e->length;) {
        size_t n = (size_t)min_u64(sizeof p, e->length - done);
        int r = log_pread(log, p, n, after(log, e->at, done));
        if (r < 0)
            return r;
        if (!done) {
            struct bad bad = { 0 };
            want = le32(bytes_of(p, n, 0, &bad), ENTRY_CHECKSUM);
            memset(p + ENTRY_CHECKSUM, 0, 4); /* our copy: the field counts as 0 */
        }
        crc = crc32c_update(crc, p, n);
        done += (uint32_t)n;
    }
    return ~crc == want;
}

/* A walk over an entry's descriptors. */
struct descriptor_walk {
    const struct entry *e;
    uint32_t i;    /* the next one */
    uint32_t data; /* where the next data sector lies, in bytes from the entry's beginning */
};

static struct descriptor_walk walk_descriptors(const struct entry *e)
{
    return (struct descriptor_walk){ e, 0, (uint32_t)(descriptor_sectors(e->n_descriptors) * SECTOR) };
}

/* 1: *ret is the next one's patch; 0: it is damaged. */
static int next_patch(struct log *log, struct descriptor_walk *w, struct patch *ret)
{
    uint8_t p[DESCRIPTOR], head[8], tail[4];
    struct bad bad = { 0 };
    uint32_t at = after(log, w->e->at, ENTRY_DESCRIPTORS + (uint64_t)w->i * DESCRIPTOR);
    int r = log_pread(log, p, sizeof p, at);
    if (r < 0)
        return r;
    struct bytes b = bytes_of(p, sizeof p, at, &bad);
    struct patch patch = { .offset = le64(b, DESC_OFFSET), .descriptor = at, .data = ZEROS };
    uint64_t length = SECTOR;
    bool zero = bytes_match(b, 0, "zero", 4);
    if (zero)
        length = le64(b, DESC_LEADING);
    if ((!zero && !bytes_match(b, 0, "desc", 4)) || le64(b, DESC_SEQUENCE) != w->e->sequence ||
        patch.offset % SECTOR || length % SECTOR || !range_inside(patch.offset, length, MAX_FILE))
        return 0;
    patch.end = patch.offset + length;
    if (!zero) {
        if (w->data >= w->e->length)
            return 0;
        patch.data = after(log, w->e->at, w->data);
        r = log_pread(log, head, sizeof head, patch.data);
        if (!r)
            r = log_pread(log, tail, sizeof tail, after(log, patch.data, DATA_SEQUENCE_LOW));
        if (r < 0)
            return r;
        uint64_t sequence = (uint64_t)le32(bytes_of(head, sizeof head, 0, &bad), DATA_SEQUENCE_HIGH) << 32 |
                            le32(bytes_of(tail, sizeof tail, 0, &bad), 0);
        if (memcmp(head, "data", 4) != 0 || sequence != w->e->sequence)
            return 0;
        w->data += SECTOR;
    }
    w->i++;
    *ret = patch;
    return 1;
}

/* 1: a valid entry begins at `at`; 0: none. */
static int entry_read(struct log *log, uint32_t at, struct entry *ret)
{
    int r = entry_header(log, at, ret);
    if (r > 0)
        r = entry_checksum(log, ret);
    struct patch patch;
    for (struct descriptor_walk w = walk_descriptors(ret); r > 0 && w.i < ret->n_descriptors;)
        r = next_patch(log, &w, &patch);
    return r;
}

/* ---- the active sequence ---- */

static int sequence_add(struct sequence *s, const struct entry *e)
{
    if (s->n == s->room) {
        size_t room = s->room ? 2 * s->room : 16;
        struct entry *entries = realloc(s->entries, room * sizeof *entries);
        if (!entries)
            return -ENOMEM;
        s->entries = entries;
        s->room = room;
    }
    s->entries[s->n++] = *e;
    return 0;
}

/* The entries from `at` on that follow each other. */
static int sequence_read(struct log *log, uint32_t at, struct sequence *s, uint64_t *ret_bytes)
{
    uint64_t bytes = 0;
    s->n = 0;
    for (;;) {
        struct entry e = { 0 };
        int r = entry_read(log, after(log, at, bytes), &e);
        if (r < 0)
            return r;
        if (!r || (s->n && e.sequence != s->entries[s->n - 1].sequence + 1) || e.length > log->length - bytes)
            break;
        bytes += e.length;
        r = sequence_add(s, &e);
        if (r < 0)
            return r;
    }
    *ret_bytes = bytes;
    return 0;
}

/* Leaves out what lies before the last one's tail. False when the tail points elsewhere. */
static bool sequence_cut(struct sequence *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->entries[i].at == s->entries[s->n - 1].tail) {
            s->n -= i;
            memmove(s->entries, s->entries + i, s->n * sizeof *s->entries);
            return true;
        }
    return false;
}

/* *best: nothing in it when there is none. */
static int find_active(struct log *log, struct sequence *best)
{
    struct sequence s = { 0 };
    uint64_t bytes;
    int r = 0;
    best->n = 0;
    for (uint64_t at = 0; at < log->length && !r; at += bytes) {
        r = sequence_read(log, (uint32_t)at, &s, &bytes);
        if (!r && sequence_cut(&s) &&
            (!best->n || s.entries[s.n - 1].sequence > best->entries[best->n - 1].sequence)) {
            struct sequence spare = *best;
            *best = s;
            s = spare;
        }
        if (!bytes)
            bytes = SECTOR;
    }
    free(s.entries);
    return r;
}

/* ---- patches, made flat ---- */

struct patches {
    struct patch *p; /* owned; sorted, no two overlap */
    size_t n, room;
};

/* In the order of the log: a later one overrules. */
static int collect(struct log *log, const struct sequence *s, struct patches *ps)
{
    for (size_t i = 0; i < s->n; i++)
        for (struct descriptor_walk w = walk_descriptors(&s->entries[i]);
             w.i < s->entries[i].n_descriptors;) {
            if (ps->n == MAX_PATCHES)
                return -EFBIG;
            if (ps->n == ps->room) {
                size_t room = ps->room ? 2 * ps->room : 64;
                struct patch *p = realloc(ps->p, room * sizeof *p);
                if (!p)
                    return -ENOMEM;
                ps->p = p;
                ps->room = room;
            }
            int r = next_patch(log, &w, &ps->p[ps->n]);
            if (r <= 0)
                return r < 0 ? r : -EIO; /* it was valid a moment ago */
            ps->n += ps->p[ps->n].end > ps->p[ps->n].offset;
        }
    return 0;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x < y ? -1 : x > y;
}

/* All offsets and ends, sorted, each once. Returns how many. */
static size_t bounds_of(const struct patches *ps, uint64_t *bounds)
{
    size_t n = 0;
    for (size_t i = 0; i < ps->n; i++) {
        bounds[2 * i] = ps->p[i].offset;
        bounds[2 * i + 1] = ps->p[i].end;
    }
    qsort(bounds, 2 * ps->n, sizeof *bounds, compare_u64);
    for (size_t i = 0; i < 2 * ps->n; i++)
        if (!n || bounds[i] != bounds[n - 1])
            bounds[n++] = bounds[i];
    return n;
}

/* Paints the stretches between bounds from the last patch to the first; what is painted stays. `next` jumps
 * over it: the first stretch at or after i that isn't, as far as known (a union-find). A sector's patch is
 * never divided, since all bounds are multiples of its length. */
static size_t paint(const struct patches *ps, const uint64_t *bounds, size_t n, uint32_t *next,
                    uint32_t *color)
{
    size_t painted = 0;
    for (size_t i = 0; i < n; i++)
        next[i] = (uint32_t)i;
    for (size_t i = ps->n; i--;) {
        const uint64_t *first = bsearch(&ps->p[i].offset, bounds, n, sizeof *bounds, compare_u64);
        for (size_t k = (size_t)(first - bounds);;) {
            while (next[k] != k)
                k = next[k] = next[next[k]];
            if (bounds[k] >= ps->p[i].end)
                break;
            color[k] = (uint32_t)i;
            next[k] = (uint32_t)k + 1;
            painted++;
        }
    }
    return painted;
}

/* Replaces the patches by as many that don't overlap. */
static int flatten(struct patches *ps)
{
    if (!ps->n)
        return 0;
    _cleanup_free_ uint64_t *bounds = malloc(2 * ps->n * sizeof *bounds);
    _cleanup_free_ uint32_t *next = malloc(2 * ps->n * sizeof *next);
    _cleanup_free_ uint32_t *color = malloc(2 * ps->n * sizeof *color);
    if (!bounds || !next || !color)
        return -ENOMEM;
    size_t n = bounds_of(ps, bounds), painted = paint(ps, bounds, n, next, color);
    struct patch *flat = calloc(painted, sizeof *flat), *p = flat;
    if (!flat)
        return -ENOMEM;
    for (size_t k = 0; k + 1 < n; k++) {
        if (next[k] == k)
            continue; /* between two patches */
        *p = ps->p[color[k]];
        p->offset = bounds[k];
        p->end = bounds[k + 1];
        p++;
    }
    free(ps->p);
    *ps = (struct patches){ flat, painted, painted };
    return 0;
}

/* ---- the file with its log replayed ---- */

struct replayed {
    struct file file;
    struct file *under;
    struct vhdx_range ring;
    struct patches patches;
};

static struct replayed *replayed_of(struct file *f)
{
    return (struct replayed *)(void *)f;
}

/* The first patch that ends behind `off`, or the end. */
static const struct patch *patch_from(const struct replayed *v, uint64_t off)
{
    size_t low = 0, high = v->patches.n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (v->patches.p[mid].end <= off)
            low = mid + 1;
        else
            high = mid;
    }
    return v->patches.n ? v->patches.p + low : NULL;
}

static const struct patch *patches_end(const struct replayed *v)
{
    return v->patches.n ? v->patches.p + v->patches.n : NULL;
}

/* What the log left unsaid: the file's own bytes, and zeros where the replay makes it longer (2.3.1.1). */
static int read_under(struct replayed *v, uint8_t *p, size_t len, uint64_t off)
{
    size_t n = off < v->under->size ? (size_t)min_u64(len, v->under->size - off) : 0;
    memset(p + n, 0, len - n);
    return n ? file_pread(v->under, p, n, off) : 0;
}

/* A logged sector: its first 8 and last 4 bytes are in the descriptor, the others in the data sector. */
static int read_logged(struct replayed *v, const struct patch *patch, uint8_t *p, size_t len, uint64_t off)
{
    uint8_t sector[SECTOR], d[DESCRIPTOR];
    int r = ring_pread(v->under, &v->ring, sector, sizeof sector, patch->data);
    if (!r)
        r = ring_pread(v->under, &v->ring, d, sizeof d, patch->descriptor);
    if (r < 0)
        return r;
    memcpy(sector, d + DESC_LEADING, DATA_BYTES);
    memcpy(sector + DATA_SEQUENCE_LOW, d + DESC_TRAILING, SECTOR - DATA_SEQUENCE_LOW);
    memcpy(p, sector + (off - patch->offset), len);
    return 0;
}

static int replayed_pread(struct file *f, void *buf, size_t len, uint64_t off)
{
    struct replayed *v = replayed_of(f);
    uint8_t *p = buf;
    const struct patch *patch = patch_from(v, off), *end = patches_end(v);
    int r = 0;
    while (len && !r) {
        size_t n = len;
        if (patch == end || off < patch->offset) {
            if (patch != end)
                n = (size_t)min_u64(n, patch->offset - off);
            r = read_under(v, p, n, off);
        } else {
            n = (size_t)min_u64(n, patch->end - off);
            if (patch->data == ZEROS)
                memset(p, 0, n);
            else
                r = read_logged(v, patch, p, n, off);
            patch++;
        }
        p += n;
        off += n;
        len -= n;
    }
    return r;
}

static int replayed_map(struct file *f, uint64_t off, uint64_t len, struct extent *ret)
{
    struct replayed *v = replayed_of(f);
    const struct patch *patch = patch_from(v, off), *end = patches_end(v);
    if (patch != end && off >= patch->offset) {
        *ret = (struct extent){ .length = min_u64(len, patch->end - off) };
        ret->kind = patch->data == ZEROS ? EXTENT_HOLE : EXTENT_DATA;
        return 0;
    }
    if (patch != end)
        len = min_u64(len, patch->offset - off);
    if (off < v->under->size)
        return file_map(v->under, off, len, ret);
    *ret = (struct extent){ .length = len, .kind = EXTENT_HOLE };
    return 0;
}

static void replayed_advise(struct file *f, uint64_t off, uint64_t len)
{
    file_advise(replayed_of(f)->under, off, len);
}

static int replayed_open_ref(struct file *f, const char *role, const char *name, struct file **ret,
                             struct fault *fault)
{
    return file_open_ref(replayed_of(f)->under, role, name, ret, fault);
}

static void replayed_close(struct file *f)
{
    file_unref(replayed_of(f)->under);
    free(replayed_of(f)->patches.p);
    free(f);
}

static const struct file_ops replayed_ops = {
    .name = "vhdx-log",
    .pread = replayed_pread,
    .map = replayed_map,
    .advise = replayed_advise,
    .open_ref = replayed_open_ref,
    .close = replayed_close,
};

/* Takes the patches, also on failure. */
static int replayed_new(struct file *under, const struct vhdx_range *ring, uint64_t size,
                        struct patches *patches, struct file **ret)
{
    struct replayed *v = calloc(1, sizeof *v);
    char *name = strdup(under->name);
    if (!v || !name) {
        free(v);
        free(name);
        free(patches->p);
        return -ENOMEM;
    }
    v->file = (struct file){ .ops = &replayed_ops, .refs = 1, .size = size, .name = name, .id = under->id };
    v->under = file_ref(under);
    v->ring = *ring;
    v->patches = *patches;
    *ret = &v->file;
    return 0;
}

/* ---- replay ---- */

static int explain(const struct log *log, int r, struct fault *fault)
{
    const char *name = log->file->name;
    uint64_t at = log->h->log.offset;
    if (r == -EFBIG)
        return fault_at(fault, r, name, at, "its log holds more than ferryfs replays");
    if (r == -ENOMEM)
        return fault_in(fault, r, name, "out of memory");
    return fault_at(fault, r, name, at, "its log can't be read: %s", strerror(-r));
}

/* How long the file is after the replay. */
static int check_size(const struct log *log, const struct sequence *s, const struct patches *ps,
                      uint64_t *ret, struct fault *fault)
{
    const struct file *file = log->file;
    const struct entry *last = &s->entries[s->n - 1];
    if (file->size < last->flushed)
        return fault_at(fault, -ENODATA, file->name, file->size,
                        "truncated: the file had %llu bytes when its log was written",
                        (unsigned long long)last->flushed);
    if (last->last > MAX_FILE)
        return fault_at(fault, -EUCLEAN, file->name, log->h->log.offset + last->at + ENTRY_LAST,
                        "its log makes the file longer than any VHDX");
    *ret = max_u64(file->size, last->last);
    if (ps->n)
        *ret = max_u64(*ret, ps->p[ps->n - 1].end);
    return 0;
}

int vhdx_log_replay(struct file *file, const struct vhdx_header *h, struct file **ret, struct fault *fault)
{
    if (!h->dirty) {
        *ret = file_ref(file);
        return 0;
    }
    struct log log = { .file = file, .h = h, .length = (uint32_t)h->log.length };
    struct sequence active = { 0 };
    struct patches patches = { 0 };
    uint64_t size = 0;
    log.bytes_left = MAX_LOOKS * h->log.length;
    int r = h->log.length > MAX_LOG ? -EFBIG : find_active(&log, &active);
    if (!r && !active.n)
        r = fault_at(fault, -EUCLEAN, file->name, h->log.offset,
                     "its log must be replayed, but holds no valid sequence of entries");
    if (!r)
        r = collect(&log, &active, &patches);
    if (!r)
        r = flatten(&patches);
    if (!r)
        r = check_size(&log, &active, &patches, &size, fault);
    if (r < 0)
        free(patches.p);
    else
        r = replayed_new(file, &h->log, size, &patches, ret);
    free(active.entries);
    return r < 0 ? explain(&log, r, fault) : 0;
}
