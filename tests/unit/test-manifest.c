/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Manifests (manifest.c), and the digests that they name (hash.c). */
#include "formats/hash.h"
#include "formats/manifest.h"
#include "unit.h"

#include <errno.h>
#include <string.h>

static struct manifest *parse(const char *text, size_t n)
{
    struct manifest *m = NULL;
    struct fault fault = { 0 };
    assert_int_equal(manifest_parse(text, n, "x.mf", &m, &fault), 0);
    assert_int_equal(fault.err, 0);
    return m;
}

static void one_line(void **state)
{
    static const struct {
        const char *line, *algorithm, *file, *digest;
    } t[] = {
        { "SHA1(x.ovf)= 00ff", "SHA1", "x.ovf", "00ff" },
        { "SHA256 (x.ovf) = 00FF\r", "SHA256", "x.ovf", "00ff" },
        { "\t sha256(x)=ab \t\r", "SHA256", "x", "ab" },
        { "SHA-512(a b (copy).vmdk)= 1", "SHA-512", "a b (copy).vmdk", "1" },
        { "SHA256(odd)= 12)= 34", "SHA256", "odd)= 12", "34" },
        { "SHA3-256(./d/e.vmdk)= 0a", "SHA3-256", "./d/e.vmdk", "0a" },
        { "SHA2-256(x)= 0a", "SHA2-256", "x", "0a" },
        { "MD5( x )= 0a", "MD5", " x ", "0a" },
        { "\xef\xbb\xbfSHA1(x)= 0a", "SHA1", "x", "0a" },
        { "SHA1(\xc3\xa4)= 0a", "SHA1", "\xc3\xa4", "0a" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct manifest *m = parse(t[i].line, strlen(t[i].line));
        assert_int_equal(m->n, 1);
        assert_string_equal(m->entries[0].algorithm, t[i].algorithm);
        assert_string_equal(m->entries[0].file, t[i].file);
        assert_string_equal(m->entries[0].digest, t[i].digest);
        assert_int_equal(m->notes.n, 0);
        manifest_free(m);
    }
}

static void what_is_no_entry(void **state)
{
    static const struct {
        const char *line;
        size_t n, notes; /* n 0: strlen */
    } t[] = {
        { "", 0, 0 },
        { " \t\r\n\n\r\n", 0, 0 },
        { "# SHA1(x)= 00", 0, 0 },
        { "SHA1(x)= ", 0, 1 },
        { "SHA1(x) 00", 0, 1 },
        { "SHA1 x = 00", 0, 1 },
        { "SHA1()= 00", 0, 1 },
        { "(x)= 00", 0, 1 },
        { "SHA1(x= 00", 0, 1 },
        { "SHA1(= 00", 0, 1 },
        { "SHA1(x)= 0g", 0, 1 },
        { "=", 0, 1 },
        { "00", 0, 1 },
        { "SHA1(x\0y)= 00", 13, 1 },
        { "AVERYLONGALGORITHM(x)= 00", 0, 1 },
        { "-----BEGIN CERTIFICATE-----", 0, 1 },
        { "\xef\xbb\xbf", 0, 0 },
    };
    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct manifest *m = parse(t[i].line, t[i].n ? t[i].n : strlen(t[i].line));
        assert_int_equal(m->n, 0);
        assert_int_equal(m->notes.n, t[i].notes);
        manifest_free(m);
    }
}

static void many_lines(void **state)
{
    static const char text[] = "SHA1(a)= 01\r\nnonsense\n\nSHA256(b)= 02\nSHA256(a)= 03";
    (void)state;
    struct manifest *m = parse(text, strlen(text));
    assert_int_equal(m->n, 3);
    assert_string_equal(m->entries[1].file, "b");
    assert_string_equal(m->entries[2].digest, "03");
    assert_int_equal(m->notes.n, 1);
    assert_string_equal(m->notes.lines[0], "line 2 of the manifest is not understood");
    manifest_free(m);

    static const char line[] = "SHA1(a)= 01\n";
    enum { LINE = sizeof line - 1 };
    char *much = malloc(LINE * (MANIFEST_MAX_ENTRIES + 1));
    assert_non_null(much);
    for (size_t i = 0; i <= MANIFEST_MAX_ENTRIES; i++)
        memcpy(much + i * LINE, line, LINE);
    m = parse(much, LINE * MANIFEST_MAX_ENTRIES);
    assert_int_equal(m->n, MANIFEST_MAX_ENTRIES);
    manifest_free(m);
    m = NULL;
    struct fault fault = { 0 };
    assert_int_equal(manifest_parse(much, LINE * (MANIFEST_MAX_ENTRIES + 1), "x.mf", &m, &fault), -EFBIG);
    assert_string_equal(fault.what, "names more than 8192 files");
    assert_null(m);
    free(much);
    assert_int_equal(manifest_parse("", MANIFEST_MAX_SIZE + 1, "x.mf", &m, NULL), -EFBIG);
}

/* FIPS 180-4, FIPS 202 and RFC 1321: of "abc". */
static void digests(void **state)
{
    static const struct {
        const char *algorithm, *digest;
    } t[] = {
        { "MD5", "900150983cd24fb0d6963f7d28e17f72" },
        { "SHA1", "a9993e364706816aba3e25717850c26c9cd0d89d" },
        { "sha-1", "a9993e364706816aba3e25717850c26c9cd0d89d" },
        { "SHA224", "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7" },
        { "SHA256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
        { "SHA2-256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
        { "SHA384", "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
                    "8086072ba1e7cc2358baeca134c825a7" },
        { "Sha512", "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
                    "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f" },
        { "SHA3-256", "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct digest *d = NULL;
        char hex[DIGEST_HEX_MAX];
        assert_int_equal(digest_new(t[i].algorithm, &d), 0);
        digest_update(d, "a", 1);
        digest_update(d, "", 0);
        digest_update(d, "bc", 2);
        digest_final(d, hex);
        assert_string_equal(hex, t[i].digest);
        digest_free(d);
    }
    struct digest *d = NULL;
    static const char *const unknown[] = { "", "SHA", "SHA257", "CRC32", "SHA256x" };
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++)
        assert_int_equal(digest_new(unknown[i], &d), -ENOTSUP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_line),
        cmocka_unit_test(what_is_no_entry),
        cmocka_unit_test(many_lines),
        cmocka_unit_test(digests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
