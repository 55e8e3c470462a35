/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_HASH_H
#define FERRYFS_HASH_H
/* CRC-32C (Castagnoli, reflected 0x82F63B78) as VHDX, ext4 and jbd2 use it, and GUIDs made of digests.
 * SHA-256 itself is nettle's. Digests by the name of their algorithm, piece by piece, for manifests. */
#include "cleanup.h"

#include <stddef.h>
#include <stdint.h>

/* Continues `crc` over `len` bytes, without initial or final inversion: the usual CRC-32C of a buffer is
 * ~crc32c_update(~0u, buf, len). */
uint32_t crc32c_update(uint32_t crc, const void *buf, size_t len);
/* The same by tables, as it is done where the processor has no instruction for it. */
uint32_t crc32c_portable(uint32_t crc, const void *buf, size_t len);
static inline uint32_t crc32c(const void *buf, size_t len)
{
    return ~crc32c_update(~0u, buf, len);
}

/* A GUID (RFC 4122 version 8, 16 bytes as Microsoft stores them) out of SHA-256(id ‖ role): equal inputs,
 * equal GUID. */
void guid_derive(const uint8_t id[32], const char *role, uint8_t ret[16]);
/* "XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX" of a GUID in Microsoft's byte order; upper case. */
void guid_format(const uint8_t guid[16], char ret[37]);

/* A digest that is being computed:
 *
 *     struct digest *d;
 *     int r = digest_new("SHA256", &d);
 *     digest_update(d, buf, n);
 *     digest_final(d, hex);
 *     digest_free(d);
 *
 * Algorithms: MD5, SHA1, SHA224, SHA256, SHA384, SHA512, SHA3-224 to SHA3-512, in any case and also written
 * "SHA-256" or, as openssl does, "SHA2-256". -ENOTSUP: none of these, -ENOMEM. One thread at a time for each.
 */
struct digest;
enum { DIGEST_HEX_MAX = 2 * 64 + 1 };
int digest_new(const char *algorithm, struct digest **ret);
void digest_update(struct digest *d, const void *buf, size_t len);
/* Hexadecimal, lower case, with its NUL. The digest can only be freed after it. */
void digest_final(struct digest *d, char ret[DIGEST_HEX_MAX]);
void digest_free(struct digest *d);
DEFINE_CLEANUP(struct digest *, digest_free)
#endif
