/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_KEYED_HASH_H
#define FERRYFS_KEYED_HASH_H
/* Hashes of names for tables in memory: SipHash-1-3 with a key that is drawn once for the process, so that
 * nobody can make names that all fall into one slot. They differ from run to run: nothing is stored or
 * ordered by them.
 *
 *     slot = keyed_hash(keyed_hash(0, directory), name) % n_slots
 *
 * Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF". */
#include <stdint.h>

/* Of the text without the case of ASCII letters, and of `before`. From any thread. */
uint64_t keyed_hash(uint64_t before, const char *text);
#endif
