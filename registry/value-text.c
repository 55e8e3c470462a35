/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Exactness is the rule: value_text_size() accepts just those bytes that value_from_text() makes of the text,
 * which the fuzz target holds. */
#include "value-text.h"

#include "../formats/bytes.h"
#include "../formats/cleanup.h"
#include "utf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum form { FORM_BYTES, FORM_STRING, FORM_STRINGS, FORM_NUMBER };

static enum form form_of(uint32_t type)
{
    switch (type) {
    case VALUE_SZ:
    case VALUE_EXPAND_SZ:
    case VALUE_LINK:
        return FORM_STRING;
    case VALUE_MULTI_SZ:
        return FORM_STRINGS;
    case VALUE_DWORD:
    case VALUE_DWORD_BE:
    case VALUE_QWORD:
        return FORM_NUMBER;
    default:
        return FORM_BYTES;
    }
}

bool value_type_is_text(uint32_t type)
{
    return form_of(type) != FORM_BYTES;
}

bool value_type_has_empty(uint32_t type)
{
    return form_of(type) != FORM_NUMBER;
}

static size_t number_size(uint32_t type)
{
    return type == VALUE_QWORD ? 8 : 4;
}

static uint16_t unit_at(const uint8_t *data, size_t i)
{
    return (uint16_t)(data[2 * i] | data[2 * i + 1] << 8);
}

/* The character at unit *i of n, moving *i. */
static uint32_t next_char(const uint8_t *data, size_t n, size_t *i)
{
    uint32_t c = unit_at(data, (*i)++);
    if (!utf16_is_high(c) || *i >= n || !utf16_is_low(unit_at(data, *i)))
        return c;
    return 0x10000 + ((c - 0xd800) << 10) + (unit_at(data, (*i)++) - 0xdc00u);
}

/* UTF-8 bytes of n units that are text without NULs and lone surrogates; -EILSEQ. */
static int string_size(const uint8_t *data, size_t n, size_t *ret)
{
    size_t size = 0;
    for (size_t i = 0; i < n;) {
        uint32_t c = next_char(data, n, &i);
        if (!c || (c >= 0xd800 && c < 0xe000))
            return -EILSEQ;
        size += utf8_size(c);
    }
    *ret = size;
    return 0;
}

static int strings_size(const uint8_t *data, size_t units, size_t *ret)
{
    size_t size = 0;
    bool empty = true; /* the string so far */
    if (!units || unit_at(data, units - 1))
        return -EILSEQ;
    for (size_t i = 0; i < units - 1;) {
        uint32_t c = next_char(data, units - 1, &i);
        if ((c >= 0xd800 && c < 0xe000) || c == '\n' || (!c && empty))
            return -EILSEQ;
        empty = !c;
        size += utf8_size(c); /* a NUL becomes a newline */
    }
    *ret = size;
    return empty ? 0 : -EILSEQ;
}

int value_text_size(uint32_t type, const uint8_t *data, size_t n, size_t *ret)
{
    size_t units = n / 2, size = 0;
    int r = 0;
    switch (form_of(type)) {
    case FORM_BYTES:
        *ret = n;
        return 0;
    case FORM_NUMBER:
        *ret = 2 + 2 * number_size(type) + 1;
        return n == number_size(type) ? 0 : -EILSEQ;
    case FORM_STRING:
        if (n % 2)
            return -EILSEQ;
        if (type != VALUE_LINK && (!units || unit_at(data, units - 1)))
            return -EILSEQ;
        r = string_size(data, type == VALUE_LINK ? units : units - 1, &size);
        size++;
        break;
    case FORM_STRINGS:
        r = n % 2 ? -EILSEQ : strings_size(data, units, &size);
        break;
    }
    if (!r)
        *ret = size;
    return r;
}

static uint64_t number_of(uint32_t type, const uint8_t *data)
{
    struct bad bad = { 0 };
    struct bytes b = bytes_of(data, number_size(type), 0, &bad);
    return type == VALUE_QWORD ? le64(b, 0) : type == VALUE_DWORD ? le32(b, 0) : be32(b, 0);
}

void value_to_text(uint32_t type, const uint8_t *data, size_t n, char *out)
{
    enum form form = form_of(type);
    if (form == FORM_BYTES) {
        if (n)
            memcpy(out, data, n);
        return;
    }
    if (form == FORM_NUMBER) {
        char text[24];
        int len = snprintf(text, sizeof text, "0x%0*llx\n", (int)(2 * number_size(type)),
                           (unsigned long long)number_of(type, data));
        memcpy(out, text, (size_t)len);
        return;
    }
    size_t units = n / 2 - (type != VALUE_LINK);
    for (size_t i = 0; i < units;) {
        uint32_t c = next_char(data, units, &i);
        out += utf8_put(out, c ? c : '\n');
    }
    if (form == FORM_STRING)
        *out = '\n';
}

/* ---- from text ---- */

static int digit_of(char c, unsigned base)
{
    int d = c >= '0' && c <= '9'   ? c - '0'
            : c >= 'a' && c <= 'f' ? c - 'a' + 10
            : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                   : 99;
    return d < (int)base ? d : -1;
}

/* Digits and at most one newline at the end. *ret_complete: there is a digit. */
static int number_parse(uint32_t type, const char *text, size_t n, uint64_t *ret, bool *ret_complete)
{
    uint64_t v = 0, max = type == VALUE_QWORD ? UINT64_MAX : UINT32_MAX;
    unsigned base = n >= 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X') ? 16 : 10;
    size_t i = base == 16 ? 2 : 0, first = i;
    for (; i < n; i++) {
        if (text[i] == '\n' && i + 1 == n && i > first)
            break;
        int d = digit_of(text[i], base);
        if (d < 0 || v > (max - (unsigned)d) / base)
            return -EINVAL;
        v = v * base + (unsigned)d;
    }
    *ret = v;
    *ret_complete = i > first;
    return 0;
}

/* UTF-8 without NULs; of strings, no empty line either. */
static int characters_check(enum form form, const char *text, size_t n, size_t *checked)
{
    size_t i = *checked;
    while (i < n) {
        uint32_t c;
        size_t len = utf8_next_partial(text + i, n - i, &c);
        if (len == UTF8_INCOMPLETE)
            break;
        if (!len || !c)
            return -EINVAL;
        if (form == FORM_STRINGS && c == '\n' && (i == 0 || text[i - 1] == '\n'))
            return -EINVAL;
        i += len;
    }
    *checked = i;
    return 0;
}

int value_text_check(uint32_t type, const char *text, size_t n, size_t *checked)
{
    uint64_t number;
    bool complete;
    switch (form_of(type)) {
    case FORM_BYTES:
        return 0;
    case FORM_NUMBER:
        return number_parse(type, text, n, &number, &complete);
    default:
        return characters_check(form_of(type), text, n, checked);
    }
}

static int number_from_text(uint32_t type, const char *text, size_t n, uint8_t **ret, size_t *ret_n)
{
    uint64_t v;
    bool complete;
    if (number_parse(type, text, n, &v, &complete) < 0 || !complete)
        return -EINVAL;
    uint8_t *data = malloc(8);
    if (!data)
        return -ENOMEM;
    if (type == VALUE_QWORD)
        put_le64(data, v);
    else if (type == VALUE_DWORD)
        put_le32(data, (uint32_t)v);
    else
        put_be32(data, (uint32_t)v);
    *ret = data;
    *ret_n = number_size(type);
    return 0;
}

static int characters_from_text(uint32_t type, const char *text, size_t n, uint8_t **ret, size_t *ret_n)
{
    enum form form = form_of(type);
    size_t checked = 0, out = 0;
    if (characters_check(form, text, n, &checked) < 0 || checked < n)
        return -EINVAL;
    bool newline = n && text[n - 1] == '\n';
    size_t len = n - newline;
    _cleanup_free_ uint8_t *data = malloc(2 * len + 4);
    if (!data)
        return -ENOMEM;
    for (size_t i = 0; i < len;) {
        uint32_t c = 0;
        uint16_t units[2];
        i += utf8_next(text + i, len - i, &c);
        size_t k = utf16_put(units, form == FORM_STRINGS && c == '\n' ? 0 : c);
        for (size_t j = 0; j < k; j++, out += 2)
            put_le16(data + out, units[j]);
    }
    unsigned nuls = form == FORM_STRINGS ? (len ? 2 : 1) : type == VALUE_LINK ? 0 : 1;
    for (; nuls; nuls--, out += 2)
        put_le16(data + out, 0);
    *ret = TAKE_PTR(data);
    *ret_n = out;
    return 0;
}

int value_from_text(uint32_t type, const char *text, size_t n, uint8_t **ret, size_t *ret_n)
{
    enum form form = form_of(type);
    if (form == FORM_NUMBER)
        return number_from_text(type, text, n, ret, ret_n);
    if (form != FORM_BYTES)
        return characters_from_text(type, text, n, ret, ret_n);
    uint8_t *data = malloc(n ? n : 1);
    if (!data)
        return -ENOMEM;
    if (n)
        memcpy(data, text, n);
    *ret = data;
    *ret_n = n;
    return 0;
}
