/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_HIVE_PAGE_H
#define FERRYFS_HIVE_PAGE_H
/* The bins of a hive as pages of 4 KiB: read on demand, clean ones kept within a bound, changed ones until
 * they are stored. Offsets are those of the hive bins data; page n lies at byte 4096 + 4096 n of the file.
 *
 * Savepoints nest, two deep: the caller's, and one for each edit, so that an edit that fails midway leaves
 * nothing behind.
 *
 * hive_pages_read may run in parallel with itself; all else needs the pages for itself. */
#include "hive.h"

enum { HIVE_PAGE = 4096, HIVE_BASE_SIZE = 4096, HIVE_LEVELS = 2 };

struct hive_pages;

/* `size`: bytes of bins data. Keeps a pointer to the file. */
int hive_pages_new(struct hive_file *file, uint32_t size, size_t cache_bytes, struct hive_pages **ret);
void hive_pages_free(struct hive_pages *p);

uint32_t hive_pages_size(const struct hive_pages *p);
/* All or nothing; the range lies inside the size. -ENODATA: a page lies past the end of the file; `*ret_at`
 * is then the offset of that page. */
int hive_pages_read(struct hive_pages *p, void *buf, size_t len, uint32_t off, uint32_t *ret_at);
/* The same range rule; pages that the file doesn't have begin as zeros. */
int hive_pages_write(struct hive_pages *p, const void *buf, size_t len, uint32_t off);
/* To a multiple of a page. New pages are absent until they are written. */
void hive_pages_resize(struct hive_pages *p, uint32_t size);

/* -EBUSY: both levels are taken. */
int hive_pages_savepoint(struct hive_pages *p);
/* The last savepoint's. */
void hive_pages_rollback(struct hive_pages *p);
void hive_pages_release(struct hive_pages *p);

/* Is every page in the file or in memory? A file cut short lacks some. */
bool hive_pages_are_complete(const struct hive_pages *p);
/* Bytes up to the end of the last page that is in the file or in memory. */
uint32_t hive_pages_there(const struct hive_pages *p);
bool hive_pages_are_dirty(const struct hive_pages *p);
/* Writes the changed pages to the file; they stay dirty until hive_pages_stored. */
int hive_pages_store(struct hive_pages *p);
void hive_pages_stored(struct hive_pages *p);
#endif
