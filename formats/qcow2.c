/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2, QEMU's copy-on-write format, versions 2 and 3.
 *
 *     cluster 0: header | extensions | name of the backing file
 *     anywhere:  L1 table -> L2 tables -> clusters of data, plain or compressed
 *                refcount table -> refcount blocks (for writers; here only a witness of truncation)
 *
 *     qcow2-header.c   the header to plain values           qcow2-check.c   what is looked at when opening
 *     qcow2-table.c    L1 and L2, entries to clusters       qcow2.c         the disk: map and pread
 *     qcow2-snapshots.c, qcow2-bitmaps.c                    what is kept beside the disk
 *
 * Done: all cluster sizes, deflate and zstd, extended L2, zero clusters, backing files, external data files,
 * internal snapshots. A snapshot is the same file with an L1 table and a disk size of its own. Bitmaps are
 * only named. Refused by name: version 1, encryption, unknown incompatible features. Not used: refcounts.
 *
 * What is odd: a plain cluster that is a hole in the file is zeros, by the file system's word. Images with
 * preallocation=metadata (Proxmox makes them so) are one great run of those, so the map asks the file, but
 * only when it has any hole. And QEMU reads data past the file's end as zeros; here that is -EIO. What may
 * really be missing at the end is told in qcow2-check.c.
 *
 * Source: QEMU's docs/interop/qcow2, and what qemu-img 7.2 was seen to write. */
#include "checked.h"
#include "image.h"
#include "inflate.h"
#include "qcow2-check.h"
#include "qcow2-extras.h"

#include <errno.h>
#include <stdio.h>

struct qcow2 {
    struct disk disk;
    struct file *file;
    struct file *data; /* that plain clusters lie in: a second reference of `file`, or the data file */
    bool sparse;       /* `data` has holes */
    struct qcow2_header h;
    struct qcow2_table table;
    uint64_t cluster_owner;           /* of decompressed clusters in the cache */
    struct qcow2_snapshot *snapshots; /* owned; as info.snapshots; of a snapshot itself: NULL */
};

static struct qcow2 *qcow2_of(struct disk *d)
{
    return (struct qcow2 *)(void *)d;
}

/* What errors of tables and streams are to a reader of the disk. */
static int read_error(int r)
{
    return r == -ENOMEM ? r : -EIO;
}

/* ---- map ---- */

/* Makes *e end where the file's own answer changes; a hole of the file is zeros. A place past the file's end
 * stays data, which pread then refuses. */
static int map_file(struct qcow2 *q, uint64_t host, struct extent *e)
{
    struct extent under;
    if (!q->sparse || host >= q->data->size)
        return 0;
    int r = file_map(q->data, host, e->length, &under);
    if (r < 0)
        return read_error(r);
    e->length = under.length;
    e->effort += under.effort;
    if (under.kind != EXTENT_DATA)
        e->kind = EXTENT_ZERO;
    return 0;
}

/* For PLAIN, `contiguous` asks for one run in the file too. */
static bool goes_on(enum qcow2_kind kind, const struct qcow2_cluster *last, const struct qcow2_cluster *next,
                    enum qcow2_kind next_kind, uint64_t cluster_size, bool contiguous)
{
    if (next_kind != kind)
        return false;
    return kind != QCOW2_PLAIN || !contiguous || next->host == last->host + cluster_size;
}

/* Clusters of a piece of an L2 table. */
struct clusters {
    const struct qcow2_l2 *l2;
    uint64_t i;      /* the first one */
    uint64_t within; /* byte in it where the run begins */
    uint64_t len;    /* bytes that are asked for */
};

static struct extent extent_of(enum qcow2_kind kind)
{
    struct extent e = { .kind = EXTENT_DATA, .compressed = kind == QCOW2_COMPRESSED };
    if (kind == QCOW2_UNALLOCATED)
        e.kind = EXTENT_HOLE;
    else if (kind == QCOW2_ZERO)
        e.kind = EXTENT_ZERO;
    return e;
}

/* The run of one kind, for PLAIN also of one place in the file, that begins where `c` does. `c` becomes what
 * follows the run; its length is 0 where the run doesn't end with a cluster. */
static int map_run(struct qcow2 *q, struct clusters *c, bool contiguous, struct extent *ret)
{
    enum { EMPTY_ENTRIES = 4 * EFFORT_ENTRIES };
    const uint64_t size = q->h.cluster_size, start = c->i;
    struct qcow2_cluster first, last, next;
    uint64_t end, next_end, empty = 0;
    int r = qcow2_l2_cluster(&q->table, c->l2, c->i, &first);
    if (r < 0)
        return read_error(r);
    enum qcow2_kind kind = qcow2_cluster_at(&q->h, &first, c->within, &end);
    uint64_t length = end - c->within;
    last = first;
    for (c->i++; c->i < c->l2->n && length < c->len && end == size; c->i++) {
        uint64_t n = kind == QCOW2_UNALLOCATED ? qcow2_l2_empty(&q->table, c->l2, c->i) : 0;
        if (n) {
            length += n * size;
            empty += n;
            c->i += n - 1;
            continue;
        }
        /* a damaged entry ends the run; who asks there gets the error */
        if (qcow2_l2_cluster(&q->table, c->l2, c->i, &next) < 0 ||
            !goes_on(kind, &last, &next, qcow2_cluster_at(&q->h, &next, 0, &next_end), size, contiguous))
            break;
        length += end = next_end;
        last = next;
    }
    *ret = extent_of(kind);
    ret->length = min_u64(length, c->len);
    ret->effort = (unsigned)(2 * (c->i - start - empty) / EFFORT_ENTRIES + empty / EMPTY_ENTRIES);
    ret->at = first.host + c->within;
    c->within = 0;
    c->len = end == size ? c->len - ret->length : 0;
    return 0;
}

/* As map_run() and map_file(), for runs that lie apart in the file, as long as its answer is the same. */
static int map_apart(struct qcow2 *q, struct clusters *c, struct extent *ret)
{
    int r = map_run(q, c, true, ret);
    if (r < 0 || ret->kind != EXTENT_DATA || ret->compressed)
        return r;
    uint64_t whole = ret->length;
    r = map_file(q, ret->at, ret);
    while (!r && ret->length == whole && c->len && c->i < c->l2->n) {
        struct extent next;
        /* an error further on is for whoever asks there */
        if (map_run(q, c, true, &next) < 0 || next.kind != EXTENT_DATA || next.compressed)
            break;
        whole += next.length;
        if (map_file(q, next.at, &next) < 0 || next.kind != ret->kind)
            break;
        ret->length += next.length;
        ret->effort += 1 + next.effort;
    }
    return r;
}

/* The whole disk is the data file. */
static int map_data_file(struct qcow2 *q, uint64_t off, uint64_t len, struct extent *ret)
{
    *ret = (struct extent){ .length = len, .kind = EXTENT_DATA, .at = off };
    return map_file(q, off, ret);
}

/* `find`: one run of the file; else what follows it too, wherever it lies. A walk pays for reading a piece of
 * a table where the piece begins. */
static int look_up(struct qcow2 *q, uint64_t off, uint64_t len, bool find, struct extent *ret)
{
    struct qcow2_l2 l2;
    int r = qcow2_l2_get(&q->table, off / q->h.cluster_size, &l2);
    if (r < 0)
        return r;
    if (!l2.block) {
        uint64_t end = (l2.cluster + l2.n) * q->h.cluster_size;
        *ret = (struct extent){ .length = min_u64(end - off, len), .kind = EXTENT_HOLE };
        return 0;
    }
    struct clusters c = { .l2 = &l2, .within = off % q->h.cluster_size, .len = len };
    r = q->sparse && !find ? map_apart(q, &c, ret) : map_run(q, &c, find, ret);
    if (!r && !find && l2.first == 0 && off % q->h.cluster_size == 0)
        ret->effort += EFFORT_ASKING + (unsigned)(q->table.l2_piece / EFFORT_READ);
    bool through = !find && c.i == l2.n;
    if (through) /* by a walk */
        qcow2_l2_put_used(&q->table, &l2);
    else
        qcow2_l2_put(&q->table, &l2);
    return r;
}

static int qcow2_find(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    struct qcow2 *q = qcow2_of(d);
    if (q->h.data_file_raw)
        return map_data_file(q, off, len, ret);
    int r = look_up(q, off, len, true, ret);
    return r < 0 || ret->kind != EXTENT_DATA || ret->compressed ? r : map_file(q, ret->at, ret);
}

static int qcow2_map(struct disk *d, uint64_t off, uint64_t len, struct extent *ret)
{
    struct qcow2 *q = qcow2_of(d);
    return q->h.data_file_raw ? map_data_file(q, off, len, ret) : look_up(q, off, len, false, ret);
}

/* ---- pread ---- */

static int find_cluster(struct qcow2 *q, uint64_t cluster, struct qcow2_cluster *ret)
{
    struct qcow2_l2 l2;
    int r = qcow2_l2_get(&q->table, cluster, &l2);
    if (r < 0)
        return r;
    r = l2.block ? qcow2_l2_cluster(&q->table, &l2, 0, ret) : -EUCLEAN;
    qcow2_l2_put(&q->table, &l2);
    return r < 0 ? read_error(r) : 0;
}

/* Decompresses guest cluster `id`; always a whole one, also at the disk's end. */
static int load_cluster(void *ctx, uint64_t id, void *buf, size_t size)
{
    struct qcow2 *q = ctx;
    struct qcow2_cluster c;
    int r = find_cluster(q, id, &c);
    if (r < 0)
        return r;
    if (c.kind != QCOW2_COMPRESSED || c.host >= q->file->size)
        return -EIO;
    /* `stored` is an upper bound: what is missing of it was perhaps no part of the stream, which tells */
    size_t n = (size_t)min_u64(c.stored, q->file->size - c.host);
    _cleanup_free_ uint8_t *in = malloc(n);
    if (!in)
        return -ENOMEM;
    r = file_pread(q->file, in, n, c.host);
    if (!r)
        r = q->h.zstd ? inflate_zstd(in, n, buf, size) : inflate_raw(in, n, buf, size);
    return r < 0 ? read_error(r) : 0;
}

static int pread_compressed(struct qcow2 *q, uint8_t *p, size_t len, uint64_t off)
{
    const uint64_t size = q->h.cluster_size;
    bool pass_by = len >= CACHE_PASS_BY;
    while (len) {
        struct cache_block *b;
        size_t within = (size_t)(off % size), n = (size_t)min_u64(len, size - within);
        int r;
        if (pass_by && n == size) {
            r = cache_pass_by(q->table.cache, q->cluster_owner, off / size, p, n, load_cluster, q);
        } else if (!(r = cache_get(q->table.cache, q->cluster_owner, off / size, (size_t)size, load_cluster,
                                   q, &b))) {
            memcpy(p, b->data + within, n);
            cache_put(q->table.cache, b);
        }
        if (r < 0)
            return read_error(r);
        p += n;
        off += n;
        len -= n;
    }
    return 0;
}

static int qcow2_pread(struct disk *d, void *buf, size_t len, uint64_t off, const struct extent *e)
{
    struct qcow2 *q = qcow2_of(d);
    if (e->compressed)
        return pread_compressed(q, buf, len, off);
    int r = file_pread(q->data, buf, len, e->at); /* an extent is one run in the file */
    return r < 0 ? read_error(r) : 0;
}

static void qcow2_prefetch(struct disk *d, uint64_t off, uint64_t len)
{
    struct qcow2 *q = qcow2_of(d);
    const uint64_t size = q->h.cluster_size;
    while (len) {
        struct extent e;
        if (disk_find(d, off, len, &e) < 0)
            return;
        if (e.compressed)
            for (uint64_t i = off / size; i <= (off + e.length - 1) / size; i++)
                cache_prefetch(q->table.cache, q->cluster_owner, i, (size_t)size, load_cluster, q);
        else if (e.kind == EXTENT_DATA)
            file_advise(q->data, e.at, e.length);
        off += e.length;
        len -= e.length;
    }
}

static void qcow2_close(struct disk *d)
{
    struct qcow2 *q = qcow2_of(d);
    qcow2_table_done(&q->table);
    qcow2_header_done(&q->h);
    free(q->snapshots);
    file_unref(q->data);
    file_unref(q->file);
    free(q);
}

static const struct disk_ops qcow2_ops = {
    .name = "qcow2",
    .pread = qcow2_pread,
    .map = qcow2_map,
    .find = qcow2_find,
    .prefetch = qcow2_prefetch,
    .close = qcow2_close,
};

/* ---- detection ---- */

/* A qcow2 whose beginning was overwritten with zeros: where QEMU made it, the refcount table follows in
 * cluster 1 and names cluster 2, which counts one reference for each of the first clusters. */
static bool wiped_header(const struct probe *p)
{
    static const uint8_t zeros[512], counts[] = { 0, 1, 0, 1, 0, 1 };
    if (!bytes_match(p->head, 0, zeros, sizeof zeros))
        return false;
    for (unsigned bits = 9; bits <= 21; bits++) {
        uint64_t cluster = UINT64_C(1) << bits;
        uint8_t entry[8], block[sizeof counts];
        struct bad bad = { 0 };
        if (file_pread(p->file, entry, sizeof entry, cluster) < 0 ||
            file_pread(p->file, block, sizeof block, 2 * cluster) < 0)
            return false;
        if (be64(bytes_of(entry, sizeof entry, cluster, &bad), 0) == 2 * cluster &&
            !memcmp(block, counts, sizeof counts))
            return true;
    }
    return false;
}

static unsigned qcow2_probe(const struct probe *p)
{
    static const uint8_t magic[] = { 'Q', 'F', 'I', 0xfb };
    static const uint8_t zeros[3];
    if (!bytes_match(p->head, 0, magic, sizeof magic))
        return wiped_header(p) ? PROBE_TRACE : PROBE_NONE;
    /* versions 1 to 255: ours, or refused by their number when opened */
    if (bytes_match(p->head, sizeof magic, zeros, sizeof zeros) && p->head.n > 7 && p->head.p[7])
        return 64;
    return PROBE_TRACE;
}

/* ---- opening ---- */

static int open_data_file(struct qcow2 *q, struct fault *fault)
{
    if (!q->h.data_file) {
        q->data = file_ref(q->file);
        return 0;
    }
    int r = file_open_ref(q->file, "data file", q->h.data_file_name, &q->data, fault);
    if (r < 0)
        return r;
    if (file_same(q->file, q->data))
        return fault_in(fault, -ELOOP, q->file->name, "names itself as its data file");
    if (q->h.data_file_raw && q->data->size < q->h.size)
        return fault_at(fault, -ENODATA, q->data->name, q->data->size,
                        "truncated: the data file is shorter than the disk of %llu bytes",
                        (unsigned long long)q->h.size);
    return 0;
}

/* Moves the header's names to what the chain wants to know. */
static void give_backing(struct qcow2 *q, struct layer *ret)
{
    if (q->h.data_file_raw) {
        if (q->h.backing_name)
            notes_add(&ret->info.notes, "the backing file isn't used: the data file is the whole disk");
        return;
    }
    if (!q->h.backing_name || !q->h.backing_name[0])
        return;
    ret->backing.role = "backing file";
    ret->backing.name = TAKE_PTR(q->h.backing_name);
    ret->backing.format = TAKE_PTR(q->h.backing_format);
    ret->backing.part = q->h.backing_part;
    ret->backing.offset = q->h.backing_offset;
    ret->backing.length = q->h.backing_length;
}

static void give_info(const struct qcow2 *q, struct layer_info *info)
{
    snprintf(info->subformat, sizeof info->subformat, "compat=%s", q->h.version == 2 ? "0.10" : "1.1");
    snprintf(info->compression, sizeof info->compression, "%s", q->h.zstd ? "zstd" : "zlib");
    info->virtual_size = q->h.size;
    info->file_size = q->file->size + (q->h.data_file ? q->data->size : 0);
    info->block_size = (uint32_t)q->h.cluster_size;
    if (q->h.corrupt)
        notes_add(&info->notes, "QEMU has marked this image as corrupt: what it shows may be wrong; "
                                "qemu-img check -r all mends it");
}

static int open_tables(struct qcow2 *q, const struct image_env *env, struct notes *notes, struct fault *fault)
{
    q->table.file = q->file;
    q->table.cache = env->cache;
    q->cluster_owner = cache_owner_new();
    q->table.h = &q->h;
    q->table.keep = QCOW2_L1_KEPT;
    if (q->h.data_file_raw)
        return 0; /* the tables say nothing that the data file doesn't */
    int r = qcow2_table_open(&q->table, q->h.l1_offset, q->h.l1_size, q->h.size, fault);
    return r < 0 ? r : qcow2_check(&q->table, q->data, env, notes, fault);
}

static int qcow2_open(struct file *file, const struct image_env *env, struct layer *ret, struct fault *fault)
{
    struct qcow2 *q = calloc(1, sizeof *q);
    if (!q)
        return fault_in(fault, -ENOMEM, file->name, "out of memory");
    q->file = file_ref(file);
    int r = qcow2_header_read(file, &q->h, fault);
    if (!r)
        r = open_data_file(q, fault);
    if (!r)
        r = open_tables(q, env, &ret->info.notes, fault);
    if (!r && (qcow2_snapshots_read(file, &q->h, &q->snapshots, &ret->info) < 0 ||
               qcow2_bitmaps_read(file, &q->h, &ret->info) < 0))
        r = fault_in(fault, -ENOMEM, file->name, "out of memory");
    if (r < 0) {
        qcow2_close(&q->disk);
        layer_info_done(&ret->info);
        ret->info = (struct layer_info){ 0 };
        return r;
    }
    q->disk = (struct disk){ .ops = &qcow2_ops, .size = q->h.size };
    q->sparse = file_has_holes(q->data);
    give_info(q, &ret->info);
    give_backing(q, ret);
    ret->disk = &q->disk;
    return 0;
}

/* ---- snapshots ---- */

static int open_snapshot(struct disk *layer, size_t i, struct layer *ret, struct fault *fault)
{
    const struct qcow2 *of = qcow2_of(layer);
    const struct qcow2_snapshot *s = &of->snapshots[i];
    struct qcow2 *q = calloc(1, sizeof *q);
    if (!q)
        return fault_in(fault, -ENOMEM, of->file->name, "out of memory");
    q->file = file_ref(of->file);
    q->data = file_ref(of->data);
    q->sparse = of->sparse;
    q->h = of->h;
    q->h.backing_name = q->h.backing_format = q->h.data_file_name = NULL;
    q->cluster_owner = cache_owner_new();
    q->table = (struct qcow2_table){
        .file = q->file, .cache = of->table.cache, .h = &q->h, .keep = QCOW2_SNAPSHOT_L1_KEPT
    };
    int r = qcow2_table_open(&q->table, s->l1_offset, s->l1_entries, s->size, fault);
    if (!r)
        r = qcow2_check_snapshot(&q->table, q->data, fault);
    if (r < 0) {
        qcow2_close(&q->disk);
        return r;
    }
    q->disk = (struct disk){ .ops = &qcow2_ops, .size = s->size };
    ret->disk = &q->disk;
    ret->info.virtual_size = s->size;
    /* two states of a disk must not pass for one disk, where a view has an identity */
    snprintf(ret->info.link_id, sizeof ret->info.link_id, "snapshot %zu", i + 1);
    return 0;
}

const struct format qcow2_format = {
    .name = "qcow2",
    .title = "QCOW2",
    .suffixes = { ".qcow2", ".qcow", NULL },
    .probe = qcow2_probe,
    .open = qcow2_open,
    .open_snapshot = open_snapshot,
};
