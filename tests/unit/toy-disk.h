/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_TESTS_TOY_DISK_H
#define FERRYFS_TESTS_TOY_DISK_H
/* A disk out of a list of extents, of any size, that takes no room: its data is a function of the offset, and
 * never zero. Besides data, zeros and holes it has ranges whose map, or whose data, can't be read. */
#include "formats/checked.h"
#include "formats/disk.h"
#include "unit.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct toy_extent {
    uint64_t length;
    char kind; /* 'D' data, 'Z' zero, '.' hole, 'E' its map fails, 'R' data that can't be read */
};

struct toy {
    struct disk disk;
    uint64_t seed;
    size_t n;
    struct toy_extent *extents;
    uint64_t *starts;
    uint64_t step;           /* map answers no more at once */
    uint64_t maps, prefetch; /* calls; bytes asked for */
    int map_error;
};

static inline struct toy *toy_of(struct disk *d)
{
    return (struct toy *)(void *)d;
}

/* splitmix64: a sequence of its own for each state */
static inline uint64_t toy_mix(uint64_t x)
{
    x += UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

static inline uint64_t toy_random(uint64_t *state, uint64_t below)
{
    *state += 1;
    return toy_mix(*state) % below;
}

static inline uint8_t toy_byte(const struct toy *t, uint64_t off)
{
    return (uint8_t)(toy_mix(t->seed + off / 8) >> off % 8 * 8) | 1;
}

/* [off, off + len), all of it data: toy_byte() of each, eight at a time. */
static inline void toy_bytes(const struct toy *t, uint8_t *buf, size_t len, uint64_t off)
{
    size_t i = 0;
    for (; i < len && (off + i) % 8; i++)
        buf[i] = toy_byte(t, off + i);
    for (; len - i >= 8; i += 8) {
        uint64_t v = htole64(toy_mix(t->seed + (off + i) / 8) | UINT64_C(0x0101010101010101));
        memcpy(buf + i, &v, sizeof v);
    }
    for (; i < len; i++)
        buf[i] = toy_byte(t, off + i);
}

/* Which extent holds this byte. */
static inline size_t toy_find(const struct toy *t, uint64_t off)
{
    size_t low = 0, high = t->n;
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (t->starts[middle] <= off)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static inline char toy_kind(const struct toy *t, uint64_t off)
{
    return off < t->disk.size ? t->extents[toy_find(t, off)].kind : '.';
}

/* What any range of the disk should read as, past its end too; what can't be read as its data. */
static inline void toy_fill(const struct toy *t, uint8_t *buf, size_t len, uint64_t off)
{
    memset(buf, 0, len);
    for (size_t done = 0; done < len && off + done < t->disk.size;) {
        size_t i = toy_find(t, off + done);
        uint64_t end = t->starts[i] + t->extents[i].length;
        size_t n = (size_t)min_u64(len - done, end - off - done);
        if (strchr("DR", t->extents[i].kind))
            toy_bytes(t, buf + done, n, off + done);
        done += n;
    }
}

static int toy_map(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    struct toy *t = toy_of(d);
    size_t i = toy_find(t, off);
    __atomic_add_fetch(&t->maps, 1, __ATOMIC_RELAXED);
    if (t->extents[i].kind == 'E')
        return t->map_error;
    ret->length = min_u64(min_u64(len, t->step), t->starts[i] + t->extents[i].length - off);
    ret->kind = strchr("DR", t->extents[i].kind) ? EXTENT_DATA
                : t->extents[i].kind == 'Z'      ? EXTENT_ZERO
                                                 : EXTENT_HOLE;
    return 0;
}

static int toy_pread(struct disk *d, void *buf, size_t len, uint64_t off, const struct extent *e)
{
    struct toy *t = toy_of(d);
    assert_int_equal(e->kind, EXTENT_DATA);
    if (t->extents[toy_find(t, off)].kind == 'R')
        return -EIO;
    toy_bytes(t, buf, len, off);
    return 0;
}

static void toy_prefetch(struct disk *d, uint64_t off, uint64_t len)
{
    assert_true(range_inside(off, len, d->size));
    toy_of(d)->prefetch += len;
}

static void toy_close(struct disk *d)
{
    free(toy_of(d)->extents);
    free(toy_of(d)->starts);
    free(d);
}

/* The extents, up to one of length 0, one after the other. */
static inline struct toy *toy_new(const struct toy_extent *extents, uint64_t seed)
{
    static const struct disk_ops ops = {
        .name = "toy", .pread = toy_pread, .map = toy_map, .prefetch = toy_prefetch, .close = toy_close
    };
    struct toy *t = calloc(1, sizeof *t);
    *t = (struct toy){ .disk = { .ops = &ops }, .seed = seed, .step = UINT64_MAX, .map_error = -EIO };
    while (extents[t->n].length)
        t->n++;
    t->extents = calloc(t->n + 1, sizeof *t->extents);
    t->starts = calloc(t->n + 1, sizeof *t->starts);
    for (size_t i = 0; i < t->n; i++) {
        t->extents[i] = extents[i];
        t->starts[i] = t->disk.size;
        t->disk.size += extents[i].length;
    }
    return t;
}

/* A disk of this size with extents of 1 to 2 * `mean` units of 512 bytes, of the kinds in `kinds`. */
static inline struct toy *toy_new_random(uint64_t size, uint64_t mean, const char *kinds, uint64_t seed)
{
    enum { MAX = 4096 };
    struct toy_extent *e = calloc(MAX + 1, sizeof *e);
    uint64_t state = toy_mix(seed), left = size;
    for (size_t i = 0; left; i++) {
        uint64_t length = (1 + toy_random(&state, 2 * mean)) * 512;
        e[i].length = i == MAX - 1 ? left : min_u64(left, length);
        e[i].kind = kinds[toy_random(&state, strlen(kinds))];
        left -= e[i].length;
    }
    struct toy *t = toy_new(e, seed);
    t->step = 512 + toy_random(&state, 64) * 4096;
    free(e);
    return t;
}

/* Base of the seeds of a run: FERRYFS_SEED, or the clock; printed, so that a failure can be had again. */
static inline uint64_t toy_seed(void)
{
    const char *s = getenv("FERRYFS_SEED");
    uint64_t seed = s ? strtoull(s, NULL, 0) : (uint64_t)time(NULL);
    printf("FERRYFS_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}
#endif
