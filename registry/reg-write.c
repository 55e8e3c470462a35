/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A walk over the keys whose state is kept between calls: the children that are still to come at each level,
 * the values of the key at hand, and how far a value in hex has come. Each step adds a little to a buffer
 * that reads are served from. */
#include "reg-write-impl.h"

#include "../formats/bytes.h"
#include "../formats/cleanup.h"
#include "names.h"
#include "utf.h"
#include "value-text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CHUNK = 1 << 14,    /* bytes of a value written in one step */
    TEXT_MAX = 1 << 20, /* a longer text is written in hex, which needs no memory */
    HEX_COLUMN = 77,    /* where regedit breaks a line, once it has come so far */
};

int reg_writer_new(struct reg_writer **ret)
{
    struct reg_writer *w = calloc(1, sizeof *w);
    if (w)
        w->levels = calloc(REG_DEPTH_MAX, sizeof *w->levels);
    if (!w || !w->levels) {
        free(w);
        return -ENOMEM;
    }
    *ret = w;
    return 0;
}

void reg_cells_done(struct reg_cells *c)
{
    free(c->at);
    *c = (struct reg_cells){ 0 };
}

void reg_writer_free(struct reg_writer *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < w->depth; i++)
        reg_cells_done(&w->levels[i].keys);
    reg_cells_done(&w->values);
    free(w->levels);
    free(w->path);
    free(w->out);
    free(w);
}

/* ---- the buffer ---- */

static uint8_t *reserve(struct reg_writer *w, size_t units)
{
    if (2 * units > w->out_room - w->out_n) {
        size_t room = w->out_room + 2 * units + 4096;
        uint8_t *out = realloc(w->out, room);
        if (!out) {
            w->failed = true;
            return NULL;
        }
        w->out = out;
        w->out_room = room;
    }
    return w->out + w->out_n;
}

void reg_put_ascii(struct reg_writer *w, const char *text)
{
    size_t n = strlen(text);
    uint8_t *p = reserve(w, n);
    if (!p)
        return;
    for (size_t i = 0; i < n; i++) {
        p[2 * i] = (uint8_t)text[i];
        p[2 * i + 1] = 0;
    }
    w->out_n += 2 * n;
}

void reg_put_units(struct reg_writer *w, const uint16_t *units, size_t n)
{
    uint8_t *p = reserve(w, n);
    if (!p)
        return;
    for (size_t i = 0; i < n; i++)
        put_le16(p + 2 * i, units[i]);
    w->out_n += 2 * n;
}

/* In quotes. Gives the columns that it took. */
static size_t put_quoted(struct reg_writer *w, const uint8_t *data, size_t units)
{
    uint8_t *p = reserve(w, 2 * units + 2), *begin = p;
    if (!p)
        return 0;
    put_le16(p, '"');
    p += 2;
    for (size_t i = 0; i < units; i++) {
        bool escape = !data[2 * i + 1] && (data[2 * i] == '"' || data[2 * i] == '\\');
        if (escape) {
            put_le16(p, '\\');
            p += 2;
        }
        memcpy(p, data + 2 * i, 2);
        p += 2;
    }
    put_le16(p, '"');
    p += 2;
    w->out_n += (size_t)(p - begin);
    return (size_t)(p - begin) / 2;
}

/* ---- cells ---- */

static int collect(void *ctx, uint32_t index, uint32_t cell)
{
    struct reg_cells *c = ctx;
    (void)index;
    if (c->n == c->room) {
        size_t room = c->room ? 2 * c->room : 16;
        uint32_t *at = realloc(c->at, room * sizeof *at);
        if (!at) {
            c->next = SIZE_MAX;
            return 1;
        }
        c->at = at;
        c->room = room;
    }
    c->at[c->n++] = cell;
    return 0;
}

int reg_cells_list(int (*each)(const struct hive *, uint32_t, uint32_t, hive_each, void *, unsigned *),
                   const struct hive *h, uint32_t key, struct reg_cells *c, unsigned *ret_damaged)
{
    c->n = c->next = 0;
    *ret_damaged = 0;
    int r = each(h, key, 0, collect, c, ret_damaged);
    if (r == -EUCLEAN) {
        *ret_damaged = 1;
        r = 0;
    }
    return c->next ? -ENOMEM : r;
}

/* ---- keys ---- */

bool reg_set_path(struct reg_writer *w, size_t at, const uint16_t *units, size_t n, bool separator)
{
    size_t want = at + separator + n;
    if (want > w->path_room) {
        uint16_t *path = realloc(w->path, (want + 256) * sizeof *path);
        if (!path)
            return false;
        w->path = path;
        w->path_room = want + 256;
    }
    if (separator)
        w->path[at++] = '\\';
    if (n)
        memcpy(w->path + at, units, n * sizeof *units);
    w->path_n = at + n;
    return true;
}

void reg_put_header(struct reg_writer *w)
{
    static const uint16_t bom = 0xfeff;
    if (w->begun)
        return;
    reg_put_units(w, &bom, 1);
    reg_put_ascii(w, "Windows Registry Editor Version 5.00\r\n\r\n");
    w->begun = true;
}

int reg_writer_begin(struct reg_writer *w, struct hive_name path, uint32_t root)
{
    reg_put_header(w);
    w->key = root;
    w->pending = true;
    return reg_set_path(w, 0, path.units, path.n, false) && !w->failed ? 0 : -ENOMEM;
}

bool reg_key_unwritable(const uint16_t *units, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (units[i] == '\n' || units[i] == '\r' || units[i] == '\\')
            return true;
    return false;
}

/* A line for people about what isn't here. */
void reg_put_comment(struct reg_writer *w, const char *what, struct hive_name name)
{
    char *text = reg_whole_name(name, true);
    reg_put_ascii(w, what);
    for (char *p = text; p && *p; p++) {
        char c[2] = { (uint8_t)*p < 0x20 || (uint8_t)*p > 0x7e ? '?' : *p, 0 };
        reg_put_ascii(w, c);
    }
    reg_put_ascii(w, "\r\n");
    free(text);
}

static int begin_key(struct reg_writer *w, const struct hive *h)
{
    unsigned damaged;
    w->pending = false;
    w->in_key = true;
    reg_put_ascii(w, "[");
    reg_put_units(w, w->path, w->path_n);
    reg_put_ascii(w, "]\r\n");
    int r = reg_cells_list(hive_values, h, w->key, &w->values, &damaged);
    if (damaged)
        reg_put_comment(w, "; values that can't be read, since the hive is damaged, are left out of ",
                        (struct hive_name){ w->path, w->path_n });
    return r;
}

/* After the values: goes down to the subkeys. */
static int end_key(struct reg_writer *w, const struct hive *h)
{
    unsigned damaged;
    w->in_key = false;
    reg_put_ascii(w, "\r\n");
    if (w->depth >= REG_DEPTH_MAX)
        return 0;
    struct reg_level *l = &w->levels[w->depth];
    *l = (struct reg_level){ .path_n = w->path_n };
    w->depth++;
    int r = reg_cells_list(hive_subkeys, h, w->key, &l->keys, &damaged);
    if (damaged)
        reg_put_comment(w, "; subkeys that can't be read, since the hive is damaged, are left out of ",
                        (struct hive_name){ w->path, w->path_n });
    return r;
}

/* The next key of the walk: pending, or nothing is left. A key that is gone by now is passed over. */
static int next_key(struct reg_writer *w, const struct hive *h)
{
    uint16_t name[HIVE_KEY_NAME_MAX + 1];
    while (w->depth) {
        struct reg_level *l = &w->levels[w->depth - 1];
        if (l->keys.next == l->keys.n) {
            reg_cells_done(&l->keys);
            w->depth--;
            continue;
        }
        uint32_t key = l->keys.at[l->keys.next++];
        size_t n = 0;
        int r = hive_key_name(h, key, name, HIVE_KEY_NAME_MAX + 1, &n);
        if (r == -EUCLEAN || r == -ENOENT)
            continue;
        if (r < 0)
            return r;
        if (n > HIVE_KEY_NAME_MAX || reg_key_unwritable(name, n)) {
            reg_put_comment(w, "; left out, since its name can't be written here: the key ",
                            (struct hive_name){ name, n > HIVE_KEY_NAME_MAX ? HIVE_KEY_NAME_MAX : n });
            continue;
        }
        w->key = key;
        w->pending = true;
        return reg_set_path(w, l->path_n, name, n, true) ? 0 : -ENOMEM;
    }
    return 0;
}

/* ---- values ---- */

static int put_text(struct reg_writer *w, const struct hive *h, const struct hive_value *v, bool *ret_done)
{
    size_t size;
    *ret_done = false;
    if (v->type != VALUE_SZ || v->length > TEXT_MAX)
        return 0;
    _cleanup_free_ uint8_t *data = malloc(v->length + 1);
    if (!data)
        return -ENOMEM;
    int r = hive_value_data(h, w->value, data, v->length, 0);
    if (!r && value_text_size(VALUE_SZ, data, v->length, &size) == 0) {
        put_quoted(w, data, v->length / 2 - 1);
        reg_put_ascii(w, "\r\n");
        *ret_done = true;
    }
    return r;
}

static int put_dword(struct reg_writer *w, const struct hive *h)
{
    uint8_t data[4];
    char text[24];
    struct bad bad = { 0 };
    int r = hive_value_data(h, w->value, data, 4, 0);
    if (r < 0)
        return r;
    snprintf(text, sizeof text, "dword:%08x\r\n", (unsigned)le32(bytes_of(data, 4, 0, &bad), 0));
    reg_put_ascii(w, text);
    return 0;
}

size_t reg_put_value_name(struct reg_writer *w, const uint16_t *units, size_t n)
{
    if (!n) {
        reg_put_ascii(w, "@=");
        return 2;
    }
    _cleanup_free_ uint8_t *bytes = malloc(2 * n);
    if (!bytes) {
        w->failed = true;
        return 0;
    }
    for (size_t i = 0; i < n; i++)
        put_le16(bytes + 2 * i, units[i]);
    size_t columns = put_quoted(w, bytes, n);
    reg_put_ascii(w, "=");
    return columns + 1;
}

static int begin_value(struct reg_writer *w, const struct hive *h)
{
    struct hive_value v;
    size_t n = 0;
    int r = hive_value(h, w->value, &v);
    if (r < 0)
        return r;
    _cleanup_free_ uint16_t *name = malloc((v.name_units + 1) * sizeof *name);
    if (!name)
        return -ENOMEM;
    uint8_t probe;
    r = hive_value_name(h, w->value, name, v.name_units, &n);
    if (!r && v.length) /* damage of the data is seen before anything is written, as far as it can be */
        r = hive_value_data(h, w->value, &probe, 1, v.length - 1);
    if (r < 0)
        return r;
    bool done = false;
    size_t rewind = w->out_n;
    w->column = reg_put_value_name(w, name, n < v.name_units ? n : v.name_units);
    if (v.type == VALUE_DWORD && v.length == 4) {
        r = put_dword(w, h);
        done = true;
    } else {
        r = put_text(w, h, &v, &done);
    }
    if (r < 0)
        w->out_n = rewind;
    if (r < 0 || done)
        return r;
    char prefix[24];
    if (v.type == VALUE_BINARY)
        snprintf(prefix, sizeof prefix, "hex:");
    else
        snprintf(prefix, sizeof prefix, "hex(%x):", (unsigned)v.type);
    reg_put_ascii(w, prefix);
    w->column += strlen(prefix);
    w->offset = 0;
    w->length = v.length;
    w->in_value = true;
    return 0;
}

int reg_put_more_hex(struct reg_writer *w, const struct hive *h)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t data[CHUNK];
    size_t n = w->length - w->offset < CHUNK ? w->length - w->offset : CHUNK;
    struct hive_value v;
    int r = hive_value(h, w->value, &v);
    if (!r && v.length != w->length)
        r = -EIO; /* it changed, and half of it is written */
    if (!r)
        r = hive_value_data(h, w->value, data, n, w->offset);
    if (r < 0)
        return r == -EUCLEAN || r == -ENOENT ? -EIO : r;
    uint8_t *p = reserve(w, 4 * n + 8), *begin = p;
    if (!p)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        put_le16(p, (uint16_t)digits[data[i] >> 4]);
        put_le16(p + 2, (uint16_t)digits[data[i] & 15]);
        p += 4;
        if (w->offset + i + 1 == w->length)
            break;
        put_le16(p, ',');
        p += 2;
        w->column += 3;
        if (w->column >= HEX_COLUMN) {
            static const uint8_t next[] = { '\\', 0, '\r', 0, '\n', 0, ' ', 0, ' ', 0 };
            memcpy(p, next, sizeof next);
            p += sizeof next;
            w->column = 2;
        }
    }
    w->out_n += (size_t)(p - begin);
    w->offset += n;
    if (w->offset == w->length) {
        reg_put_ascii(w, "\r\n");
        w->in_value = false;
    }
    return 0;
}

int reg_put_value(struct reg_writer *w, const struct hive *h)
{
    int r = begin_value(w, h);
    if (r == -EUCLEAN || r == -ENOENT) {
        reg_put_comment(w, "; a value that can't be read, since the hive is damaged, is left out of ",
                        (struct hive_name){ w->path, w->path_n });
        return 0;
    }
    return r;
}

static int next_value(struct reg_writer *w, const struct hive *h)
{
    w->value = w->values.at[w->values.next++];
    return reg_put_value(w, h);
}

/* A little more text; false in *ret_more: there is none. */
static int step(struct reg_writer *w, const struct hive *h, bool *ret_more)
{
    *ret_more = true;
    if (w->in_value)
        return reg_put_more_hex(w, h);
    if (w->in_key)
        return w->values.next < w->values.n ? next_value(w, h) : end_key(w, h);
    if (w->pending)
        return begin_key(w, h);
    int r = next_key(w, h);
    *ret_more = w->pending;
    return r;
}

void reg_out_begin(struct reg_writer *w)
{
    if (w->out_at)
        memmove(w->out, w->out + w->out_at, w->out_n - w->out_at);
    w->out_n -= w->out_at;
    w->out_at = 0;
}

size_t reg_out_take(struct reg_writer *w, void *buf, size_t len)
{
    size_t n = w->out_n < len ? w->out_n : len;
    if (n)
        memcpy(buf, w->out, n);
    w->out_at = n;
    return n;
}

int reg_writer_read(struct reg_writer *w, const struct hive *h, void *buf, size_t len, size_t *ret_len)
{
    bool more = true;
    reg_out_begin(w);
    while (w->out_n < len && more) {
        int r = step(w, h, &more);
        if (!r && w->failed)
            r = -ENOMEM;
        if (r < 0)
            return r;
    }
    *ret_len = reg_out_take(w, buf, len);
    return 0;
}
