/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "der.h"

#include <stdio.h>
#include <string.h>

bool der_next(struct der *d, struct der_item *ret)
{
    const uint8_t *p = d->p;
    size_t head = 2, len;
    if (d->n < head || (p[0] & 0x1f) == 0x1f)
        return false;
    len = p[1];
    if (len & 0x80) {
        size_t bytes = len & 0x7f;
        if (!bytes || bytes > 4 || d->n < head + bytes)
            return false;
        len = 0;
        for (size_t i = 0; i < bytes; i++)
            len = len << 8 | p[head + i];
        head += bytes;
    }
    if (len > d->n - head)
        return false;
    *ret = (struct der_item){ p[0], { p, head + len }, { p + head, len } };
    *d = (struct der){ p + head + len, d->n - head - len };
    return true;
}

bool der_take(struct der *d, unsigned tag, struct der_item *ret)
{
    struct der rest = *d;
    if (!der_next(&rest, ret) || ret->tag != tag)
        return false;
    *d = rest;
    return true;
}

bool der_equal(struct der a, struct der b)
{
    return a.n == b.n && (!a.n || !memcmp(a.p, b.p, a.n));
}

void der_oid(struct der d, char *ret, size_t size)
{
    size_t len = 0;
    uint32_t arc = 0;
    bool first = true, whole = true;
    for (size_t i = 0; i < d.n; i++) {
        if (arc >> 24) {
            whole = false; /* it would need more than 31 bits */
            break;
        }
        arc = arc << 7 | (d.p[i] & 0x7f);
        whole = !(d.p[i] & 0x80);
        if (!whole)
            continue;
        unsigned top = arc < 40 ? 0 : arc < 80 ? 1 : 2;
        int n = first ? snprintf(ret + len, size - len, "%u.%u", top, arc - 40 * top)
                      : snprintf(ret + len, size - len, ".%u", arc);
        if (n < 0 || (size_t)n >= size - len) {
            whole = false;
            break;
        }
        len += (size_t)n;
        first = false;
        arc = 0;
    }
    if (first || !whole)
        ret[0] = 0;
}

static int two(const uint8_t *p)
{
    return p[0] >= '0' && p[0] <= '9' && p[1] >= '0' && p[1] <= '9' ? (p[0] - '0') * 10 + p[1] - '0' : -1;
}

bool der_time(const struct der_item *item, time_t *ret)
{
    const uint8_t *p = item->in.p;
    size_t n = item->in.n, century = item->tag == DER_TIME ? 2 : 0;
    int f[7] = { 0 };
    if ((item->tag != DER_TIME && item->tag != DER_UTC_TIME) || n < century + 13 || p[n - 1] != 'Z')
        return false;
    for (size_t i = 0; i < 6 + century / 2; i++) {
        f[i] = two(p + 2 * i);
        if (f[i] < 0)
            return false;
    }
    const int *rest = f + century / 2; /* a two-digit year counts from 1950 on */
    int year = century ? f[0] * 100 + f[1] : f[0] < 50 ? 2000 + f[0] : 1900 + f[0];
    struct tm tm = { .tm_year = year - 1900,
                     .tm_mon = rest[1] - 1,
                     .tm_mday = rest[2],
                     .tm_hour = rest[3],
                     .tm_min = rest[4],
                     .tm_sec = rest[5] };
    *ret = timegm(&tm);
    return true;
}
