/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The walk over DER, certificates as the registry has them, chains, and who has signed a catalog. GnuTLS
 * makes the certificates and the signed data, and says what is in them. */
#include "guest/catalog.h"
#include "unit.h"

#include <errno.h>
#include <gnutls/abstract.h>
#include <gnutls/pkcs7.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NOW = 1700000000, YEAR = 31536000 };
#define CODE "1.3.6.1.5.5.7.3.3"
#define WEB  "1.3.6.1.5.5.7.3.1"

/* ---- DER ---- */

static struct der of(const char *bytes, size_t n)
{
    return (struct der){ (const uint8_t *)bytes, n };
}

static void elements(void **state)
{
    (void)state;
    static const struct {
        const char *name, *bytes;
        size_t n;
        bool good;
        size_t head, content;
    } cases[] = {
        { "nothing", "", 0, false, 0, 0 },
        { "a tag alone", "\x30", 1, false, 0, 0 },
        { "empty", "\x30\x00", 2, true, 2, 0 },
        { "short", "\x04\x02xy", 4, true, 2, 2 },
        { "with more behind it", "\x04\x01xy", 4, true, 2, 1 },
        { "one byte is missing", "\x04\x03xy", 4, false, 0, 0 },
        { "a length of one byte", "\x04\x81\x02xy", 5, true, 3, 2 },
        { "a length of four", "\x04\x84\x00\x00\x00\x01x", 7, true, 6, 1 },
        { "of five", "\x04\x85\x00\x00\x00\x00\x01x", 8, false, 0, 0 },
        { "the length is cut", "\x04\x84\x00\x00", 4, false, 0, 0 },
        { "larger than memory", "\x04\x84\xff\xff\xff\xffx", 7, false, 0, 0 },
        { "indefinite", "\x30\x80\x00\x00", 4, false, 0, 0 },
        { "a tag of several bytes", "\x1f\x20\x00", 3, false, 0, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct der d = of(cases[i].bytes, cases[i].n);
        struct der_item item;
        if (der_next(&d, &item) != cases[i].good)
            fail_msg("%s", cases[i].name);
        if (!cases[i].good) {
            assert_int_equal(d.n, cases[i].n);
            continue;
        }
        assert_int_equal(item.tag, (uint8_t)cases[i].bytes[0]);
        assert_int_equal(item.in.n, cases[i].content);
        assert_ptr_equal(item.in.p, cases[i].bytes + cases[i].head);
        assert_int_equal(item.whole.n, cases[i].head + cases[i].content);
        assert_int_equal(d.n, cases[i].n - item.whole.n);
    }
    struct der d = of("\x02\x01\x05", 3);
    struct der_item item;
    assert_false(der_take(&d, DER_SEQUENCE, &item));
    assert_int_equal(d.n, 3);
    assert_true(der_take(&d, DER_INTEGER, &item));
    assert_int_equal(d.n, 0);
}

static void object_identifiers(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *want;
    } cases[] = {
        { "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02", 9, "1.2.840.113549.1.7.2" },
        { "\x55\x1d\x25\x00", 4, "2.5.29.37.0" },
        { "\x88\x37", 2, "2.999" },
        { "", 0, "" },
        { "\x2a\x86", 2, "" },                 /* the last arc is cut */
        { "\x2a\x9f\xff\xff\xff\x7f", 6, "" }, /* an arc of more than 31 bits */
        { "\x2a\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01", 17, "" }, /* no room */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[24];
        der_oid(of(cases[i].bytes, cases[i].n), text, sizeof text);
        assert_string_equal(text, cases[i].want);
    }
}

static void times(void **state)
{
    (void)state;
    static const struct {
        unsigned tag;
        const char *text;
        long long want; /* -1: none */
    } cases[] = {
        { DER_UTC_TIME, "231114221320Z", 1700000000 },
        { DER_UTC_TIME, "700101000000Z", 0 },
        { DER_UTC_TIME, "491231235959Z", 2524607999 },
        { DER_TIME, "20231114221320Z", 1700000000 },
        { DER_TIME, "20500101000000Z", 2524608000 },
        { DER_UTC_TIME, "2311142213Z", -1 },
        { DER_UTC_TIME, "231114221320", -1 },
        { DER_UTC_TIME, "23111422132xZ", -1 },
        { DER_UTC_TIME, "", -1 },
        { DER_OCTETS, "231114221320Z", -1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct der_item item = { cases[i].tag, { 0 }, of(cases[i].text, strlen(cases[i].text)) };
        time_t t = -1;
        bool good = der_time(&item, &t);
        if (good != (cases[i].want >= 0) || (good && t != cases[i].want))
            fail_msg("%s: %lld", cases[i].text, (long long)t);
    }
}

/* ---- certificates made here ---- */

struct made {
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t crt;
    gnutls_datum_t der;
};

static void good(int r)
{
    if (r < 0)
        fail_msg("%s", gnutls_strerror(r));
}

static struct made make(const char *name, const struct made *by, const char *purpose, time_t from, time_t to)
{
    static unsigned char serial = 1;
    struct made m = { 0 };
    good(gnutls_x509_privkey_init(&m.key));
    good(gnutls_x509_privkey_generate(m.key, GNUTLS_PK_RSA, 2048, 0));
    good(gnutls_x509_crt_init(&m.crt));
    good(gnutls_x509_crt_set_version(m.crt, 3));
    serial++;
    good(gnutls_x509_crt_set_serial(m.crt, &serial, 1));
    good(gnutls_x509_crt_set_activation_time(m.crt, from));
    good(gnutls_x509_crt_set_expiration_time(m.crt, to));
    good(gnutls_x509_crt_set_dn_by_oid(m.crt, GNUTLS_OID_X520_COMMON_NAME, 0, name, (unsigned)strlen(name)));
    good(gnutls_x509_crt_set_dn_by_oid(m.crt, GNUTLS_OID_X520_ORGANIZATION_NAME, 0, "Org", 3));
    good(gnutls_x509_crt_set_key(m.crt, m.key));
    good(gnutls_x509_crt_set_ca_status(m.crt, !purpose));
    if (purpose)
        good(gnutls_x509_crt_set_key_purpose_oid(m.crt, purpose, 0));
    good(gnutls_x509_crt_sign2(m.crt, by ? by->crt : m.crt, by ? by->key : m.key, GNUTLS_DIG_SHA256, 0));
    good(gnutls_x509_crt_export2(m.crt, GNUTLS_X509_FMT_DER, &m.der));
    return m;
}

static void unmake(struct made *m)
{
    gnutls_free(m->der.data);
    gnutls_x509_crt_deinit(m->crt);
    gnutls_x509_privkey_deinit(m->key);
}

static struct made root, between, signer, web, past, other;

static int make_all(void **state)
{
    (void)state;
    root = make("A, root", NULL, NULL, NOW - 9 * YEAR, NOW + 9 * YEAR);
    between = make("Between", &root, NULL, NOW - 9 * YEAR, NOW + 9 * YEAR);
    signer = make("Signer", &between, CODE, NOW - YEAR, NOW + YEAR);
    web = make("Web", &between, WEB, NOW - YEAR, NOW + YEAR);
    past = make("Past", &between, CODE, NOW - 4 * YEAR, NOW - YEAR);
    other = make("Other root", NULL, NULL, NOW - YEAR, NOW + YEAR);
    return 0;
}

static int unmake_all(void **state)
{
    (void)state;
    struct made *all[] = { &root, &between, &signer, &web, &past, &other };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        unmake(all[i]);
    return 0;
}

static struct der der_of(const struct made *m)
{
    return (struct der){ m->der.data, m->der.size };
}

/* Our walk against GnuTLS'. */
static void certificates(void **state)
{
    (void)state;
    const struct made *all[] = { &root, &between, &past };
    struct certs certs = { 0 };
    for (size_t i = 0; i < 3; i++) {
        uint8_t serial[32];
        size_t n = sizeof serial;
        gnutls_datum_t name;
        char text[TRUST_NAME_MAX];
        assert_int_equal(certs_add(&certs, der_of(all[i]), TRUST_HELPER, 9), 0);
        const struct cert *c = &certs.v[i];
        good(gnutls_x509_crt_get_serial(all[i]->crt, serial, &n));
        assert_int_equal(c->serial.n, n);
        assert_memory_equal(c->serial.p, serial, n);
        good(gnutls_x509_crt_get_raw_issuer_dn(all[i]->crt, &name));
        assert_int_equal(c->issuer.n, name.size);
        assert_memory_equal(c->issuer.p, name.data, name.size);
        gnutls_free(name.data);
        good(gnutls_x509_crt_get_raw_dn(all[i]->crt, &name));
        assert_int_equal(c->subject.n, name.size);
        assert_memory_equal(c->subject.p, name.data, name.size);
        gnutls_free(name.data);
        assert_int_equal(c->from, gnutls_x509_crt_get_activation_time(all[i]->crt));
        assert_int_equal(c->to, gnutls_x509_crt_get_expiration_time(all[i]->crt));
        cert_name(c, text);
        assert_string_equal(text, i == 0 ? "A, root" : i == 1 ? "Between" : "Past");
        /* GnuTLS' id of a key is the digest of the same bytes. */
        uint8_t id[32];
        char hex[65];
        n = sizeof id;
        good(gnutls_x509_crt_get_key_id(all[i]->crt, GNUTLS_KEYID_USE_SHA256, id, &n));
        for (size_t k = 0; k < n; k++)
            snprintf(hex + 2 * k, 3, "%02x", id[k]);
        assert_string_equal(c->key, hex);
    }
    assert_int_equal(certs_add(&certs, der_of(&web), TRUST_HELPER, 3), -EFBIG);
    for (size_t cut = 0; cut < root.der.size; cut++) /* what is cut is passed over */
        assert_int_equal(certs_add(&certs, (struct der){ root.der.data, cut }, TRUST_ROOT, 9), 0);
    assert_int_equal(certs.n, 3);
    certs_done(&certs);
}

static void put32(uint8_t *p, size_t v)
{
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

/* A Blob with a property before the certificate. */
static size_t blob_of(const struct made *m, uint8_t ret[8192])
{
    put32(ret, 3);
    put32(ret + 4, 1);
    put32(ret + 8, 5);
    memcpy(ret + 12, "abcde", 5);
    put32(ret + 17, 32);
    put32(ret + 21, 1);
    put32(ret + 25, m->der.size);
    memcpy(ret + 29, m->der.data, m->der.size);
    return 29 + m->der.size;
}

static void trust_made(struct trust *t, enum trust_use use, const struct made *m)
{
    uint8_t blob[8192];
    size_t n = blob_of(m, blob);
    assert_int_equal(trust_add_blob(t, use, blob, n), 0);
}

/* The chain of `leaf` with `helper`, if any, beside it. */
static struct chain chain_of(const struct trust *t, const struct made *leaf, const struct made *helper)
{
    struct certs certs = { 0 };
    struct chain chain;
    assert_int_equal(certs_add(&certs, der_of(leaf), TRUST_HELPER, 9), 0);
    if (helper)
        assert_int_equal(certs_add(&certs, der_of(helper), TRUST_HELPER, 9), 0);
    trust_chain(t, &certs, &certs.v[0], &chain);
    certs_done(&certs);
    return chain;
}

static void chains(void **state)
{
    (void)state;
    struct trust *t;
    assert_int_equal(trust_new(&t), 0);
    struct chain c = chain_of(t, &signer, &between);
    assert_int_equal(c.end, CHAIN_NOWHERE);
    assert_string_equal(c.top, "A, root");
    c = chain_of(t, &signer, NULL);
    assert_int_equal(c.end, CHAIN_NOWHERE);
    assert_string_equal(c.top, "Between");
    trust_made(t, TRUST_ROOT, &other);
    trust_made(t, TRUST_HELPER, &root); /* as a helper it is trusted for nothing */
    assert_int_equal(chain_of(t, &signer, &between).end, CHAIN_NOWHERE);
    trust_made(t, TRUST_ROOT, &root);
    assert_int_equal(chain_of(t, &signer, NULL).end, CHAIN_NOWHERE);
    c = chain_of(t, &signer, &between);
    assert_int_equal(c.end, CHAIN_GUEST);
    assert_false(c.disallowed);
    assert_string_equal(c.top, "A, root");
    trust_made(t, TRUST_HELPER, &between); /* the guest's may stand between, too */
    assert_int_equal(chain_of(t, &signer, NULL).end, CHAIN_GUEST);

    uint8_t sha1[20];
    char hex[41];
    size_t n = sizeof sha1;
    good(gnutls_x509_crt_get_fingerprint(between.crt, GNUTLS_DIG_SHA1, sha1, &n));
    for (size_t i = 0; i < n; i++)
        snprintf(hex + 2 * i, 3, "%02X", sha1[i]);
    assert_int_equal(trust_disallow(t, "no thumbprint"), 0);
    assert_false(chain_of(t, &signer, &between).disallowed);
    assert_int_equal(trust_disallow(t, hex), 0);
    assert_true(chain_of(t, &signer, &between).disallowed);
    trust_free(t);
}

/* One that has the issuer's name, but not its signature. */
static void a_forged_issuer(void **state)
{
    (void)state;
    struct trust *t;
    assert_int_equal(trust_new(&t), 0);
    trust_made(t, TRUST_ROOT, &root);
    struct made false_root = make("A, root", NULL, NULL, NOW - YEAR, NOW + YEAR);
    struct made forged = make("Signer", &false_root, CODE, NOW - YEAR, NOW + YEAR);
    assert_int_equal(chain_of(t, &forged, NULL).end, CHAIN_NOWHERE);
    assert_int_equal(chain_of(t, &forged, &false_root).end, CHAIN_NOWHERE);
    struct made named = make("Microsoft Root Certificate Authority 2010", NULL, NULL, NOW - YEAR, NOW + YEAR);
    struct made under = make("Signer", &named, CODE, NOW - YEAR, NOW + YEAR);
    assert_int_equal(chain_of(t, &under, &named).end, CHAIN_NOWHERE); /* the key isn't Microsoft's */
    assert_int_equal(chain_of(t, &under, NULL).end, CHAIN_UNKNOWN);   /* nor is it here to be compared */
    unmake(&under);
    unmake(&named);
    unmake(&forged);
    unmake(&false_root);
    trust_free(t);
}

/* An exponent of more than eight bytes would make a check take long. */
static void a_slow_key(void **state)
{
    (void)state;
    struct made m = make("Slow", NULL, NULL, NOW - YEAR, NOW + YEAR);
    static const uint8_t exponent[] = { 2, 3, 1, 0, 1 }; /* 65537, as the key has it at its end */
    uint8_t *at = memmem(m.der.data, m.der.size, exponent, sizeof exponent);
    struct certs certs = { 0 };
    gnutls_x509_crt_t crt;
    assert_non_null(at);
    assert_int_equal(certs_add(&certs, der_of(&m), TRUST_HELPER, 9), 0);
    good(cert_import(&certs.v[0], &crt));
    gnutls_x509_crt_deinit(crt);
    /* The modulus before it gives up 20 of its bytes to the exponent. */
    uint8_t *modulus = at - 257 - 4;
    assert_memory_equal(modulus, "\x02\x82\x01\x01\x00", 5);
    modulus[3] = 257 - 20;
    modulus[2] = 0;
    at -= 20;
    at[0] = 2;
    at[1] = 23;
    at[2] = 1;
    certs_done(&certs);
    assert_int_equal(certs_add(&certs, der_of(&m), TRUST_HELPER, 9), 0);
    assert_int_equal(certs.n, 1);
    assert_true(cert_import(&certs.v[0], &crt) < 0);
    certs_done(&certs);
    unmake(&m);
}

static void hostile_blobs(void **state)
{
    (void)state;
    struct trust *t;
    uint8_t blob[8192];
    assert_int_equal(trust_new(&t), 0);
    size_t n = blob_of(&root, blob);
    for (size_t cut = 0; cut < n; cut++) {
        uint8_t *exact = malloc(cut ? cut : 1); /* its end is where a sanitizer sees one too much */
        memcpy(exact, blob, cut);
        assert_int_equal(trust_add_blob(t, TRUST_ROOT, exact, cut), 0);
        free(exact);
    }
    put32(blob + 8, 0xffffffff);
    assert_int_equal(trust_add_blob(t, TRUST_ROOT, blob, n), 0);
    assert_int_equal(chain_of(t, &signer, &between).end, CHAIN_NOWHERE); /* so none of them is a root */
    trust_free(t);
}

/* ---- catalogs ---- */

static gnutls_datum_t sign(const struct made *by, const struct made *helper)
{
    static const char text[] = "the list of digests";
    gnutls_datum_t content = { (unsigned char *)(uintptr_t)text, sizeof text - 1 }, ret;
    gnutls_privkey_t key;
    gnutls_pkcs7_t p;
    good(gnutls_privkey_init(&key));
    good(gnutls_privkey_import_x509(key, by->key, 0));
    good(gnutls_pkcs7_init(&p));
    good(gnutls_pkcs7_sign(p, by->crt, key, &content, NULL, NULL, GNUTLS_DIG_SHA256,
                           GNUTLS_PKCS7_EMBED_DATA | GNUTLS_PKCS7_INCLUDE_CERT));
    if (helper)
        good(gnutls_pkcs7_set_crt(p, helper->crt));
    good(gnutls_pkcs7_export2(p, GNUTLS_X509_FMT_DER, &ret));
    gnutls_pkcs7_deinit(p);
    gnutls_privkey_deinit(key);
    return ret;
}

static struct catalog look(const gnutls_datum_t *d, const struct trust *t)
{
    struct catalog c;
    assert_int_equal(catalog_verify(d->data, d->size, t, NOW, &c), 0);
    return c;
}

static enum catalog_state state_of(const struct made *by, const struct trust *t)
{
    gnutls_datum_t d = sign(by, &between);
    enum catalog_state s = look(&d, t).state;
    gnutls_free(d.data);
    return s;
}

static void catalogs(void **state)
{
    (void)state;
    struct trust *t;
    assert_int_equal(trust_new(&t), 0);
    assert_int_equal(state_of(&signer, t), CATALOG_UNTRUSTED);
    trust_made(t, TRUST_ROOT, &root);
    assert_int_equal(state_of(&signer, t), CATALOG_GOOD);
    assert_int_equal(state_of(&web, t), CATALOG_USAGE);
    assert_int_equal(state_of(&past, t), CATALOG_EXPIRED);
    assert_int_equal(state_of(&other, t), CATALOG_UNTRUSTED);

    gnutls_datum_t d = sign(&signer, &between);
    struct catalog c = look(&d, t);
    assert_string_equal(c.signer, "Signer");
    assert_string_equal(c.top, "A, root");
    assert_false(c.stamped);
    assert_int_equal(c.content.n, strlen("the list of digests"));
    assert_memory_equal(c.content.p, "the list of digests", c.content.n);
    ((uint8_t *)(uintptr_t)c.content.p)[4] ^= 1;
    assert_int_equal(look(&d, t).state, CATALOG_ALTERED);
    ((uint8_t *)(uintptr_t)c.content.p)[4] ^= 1;
    d.data[d.size - 1] ^= 1; /* the signature's last byte */
    assert_int_equal(look(&d, t).state, CATALOG_ALTERED);
    d.data[d.size - 1] ^= 1;
    assert_int_equal(look(&d, t).state, CATALOG_GOOD);
    for (unsigned cut = 0; cut < d.size; cut += 1 + cut / 16) {
        const gnutls_datum_t part = { d.data, cut };
        assert_int_equal(look(&part, t).state, CATALOG_NONE);
    }
    gnutls_free(d.data);
    trust_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elements),   cmocka_unit_test(object_identifiers),
        cmocka_unit_test(times),      cmocka_unit_test(certificates),
        cmocka_unit_test(chains),     cmocka_unit_test(a_forged_issuer),
        cmocka_unit_test(a_slow_key), cmocka_unit_test(hostile_blobs),
        cmocka_unit_test(catalogs),
    };
    return cmocka_run_group_tests(tests, make_all, unmake_all);
}
