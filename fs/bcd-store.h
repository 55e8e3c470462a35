/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_BCD_STORE_H
#define FERRYFS_BCD_STORE_H
/* The boot configuration's store as objects and elements, by their ids. The hive is locked by the caller, by
 * bcd_begin() and bcd_end(); what takes a struct bcd_at needs that. */
#include "../registry/bcd.h"
#include "../registry/guid.h"
#include "ferry.h"
#include "hives.h"

struct bcd_at {
    struct ferry *ferry;
    struct reg_hive *h;
    uint32_t objects; /* cell of the key */
};

/* Is there a store? */
bool bcd_present(struct ferry *f);
/* -ENOENT: there is no store; -EROFS... as hives_read and hives_write. */
int bcd_begin(struct ferry *f, bool write, struct bcd_at *ret);
void bcd_end(struct bcd_at *at);

/* -ENOENT: there is no such object. */
int bcd_object(const struct bcd_at *at, const uint8_t guid[16], uint32_t *ret_key);
uint32_t bcd_object_type(const struct bcd_at *at, uint32_t object); /* 0: it has none */
int bcd_set_object_type(const struct bcd_at *at, uint32_t object, uint32_t type);
/* -EEXIST */
int bcd_object_create(const struct bcd_at *at, const uint8_t guid[16], uint32_t type);
int bcd_object_delete(const struct bcd_at *at, const uint8_t guid[16]);
int bcd_object_rename(const struct bcd_at *at, const uint8_t guid[16], const uint8_t to[16]);
/* The i-th, in the store's order; false behind the last. What isn't an object is passed over. */
bool bcd_object_at(const struct bcd_at *at, size_t *i, uint8_t ret[16]);
/* What {default} stands for: the boot manager's, or else the first of what it shows. */
bool bcd_default(const struct bcd_at *at, uint8_t ret[16]);

/* The element's value; its bytes are the caller's. -ENOENT. */
int bcd_element(const struct bcd_at *at, uint32_t object, uint32_t element, struct bcd_bytes *ret);
int bcd_element_set(const struct bcd_at *at, uint32_t object, uint32_t element,
                    const struct bcd_bytes *value);
int bcd_element_delete(const struct bcd_at *at, uint32_t object, uint32_t element);
bool bcd_element_at(const struct bcd_at *at, uint32_t object, size_t *i, uint32_t *ret);
/* What open files and scratch files hold is dropped (bcd-file.c); the hive is locked for writing. */
void bcd_files_drop(struct reg_hive *h);
/* Text of an element, and the element by its text. */
int bcd_element_text(const struct bcd_at *at, uint32_t object, uint32_t element, char **ret);
int bcd_element_check_text(const struct bcd_at *at, uint32_t object, uint32_t element, const char *text,
                           size_t n);
int bcd_element_set_text(const struct bcd_at *at, uint32_t object, uint32_t element, const char *text,
                         size_t n);
#endif
