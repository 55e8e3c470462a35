/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The qcow2 header: QEMU's docs/interop/qcow2, all fields big-endian.
 *
 *     0    magic "QFI\xfb", version       cluster 0:  | header | extensions | backing name |      |
 *     8    backing name: offset, length                        ^ header_length, or 72 in version 2
 *     20   cluster_bits                   extension:  u32 type, u32 length, data, padding to 8;
 *     24   size of the guest's disk                   type 0 ends the list
 *     32   encryption method
 *     36   L1 table: entries, offset
 *     48   refcount table: offset, clusters
 *     60   snapshots: number, offset
 *     72   (from here version 3) incompatible, compatible, autoclear features
 *     96   refcount_order, header_length, compression_type
 *
 * What is odd: a backing name has no terminator and may begin at any byte; it is a path or one of QEMU's
 * protocol names (json:, nbd:), which are refused here,
 * but for a json: that only names a file. A header_length of 104 has no compression type. */
#include "qcow2-header.h"
#include "bytes.h"
#include "checked.h"
#include "qcow2-name.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

enum {
    H_VERSION = 4,
    H_BACKING_OFFSET = 8,
    H_BACKING_SIZE = 16,
    H_CLUSTER_BITS = 20,
    H_SIZE = 24,
    H_CRYPT_METHOD = 32,
    H_L1_SIZE = 36,
    H_L1_OFFSET = 40,
    H_REFCOUNT_OFFSET = 48,
    H_REFCOUNT_CLUSTERS = 56,
    H_N_SNAPSHOTS = 60,
    H_SNAPSHOTS_OFFSET = 64,
    H_V2_LENGTH = 72,
    H_INCOMPATIBLE = 72,
    H_AUTOCLEAR = 88,
    H_REFCOUNT_ORDER = 96,
    H_LENGTH = 100,
    H_V3_LENGTH = 104,
    H_COMPRESSION_TYPE = 104,
};

enum {
    MIN_CLUSTER_BITS = 9,
    MAX_CLUSTER_BITS = 21,
    MIN_EXTENDED_BITS = 14, /* a subcluster is no smaller than a sector */
    MAX_REFCOUNT_ORDER = 6,
    V2_REFCOUNT_ORDER = 4,
    MAX_BACKING_NAME = 1023,
    MAX_L1_BYTES = 32 << 20,      /* QEMU's: enough for 2 PiB in clusters of 64 KiB */
    MAX_REFCOUNT_BYTES = 8 << 20, /* QEMU's: enough for a file of 2 PiB in clusters of 64 KiB */
};

/* Incompatible features, by bit. Bit 0 (dirty: the refcounts are stale) means nothing to a reader. */
enum {
    INCOMPATIBLE_CORRUPT = 1 << 1,
    INCOMPATIBLE_DATA_FILE = 1 << 2,
    INCOMPATIBLE_COMPRESSION = 1 << 3,
    INCOMPATIBLE_EXTENDED_L2 = 1 << 4,
    INCOMPATIBLE_KNOWN = 0x1f,
    AUTOCLEAR_BITMAPS = 1 << 0,
    AUTOCLEAR_DATA_FILE_RAW = 1 << 1,
};

enum {
    EXTENSION_END = 0,
    EXTENSION_FEATURE_NAMES = 0x6803f857,
    EXTENSION_DATA_FILE = 0x44415441,
    EXTENSION_BITMAPS = 0x23852875,
};
#define EXTENSION_BACKING_FORMAT 0xe2792acau

/* The extension that leads to the bitmaps. */
enum { BITMAPS_N = 0, BITMAPS_SIZE = 8, BITMAPS_OFFSET = 16, BITMAPS_LENGTH = 24 };

/* One record of the feature name table. */
enum { FEATURE_RECORD = 48, FEATURE_SET = 0, FEATURE_BIT = 1, FEATURE_NAME = 2, SET_INCOMPATIBLE = 0 };

/* What the stages of reading hand on. `raw` is cluster 0, as much of it as the file has. */
struct header_reader {
    struct file *file;
    struct fault *fault;
    struct bytes raw;
    struct qcow2_header h;
    uint64_t incompatible, autoclear;
    uint64_t backing_offset;
    uint32_t backing_size;
    uint32_t length; /* of the header without extensions */
    struct bytes extensions;
};

uint64_t qcow2_l1_coverage(const struct qcow2_header *h)
{
    return h->cluster_size * (h->cluster_size / (h->extended_l2 ? 16 : 8));
}

void qcow2_header_done(struct qcow2_header *h)
{
    free(h->backing_name);
    free(h->backing_format);
    free(h->data_file_name);
    *h = (struct qcow2_header){ 0 };
}

static int refuse(struct header_reader *r, int err, uint64_t off, const char *what)
{
    return fault_at(r->fault, err, r->file->name, off, "%s", what);
}

/* ---- version and cluster size: enough to know where cluster 0 ends ---- */

static int check_version(struct header_reader *r, uint32_t version)
{
    if (version == 2 || version == 3)
        return 0;
    if (version == 1) {
        fault_in(r->fault, -ENOTSUP, r->file->name,
                 "is a qcow image of version 1, which ferryfs doesn't read");
        return fault_hint(r->fault, -ENOTSUP, "qemu-img convert -O qcow2 renews it");
    }
    return fault_at(r->fault, version == 0 || version > 255 ? -EUCLEAN : -ENOTSUP, r->file->name, H_VERSION,
                    "qcow2 version %u is not known", version);
}

static int read_start(struct header_reader *r)
{
    uint8_t buf[H_V2_LENGTH];
    struct bad bad = { 0 };
    int err = file_pread_what(r->file, buf, sizeof buf, 0, "the qcow2 header", r->fault);
    if (err < 0)
        return err;
    struct bytes b = bytes_of(buf, sizeof buf, 0, &bad);
    if (be32(b, 0) != QCOW2_MAGIC)
        return refuse(r, -EUCLEAN, 0, "has no qcow2 header");
    err = check_version(r, be32(b, H_VERSION));
    if (err < 0)
        return err;
    uint32_t bits = be32(b, H_CLUSTER_BITS);
    if (bits < MIN_CLUSTER_BITS || bits > MAX_CLUSTER_BITS)
        return fault_at(r->fault, -EUCLEAN, r->file->name, H_CLUSTER_BITS,
                        "a cluster size of 2^%u bytes is impossible", bits);
    r->h.version = be32(b, H_VERSION);
    r->h.cluster_bits = bits;
    r->h.cluster_size = UINT64_C(1) << bits;
    return 0;
}

/* ---- the fixed fields ---- */

static int read_v3_fields(struct header_reader *r)
{
    struct bytes b = r->raw;
    if (r->h.version == 2) {
        r->length = H_V2_LENGTH;
        r->h.refcount_order = V2_REFCOUNT_ORDER;
        return 0;
    }
    r->length = be32(b, H_LENGTH);
    if (r->length < H_V3_LENGTH || r->length % 8 || r->length > r->h.cluster_size)
        return fault_at(r->fault, -EUCLEAN, r->file->name, H_LENGTH, "a header length of %u is impossible",
                        r->length);
    r->incompatible = be64(b, H_INCOMPATIBLE);
    r->autoclear = be64(b, H_AUTOCLEAR);
    r->h.refcount_order = be32(b, H_REFCOUNT_ORDER);
    if (r->h.refcount_order > MAX_REFCOUNT_ORDER)
        return refuse(r, -EUCLEAN, H_REFCOUNT_ORDER, "the refcounts have an impossible width");
    return 0;
}

static void read_fields(struct header_reader *r)
{
    struct bytes b = r->raw;
    r->backing_offset = be64(b, H_BACKING_OFFSET);
    r->backing_size = r->backing_offset ? be32(b, H_BACKING_SIZE) : 0;
    r->h.size = be64(b, H_SIZE);
    r->h.l1_size = be32(b, H_L1_SIZE);
    r->h.l1_offset = be64(b, H_L1_OFFSET);
    r->h.refcount_offset = be64(b, H_REFCOUNT_OFFSET);
    r->h.refcount_bytes = (uint64_t)be32(b, H_REFCOUNT_CLUSTERS) * r->h.cluster_size;
    r->h.n_snapshots = be32(b, H_N_SNAPSHOTS);
    r->h.snapshots_offset = be64(b, H_SNAPSHOTS_OFFSET);
}

static int check_encryption(struct header_reader *r)
{
    uint32_t method = be32(r->raw, H_CRYPT_METHOD);
    if (!method)
        return 0;
    if (method > 2)
        return fault_at(r->fault, -EUCLEAN, r->file->name, H_CRYPT_METHOD,
                        "encryption method %u is not known", method);
    fault_at(r->fault, -ENOTSUP, r->file->name, H_CRYPT_METHOD, "is encrypted (%s)",
             method == 1 ? "AES" : "LUKS");
    return fault_hint(r->fault, -ENOTSUP, "decrypt it with qemu-img convert first");
}

/* ---- extensions ---- */

struct extension {
    uint32_t type;
    struct bytes data;
};

/* 1 and the next extension, 0 at the end of the list, -EUCLEAN when one doesn't fit. */
static int extension_next(struct bytes area, size_t *pos, struct extension *ret)
{
    if (*pos > area.n || area.n - *pos < 8)
        return 0;
    uint32_t length = be32(area, *pos + 4);
    ret->type = be32(area, *pos);
    if (ret->type == EXTENSION_END)
        return 0;
    if (length > area.n - *pos - 8)
        return -EUCLEAN;
    ret->data = bytes_sub(area, *pos + 8, length);
    *pos += 8 + (size_t)round_up(length, 8); /* the padding of the last may lie outside */
    return 1;
}

/* Between the header and the backing name or the end of cluster 0. */
static int find_extensions(struct header_reader *r)
{
    uint64_t end = r->h.cluster_size;
    if (r->backing_size) {
        if (r->backing_size > MAX_BACKING_NAME)
            return refuse(r, -EUCLEAN, H_BACKING_SIZE, "the name of the backing file is too long");
        if (r->backing_offset < r->length || !range_inside(r->backing_offset, r->backing_size, end))
            return refuse(r, -EUCLEAN, H_BACKING_OFFSET,
                          "the name of the backing file lies outside cluster 0");
        end = r->backing_offset;
    }
    end = min_u64(end, r->raw.n);
    if (end < r->length)
        return refuse(r, -ENODATA, r->raw.n, "truncated: the file ends in its header");
    r->extensions = bytes_sub(r->raw, r->length, (size_t)(end - r->length));
    return 0;
}

/* The name of an incompatible feature by the image's own table; "" when it has none. */
static void feature_name(struct header_reader *r, unsigned bit, char *ret, size_t size)
{
    struct extension x;
    size_t pos = 0;
    *ret = 0;
    while (extension_next(r->extensions, &pos, &x) > 0) {
        if (x.type != EXTENSION_FEATURE_NAMES)
            continue;
        for (size_t at = 0; x.data.n - at >= FEATURE_RECORD; at += FEATURE_RECORD) {
            struct bytes record = bytes_sub(x.data, at, FEATURE_RECORD);
            size_t n = strnlen((const char *)record.p + FEATURE_NAME, FEATURE_RECORD - FEATURE_NAME);
            if (u8(record, FEATURE_SET) != SET_INCOMPATIBLE || u8(record, FEATURE_BIT) != bit)
                continue;
            n = min_u64(n, size - 1);
            memcpy(ret, record.p + FEATURE_NAME, n);
            ret[n] = 0;
            return;
        }
    }
}

static int check_features(struct header_reader *r)
{
    uint64_t unknown = r->incompatible & ~(uint64_t)INCOMPATIBLE_KNOWN;
    if (unknown) {
        char name[64];
        unsigned bit = (unsigned)__builtin_ctzll(unknown);
        feature_name(r, bit, name, sizeof name);
        return fault_at(r->fault, -ENOTSUP, r->file->name, H_INCOMPATIBLE,
                        "needs a feature that ferryfs doesn't know: \"%s\" (incompatible bit %u)",
                        name[0] ? name : "unnamed", bit);
    }
    uint8_t compression = r->length > H_COMPRESSION_TYPE ? u8(r->raw, H_COMPRESSION_TYPE) : 0;
    if (!compression != !(r->incompatible & INCOMPATIBLE_COMPRESSION))
        return refuse(r, -EUCLEAN, H_COMPRESSION_TYPE,
                      "the compression type and its feature bit contradict each other");
    if (compression > 1)
        return fault_at(r->fault, -ENOTSUP, r->file->name, H_COMPRESSION_TYPE,
                        "compression type %u is not known", compression);
    r->h.zstd = compression == 1;
    r->h.corrupt = r->incompatible & INCOMPATIBLE_CORRUPT;
    r->h.extended_l2 = r->incompatible & INCOMPATIBLE_EXTENDED_L2;
    r->h.data_file = r->incompatible & INCOMPATIBLE_DATA_FILE;
    r->h.data_file_raw = r->h.data_file && (r->autoclear & AUTOCLEAR_DATA_FILE_RAW);
    if (r->h.extended_l2 && r->h.cluster_bits < MIN_EXTENDED_BITS)
        return refuse(r, -EUCLEAN, H_CLUSTER_BITS, "clusters this small have no subclusters");
    return 0;
}

/* ---- names ---- */

/* A string of the image; NULs may follow it, but none may stand inside. */
static int copy_name(struct header_reader *r, struct bytes b, const char *what, char **ret)
{
    size_t n = strnlen((const char *)b.p, b.n);
    for (size_t i = n; i < b.n; i++)
        if (b.p[i])
            return fault_at(r->fault, -EUCLEAN, r->file->name, b.at, "a NUL inside the name of the %s", what);
    char *s = strndup((const char *)b.p, n);
    if (!s)
        return fault_in(r->fault, -ENOMEM, r->file->name, "out of memory");
    free(*ret); /* a second extension of one kind replaces the first, as in QEMU */
    *ret = s;
    return 0;
}

/* Leaves a path in *name, or refuses what is none: as in QEMU, a name with a colon before any slash names a
 * protocol. */
static int check_reference(struct header_reader *r, const char *role, char **name)
{
    static const char file[] = "file:";
    const size_t skip = sizeof file - 1;
    char *s = *name;
    size_t n = strlen(s);
    if (!strncmp(s, file, skip)) {
        memmove(s, s + skip, n - skip + 1);
        return 0;
    }
    if (s[strcspn(s, ":/")] != ':')
        return 0;
    fault_in(r->fault, -EPERM, r->file->name, "its %s \"%.200s\" is not a file", role, s);
    return fault_hint(r->fault, -EPERM, "convert it with qemu-img, or name a file with qemu-img rebase -u");
}

/* QEMU's names of formats to ours. */
static int translate_format(struct header_reader *r, char **format)
{
    static const char *const ours[][2] = { { "vpc", "vhd" }, { "host_device", "raw" } };
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        if (!strcmp(*format, ours[i][0])) {
            char *s = strdup(ours[i][1]);
            if (!s)
                return fault_in(r->fault, -ENOMEM, r->file->name, "out of memory");
            free(*format);
            *format = s;
            break;
        }
    if (!**format) { /* an empty extension states nothing */
        free(*format);
        *format = NULL;
    }
    return 0;
}

/* In place of the name, and of the format beside it. */
static int take_json_name(struct header_reader *r)
{
    struct qcow2_json_name n;
    int err = qcow2_json_name_read(r->h.backing_name, &n);
    if (err == -EPERM)
        return 0; /* check_reference() refuses it */
    if (err < 0)
        return fault_in(r->fault, err, r->file->name, "out of memory");
    const char *beside = r->h.backing_format;
    if (beside && strcmp(strcmp(beside, "vhd") ? beside : "vpc", n.driver)) {
        free(n.path);
        free(n.format);
        return 0; /* the same */
    }
    free(r->h.backing_name);
    free(r->h.backing_format);
    r->h.backing_name = n.path;
    r->h.backing_format = n.format;
    r->h.backing_part = n.part;
    r->h.backing_offset = n.offset;
    r->h.backing_length = n.length;
    return translate_format(r, &r->h.backing_format);
}

/* One of another length is none that we know; the disk doesn't need it. */
static void read_bitmaps_extension(struct header_reader *r, struct bytes b)
{
    if (b.n != BITMAPS_LENGTH)
        return;
    r->h.n_bitmaps = be32(b, BITMAPS_N);
    r->h.bitmaps_size = be64(b, BITMAPS_SIZE);
    r->h.bitmaps_offset = be64(b, BITMAPS_OFFSET);
    r->h.bitmaps_consistent = r->autoclear & AUTOCLEAR_BITMAPS;
}

static int read_extensions(struct header_reader *r)
{
    struct extension x;
    size_t pos = 0;
    int more, err = 0;
    while (!err && (more = extension_next(r->extensions, &pos, &x)) != 0) {
        uint64_t at = r->extensions.at + pos;
        if (more < 0 && r->raw.n < r->h.cluster_size)
            return refuse(r, -ENODATA, r->raw.n, "truncated: the file ends in a header extension");
        if (more < 0)
            return refuse(r, -EUCLEAN, at, "a header extension doesn't fit into the header");
        if (x.type == EXTENSION_BACKING_FORMAT)
            err = copy_name(r, x.data, "backing file's format", &r->h.backing_format);
        else if (x.type == EXTENSION_DATA_FILE)
            err = copy_name(r, x.data, "data file", &r->h.data_file_name);
        else if (x.type == EXTENSION_BITMAPS)
            read_bitmaps_extension(r, x.data);
    }
    if (!err && r->h.backing_format)
        err = translate_format(r, &r->h.backing_format);
    return err;
}

static int read_names(struct header_reader *r)
{
    int err = read_extensions(r);
    if (!err && r->backing_size && !range_inside(r->backing_offset, r->backing_size, r->raw.n))
        return refuse(r, -ENODATA, r->raw.n, "truncated: the file ends in the name of its backing file");
    if (!err && r->backing_size)
        err = copy_name(r, bytes_sub(r->raw, (size_t)r->backing_offset, r->backing_size), "backing file",
                        &r->h.backing_name);
    bool absolute = false; /* a path that may have a colon */
    if (!err && r->h.backing_name && !strncmp(r->h.backing_name, "json:", 5)) {
        err = take_json_name(r);
        absolute = r->h.backing_name[0] == '/';
    }
    if (!err && r->h.backing_name && !absolute)
        err = check_reference(r, "backing file", &r->h.backing_name);
    if (err || !r->h.data_file)
        return err;
    if (!r->h.data_file_name)
        return fault_in(r->fault, -ENOTSUP, r->file->name,
                        "its data lies in another file, which it doesn't name");
    return check_reference(r, "data file", &r->h.data_file_name);
}

/* ---- tables ---- */

static int check_l1(struct header_reader *r)
{
    const struct qcow2_header *h = &r->h;
    uint64_t needed = div_up(h->size, qcow2_l1_coverage(h));
    if ((uint64_t)h->l1_size * 8 > MAX_L1_BYTES)
        return fault_at(r->fault, -EFBIG, r->file->name, H_L1_SIZE,
                        "an L1 table of %u entries is larger than QEMU would make one", h->l1_size);
    if (h->l1_size < needed)
        return fault_at(r->fault, -EUCLEAN, r->file->name, H_L1_SIZE,
                        "an L1 table of %u entries is too small for the disk of %llu bytes", h->l1_size,
                        (unsigned long long)h->size);
    if (h->l1_offset % h->cluster_size || (needed && !h->l1_offset))
        return refuse(r, -EUCLEAN, H_L1_OFFSET, "the L1 table lies at an impossible place");
    if (!range_inside(h->l1_offset, needed * 8, r->file->size))
        return refuse(r, -ENODATA, r->file->size, "truncated: the file ends before the end of its L1 table");
    return 0;
}

static int check_refcounts(struct header_reader *r)
{
    const struct qcow2_header *h = &r->h;
    if (h->refcount_bytes > MAX_REFCOUNT_BYTES)
        return refuse(r, -EFBIG, H_REFCOUNT_CLUSTERS, "the refcount table is larger than QEMU would make it");
    if (h->refcount_offset % h->cluster_size || (h->refcount_bytes && !h->refcount_offset))
        return refuse(r, -EUCLEAN, H_REFCOUNT_OFFSET, "the refcount table lies at an impossible place");
    if (!range_inside(h->refcount_offset, h->refcount_bytes, r->file->size))
        return refuse(r, -ENODATA, r->file->size,
                      "truncated: the file ends before the end of its refcount table");
    return 0;
}

/* ---- all of it ---- */

static int read_rest(struct header_reader *r)
{
    int err = read_v3_fields(r);
    if (err < 0)
        return err;
    read_fields(r);
    if ((err = check_encryption(r)) < 0 || (err = find_extensions(r)) < 0 || (err = check_features(r)) < 0 ||
        (err = read_names(r)) < 0 || (err = check_l1(r)) < 0)
        return err;
    return check_refcounts(r);
}

int qcow2_header_read(struct file *file, struct qcow2_header *ret, struct fault *fault)
{
    struct header_reader r = { .file = file, .fault = fault };
    int err = read_start(&r);
    if (err < 0)
        return err;
    size_t n = (size_t)min_u64(r.h.cluster_size, file->size);
    size_t least = r.h.version == 2 ? H_V2_LENGTH : H_V3_LENGTH;
    if (n < least)
        return refuse(&r, -ENODATA, n, "truncated: the file ends in its header");
    _cleanup_free_ uint8_t *buf = malloc(n);
    if (!buf)
        return fault_in(fault, -ENOMEM, file->name, "out of memory");
    err = file_pread_what(file, buf, n, 0, "the qcow2 header", fault);
    if (err < 0)
        return err;
    struct bad bad = { 0 };
    r.raw = bytes_of(buf, n, 0, &bad);
    err = read_rest(&r);
    if (!err && bad.set) /* each read above is behind a check; this is the net below them */
        err = refuse(&r, -ENODATA, bad.at, "truncated: the file ends in its header");
    if (err < 0)
        qcow2_header_done(&r.h);
    else
        *ret = r.h;
    return err;
}
