/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "names.h"

#include "../formats/cleanup.h"
#include "utf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const type_names[] = {
    "none",
    "sz",
    "expand_sz",
    "binary",
    "dword",
    "dword_be",
    "link",
    "multi_sz",
    "resource_list",
    "full_resource_descriptor",
    "resource_requirements_list",
    "qword",
};
enum {
    N_TYPES = sizeof type_names / sizeof type_names[0],
    HASH_DIGITS = 16,
    CUT_MARK = 2 + HASH_DIGITS, /* "%~" and the hash */
    UNIT_MAX = 6,               /* bytes that a unit may become: "%uXXXX" */
};

void reg_type_format(uint32_t type, char ret[REG_TYPE_TEXT])
{
    if (type < N_TYPES)
        snprintf(ret, REG_TYPE_TEXT, "%s", type_names[type]);
    else
        snprintf(ret, REG_TYPE_TEXT, "0x%08x", (unsigned)type);
}

/* ---- hashes ---- */

static uint64_t mix(uint64_t h, uint32_t v)
{
    h = (h ^ v) * 0x100000001b3u; /* FNV-1a over units instead of bytes */
    return h ^ h >> 29;
}

uint64_t reg_name_hash(struct hive_name name)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < name.n; i++)
        h = mix(h, hive_upcase(name.units[i]));
    return h;
}

uint64_t reg_value_hash(struct hive_name name, uint32_t type, bool raw)
{
    return mix(mix(reg_name_hash(name), type), raw ? 2 : 1);
}

/* ---- to files ---- */

static size_t put_hex(char *out, const char *prefix, unsigned v, int digits)
{
    return (size_t)sprintf(out, "%s%0*X", prefix, digits, v);
}

/* The character at units[*i] in our escapes; moves *i behind it. At most two units' worth of bytes. */
static size_t put_char(struct hive_name name, size_t *i, char *out)
{
    uint32_t c = utf16_next(name.units, name.n, i);
    if (c == 0 || c == '/' || c == '%')
        return put_hex(out, "%", (unsigned)c, 2);
    if (c >= 0xd800 && c < 0xe000)
        return put_hex(out, "%u", (unsigned)c, 4);
    return utf8_put(out, c);
}

static bool is_ascii(struct hive_name name, const char *text)
{
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++)
        if (i >= name.n || hive_upcase(name.units[i]) != hive_upcase((uint16_t)text[i]))
            return false;
    return name.n == n;
}

/* Which units are escaped though they needn't be: all dots (".", ".."), the first one (".reg"), the last
 * one, or a lone "@". */
enum dots { DOTS_PLAIN, DOTS_ALL, DOTS_FIRST, DOTS_LAST };

static enum dots key_dots(struct hive_name name)
{
    if (is_ascii(name, ".") || is_ascii(name, ".."))
        return DOTS_ALL;
    return is_ascii(name, ".reg") ? DOTS_FIRST : DOTS_PLAIN;
}

static size_t last_dot(struct hive_name name)
{
    for (size_t i = name.n; i; i--)
        if (name.units[i - 1] == '.')
            return i - 1;
    return SIZE_MAX;
}

/* As much of the name as fits in `room` bytes; *ret_whole: all of it. No terminator. */
static size_t put_name(struct hive_name name, enum dots dots, char *out, size_t room, bool *ret_whole)
{
    size_t n = 0, last = dots == DOTS_LAST ? last_dot(name) : SIZE_MAX;
    for (size_t i = 0; i < name.n;) {
        char c[2 * UNIT_MAX + 1];
        bool escape = dots == DOTS_ALL || (dots == DOTS_FIRST && i == 0) || i == last;
        size_t len =
            escape && name.units[i] == '.' ? put_hex(c, "%", name.units[i++], 2) : put_char(name, &i, c);
        *ret_whole = len <= room - n;
        if (!*ret_whole)
            return n;
        memcpy(out + n, c, len);
        n += len;
    }
    *ret_whole = true;
    return n;
}

static void make_file(struct hive_name name, enum dots dots, const char *suffix, struct reg_file_name *ret)
{
    size_t room = REG_FILE_NAME_MAX - strlen(suffix);
    bool whole;
    size_t n = put_name(name, dots, ret->text, room, &whole);
    ret->cut = !whole;
    if (ret->cut) {
        n = put_name(name, dots, ret->text, room - CUT_MARK, &whole);
        n += (size_t)sprintf(ret->text + n, "%%~%016llx", (unsigned long long)reg_name_hash(name));
    }
    strcpy(ret->text + n, suffix);
}

void reg_key_file(struct hive_name name, struct reg_file_name *ret)
{
    make_file(name, key_dots(name), "", ret);
}

void reg_key_file_escaped(struct hive_name name, struct reg_file_name *ret)
{
    make_file(name, DOTS_LAST, "", ret);
}

static const uint16_t at_sign[] = { '@' };

void reg_value_file(struct hive_name name, uint32_t type, bool raw, struct reg_file_name *ret)
{
    char suffix[REG_TYPE_TEXT + 8], text[REG_TYPE_TEXT];
    reg_type_format(type, text);
    snprintf(suffix, sizeof suffix, ".%s%s", text, raw ? ".raw" : "");
    ret->cut = false;
    if (!name.n)
        snprintf(ret->text, sizeof ret->text, "@%s", suffix);
    else if (is_ascii(name, "@"))
        snprintf(ret->text, sizeof ret->text, "%%40%s", suffix);
    else
        make_file(name, DOTS_PLAIN, suffix, ret);
}

char *reg_whole_name(struct hive_name name, bool of_value)
{
    size_t room = (name.n + 1) * UNIT_MAX;
    char *out = malloc(room + 1);
    bool whole;
    if (!out)
        return NULL;
    if (of_value && !name.n)
        name = (struct hive_name){ at_sign, 1 };
    size_t n = put_name(name, of_value ? DOTS_PLAIN : key_dots(name), out, room, &whole);
    out[n] = 0;
    return out;
}

/* ---- from files ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool parse_hex(const char *s, size_t digits, uint64_t *ret)
{
    uint64_t v = 0;
    for (size_t i = 0; i < digits; i++) {
        int d = hex_digit(s[i]);
        if (d < 0)
            return false;
        v = v << 4 | (unsigned)d;
    }
    *ret = v;
    return true;
}

/* The escape at s (which begins with '%'), n bytes left: its length, or 0. */
static size_t parse_escape(const char *s, size_t n, uint16_t *ret)
{
    uint64_t v;
    if (n >= 6 && (s[1] == 'u' || s[1] == 'U') && parse_hex(s + 2, 4, &v) && v >= 0xd800 && v < 0xe000) {
        *ret = (uint16_t)v;
        return 6;
    }
    if (n >= 3 && parse_hex(s + 1, 2, &v) && (v == '/' || v == '%' || v == 0 || v == '.' || v == '@')) {
        *ret = (uint16_t)v;
        return 3;
    }
    return 0;
}

static int parse_name(const char *s, size_t n, struct reg_parsed *ret)
{
    if (n >= CUT_MARK && s[n - CUT_MARK] == '%' && s[n - CUT_MARK + 1] == '~') {
        ret->cut = true;
        return parse_hex(s + n - HASH_DIGITS, HASH_DIGITS, &ret->hash) ? 0 : -EINVAL;
    }
    uint16_t *units = malloc((n + 1) * sizeof *units);
    size_t count = 0;
    if (!units)
        return -ENOMEM;
    for (size_t i = 0; i < n;) {
        size_t len;
        uint32_t c;
        if (s[i] == '%') {
            len = parse_escape(s + i, n - i, &units[count]);
            count++;
        } else {
            len = utf8_next(s + i, n - i, &c);
            if (len)
                count += utf16_put(units + count, c);
        }
        if (!len) {
            free(units);
            return -EINVAL;
        }
        i += len;
    }
    ret->units = units;
    ret->n = count;
    return 0;
}

int reg_parse_key(const char *file, struct reg_parsed *ret)
{
    *ret = (struct reg_parsed){ 0 };
    size_t n = strlen(file);
    if (!n || memchr(file, '\\', n))
        return -EINVAL; /* a key's name never holds what separates keys */
    int r = parse_name(file, n, ret);
    if (!r && ret->n > HIVE_KEY_NAME_MAX)
        r = -ENAMETOOLONG;
    if (r < 0)
        reg_parsed_done(ret);
    return r;
}

/* 0, -ENOENT: no type; -EINVAL: a type that has a name, as a number. */
static int parse_type(const char *s, size_t n, uint32_t *ret)
{
    uint64_t v;
    for (uint32_t i = 0; i < N_TYPES; i++)
        if (strlen(type_names[i]) == n && !strncasecmp(s, type_names[i], n)) {
            *ret = i;
            return 0;
        }
    if (n != 10 || s[0] != '0' || (s[1] != 'x' && s[1] != 'X') || !parse_hex(s + 2, 8, &v))
        return -ENOENT;
    *ret = (uint32_t)v;
    return v < N_TYPES ? -EINVAL : 0;
}

static size_t dot_before(const char *s, size_t n)
{
    while (n && s[n - 1] != '.')
        n--;
    return n; /* behind the dot; 0: none */
}

int reg_parse_value(const char *file, struct reg_parsed *ret)
{
    *ret = (struct reg_parsed){ 0 };
    size_t n = strlen(file);
    if (n > 4 && !strcasecmp(file + n - 4, ".raw")) {
        ret->raw = true;
        n -= 4;
    }
    size_t dot = dot_before(file, n);
    if (dot < 2) /* no name, or no dot */
        return -ENOENT;
    int r = parse_type(file + dot, n - dot, &ret->type);
    if (r < 0)
        return r;
    n = dot - 1;
    if (n == 1 && file[0] == '@')
        return 0;
    r = parse_name(file, n, ret);
    if (!r && ret->n > HIVE_VALUE_NAME_MAX)
        r = -ENAMETOOLONG;
    if (r < 0)
        reg_parsed_done(ret);
    return r;
}

void reg_parsed_done(struct reg_parsed *p)
{
    free(p->units);
    p->units = NULL;
    p->n = 0;
}
