/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Device elements. The bytes: 16 of an options object, then a descriptor {u32 type, u32 flags, u32 size (its
 * own, from the type on), u32 0} and its body:
 *   partition  {16 bytes which, u32 0: a hard disk, u32 0 GPT or 1 MBR, 16 bytes of which disk, 16 zeros}
 *   boot       zeros
 *   locate     {u32 0 by an element's value or 1 by a path, u32 element, u32 where a parent begins, counted
 * from the type on, or 0; a path, terminated}, then the parent's descriptor local      {u32 kind}: 5 a file:
 * then a path descriptor; 3 a RAM disk, 6 a VHD: then 20 bytes of zeros and, for 3 a path descriptor, for 6
 * the descriptor of the local file that holds it A path descriptor is {u32 1, u32 its size, u32 5}, the
 * parent's descriptor, and the path, terminated. The flag of a RAM disk's descriptor is 1, of all others 0.
 *
 * In text: boot, partition=P, locate=custom:22000002, locate=\path, file=[P]\path,
 * ramdisk=[P]\path,{options}, vhd=[P]\path and vhd=[P]\path,locate=custom:22000002; P is a partition, "boot"
 * or "locate". */
#include "bcd.h"
#include "guid.h"

#include "../formats/bytes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TYPE_LOCAL = 0, TYPE_BOOT = 5, TYPE_PARTITION = 6, TYPE_LOCATE = 8 };
enum { LOCAL_RAMDISK = 3, LOCAL_FILE = 5, LOCAL_VHD = 6 };
enum { HEAD = 16, OPTIONS = 16, BODY = 0x38, SIMPLE = HEAD + BODY, PATH_HEAD = 12, PADDING = 20 };
enum { LOCATE_HEAD = 12, PATH_DESCRIPTOR = 5 };
enum { MAX_PATH_BYTES = 2048, MAX_DEVICE = 16384 };

/* A device as it is understood. */
struct device {
    enum { SHOW_BOOT, SHOW_PARTITION, SHOW_LOCATE, SHOW_FILE, SHOW_RAMDISK, SHOW_VHD } kind;
    uint8_t options[16];
    /* of PARTITION, and what holds the file of the last three: BOOT, PARTITION or LOCATE (anywhere) */
    int on;
    struct bcd_partition partition;
    uint32_t element;          /* LOCATE, VHD: 0 for by path, or for none */
    char path[MAX_PATH_BYTES]; /* UTF-8 */
};

/* ---- reading ---- */

/* A terminated path that fills the window, as UTF-8: only what can be given back. */
static bool read_path(struct bytes b, char *ret, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i + 2 <= b.n; i += 2) {
        uint32_t c = le16(b, i);
        if (!c) { /* rest: nothing */
            ret[n] = 0;
            return i + 2 == b.n;
        }
        if (n + 4 >= size)
            return false;
        if (c >= 0xd800 && c < 0xe000) {
            uint32_t low = i + 4 <= b.n ? le16(b, i + 2) : 0;
            if (c >= 0xdc00 || low < 0xdc00 || low >= 0xe000)
                return false;
            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
            i += 2;
        }
        if (c < 0x80) {
            ret[n++] = (char)c;
        } else if (c < 0x800) {
            ret[n++] = (char)(0xc0 | c >> 6);
            ret[n++] = (char)(0x80 | (c & 63));
        } else if (c < 0x10000) {
            ret[n++] = (char)(0xe0 | c >> 12);
            ret[n++] = (char)(0x80 | (c >> 6 & 63));
            ret[n++] = (char)(0x80 | (c & 63));
        } else {
            ret[n++] = (char)(0xf0 | c >> 18);
            ret[n++] = (char)(0x80 | (c >> 12 & 63));
            ret[n++] = (char)(0x80 | (c >> 6 & 63));
            ret[n++] = (char)(0x80 | (c & 63));
        }
    }
    return false; /* not terminated */
}

/* The descriptor at the beginning of b: its window, with the head. */
static bool read_head(struct bytes b, uint32_t *ret_type, struct bytes *ret)
{
    uint32_t size = le32(b, 8);
    *ret_type = le32(b, 0);
    if (size < HEAD || size > b.n)
        return false;
    *ret = bytes_sub(b, 0, size);
    return !b.bad->set;
}

static bool read_partition(struct bytes d, struct bcd_partition *ret)
{
    if (d.n != SIMPLE || le32(d, HEAD + 16) != 0)
        return false;
    switch (le32(d, HEAD + 20)) {
    case 0:
        ret->gpt = true;
        memcpy(ret->guid, d.p + HEAD, 16);
        memcpy(ret->disk_guid, d.p + HEAD + 24, 16);
        return true;
    case 1:
        ret->gpt = false;
        ret->offset = le64(d, HEAD);
        ret->signature = le32(d, HEAD + 24);
        return true;
    default:
        return false;
    }
}

/* What holds a file: boot, a partition, or anything that has it. */
static bool read_parent(struct bytes b, struct device *ret, size_t *ret_n)
{
    struct bytes d;
    uint32_t type;
    if (!read_head(b, &type, &d))
        return false;
    *ret_n = d.n;
    ret->on = type == TYPE_BOOT ? SHOW_BOOT : type == TYPE_PARTITION ? SHOW_PARTITION : SHOW_LOCATE;
    return type == TYPE_BOOT || (type == TYPE_PARTITION && read_partition(d, &ret->partition)) ||
           (type == TYPE_LOCATE && !le32(d, HEAD) && !le32(d, HEAD + 4) && !le32(d, HEAD + 8));
}

static bool read_path_descriptor(struct bytes b, struct device *ret)
{
    size_t n;
    if (le32(b, 0) != 1 || le32(b, 8) != PATH_DESCRIPTOR || le32(b, 4) > b.n || le32(b, 4) < PATH_HEAD)
        return false;
    b = bytes_sub(b, 0, le32(b, 4));
    if (!read_parent(bytes_sub(b, PATH_HEAD, b.n - PATH_HEAD), ret, &n))
        return false;
    return read_path(bytes_sub(b, PATH_HEAD + n, b.n - PATH_HEAD - n), ret->path, sizeof ret->path);
}

/* A file, or the RAM disk or VHD in one; `inner`: what a VHD lies in can only be a file. */
static bool read_local(struct bytes d, bool inner, struct device *ret)
{
    uint32_t type;
    switch (le32(d, HEAD)) {
    case LOCAL_FILE:
        if (!inner)
            ret->kind = SHOW_FILE;
        return read_path_descriptor(bytes_sub(d, HEAD + 4, d.n - HEAD - 4), ret);
    case LOCAL_RAMDISK:
        ret->kind = SHOW_RAMDISK;
        return !inner && d.n > HEAD + 4 + PADDING &&
               read_path_descriptor(bytes_sub(d, HEAD + 4 + PADDING, d.n - HEAD - 4 - PADDING), ret);
    case LOCAL_VHD:
        ret->kind = SHOW_VHD;
        if (inner || d.n <= HEAD + 4 + PADDING ||
            !read_head(bytes_sub(d, HEAD + 4 + PADDING, d.n - HEAD - 4 - PADDING), &type, &d))
            return false;
        return type == TYPE_LOCAL && d.n > HEAD + 4 && read_local(d, true, ret);
    default:
        return false;
    }
}

static bool read_locate(struct bytes d, struct device *ret)
{
    uint32_t kind = le32(d, HEAD), parent = le32(d, HEAD + 8), type;
    struct bytes p;
    ret->element = kind == 0 ? le32(d, HEAD + 4) : 0;
    if (kind > 1 || d.bad->set)
        return false;
    if (!parent) {
        ret->kind = SHOW_LOCATE;
        return read_path(bytes_sub(d, HEAD + LOCATE_HEAD, d.n - HEAD - LOCATE_HEAD), ret->path,
                         sizeof ret->path);
    }
    if (kind || parent < HEAD + LOCATE_HEAD || parent >= d.n)
        return false;
    if (!read_head(bytes_sub(d, parent, d.n - parent), &type, &p))
        return false;
    return type == TYPE_LOCAL && read_local(p, false, ret) && ret->kind == SHOW_VHD;
}

static bool read_device(const uint8_t *data, size_t n, struct device *ret)
{
    struct bad bad = { 0 };
    struct bytes b = bytes_of(data, n, 0, &bad), d;
    uint32_t type;
    *ret = (struct device){ 0 };
    if (n < OPTIONS + HEAD || n > MAX_DEVICE)
        return false;
    memcpy(ret->options, data, 16);
    if (!read_head(bytes_sub(b, OPTIONS, n - OPTIONS), &type, &d))
        return false;
    bool good = false;
    switch (type) {
    case TYPE_BOOT:
        ret->kind = SHOW_BOOT;
        good = true;
        break;
    case TYPE_PARTITION:
        ret->kind = SHOW_PARTITION;
        good = read_partition(d, &ret->partition);
        break;
    case TYPE_LOCATE:
        good = read_locate(d, ret);
        break;
    case TYPE_LOCAL:
        good = d.n > HEAD + 4 && read_local(d, false, ret);
        break;
    default:
        break;
    }
    return good && !bad.set;
}

static void print_partition(const struct bcd_partition *p, const struct bcd_context *c, char *buf,
                            size_t size)
{
    char disk[GUID_TEXT + 1], part[GUID_TEXT + 1];
    if (c && c->name && c->name(c->ctx, p, buf, size))
        return;
    if (!p->gpt) {
        snprintf(buf, size, "mbr:%08" PRIx32 "@%" PRIu64, p->signature, p->offset);
        return;
    }
    guid_to_text(p->disk_guid, disk);
    guid_to_text(p->guid, part);
    snprintf(buf, size, "gpt:%s/%s", disk, part);
}

static void print_element(uint32_t element, char *buf, size_t size)
{
    snprintf(buf, size, "locate=custom:%08" PRIx32, element);
}

bool bcd_device_to_text(const uint8_t *data, size_t n, const struct bcd_context *c, char *buf, size_t size)
{
    static const char *const words[] = {
        [SHOW_FILE] = "file", [SHOW_RAMDISK] = "ramdisk", [SHOW_VHD] = "vhd"
    };
    char on[128] = "boot", tail[64] = "";
    struct device d;
    if (!read_device(data, n, &d) || d.path[strcspn(d.path, "\r\n")])
        return false;
    if (d.kind == SHOW_PARTITION || d.on == SHOW_PARTITION)
        print_partition(&d.partition, c, on, sizeof on);
    else if (d.on == SHOW_LOCATE)
        snprintf(on, sizeof on, "locate");
    switch (d.kind) {
    case SHOW_BOOT:
        snprintf(buf, size, "boot");
        break;
    case SHOW_PARTITION:
        snprintf(buf, size, "partition=%s", on);
        break;
    case SHOW_LOCATE:
        if (d.path[0] && !d.element)
            snprintf(buf, size, "locate=%s", d.path);
        else if (!d.path[0] && d.element)
            print_element(d.element, buf, size);
        else
            return false;
        break;
    default:
        if (d.kind == SHOW_RAMDISK && memcmp(d.options, (uint8_t[16]){ 0 }, 16) != 0) {
            tail[0] = ',';
            tail[1] = '{';
            guid_to_text(d.options, tail + 2);
            strcat(tail, "}");
        } else if (d.kind == SHOW_VHD && d.element) {
            tail[0] = ',';
            print_element(d.element, tail + 1, sizeof tail - 1);
        }
        snprintf(buf, size, "%s=[%s]%s%s", words[d.kind], on, d.path, tail);
    }
    return true;
}

/* ---- writing ---- */

/* Grows from the front to the back; sizes are filled in when they are known. */
struct writer {
    uint8_t *p;
    size_t n;
};

static uint8_t *add(struct writer *w, size_t n)
{
    uint8_t *at = w->p + w->n;
    w->n += n;
    return at; /* zeroed, and large enough for any path: see bcd_device_from_text */
}

static size_t open_head(struct writer *w, uint32_t type, uint32_t flags)
{
    size_t at = w->n;
    put_le32(add(w, HEAD), type);
    put_le32(w->p + at + 4, flags);
    return at;
}

static void close_head(struct writer *w, size_t at)
{
    put_le32(w->p + at + 8, (uint32_t)(w->n - at));
}

/* False: it isn't UTF-8. */
static bool add_path(struct writer *w, const char *path)
{
    const uint8_t *s = (const uint8_t *)path;
    while (*s) {
        uint32_t c = *s++;
        unsigned more = c < 0x80 ? 0 : c >= 0xc2 && c < 0xe0 ? 1 : c >= 0xe0 && c < 0xf0 ? 2 : 3;
        if ((c >= 0x80 && c < 0xc2) || c > 0xf4)
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
            put_le16(add(w, 2), (uint16_t)(0xd800 + ((c - 0x10000) >> 10)));
            c = 0xdc00 + ((c - 0x10000) & 0x3ff);
        }
        put_le16(add(w, 2), (uint16_t)c);
    }
    add(w, 2);
    return true;
}

static void add_partition(struct writer *w, const struct bcd_partition *p)
{
    size_t at = open_head(w, TYPE_PARTITION, 0);
    uint8_t *b = add(w, BODY);
    if (p->gpt) {
        memcpy(b, p->guid, 16);
        memcpy(b + 24, p->disk_guid, 16);
    } else {
        put_le64(b, p->offset);
        put_le32(b + 20, 1);
        put_le32(b + 24, p->signature);
    }
    close_head(w, at);
}

static void add_parent(struct writer *w, const struct device *d)
{
    if (d->on == SHOW_PARTITION) {
        add_partition(w, &d->partition);
        return;
    }
    size_t at = open_head(w, d->on == SHOW_BOOT ? TYPE_BOOT : TYPE_LOCATE, 0);
    add(w, d->on == SHOW_BOOT ? BODY : LOCATE_HEAD + 2);
    close_head(w, at);
}

static bool add_path_descriptor(struct writer *w, const struct device *d)
{
    size_t at = w->n;
    put_le32(add(w, PATH_HEAD), 1);
    put_le32(w->p + at + 8, PATH_DESCRIPTOR);
    add_parent(w, d);
    bool good = add_path(w, d->path);
    put_le32(w->p + at + 4, (uint32_t)(w->n - at));
    return good;
}

static bool add_local(struct writer *w, const struct device *d, int kind)
{
    size_t at = open_head(w, TYPE_LOCAL, kind == SHOW_RAMDISK);
    bool good;
    put_le32(add(w, 4), kind == SHOW_RAMDISK ? LOCAL_RAMDISK : kind == SHOW_VHD ? LOCAL_VHD : LOCAL_FILE);
    if (kind != SHOW_FILE)
        add(w, PADDING);
    good = kind == SHOW_VHD ? add_local(w, d, SHOW_FILE) : add_path_descriptor(w, d);
    close_head(w, at);
    return good;
}

static bool add_locate(struct writer *w, const struct device *d)
{
    size_t at = open_head(w, TYPE_LOCATE, 0);
    bool good = true;
    add(w, LOCATE_HEAD);
    put_le32(w->p + at + HEAD, !d->element);
    put_le32(w->p + at + HEAD + 4, d->element);
    if (d->kind == SHOW_LOCATE) {
        good = add_path(w, d->path);
    } else {
        add(w, 2); /* an empty path */
        put_le32(w->p + at + HEAD + 8, (uint32_t)(w->n - at));
        good = add_local(w, d, SHOW_VHD);
    }
    close_head(w, at);
    return good;
}

static bool write_device(struct writer *w, const struct device *d)
{
    memcpy(add(w, OPTIONS), d->options, 16);
    switch (d->kind) {
    case SHOW_BOOT: {
        struct device boot = { .on = SHOW_BOOT };
        add_parent(w, &boot);
        return true;
    }
    case SHOW_PARTITION:
        add_partition(w, &d->partition);
        return true;
    case SHOW_LOCATE:
        return add_locate(w, d);
    case SHOW_VHD:
        return d->element ? add_locate(w, d) : add_local(w, d, SHOW_VHD);
    default:
        return add_local(w, d, (int)d->kind);
    }
}

static int parse_partition(const char *s, const struct bcd_context *c, struct bcd_partition *ret)
{
    unsigned long long offset;
    unsigned signature;
    int used = 0;
    *ret = (struct bcd_partition){ 0 };
    if (!strncmp(s, "gpt:", 4)) {
        const char *slash = strchr(s, '/');
        ret->gpt = true;
        return slash && guid_from_text(s + 4, (size_t)(slash - s - 4), ret->disk_guid) &&
                       guid_from_text(slash + 1, strlen(slash + 1), ret->guid)
                   ? 0
                   : -EINVAL;
    }
    if (!strncmp(s, "mbr:", 4)) {
        if (sscanf(s + 4, "%8x@%20llu%n", &signature, &offset, &used) != 2 || s[4 + used])
            return -EINVAL;
        ret->signature = signature;
        ret->offset = offset;
        return 0;
    }
    return c && c->find && c->find(c->ctx, s, ret) ? 0 : -ENOENT;
}

static int parse_element(const char *s, uint32_t *ret)
{
    static const char start[] = "locate=custom:";
    int used = 0;
    if (strncmp(s, start, sizeof start - 1) != 0)
        return -EINVAL;
    s += sizeof start - 1;
    return sscanf(s, "%8" SCNx32 "%n", ret, &used) == 1 && used == 8 && !s[used] && *ret ? 0 : -EINVAL;
}

/* "[P]\path" and what follows a comma behind it. */
static int parse_file(const char *s, const struct bcd_context *c, struct device *ret, char **ret_tail)
{
    char on[128];
    const char *end = strchr(s, ']');
    if (s[0] != '[' || !end || (size_t)(end - s) > sizeof on || end[1] != '\\')
        return -EINVAL;
    memcpy(on, s + 1, (size_t)(end - s - 1));
    on[end - s - 1] = 0;
    ret->on = !strcmp(on, "boot") ? SHOW_BOOT : !strcmp(on, "locate") ? SHOW_LOCATE : SHOW_PARTITION;
    snprintf(ret->path, sizeof ret->path, "%s", end + 1);
    *ret_tail = NULL;
    if (ret->kind != SHOW_FILE && (*ret_tail = strrchr(ret->path, ',')))
        *(*ret_tail)++ = 0;
    return ret->on == SHOW_PARTITION ? parse_partition(on, c, &ret->partition) : 0;
}

static int parse_device(const char *s, const struct bcd_context *c, struct device *ret)
{
    static const struct {
        const char *start;
        int kind;
    } files[] = { { "file=", SHOW_FILE }, { "ramdisk=", SHOW_RAMDISK }, { "vhd=", SHOW_VHD } };
    *ret = (struct device){ 0 };
    if (!strcmp(s, "boot")) {
        ret->kind = SHOW_BOOT;
        return 0;
    }
    if (!strncmp(s, "partition=", 10)) {
        ret->kind = SHOW_PARTITION;
        return parse_partition(s + 10, c, &ret->partition);
    }
    if (!strncmp(s, "locate=", 7)) {
        ret->kind = SHOW_LOCATE;
        if (s[7] != '\\')
            return parse_element(s, &ret->element);
        snprintf(ret->path, sizeof ret->path, "%s", s + 7);
        return 0;
    }
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        size_t n = strlen(files[i].start);
        if (strncmp(s, files[i].start, n) != 0)
            continue;
        char *tail;
        ret->kind = (typeof(ret->kind))files[i].kind;
        int r = parse_file(s + n, c, ret, &tail);
        if (r < 0 || !tail)
            return r;
        if (ret->kind == SHOW_VHD)
            return parse_element(tail, &ret->element);
        return guid_from_text(tail, strlen(tail), ret->options) ||
                       (tail[0] == '{' && strlen(tail) > 2 &&
                        bcd_alias_guid(tail + 1, strlen(tail) - 2, ret->options))
                   ? 0
                   : -EINVAL;
    }
    return -EINVAL;
}

int bcd_device_from_text(const char *text, const struct bcd_context *c, uint8_t **ret, size_t *ret_n)
{
    struct device d;
    if (strlen(text) >= MAX_PATH_BYTES)
        return -ENAMETOOLONG;
    int r = parse_device(text, c, &d);
    if (r < 0)
        return r;
    struct writer w = { .p = calloc(1, 1024 + 2 * MAX_PATH_BYTES) };
    if (!w.p)
        return -ENOMEM;
    if (!write_device(&w, &d)) {
        free(w.p);
        return -EINVAL;
    }
    *ret = w.p;
    *ret_n = w.n;
    return 0;
}
