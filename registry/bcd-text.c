/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Elements and their text. */
#include "bcd.h"
#include "guid.h"

#include "../formats/bytes.h"
#include "../formats/cleanup.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_VALUE = 1 << 20, MAX_LINE = 4096 };

/* ---- what is put together ---- */

struct out {
    uint8_t *p; /* owned */
    size_t n, room;
    bool failed; /* no memory; what comes later is dropped */
};

static void put(struct out *out, const void *bytes, size_t n)
{
    if (out->failed)
        return;
    if (n >= out->room - out->n) { /* one byte is left for a NUL */
        size_t room = 2 * out->room + n + 64;
        uint8_t *p = realloc(out->p, room);
        if (!p) {
            out->failed = true;
            return;
        }
        out->p = p;
        out->room = room;
    }
    memcpy(out->p + out->n, bytes, n);
    out->n += n;
    out->p[out->n] = 0;
}

static void put_byte(struct out *out, uint32_t c)
{
    put(out, &(uint8_t){ (uint8_t)c }, 1);
}

static void put_text(struct out *out, const char *text)
{
    put(out, text, strlen(text));
}

static void put_line(struct out *out, const char *text)
{
    put_text(out, text);
    put_byte(out, '\n');
}

/* A number and the line's end. */
static void put_number(struct out *out, uint64_t v, bool hex)
{
    char line[32];
    snprintf(line, sizeof line, hex ? "0x%" PRIx64 : "%" PRIu64, v);
    put_line(out, line);
}

/* ---- UTF-16 and UTF-8 ---- */

/* Puts the text of UTF-16 units; false at a lone surrogate, or a line end. */
static bool put_units(struct out *out, const uint8_t *p, size_t units)
{
    for (size_t i = 0; i < units; i++) {
        uint32_t c = (uint32_t)(p[2 * i] | p[2 * i + 1] << 8);
        if (c == '\n' || c == '\r' || !c)
            return false;
        if (c >= 0xd800 && c < 0xe000) {
            uint32_t low = i + 1 < units ? (uint32_t)(p[2 * i + 2] | p[2 * i + 3] << 8) : 0;
            if (c >= 0xdc00 || low < 0xdc00 || low >= 0xe000)
                return false;
            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
            i++;
        }
        if (c < 0x80) {
            put_byte(out, c);
            continue;
        }
        if (c < 0x800) {
            put_byte(out, 0xc0 | c >> 6);
        } else {
            if (c < 0x10000) {
                put_byte(out, 0xe0 | c >> 12);
            } else {
                put_byte(out, 0xf0 | c >> 18);
                put_byte(out, 0x80 | (c >> 12 & 63));
            }
            put_byte(out, 0x80 | (c >> 6 & 63));
        }
        put_byte(out, 0x80 | (c & 63));
    }
    return true;
}

static size_t units_before_nul(const uint8_t *p, size_t n)
{
    size_t i = 0;
    while (2 * i + 1 < n && (p[2 * i] || p[2 * i + 1]))
        i++;
    return i;
}

/* Appends the UTF-16 of n bytes of UTF-8; false: it isn't. */
static bool add_units(struct out *out, const char *text, size_t n)
{
    const uint8_t *s = (const uint8_t *)text, *end = s + n;
    while (s < end) {
        uint32_t c = *s++;
        unsigned more = c < 0x80 ? 0 : c >= 0xc2 && c < 0xe0 ? 1 : c >= 0xe0 && c < 0xf0 ? 2 : 3;
        if (!c || (c >= 0x80 && c < 0xc2) || c > 0xf4 || more > (size_t)(end - s))
            return false;
        c &= more ? 0x3fu >> more : 0x7fu;
        for (unsigned i = 0; i < more; i++, s++) {
            if ((*s & 0xc0) != 0x80)
                return false;
            c = c << 6 | (*s & 63);
        }
        if ((c >= 0xd800 && c < 0xe000) || c > 0x10ffff)
            return false;
        if (c >= 0x10000) {
            uint32_t high = 0xd800 + ((c - 0x10000) >> 10);
            put_byte(out, high & 255);
            put_byte(out, high >> 8);
            c = 0xdc00 + ((c - 0x10000) & 0x3ff);
        }
        put_byte(out, c & 255);
        put_byte(out, c >> 8);
    }
    return true;
}

/* ---- to text ---- */

static uint32_t type_of(unsigned format)
{
    return format == BCD_STRING || format == BCD_OBJECT ? BCD_REG_SZ
           : format == BCD_OBJECTS                      ? BCD_REG_MULTI_SZ
                                                        : BCD_REG_BINARY;
}

/* An object's id, as its alias where it has one. */
static bool put_object(struct out *out, const uint8_t *p, size_t units)
{
    char id[GUID_TEXT + 3];
    uint8_t guid[16];
    if (units >= sizeof id)
        return false;
    for (size_t i = 0; i < units; i++) {
        if (p[2 * i + 1] || p[2 * i] >= 128)
            return false;
        id[i] = (char)p[2 * i];
    }
    id[units] = 0;
    if (!guid_from_text(id, units, guid))
        return false;
    guid_to_text(guid, id); /* as ids are written, in whatever case this one is */
    const char *alias = bcd_alias(guid);
    put_byte(out, '{');
    put_text(out, alias ? alias : id);
    put_byte(out, '}');
    put_line(out, "");
    return true;
}

static bool put_objects(struct out *out, const uint8_t *p, size_t n)
{
    while (n >= 2) {
        size_t units = units_before_nul(p, n);
        if (!units)
            return true; /* the end of the list */
        if (!put_object(out, p, units))
            return false;
        size_t bytes = 2 * units + 2 < n ? 2 * units + 2 : n;
        p += bytes;
        n -= bytes;
    }
    return n == 0;
}

static uint64_t integer(const uint8_t *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = n < 8 ? n : 8; i--;)
        v = v << 8 | p[i];
    return v;
}

static void put_integer(struct out *out, uint32_t object_type, uint32_t element, uint64_t v)
{
    const char *word = bcd_word(object_type, element, v);
    if (word)
        put_line(out, word);
    else
        put_number(out, v, bcd_is_hex(object_type, element));
}

static void put_hex(struct out *out, const uint8_t *p, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    put_text(out, "hex:");
    for (size_t i = 0; i < n; i++) {
        char byte[] = { ',', digits[p[i] >> 4], digits[p[i] & 15], 0 };
        put_text(out, i ? byte : byte + 1);
    }
    put_byte(out, '\n');
}

/* False: the bytes aren't what the format says, so they are shown as such. */
static bool put_value(struct out *out, uint32_t object_type, uint32_t element, const uint8_t *p, size_t n,
                      const struct bcd_context *c)
{
    char device[MAX_LINE];
    size_t units = units_before_nul(p, n);
    switch (bcd_format(element)) {
    case BCD_DEVICE:
        if (!bcd_device_to_text(p, n, c, device, sizeof device))
            return false;
        put_line(out, device);
        return true;
    case BCD_STRING: /* one that looks like bytes would be read back as such */
        if ((units >= 4 && !memcmp(p, "h\0e\0x\0:\0", 8)) || !put_units(out, p, units))
            return false;
        put_byte(out, '\n');
        return true;
    case BCD_OBJECT:
        return put_object(out, p, units);
    case BCD_OBJECTS:
        return put_objects(out, p, n);
    case BCD_INTEGER:
        if (!n || n > 8)
            return false;
        put_integer(out, object_type, element, integer(p, n));
        return true;
    case BCD_BOOLEAN:
        if (n != 1)
            return false;
        put_line(out, p[0] ? "Yes" : "No");
        return true;
    case BCD_INTEGERS:
        for (size_t i = 0; i + 8 <= n; i += 8)
            put_number(out, integer(p + i, 8), true);
        return n % 8 == 0;
    default:
        return false;
    }
}

int bcd_to_text(uint32_t object_type, uint32_t element, uint32_t reg_type, const void *data, size_t n,
                const struct bcd_context *c, char **ret)
{
    struct out out = { 0 };
    if (reg_type != type_of(bcd_format(element)) || n > MAX_VALUE)
        return -EINVAL;
    put(&out, "", 0); /* the text of an empty list is one, too */
    if (!put_value(&out, object_type, element, data, n, c)) {
        out.n = 0;
        put_hex(&out, data, n);
    }
    if (out.failed) {
        free(out.p);
        return -ENOMEM;
    }
    *ret = (char *)out.p;
    return 0;
}

/* ---- from text ---- */

static int parse_integer(uint32_t object_type, uint32_t element, const char *s, uint64_t *ret)
{
    char *end;
    if (bcd_word_value(object_type, element, s, ret))
        return 0;
    if (!isdigit((unsigned char)s[0]))
        return -EINVAL;
    bool hex = s[0] == '0' && (s[1] == 'x' || s[1] == 'X');
    errno = 0;
    *ret = strtoull(hex ? s + 2 : s, &end, hex ? 16 : 10);
    return errno || *end || (hex && !isxdigit((unsigned char)s[2])) ? -EINVAL : 0;
}

static int parse_boolean(const char *s, uint8_t *ret)
{
    static const char *const yes[] = { "yes", "on", "true", "1" }, *const no[] = { "no", "off", "false",
                                                                                   "0" };
    for (size_t i = 0; i < 4; i++) {
        if (!strcasecmp(s, yes[i]) || !strcasecmp(s, no[i])) {
            *ret = !strcasecmp(s, yes[i]);
            return 0;
        }
    }
    return -EINVAL;
}

/* "{guid}", "{alias}", and both without braces. */
static int parse_object(const char *s, const struct bcd_context *c, uint8_t ret[16])
{
    size_t n = strlen(s);
    if (guid_from_text(s, n, ret))
        return 0;
    if (n > 2 && s[0] == '{' && s[n - 1] == '}') {
        s++;
        n -= 2;
    }
    if (bcd_alias_guid(s, n, ret))
        return 0;
    if (n != 7 || (strncasecmp(s, "default", n) != 0 && strncasecmp(s, "current", n) != 0))
        return -EINVAL;
    if (!c || !c->default_object)
        return -ENOENT;
    memcpy(ret, c->default_object, 16);
    return 0;
}

static int add_object(struct out *out, const char *s, const struct bcd_context *c)
{
    uint8_t guid[16];
    char text[GUID_TEXT + 3] = "{";
    int r = parse_object(s, c, guid);
    if (r < 0)
        return r;
    guid_to_text(guid, text + 1);
    text[GUID_TEXT + 1] = '}';
    add_units(out, text, GUID_TEXT + 2);
    put(out, "\0", 2);
    return 0;
}

static int add_hex(struct out *out, const char *s)
{
    while (*s) {
        if (!isxdigit((unsigned char)s[0]) || !isxdigit((unsigned char)s[1]) || (s[2] && s[2] != ','))
            return -EINVAL;
        char pair[3] = { s[0], s[1], 0 };
        put_byte(out, (uint32_t)strtoul(pair, NULL, 16));
        s += s[2] ? 3 : 2;
    }
    return 0;
}

static int add_device(struct out *out, const char *s, const struct bcd_context *c)
{
    _cleanup_free_ uint8_t *data = NULL;
    size_t n;
    int r = bcd_device_from_text(s, c, &data, &n);
    if (!r)
        put(out, data, n);
    return r;
}

static void add_integer(struct out *out, uint64_t v)
{
    uint8_t b[8];
    put_le64(b, v);
    put(out, b, 8);
}

/* One line; *lines counts those before. */
static int add_line(struct out *out, uint32_t object_type, uint32_t element, const char *s, size_t lines,
                    const struct bcd_context *c)
{
    unsigned format = bcd_format(element);
    uint64_t v;
    uint8_t flag;
    int r;
    if (lines && format != BCD_OBJECTS && format != BCD_INTEGERS)
        return -EINVAL;
    if (!strncmp(s, "hex:", 4))
        return lines ? -EINVAL : add_hex(out, s + 4);
    switch (format) {
    case BCD_DEVICE:
        return add_device(out, s, c);
    case BCD_STRING:
        if (!add_units(out, s, strlen(s)))
            return -EINVAL;
        put(out, "\0", 2);
        return 0;
    case BCD_OBJECT:
    case BCD_OBJECTS:
        return add_object(out, s, c);
    case BCD_INTEGER:
    case BCD_INTEGERS:
        r = parse_integer(object_type, element, s, &v);
        if (!r)
            add_integer(out, v);
        return r;
    case BCD_BOOLEAN:
        r = parse_boolean(s, &flag);
        if (!r)
            put_byte(out, flag);
        return r;
    default:
        return -EINVAL;
    }
}

static int add_lines(struct out *out, uint32_t object_type, uint32_t element, char *text,
                     const struct bcd_context *c)
{
    size_t lines = 0;
    bool hex = false;
    for (char *line = text, *next; *line; line = next, lines++) {
        size_t n = strcspn(line, "\n");
        next = line + n + (line[n] == '\n');
        if (n && line[n - 1] == '\r')
            line[n - 1] = 0;
        line[n] = 0;
        int r = hex ? -EINVAL : add_line(out, object_type, element, line, lines, c);
        if (r < 0)
            return r;
        hex = !strncmp(line, "hex:", 4);
    }
    if (!lines && bcd_format(element) == BCD_STRING)
        put(out, "\0", 2);
    else if (!lines && bcd_format(element) != BCD_OBJECTS && bcd_format(element) != BCD_INTEGERS)
        return -EINVAL;
    if (bcd_format(element) == BCD_OBJECTS && !hex)
        put(out, "\0", 2);
    return 0;
}

static bool says_the_same(uint32_t object_type, uint32_t element, const char *text, size_t n,
                          const struct bcd_bytes *was, const struct bcd_context *c)
{
    _cleanup_free_ char *old = NULL;
    if (!was || bcd_to_text(object_type, element, was->reg_type, was->data, was->n, c, &old) < 0)
        return false;
    size_t m = strlen(old);
    return (m == n || m == n + 1) && !memcmp(old, text, n) && (m == n || old[n] == '\n');
}

int bcd_from_text(uint32_t object_type, uint32_t element, const char *text, size_t n,
                  const struct bcd_bytes *was, const struct bcd_context *c, struct bcd_bytes *ret)
{
    unsigned format = bcd_format(element);
    struct out out = { 0 };
    if (n > MAX_VALUE || memchr(text, 0, n))
        return -EINVAL;
    _cleanup_free_ char *copy = strndup(text, n);
    if (!copy)
        return -ENOMEM;
    int r = 0;
    put(&out, "", 0); /* a value of no bytes has its memory, too */
    if (says_the_same(object_type, element, text, n, was, c))
        put(&out, was->data, was->n);
    else
        r = add_lines(&out, object_type, element, copy, c);
    if (out.failed)
        r = -ENOMEM;
    if (r < 0) {
        free(out.p);
        return r;
    }
    *ret = (struct bcd_bytes){ .reg_type = type_of(format), .data = out.p, .n = out.n };
    return 0;
}
