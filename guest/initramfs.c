/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading one. libarchive undoes the compression of a stream; the archives in it are read here (cpio.c), as
 * the kernel reads them: it goes on behind the first TRAILER!!!, and libarchive's reader of cpio doesn't. */
#include "initramfs.h"

#include "../formats/bytes.h"
#include "../formats/checked.h"
#include "../formats/cleanup.h"
#include "initramfs-impl.h"

#include <archive.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CHUNK = 1 << 18,
    MAX_NAMES = 1 << 18,
    MAX_NAME_BYTES = 1 << 24, /* of all names */
    MAX_LOAD = 1 << 16,       /* conf/modules */
    MAX_SEGMENTS = 64,        /* of ours */
    MAX_LINKS = 256,          /* files below INITRAMFS_LINKS */
    MAX_LINK = 4096,          /* bytes of one that are kept */
};
static const uint64_t max_image = 1ULL << 30;   /* bytes of its file */
static const uint64_t max_window = 64ULL << 20; /* what a decompressor keeps of what it has unpacked */

static const struct {
    const char *name;
    uint8_t magic[6];
    uint8_t n;
    int (*support)(struct archive *a);
} packings[] = {
    { "gzip", { 0x1f, 0x8b }, 2, archive_read_support_filter_gzip },
    { "bzip2", { 'B', 'Z', 'h' }, 3, archive_read_support_filter_bzip2 },
    { "xz", { 0xfd, '7', 'z', 'X', 'Z', 0 }, 6, archive_read_support_filter_xz },
    { "lzma", { 0x5d, 0, 0 }, 3, archive_read_support_filter_lzma },
    { "lzo", { 0x89, 'L', 'Z', 'O' }, 4, archive_read_support_filter_lzop },
    { "lz4", { 0x02, 0x21, 0x4c, 0x18 }, 4, archive_read_support_filter_lz4 },
    { "zstd", { 0x28, 0xb5, 0x2f, 0xfd }, 4, archive_read_support_filter_zstd },
};

static const char *packing_of(const uint8_t *head, size_t n)
{
    for (size_t k = 0; k < sizeof packings / sizeof packings[0]; k++)
        if (n >= packings[k].n && !memcmp(head, packings[k].magic, packings[k].n))
            return packings[k].name;
    return NULL;
}

/* libarchive may undo this compression, and none besides. A warning says that it would start a program for
 * it: never on a guest's bytes. */
static int support(struct archive *a, const char *packing)
{
    for (size_t k = 0; k < sizeof packings / sizeof packings[0]; k++)
        if (!strcmp(packings[k].name, packing) && packings[k].support(a) == ARCHIVE_OK)
            return archive_read_support_format_raw(a) == ARCHIVE_OK ? 0 : -ENOMEM;
    return -ENOTSUP;
}

enum { HEAD = 64 };

/* Of the first block: its header has, behind two sizes that may be left out, a filter each, LZMA2 last. */
static uint64_t xz_window(struct bytes head)
{
    uint8_t flags = u8(head, 13);
    size_t at = 14;
    for (int k = !!(flags & 0x40) + !!(flags & 0x80); k; k--) /* seven bits a byte, the last below 0x80 */
        while (u8(head, at++) & 0x80 && !head.bad->set)
            ;
    for (int k = flags & 3; k;
         k--) /* others first: a number below 0x80, the length of what it is told, and that */
        at += 2 + u8(head, at + 1);
    uint8_t bits = u8(head, at + 2);
    if (head.bad->set || u8(head, at) != 0x21 || bits > 40)
        return UINT64_MAX;
    return (uint64_t)(2 | (bits & 1)) << (bits / 2 + 11);
}

/* The window, or dictionary, that a stream's first header asks for. Sources: RFC 8878, 3.1.1.1; the .xz
 * format, 3.1 and 5.3.1; .lzma's header. */
static uint64_t window_of(const char *packing, struct bytes head)
{
    if (!strcmp(packing, "lzma"))
        return le32(head, 1);
    if (!strcmp(packing, "xz"))
        return xz_window(head);
    if (strcmp(packing, "zstd"))
        return 0;
    uint8_t descriptor = u8(head, 4), size = descriptor >> 6;
    if (descriptor & 0x20) { /* a single segment: its window is its content */
        size_t at = 5 + ((descriptor & 3) == 3 ? 4 : descriptor & 3);
        return size == 0   ? u8(head, at)
               : size == 1 ? le16(head, at)
               : size == 2 ? le32(head, at)
                           : le64(head, at);
    }
    uint64_t base = UINT64_C(1024) << (u8(head, 5) >> 3);
    return base + base / 8 * (u8(head, 5) & 7);
}

/* ---- what is in it ---- */

struct reading {
    const struct initramfs_file *file;
    struct initramfs *image;
    struct fault *fault;
    uint64_t at, end; /* where the next part is; where the image ends for now */
    uint64_t left;    /* bytes that may still be unpacked */
    size_t name_bytes;
};

/* "modules/X/kernel/y.ko" behind lib/: takes note of X, and of how its modules are named. */
static int note_module(struct initramfs *i, const char *name)
{
    static const char *const roots[] = { "lib/modules/", "usr/lib/modules/" };
    for (size_t k = 0; k < 2; k++) {
        size_t n = strlen(roots[k]);
        const char *slash = strncmp(name, roots[k], n) ? NULL : strchr(name + n, '/');
        if (!slash)
            continue;
        size_t len = (size_t)(slash - name) - n;
        if (i->kernel && (strncmp(i->kernel, name + n, len) || i->kernel[len]))
            i->several_kernels = true;
        else if (!i->kernel && !(i->kernel = strndup(name + n, len)))
            return -ENOMEM;
        const char *suffix = strrchr(slash, '/');
        suffix = suffix ? strstr(suffix, ".ko") : NULL;
        if (suffix && !i->module_suffix[0])
            snprintf(i->module_suffix, sizeof i->module_suffix, "%s", suffix);
    }
    return 0;
}

static int note_name(struct reading *r, const char *name)
{
    struct initramfs *i = r->image;
    if (i->n_names == i->size_names) {
        size_t size = i->size_names ? 2 * i->size_names : 256;
        char **p = i->n_names < MAX_NAMES ? realloc(i->names, size * sizeof *p) : NULL;
        if (!p)
            return i->n_names < MAX_NAMES ? -ENOMEM : -EFBIG;
        i->names = p;
        i->size_names = size;
    }
    r->name_bytes += strlen(name) + 1;
    if (r->name_bytes > MAX_NAME_BYTES)
        return -EFBIG;
    if (!(i->names[i->n_names] = strdup(name)))
        return -ENOMEM;
    i->n_names++;
    return note_module(i, name);
}

static int note_link(struct initramfs *i, const char *name, const struct cpio_entry *e)
{
    if (i->n_links == MAX_LINKS)
        return -EFBIG;
    struct initramfs_link *p = realloc(i->links, (i->n_links + 1) * sizeof *p);
    if (!p)
        return -ENOMEM;
    i->links = p;
    p += i->n_links;
    p->name = strdup(name);
    p->text = strndup(e->data ? (const char *)e->data : "", e->size < MAX_LINK ? e->size : MAX_LINK);
    i->n_links++;
    return p->name && p->text ? 0 : -ENOMEM;
}

static int note_entry(void *ctx, const struct cpio_entry *e)
{
    struct reading *r = ctx;
    const char *name = e->name;
    while (name[0] == '/' || (name[0] == '.' && name[1] == '/'))
        name += name[0] == '/' ? 1 : 2;
    if (!strcmp(name, "lib"))
        r->image->lib_is_link = S_ISLNK(e->mode);
    if (!strcmp(name, INITRAMFS_TOOLS_LIST) && S_ISREG(e->mode) && (e->data || !e->size)) {
        char *load = strndup(e->data ? (const char *)e->data : "", e->size);
        if (!load)
            return -ENOMEM;
        free(r->image->load);
        r->image->load = load;
    }
    if (!strncmp(name, INITRAMFS_LINKS, strlen(INITRAMFS_LINKS))) {
        int err = note_link(r->image, name, e);
        if (err < 0)
            return err;
    }
    return *name && strcmp(name, ".") != 0 ? note_name(r, name) : 0;
}

/* ---- plain archives ---- */

struct plain {
    struct cpio_source source;
    const struct initramfs_file *file;
    uint64_t at, end;
};

static int read_inside(const struct initramfs_file *f, void *buf, size_t len, uint64_t off, uint64_t end,
                       size_t *ret)
{
    *ret = 0;
    if (off >= end)
        return 0;
    return f->read(f->ctx, buf, (size_t)min_u64(len, end - off), off, ret);
}

static int plain_pull(struct cpio_source *s, void *buf, size_t len, size_t *ret)
{
    struct plain *p = (struct plain *)(void *)s;
    int r = read_inside(p->file, buf, len, p->at, p->end, ret);
    p->at += *ret;
    return r;
}

/* ---- compressed ones ---- */

struct packed {
    struct cpio_source source;
    const struct initramfs_file *file;
    uint64_t at, end;
    struct archive *archive;
    uint8_t chunk[CHUNK];
    int error;      /* of reading */
    uint64_t *left; /* the reading's */
    /* Was looked at and given back. */
    uint8_t ahead[1];
    size_t n_ahead;
};

static la_ssize_t packed_read(struct archive *a, void *ctx, const void **ret)
{
    struct packed *p = ctx;
    size_t n;
    int r = read_inside(p->file, p->chunk, sizeof p->chunk, p->at, p->end, &n);
    if (r < 0) {
        p->error = r;
        archive_set_error(a, -r, "can't be read");
        return -1;
    }
    p->at += n;
    *ret = p->chunk;
    return (la_ssize_t)n;
}

static int packed_more(struct packed *p, uint8_t *buf, size_t len, size_t *ret)
{
    while (*ret < len) {
        la_ssize_t n = archive_read_data(p->archive, buf + *ret, len - *ret);
        if (n == 0)
            break;
        if (n < 0)
            return p->error ? p->error : -EUCLEAN;
        *ret += (size_t)n;
        if ((uint64_t)n > *p->left)
            return -EFBIG;
        *p->left -= (uint64_t)n;
    }
    return 0;
}

static int packed_pull(struct cpio_source *s, void *buf, size_t len, size_t *ret)
{
    struct packed *p = (struct packed *)(void *)s;
    *ret = p->n_ahead < len ? p->n_ahead : len;
    memcpy(buf, p->ahead, *ret);
    memmove(p->ahead, p->ahead + *ret, p->n_ahead - *ret);
    p->n_ahead -= *ret;
    return packed_more(p, buf, len, ret);
}

/* Past the zeros behind an archive: 1 when another one begins there, 0 at the stream's end. What can't be
 * unpacked behind an archive that ended isn't part of the stream; what can is taken by the kernel for junk,
 * and it stops. */
static int packed_next(struct packed *p)
{
    do {
        p->n_ahead = 0;
        int r = packed_more(p, p->ahead, 1, &p->n_ahead);
        if (r == -EFBIG || !p->n_ahead)
            return r == -EFBIG ? r : 0;
    } while (!p->ahead[0]);
    return p->ahead[0] == '0' ? 1 : -EUCLEAN;
}

static int packed_open(struct packed *p, const char *packing)
{
    struct archive_entry *entry;
    uint8_t head[HEAD] = { 0 };
    struct bad bad = { 0 };
    size_t n;
    int r = read_inside(p->file, head, sizeof head, p->at, p->end, &n);
    if (!r && window_of(packing, bytes_of(head, sizeof head, p->at, &bad)) > max_window)
        r = -EFBIG;
    if (r < 0)
        return r;
    p->archive = archive_read_new();
    if (!p->archive)
        return -ENOMEM;
    r = support(p->archive, packing);
    if (!r && (archive_read_open(p->archive, p, NULL, packed_read, NULL) != ARCHIVE_OK ||
               archive_read_next_header(p->archive, &entry) != ARCHIVE_OK))
        r = p->error ? p->error : -EUCLEAN;
    return r;
}

static int read_packed(struct reading *r, const char *packing)
{
    struct packed *p = calloc(1, sizeof *p);
    uint64_t length;
    int more = 0;
    if (!p)
        return -ENOMEM;
    p->source.pull = packed_pull;
    p->file = r->file;
    p->at = r->at;
    p->end = r->end;
    p->left = &r->left;
    int err = strcmp(packing, "lz4") ? 0 : initramfs_lz4_end(r->file, r->at, r->end, &p->end);
    if (err == 0)
        err = packed_open(p, packing);
    if (err == 0) {
        do
            err = cpio_walk(&p->source, MAX_LOAD, note_entry, r, &length);
        while (err == 0 && (more = packed_next(p)) > 0);
        err = err < 0 ? err : more;
        if (err == 0 && p->error)
            err = p->error;
    }
    uint64_t end = p->end;
    archive_read_free(p->archive);
    free(p);
    if (err == -EUCLEAN || err == -ENODATA)
        fault_at(r->fault, -EUCLEAN, r->file->name, r->at, "its %s stream has no whole archive in it",
                 packing);
    if (err == -ENOTSUP)
        fault_at(r->fault, err, r->file->name, r->at, "compressed with %s, which isn't read", packing);
    r->image->packing = packing;
    r->image->stream_at = r->at;
    r->at = end;
    return err;
}

/* ---- one part after the other ---- */

static int read_plain(struct reading *r)
{
    struct plain p = { { plain_pull }, r->file, r->at, r->end };
    uint64_t length;
    int err = cpio_walk(&p.source, MAX_LOAD, note_entry, r, &length);
    if (err == -EUCLEAN || err == -ENODATA)
        fault_at(r->fault, -EUCLEAN, r->file->name, r->at + length, "its archive is damaged here");
    r->at += length;
    return err;
}

/* Zeros from r->at on. */
static int skip_zeros(struct reading *r)
{
    uint8_t buf[4096];
    struct bad bad = { 0 };
    for (;;) {
        size_t n, zeros;
        int err = read_inside(r->file, buf, sizeof buf, r->at, r->end, &n);
        if (err < 0 || !n)
            return err;
        zeros = bytes_zeros(bytes_of(buf, n, r->at, &bad), 0);
        r->at += zeros;
        if (zeros < n)
            return 0;
    }
}

static int read_part(struct reading *r)
{
    uint8_t head[6];
    size_t n;
    int err = read_inside(r->file, head, sizeof head, r->at, r->end, &n);
    if (err < 0 || !n)
        return err;
    if (head[0] == '0' && !(r->at & 3))
        return read_plain(r);
    const char *packing = packing_of(head, n);
    if (!packing)
        return fault_at(r->fault, -ENOTSUP, r->file->name, r->at,
                        "neither an archive nor a compression that is known");
    return read_packed(r, packing);
}

static int read_parts(struct reading *r, uint64_t from, uint64_t to)
{
    r->at = from;
    r->end = to;
    do {
        uint64_t before = r->at;
        int err = skip_zeros(r);
        err = err < 0 ? err : read_part(r);
        if (err < 0)
            return err;
        if (r->at == before && before < to)
            return fault_at(r->fault, -EUCLEAN, r->file->name, before, "the file is shorter than it says");
    } while (r->at < r->end);
    return 0;
}

/* If the image up to `end` ends with an archive of ours: where the image ended without it. */
static int ours_before(const struct initramfs_file *f, uint64_t end, bool *ret_ours, uint64_t *ret)
{
    uint8_t tail[INITRAMFS_TAIL];
    struct cpio_out want = { 0 };
    char digits[17] = "";
    size_t n;
    *ret_ours = false;
    if (end < sizeof tail)
        return 0;
    int r = f->read(f->ctx, tail, sizeof tail, end - sizeof tail, &n);
    if (r < 0 || n < sizeof tail)
        return r;
    memcpy(digits, tail + INITRAMFS_TAIL_DIGITS, 16);
    *ret = strtoull(digits, NULL, 16);
    initramfs_put_tail(&want, *ret);
    /* The first field is the entry's number, which isn't known. */
    bool same = cpio_end(&want) == 0 && want.n == sizeof tail && !memcmp(tail, want.p, 6) &&
                !memcmp(tail + 14, want.p + 14, sizeof tail - 14);
    free(want.p);
    *ret_ours = same && !(end & 3) && round_up(*ret, 4) <= end - sizeof tail;
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void find_maker(struct initramfs *i)
{
    if (initramfs_has(i, "conf/initramfs.conf") || initramfs_has(i, "scripts/functions"))
        i->maker = INITRAMFS_TOOLS;
    else if (initramfs_has(i, "usr/lib/dracut") || initramfs_has(i, "lib/dracut") ||
             initramfs_has(i, "var/lib/dracut"))
        i->maker = INITRAMFS_DRACUT;
    else if (initramfs_has(i, "hooks") && initramfs_has(i, "init_functions"))
        i->maker = INITRAMFS_MKINITCPIO;
}

int initramfs_read(const struct initramfs_file *f, struct initramfs *ret, struct fault *fault)
{
    uint64_t ends[MAX_SEGMENTS + 1] = { f->size };
    size_t n = 0;
    bool ours = false;
    struct reading r = { .file = f, .image = ret, .fault = fault, .left = f->budget ? f->budget : max_image };
    *ret = (struct initramfs){ .packing = "", .end = f->size };
    if (f->size > max_image)
        return fault_in(fault, -EFBIG, f->name, "over %" PRIu64 " MiB", max_image >> 20);
    int err = ours_before(f, f->size, &ours, &ends[1]);
    while (err == 0 && ours && ++n < MAX_SEGMENTS)
        err = ours_before(f, ends[n], &ours, &ends[n + 1]);
    err = err < 0 ? err : read_parts(&r, 0, ends[n]);
    for (; err == 0 && n; n--)
        err = read_parts(&r, round_up(ends[n], 4), ends[n - 1]);
    ret->unpacked = (f->budget ? f->budget : max_image) - r.left;
    if (err < 0)
        return fault_in(fault, err == -ENODATA ? -EUCLEAN : err, f->name, "can't be read");
    if (!ret->n_names)
        return fault_in(fault, -EUCLEAN, f->name, "there is nothing in it");
    qsort(ret->names, ret->n_names, sizeof *ret->names, compare_names);
    find_maker(ret);
    return 0;
}

void initramfs_done(struct initramfs *i)
{
    for (size_t k = 0; k < i->n_names; k++)
        free(i->names[k]);
    for (size_t k = 0; k < i->n_links; k++) {
        free(i->links[k].name);
        free(i->links[k].text);
    }
    free(i->links);
    free(i->names);
    free(i->kernel);
    free(i->load);
    *i = (struct initramfs){ 0 };
}

bool initramfs_has(const struct initramfs *i, const char *name)
{
    return i->n_names && bsearch(&name, i->names, i->n_names, sizeof *i->names, compare_names);
}

const char *initramfs_link_text(const struct initramfs *i, const char *name)
{
    for (size_t k = i->n_links; k--;)
        if (!strcmp(i->links[k].name, name))
            return i->links[k].text;
    return NULL;
}

bool initramfs_names_for_good(const struct initramfs *i)
{
    static const char rule[] = "lib/udev/rules.d/80-net-setup-link.rules", library[] = "/libsystemd-shared-";
    if (!initramfs_has(i, rule) && !initramfs_has(i, "usr/lib/udev/rules.d/80-net-setup-link.rules"))
        return false;
    for (size_t k = 0; k < i->n_names; k++) {
        const char *version = strstr(i->names[k], library);
        if (version && strtoul(version + strlen(library), NULL, 10) >= 240)
            return false;
    }
    return true;
}

bool initramfs_has_module(const struct initramfs *i, const char *path)
{
    char name[CPIO_NAME_MAX];
    if (!i->kernel)
        return false;
    int n = snprintf(name, sizeof name, "usr/lib/modules/%s/%s", i->kernel, path);
    return n > 0 && (size_t)n < sizeof name &&
           (initramfs_has(i, name) || initramfs_has(i, name + strlen("usr/")));
}

static int unpack_from(struct archive *a, size_t max, uint8_t **ret, size_t *ret_n)
{
    _cleanup_free_ uint8_t *out = NULL;
    size_t size = 0, n = 0;
    for (;;) {
        if (n == size) {
            size = size ? 2 * size : CHUNK;
            uint8_t *p = n <= max ? realloc(out, size) : NULL;
            if (!p)
                return n <= max ? -ENOMEM : -EFBIG;
            out = p;
        }
        la_ssize_t got = archive_read_data(a, out + n, size - n);
        if (got < 0)
            return -EUCLEAN;
        if (!got)
            break;
        n += (size_t)got;
    }
    if (n > max)
        return -EFBIG;
    *ret = TAKE_PTR(out);
    *ret_n = n;
    return 0;
}

int initramfs_unpack(const void *p, size_t n, size_t max, uint8_t **ret, size_t *ret_n)
{
    struct archive_entry *entry;
    const char *packing = packing_of(p, n);
    if (!packing) {
        *ret = malloc(n + 1);
        if (!*ret)
            return -ENOMEM;
        memcpy(*ret, p, n);
        *ret_n = n;
        return 0;
    }
    uint8_t head[HEAD] = { 0 };
    struct bad bad = { 0 };
    memcpy(head, p, n < sizeof head ? n : sizeof head);
    if (window_of(packing, bytes_of(head, sizeof head, 0, &bad)) > max_window)
        return -EFBIG;
    struct archive *a = archive_read_new();
    if (!a)
        return -ENOMEM;
    int r = support(a, packing);
    if (!r)
        r = archive_read_open_memory(a, p, n) != ARCHIVE_OK ||
                    archive_read_next_header(a, &entry) != ARCHIVE_OK
                ? -EUCLEAN
                : unpack_from(a, max, ret, ret_n);
    archive_read_free(a);
    return r;
}
