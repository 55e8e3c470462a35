/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "trust.h"

#include "../formats/bytes.h"
#include "../formats/hash.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { PROP_CERT = 32, THUMBPRINT = 40, MAX_DEPTH = 8, MAX_CHECKS = 64 };
/* Of an RSA key, whose check takes the product of both. In use are 4096 and 17. */
enum { MAX_KEY_BITS = 16384, MAX_EXPONENT_BYTES = 8 };

struct trust {
    struct certs certs;
    char (*disallowed)[THUMBPRINT + 1]; /* owned */
    size_t n_disallowed;
};

/* ---- certificates ---- */

static bool sha(const char *algorithm, const void *p, size_t n, char ret[DIGEST_HEX_MAX])
{
    struct digest *d;
    if (digest_new(algorithm, &d))
        return false;
    digest_update(d, p, n);
    digest_final(d, ret);
    digest_free(d);
    return true;
}

/* Certificate, TBSCertificate: version, serial number, algorithm, issuer, validity, subject, public key. */
static bool cert_parse(struct cert *c)
{
    struct der d = c->whole;
    struct der_item i, from, to;
    char hex[DIGEST_HEX_MAX];
    if (!der_take(&d, DER_SEQUENCE, &i) || d.n)
        return false;
    d = i.in;
    if (!der_take(&d, DER_SEQUENCE, &i))
        return false;
    d = i.in;
    der_take(&d, DER_0, &i);
    if (!der_take(&d, DER_INTEGER, &i))
        return false;
    c->serial = i.in;
    if (!der_take(&d, DER_SEQUENCE, &i) || !der_take(&d, DER_SEQUENCE, &i))
        return false;
    c->issuer = i.whole;
    if (!der_take(&d, DER_SEQUENCE, &i) || !der_next(&i.in, &from) || !der_next(&i.in, &to) ||
        !der_time(&from, &c->from) || !der_time(&to, &c->to) || !der_take(&d, DER_SEQUENCE, &i))
        return false;
    c->subject = i.whole;
    if (!der_take(&d, DER_SEQUENCE, &i) || !sha("SHA256", i.whole.p, i.whole.n, hex))
        return false;
    memcpy(c->key, hex, sizeof c->key);
    return true;
}

int certs_add(struct certs *certs, struct der der, enum trust_use use, size_t max)
{
    struct cert c = { .use = use };
    if (certs->n >= max)
        return -EFBIG;
    if (!der.n || der.n > TRUST_MAX_CERT)
        return 0;
    c.bytes = malloc(der.n);
    if (!c.bytes)
        return -ENOMEM;
    memcpy(c.bytes, der.p, der.n);
    c.whole = (struct der){ c.bytes, der.n };
    struct cert *v = NULL;
    bool parsed = cert_parse(&c);
    if (!parsed || !(v = reallocarray(certs->v, certs->n + 1, sizeof *v))) {
        free(c.bytes);
        return parsed ? -ENOMEM : 0;
    }
    certs->v = v;
    certs->v[certs->n++] = c;
    return 0;
}

static bool is_quick(gnutls_x509_crt_t crt)
{
    gnutls_datum_t m = { 0 }, e = { 0 };
    unsigned bits = 0;
    int algorithm = gnutls_x509_crt_get_pk_algorithm(crt, &bits);
    if (algorithm != GNUTLS_PK_RSA)
        return algorithm >= 0 && bits <= MAX_KEY_BITS;
    bool quick = bits <= MAX_KEY_BITS && gnutls_x509_crt_get_pk_rsa_raw(crt, &m, &e) >= 0 &&
                 e.size <= MAX_EXPONENT_BYTES;
    gnutls_free(m.data);
    gnutls_free(e.data);
    return quick;
}

int cert_import(const struct cert *cert, gnutls_x509_crt_t *ret)
{
    gnutls_x509_crt_t crt;
    gnutls_datum_t raw = { cert->bytes, (unsigned)cert->whole.n };
    int r = gnutls_x509_crt_init(&crt);
    if (r < 0)
        return r;
    r = gnutls_x509_crt_import(crt, &raw, GNUTLS_X509_FMT_DER);
    if (r >= 0 && !is_quick(crt))
        r = GNUTLS_E_UNSUPPORTED_SIGNATURE_ALGORITHM;
    if (r < 0)
        gnutls_x509_crt_deinit(crt);
    else
        *ret = crt;
    return r;
}

void certs_done(struct certs *certs)
{
    for (size_t i = 0; i < certs->n; i++)
        free(certs->v[i].bytes);
    free(certs->v);
    *certs = (struct certs){ 0 };
}

/* Takes GnuTLS' backslashes off; what isn't for people becomes a question mark. */
static void printable(char *text)
{
    char *to = text;
    for (const char *c = text; *c; c++) {
        if (*c == '\\' && c[1])
            c++;
        *to++ = (unsigned char)*c < ' ' || *c == 0x7f ? '?' : *c;
    }
    *to = 0;
}

/* How long a value is, up to the comma that isn't escaped. */
static size_t value_length(const char *text)
{
    size_t n = 0;
    while (text[n] && text[n] != ',')
        n += text[n] == '\\' && text[n + 1] ? 2 : 1;
    return n;
}

/* The common name in a name in DER, else all of it. */
static void name_of(struct der name, char ret[TRUST_NAME_MAX])
{
    gnutls_datum_t der = { (unsigned char *)(uintptr_t)name.p, (unsigned)name.n };
    gnutls_x509_dn_t dn;
    gnutls_datum_t text = { 0 };
    ret[0] = 0;
    if (gnutls_x509_dn_init(&dn) < 0)
        return;
    if (gnutls_x509_dn_import(dn, &der) >= 0 && gnutls_x509_dn_get_str(dn, &text) >= 0) {
        const char *cn = strstr((const char *)text.data, "CN=");
        size_t n = cn ? value_length(cn += 3) : text.size;
        if (n >= TRUST_NAME_MAX)
            n = TRUST_NAME_MAX - 1;
        memcpy(ret, cn ? cn : (const char *)text.data, n);
        ret[n] = 0;
    }
    gnutls_free(text.data);
    gnutls_x509_dn_deinit(dn);
    printable(ret);
}

void cert_name(const struct cert *cert, char ret[TRUST_NAME_MAX])
{
    name_of(cert->subject, ret);
}

/* ---- what the guest knows ---- */

int trust_new(struct trust **ret)
{
    *ret = calloc(1, sizeof **ret);
    return *ret ? 0 : -ENOMEM;
}

void trust_free(struct trust *t)
{
    if (!t)
        return;
    certs_done(&t->certs);
    free(t->disallowed);
    free(t);
}

int trust_add_blob(struct trust *t, enum trust_use use, const uint8_t *blob, size_t n)
{
    struct bad bad = { 0 };
    struct bytes b = bytes_of(blob, n, 0, &bad);
    if (n > TRUST_MAX_BLOB)
        return 0;
    for (size_t at = 0; at < n;) {
        uint32_t id = le32(b, at), len = le32(b, at + 8);
        struct bytes value = bytes_sub(b, at + 12, len);
        if (bad.set)
            return 0;
        if (id == PROP_CERT)
            return certs_add(&t->certs, (struct der){ value.p, value.n }, use, TRUST_MAX_CERTS);
        at += 12 + (size_t)len;
    }
    return 0;
}

int trust_disallow(struct trust *t, const char *thumbprint)
{
    if (strlen(thumbprint) != THUMBPRINT)
        return 0;
    if (t->n_disallowed >= TRUST_MAX_DISALLOWED)
        return -EFBIG;
    void *v = reallocarray(t->disallowed, t->n_disallowed + 1, sizeof *t->disallowed);
    if (!v)
        return -ENOMEM;
    t->disallowed = v;
    memcpy(t->disallowed[t->n_disallowed++], thumbprint, THUMBPRINT + 1);
    return 0;
}

/* ---- chains ---- */

/* SHA-256 of public keys. The roots' come from certificates whose SHA-1 is what Microsoft publishes for them,
 * and whose own signature holds. The rest are of certificates that "Microsoft Code Verification Root" issued,
 * in virtio-win's catalogs; DigiCert's is the same as in Mozilla's list of roots. */
static const struct {
    const char *key;
    enum chain_end end;
} known[] = {
    /* Microsoft Root Authority, 1997: A43489159A520F0D93D032CCAF37E7FE20A8B419 */
    { "4462c107c485dd6a5443f5e7a1604416034a374c3f4d10875f1c3715027563af", CHAIN_MICROSOFT },
    /* Microsoft Root Certificate Authority, 2001: CDD4EEAE6000AC7F40C3802C171E30148030C072 */
    { "df530bac9fcd914c252c2fbdceddc6183d4ae8c680ad65f03e204861dd7b1c73", CHAIN_MICROSOFT },
    /* Microsoft Root Certificate Authority 2010: 3B1EFD3A66EA28B16697394703A72CA340A05BD5 */
    { "c9905b0ee01202293ca026e64f08412442c5504c06e44ca7e9726d61f20e4089", CHAIN_MICROSOFT },
    /* DigiCert Assured ID Root CA */
    { "23f2edff3ede90259a9e30f40af8f912a5e5b3694e6938440341f6060e014ffa", CHAIN_CROSS },
    /* VeriSign Class 3 Public Primary Certification Authority - G5 */
    { "25b41b506e4930952823a6eb9f1d31def645ea38a5c6c6a96d71957e384df058", CHAIN_CROSS },
    /* VeriSign Class 3 Public Primary Certification Authority */
    { "b1124142a5a1a5a28819c735340eff8c9e2f8168fee3ba187f253bc1a392d7e2", CHAIN_CROSS },
};
/* Anyone can write these into a certificate: so they only say what can't be known. */
static const char *const microsoft_names[] = {
    "Microsoft Root Authority",
    "Microsoft Root Certificate Authority",
    "Microsoft Root Certificate Authority 2010",
    "Microsoft Root Certificate Authority 2011",
    "Microsoft Code Verification Root",
};

struct search {
    const struct trust *t;
    const struct certs *with;
    struct chain *best;
    unsigned checks;
};

static bool disallowed(const struct trust *t, const struct cert *c)
{
    char hex[DIGEST_HEX_MAX];
    if (!t->n_disallowed || !sha("SHA1", c->whole.p, c->whole.n, hex))
        return false;
    for (size_t i = 0; i < t->n_disallowed; i++)
        if (!strcasecmp(t->disallowed[i], hex))
            return true;
    return false;
}

/* What the certificate itself is worth as the end of a chain. A key may have several certificates. */
static enum chain_end end_of(const struct trust *t, const struct cert *c)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (!strcmp(c->key, known[i].key))
            return known[i].end;
    for (size_t i = 0; i < t->certs.n; i++)
        if (t->certs.v[i].use == TRUST_ROOT && !strcmp(t->certs.v[i].key, c->key) &&
            der_equal(t->certs.v[i].subject, c->subject))
            return CHAIN_GUEST;
    return CHAIN_NOWHERE;
}

static void reached(struct search *s, enum chain_end end, struct der name, bool bad)
{
    if (end < s->best->end || (s->best->top[0] && end == s->best->end))
        return;
    s->best->end = end;
    s->best->disallowed = bad;
    name_of(name, s->best->top);
}

/* A root needs no mark that it may sign: old ones have none. */
static bool verify(const struct cert *child, const struct cert *parent, bool root)
{
    gnutls_x509_crt_t a, b;
    unsigned status = ~0u, flags = GNUTLS_VERIFY_DISABLE_TIME_CHECKS |
                                   GNUTLS_VERIFY_DISABLE_TRUSTED_TIME_CHECKS | GNUTLS_VERIFY_ALLOW_BROKEN |
                                   GNUTLS_VERIFY_ALLOW_SIGN_WITH_SHA1 |
                                   GNUTLS_VERIFY_IGNORE_UNKNOWN_CRIT_EXTENSIONS;
    if (root)
        flags |= GNUTLS_VERIFY_DISABLE_CA_SIGN | GNUTLS_VERIFY_ALLOW_ANY_X509_V1_CA_CRT;
    if (cert_import(child, &a) < 0)
        return false;
    int r = cert_import(parent, &b);
    if (r >= 0) {
        r = gnutls_x509_crt_verify(a, &b, 1, flags, &status);
        gnutls_x509_crt_deinit(b);
    }
    gnutls_x509_crt_deinit(a);
    return r >= 0 && !status;
}

/* Has the parent signed it? */
static bool issued(struct search *s, const struct cert *child, const struct cert *parent)
{
    return der_equal(child->issuer, parent->subject) && s->checks++ < MAX_CHECKS &&
           verify(child, parent, end_of(s->t, parent) != CHAIN_NOWHERE);
}

static void climb(struct search *s, const struct cert *c, unsigned depth, bool bad);

static bool climb_to(struct search *s, const struct cert *c, const struct certs *to, unsigned depth, bool bad)
{
    bool any = false;
    for (size_t i = 0; i < to->n; i++) {
        const struct cert *parent = &to->v[i];
        if (parent == c || !strcmp(parent->key, c->key) || !issued(s, c, parent))
            continue;
        any = true;
        climb(s, parent, depth + 1, bad);
    }
    return any;
}

static void climb(struct search *s, const struct cert *c, unsigned depth, bool bad)
{
    enum chain_end end = end_of(s->t, c);
    char issuer[TRUST_NAME_MAX];
    bad = bad || disallowed(s->t, c);
    if (end != CHAIN_NOWHERE)
        reached(s, end, c->subject, bad);
    if (depth >= MAX_DEPTH || end == CHAIN_MICROSOFT)
        return;
    bool any = climb_to(s, c, s->with, depth, bad);
    any = climb_to(s, c, &s->t->certs, depth, bad) || any;
    if (any || end != CHAIN_NOWHERE)
        return;
    name_of(c->issuer, issuer);
    for (size_t i = 0; i < sizeof microsoft_names / sizeof microsoft_names[0]; i++)
        if (!der_equal(c->issuer, c->subject) && !strcmp(issuer, microsoft_names[i]))
            end = CHAIN_UNKNOWN;
    reached(s, end, c->issuer, bad);
}

void trust_chain(const struct trust *t, const struct certs *with, const struct cert *leaf, struct chain *ret)
{
    struct search s = { t, with, ret, 0 };
    *ret = (struct chain){ 0 };
    climb(&s, leaf, 0, false);
}
