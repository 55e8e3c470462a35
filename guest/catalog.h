/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_CATALOG_H
#define FERRYFS_CATALOG_H
/* Catalogs of drivers (.cat): PKCS #7 SignedData (RFC 2315) around a certificate trust list, Microsoft's
 * 1.3.6.1.4.1.311.10.1, that has the digests of the package's files. The list stands in it as it is, not
 * wrapped into an octet string as CMS would. A pure function of bytes; the cryptography is GnuTLS'.
 *
 * What signs is looked at as Windows does: its attributes hold, its certificate is meant for code or drivers,
 * and was valid when the time stamp (RFC 3161, or PKCS #9's countersignature) says that it signed; without
 * one, now. A time stamp counts when its own signature holds; who made it isn't asked. Nested signatures
 * (1.3.6.1.4.1.311.2.4.1) are passed over; of several signers the best counts. */
#include "trust.h"

/* The worst first. */
enum catalog_state {
    CATALOG_NONE,       /* no SignedData, or damaged */
    CATALOG_UNSIGNED,   /* nobody has signed it */
    CATALOG_ALTERED,    /* the signature doesn't hold */
    CATALOG_NO_SIGNER,  /* it doesn't have the signer's certificate */
    CATALOG_DISALLOWED, /* the guest's list of forbidden certificates has one of the chain */
    CATALOG_UNTRUSTED,  /* the chain ends in no root that the guest trusts */
    CATALOG_USAGE,      /* the signer's certificate is for something else */
    CATALOG_UNKNOWN,    /* an algorithm that isn't known here, or a root that can't be compared */
    CATALOG_EXPIRED,    /* the certificate wasn't valid then */
    CATALOG_GOOD,
};

enum { CATALOG_MAX = 8 << 20, CATALOG_MAX_CERTS = 64, CATALOG_MAX_SIGNERS = 8 };

struct catalog {
    enum catalog_state state;
    enum chain_end end;
    bool stamped;                                     /* a time stamp says when it was signed */
    time_t issued;                                    /* the signer's certificate; 0: it has none */
    char signer[TRUST_NAME_MAX], top[TRUST_NAME_MAX]; /* "" when unknown */
    struct der content;                               /* what is signed, in the caller's bytes */
};

/* -ENOMEM; everything else is a state. `now` is for what has no time stamp. */
int catalog_verify(const uint8_t *bytes, size_t n, const struct trust *trust, time_t now,
                   struct catalog *ret);
#endif
