/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What INFs do to the registry. Fields are counted strictly: a line of viostor.inf with one comma less than
 * meant makes a value with the name "0x00000010", in Windows too.
 *
 *     AddReg   root,[subkey],[value],[flags],[data...]
 *     DelReg   root,[subkey],[value],[flags],[texts...]    no value: the key; texts: those of a list
 *     BitReg   root,[subkey],[value],[flags],mask,byte     flags 1: set, 0: clear
 *
 * Of a section Windows makes the deletions first, then what is added, then bits. Source: Microsoft's INF
 * reference. */
#include "driver-impl.h"
#include "text.h"

#include "../formats/bytes.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum {
    FLAG_BINARY = 0x00000001,
    FLAG_APPEND = 0x00000008,
    FLAG_MULTI_SZ = 0x00010000,
    FLAG_EXPAND_SZ = 0x00020000,
    FLAG_DWORD = 0x00010001,
    FLAG_NONE = 0x00020001,
    FLAG_TYPE = 0xffff0001,
    FLAG_DELETE_KEY = 0x00002000,
    FLAG_VIEW_32 = 0x00004000,
    FLAG_DELREG = 0x00008000, /* an AddReg line that is to be read as one of DelReg */
    FLAG_DELETE_TEXTS = 0x00018002,
    FLAG_SET_BITS = 0x00000001,
};

static int bad_line(struct planner *p, const struct inf_line *l, const char *what)
{
    return fault_in(p->fault, -EUCLEAN, inf_name(p->inf), "line %u: %s", l->line, what);
}

/* Appends the text in UTF-16 with its terminator. */
static int put_text(struct planner *p, struct driver_value *v, const char *text)
{
    size_t room = strlen(text) + 1;
    if (!driver_charge(p, 2 * room, 1, v->line))
        return -EFBIG;
    uint16_t *units = malloc(room * sizeof *units);
    uint8_t *grown = units ? realloc(v->bytes, v->n + 2 * room) : NULL;
    if (!grown) {
        free(units);
        return driver_no_memory(p);
    }
    v->bytes = grown;
    int n = text_to_utf16(text, units, room);
    for (int i = 0; i < n; i++)
        put_le16(v->bytes + v->n + 2 * (size_t)i, units[i]);
    free(units);
    if (n < 0)
        return driver_no_memory(p); /* our own UTF-8: it can't be */
    put_le16(v->bytes + v->n + 2 * (size_t)n, 0);
    v->n += 2 * (size_t)n + 2;
    return 0;
}

static int put_texts(struct planner *p, struct driver_value *v, const struct inf_line *l)
{
    for (unsigned i = 4; i < l->n || i == 4; i++) {
        const char *text = driver_expand_dirs(p, inf_text(l, i));
        if (!text)
            return driver_no_memory(p);
        if (v->type == DRIVER_REG_MULTI_SZ && !*text)
            continue; /* an empty one would end the list */
        int r = put_text(p, v, text);
        if (r || v->type != DRIVER_REG_MULTI_SZ)
            return r;
    }
    return put_text(p, v, "");
}

/* Bytes are hexadecimal, with or without 0x. */
static bool byte_of(const char *text, uint8_t *ret)
{
    char *end;
    if (!isxdigit((unsigned char)*text))
        return false;
    unsigned long n = strtoul(text, &end, 16);
    *ret = (uint8_t)n;
    return !*end && n < 256;
}

static int put_bytes(struct planner *p, struct driver_value *v, const struct inf_line *l)
{
    if (!driver_charge(p, l->n + 8, l->n / 16, l->line))
        return -EFBIG;
    v->bytes = malloc(l->n + 8);
    if (!v->bytes)
        return driver_no_memory(p);
    for (unsigned i = 4; i < l->n; i++) {
        if (i + 1 == l->n && !*inf_text(l, i))
            break; /* a comma at the end */
        if (!byte_of(inf_text(l, i), &v->bytes[v->n++]))
            return bad_line(p, l, "what should be a byte in hexadecimal is none");
    }
    return 0;
}

/* One number, or four bytes. */
static int put_dword(struct planner *p, struct driver_value *v, const struct inf_line *l)
{
    uint32_t n;
    if (l->n > 5)
        return put_bytes(p, v, l);
    v->bytes = malloc(4);
    if (!v->bytes)
        return driver_no_memory(p);
    if (!driver_number(inf_text(l, 4), &n))
        return bad_line(p, l, "what should be a number is none");
    put_le32(v->bytes, n);
    v->n = 4;
    return 0;
}

static int put_data(struct planner *p, struct driver_value *v, const struct inf_line *l, uint32_t flags)
{
    switch (flags & FLAG_TYPE) {
    case 0:
        v->type = DRIVER_REG_SZ;
        return put_texts(p, v, l);
    case FLAG_MULTI_SZ:
        v->type = DRIVER_REG_MULTI_SZ;
        return put_texts(p, v, l);
    case FLAG_EXPAND_SZ:
        v->type = DRIVER_REG_EXPAND_SZ;
        return put_texts(p, v, l);
    case FLAG_DWORD:
        v->type = DRIVER_REG_DWORD;
        return put_dword(p, v, l);
    case FLAG_BINARY:
        v->type = DRIVER_REG_BINARY;
        return put_bytes(p, v, l);
    case FLAG_NONE:
        v->type = DRIVER_REG_NONE;
        return put_bytes(p, v, l);
    default:
        if (!(flags & FLAG_BINARY))
            return bad_line(p, l, "flags of a type that there isn't");
        v->type = flags >> 16;
        return put_bytes(p, v, l);
    }
}

/* What lines of all three have: root, key, name and flags. */
static int begin_value(struct planner *p, const struct inf_line *l, struct driver_value *v,
                       uint32_t *ret_flags)
{
    static const char *const roots[] = { "HKR", "HKLM", "HKCR", "HKCU", "HKU" };
    *v = (struct driver_value){
        .inf = p->inf, .line = l->line, .key = inf_text(l, 1), .name = inf_text(l, 2)
    };
    for (size_t i = 0; i < sizeof roots / sizeof roots[0]; i++)
        if (!strcasecmp(roots[i], inf_text(l, 0)))
            v->root = roots[i];
    if (!v->root)
        return bad_line(p, l, "neither HKR nor another root of the registry");
    if (!driver_number(inf_text(l, 3), ret_flags))
        return bad_line(p, l, "flags that are no number");
    v->view_32 = *ret_flags & FLAG_VIEW_32;
    return 0;
}

/* Without a value's name the key is meant. */
static int read_delete(struct planner *p, const struct inf_line *l, uint32_t flags, struct driver_value *v)
{
    v->op = DRIVER_DELETE;
    v->all_of_key = !*v->name || flags & FLAG_DELETE_KEY;
    if (v->all_of_key || (flags & FLAG_DELETE_TEXTS) != FLAG_DELETE_TEXTS)
        return 0;
    v->op = DRIVER_DELETE_TEXTS;
    v->type = DRIVER_REG_MULTI_SZ;
    return put_texts(p, v, l);
}

static int read_add(struct planner *p, const struct inf_line *l, uint32_t flags, struct driver_value *v)
{
    if (flags & (FLAG_DELREG | DRIVER_ADD_DELETE))
        return read_delete(p, l, flags, v);
    v->flags =
        flags & (DRIVER_ADD_NOCLOBBER | DRIVER_ADD_APPEND | DRIVER_ADD_KEYONLY | DRIVER_ADD_OVERWRITEONLY);
    /* A line that ends before its value's name: the key and an empty default value, as Windows has it. */
    return v->flags & DRIVER_ADD_KEYONLY ? 0 : put_data(p, v, l, flags);
}

static int read_bits(struct planner *p, const struct inf_line *l, uint32_t flags, struct driver_value *v)
{
    v->op = flags & FLAG_SET_BITS ? DRIVER_SET_BITS : DRIVER_CLEAR_BITS;
    if (!byte_of(inf_text(l, 4), &v->mask))
        return bad_line(p, l, "what should be a byte in hexadecimal is none");
    if (!driver_number(inf_text(l, 5), &v->byte))
        return bad_line(p, l, "what should be a number is none");
    return 0;
}

typedef int (*read_line)(struct planner *p, const struct inf_line *l, uint32_t flags, struct driver_value *v);

static int add_line(struct planner *p, const struct inf_line *l, read_line read, struct driver_values *ret)
{
    struct driver_value v;
    uint32_t flags;
    int r = begin_value(p, l, &v, &flags);
    if (r)
        return r;
    void *more = driver_more(p, ret->v, &ret->n, sizeof v, l->line);
    if (!more)
        return driver_no_memory(p);
    ret->v = more;
    r = read(p, l, flags, &v);
    ret->v[ret->n++] = v;
    return r;
}

static int add_sections(struct planner *p, const struct inf_line *d, read_line read,
                        struct driver_values *ret)
{
    for (unsigned i = 0; i < d->n; i++) {
        if (!driver_charge(p, 0, 1, d->line))
            return -EFBIG;
        if (!*inf_text(d, i))
            continue;
        const struct inf_section *s = inf_section(p->inf, inf_text(d, i));
        if (!s)
            return fault_in(p->fault, -EUCLEAN, inf_name(p->inf), "line %u: there is no section [%s]",
                            d->line, inf_text(d, i));
        for (const struct inf_line *l = s->lines; l; l = l->next) {
            int r = add_line(p, l, read, ret);
            if (r)
                return r;
        }
    }
    return 0;
}

int driver_add_values(struct planner *p, const struct inf_section *section, struct driver_values *ret)
{
    static const struct {
        const char *directive;
        read_line read;
    } kinds[] = { { "DelReg", read_delete }, { "AddReg", read_add }, { "BitReg", read_bits } };
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
        for (const struct inf_line *d = inf_find(p->inf, section, kinds[k].directive); d; d = d->alike) {
            int r = add_sections(p, d, kinds[k].read, ret);
            if (r)
                return r;
        }
    return 0;
}
