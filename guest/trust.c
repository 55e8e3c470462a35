/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "trust.h"

#include "../formats/bytes.h"
#include "../formats/hash.h"

#include <errno.h>
#include <gnutls/abstract.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { PROP_CERT = 32, THUMBPRINT = 40, MAX_DEPTH = 8, MAX_CHECKS = 64 };

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

static int public_key(gnutls_x509_crt_t crt, char ret[65])
{
    gnutls_pubkey_t key;
    gnutls_datum_t spki = { 0 };
    char hex[DIGEST_HEX_MAX] = "";
    int r = gnutls_pubkey_init(&key);
    if (r < 0)
        return r;
    r = gnutls_pubkey_import_x509(key, crt, 0);
    if (r >= 0)
        r = gnutls_pubkey_export2(key, GNUTLS_X509_FMT_DER, &spki);
    if (r >= 0 && !sha("SHA256", spki.data, spki.size, hex))
        r = GNUTLS_E_MEMORY_ERROR;
    memcpy(ret, hex, 64);
    ret[64] = 0;
    gnutls_free(spki.data);
    gnutls_pubkey_deinit(key);
    return r;
}

static void cert_done(struct cert *c)
{
    gnutls_free(c->subject.data);
    gnutls_free(c->issuer.data);
    if (c->crt)
        gnutls_x509_crt_deinit(c->crt);
}

static int cert_read(struct cert *c, struct der der)
{
    gnutls_datum_t raw = { (unsigned char *)(uintptr_t)der.p, (unsigned)der.n };
    int r = gnutls_x509_crt_init(&c->crt);
    if (r >= 0)
        r = gnutls_x509_crt_import(c->crt, &raw, GNUTLS_X509_FMT_DER);
    if (r >= 0)
        r = gnutls_x509_crt_get_raw_dn(c->crt, &c->subject);
    if (r >= 0)
        r = gnutls_x509_crt_get_raw_issuer_dn(c->crt, &c->issuer);
    return r < 0 ? r : public_key(c->crt, c->key);
}

int certs_add(struct certs *certs, struct der der, enum trust_use use, size_t max)
{
    struct cert c = { .use = use };
    if (certs->n >= max)
        return -EFBIG;
    if (der.n > TRUST_MAX_CERT)
        return 0;
    int r = cert_read(&c, der);
    struct cert *v = r < 0 ? NULL : reallocarray(certs->v, certs->n + 1, sizeof *v);
    if (!v) {
        cert_done(&c);
        return r >= 0 || r == GNUTLS_E_MEMORY_ERROR ? -ENOMEM : 0;
    }
    certs->v = v;
    certs->v[certs->n++] = c;
    return 0;
}

void certs_done(struct certs *certs)
{
    for (size_t i = 0; i < certs->n; i++)
        cert_done(&certs->v[i]);
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
static void name_of(const gnutls_datum_t *der, char ret[TRUST_NAME_MAX])
{
    gnutls_x509_dn_t dn;
    gnutls_datum_t text = { 0 };
    ret[0] = 0;
    if (gnutls_x509_dn_init(&dn) < 0)
        return;
    if (gnutls_x509_dn_import(dn, der) >= 0 && gnutls_x509_dn_get_str(dn, &text) >= 0) {
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
    name_of(&cert->subject, ret);
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

static bool same(const gnutls_datum_t *a, const gnutls_datum_t *b)
{
    return a->size == b->size && !memcmp(a->data, b->data, a->size);
}

static bool disallowed(const struct trust *t, const struct cert *c)
{
    uint8_t raw[20];
    size_t n = sizeof raw;
    char hex[THUMBPRINT + 1] = "";
    if (gnutls_x509_crt_get_fingerprint(c->crt, GNUTLS_DIG_SHA1, raw, &n) < 0)
        return false;
    for (size_t i = 0; i < n; i++)
        snprintf(hex + 2 * i, 3, "%02x", raw[i]);
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
            same(&t->certs.v[i].subject, &c->subject))
            return CHAIN_GUEST;
    return CHAIN_NOWHERE;
}

static void reached(struct search *s, enum chain_end end, const gnutls_datum_t *name, bool bad)
{
    if (end < s->best->end || (s->best->top[0] && end == s->best->end))
        return;
    s->best->end = end;
    s->best->disallowed = bad;
    name_of(name, s->best->top);
}

/* Has the parent signed it? A root needs no mark that it may: old ones have none. */
static bool issued(struct search *s, const struct cert *child, const struct cert *parent)
{
    unsigned status = ~0u, flags = GNUTLS_VERIFY_DISABLE_TIME_CHECKS |
                                   GNUTLS_VERIFY_DISABLE_TRUSTED_TIME_CHECKS | GNUTLS_VERIFY_ALLOW_BROKEN |
                                   GNUTLS_VERIFY_ALLOW_SIGN_WITH_SHA1 |
                                   GNUTLS_VERIFY_IGNORE_UNKNOWN_CRIT_EXTENSIONS;
    if (!same(&child->issuer, &parent->subject) || s->checks++ >= MAX_CHECKS)
        return false;
    if (end_of(s->t, parent) != CHAIN_NOWHERE)
        flags |= GNUTLS_VERIFY_DISABLE_CA_SIGN | GNUTLS_VERIFY_ALLOW_ANY_X509_V1_CA_CRT;
    return gnutls_x509_crt_verify(child->crt, &parent->crt, 1, flags, &status) >= 0 && !status;
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
        reached(s, end, &c->subject, bad);
    if (depth >= MAX_DEPTH || end == CHAIN_MICROSOFT)
        return;
    bool any = climb_to(s, c, s->with, depth, bad);
    any = climb_to(s, c, &s->t->certs, depth, bad) || any;
    if (any || end != CHAIN_NOWHERE)
        return;
    name_of(&c->issuer, issuer);
    for (size_t i = 0; i < sizeof microsoft_names / sizeof microsoft_names[0]; i++)
        if (!same(&c->issuer, &c->subject) && !strcmp(issuer, microsoft_names[i]))
            end = CHAIN_UNKNOWN;
    reached(s, end, &c->issuer, bad);
}

void trust_chain(const struct trust *t, const struct certs *with, const struct cert *leaf, struct chain *ret)
{
    struct search s = { t, with, ret, 0 };
    *ret = (struct chain){ 0 };
    climb(&s, leaf, 0, false);
}
