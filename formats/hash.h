/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_HASH_H
#define FERRYFS_HASH_H
/* CRC-32C (Castagnoli, reflected 0x82F63B78) as VHDX, ext4 and jbd2 use it, and GUIDs made of digests.
 * SHA-256 itself is nettle's. */
#include <stddef.h>
#include <stdint.h>

/* Continues `crc` over `len` bytes, without initial or final inversion: the usual CRC-32C of a buffer is
 * ~crc32c_update(~0u, buf, len). */
uint32_t crc32c_update(uint32_t crc, const void *buf, size_t len);
static inline uint32_t crc32c(const void *buf, size_t len)
{
    return ~crc32c_update(~0u, buf, len);
}

/* A GUID (RFC 4122 version 8, 16 bytes as Microsoft stores them) out of SHA-256(id ‖ role): equal inputs,
 * equal GUID. */
void guid_derive(const uint8_t id[32], const char *role, uint8_t ret[16]);
/* "XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX" of a GUID in Microsoft's byte order; upper case. */
void guid_format(const uint8_t guid[16], char ret[37]);
#endif
