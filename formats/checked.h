/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_CHECKED_H
#define FERRYFS_CHECKED_H
/* Arithmetic on values from an image: false on overflow, and *ret untouched. */
#include <stdbool.h>
#include <stdint.h>

static inline bool checked_add(uint64_t a, uint64_t b, uint64_t *ret)
{
    uint64_t v;
    if (__builtin_add_overflow(a, b, &v))
        return false;
    *ret = v;
    return true;
}

static inline bool checked_mul(uint64_t a, uint64_t b, uint64_t *ret)
{
    uint64_t v;
    if (__builtin_mul_overflow(a, b, &v))
        return false;
    *ret = v;
    return true;
}

/* [off, off+len) lies in [0, size): subtracts, never adds. */
static inline bool range_inside(uint64_t off, uint64_t len, uint64_t size)
{
    return off <= size && len <= size - off;
}

static inline uint64_t div_up(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

/* Rounds up to a multiple of `to`; UINT64_MAX when that would overflow. */
static inline uint64_t round_up(uint64_t a, uint64_t to)
{
    uint64_t v;
    return checked_mul(div_up(a, to), to, &v) ? v : UINT64_MAX;
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static inline bool is_power_of_two(uint64_t v)
{
    return v && !(v & (v - 1));
}

/* log2 of a power of two */
static inline unsigned shift_of(uint64_t v)
{
    return (unsigned)__builtin_ctzll(v);
}
#endif
