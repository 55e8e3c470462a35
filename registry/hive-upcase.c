/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names as Windows compares them: unit by unit, after a 1:1 upcase table that knows no locale. The order of
 * subkeys and the hash of lh lists follow from it. */
#include "hive-internal.h"
#include "hive-upcase.h"

uint16_t hive_upcase(uint16_t unit)
{
    if (unit < 0x80)
        return unit >= 'a' && unit <= 'z' ? (uint16_t)(unit - 0x20) : unit;
    size_t lo = 0, hi = sizeof upcase_ranges / sizeof upcase_ranges[0];
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        const struct upcase_range *r = &upcase_ranges[mid];
        if (unit < r->first)
            hi = mid;
        else if (unit > r->last)
            lo = mid + 1;
        else
            return (unit - r->first) % r->step ? unit : (uint16_t)(unit + r->delta);
    }
    return unit;
}

int hive_name_compare(struct hive_name a, struct hive_name b)
{
    for (size_t i = 0; i < a.n && i < b.n; i++) {
        if (a.units[i] == b.units[i])
            continue;
        uint16_t x = hive_upcase(a.units[i]), y = hive_upcase(b.units[i]);
        if (x != y)
            return x < y ? -1 : 1;
    }
    return a.n == b.n ? 0 : a.n < b.n ? -1 : 1;
}

uint32_t hive_name_hash(struct hive_name name)
{
    uint32_t hash = 0;
    for (size_t i = 0; i < name.n; i++)
        hash = hash * 37 + hive_upcase(name.units[i]);
    return hash;
}
