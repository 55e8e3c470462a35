/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The metadata region of a VHDX: a table of 64 KiB, then the items that it names by GUID.
 *
 *     "metadata" | count | entry: GUID, offset, length, flags | ... | 64K: items, in any order and place
 *
 * Taken are the block size, the size of the disk, its logical sector size and, in a differencing disk, the
 * parent locator: a list of keys and values in UTF-16 that names the parent in up to three ways. The way
 * relative to the child is the one that survives a move to another host. An item that is required and unknown
 * is refused by its GUID; users' own items have a name space apart and say nothing of the disk.
 *
 * Source: [MS-VHDX] 2.6. */
#include "bytes.h"
#include "utf16.h"
#include "vhdx-header.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

enum {
    TABLE_LENGTH = 65536,
    TABLE_COUNT = 10,
    TABLE_ENTRIES = 32,
    TABLE_ENTRY = 32,
    TABLE_MAX = 2047,
    ENTRY_OFFSET = 16,
    ENTRY_LENGTH = 20,
    ENTRY_FLAGS = 24,
    FLAG_USER = 1,
    FLAG_REQUIRED = 4,
    ITEM_MAX = 1 << 20, /* 2.6.1.2 */
};

#define MAX_SIZE (UINT64_C(64) << 40) /* 2.6.2.2 */

enum { PARAMS_FIXED = 1, PARAMS_HAS_PARENT = 2, MAX_BLOCK = 256 << 20 };

enum item_kind { ITEM_PARAMS, ITEM_SIZE, ITEM_DISK_ID, ITEM_LOGICAL, ITEM_PHYSICAL, ITEM_PARENT, N_ITEMS };

static const struct {
    const char *guid, *name;
    uint32_t length; /* at least */
} items[N_ITEMS] = {
    [ITEM_PARAMS] = { "\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b", "file parameters",
                      8 },
    [ITEM_SIZE] = { "\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8", "virtual disk size",
                    8 },
    [ITEM_DISK_ID] = { "\xab\x12\xca\xbe\xe6\xb2\x23\x45\x93\xef\xc3\x09\xe0\x00\xc7\x46", "virtual disk id",
                       16 },
    [ITEM_LOGICAL] = { "\x1d\xbf\x41\x81\x6f\xa9\x09\x47\xba\x47\xf2\x33\xa8\xfa\xab\x5f",
                       "logical sector size", 4 },
    [ITEM_PHYSICAL] = { "\xc7\x48\xa3\xcd\x5d\x44\x71\x44\x9c\xc9\xe9\x88\x52\x51\xc5\x56",
                        "physical sector size", 4 },
    [ITEM_PARENT] = { "\x2d\x5f\xd3\xa8\x0b\xb3\x4d\x45\xab\xf7\xd3\xd8\x48\x34\xab\x0c", "parent locator",
                      20 },
};

/* ---- the table ---- */

struct found {
    struct file *file;
    struct vhdx_range item[N_ITEMS]; /* in the file; length 0: not there */
};

static int find_kind(struct bytes e)
{
    for (int i = 0; i < N_ITEMS; i++)
        if (bytes_match(e, 0, items[i].guid, 16))
            return i;
    return N_ITEMS;
}

static int take_entry(struct found *f, const struct vhdx_range *region, struct bytes e, struct fault *fault)
{
    const char *name = f->file->name;
    uint32_t offset = le32(e, ENTRY_OFFSET), length = le32(e, ENTRY_LENGTH), flags = le32(e, ENTRY_FLAGS);
    int kind = flags & FLAG_USER ? N_ITEMS : find_kind(e);
    if (kind == N_ITEMS) {
        char guid[VHDX_GUID_TEXT];
        if (!(flags & FLAG_REQUIRED))
            return 0;
        vhdx_guid_text(e.p, guid);
        return fault_at(fault, -ENOTSUP, name, e.at,
                        "can't be read without its metadata item {%s}, which ferryfs doesn't know", guid);
    }
    if (f->item[kind].length)
        return fault_at(fault, -EUCLEAN, name, e.at, "there are two metadata items \"%s\"", items[kind].name);
    if (offset < TABLE_LENGTH || length < items[kind].length || length > ITEM_MAX ||
        !range_inside(offset, length, region->length))
        return fault_at(fault, -EUCLEAN, name, e.at, "the metadata item \"%s\" has a bad place or length",
                        items[kind].name);
    f->item[kind] = (struct vhdx_range){ region->offset + offset, length };
    return 0;
}

static int read_table(struct found *f, const struct vhdx_range *region, struct fault *fault)
{
    _cleanup_free_ uint8_t *p = malloc(TABLE_LENGTH);
    if (!p)
        return fault_in(fault, -ENOMEM, f->file->name, "out of memory");
    int r = file_pread_what(f->file, p, TABLE_LENGTH, region->offset, "the metadata table", fault);
    if (r < 0)
        return r;
    struct bad bad = { 0 };
    struct bytes b = bytes_of(p, TABLE_LENGTH, region->offset, &bad);
    unsigned n = le16(b, TABLE_COUNT);
    if (!bytes_match(b, 0, "metadata", 8) || n > TABLE_MAX)
        return fault_at(fault, -EUCLEAN, f->file->name, region->offset, "the metadata table is damaged");
    for (unsigned i = 0; i < n && !r; i++)
        r = take_entry(f, region, bytes_sub(b, TABLE_ENTRIES + i * TABLE_ENTRY, TABLE_ENTRY), fault);
    return r;
}

/* ---- the small items ---- */

/* Reads an item's first `n` bytes, which take_entry has made sure of. */
static int read_item(const struct found *f, enum item_kind kind, uint8_t *buf, size_t n, struct fault *fault)
{
    if (!f->item[kind].length)
        return fault_in(fault, -EUCLEAN, f->file->name, "the metadata item \"%s\" is missing",
                        items[kind].name);
    return file_pread_what(f->file, buf, n, f->item[kind].offset, "the metadata", fault);
}

static int bad_value(const struct found *f, enum item_kind kind, uint64_t value, struct fault *fault)
{
    return fault_at(fault, -EUCLEAN, f->file->name, f->item[kind].offset,
                    "the metadata item \"%s\" says %llu", items[kind].name, (unsigned long long)value);
}

static int take_params(const struct found *f, struct vhdx_metadata *m, struct fault *fault)
{
    uint8_t p[8];
    struct bad bad = { 0 };
    int r = read_item(f, ITEM_PARAMS, p, sizeof p, fault);
    if (r < 0)
        return r;
    struct bytes b = bytes_of(p, sizeof p, f->item[ITEM_PARAMS].offset, &bad);
    uint32_t flags = le32(b, 4);
    m->block_size = le32(b, 0);
    m->fixed = flags & PARAMS_FIXED;
    m->has_parent = flags & PARAMS_HAS_PARENT;
    if (!is_power_of_two(m->block_size) || m->block_size < VHDX_MIB || m->block_size > MAX_BLOCK)
        return bad_value(f, ITEM_PARAMS, m->block_size, fault);
    if (flags & ~(uint32_t)(PARAMS_FIXED | PARAMS_HAS_PARENT))
        return fault_at(fault, -ENOTSUP, f->file->name, b.at + 4, "has unknown flags in its parameters: 0x%x",
                        flags);
    return 0;
}

static int take_sizes(const struct found *f, struct vhdx_metadata *m, struct fault *fault)
{
    uint8_t p[8], s[4];
    struct bad bad = { 0 };
    int r = read_item(f, ITEM_LOGICAL, s, sizeof s, fault);
    if (!r)
        r = read_item(f, ITEM_SIZE, p, sizeof p, fault);
    if (r < 0)
        return r;
    m->sector_size = le32(bytes_of(s, sizeof s, 0, &bad), 0);
    m->size = le64(bytes_of(p, sizeof p, 0, &bad), 0);
    if (m->sector_size != 512 && m->sector_size != 4096)
        return bad_value(f, ITEM_LOGICAL, m->sector_size, fault);
    if (m->size > MAX_SIZE || m->size % m->sector_size)
        return bad_value(f, ITEM_SIZE, m->size, fault);
    return 0;
}

/* ---- the parent locator (2.6.2.6) ---- */

static const char vhdx_locator[] = "\xb7\xef\x4a\xb0\x9e\xd1\x81\x4a\xb7\x89\x25\xb8\xe9\x44\x59\x13";

enum { LOCATOR_COUNT = 18, LOCATOR_ENTRIES = 20, LOCATOR_ENTRY = 12 };

enum key { KEY_LINKAGE, KEY_LINKAGE2, KEY_RELATIVE, KEY_VOLUME, KEY_WIN32, N_KEYS };
static const char *const keys[N_KEYS] = { "parent_linkage", "parent_linkage2", "relative_path", "volume_path",
                                          "absolute_win32_path" };

struct locator {
    char *value[N_KEYS]; /* owned; UTF-8 */
};

/* A new string, or NULL with *ret_err: -ENOMEM, or -EUCLEAN for what is no text. */
static char *text_of(struct bytes b, int *ret_err)
{
    bool good = utf16_is_text(b, false);
    *ret_err = good ? -ENOMEM : -EUCLEAN;
    return good ? utf16_name(b, false) : NULL;
}

static int take_pair(const struct found *f, struct bytes item, struct bytes e, struct locator *l,
                     struct fault *fault)
{
    struct bytes key = bytes_sub(item, le32(e, 0), le16(e, 8)),
                 value = bytes_sub(item, le32(e, 4), le16(e, 10));
    int err = -EUCLEAN;
    _cleanup_free_ char *k = item.bad->set ? NULL : text_of(key, &err);
    _cleanup_free_ char *v = k ? text_of(value, &err) : NULL;
    if (!v)
        return fault_at(fault, err, f->file->name, e.at,
                        err == -ENOMEM ? "out of memory" : "the parent locator has a damaged entry");
    for (int i = 0; i < N_KEYS; i++) {
        if (strcmp(k, keys[i]) != 0)
            continue;
        if (l->value[i])
            return fault_at(fault, -EUCLEAN, f->file->name, e.at, "the parent locator has two \"%s\"", k);
        l->value[i] = TAKE_PTR(v);
        break;
    }
    return 0;
}

/* "{GUID}" with or without braces, in any case. */
static int take_guid(const struct found *f, enum key key, const char *s, char ret[VHDX_GUID_TEXT],
                     struct fault *fault)
{
    size_t n = strlen(s);
    if (n == VHDX_GUID_TEXT + 1 && s[0] == '{' && s[n - 1] == '}') {
        s++;
        n -= 2;
    }
    bool good = n == VHDX_GUID_TEXT - 1;
    for (size_t i = 0; good && i < n; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        good = dash ? s[i] == '-' : isxdigit((unsigned char)s[i]);
        ret[i] = (char)tolower((unsigned char)s[i]);
    }
    if (!good)
        return fault_at(fault, -EUCLEAN, f->file->name, f->item[ITEM_PARENT].offset,
                        "the parent locator's \"%s\" is no GUID", keys[key]);
    ret[n] = 0;
    return 0;
}

/* A path with slashes; "\\?\" before an absolute one says nothing. */
static char *take_path(char *s)
{
    for (char *p = s; *p; p++)
        if (*p == '\\')
            *p = '/';
    if (!strncmp(s, "//?/", 4))
        memmove(s, s + 4, strlen(s + 4) + 1);
    return s;
}

static int use_locator(const struct found *f, struct locator *l, struct vhdx_metadata *m, struct fault *fault)
{
    int r = 0;
    if (!l->value[KEY_LINKAGE])
        return fault_at(fault, -EUCLEAN, f->file->name, f->item[ITEM_PARENT].offset,
                        "the parent locator doesn't say the parent's id");
    r = take_guid(f, KEY_LINKAGE, l->value[KEY_LINKAGE], m->parent_id, fault);
    if (!r && l->value[KEY_LINKAGE2])
        r = take_guid(f, KEY_LINKAGE2, l->value[KEY_LINKAGE2], m->parent_id2, fault);
    for (int i = KEY_RELATIVE, n = 0; !r && i < N_KEYS; i++) {
        const char *path = l->value[i] ? take_path(l->value[i]) : "";
        if (*path)
            m->parent[n++] = TAKE_PTR(l->value[i]);
    }
    if (!r && !m->parent[0])
        r = fault_at(fault, -EUCLEAN, f->file->name, f->item[ITEM_PARENT].offset,
                     "the parent locator names no parent");
    return r;
}

static int take_parent(const struct found *f, struct vhdx_metadata *m, struct fault *fault)
{
    const struct vhdx_range *at = &f->item[ITEM_PARENT];
    _cleanup_free_ uint8_t *p = malloc(at->length ? (size_t)at->length : 1);
    if (!p)
        return fault_in(fault, -ENOMEM, f->file->name, "out of memory");
    int r = read_item(f, ITEM_PARENT, p, (size_t)at->length, fault);
    if (r < 0)
        return r;
    struct bad bad = { 0 };
    struct bytes b = bytes_of(p, (size_t)at->length, at->offset, &bad);
    if (!bytes_match(b, 0, vhdx_locator, 16)) {
        char guid[VHDX_GUID_TEXT];
        vhdx_guid_text(p, guid);
        return fault_at(fault, -ENOTSUP, f->file->name, at->offset,
                        "its parent locator is of the type {%s}, which ferryfs doesn't know", guid);
    }
    struct locator l = { 0 };
    unsigned n = le16(b, LOCATOR_COUNT);
    for (unsigned i = 0; i < n && !r; i++)
        r = take_pair(f, b, bytes_sub(b, LOCATOR_ENTRIES + (size_t)i * LOCATOR_ENTRY, LOCATOR_ENTRY), &l,
                      fault);
    if (!r)
        r = use_locator(f, &l, m, fault);
    for (int i = 0; i < N_KEYS; i++)
        free(l.value[i]);
    return r;
}

/* ---- all of it ---- */

int vhdx_metadata_read(struct file *file, const struct vhdx_range *region, struct vhdx_metadata *ret,
                       struct fault *fault)
{
    struct found f = { .file = file };
    struct vhdx_metadata m = { 0 };
    int r = read_table(&f, region, fault);
    if (!r)
        r = take_params(&f, &m, fault);
    if (!r)
        r = take_sizes(&f, &m, fault);
    if (!r && m.has_parent)
        r = take_parent(&f, &m, fault);
    if (r < 0)
        vhdx_metadata_done(&m);
    else
        *ret = m;
    return r;
}

void vhdx_metadata_done(struct vhdx_metadata *m)
{
    for (size_t i = 0; i < VHDX_PARENT_NAMES; i++) {
        free(m->parent[i]);
        m->parent[i] = NULL;
    }
}
