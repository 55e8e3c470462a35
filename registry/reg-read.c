/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The text is turned into UTF-16 units first (a copy of it, whatever it is), and then read in one pass. */
#include "reg-read.h"

#include "../formats/bytes.h"
#include "../formats/cleanup.h"
#include "utf.h"
#include "value-text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    uint16_t *units; /* owned */
    size_t n, at;
    unsigned long line;
    bool old; /* REGEDIT4: strings in hex are bytes of the code page */
    bool has_key;
    const struct reg_sink *sink;
    struct reg_error *error;
    /* of the statement; used again by the next */
    uint16_t *name; /* owned */
    size_t name_n, name_room;
    uint8_t *data; /* owned */
    size_t data_n, data_room;
};

int reg_error_set(struct reg_error *e, int err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (e)
        vsnprintf(e->what, sizeof e->what, fmt, ap);
    va_end(ap);
    return err;
}

#define BAD(r, ...) reg_error_set((r)->error, -EBADMSG, __VA_ARGS__)

/* ---- decoding ---- */

/* What code page 1252 has at 0x80-0x9f. Five places are nothing; Windows gives the control characters. */
static const uint16_t cp1252[32] = {
    0x20ac, 0x81,   0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160,
    0x2039, 0x0152, 0x8d,   0x017d, 0x8f,   0x90,   0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
    0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0x9d,   0x017e, 0x0178,
};

static uint16_t from_cp1252(uint8_t c)
{
    return c >= 0x80 && c < 0xa0 ? cp1252[c - 0x80] : c;
}

static bool is_utf16(const uint8_t *p, size_t n)
{
    return n >= 2 && ((p[0] == 0xff && p[1] == 0xfe) || (p[0] && !p[1]));
}

static void decode_utf16(struct reader *r, const uint8_t *p, size_t n)
{
    size_t bom = p[0] == 0xff && p[1] == 0xfe ? 2 : 0;
    for (size_t i = bom; i + 2 <= n; i += 2)
        r->units[r->n++] = (uint16_t)(p[i] | p[i + 1] << 8);
}

/* False: it isn't UTF-8, at line r->line. */
static bool decode_utf8(struct reader *r, const char *p, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint32_t c;
        size_t len = utf8_next(p + i, n - i, &c);
        if (!len)
            return false;
        r->line += c == '\n';
        r->n += utf16_put(r->units + r->n, c);
        i += len;
    }
    return true;
}

static int decode(struct reader *r, const uint8_t *p, size_t n)
{
    static const char old[] = "REGEDIT4";
    r->units = malloc((n + 1) * sizeof *r->units);
    if (!r->units)
        return -ENOMEM;
    r->line = 1;
    if (is_utf16(p, n)) {
        decode_utf16(r, p, n);
        return n % 2 ? BAD(r, "the text ends in the middle of a character") : 0;
    }
    size_t bom = n >= 3 && p[0] == 0xef && p[1] == 0xbb && p[2] == 0xbf ? 3 : 0;
    if (!decode_utf8(r, (const char *)p + bom, n - bom)) {
        if (bom || n < strlen(old) || memcmp(p, old, strlen(old)))
            return BAD(r, "this is neither UTF-8 nor UTF-16");
        r->n = 0;
        for (size_t i = 0; i < n; i++)
            r->units[r->n++] = from_cp1252(p[i]);
    }
    return 0;
}

/* ---- characters ---- */

static bool at_end(const struct reader *r)
{
    return r->at >= r->n;
}

static uint16_t peek(const struct reader *r)
{
    return at_end(r) ? 0 : r->units[r->at];
}

static bool at_line_end(const struct reader *r)
{
    return at_end(r) || peek(r) == '\n' ||
           (peek(r) == '\r' && (r->at + 1 >= r->n || r->units[r->at + 1] == '\n'));
}

static void next_line(struct reader *r)
{
    while (!at_end(r) && peek(r) != '\n')
        r->at++;
    if (!at_end(r)) {
        r->at++;
        r->line++;
    }
}

static void skip_blanks(struct reader *r)
{
    while (!at_end(r) && (peek(r) == ' ' || peek(r) == '\t'))
        r->at++;
}

/* Takes `word`, without regard to case, if it comes next. */
static bool take(struct reader *r, const char *word)
{
    size_t n = strlen(word);
    if (n > r->n - r->at)
        return false;
    for (size_t i = 0; i < n; i++)
        if (hive_upcase(r->units[r->at + i]) != hive_upcase((uint8_t)word[i]))
            return false;
    r->at += n;
    return true;
}

/* Nothing but blanks and a comment may follow. */
static int end_statement(struct reader *r)
{
    skip_blanks(r);
    if (!at_line_end(r) && peek(r) != ';')
        return BAD(r, "something follows what should be the end of the line");
    next_line(r);
    return 0;
}

static bool grow(void **p, size_t *room, size_t want, size_t item)
{
    if (want <= *room)
        return true;
    size_t more = want < 64 ? 64 : want + want / 2;
    void *q = realloc(*p, more * item);
    if (!q)
        return false;
    *p = q;
    *room = more;
    return true;
}

static int put_byte(struct reader *r, uint8_t b)
{
    if (r->data_n >= HIVE_VALUE_MAX)
        return BAD(r, "the value is too long");
    if (!grow((void **)&r->data, &r->data_room, r->data_n + 1, 1))
        return -ENOMEM;
    r->data[r->data_n++] = b;
    return 0;
}

static int put_unit(struct reader *r, uint16_t u)
{
    int e = put_byte(r, (uint8_t)u);
    return e < 0 ? e : put_byte(r, (uint8_t)(u >> 8));
}

static int hex_of(uint16_t u)
{
    if (u >= '0' && u <= '9')
        return u - '0';
    if (u >= 'a' && u <= 'f')
        return u - 'a' + 10;
    return u >= 'A' && u <= 'F' ? u - 'A' + 10 : -1;
}

/* Up to `max` hex digits; how many there were. */
static unsigned take_hex(struct reader *r, unsigned max, uint32_t *ret)
{
    unsigned n = 0;
    for (*ret = 0; n < max && !at_end(r) && hex_of(peek(r)) >= 0; n++)
        *ret = *ret << 4 | (uint32_t)hex_of(r->units[r->at++]);
    return n;
}

/* ---- quotes ---- */

/* One character behind a backslash. */
static int escaped(uint16_t u)
{
    switch (u) {
    case '\\':
    case '"':
        return u;
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case '0':
        return 0;
    default:
        return -1;
    }
}

/* A text in quotes, each unit given to `put`. */
static int quoted(struct reader *r, int (*put)(struct reader *r, uint16_t u))
{
    int e = 0;
    r->at++;
    while (!e) {
        if (at_end(r))
            return BAD(r, "the closing quote is missing");
        int u = r->units[r->at++];
        if (u == '"')
            return 0;
        if (u == '\n')
            r->line++;
        if (u == '\\') {
            u = escaped(peek(r));
            if (u < 0 || at_end(r))
                return BAD(r, "a backslash in quotes is written \\\\");
            r->at++;
        }
        e = put(r, (uint16_t)u);
    }
    return e;
}

static int put_name_unit(struct reader *r, uint16_t u)
{
    if (r->name_n >= HIVE_VALUE_NAME_MAX)
        return BAD(r, "the name is too long");
    if (!grow((void **)&r->name, &r->name_room, r->name_n + 1, sizeof *r->name))
        return -ENOMEM;
    r->name[r->name_n++] = u;
    return 0;
}

/* ---- statements ---- */

static int header(struct reader *r)
{
    if (take(r, "REGEDIT4"))
        r->old = true;
    else if (!take(r, "Windows Registry Editor Version 5.00"))
        return BAD(r, "the first line must be 'Windows Registry Editor Version 5.00' or 'REGEDIT4'");
    return end_statement(r);
}

/* From '[' to the last ']' of the line. */
static int key_statement(struct reader *r)
{
    struct hive_name parts[REG_PARTS_MAX];
    size_t n = 0, end = 0, start;
    r->at++;
    bool deleted = peek(r) == '-';
    start = r->at += deleted;
    for (; !at_line_end(r); r->at++)
        if (peek(r) == ']')
            end = r->at;
    if (end < start)
        return BAD(r, "the closing bracket of the key is missing");
    size_t close = end;
    if (end > start + 1 && r->units[end - 1] == '\\')
        end--; /* hivexregedit writes one behind a hive's own name */
    for (size_t i = start; i <= end; i++) {
        if (i < end && r->units[i] != '\\')
            continue;
        if (i == start)
            return BAD(r, "a name of the key's path is empty");
        if (n >= REG_PARTS_MAX)
            return BAD(r, "the key lies too deep");
        if (i - start > HIVE_KEY_NAME_MAX)
            return BAD(r, "a name of the key's path is longer than %d characters", HIVE_KEY_NAME_MAX);
        parts[n++] = (struct hive_name){ r->units + start, i - start };
        start = i + 1;
    }
    r->at = close + 1;
    unsigned long line = r->line;
    int e = end_statement(r);
    if (e < 0)
        return e;
    r->has_key = !deleted;
    r->error->line = line;
    return r->sink->key(r->sink->ctx, parts, n, deleted, r->error);
}

/* Goes on in the next line, if a backslash says so. */
static int continue_hex(struct reader *r)
{
    skip_blanks(r);
    while (!at_end(r) && peek(r) == '\\') {
        r->at++;
        skip_blanks(r);
        if (!at_line_end(r) && peek(r) != ';')
            return BAD(r, "a line must end behind the backslash");
        next_line(r);
        skip_blanks(r);
        if (at_end(r))
            return BAD(r, "the line that goes on is missing");
    }
    return 0;
}

static int hex_bytes(struct reader *r)
{
    for (;;) {
        uint32_t v;
        int e = continue_hex(r);
        if (e < 0)
            return e;
        if (at_line_end(r) || peek(r) == ';')
            return 0;
        if (!take_hex(r, 2, &v))
            return BAD(r, "this isn't a byte in hex digits");
        e = put_byte(r, (uint8_t)v);
        if (!e)
            e = continue_hex(r);
        if (e < 0)
            return e;
        if (peek(r) == ',')
            r->at++;
        else if (!at_line_end(r) && peek(r) != ';')
            return BAD(r, "a comma is missing between bytes");
    }
}

/* REGEDIT4's strings in hex: bytes of the code page, for units. */
static int widen(struct reader *r)
{
    size_t n = r->data_n;
    if (!grow((void **)&r->data, &r->data_room, 2 * n, 1))
        return -ENOMEM;
    for (size_t i = n; i; i--)
        put_le16(r->data + 2 * (i - 1), from_cp1252(r->data[i - 1]));
    r->data_n = 2 * n;
    return 0;
}

/* "(7)", of hex( and str(. */
static int type_in_brackets(struct reader *r, uint32_t *ret)
{
    if (!take_hex(r, 8, ret) || peek(r) != ')')
        return BAD(r, "this isn't a type in hex digits and a closing bracket");
    r->at++;
    if (peek(r) != ':')
        return BAD(r, "a colon is missing behind the type");
    r->at++;
    return 0;
}

static int string_data(struct reader *r)
{
    if (peek(r) != '"')
        return BAD(r, "a text in quotes is missing");
    int e = quoted(r, put_unit);
    return e < 0 ? e : put_unit(r, 0);
}

static int dword_data(struct reader *r)
{
    uint32_t v;
    skip_blanks(r);
    if (!take_hex(r, 8, &v) || hex_of(peek(r)) >= 0)
        return BAD(r, "a dword is one to eight hex digits");
    int e = put_unit(r, (uint16_t)v);
    return e < 0 ? e : put_unit(r, (uint16_t)(v >> 16));
}

static int value_data(struct reader *r, uint32_t *ret_type)
{
    int e;
    if (peek(r) == '"') {
        *ret_type = VALUE_SZ;
        return string_data(r);
    }
    if (take(r, "dword:")) {
        *ret_type = VALUE_DWORD;
        return dword_data(r);
    }
    if (take(r, "hex:")) {
        *ret_type = VALUE_BINARY;
        return hex_bytes(r);
    }
    if (take(r, "str(")) {
        e = type_in_brackets(r, ret_type);
        return e < 0 ? e : string_data(r);
    }
    if (!take(r, "hex("))
        return BAD(r, "this is no kind of value");
    e = type_in_brackets(r, ret_type);
    if (!e)
        e = hex_bytes(r);
    if (!e && r->old && (*ret_type == VALUE_EXPAND_SZ || *ret_type == VALUE_MULTI_SZ))
        e = widen(r);
    return e;
}

static int value_statement(struct reader *r)
{
    unsigned long line = r->line;
    uint32_t type = 0;
    r->name_n = r->data_n = 0;
    if (!r->has_key)
        return BAD(r, "there is no key that this value would be of");
    int e = 0;
    if (peek(r) == '@')
        r->at++;
    else
        e = quoted(r, put_name_unit);
    skip_blanks(r);
    if (!e && peek(r) != '=')
        e = BAD(r, "a '=' is missing behind the value's name");
    if (e < 0)
        return e;
    r->at++;
    skip_blanks(r);
    bool deleted = peek(r) == '-';
    if (deleted)
        r->at++;
    else
        e = value_data(r, &type);
    if (!e)
        e = end_statement(r);
    if (e < 0)
        return e;
    struct hive_name name = { r->name, r->name_n };
    r->error->line = line;
    if (deleted)
        return r->sink->delete_value(r->sink->ctx, name, r->error);
    return r->sink->value(r->sink->ctx, name, type, r->data, r->data_n, r->error);
}

static int statement(struct reader *r)
{
    skip_blanks(r);
    r->error->line = 0;
    if (at_line_end(r) || peek(r) == ';') {
        next_line(r);
        return 0;
    }
    if (peek(r) == '[')
        return key_statement(r);
    if (peek(r) == '@' || peek(r) == '"')
        return value_statement(r);
    return BAD(r, "a line must begin with a key in brackets, a name in quotes, @ or ;");
}

int reg_read(const void *text, size_t n, const struct reg_sink *sink, struct reg_error *error)
{
    struct reg_error ours;
    struct reader r = { .sink = sink, .error = error ? error : &ours };
    *r.error = (struct reg_error){ 0 };
    int e = decode(&r, text, n);
    if (!e) {
        r.line = 1;
        e = header(&r);
    }
    while (!e && !at_end(&r))
        e = statement(&r);
    if (e && !r.error->line)
        r.error->line = r.line;
    if (!e)
        r.error->line = 0;
    free(r.units);
    free(r.name);
    free(r.data);
    return e;
}
