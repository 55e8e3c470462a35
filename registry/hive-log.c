/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Transaction logs. Windows writes changes to the log first and to the hive up to an hour later, so the hive
 * file of a machine that was stopped is often dirty: the truth is the hive with its logs replayed.
 *
 * New (8.1 and later): after a base block of 512 bytes, entries "HvLE" of ranges of the bins data with their
 * bytes, each with a sequence number and two Marvin32 hashes. LOG1 and LOG2 take turns; their entries join by
 * sequence number.
 * Old: "DIRT", a bit per 512-byte sector of the bins data, then the sectors whose bit is set. One log has
 * all.
 *
 * Nothing of a log is believed before its hash or checksum was verified. What is replayed stays in memory. */
#include "hive-internal.h"

#include <stdlib.h>

enum {
    LOG_SECTOR = 512,
    LOG_ENTRIES = 512, /* offset of the first entry or of the bitmap */
    ENTRY_HEAD = 40,
    ENTRY_SIZE = 4,
    ENTRY_FLAGS = 8,
    ENTRY_SEQUENCE = 12,
    ENTRY_BINS = 16,
    ENTRY_RANGES = 20,
    ENTRY_HASH1 = 24,
    ENTRY_HASH2 = 32,
    LOG_TYPE_NEW = 6,
    LOG_SIZE_MAX = 1 << 30, /* Windows keeps logs to a fraction of the hive */
};

struct log {
    struct hive_file *file;
    uint8_t base[BASE_SUM_SIZE];
    bool valid; /* its base block */
    bool is_new;
    uint32_t first; /* sequence number of the first entry of a new log */
    uint64_t next;  /* offset of the next entry */
};

static uint32_t base_field(const uint8_t *base, size_t off)
{
    struct bad bad = { 0 };
    return le32(bytes_of(base, BASE_SUM_SIZE, 0, &bad), off);
}

uint32_t hive_checksum(const uint8_t base[BASE_SUM_SIZE])
{
    uint32_t sum = 0;
    for (size_t i = 0; i < BASE_CHECKSUM; i += 4)
        sum ^= base_field(base, i);
    return sum == 0xffffffffu ? 0xfffffffeu : sum ? sum : 1;
}

bool hive_base_is_valid(const uint8_t base[BASE_SUM_SIZE], bool is_log)
{
    uint32_t type = base_field(base, BASE_TYPE), bins = base_field(base, BASE_BINS);
    return !memcmp(base, "regf", 4) && hive_checksum(base) == base_field(base, BASE_CHECKSUM) &&
           base_field(base, BASE_MAJOR) == 1 && base_field(base, BASE_FORMAT) == 1 &&
           (is_log ? type == 1 || type == 2 || type == LOG_TYPE_NEW : !type) && bins &&
           bins % HIVE_PAGE == 0 && bins <= HIVE_SIZE_MAX;
}

/* ---- Marvin32 ---- */

static uint32_t rotate_left(uint32_t v, unsigned n)
{
    return v << n | v >> (32 - n);
}

static void marvin_mix(uint32_t *lo, uint32_t *hi, uint32_t v)
{
    *lo += v;
    *hi ^= *lo;
    *lo = rotate_left(*lo, 20) + *hi;
    *hi = rotate_left(*hi, 9) ^ *lo;
    *lo = rotate_left(*lo, 27) + *hi;
    *hi = rotate_left(*hi, 19);
}

/* Of a multiple of four bytes, with the seed of the registry's logs. */
static uint64_t marvin32(struct bytes b)
{
    uint32_t lo = 0x7a4e55c5, hi = 0x82ef4d88;
    for (size_t i = 0; i + 4 <= b.n; i += 4)
        marvin_mix(&lo, &hi, le32(b, i));
    marvin_mix(&lo, &hi, 0x80);
    marvin_mix(&lo, &hi, 0);
    return (uint64_t)hi << 32 | lo;
}

/* ---- new logs ---- */

/* The entry at the log's next place, whole and verified. False: there is none (or none to be trusted). */
static bool read_entry(struct log *log, uint8_t **ret, size_t *ret_n)
{
    uint8_t head[ENTRY_HEAD];
    struct bad bad = { 0 };
    struct bytes b = bytes_of(head, sizeof head, log->next, &bad);
    if (!range_inside(log->next, sizeof head, log->file->size) ||
        log->file->ops->pread(log->file, head, sizeof head, log->next) < 0 || memcmp(head, "HvLE", 4))
        return false;
    uint32_t size = le32(b, ENTRY_SIZE);
    if (size < ENTRY_HEAD || size % LOG_SECTOR || !range_inside(log->next, size, log->file->size) ||
        le64(b, ENTRY_HASH2) != marvin32(bytes_sub(b, 0, ENTRY_HASH2)))
        return false;
    _cleanup_free_ uint8_t *all = malloc(size);
    if (!all || log->file->ops->pread(log->file, all, size, log->next) < 0)
        return false;
    b = bytes_of(all, size, log->next, &bad);
    if (le64(b, ENTRY_HASH1) != marvin32(bytes_sub(b, ENTRY_HEAD, size - ENTRY_HEAD)))
        return false;
    *ret = TAKE_PTR(all);
    *ret_n = size;
    return true;
}

/* Are all its ranges inside, and their bytes there? */
static bool entry_fits(struct bytes b, uint32_t bins)
{
    uint32_t n = le32(b, ENTRY_RANGES);
    if (!bins || bins % HIVE_PAGE || bins > HIVE_SIZE_MAX || n > (b.n - ENTRY_HEAD) / 8)
        return false;
    uint64_t data = ENTRY_HEAD + 8 * (uint64_t)n;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t off = le32(b, ENTRY_HEAD + 8 * (size_t)i), len = le32(b, ENTRY_HEAD + 8 * (size_t)i + 4);
        if (!len || off % LOG_SECTOR || len % LOG_SECTOR || !range_inside(off, len, bins) ||
            !range_inside(data, len, b.n))
            return false;
        data += len;
    }
    return true;
}

static int apply_entry(struct hive *h, struct bytes b)
{
    uint32_t n = le32(b, ENTRY_RANGES), bins = le32(b, ENTRY_BINS);
    size_t data = ENTRY_HEAD + 8 * (size_t)n;
    int r = 0;
    hive_pages_resize(h->pages, bins);
    for (uint32_t i = 0; !r && i < n; i++) {
        uint32_t off = le32(b, ENTRY_HEAD + 8 * (size_t)i), len = le32(b, ENTRY_HEAD + 8 * (size_t)i + 4);
        r = hive_pages_write(h->pages, b.p + data, len, off);
        data += len;
    }
    if (r < 0)
        return r;
    uint32_t flags = base_field(h->base, BASE_FLAGS);
    put_le32(h->base + BASE_FLAGS,
             (flags & ~(uint32_t)BASE_FLAG_KTM) | (le32(b, ENTRY_FLAGS) & BASE_FLAG_KTM));
    put_le32(h->base + BASE_BINS, bins);
    return 0;
}

/* Applies the log's entries from *sequence on (its next one's must be that); leaves the one that must follow.
 */
static int replay_new(struct hive *h, struct log *log, uint32_t *sequence)
{
    for (;;) {
        _cleanup_free_ uint8_t *entry = NULL;
        size_t n;
        struct bad bad = { 0 };
        if (!read_entry(log, &entry, &n))
            return 0;
        struct bytes b = bytes_of(entry, n, log->next, &bad);
        if (le32(b, ENTRY_SEQUENCE) != *sequence || !entry_fits(b, le32(b, ENTRY_BINS)))
            return 0;
        int r = apply_entry(h, b);
        if (r < 0)
            return r;
        h->sequence = (*sequence)++;
        h->state.replayed++;
        log->next += n;
    }
}

/* Sequence number of the last entry that joins the first; the log isn't changed. */
static uint32_t last_sequence(const struct log *log)
{
    struct log at = *log;
    uint32_t last = log->first - 1;
    for (;;) {
        _cleanup_free_ uint8_t *entry = NULL;
        size_t n;
        struct bad bad = { 0 };
        if (!read_entry(&at, &entry, &n) || le32(bytes_of(entry, n, 0, &bad), ENTRY_SEQUENCE) != last + 1)
            return last;
        last++;
        at.next += n;
    }
}

/* ---- old logs ---- */

static int replay_old(struct hive *h, struct log *log)
{
    uint32_t bins = base_field(log->base, BASE_BINS), sectors = bins / LOG_SECTOR;
    uint32_t cluster = base_field(log->base, BASE_CLUSTER);
    uint64_t at = (uint64_t)LOG_SECTOR * (cluster >= 1 && cluster <= 8 ? cluster : 1);
    size_t n_map = sectors / 8;
    _cleanup_free_ uint8_t *map = NULL;
    uint8_t sector[LOG_SECTOR], mark[4];
    uint64_t dirty = 0;
    if (!range_inside(at, 4 + (uint64_t)n_map, log->file->size) ||
        log->file->ops->pread(log->file, mark, 4, at) < 0 || memcmp(mark, "DIRT", 4))
        return 0;
    map = malloc(n_map);
    if (!map)
        return -ENOMEM;
    if (log->file->ops->pread(log->file, map, n_map, at + 4) < 0)
        return 0;
    for (size_t i = 0; i < n_map; i++)
        dirty += (unsigned)__builtin_popcount(map[i]);
    uint64_t data = round_up(at + 4 + n_map, LOG_SECTOR);
    if (!dirty || !range_inside(data, dirty * LOG_SECTOR, log->file->size))
        return 0; /* all of it or nothing: a part of a transaction would be worse than none */
    int r = 0;
    hive_pages_resize(h->pages, bins);
    for (uint32_t i = 0; !r && i < sectors; i++) {
        if (!(map[i / 8] >> i % 8 & 1))
            continue;
        r = log->file->ops->pread(log->file, sector, sizeof sector, data);
        if (!r)
            r = hive_pages_write(h->pages, sector, sizeof sector, i * LOG_SECTOR);
        data += LOG_SECTOR;
    }
    if (r < 0)
        return r;
    put_le32(h->base + BASE_BINS, bins);
    h->sequence = (uint32_t)max_u64(h->sequence, base_field(log->base, BASE_SEQUENCE1));
    h->state.replayed = 1;
    return 0;
}

/* The time that ties an old log to its hive: the base block's, or its copy in the first bin. */
static bool same_time(const struct hive *h, const struct log *log)
{
    struct bad bad = { 0 };
    uint8_t copy[8];
    uint64_t of_log = le64(bytes_of(log->base, BASE_SUM_SIZE, 0, &bad), BASE_WRITTEN);
    if (!h->base_bad)
        return of_log == le64(bytes_of(h->base, BASE_SUM_SIZE, 0, &bad), BASE_WRITTEN);
    return !hive_read(h, 20, copy, sizeof copy) && of_log == le64(bytes_of(copy, 8, 0, &bad), 0);
}

/* ---- which logs, in which order ---- */

static void open_log(struct hive_file *f, struct log *ret)
{
    uint8_t head[16];
    struct bad bad = { 0 };
    *ret = (struct log){ .file = f, .next = LOG_ENTRIES };
    if (!f || f->size < BASE_SUM_SIZE || f->size > LOG_SIZE_MAX ||
        f->ops->pread(f, ret->base, sizeof ret->base, 0) < 0)
        return;
    ret->valid = hive_base_is_valid(ret->base, true);
    ret->is_new = base_field(ret->base, BASE_TYPE) == LOG_TYPE_NEW;
    if (ret->valid && ret->is_new) {
        ret->valid = range_inside(LOG_ENTRIES, sizeof head, f->size) &&
                     f->ops->pread(f, head, sizeof head, LOG_ENTRIES) >= 0;
        ret->first = ret->valid ? le32(bytes_of(head, sizeof head, 0, &bad), ENTRY_SEQUENCE) : 0;
        /* The entries that count begin with the number in the log's own base block; others are older. */
        ret->valid = ret->valid && ret->first == base_field(ret->base, BASE_SEQUENCE1);
    }
}

/* The base block that a log keeps for the hive. */
static void take_base(struct hive *h, const struct log *log)
{
    memcpy(h->base, log->base, BASE_SUM_SIZE);
    put_le32(h->base + BASE_TYPE, 0);
    h->root = base_field(h->base, BASE_ROOT);
    h->state.minor = base_field(h->base, BASE_MINOR);
    h->sequence = base_field(h->base, BASE_SEQUENCE1);
    h->base_bad = false;
    hive_pages_resize(h->pages, base_field(h->base, BASE_BINS));
}

static int replay_new_logs(struct hive *h, struct log *logs, size_t n)
{
    struct log *a = NULL, *b = NULL; /* in the order of their entries */
    for (size_t i = 0; i < n; i++) {
        struct log *l = &logs[i];
        if (!l->valid || !l->is_new)
            continue;
        if (!a)
            a = l;
        else if (!b || l->first < b->first)
            b = l;
    }
    if (!a)
        return 0;
    if (b && b->first < a->first) {
        struct log *swap = a;
        a = b;
        b = swap;
    }
    if (h->base_bad) {
        if (b && last_sequence(b) > last_sequence(a))
            a = b;
        b = NULL;
        take_base(h, a);
    } else if (a->first < base_field(h->base, BASE_SEQUENCE2)) {
        a = b; /* what it has is in the hive already */
        b = NULL;
        if (!a || a->first < base_field(h->base, BASE_SEQUENCE2))
            return 0;
    }
    uint32_t sequence = a->first;
    int r = replay_new(h, a, &sequence);
    if (!r && b && h->state.replayed && b->first == sequence)
        r = replay_new(h, b, &sequence);
    return r;
}

int hive_replay(struct hive *h)
{
    struct log logs[3];
    struct hive_file *files[3] = { h->files.log1, h->files.log2, h->files.log };
    for (size_t i = 0; i < 3; i++)
        open_log(files[i], &logs[i]);
    int r = replay_new_logs(h, logs, 3);
    for (size_t i = 0; !r && !h->state.replayed && i < 3; i++) {
        struct log *l = &logs[i];
        if (!l->valid || l->is_new ||
            base_field(l->base, BASE_SEQUENCE1) != base_field(l->base, BASE_SEQUENCE2) || !same_time(h, l))
            continue;
        if (h->base_bad)
            take_base(h, l);
        r = replay_old(h, l);
    }
    return r;
}

int hive_logs_clear(struct hive *h)
{
    static const uint8_t zeros[BASE_SUM_SIZE];
    struct hive_file *files[3] = { h->files.log, h->files.log1, h->files.log2 };
    for (size_t i = 0; i < 3; i++) {
        struct hive_file *f = files[i];
        if (!f || !f->size)
            continue;
        int r = f->ops->truncate ? f->ops->truncate(f, 0) : -EROFS;
        if (r < 0 && f->ops->pwrite)
            r = f->ops->pwrite(f, zeros, (size_t)min_u64(f->size, sizeof zeros), 0);
        if (r < 0)
            return r;
    }
    return 0;
}
