/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_TESTS_TARBALL_H
#define FERRYFS_TESTS_TARBALL_H
/* Builds tar archives byte by byte, also such as no tar(1) would write. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tarball {
    unsigned char *p;
    size_t n;
};

static inline unsigned char *tarball_grow(struct tarball *t, size_t n)
{
    t->p = realloc(t->p, t->n + n);
    assert_non_null(t->p);
    memset(t->p + t->n, 0, n);
    t->n += n;
    return t->p + t->n - n;
}

/* The sum over a header as it stands; `sign`: of signed bytes, as some old writers have it. */
static inline void tarball_seal(unsigned char *h, int sign)
{
    long sum = 0;
    memset(h + 148, ' ', 8);
    for (int i = 0; i < 512; i++)
        sum += sign ? (signed char)h[i] : h[i];
    snprintf((char *)h + 148, 8, "%06lo", sum);
}

static inline unsigned char *tarball_header(struct tarball *t, const char *name, char type, size_t size)
{
    unsigned char *h = tarball_grow(t, 512);
    strncpy((char *)h, name, 100);
    snprintf((char *)h + 100, 8, "%07o", 0644);
    snprintf((char *)h + 124, 12, "%011o", (unsigned)size);
    h[156] = (unsigned char)type;
    memcpy(h + 257, "ustar\00000", 8);
    tarball_seal(h, 0);
    return h;
}

static inline void tarball_data(struct tarball *t, const void *data, size_t n)
{
    if (n)
        memcpy(tarball_grow(t, (n + 511) / 512 * 512), data, n);
}

static inline void tarball_add(struct tarball *t, const char *name, char type, const char *data)
{
    tarball_header(t, name, type, strlen(data));
    tarball_data(t, data, strlen(data));
}

/* A pax record, with the length that counts itself. */
static inline void tarball_record(char *out, size_t room, const char *key, const char *value)
{
    size_t rest = strlen(key) + strlen(value) + 3, n = rest + 1;
    while (n != rest + (size_t)snprintf(NULL, 0, "%zu", n))
        n = rest + (size_t)snprintf(NULL, 0, "%zu", n);
    snprintf(out, room, "%zu %s=%s\n", n, key, value);
}

static inline void tarball_pax(struct tarball *t, char type, const char *key, const char *value)
{
    char record[8192];
    tarball_record(record, sizeof record, key, value);
    tarball_add(t, "PaxHeaders/x", type, record);
}

static inline void tarball_end(struct tarball *t)
{
    tarball_grow(t, 1024);
}
#endif
