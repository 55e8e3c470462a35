/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_TRUST_H
#define FERRYFS_TRUST_H
/* X.509 certificates that a Windows guest knows, and whether the chain of a signer ends in one of them.
 *
 * Windows keeps them in the registry, below SystemCertificates\STORE\Certificates\THUMBPRINT, in a value
 * Blob. It is a list of properties: 32 bits of id, 32 bits that are 1, 32 bits of length, then as many bytes;
 * all little-endian. Property 32 is the certificate in DER ([MS-GPEF] 2.2.1.4, CERT_CERT_PROP_ID in
 * wincrypt.h).
 *
 * The kernel of a 64-bit Windows has its own list: Microsoft's roots, and what Microsoft has cross-signed by
 * its "Code Verification Root". So these count in every guest, by the digest of their public key.
 *
 * A store may be read by several threads once nothing is added any more. */
#include "../formats/cleanup.h"
#include "der.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

enum trust_use {
    TRUST_ROOT,
    TRUST_HELPER, /* may stand between a signer and its root; trusted for nothing by itself */
};

enum {
    TRUST_MAX_CERTS = 2048,
    TRUST_MAX_DISALLOWED = 2048,
    TRUST_MAX_BLOB = 64 << 10,
    TRUST_MAX_CERT = 8 << 10, /* bytes of one certificate that is looked at */
    TRUST_NAME_MAX = 120,
};

/* As it is read by our own walk. GnuTLS takes it apart only when it is needed, one at a time: a certificate
 * of 8 KiB can be made to need a MiB there, and ten milliseconds. */
struct cert {
    uint8_t *bytes;                            /* owned */
    struct der whole, serial, issuer, subject; /* in them; the serial's content */
    time_t from, to;                           /* it is valid */
    char key[65];                              /* SHA-256 of the public key's SubjectPublicKeyInfo */
    enum trust_use use;
};
struct certs {
    struct cert *v; /* owned */
    size_t n;
};

/* What isn't a certificate is passed over: 0. -ENOMEM; -EFBIG: there are `max` already. */
int certs_add(struct certs *certs, struct der der, enum trust_use use, size_t max);
void certs_done(struct certs *certs);
/* For GnuTLS: its code; on success the caller deinits it. A key that would take long is refused. */
int cert_import(const struct cert *cert, gnutls_x509_crt_t *ret);
/* Its common name, or all of its subject's name; printable, for people. */
void cert_name(const struct cert *cert, char ret[TRUST_NAME_MAX]);

struct trust;
int trust_new(struct trust **ret);
/* A Blob of the registry. As certs_add. */
int trust_add_blob(struct trust *t, enum trust_use use, const uint8_t *blob, size_t n);
/* A certificate that must not be trusted, by its SHA-1 in hexadecimal, as keys in Disallowed are called. */
int trust_disallow(struct trust *t, const char *thumbprint);
void trust_free(struct trust *t);
DEFINE_CLEANUP(struct trust *, trust_free)

enum chain_end {
    CHAIN_NOWHERE,   /* no root that is known */
    CHAIN_UNKNOWN,   /* it says a root of Microsoft's, which isn't here to be compared */
    CHAIN_GUEST,     /* a root that the guest trusts */
    CHAIN_CROSS,     /* one that Microsoft has cross-signed for drivers */
    CHAIN_MICROSOFT, /* one of Microsoft's */
};
struct chain {
    enum chain_end end;
    bool disallowed;          /* a certificate of the best chain is */
    char top[TRUST_NAME_MAX]; /* the issuer that was missing, or the root */
};
/* Looks for the best chain of `leaf` through `with` and what the guest knows. Its certificates' dates don't
 * matter: the signer's own does. */
void trust_chain(const struct trust *t, const struct certs *with, const struct cert *leaf, struct chain *ret);
#endif
