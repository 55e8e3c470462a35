/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tar, as OVAs are made of it. An archive is a row of members on 512-byte blocks:
 *
 *     | header | data ... | pad | header | data ... | pad | zeros | zeros |
 *
 * Only the headers are read. What is odd, and handled:
 *  - A member may be preceded by headers that say more of it: pax 'x' (records "LEN key=value\n"), GNU 'L' (a
 *    long name) and 'K' (a long link target). A pax 'g' speaks for all that follow.
 *  - The size of over 8 GiB is a base-256 number (GNU, VirtualBox, ovftool), or a pax record; with the latter
 *    the field in the header itself is 0, so the record must be known before the data is passed over.
 *  - Some writers sum the header's bytes as signed ones.
 *  - The two zero blocks at the end may be one, or missing; what follows them is of no concern.
 *  - A GNU sparse member (tar -S) holds its data in pieces: such a one is indexed, and refused when it is
 *    wanted.
 *  - A name that occurs twice means the last one, as for tar(1).
 *
 * Sources: POSIX pax(1), the GNU tar manual ("Basic Tar Format", "GNU Extensions"). */
#include "tar.h"
#include "bytes.h"
#include "checked.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    H_NAME = 0,
    H_NAME_LEN = 100,
    H_SIZE = 124,
    H_SIZE_LEN = 12,
    H_CHECKSUM = 148,
    H_CHECKSUM_LEN = 8,
    H_TYPE = 156,
    H_MAGIC = 257, /* "ustar\0" "00" by POSIX, "ustar  \0" by GNU */
    H_PREFIX = 345,
    H_PREFIX_LEN = 155,
    H_GNU_EXTENDED = 482, /* type 'S': a block with more of the sparse map follows */
    S_EXTENDED = 504,     /* the same in such a block */
};

/* What extension headers say of the member to come. */
struct extension {
    char *path; /* NULL: nothing */
    bool has_size, sparse;
    uint64_t size;
};

static void extension_done(struct extension *e)
{
    free(e->path);
    *e = (struct extension){ 0 };
}

struct walk {
    struct tar *tar;
    struct fault *fault;
    uint64_t at; /* the next header */
    size_t headers, room;
    struct extension next, global;
};

struct header {
    char type;
    uint64_t size;
    char name[H_PREFIX_LEN + 1 + H_NAME_LEN + 1];
};

/* ---- one header ---- */

/* Octal text with leading blanks, ended by a blank, NUL or the field's end; or base-256 when the first bit is
 * set. False: neither, negative, or over 64 bits. An empty field is 0. */
static bool parse_number(const uint8_t *p, size_t n, uint64_t *ret)
{
    uint64_t v = 0;
    size_t i = 0;
    if (p[0] & 0x80) {
        if (p[0] & 0x40)
            return false; /* negative */
        v = p[0] & 0x3f;
        for (i = 1; i < n; i++) {
            if (v >> 56)
                return false;
            v = v << 8 | p[i];
        }
        *ret = v;
        return true;
    }
    while (i < n && p[i] == ' ')
        i++;
    for (; i < n && p[i] >= '0' && p[i] <= '7'; i++)
        v = v << 3 | (uint64_t)(p[i] - '0'); /* at most 12 digits: 36 bits */
    if (i < n && p[i] != ' ' && p[i] != 0)
        return false;
    *ret = v;
    return true;
}

static bool checksum_fits(const uint8_t *p)
{
    uint64_t stored, sum = 0;
    int64_t signed_sum = 0;
    if (p[H_CHECKSUM] & 0x80 || !parse_number(p + H_CHECKSUM, H_CHECKSUM_LEN, &stored))
        return false;
    for (size_t i = 0; i < TAR_BLOCK; i++) {
        uint8_t c = i - H_CHECKSUM < H_CHECKSUM_LEN ? ' ' : p[i];
        sum += c;
        signed_sum += (int8_t)c;
    }
    return stored == sum || (signed_sum >= 0 && stored == (uint64_t)signed_sum);
}

static bool all_zero(const uint8_t *p, size_t n)
{
    return !n || (!p[0] && !memcmp(p, p + 1, n - 1));
}

enum tar_evidence tar_probe(const uint8_t block[TAR_BLOCK])
{
    if (!all_zero(block, TAR_BLOCK) && checksum_fits(block))
        return TAR_HEADER;
    return memcmp(block + H_MAGIC, "ustar", 5) ? TAR_NO : TAR_MAGIC;
}

/* The name: prefix and name in POSIX archives; GNU ones keep times in the prefix's place. */
static void header_name(struct header *h, const uint8_t *p)
{
    const char *prefix = (const char *)p + H_PREFIX, *name = (const char *)p + H_NAME;
    bool posix = !memcmp(p + H_MAGIC, "ustar", 6);
    int prefix_len = posix ? (int)strnlen(prefix, H_PREFIX_LEN) : 0;
    snprintf(h->name, sizeof h->name, "%.*s%s%.*s", prefix_len, prefix, prefix_len ? "/" : "",
             (int)strnlen(name, H_NAME_LEN), name);
}

static const char *last_name(const struct walk *w)
{
    return w->tar->n ? w->tar->members[w->tar->n - 1].name : "";
}

static int truncated(struct walk *w, const char *what, const char *name)
{
    fault_in(w->fault, -ENODATA, w->tar->file->name, "truncated: the archive ends at byte %llu, inside %s%s",
             (unsigned long long)w->tar->file->size, what, name);
    return fault_hint(w->fault, -ENODATA, "copy or download it again");
}

/* Reads a block at w->at and passes it. */
static int read_block(struct walk *w, uint8_t block[TAR_BLOCK])
{
    struct file *f = w->tar->file;
    if (!range_inside(w->at, TAR_BLOCK, f->size))
        return truncated(w, w->tar->n ? "the header after the member " : "its first header", last_name(w));
    int r = file_pread_what(f, block, TAR_BLOCK, w->at, "a tar header", w->fault);
    if (r < 0)
        return r;
    if (++w->headers > TAR_MAX_HEADERS)
        return fault_at(w->fault, -EFBIG, f->name, w->at, "the archive has more than %d headers",
                        TAR_MAX_HEADERS);
    w->at += TAR_BLOCK;
    return 0;
}

/* 1: a header; 0: the end of the archive. */
static int read_header(struct walk *w, uint8_t block[TAR_BLOCK], struct header *ret)
{
    struct file *f = w->tar->file;
    if (w->at >= f->size)
        return 0;
    int r = read_block(w, block);
    if (r < 0)
        return r;
    if (all_zero(block, TAR_BLOCK))
        return 0;
    if (!checksum_fits(block))
        return fault_at(w->fault, -EUCLEAN, f->name, w->at - TAR_BLOCK,
                        "damaged archive: no valid tar header %s%s",
                        w->tar->n ? "after the member " : "at its beginning", last_name(w));
    ret->type = (char)block[H_TYPE];
    header_name(ret, block);
    if (!parse_number(block + H_SIZE, H_SIZE_LEN, &ret->size))
        return fault_at(w->fault, -EUCLEAN, f->name, w->at - TAR_BLOCK + H_SIZE,
                        "the size of the member %s is no number", ret->name);
    return 1;
}

/* Passes `size` bytes of data that begin at w->at, to the next block. They must be there. */
static int pass_data(struct walk *w, uint64_t size, const char *name)
{
    if (!range_inside(w->at, size, w->tar->file->size))
        return truncated(w, "the member ", name);
    w->at += round_up(size, TAR_BLOCK); /* may lie past the end by the padding that is missing */
    return 0;
}

/* ---- extension headers ---- */

/* Reads the data of an extension header; owned by the caller, with a NUL after it. */
static int read_extension(struct walk *w, const struct header *h, char **ret)
{
    uint64_t at = w->at;
    if (h->size > TAR_MAX_EXTENSION)
        return fault_at(w->fault, -EFBIG, w->tar->file->name, at,
                        "a tar header of the type '%c' has %llu bytes, more than %d", h->type,
                        (unsigned long long)h->size, TAR_MAX_EXTENSION);
    int r = pass_data(w, h->size, h->name);
    if (r < 0)
        return r;
    _cleanup_free_ char *data = malloc((size_t)h->size + 1);
    if (!data)
        return fault_in(w->fault, -ENOMEM, w->tar->file->name, "out of memory");
    r = file_pread_what(w->tar->file, data, (size_t)h->size, at, "a tar header", w->fault);
    if (r < 0)
        return r;
    data[h->size] = 0;
    *ret = TAKE_PTR(data);
    return 0;
}

static bool parse_decimal(const char *p, size_t n, uint64_t *ret)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        if (p[i] < '0' || p[i] > '9' || !checked_mul(v, 10, &v) ||
            !checked_add(v, (uint64_t)(p[i] - '0'), &v))
            return false;
    *ret = v;
    return n > 0;
}

static bool set_path(struct extension *e, const char *value, size_t len)
{
    free(e->path);
    e->path = strndup(value, len);
    return e->path != NULL;
}

/* One "key=value". An empty value takes back what a global header said. -EUCLEAN or -ENOMEM. */
static int apply_record(struct extension *e, const char *key, size_t key_len, const char *value, size_t len)
{
    static const char sparse[] = "GNU.sparse.";
    if (key_len == 4 && !memcmp(key, "path", 4))
        return set_path(e, value, len) ? 0 : -ENOMEM;
    if (key_len == 4 && !memcmp(key, "size", 4)) {
        e->has_size = len > 0;
        return !len || parse_decimal(value, len, &e->size) ? 0 : -EUCLEAN;
    }
    if (key_len < sizeof sparse - 1 || memcmp(key, sparse, sizeof sparse - 1) != 0)
        return 0;
    e->sparse = true;
    if (key_len == sizeof sparse - 1 + 4 && !memcmp(key + sizeof sparse - 1, "name", 4))
        return set_path(e, value, len) ? 0 : -ENOMEM;
    return 0;
}

/* Pax records: "LEN key=value\n", LEN counting all of it. */
static int apply_pax(struct extension *e, const char *data, size_t n)
{
    while (n) {
        uint64_t len;
        const char *blank = memchr(data, ' ', n < 20 ? n : 20);
        if (!blank || !parse_decimal(data, (size_t)(blank - data), &len))
            return -EUCLEAN;
        size_t digits = (size_t)(blank - data) + 1;
        if (len <= digits || len > n || data[len - 1] != '\n')
            return -EUCLEAN;
        const char *key = data + digits;
        size_t rest = (size_t)len - digits - 1;
        const char *equals = memchr(key, '=', rest);
        if (!equals)
            return -EUCLEAN;
        size_t key_len = (size_t)(equals - key);
        int r = apply_record(e, key, key_len, equals + 1, rest - key_len - 1);
        if (r < 0)
            return r;
        data += len;
        n -= (size_t)len;
    }
    return 0;
}

/* 1: it was an extension header, and is applied; 0: it is a member. */
static int walk_extension(struct walk *w, const struct header *h)
{
    if (!strchr("xXgLK", h->type) || !h->type)
        return 0;
    uint64_t at = w->at;
    _cleanup_free_ char *data = NULL;
    int r = read_extension(w, h, &data);
    if (r < 0)
        return r;
    if (h->type == 'L')
        r = set_path(&w->next, data, strlen(data)) ? 0 : -ENOMEM;
    else if (h->type != 'K')
        r = apply_pax(h->type == 'g' ? &w->global : &w->next, data, (size_t)h->size);
    if (r == -EUCLEAN)
        return fault_at(w->fault, r, w->tar->file->name, at, "a damaged pax header");
    if (r < 0)
        return fault_in(w->fault, r, w->tar->file->name, "out of memory");
    return 1;
}

/* ---- members ---- */

/* Copies a path without empty and "." components. NULL: no memory. */
static char *normalised(const char *path)
{
    char *out = malloc(strlen(path) + 1), *end = out;
    if (!out)
        return NULL;
    for (const char *p = path; *p;) {
        size_t n = strcspn(p, "/");
        if (n && !(n == 1 && p[0] == '.')) {
            if (end != out)
                *end++ = '/';
            memcpy(end, p, n);
            end += n;
        }
        p += n + (p[n] == '/');
    }
    *end = 0;
    return out;
}

static enum tar_kind kind_of(const struct header *h, const struct extension *e, const char *path)
{
    size_t n = strlen(path);
    switch (h->type) {
    case '1':
    case '2':
        return TAR_LINK;
    case '3':
    case '4':
    case '5':
    case '6':
    case 'D': /* GNU: a directory with its listing as data */
    case 'M': /* GNU: the rest of a file that began on another volume */
    case 'V': /* GNU: the volume's label */
        return TAR_OTHER;
    case 'S':
        return TAR_SPARSE;
    default:
        if (n && path[n - 1] == '/')
            return TAR_OTHER; /* v7 has no type for directories */
        return e->sparse ? TAR_SPARSE : TAR_REGULAR;
    }
}

static int add_member(struct walk *w, struct tar_member *m)
{
    struct tar *t = w->tar;
    if (t->n == w->room) {
        size_t room = w->room ? 2 * w->room : 16;
        struct tar_member *p = realloc(t->members, room * sizeof *p);
        if (!p)
            return fault_in(w->fault, -ENOMEM, t->file->name, "out of memory");
        t->members = p;
        w->room = room;
    }
    t->members[t->n++] = *m;
    m->name = NULL;
    return 0;
}

/* The map of an old GNU sparse member goes on in blocks between its header and its data. */
static int pass_sparse_map(struct walk *w, uint8_t block[TAR_BLOCK])
{
    bool more = block[H_GNU_EXTENDED] != 0;
    while (more) {
        int r = read_block(w, block);
        if (r < 0)
            return r;
        more = block[S_EXTENDED] != 0;
    }
    return 0;
}

static int walk_member(struct walk *w, const struct header *h, uint8_t block[TAR_BLOCK])
{
    const struct extension *e = &w->next, *g = &w->global;
    const char *path = e->path && *e->path ? e->path : g->path && *g->path ? g->path : h->name;
    if (strlen(path) > TAR_MAX_NAME)
        return fault_at(w->fault, -EFBIG, w->tar->file->name, w->at - TAR_BLOCK,
                        "a member's name is longer than %d bytes", TAR_MAX_NAME);
    struct tar_member m = { .tar = w->tar, .kind = kind_of(h, e, path) };
    m.size = e->has_size ? e->size : g->has_size ? g->size : h->size;
    if (m.kind == TAR_LINK || (m.kind == TAR_OTHER && h->type >= '3' && h->type <= '6'))
        m.size = 0; /* whatever the field says, no data follows */
    int r = h->type == 'S' ? pass_sparse_map(w, block) : 0;
    if (r < 0)
        return r;
    m.offset = w->at;
    r = pass_data(w, m.size, path);
    if (r < 0)
        return r;
    _cleanup_free_ char *name = m.name = normalised(path);
    if (!name)
        return fault_in(w->fault, -ENOMEM, w->tar->file->name, "out of memory");
    r = add_member(w, &m);
    if (!r)
        name = NULL; /* the index has it now */
    extension_done(&w->next);
    return r;
}

static int walk_all(struct walk *w)
{
    for (;;) {
        uint8_t block[TAR_BLOCK];
        struct header h;
        int r = read_header(w, block, &h);
        if (r <= 0)
            return r;
        r = walk_extension(w, &h);
        if (!r)
            r = walk_member(w, &h, block);
        if (r < 0)
            return r;
    }
}

static int by_name_then_place(const void *a, const void *b)
{
    const struct tar_member *x = *(struct tar_member *const *)a, *y = *(struct tar_member *const *)b;
    int c = strcmp(x->name, y->name);
    return c ? c : (x > y) - (x < y);
}

static int mark_replaced(struct tar *t)
{
    _cleanup_free_ struct tar_member **sorted = calloc(t->n + 1, sizeof(struct tar_member *));
    if (!sorted)
        return -ENOMEM;
    for (size_t i = 0; i < t->n; i++)
        sorted[i] = &t->members[i];
    qsort(sorted, t->n, sizeof(struct tar_member *), by_name_then_place);
    for (size_t i = 1; i < t->n; i++)
        if (!strcmp(sorted[i - 1]->name, sorted[i]->name))
            sorted[i - 1]->replaced = true;
    return 0;
}

int tar_open(struct file *file, struct tar **ret, struct fault *fault)
{
    _cleanup_(tar_closep) struct tar *t = calloc(1, sizeof *t);
    if (!t)
        return fault_in(fault, -ENOMEM, file->name, "out of memory");
    t->file = file_ref(file);
    struct walk w = { .tar = t, .fault = fault };
    int r = walk_all(&w);
    extension_done(&w.next);
    extension_done(&w.global);
    if (!r && (r = mark_replaced(t)) < 0)
        fault_in(fault, r, file->name, "out of memory");
    if (r < 0)
        return r;
    *ret = TAKE_PTR(t);
    return 0;
}

void tar_close(struct tar *tar)
{
    if (!tar)
        return;
    for (size_t i = 0; i < tar->n; i++)
        free(tar->members[i].name);
    free(tar->members);
    file_unref(tar->file);
    free(tar);
}

/* ---- lookup ---- */

const struct tar_member *tar_find(const struct tar *tar, const char *name)
{
    for (size_t i = tar->n; i-- > 0;)
        if (!strcmp(tar->members[i].name, name))
            return &tar->members[i];
    return NULL;
}

/* Takes the last component off. False: there is none. */
static bool pop(char *path)
{
    char *slash = strrchr(path, '/');
    if (!path[0])
        return false;
    *(slash ? slash : path) = 0;
    return true;
}

int tar_resolve(const char *from, const char *name, char **ret)
{
    if (name[0] == '/')
        return -EPERM;
    if (strlen(name) > TAR_MAX_NAME)
        return -ENOENT;
    _cleanup_free_ char *out = malloc(strlen(from) + strlen(name) + 2);
    if (!out)
        return -ENOMEM;
    strcpy(out, from);
    pop(out); /* the directory that `from` lies in */
    for (const char *p = name; *p;) {
        size_t n = strcspn(p, "/");
        bool here = !n || (n == 1 && p[0] == '.');
        if (n == 2 && p[0] == '.' && p[1] == '.') {
            if (!pop(out))
                return -EPERM;
        } else if (!here) {
            size_t end = strlen(out);
            sprintf(out + end, "%s%.*s", end ? "/" : "", (int)n, p);
        }
        p += n + (p[n] == '/');
    }
    *ret = TAKE_PTR(out);
    return 0;
}

static int member_open_ref(void *ctx, struct file *from, const char *role, const char *name,
                           struct file **ret, struct fault *fault)
{
    const struct tar_member *m = ctx;
    _cleanup_free_ char *path = NULL;
    int r = tar_resolve(m->name, name, &path);
    if (r == -EPERM)
        return fault_in(fault, r, from->name, "the %s \"%s\" lies outside the archive", role, name);
    if (r == -ENOMEM)
        return fault_in(fault, r, from->name, "out of memory");
    const struct tar_member *found = r < 0 ? NULL : tar_find(m->tar, path);
    if (!found)
        return fault_in(fault, -ENOENT, from->name, "the %s \"%s\" is missing from the archive", role, name);
    return tar_open_member(found, ret, fault);
}

int tar_open_member(const struct tar_member *m, struct file **ret, struct fault *fault)
{
    struct file *archive = m->tar->file;
    _cleanup_free_ char *name = NULL;
    if (asprintf(&name, "%s(%s)", archive->name, m->name) < 0) {
        name = NULL;
        return fault_in(fault, -ENOMEM, archive->name, "out of memory");
    }
    if (m->kind == TAR_SPARSE) {
        fault_in(fault, -ENOTSUP, name, "is stored sparse (by tar -S), so it can't be read in place");
        return fault_hint(fault, -ENOTSUP, "unpack the archive, or pack it again without -S");
    }
    if (m->kind != TAR_REGULAR)
        return fault_in(fault, -EMEDIUMTYPE, name, "is %s in the archive, not a file",
                        m->kind == TAR_LINK ? "a link" : "a directory or special file");
    int r = file_slice_new(archive, m->offset, m->size, name, member_open_ref, (void *)m, ret);
    return r < 0 ? fault_in(fault, r, name, r == -ENOMEM ? "out of memory" : "can't be opened") : 0;
}
