/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_DER_H
#define FERRYFS_DER_H
/* A walk over DER (X.690) of untrusted bytes: element by element, never beyond what holds it. Lengths are
 * definite and have four bytes at most, tags have one; anything else is where the walk ends. Nothing is owned
 * or copied. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum {
    DER_INTEGER = 2,
    DER_OCTETS = 4,
    DER_OID = 6,
    DER_UTC_TIME = 0x17,
    DER_TIME = 0x18,
    DER_SEQUENCE = 0x30,
    DER_SET = 0x31,
    DER_0 = 0xa0, /* [0] and [1], constructed */
    DER_1 = 0xa1,
};

/* What is left to be read, or some bytes. */
struct der {
    const uint8_t *p;
    size_t n;
};

struct der_item {
    unsigned tag;
    struct der whole; /* with its tag and length */
    struct der in;    /* its content */
};

/* The next element; false: there is none, or it isn't DER. */
bool der_next(struct der *d, struct der_item *ret);
/* The next one if it has that tag; otherwise it stays. */
bool der_take(struct der *d, unsigned tag, struct der_item *ret);
bool der_equal(struct der a, struct der b);
/* "1.2.840.113549.1.7.2"; "" for what is no object identifier or doesn't fit. */
void der_oid(struct der content, char *ret, size_t size);
/* Of a UTCTime or GeneralizedTime in UTC, as X.509 has them. False: it is none. */
bool der_time(const struct der_item *item, time_t *ret);
#endif
