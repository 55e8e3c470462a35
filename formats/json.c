/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { MAX_DEPTH = 16 };

/* ---- reading ---- */

struct reader {
    const char *text;
    size_t n, at;
    const char *name;
    struct fault *fault;
};

static int parse_value(struct reader *r, unsigned depth, struct json **ret);

static int bad(struct reader *r, const char *what)
{
    return fault_at(r->fault, -EUCLEAN, r->name, r->at, "%s", what);
}

static int no_memory(struct reader *r)
{
    return fault_in(r->fault, -ENOMEM, r->name, "out of memory");
}

static int peek(const struct reader *r)
{
    return r->at < r->n ? (unsigned char)r->text[r->at] : -1;
}

static void skip_blanks(struct reader *r)
{
    while (peek(r) == ' ' || peek(r) == '\n' || peek(r) == '\t' || peek(r) == '\r')
        r->at++;
}

static bool take(struct reader *r, char c)
{
    skip_blanks(r);
    if (peek(r) != c)
        return false;
    r->at++;
    return true;
}

/* Four hexadecimal digits; -1: they aren't there. */
static long take_hex(struct reader *r)
{
    long v = 0;
    for (int i = 0; i < 4; i++) {
        int c = peek(r);
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        v = v * 16 + digit;
        r->at++;
    }
    return v;
}

static size_t put_utf8(char *p, unsigned long c)
{
    if (c < 0x80) {
        p[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        p[0] = (char)(0xc0 | c >> 6);
        p[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        p[0] = (char)(0xe0 | c >> 12);
        p[1] = (char)(0x80 | (c >> 6 & 0x3f));
        p[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    p[0] = (char)(0xf0 | c >> 18);
    p[1] = (char)(0x80 | (c >> 12 & 0x3f));
    p[2] = (char)(0x80 | (c >> 6 & 0x3f));
    p[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

/* The character of a \u, or of two that are a pair; -1: none. */
static long take_unicode(struct reader *r)
{
    long c = take_hex(r);
    if (c >= 0xd800 && c < 0xdc00 && r->at + 1 < r->n && r->text[r->at] == '\\' &&
        r->text[r->at + 1] == 'u') {
        r->at += 2;
        long low = take_hex(r);
        return low >= 0xdc00 && low < 0xe000 ? 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00) : -1;
    }
    return c == 0 || (c >= 0xd800 && c < 0xe000) ? -1 : c;
}

/* What stands behind a backslash; 0: nothing that we know. */
static size_t take_escape(struct reader *r, char *p)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    int c = peek(r);
    r->at++;
    if (c == 'u') {
        long u = take_unicode(r);
        return u < 0 ? 0 : put_utf8(p, (unsigned long)u);
    }
    const char *found = c > 0 ? strchr(from, c) : NULL;
    if (!found)
        return 0;
    *p = to[found - from];
    return 1;
}

static int parse_string(struct reader *r, char **ret)
{
    if (!take(r, '"'))
        return bad(r, "a string is expected");
    size_t end = r->at;
    while (end < r->n && r->text[end] != '"')
        end += r->text[end] == '\\' ? 2 : 1;
    if (end >= r->n)
        return bad(r, "a string has no end");
    _cleanup_free_ char *out = malloc(end - r->at + 1); /* an escape is never shorter than what it means */
    if (!out)
        return no_memory(r);
    size_t n = 0;
    while (r->at < end) {
        char c = r->text[r->at];
        if ((unsigned char)c < 0x20)
            return bad(r, "a string holds a control character");
        r->at++;
        size_t k = 1;
        if (c == '\\')
            k = take_escape(r, out + n);
        else
            out[n] = c;
        if (!k)
            return bad(r, "a string holds an escape that isn't understood");
        n += k;
    }
    r->at = end + 1;
    out[n] = 0;
    *ret = TAKE_PTR(out);
    return 0;
}

static int parse_word(struct reader *r, struct json *j)
{
    static const struct {
        const char *word;
        enum json_kind kind;
    } words[] = { { "null", JSON_NULL }, { "false", JSON_FALSE }, { "true", JSON_TRUE } };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t len = strlen(words[i].word);
        if (r->n - r->at >= len && !memcmp(r->text + r->at, words[i].word, len)) {
            r->at += len;
            j->kind = words[i].kind;
            return 0;
        }
    }
    size_t n = 0;
    while (r->at + n < r->n && r->text[r->at + n] && strchr("+-.0123456789eE", r->text[r->at + n]))
        n++;
    if (!n)
        return bad(r, "a value is expected");
    j->kind = JSON_NUMBER;
    j->text = strndup(r->text + r->at, n);
    r->at += n;
    return j->text ? 0 : no_memory(r);
}

static int parse_members(struct reader *r, unsigned depth, struct json *j)
{
    bool object = j->kind == JSON_OBJECT;
    struct json **tail = &j->child;
    if (take(r, object ? '}' : ']'))
        return 0;
    do {
        _cleanup_free_ char *key = NULL;
        int e = object ? parse_string(r, &key) : 0;
        if (!e && object && !take(r, ':'))
            e = bad(r, "a ':' is expected");
        if (!e)
            e = parse_value(r, depth + 1, tail);
        if (e < 0)
            return e;
        (*tail)->key = TAKE_PTR(key);
        tail = &(*tail)->next;
    } while (take(r, ','));
    return take(r, object ? '}' : ']') ? 0 : bad(r, "a ',' or the end of a list is expected");
}

static int parse_value(struct reader *r, unsigned depth, struct json **ret)
{
    if (depth > MAX_DEPTH)
        return fault_at(r->fault, -EFBIG, r->name, r->at, "is nested too deeply");
    skip_blanks(r);
    _cleanup_(json_freep) struct json *j = calloc(1, sizeof *j);
    if (!j)
        return no_memory(r);
    int e;
    int c = peek(r);
    if (c == '{' || c == '[') {
        j->kind = c == '{' ? JSON_OBJECT : JSON_ARRAY;
        r->at++;
        e = parse_members(r, depth, j);
    } else if (c == '"') {
        j->kind = JSON_STRING;
        e = parse_string(r, &j->text);
    } else {
        e = parse_word(r, j);
    }
    if (!e)
        *ret = TAKE_PTR(j);
    return e;
}

int json_parse(const char *text, size_t n, const char *name, struct json **ret, struct fault *fault)
{
    struct reader r = { .text = text, .n = n, .name = name, .fault = fault };
    _cleanup_(json_freep) struct json *j = NULL;
    int e = parse_value(&r, 0, &j);
    skip_blanks(&r);
    if (!e && r.at < n)
        e = bad(&r, "more follows behind the end");
    if (!e)
        *ret = TAKE_PTR(j);
    return e;
}

void json_free(struct json *j)
{
    while (j) { /* as deep as MAX_DEPTH, as long as need be */
        struct json *next = j->next;
        json_free(j->child);
        free(j->key);
        free(j->text);
        free(j);
        j = next;
    }
}

const struct json *json_member(const struct json *j, const char *key)
{
    if (!j || j->kind != JSON_OBJECT)
        return NULL;
    const struct json *m = j->child;
    while (m && strcmp(m->key, key))
        m = m->next;
    return m;
}

const char *json_text(const struct json *j, const char *key)
{
    const struct json *m = json_member(j, key);
    return m && m->kind == JSON_STRING ? m->text : NULL;
}

bool json_u64(const struct json *j, const char *key, uint64_t *ret)
{
    const struct json *m = json_member(j, key);
    if (!m || m->kind != JSON_NUMBER || m->text[0] < '0' || m->text[0] > '9')
        return false;
    char *end;
    errno = 0;
    unsigned long long v = strtoull(m->text, &end, 10);
    if (errno || *end)
        return false;
    *ret = v;
    return true;
}

/* ---- writing ---- */

void json_out_done(struct json_out *o)
{
    free(o->text);
    *o = (struct json_out){ 0 };
}

static void add(struct json_out *o, const char *text, size_t n)
{
    if (o->failed)
        return;
    if (o->room - o->n < n + 1) {
        size_t room = 2 * (o->n + n) + 256;
        char *p = realloc(o->text, room);
        if (!p) {
            json_out_done(o);
            o->failed = true;
            return;
        }
        o->text = p;
        o->room = room;
    }
    memcpy(o->text + o->n, text, n);
    o->n += n;
    o->text[o->n] = 0;
}

void json_raw(struct json_out *o, const char *text)
{
    add(o, text, strlen(text));
}

void json_quote(struct json_out *o, const char *text)
{
    add(o, "\"", 1);
    for (const char *p = text; *p; p++) {
        char buf[8];
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            add(o, buf, (size_t)snprintf(buf, sizeof buf, "\\u%04x", (unsigned char)*p));
        else if (*p == '"' || *p == '\\')
            add(o, buf, (size_t)snprintf(buf, sizeof buf, "\\%c", *p));
        else
            add(o, p, 1);
    }
    add(o, "\"", 1);
}

void json_key(struct json_out *o, const char *key)
{
    json_quote(o, key);
    add(o, ": ", 2);
}

void json_number(struct json_out *o, uint64_t v)
{
    char buf[24];
    add(o, buf, (size_t)snprintf(buf, sizeof buf, "%llu", (unsigned long long)v));
}

void json_copy(struct json_out *o, const struct json *j)
{
    static const char *const words[] = { [JSON_NULL] = "null", [JSON_FALSE] = "false", [JSON_TRUE] = "true" };
    if (j->kind == JSON_STRING) {
        json_quote(o, j->text);
    } else if (j->kind == JSON_NUMBER) {
        json_raw(o, j->text);
    } else if (j->kind != JSON_ARRAY && j->kind != JSON_OBJECT) {
        json_raw(o, words[j->kind]);
    } else {
        json_raw(o, j->kind == JSON_OBJECT ? "{" : "[");
        for (const struct json *c = j->child; c; c = c->next) {
            json_raw(o, c == j->child ? " " : ", ");
            if (c->key)
                json_key(o, c->key);
            json_copy(o, c);
        }
        json_raw(o, j->kind == JSON_OBJECT ? " }" : " ]");
    }
}
