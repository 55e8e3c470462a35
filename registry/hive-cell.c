/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Cells and names, read. Bounds are checked here and nowhere else: a cell lies in the bins data, is in use,
 * and nothing is read past its end. That it lies inside one bin isn't checked, since a bin can only be found
 * by walking all before it; the checker does that, and it also runs before the first edit. */
#include "hive-internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static _Thread_local struct fault last_fault;

const struct fault *hive_last_fault(void)
{
    return &last_fault;
}

int hive_damage(const struct hive *h, uint32_t off, const char *fmt, ...)
{
    char line[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    last_fault.err = 0;
    return fault_at(&last_fault, -EUCLEAN, h->files.primary->name, HIVE_BASE_SIZE + (uint64_t)off, "%s",
                    line);
}

int hive_read(const struct hive *h, uint32_t off, void *buf, size_t len)
{
    uint32_t at = off;
    if (!range_inside(off, len, hive_pages_size(h->pages)))
        return hive_damage(h, off, "%zu bytes are wanted past the end of the hive bins", len);
    int r = hive_pages_read(h->pages, buf, len, off, &at);
    if (r == -ENODATA)
        return hive_damage(h, at, "the file ends before this page");
    return r;
}

int hive_cell_peek(const struct hive *h, uint32_t at, const char *what, void *buf, size_t want,
                   struct hive_cell *ret, size_t *ret_got)
{
    uint8_t word[4];
    uint32_t size = hive_pages_size(h->pages);
    if (at % 8 || at < HIVE_BIN_HEADER || at > size - HIVE_CELL_MIN)
        return hive_damage(h, at, "no cell can be here, where %s should be", what);
    int r = hive_read(h, at, word, sizeof word);
    if (r < 0)
        return r;
    uint32_t raw =
        (uint32_t)word[0] | (uint32_t)word[1] << 8 | (uint32_t)word[2] << 16 | (uint32_t)word[3] << 24;
    if (!(raw & 0x80000000u))
        return hive_damage(h, at, "the cell isn't in use, where %s should be", what);
    uint32_t len = 0u - raw;
    if (len % 8 || len < HIVE_CELL_MIN || len > size - at)
        return hive_damage(h, at, "the cell of %s has the impossible size %u", what, len);
    ret->at = at;
    ret->size = len - 4;
    size_t n = want < ret->size ? want : ret->size;
    if (ret_got)
        *ret_got = n;
    return n ? hive_read(h, at + 4, buf, n) : 0;
}

int hive_cell_open(const struct hive *h, uint32_t at, const char *what, struct hive_cell *ret)
{
    return hive_cell_peek(h, at, what, NULL, 0, ret, NULL);
}

int hive_cell_read(const struct hive *h, const struct hive_cell *c, uint32_t off, void *buf, size_t len)
{
    if (!range_inside(off, len, c->size))
        return hive_damage(h, c->at, "the cell is too small for what it should hold");
    return hive_read(h, c->at + 4 + off, buf, len);
}

/* ---- names ---- */

size_t hive_stored_units(const struct hive_stored_name *s)
{
    return s->compressed ? s->bytes : s->bytes / 2;
}

int hive_stored_read(const struct hive *h, const struct hive_stored_name *s, size_t from, uint16_t *units,
                     size_t n)
{
    uint8_t buf[256];
    size_t width = s->compressed ? 1 : 2;
    while (n) {
        size_t k = n < sizeof buf / width ? n : sizeof buf / width;
        const uint8_t *p = buf;
        if ((from + k) * width <= s->n_head) {
            p = s->head + from * width;
        } else {
            int r = hive_read(h, s->at + (uint32_t)(from * width), buf, k * width);
            if (r < 0)
                return r;
        }
        for (size_t i = 0; i < k; i++)
            units[i] = width == 1 ? p[i] : (uint16_t)(p[2 * i] | p[2 * i + 1] << 8);
        units += k;
        from += k;
        n -= k;
    }
    return 0;
}

int hive_stored_compare(const struct hive *h, const struct hive_stored_name *s, struct hive_name name,
                        int *ret)
{
    uint16_t buf[64];
    size_t units = hive_stored_units(s), common = units < name.n ? units : name.n;
    for (size_t i = 0; i < common;) {
        size_t n = common - i < sizeof buf / sizeof buf[0] ? common - i : sizeof buf / sizeof buf[0];
        int r = hive_stored_read(h, s, i, buf, n);
        if (r < 0)
            return r;
        *ret = hive_name_compare((struct hive_name){ buf, n }, (struct hive_name){ name.units + i, n });
        if (*ret)
            return 0;
        i += n;
    }
    *ret = units == name.n ? 0 : units < name.n ? -1 : 1;
    return 0;
}

int hive_stored_whole(const struct hive *h, const struct hive_stored_name *s, struct hive_name_buf *ret)
{
    size_t n = hive_stored_units(s);
    if (n > HIVE_KEY_NAME_MAX)
        return hive_damage(h, s->at, "the key's name has %zu units, more than 255", n);
    int r = hive_stored_read(h, s, 0, ret->units, n);
    if (!r)
        ret->n = n;
    return r;
}
