/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hash.h"

#include <nettle/sha2.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static uint32_t crc32c_table[256];
static pthread_once_t crc32c_once = PTHREAD_ONCE_INIT;

static void crc32c_init(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? (c >> 1) ^ 0x82F63B78u : c >> 1;
        crc32c_table[i] = c;
    }
}

uint32_t crc32c_update(uint32_t crc, const void *buf, size_t len)
{
    pthread_once(&crc32c_once, crc32c_init);
    for (const uint8_t *p = buf; len; p++, len--)
        crc = crc32c_table[(crc ^ *p) & 0xff] ^ (crc >> 8);
    return crc;
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
