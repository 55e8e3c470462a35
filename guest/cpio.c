/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpio.h"

#include "../formats/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FIELD = 8, /* digits; 13 fields stand behind the 6 of the magic */
    FIELD_MODE = 1,
    FIELD_SIZE = 6,
    FIELD_NAME_SIZE = 11, /* with the NUL */
    FIELDS = 13,
};
static const char trailer[] = "TRAILER!!!";

/* ---- reading ---- */

static bool hex_field(const uint8_t *header, size_t field, uint32_t *ret)
{
    uint32_t v = 0;
    for (size_t i = 0; i < FIELD; i++) {
        uint8_t c = header[6 + field * FIELD + i];
        uint32_t digit;
        if (c >= '0' && c <= '9')
            digit = c - '0';
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            digit = (uint32_t)(c | 0x20) - 'a' + 10;
        else
            return false;
        v = v << 4 | digit;
    }
    *ret = v;
    return true;
}

/* len bytes, all of them, counted in *at. */
static int pull(struct cpio_source *s, void *buf, size_t len, uint64_t *at)
{
    size_t got = 0;
    int r = s->pull(s, buf, len, &got);
    *at += got;
    return r < 0 ? r : got < len ? -ENODATA : 0;
}

static int skip(struct cpio_source *s, uint64_t len, uint64_t *at)
{
    uint8_t sink[4096];
    int r = 0;
    while (len && !r) {
        size_t n = len < sizeof sink ? (size_t)len : sizeof sink;
        r = pull(s, sink, n, at);
        len -= n;
    }
    return r;
}

static size_t padding(uint64_t at)
{
    return (size_t)(-at & 3);
}

/* Header and name. */
static int read_head(struct cpio_source *s, uint64_t *at, struct cpio_entry *e, char *name)
{
    uint8_t header[CPIO_HEADER];
    uint32_t mode, name_size;
    int r = pull(s, header, sizeof header, at);
    if (r < 0)
        return r;
    if ((memcmp(header, "070701", 6) && memcmp(header, "070702", 6)) ||
        !hex_field(header, FIELD_MODE, &mode) || !hex_field(header, FIELD_SIZE, &e->size) ||
        !hex_field(header, FIELD_NAME_SIZE, &name_size) || !name_size || name_size > CPIO_NAME_MAX)
        return -EUCLEAN;
    r = pull(s, name, name_size, at);
    if (r == 0 && name[name_size - 1])
        return -EUCLEAN;
    e->name = name;
    e->mode = mode;
    return r < 0 ? r : skip(s, padding(*at), at);
}

static int read_entry(struct cpio_source *s, size_t keep, uint64_t *at, struct cpio_entry *e, char *name,
                      uint8_t **ret_data)
{
    *ret_data = NULL;
    e->data = NULL;
    int r = read_head(s, at, e, name);
    if (r < 0)
        return r;
    if (e->size && e->size <= keep) {
        if (!(*ret_data = malloc(e->size)))
            return -ENOMEM;
        r = pull(s, *ret_data, e->size, at);
        e->data = *ret_data;
    } else {
        r = skip(s, e->size, at);
    }
    return r < 0 ? r : skip(s, padding(*at), at);
}

int cpio_walk(struct cpio_source *s, size_t keep, cpio_each fn, void *ctx, uint64_t *ret_length)
{
    _cleanup_free_ char *name = malloc(CPIO_NAME_MAX);
    *ret_length = 0;
    if (!name)
        return -ENOMEM;
    for (;;) {
        struct cpio_entry e;
        _cleanup_free_ uint8_t *data = NULL;
        int r = read_entry(s, keep, ret_length, &e, name, &data);
        if (r < 0)
            return r;
        if (!strcmp(name, trailer))
            return 0;
        r = fn(ctx, &e);
        if (r)
            return r;
    }
}

/* ---- making ---- */

static bool reserve(struct cpio_out *o, size_t n)
{
    if (o->failed || n > SIZE_MAX / 4 - o->n)
        return !(o->failed = true);
    if (o->n + n <= o->size)
        return true;
    size_t size = 2 * (o->n + n);
    uint8_t *p = realloc(o->p, size);
    if (!p)
        return !(o->failed = true);
    o->p = p;
    o->size = size;
    return true;
}

static void put(struct cpio_out *o, const void *p, size_t n)
{
    size_t pad = padding(o->n + n);
    if (!reserve(o, n + pad))
        return;
    if (n)
        memcpy(o->p + o->n, p, n);
    memset(o->p + o->n + n, 0, pad);
    o->n += n + pad;
}

void cpio_add(struct cpio_out *o, const char *name, mode_t mode, const void *data, size_t n)
{
    char head[CPIO_HEADER + CPIO_NAME_MAX];
    size_t name_size = strlen(name) + 1;
    if (n > UINT32_MAX || name_size > CPIO_NAME_MAX) {
        o->failed = true;
        return;
    }
    bool end = !strcmp(name, trailer);
    uint32_t fields[FIELDS] = { 0 };
    fields[0] = end ? 0 : ++o->inodes;
    fields[FIELD_MODE] = mode;
    fields[4] = S_ISDIR(mode) ? 2 : 1; /* links */
    fields[FIELD_SIZE] = (uint32_t)n;
    fields[FIELD_NAME_SIZE] = (uint32_t)name_size;
    memcpy(head, "070701", 6);
    for (size_t i = 0; i < FIELDS; i++)
        snprintf(head + 6 + i * FIELD, FIELD + 1, "%08x", fields[i]);
    memcpy(head + CPIO_HEADER, name, name_size);
    put(o, head, CPIO_HEADER + name_size);
    put(o, data, n);
}

int cpio_end(struct cpio_out *o)
{
    cpio_add(o, trailer, 0, NULL, 0);
    return o->failed ? -ENOMEM : 0;
}
