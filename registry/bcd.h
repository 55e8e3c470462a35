/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_BCD_H
#define FERRYFS_BCD_H
/* The boot configuration's objects and elements, by their names and in the text that bcdedit prints. Knows
 * nothing of hives: an element is a number and the bytes of its value, of which it only has a copy.
 *
 * Sources: Microsoft's BCD reference for numbers and names; published stores and dumps for the bytes of
 * device elements. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The registry types that elements have. */
enum { BCD_REG_SZ = 1, BCD_REG_BINARY = 3, BCD_REG_MULTI_SZ = 7 };

/* The formats, bits 24-27 of an element's number. */
enum bcd_format {
    BCD_DEVICE = 1,
    BCD_STRING,
    BCD_OBJECT,
    BCD_OBJECTS,
    BCD_INTEGER,
    BCD_BOOLEAN,
    BCD_INTEGERS,
};
static inline unsigned bcd_format(uint32_t element)
{
    return element >> 24 & 15;
}

/* ---- names (bcd-names.c) ---- */

/* An element's name in an object of this type (0x10200003 is a Windows loader), or NULL: it has none. */
const char *bcd_element_name(uint32_t object_type, uint32_t element);
/* The reverse, without case; "0x26000020" and "26000020" too. False: there is no such name. */
bool bcd_element_number(uint32_t object_type, const char *name, uint32_t *ret);
/* The words that bcdedit has for an integer element's values; NULL: none for that one. */
const char *bcd_word(uint32_t object_type, uint32_t element, uint64_t value);
/* Without case; "on", "off" and their like are left to booleans. */
bool bcd_word_value(uint32_t object_type, uint32_t element, const char *word, uint64_t *ret);
/* Is it usually printed in hexadecimal (addresses, masks)? */
bool bcd_is_hex(uint32_t object_type, uint32_t element);
/* "bootmgr" and its like for well-known objects; NULL. */
const char *bcd_alias(const uint8_t guid[16]);
/* n characters, without braces and without case. */
bool bcd_alias_guid(const char *alias, size_t n, uint8_t ret[16]);
/* Aliases in order, for listings; NULL behind the last. */
const char *bcd_alias_at(size_t i, uint8_t ret[16]);
/* The type that an object of that well-known id must have; 0: any. */
uint32_t bcd_alias_type(const uint8_t guid[16]);

/* ---- text (bcd-text.c, bcd-device.c) ---- */

/* A partition as a device element names it. */
struct bcd_partition {
    bool gpt;
    uint8_t disk_guid[16], guid[16]; /* GPT */
    uint32_t signature;              /* MBR */
    uint64_t offset;                 /* MBR: of the partition, bytes */
};

/* What the text refers to. Callbacks may be NULL. */
struct bcd_context {
    void *ctx;
    /* Writes the name of a partition of this machine ("disk0p2"); false: it is none of them. */
    bool (*name)(void *ctx, const struct bcd_partition *p, char *buf, size_t size);
    bool (*find)(void *ctx, const char *name, struct bcd_partition *ret);
    const uint8_t *default_object; /* {default}; NULL: unknown */
};

/* The text of a value, with a newline behind each line, owned by the caller. What the format doesn't explain
 * is given as "hex:" and bytes. -ENOMEM; -EINVAL: the value's registry type isn't its format's. */
int bcd_to_text(uint32_t object_type, uint32_t element, uint32_t reg_type, const void *data, size_t n,
                const struct bcd_context *c, char **ret);
/* The value that a text stands for: its registry type, and bytes that the caller owns. `was` (may be NULL) is
 * the value so far: a text that says the same leaves its bytes. -EINVAL: it can't be understood; -ENOENT: it
 * names a partition or an object that isn't there. */
struct bcd_bytes {
    uint32_t reg_type;
    uint8_t *data;
    size_t n;
};
int bcd_from_text(uint32_t object_type, uint32_t element, const char *text, size_t n,
                  const struct bcd_bytes *was, const struct bcd_context *c, struct bcd_bytes *ret);

/* Device elements: the text (without a newline), or false where the bytes aren't understood. */
bool bcd_device_to_text(const uint8_t *data, size_t n, const struct bcd_context *c, char *buf, size_t size);
int bcd_device_from_text(const char *text, const struct bcd_context *c, uint8_t **ret, size_t *ret_n);
#endif
