/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hash.h"

#include <endian.h>
#include <errno.h>
#include <nettle/nettle-meta.h>
#include <nettle/sha2.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* crc32c_table[k][b]: the remainder of byte b with k bytes of zeros behind it, so that eight bytes are one
 * step. */
static uint32_t crc32c_table[8][256];
static bool crc32c_in_hardware;
static pthread_once_t crc32c_once = PTHREAD_ONCE_INIT;

static void crc32c_init(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? (c >> 1) ^ 0x82F63B78u : c >> 1;
        crc32c_table[0][i] = c;
    }
    for (int k = 1; k < 8; k++)
        for (int i = 0; i < 256; i++) {
            uint32_t before = crc32c_table[k - 1][i];
            crc32c_table[k][i] = crc32c_table[0][before & 0xff] ^ (before >> 8);
        }
#ifdef __x86_64__
    crc32c_in_hardware = __builtin_cpu_supports("sse4.2");
#endif
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t crc32c_hardware(uint32_t crc, const uint8_t *p, size_t len)
{
    uint64_t c = crc;
    for (; len >= 8; p += 8, len -= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        c = __builtin_ia32_crc32di(c, word);
    }
    crc = (uint32_t)c;
    for (; len; p++, len--)
        crc = __builtin_ia32_crc32qi(crc, *p);
    return crc;
}
#else
#define crc32c_hardware crc32c_portable /* never called */
#endif

uint32_t crc32c_portable(uint32_t crc, const void *buf, size_t len)
{
    const uint8_t *p = buf;
    pthread_once(&crc32c_once, crc32c_init);
    for (; len >= 8; p += 8, len -= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        word = le64toh(word);
        uint32_t lo = crc ^ (uint32_t)word, hi = (uint32_t)(word >> 32);
        crc = 0;
        for (int k = 0; k < 4; k++) {
            crc ^= crc32c_table[7 - k][lo >> 8 * k & 0xff];
            crc ^= crc32c_table[3 - k][hi >> 8 * k & 0xff];
        }
    }
    for (; len; p++, len--)
        crc = crc32c_table[0][(crc ^ *p) & 0xff] ^ (crc >> 8);
    return crc;
}

uint32_t crc32c_update(uint32_t crc, const void *buf, size_t len)
{
    pthread_once(&crc32c_once, crc32c_init);
    return crc32c_in_hardware ? crc32c_hardware(crc, buf, len) : crc32c_portable(crc, buf, len);
}

void guid_derive(const uint8_t id[32], const char *role, uint8_t ret[16])
{
    struct sha256_ctx ctx;
    uint8_t digest[SHA256_DIGEST_SIZE];
    sha256_init(&ctx);
    sha256_update(&ctx, 32, id);
    sha256_update(&ctx, strlen(role), (const uint8_t *)role);
    sha256_digest(&ctx, sizeof digest, digest);
    memcpy(ret, digest, 16);
    ret[7] =
        (uint8_t)((ret[7] & 0x0f) | 0x80); /* version, in the high byte of the little-endian third field */
    ret[8] = (uint8_t)((ret[8] & 0x3f) | 0x80); /* variant */
}

void guid_format(const uint8_t g[16], char ret[37])
{
    snprintf(ret, 37, "%02X%02X%02X%02X-%02X%02X-%02X%02X-%02X%02X-%02X%02X%02X%02X%02X%02X", g[3], g[2],
             g[1], g[0], g[5], g[4], g[7], g[6], g[8], g[9], g[10], g[11], g[12], g[13], g[14], g[15]);
}

/* ---- digests by name ---- */

struct digest {
    const struct nettle_hash *hash;
    max_align_t context[];
};

static const struct nettle_hash *find_hash(const char *algorithm)
{
    static const struct {
        const char *names[3];
        const struct nettle_hash *hash;
    } t[] = {
        { { "MD5", "MD5", "MD5" }, &nettle_md5 },
        { { "SHA1", "SHA-1", "SHA1" }, &nettle_sha1 },
        { { "SHA224", "SHA-224", "SHA2-224" }, &nettle_sha224 },
        { { "SHA256", "SHA-256", "SHA2-256" }, &nettle_sha256 },
        { { "SHA384", "SHA-384", "SHA2-384" }, &nettle_sha384 },
        { { "SHA512", "SHA-512", "SHA2-512" }, &nettle_sha512 },
        { { "SHA3-224", "SHA3_224", "SHA3224" }, &nettle_sha3_224 },
        { { "SHA3-256", "SHA3_256", "SHA3256" }, &nettle_sha3_256 },
        { { "SHA3-384", "SHA3_384", "SHA3384" }, &nettle_sha3_384 },
        { { "SHA3-512", "SHA3_512", "SHA3512" }, &nettle_sha3_512 },
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++)
        for (size_t k = 0; k < 3; k++)
            if (!strcasecmp(algorithm, t[i].names[k]))
                return t[i].hash;
    return NULL;
}

int digest_new(const char *algorithm, struct digest **ret)
{
    const struct nettle_hash *hash = find_hash(algorithm);
    if (!hash)
        return -ENOTSUP;
    struct digest *d = calloc(1, sizeof *d + hash->context_size);
    if (!d)
        return -ENOMEM;
    d->hash = hash;
    hash->init(d->context);
    *ret = d;
    return 0;
}

void digest_update(struct digest *d, const void *buf, size_t len)
{
    d->hash->update(d->context, len, buf);
}

void digest_final(struct digest *d, char ret[DIGEST_HEX_MAX])
{
    uint8_t raw[64];
    _Static_assert(2 * sizeof raw + 1 == DIGEST_HEX_MAX, "the longest digest has 512 bits");
    d->hash->digest(d->context, d->hash->digest_size, raw);
    for (size_t i = 0; i < d->hash->digest_size; i++)
        snprintf(ret + 2 * i, 3, "%02x", raw[i]);
}

void digest_free(struct digest *d)
{
    free(d);
}
