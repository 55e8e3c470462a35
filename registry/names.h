/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_REGISTRY_NAMES_H
#define FERRYFS_REGISTRY_NAMES_H
/* Names of keys and values (UTF-16, any units) as names of files (UTF-8), and back.
 *
 *     Start, dword            Start.dword             the default value, sz     @.sz
 *     a/b 100%                a%2Fb 100%25            a value called "@", sz    %40.sz
 *     a lone surrogate D800   %uD800                  the keys "." and ".."     %2E and %2E%2E
 *     type 0xffff0012         Name.0xffff0012         bytes instead of text     Name.sz.raw
 *
 * A file name that would be longer than 255 bytes is cut, and ends in "%~" and a hash of the name as Windows
 * compares it (before the type): what it stands for is found by comparing hashes. A key called ".reg" is
 * "%2Ereg": that name is the export's in every directory. All functions may be called from any thread. */
#include "hive.h"

enum { REG_FILE_NAME_MAX = 255 };

/* The buffer of a file name, with its terminator. */
struct reg_file_name {
    char text[REG_FILE_NAME_MAX + 1];
    bool cut; /* it ends in a hash */
};

void reg_key_file(struct hive_name name, struct reg_file_name *ret);
void reg_value_file(struct hive_name name, uint32_t type, bool raw, struct reg_file_name *ret);
/* The same for a key whose plain name is taken by a value's file: its last dot is escaped too. */
void reg_key_file_escaped(struct hive_name name, struct reg_file_name *ret);
/* The whole name in the same escapes, NUL-terminated, owned by the caller; NULL: no memory. */
char *reg_whole_name(struct hive_name name, bool of_value);

/* What a file name says. */
struct reg_parsed {
    uint16_t *units; /* owned: the name; free with reg_parsed_done. NULL when it is cut */
    size_t n;
    bool cut;      /* only the hash is known */
    uint64_t hash; /* of a cut name */
    uint32_t type; /* of a value */
    bool raw;
};
/* A key's directory. -EINVAL: an escape that isn't one, or not UTF-8, or a backslash; -ENAMETOOLONG. */
int reg_parse_key(const char *file, struct reg_parsed *ret);
/* A value's file. -ENOENT: no TYPE in it, so a scratch file's name; -EINVAL as above, and for a type that has
 * a name but is written as a number. */
int reg_parse_value(const char *file, struct reg_parsed *ret);
static inline struct hive_name reg_parsed_name(const struct reg_parsed *p)
{
    return (struct hive_name){ p->units, p->n };
}
void reg_parsed_done(struct reg_parsed *p);

/* Of the name without regard to case; and with its type and form mixed in, for telling files apart. */
uint64_t reg_name_hash(struct hive_name name);
uint64_t reg_value_hash(struct hive_name name, uint32_t type, bool raw);

/* "sz", "0xffff0012": at most 24 bytes with the terminator. */
enum { REG_TYPE_TEXT = 32 };
void reg_type_format(uint32_t type, char ret[REG_TYPE_TEXT]);
#endif
