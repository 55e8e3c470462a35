/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "catalog.h"

#include <errno.h>
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <string.h>

enum { OID_MAX = 64, MAX_ATTRIBUTES = 32, MAX_PURPOSES = 32 };

#define SIGNED_DATA    "1.2.840.113549.1.7.2"
#define MESSAGE_DIGEST "1.2.840.113549.1.9.4"
#define SIGNING_TIME   "1.2.840.113549.1.9.5"
#define COUNTERSIGNED  "1.2.840.113549.1.9.6"
#define RFC3161        "1.3.6.1.4.1.311.3.3.1"

/* ---- SignedData ---- */

struct signed_data {
    struct der content;      /* without tag and length, which aren't signed */
    struct der certificates; /* what the sets hold */
    struct der signers;
};

struct signer {
    struct der issuer, serial; /* whole; the serial's content */
    gnutls_digest_algorithm_t digest;
    char algorithm[OID_MAX];    /* of the signature */
    struct der_item attributes; /* whole.n 0: none */
    struct der signature;
    struct der unsigned_attributes;
};

static void take_oid(struct der *d, char ret[OID_MAX])
{
    struct der_item oid;
    ret[0] = 0;
    if (der_take(d, DER_OID, &oid))
        der_oid(oid.in, ret, OID_MAX);
}

static bool read_signed_data(struct der d, struct signed_data *ret)
{
    struct der_item i;
    char oid[OID_MAX];
    *ret = (struct signed_data){ 0 };
    if (!der_take(&d, DER_SEQUENCE, &i))
        return false;
    d = i.in;
    take_oid(&d, oid);
    if (strcmp(oid, SIGNED_DATA) || !der_take(&d, DER_0, &i))
        return false;
    d = i.in;
    if (!der_take(&d, DER_SEQUENCE, &i))
        return false;
    d = i.in;
    if (!der_take(&d, DER_INTEGER, &i) || !der_take(&d, DER_SET, &i) || !der_take(&d, DER_SEQUENCE, &i))
        return false;
    struct der in = i.in;
    take_oid(&in, oid);
    if (der_take(&in, DER_0, &i)) {
        in = i.in;
        ret->content = der_next(&in, &i) ? i.in : (struct der){ 0 };
    }
    if (der_take(&d, DER_0, &i))
        ret->certificates = i.in;
    der_take(&d, DER_1, &i); /* lists of revoked ones */
    if (!der_take(&d, DER_SET, &i))
        return false;
    ret->signers = i.in;
    return true;
}

static bool read_signer(struct der d, struct signer *ret)
{
    struct der_item i;
    struct der in;
    char oid[OID_MAX];
    *ret = (struct signer){ 0 };
    if (!der_take(&d, DER_INTEGER, &i) || !der_take(&d, DER_SEQUENCE, &i))
        return false; /* by key id: CMS has that, Windows' catalogs don't */
    in = i.in;
    if (!der_take(&in, DER_SEQUENCE, &i))
        return false;
    ret->issuer = i.whole;
    if (!der_take(&in, DER_INTEGER, &i))
        return false;
    ret->serial = i.in;
    if (!der_take(&d, DER_SEQUENCE, &i))
        return false;
    take_oid(&i.in, oid);
    ret->digest = gnutls_oid_to_digest(oid);
    der_take(&d, DER_0, &ret->attributes);
    if (ret->attributes.tag != DER_0)
        ret->attributes = (struct der_item){ 0 };
    if (!der_take(&d, DER_SEQUENCE, &i))
        return false;
    take_oid(&i.in, ret->algorithm);
    if (!der_take(&d, DER_OCTETS, &i))
        return false;
    ret->signature = i.in;
    if (der_take(&d, DER_1, &i))
        ret->unsigned_attributes = i.in;
    return true;
}

/* The first value of an attribute. */
static bool attribute(struct der all, const char *want, struct der_item *ret)
{
    struct der_item i;
    char oid[OID_MAX];
    for (unsigned n = 0; n < MAX_ATTRIBUTES && der_take(&all, DER_SEQUENCE, &i); n++) {
        struct der in = i.in;
        take_oid(&in, oid);
        if (!strcmp(oid, want) && der_take(&in, DER_SET, &i))
            return der_next(&i.in, ret);
    }
    return false;
}

static int read_certificates(struct der all, struct certs *ret)
{
    struct der_item i;
    while (der_next(&all, &i)) {
        int r = i.tag == DER_SEQUENCE ? certs_add(ret, i.whole, TRUST_HELPER, CATALOG_MAX_CERTS) : 0;
        if (r)
            return r == -EFBIG ? 0 : r;
    }
    return 0;
}

/* ---- one signature ---- */

enum verdict { HOLDS, BROKEN, NOT_KNOWN };

static const struct cert *certificate_of(const struct signer *s, const struct certs *certs)
{
    for (size_t i = 0; i < certs->n; i++)
        if (der_equal(certs->v[i].issuer, s->issuer) && der_equal(certs->v[i].serial, s->serial))
            return &certs->v[i];
    return NULL;
}

static bool is_digest(gnutls_digest_algorithm_t algorithm, struct der of, struct der want)
{
    uint8_t digest[64];
    unsigned n = gnutls_hash_get_len(algorithm);
    return n && n <= sizeof digest && gnutls_hash_fast(algorithm, of.p, of.n, digest) >= 0 &&
           der_equal((struct der){ digest, n }, want);
}

static gnutls_sign_algorithm_t algorithm_of(const struct signer *s, gnutls_pubkey_t key)
{
    gnutls_sign_algorithm_t a = gnutls_oid_to_sign(s->algorithm);
    if (a != GNUTLS_SIGN_UNKNOWN)
        return a;
    /* Microsoft's signers name the key's algorithm only, as PKCS #7 has it. */
    int pk = gnutls_pubkey_get_pk_algorithm(key, NULL);
    return pk > 0 && gnutls_oid_to_pk(s->algorithm) == (gnutls_pk_algorithm_t)pk
               ? gnutls_pk_to_sign((gnutls_pk_algorithm_t)pk, s->digest)
               : GNUTLS_SIGN_UNKNOWN;
}

/* The time stamps of VeriSign and Symantec have the bare digest where PKCS #1 wants it with its algorithm. */
static bool by_bare_digest(const struct signer *s, gnutls_pubkey_t key, struct der over)
{
    uint8_t digest[64];
    unsigned n = gnutls_hash_get_len(s->digest);
    gnutls_datum_t hash = { digest, n };
    gnutls_datum_t sig = { (unsigned char *)(uintptr_t)s->signature.p, (unsigned)s->signature.n };
    return n && n <= sizeof digest && gnutls_pubkey_get_pk_algorithm(key, NULL) == GNUTLS_PK_RSA &&
           gnutls_hash_fast(s->digest, over.p, over.n, digest) >= 0 &&
           gnutls_pubkey_verify_hash2(key, GNUTLS_SIGN_UNKNOWN, GNUTLS_VERIFY_USE_TLS1_RSA, &hash, &sig) >= 0;
}

static enum verdict by_key(const struct signer *s, gnutls_pubkey_t key, struct der over)
{
    gnutls_sign_algorithm_t a = algorithm_of(s, key);
    gnutls_datum_t data = { (unsigned char *)(uintptr_t)over.p, (unsigned)over.n };
    gnutls_datum_t sig = { (unsigned char *)(uintptr_t)s->signature.p, (unsigned)s->signature.n };
    if (a == GNUTLS_SIGN_UNKNOWN)
        return NOT_KNOWN;
    int r = gnutls_pubkey_verify_data2(
        key, a, GNUTLS_VERIFY_ALLOW_BROKEN | GNUTLS_VERIFY_ALLOW_SIGN_WITH_SHA1, &data, &sig);
    if (r == GNUTLS_E_PK_SIG_VERIFY_FAILED)
        return by_bare_digest(s, key, over) ? HOLDS : BROKEN;
    return r >= 0 ? HOLDS : NOT_KNOWN;
}

static enum verdict by_certificate(const struct signer *s, const struct cert *cert, struct der over)
{
    gnutls_x509_crt_t crt;
    gnutls_pubkey_t key;
    enum verdict v = NOT_KNOWN;
    if (cert_import(cert, &crt) < 0)
        return v;
    if (gnutls_pubkey_init(&key) >= 0) {
        if (gnutls_pubkey_import_x509(key, crt, 0) >= 0)
            v = by_key(s, key, over);
        gnutls_pubkey_deinit(key);
    }
    gnutls_x509_crt_deinit(crt);
    return v;
}

/* Does the signer's signature hold for these bytes? */
static int verify(const struct signer *s, const struct cert *cert, struct der content, enum verdict *ret)
{
    struct der_item digest;
    struct der over = content;
    _cleanup_free_ uint8_t *set = NULL;
    *ret = BROKEN;
    if (s->digest == GNUTLS_DIG_UNKNOWN) {
        *ret = NOT_KNOWN;
        return 0;
    }
    if (s->attributes.whole.n) {
        if (!attribute(s->attributes.in, MESSAGE_DIGEST, &digest) || digest.tag != DER_OCTETS ||
            !is_digest(s->digest, content, digest.in))
            return 0;
        /* They are signed as the SET that they are, not with the tag that they have in the signer. */
        over = s->attributes.whole;
        set = malloc(over.n);
        if (!set)
            return -ENOMEM;
        memcpy(set, over.p, over.n);
        set[0] = DER_SET;
        over.p = set;
    }
    *ret = by_certificate(s, cert, over);
    return 0;
}

/* ---- time stamps ---- */

static int holds(const struct signer *s, const struct certs *certs, struct der content, bool *ret)
{
    enum verdict v = BROKEN;
    const struct cert *cert = certificate_of(s, certs);
    int r = cert ? verify(s, cert, content, &v) : 0;
    *ret = !r && v == HOLDS;
    return r;
}

/* PKCS #9: a signer of the signature's bytes, whose certificate is among the catalog's. */
static int countersignature(struct der d, struct der signature, const struct certs *certs, bool *ret,
                            time_t *at)
{
    struct signer s;
    struct der_item when;
    if (!read_signer(d, &s) || !attribute(s.attributes.in, SIGNING_TIME, &when) || !der_time(&when, at))
        return 0;
    return holds(&s, certs, signature, ret);
}

/* TSTInfo: version, policy, what was stamped, serial number, time. */
static bool read_stamp(struct der d, struct der signature, time_t *at)
{
    struct der_item i, imprint;
    char oid[OID_MAX];
    if (!der_take(&d, DER_SEQUENCE, &i))
        return false;
    d = i.in;
    if (!der_take(&d, DER_INTEGER, &i) || !der_take(&d, DER_OID, &i) ||
        !der_take(&d, DER_SEQUENCE, &imprint) || !der_take(&d, DER_INTEGER, &i) ||
        !der_take(&d, DER_TIME, &i) || !der_time(&i, at))
        return false;
    d = imprint.in;
    if (!der_take(&d, DER_SEQUENCE, &i) || !der_take(&d, DER_OCTETS, &imprint))
        return false;
    take_oid(&i.in, oid);
    return is_digest(gnutls_oid_to_digest(oid), signature, imprint.in);
}

static int rfc3161(struct der d, struct der signature, bool *ret, time_t *at)
{
    struct signed_data sd;
    struct signer s;
    struct der_item i;
    struct certs certs = { 0 };
    /* The stamp is wrapped in an octet string, which read_signed_data has taken off. */
    if (!read_signed_data(d, &sd) || !read_stamp(sd.content, signature, at) ||
        !der_take(&sd.signers, DER_SEQUENCE, &i) || !read_signer(i.in, &s))
        return 0;
    int r = read_certificates(sd.certificates, &certs);
    if (!r)
        r = holds(&s, &certs, sd.content, ret);
    certs_done(&certs);
    return r;
}

/* *ret: it has a time stamp that holds; then *at is its time. */
static int time_stamp(const struct signer *s, const struct certs *certs, bool *ret, time_t *at)
{
    struct der_item i;
    time_t when = 0;
    int r = 0;
    *ret = false;
    if (attribute(s->unsigned_attributes, RFC3161, &i) && i.tag == DER_SEQUENCE)
        r = rfc3161(i.whole, s->signature, ret, &when);
    if (!r && !*ret && attribute(s->unsigned_attributes, COUNTERSIGNED, &i) && i.tag == DER_SEQUENCE)
        r = countersignature(i.in, s->signature, certs, ret, &when);
    if (*ret)
        *at = when;
    return r;
}

/* ---- who signs ---- */

/* For code, or as Microsoft signs drivers: WHQL and attestation, Windows itself, OEMs. */
static bool may_sign(gnutls_x509_crt_t crt)
{
    static const char *const good[] = {
        "1.3.6.1.5.5.7.3.3",
        "1.3.6.1.4.1.311.10.3.5",
        "1.3.6.1.4.1.311.10.3.5.1",
        "1.3.6.1.4.1.311.10.3.6",
        "1.3.6.1.4.1.311.10.3.7",
        "1.3.6.1.4.1.311.10.3.39",
        "2.5.29.37.0",
    };
    for (unsigned i = 0; i < MAX_PURPOSES; i++) {
        char oid[OID_MAX] = "";
        size_t n = sizeof oid;
        int r = gnutls_x509_crt_get_key_purpose_oid(crt, i, oid, &n, NULL);
        if (r == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
            return i == 0; /* one that names no purpose is for all */
        if (r < 0)
            continue;
        for (size_t k = 0; k < sizeof good / sizeof good[0]; k++)
            if (!strcmp(oid, good[k]))
                return true;
    }
    return false;
}

static enum catalog_state judge(const struct cert *cert, enum verdict v, const struct chain *chain, time_t at)
{
    gnutls_x509_crt_t crt;
    if (v == BROKEN)
        return CATALOG_ALTERED;
    if (chain->disallowed)
        return CATALOG_DISALLOWED;
    if (chain->end == CHAIN_NOWHERE)
        return CATALOG_UNTRUSTED;
    if (v == NOT_KNOWN || cert_import(cert, &crt) < 0)
        return CATALOG_UNKNOWN;
    bool may = may_sign(crt);
    gnutls_x509_crt_deinit(crt);
    if (!may)
        return CATALOG_USAGE;
    if (chain->end == CHAIN_UNKNOWN)
        return CATALOG_UNKNOWN;
    return at < cert->from || at > cert->to ? CATALOG_EXPIRED : CATALOG_GOOD;
}

static int look_at(struct der d, const struct certs *certs, struct der content, const struct trust *trust,
                   time_t now, struct catalog *ret)
{
    struct signer s;
    struct chain chain;
    enum verdict v;
    ret->state = CATALOG_ALTERED;
    if (!read_signer(d, &s))
        return 0;
    const struct cert *cert = certificate_of(&s, certs);
    if (!cert) {
        ret->state = CATALOG_NO_SIGNER;
        return 0;
    }
    cert_name(cert, ret->signer);
    ret->issued = cert->from;
    int r = verify(&s, cert, content, &v);
    if (!r)
        r = time_stamp(&s, certs, &ret->stamped, &now);
    if (r)
        return r;
    trust_chain(trust, certs, cert, &chain);
    ret->state = judge(cert, v, &chain, now);
    ret->end = chain.end;
    memcpy(ret->top, chain.top, sizeof ret->top);
    return 0;
}

int catalog_verify(const uint8_t *bytes, size_t n, const struct trust *trust, time_t now, struct catalog *ret)
{
    struct signed_data sd;
    struct der_item i;
    struct certs certs = { 0 };
    *ret = (struct catalog){ .state = CATALOG_NONE };
    if (n > CATALOG_MAX || !read_signed_data((struct der){ bytes, n }, &sd))
        return 0;
    ret->state = CATALOG_UNSIGNED;
    ret->content = sd.content;
    int r = read_certificates(sd.certificates, &certs);
    for (unsigned k = 0; !r && k < CATALOG_MAX_SIGNERS && der_take(&sd.signers, DER_SEQUENCE, &i); k++) {
        struct catalog one = { .content = sd.content };
        r = look_at(i.in, &certs, sd.content, trust, now, &one);
        if (!r && one.state > ret->state)
            *ret = one;
    }
    certs_done(&certs);
    return r;
}
