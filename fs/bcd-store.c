/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The layout of the store: Objects\{guid}\Description has the value Type, Objects\{guid}\Elements\XXXXXXXX
 * the value Element. And what devices refer to: the partitions of this machine. */
#include "bcd-store.h"

#include "../formats/bytes.h"
#include "../formats/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REG_DWORD = 4, MAX_VALUE = 1 << 20, NAME_UNITS = 64 };

/* ---- the hive ---- */

static struct hive_name ascii(const char *text, uint16_t units[NAME_UNITS])
{
    size_t n = 0;
    for (; text[n] && n < NAME_UNITS; n++)
        units[n] = (uint8_t)text[n];
    return (struct hive_name){ units, n };
}

static int find_key(const struct bcd_at *at, uint32_t parent, const char *name, uint32_t *ret)
{
    uint16_t units[NAME_UNITS];
    return hive_find_key(at->h->hive, parent, ascii(name, units), ret);
}

static int find_or_add(const struct bcd_at *at, uint32_t parent, const char *name, uint32_t *ret)
{
    uint16_t units[NAME_UNITS];
    int r = find_key(at, parent, name, ret);
    return r == -ENOENT ? hive_add_key(at->h->hive, parent, ascii(name, units), hives_now(), ret) : r;
}

static int set_value(const struct bcd_at *at, uint32_t key, const char *name, uint32_t type, const void *data,
                     size_t n)
{
    uint16_t units[NAME_UNITS];
    uint32_t value;
    return hive_set_value(at->h->hive, key, ascii(name, units), type, data, n, hives_now(), &value);
}

static int get_value(const struct bcd_at *at, uint32_t key, const char *name, struct bcd_bytes *ret)
{
    uint16_t units[NAME_UNITS];
    struct hive_value v;
    uint32_t cell;
    int r = hive_find_value(at->h->hive, key, ascii(name, units), &cell);
    if (!r)
        r = hive_value(at->h->hive, cell, &v);
    if (!r && v.length > MAX_VALUE)
        r = -EFBIG;
    if (r < 0)
        return r;
    *ret = (struct bcd_bytes){ .reg_type = v.type, .n = v.length, .data = malloc(v.length + 1) };
    if (!ret->data)
        return -ENOMEM;
    r = hive_value_data(at->h->hive, cell, ret->data, v.length, 0);
    if (r < 0)
        free(ret->data);
    return r;
}

bool bcd_present(struct ferry *f)
{
    return hives_nth(f, HIVE_BCD, 0) != NULL;
}

int bcd_begin(struct ferry *f, bool write, struct bcd_at *ret)
{
    struct reg_hive *h = hives_nth(f, HIVE_BCD, 0);
    if (!h)
        return -ENOENT;
    int r = write ? hives_write(f, h) : hives_read(f, h);
    if (r < 0)
        return r;
    *ret = (struct bcd_at){ .ferry = f, .h = h };
    r = find_key(ret, hive_root(h->hive), "Objects", &ret->objects);
    if (r < 0)
        hives_done(h);
    return r == -ENOENT ? -EUCLEAN : r;
}

void bcd_end(struct bcd_at *at)
{
    hives_done(at->h);
}

/* The n-th subkey from *i on whose name fills the buffer's text; *i goes behind it. */
struct nth {
    const struct hive *hive;
    size_t at;
    char *text;
    size_t size;
    bool found;
};

static int take_name(void *ctx, uint32_t index, uint32_t cell)
{
    struct nth *n = ctx;
    uint16_t units[NAME_UNITS];
    size_t len;
    n->at = (size_t)index + 1;
    if (hive_key_name(n->hive, cell, units, NAME_UNITS, &len) < 0 || len >= n->size || len > NAME_UNITS)
        return 0;
    for (size_t i = 0; i < len; i++) {
        if (units[i] >= 128 || !units[i])
            return 0;
        n->text[i] = (char)units[i];
    }
    n->text[len] = 0;
    n->found = true;
    return 1;
}

static bool next_name(const struct bcd_at *at, uint32_t parent, size_t *i, char *text, size_t size)
{
    struct nth n = { .hive = at->h->hive, .at = *i, .text = text, .size = size };
    hive_subkeys(at->h->hive, parent, (uint32_t)*i, take_name, &n, NULL);
    *i = n.at;
    return n.found;
}

/* ---- objects ---- */

static void object_name(const uint8_t guid[16], char ret[GUID_TEXT + 3])
{
    ret[0] = '{';
    guid_to_text(guid, ret + 1);
    strcpy(ret + 1 + GUID_TEXT, "}");
}

int bcd_object(const struct bcd_at *at, const uint8_t guid[16], uint32_t *ret_key)
{
    char name[GUID_TEXT + 3];
    object_name(guid, name);
    return find_key(at, at->objects, name, ret_key);
}

uint32_t bcd_object_type(const struct bcd_at *at, uint32_t object)
{
    struct bcd_bytes v;
    uint32_t description, type = 0;
    if (find_key(at, object, "Description", &description) < 0 || get_value(at, description, "Type", &v) < 0)
        return 0;
    if (v.n >= 4)
        type = (uint32_t)v.data[0] | (uint32_t)v.data[1] << 8 | (uint32_t)v.data[2] << 16 |
               (uint32_t)v.data[3] << 24;
    free(v.data);
    return type;
}

int bcd_set_object_type(const struct bcd_at *at, uint32_t object, uint32_t type)
{
    uint32_t description;
    uint8_t data[4];
    put_le32(data, type);
    int r = find_or_add(at, object, "Description", &description);
    return r < 0 ? r : set_value(at, description, "Type", REG_DWORD, data, sizeof data);
}

int bcd_object_create(const struct bcd_at *at, const uint8_t guid[16], uint32_t type)
{
    char name[GUID_TEXT + 3];
    uint16_t units[NAME_UNITS];
    uint32_t object, elements;
    object_name(guid, name);
    int r = hive_savepoint(at->h->hive);
    if (r < 0)
        return r;
    r = hive_add_key(at->h->hive, at->objects, ascii(name, units), hives_now(), &object);
    if (!r)
        r = bcd_set_object_type(at, object, type);
    if (!r)
        r = find_or_add(at, object, "Elements", &elements);
    if (r < 0)
        hive_rollback(at->h->hive);
    else
        hive_release(at->h->hive);
    return r;
}

int bcd_object_delete(const struct bcd_at *at, const uint8_t guid[16])
{
    uint32_t object;
    int r = bcd_object(at, guid, &object);
    if (r < 0)
        return r;
    hives_tree_gone(at->h, object);
    return hive_delete_key(at->h->hive, object, true, hives_now());
}

int bcd_object_rename(const struct bcd_at *at, const uint8_t guid[16], const uint8_t to[16])
{
    char name[GUID_TEXT + 3];
    uint16_t units[NAME_UNITS];
    uint32_t object;
    int r = bcd_object(at, guid, &object);
    object_name(to, name);
    return r < 0 ? r : hive_move_key(at->h->hive, object, at->objects, ascii(name, units), hives_now(), NULL);
}

bool bcd_object_at(const struct bcd_at *at, size_t *i, uint8_t ret[16])
{
    char name[NAME_UNITS + 1];
    while (next_name(at, at->objects, i, name, sizeof name))
        if (guid_from_text(name, strlen(name), ret))
            return true;
    return false;
}

/* The first object that a value of one or many names. */
static bool first_object(const struct bcd_bytes *v, uint8_t ret[16])
{
    char text[GUID_TEXT + 3];
    size_t n = 0;
    while (2 * n + 1 < v->n && n < sizeof text && (v->data[2 * n] || v->data[2 * n + 1])) {
        text[n] = v->data[2 * n + 1] ? '?' : (char)v->data[2 * n];
        n++;
    }
    return n < sizeof text && guid_from_text(text, n, ret);
}

bool bcd_default(const struct bcd_at *at, uint8_t ret[16])
{
    static const uint32_t from[] = { 0x23000003, 0x24000001 }; /* default, displayorder */
    uint8_t bootmgr[16];
    uint32_t object;
    if (!bcd_alias_guid("bootmgr", 7, bootmgr) || bcd_object(at, bootmgr, &object) < 0)
        return false;
    for (size_t i = 0; i < 2; i++) {
        struct bcd_bytes v;
        if (bcd_element(at, object, from[i], &v) < 0)
            continue;
        bool found = first_object(&v, ret);
        free(v.data);
        if (found)
            return true;
    }
    return false;
}

/* ---- elements ---- */

static void element_name(uint32_t element, char ret[9])
{
    snprintf(ret, 9, "%08x", element);
}

static int find_element(const struct bcd_at *at, uint32_t object, uint32_t element, uint32_t *ret)
{
    char name[9];
    uint32_t elements;
    int r = find_key(at, object, "Elements", &elements);
    element_name(element, name);
    return r < 0 ? r : find_key(at, elements, name, ret);
}

int bcd_element(const struct bcd_at *at, uint32_t object, uint32_t element, struct bcd_bytes *ret)
{
    uint32_t key;
    int r = find_element(at, object, element, &key);
    return r < 0 ? r : get_value(at, key, "Element", ret);
}

int bcd_element_set(const struct bcd_at *at, uint32_t object, uint32_t element, const struct bcd_bytes *value)
{
    char name[9];
    uint32_t elements, key;
    element_name(element, name);
    int r = hive_savepoint(at->h->hive);
    if (r < 0)
        return r;
    r = find_or_add(at, object, "Elements", &elements);
    if (!r)
        r = find_or_add(at, elements, name, &key);
    if (!r)
        r = set_value(at, key, "Element", value->reg_type, value->data, value->n);
    if (r < 0)
        hive_rollback(at->h->hive);
    else
        hive_release(at->h->hive);
    return r;
}

int bcd_element_delete(const struct bcd_at *at, uint32_t object, uint32_t element)
{
    uint32_t key;
    int r = find_element(at, object, element, &key);
    if (r < 0)
        return r;
    hives_tree_gone(at->h, key);
    return hive_delete_key(at->h->hive, key, true, hives_now());
}

bool bcd_element_at(const struct bcd_at *at, uint32_t object, size_t *i, uint32_t *ret)
{
    char name[NAME_UNITS + 1], *end;
    uint32_t elements;
    if (find_key(at, object, "Elements", &elements) < 0)
        return false;
    while (next_name(at, elements, i, name, sizeof name)) {
        *ret = (uint32_t)strtoul(name, &end, 16);
        if (strlen(name) == 8 && !*end && strspn(name, "0123456789abcdefABCDEF") == 8)
            return true;
    }
    return false;
}

/* ---- devices ---- */

static bool is_partition(const struct guest_volume *v, const struct partition_table *t,
                         const struct bcd_partition *p)
{
    if (!v->partition || !t)
        return false;
    if (t->kind == TABLE_GPT)
        return p->gpt && !memcmp(t->disk_guid, p->disk_guid, 16) && !memcmp(v->partition->guid, p->guid, 16);
    return t->kind == TABLE_MBR && !p->gpt && t->mbr_signature == p->signature && v->start == p->offset;
}

static bool partition_name(void *ctx, const struct bcd_partition *p, char *buf, size_t size)
{
    const struct guest *g = ((const struct bcd_at *)ctx)->ferry->guest;
    for (size_t i = 0; g && i < g->n_volumes; i++) {
        const struct guest_volume *v = &g->volumes[i];
        if (is_partition(v, g->disks[v->disk].table, p)) {
            snprintf(buf, size, "%s", v->name);
            return true;
        }
    }
    return false;
}

static bool partition_find(void *ctx, const char *name, struct bcd_partition *ret)
{
    const struct guest *g = ((const struct bcd_at *)ctx)->ferry->guest;
    for (size_t i = 0; g && i < g->n_volumes; i++) {
        const struct guest_volume *v = &g->volumes[i];
        const struct partition_table *t = g->disks[v->disk].table;
        if (strcmp(v->name, name) != 0 || !v->partition || !t)
            continue;
        *ret = (struct bcd_partition){ .gpt = t->kind == TABLE_GPT,
                                       .signature = t->mbr_signature,
                                       .offset = v->start };
        memcpy(ret->disk_guid, t->disk_guid, 16);
        memcpy(ret->guid, v->partition->guid, 16);
        return true;
    }
    return false;
}

static struct bcd_context context_of(const struct bcd_at *at, uint8_t default_object[16])
{
    return (struct bcd_context){
        .ctx = (void *)(uintptr_t)at,
        .name = partition_name,
        .find = partition_find,
        .default_object = bcd_default(at, default_object) ? default_object : NULL,
    };
}

int bcd_element_text(const struct bcd_at *at, uint32_t object, uint32_t element, char **ret)
{
    uint8_t guid[16];
    struct bcd_bytes v;
    int r = bcd_element(at, object, element, &v);
    if (r < 0)
        return r;
    struct bcd_context c = context_of(at, guid);
    r = bcd_to_text(bcd_object_type(at, object), element, v.reg_type, v.data, v.n, &c, ret);
    free(v.data);
    return r == -EINVAL ? -EUCLEAN : r; /* its registry type isn't that of its number */
}

int bcd_element_check_text(const struct bcd_at *at, uint32_t object, uint32_t element, const char *text,
                           size_t n)
{
    uint8_t guid[16];
    struct bcd_bytes v;
    struct bcd_context c = context_of(at, guid);
    int r = bcd_from_text(bcd_object_type(at, object), element, text, n, NULL, &c, &v);
    if (!r)
        free(v.data);
    return r == -ENOENT ? -EINVAL : r;
}

int bcd_element_set_text(const struct bcd_at *at, uint32_t object, uint32_t element, const char *text,
                         size_t n)
{
    uint8_t guid[16];
    struct bcd_bytes was = { 0 }, v;
    bool had = bcd_element(at, object, element, &was) == 0;
    struct bcd_context c = context_of(at, guid);
    int r = bcd_from_text(bcd_object_type(at, object), element, text, n, had ? &was : NULL, &c, &v);
    if (!r) {
        bool same = had && v.n == was.n && v.reg_type == was.reg_type && !memcmp(v.data, was.data, v.n);
        r = same ? 0 : bcd_element_set(at, object, element, &v);
        free(v.data);
    }
    if (had)
        free(was.data);
    return r == -ENOENT ? -EINVAL : r; /* of something that it names: not of the file */
}
