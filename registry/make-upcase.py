#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Prints registry/hive-upcase.h: what Windows' upcase table changes, as ranges.

Windows compares registry names unit by unit after a fixed 1:1 table. That is Unicode's simple upper case of about
version 5.0 for units outside the surrogates, without the mappings below. Run: make-upcase.py >hive-upcase.h
"""
import sys

# Mapped by Unicode of that time, not by Windows.
STAY = [0xB5, 0x131, 0x17F, 0x1C5, 0x1C8, 0x1CB, 0x1F2, 0x345, 0x3C2, 0x3D0, 0x3D1, 0x3D5, 0x3D6, 0x3F0, 0x3F1, 0x3F5,
        0x1E9B, 0x1FBE]
# Mapped by later versions of Unicode only.
LATER = [0x23F, 0x240, 0x252, 0x25C, 0x261, 0x265, 0x266, 0x26A, 0x26C, 0x282, 0x287, 0x29D, 0x29E, 0x3F3, 0x525, 0x527,
         0x529, 0x52B, 0x52D, 0x52F, 0x1D8E, 0x2C5F, 0x2CEC, 0x2CEE, 0x2CF3, 0x2D27, 0x2D2D, 0xA661, 0xA699, 0xA69B, 0xAB53]
LATER_RANGES = [(0x10D0, 0x10FF), (0x13F8, 0x13FD), (0x1C80, 0x1C8A), (0xA790, 0xA7FF), (0xAB70, 0xABBF)]


def upcase(c):
    if c in STAY or c in LATER or any(a <= c <= b for a, b in LATER_RANGES) or 0xD800 <= c < 0xE000:
        return c
    if 0x1F80 <= c <= 0x1FAF and not c & 8:  # Python's full upper case of these is two letters
        return c + 8
    if c in (0x1FB3, 0x1FC3, 0x1FF3):
        return c + 9
    u = chr(c).upper()
    return ord(u) if len(u) == 1 and ord(u) < 0x10000 else c


changes = [(c, (upcase(c) - c) & 0xFFFF) for c in range(0x80, 0x10000) if upcase(c) != c]
if len(changes) + 26 != 973:
    sys.exit("%d units change, not 973: this Python's Unicode has mappings that LATER doesn't name" % (len(changes) + 26))
ranges = []
for c, delta in changes:
    if ranges:
        first, last, step, d = ranges[-1]
        if d == delta and c - last <= 2 and (first == last or c - last == step):
            ranges[-1] = (first, c, c - last, d)
            continue
    ranges.append((c, c, 1, delta))
print("""/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Made by make-upcase.py. Beyond ASCII: from `first` to `last`, each `step`th unit has `delta` (mod 2^16) added. */
#include <stdint.h>

static const struct upcase_range {
    uint16_t first, last, step, delta;
} upcase_ranges[] = {""")
for r in ranges:
    print("    { 0x%04x, 0x%04x, %d, 0x%04x }," % r)
print("};")
