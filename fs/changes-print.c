/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A list of changes for people, and for programs. */
#include "changes-impl.h"

#include "../formats/bytes.h"
#include "../formats/cleanup.h"
#include "../guest/text.h"

#include <stdio.h>
#include <string.h>

enum { SHOWN = 16, TEXT_SHOWN = 512 };

/* One line, whatever a guest's name holds. */
static void put_line(struct json_out *out, const char *text)
{
    char one[2] = { 0 };
    for (; *text; text++) {
        one[0] = (unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text;
        json_raw(out, one);
    }
}

static void put_hex(struct json_out *out, const uint8_t *bytes, size_t n)
{
    char text[48];
    json_raw(out, "hex:");
    for (size_t i = 0; i < n && i < SHOWN; i++) {
        snprintf(text, sizeof text, "%s%02x", i ? " " : "", bytes[i]);
        json_raw(out, text);
    }
    if (n > SHOWN) {
        snprintf(text, sizeof text, "... (%zu bytes)", n);
        json_raw(out, text);
    }
}

/* UTF-16 as "text", or of several as {"text", "text"}. */
static void put_strings(struct json_out *out, const uint8_t *bytes, size_t n, bool many)
{
    uint16_t units[TEXT_SHOWN];
    char text[TEXT_UTF8_SIZE(TEXT_SHOWN)];
    struct bad bad = { 0 };
    struct bytes b = bytes_of(bytes, n, 0, &bad);
    json_raw(out, many ? "{" : "");
    for (size_t i = 0, strings = 0; i < n / 2; i++, strings++) {
        size_t len = 0;
        for (; i < n / 2 && le16(b, 2 * i); i++)
            if (len < TEXT_SHOWN)
                units[len++] = le16(b, 2 * i);
        if (many && !len)
            break;
        text_from_utf16(units, len, text, sizeof text);
        json_raw(out, strings ? ", \"" : "\"");
        put_line(out, text);
        json_raw(out, "\"");
        if (!many)
            break;
    }
    json_raw(out, many ? "}" : n < 2 ? "\"\"" : "");
}

static void put_value(struct json_out *out, const struct change_state *s)
{
    if (s->type == PREPARE_DWORD && s->n == 4) {
        struct bad bad = { 0 };
        json_number(out, le32(bytes_of(s->bytes, s->n, 0, &bad), 0));
    } else if (s->type == PREPARE_SZ || s->type == PREPARE_EXPAND_SZ || s->type == PREPARE_MULTI_SZ) {
        put_strings(out, s->bytes, s->n, s->type == PREPARE_MULTI_SZ);
    } else {
        put_hex(out, s->bytes, s->n);
    }
}

static void put_state(struct json_out *out, const struct change *c, const struct change_state *s)
{
    if (!s->there) {
        json_raw(out, "(absent)");
    } else if (c->kind == CHANGE_VALUE) {
        put_value(out, s);
    } else if (change_is_registry(c->kind)) {
        json_raw(out, "key");
    } else if (S_ISDIR(s->type)) {
        json_raw(out, "directory");
    } else if (S_ISLNK(s->type)) {
        json_raw(out, "link to ");
        put_line(out, s->bytes ? (const char *)s->bytes : "");
    } else {
        json_number(out, s->size);
        json_raw(out, " bytes");
    }
}

static void put_change(struct json_out *out, const struct change *c)
{
    json_raw(out, change_is_registry(c->kind) ? "registry " : "file ");
    put_line(out, c->path);
    json_raw(out, " ");
    if (c->name) {
        put_line(out, c->name[0] ? c->name : "(default)");
        json_raw(out, " ");
    }
    put_state(out, c, &c->old);
    json_raw(out, " -> ");
    put_state(out, c, &c->new);
    json_raw(out, "  # ");
    put_line(out, c->reason);
    json_raw(out, "\n");
}

void changes_print(const struct changes *c, struct json_out *out)
{
    if (c->blocked) {
        json_raw(out, "BLOCKED: ");
        put_line(out, c->blocked);
        json_raw(out, "\n");
        return;
    }
    if (!c->n)
        json_raw(out, "nothing to do\n");
    for (size_t i = 0; i < c->n; i++)
        put_change(out, &c->list[i]);
    for (size_t i = 0; c->n && i < c->n_notes; i++) {
        json_raw(out, "note: ");
        put_line(out, c->notes[i]);
        json_raw(out, "\n");
    }
}

static void put_json_state(struct json_out *out, const struct change *c, const struct change_state *s)
{
    struct json_out text = { 0 };
    if (!s->there) {
        json_raw(out, "null");
        return;
    }
    put_state(&text, c, s);
    json_quote(out, text.text ? text.text : "");
    out->failed = out->failed || text.failed;
    json_out_done(&text);
}

void changes_json(const struct changes *c, const char *target, bool *first, struct json_out *out)
{
    for (size_t i = 0; i < c->n; i++) {
        const struct change *one = &c->list[i];
        json_raw(out, *first ? "    { " : ",\n    { ");
        *first = false;
        if (target) {
            json_key(out, "target");
            json_quote(out, target);
            json_raw(out, ", ");
        }
        json_key(out, change_is_registry(one->kind) ? "key" : "file");
        json_quote(out, one->path);
        if (one->name) {
            json_raw(out, ", ");
            json_key(out, "name");
            json_quote(out, one->name);
        }
        json_raw(out, ",\n      ");
        json_key(out, "old");
        put_json_state(out, one, &one->old);
        json_raw(out, ", ");
        json_key(out, "new");
        put_json_state(out, one, &one->new);
        json_raw(out, ", ");
        json_key(out, "reason");
        json_quote(out, one->reason);
        json_raw(out, " }");
    }
}
