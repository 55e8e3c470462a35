/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_REG_READ_H
#define FERRYFS_REG_READ_H
/* Reads the text of a .reg file: "Windows Registry Editor Version 5.00" (UTF-16LE, or UTF-8) and "REGEDIT4"
 * (UTF-8, or Windows code page 1252).
 *
 *     [HKEY_LOCAL_MACHINE\SYSTEM\Setup]       a key, made if it isn't there
 *     [-HKEY_LOCAL_MACHINE\SYSTEM\Old]        a key and all below it, deleted
 *     "Name"="text"                           sz; also dword:  hex:  hex(7):  str(2):"text"
 *     @="text"                                the default value
 *     "Name"=-                                a value, deleted
 *     ; comment                               also behind a value
 *
 * In quotes, \\ and \" are escapes, and \r \n \t \0, which regedit doesn't write; line breaks stand for
 * themselves. Lines of hex go on behind a backslash. What isn't understood is an error with its line. */
#include "hive.h"

/* What is wrong, for people: "line 12: ..." */
struct reg_error {
    unsigned long line; /* counted from 1; 0: none in particular */
    char what[256];
};
int reg_error_set(struct reg_error *e, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* What a text says, in its order. A nonzero return ends the reading and is its result; the error's line is
 * then that of the statement. Memory is the reader's, valid during the call. */
struct reg_sink {
    void *ctx;
    /* The names between backslashes, the root key's first; n >= 1. Values that follow are this key's. */
    int (*key)(void *ctx, const struct hive_name *parts, size_t n, bool deleted, struct reg_error *error);
    int (*value)(void *ctx, struct hive_name name, uint32_t type, const uint8_t *data, size_t len,
                 struct reg_error *error);
    int (*delete_value)(void *ctx, struct hive_name name, struct reg_error *error);
};

enum { REG_PARTS_MAX = 512 };

/* -EBADMSG with an error: the text is wrong; -ENOMEM; or what the sink returned. Any thread. */
int reg_read(const void *text, size_t n, const struct reg_sink *sink, struct reg_error *error);
#endif
