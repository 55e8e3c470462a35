/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The engine of all views.
 *
 * Every question about a view is answered piece by piece: piece_at() says for a place of the view what bytes
 * begin there and how far that holds. Reading fills pieces, mapping names their kinds, prefetch passes on
 * those of the disk, and so the three can't disagree.
 *
 *     view     | header | table | 0 |  block 0   |  block 1   |  block 2   |
 *     pieces   |BYTES|0.|TABLE  | 0 |  DISK at select(0), and on through |
 *                                     all blocks that follow each other in the disk too
 *
 * A piece of the disk is as long as the run of adjacent blocks, so a large read becomes one disk_pread, and a
 * hole of the disk within allocated blocks stays a hole of the view.
 *
 * st_blocks must be the sum of what view_map calls DATA. The blocks of a dynamic view hold all the disk's
 * data by definition, and so does a whole disk in a fixed one; that sum comes from the survey, and nothing is
 * walked again. */
#include "view.h"
#include "bytes.h"
#include "cache.h"
#include "checked.h"
#include "image.h"

#include <assert.h>
#include <errno.h>
#include <nettle/sha2.h>
#include <string.h>

enum { RUN_BLOCKS = 1 << 14 };
enum { PAGE = 4096 }; /* holes begin on these within what we generate: finer ones serve nobody */

enum piece_kind { PIECE_ZERO, PIECE_ONES, PIECE_BYTES, PIECE_TABLE, PIECE_DISK };

struct piece {
    enum piece_kind kind;
    uint64_t length; /* never 0 */
    uint64_t at;     /* DISK: in the disk; BYTES and TABLE: in the segment */
};

/* ---- layouts ---- */

struct segment *layout_add(struct layout *l, enum segment_kind kind, uint64_t length)
{
    assert(l->n < VIEW_MAX_SEGMENTS && length <= UINT64_MAX - l->size);
    struct segment *s = &l->segment[l->n++];
    *s = (struct segment){ .start = l->size, .length = length, .kind = kind };
    l->size += length;
    return s;
}

int layout_add_bytes(struct layout *l, uint64_t length, size_t n, uint8_t **ret)
{
    assert(n <= length);
    size_t kept = (size_t)min_u64(round_up(n, PAGE), length);
    uint8_t *bytes = calloc(1, kept);
    if (!bytes)
        return -ENOMEM;
    struct segment *s = layout_add(l, SEGMENT_BYTES, length);
    s->bytes = bytes;
    s->n_bytes = kept;
    *ret = bytes;
    return 0;
}

int layout_set_blocks(struct layout *l, const struct view_source *src, uint64_t block_size)
{
    l->block_size = block_size;
    if (block_size < blockmap_block_size(src->survey))
        return blockmap_build(src->disk, block_size, &l->blocks);
    return blockmap_coarsen(src->survey, block_size, &l->blocks);
}

int layout_set_groups(struct layout *l, uint64_t n)
{
    return blockmap_coarsen(l->blocks, l->block_size * n, &l->groups);
}

static void layout_done(struct layout *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->segment[i].bytes);
    blockmap_free(l->blocks);
    blockmap_free(l->groups);
    free(l->private);
}

uint64_t view_disk_size(const struct view_source *src)
{
    return round_up(src->disk->size, src->sector_size);
}

/* ---- pieces ---- */

static struct blockmap *survey_of(const struct view *v)
{
    return atomic_load_explicit(&v->survey, memory_order_acquire);
}

/* The disk's bytes from `at` on, which may begin or end past its end. What the survey knows to be zeros is
 * told at once: a hole of any size, over a chain of any length, costs a look at a few bits. */
static struct piece disk_piece(const struct view *v, uint64_t at, uint64_t length)
{
    if (at >= v->disk->size)
        return (struct piece){ .kind = PIECE_ZERO, .length = length };
    length = min_u64(length, v->disk->size - at);
    const struct blockmap *survey = survey_of(v);
    if (!survey)
        return (struct piece){ .kind = PIECE_DISK, .length = length, .at = at };
    uint64_t size = blockmap_block_size(survey), block = at / size, until = div_up(at + length, size);
    uint64_t data = blockmap_next(survey, block, until);
    if (data > block)
        return (struct piece){ .kind = PIECE_ZERO, .length = min_u64(length, data * size - at) };
    /* bounded: whoever maps comes again for what follows, and must not pay for it here */
    uint64_t run = blockmap_run(survey, block, min_u64(until - block, RUN_BLOCKS));
    return (
        struct piece){ .kind = PIECE_DISK, .length = min_u64(length, (block + run) * size - at), .at = at };
}

/* `off` counts from the start of the segment of blocks, each of which has its head before it. */
static struct piece blocks_piece(const struct view *v, uint64_t off, uint64_t len)
{
    const struct layout *l = &v->layout;
    uint64_t stride = l->block_head + l->block_size;
    uint64_t within = off % stride;
    if (within < l->block_head)
        return (struct piece){ .kind = PIECE_ONES, .length = l->block_head - within };
    within -= l->block_head;
    uint64_t block = blockmap_select(l->blocks, off / stride);
    uint64_t run = l->block_head ? 1 : blockmap_run(l->blocks, block, div_up(within + len, l->block_size));
    return disk_piece(v, block * l->block_size + within, min_u64(len, run * l->block_size - within));
}

/* A table with units: those of clear groups are nowhere. */
static struct piece table_piece(const struct view *v, const struct segment *s, uint64_t off)
{
    struct piece p = { .kind = PIECE_TABLE, .length = s->length - off, .at = off };
    if (!s->unit)
        return p;
    const struct blockmap *groups = v->layout.groups;
    uint64_t group = off / s->unit, end = s->length / s->unit;
    uint64_t set = blockmap_next(groups, group, end);
    if (set > group)
        p.kind = PIECE_ZERO;
    else
        set += blockmap_run(groups, group, end - group);
    p.length = set * s->unit - off;
    return p;
}

/* len bytes of the segment are asked for */
static struct piece segment_piece(const struct view *v, const struct segment *s, uint64_t off, uint64_t len)
{
    switch (s->kind) {
    case SEGMENT_BYTES:
        if (off < s->n_bytes)
            return (struct piece){ .kind = PIECE_BYTES, .length = s->n_bytes - off, .at = off };
        break;
    case SEGMENT_TABLE:
        return table_piece(v, s, off);
    case SEGMENT_DISK:
        return disk_piece(v, s->disk_offset + off, len);
    case SEGMENT_BLOCKS:
        return blocks_piece(v, off, len);
    case SEGMENT_ZERO:
        break;
    }
    return (struct piece){ .kind = PIECE_ZERO, .length = s->length - off };
}

/* What lies at off (< size), at most len bytes; *ret_segment is where. */
static struct piece piece_at(const struct view *v, uint64_t off, uint64_t len,
                             const struct segment **ret_segment)
{
    const struct segment *s = v->layout.segment;
    while (off - s->start >= s->length)
        s++;
    uint64_t within = off - s->start;
    len = min_u64(len, s->length - within);
    struct piece p = segment_piece(v, s, within, len);
    p.length = min_u64(p.length, len);
    assert(p.length);
    *ret_segment = s;
    return p;
}

/* ---- open ---- */

/* Data of a part of the disk, in bytes, as view_map would count it. */
static int data_within(struct disk *d, uint64_t off, uint64_t length, uint64_t *ret)
{
    uint64_t end = off < d->size ? off + min_u64(length, d->size - off) : off;
    uint64_t sum = 0, skip = MAP_SKIP;
    struct extent e;
    for (uint64_t n = 0; off < end; off += e.length, n++) {
        if (n >= DISK_WALK_MAX) { /* as the survey has it */
            sum += end - off;
            break;
        }
        int r = map_or_data(d, off, end - off, &skip, &e);
        if (r < 0)
            return r;
        n += e.effort;
        if (e.kind == EXTENT_DATA)
            sum += e.length;
    }
    *ret = sum;
    return 0;
}

static int segment_allocated(const struct view *v, const struct segment *s, const struct blockmap *survey,
                             uint64_t *ret)
{
    *ret = 0;
    switch (s->kind) {
    case SEGMENT_BYTES:
        *ret = s->n_bytes;
        break;
    case SEGMENT_TABLE:
        *ret = s->unit ? blockmap_allocated(v->layout.groups) * s->unit : s->length;
        break;
    case SEGMENT_DISK:
        if (s->disk_offset || s->length < v->disk->size)
            return data_within(v->disk, s->disk_offset, s->length, ret);
        *ret = blockmap_data(survey);
        break;
    case SEGMENT_BLOCKS:
        *ret = blockmap_data(survey) + blockmap_allocated(v->layout.blocks) * v->layout.block_head;
        break;
    case SEGMENT_ZERO:
        break;
    }
    return 0;
}

static int count_allocated(const struct view *v, const struct blockmap *survey, uint64_t *ret)
{
    *ret = 0;
    for (size_t i = 0; i < v->layout.n; i++) {
        uint64_t n;
        int r = segment_allocated(v, &v->layout.segment[i], survey, &n);
        if (r < 0)
            return r;
        *ret += n;
    }
    return 0;
}

int view_survey(struct disk *disk, struct blockmap **ret)
{
    /* 64 KiB is the smallest block that a view has (a cluster, a grain); larger ones on disks over 16 TiB,
     * where views have larger blocks too. */
    uint64_t block_size = MAP_SKIP;
    while (div_up(disk->size, block_size) > BLOCKMAP_MAX_BLOCKS)
        block_size *= 2;
    return blockmap_build(disk, block_size, ret);
}

/* Makes a view that isn't complete. */
static int view_make(const struct view_format *format, const struct view_source *src, struct view **ret,
                     struct fault *fault)
{
    if (src->disk->size > INT64_MAX)
        return fault_in(fault, -EFBIG, "", "the disk is larger than a file can be");
    _cleanup_(view_closep) struct view *v = calloc(1, sizeof *v);
    if (!v)
        return -ENOMEM;
    v->format = format;
    v->disk = src->disk;
    v->owner = cache_owner_new();
    int r = format->layout(src, &v->layout, fault);
    if (r < 0)
        return r;
    if (v->layout.size > INT64_MAX) /* of off_t */
        return fault_in(fault, -EFBIG, "", "the view would be larger than a file can be");
    *ret = TAKE_PTR(v);
    return 0;
}

static int not_made(int r, struct fault *fault)
{
    return r < 0 ? fault_in(fault, r, "", "the view can't be made: %s", strerror(-r)) : 0;
}

int view_open_early(const struct view_format *format, const struct view_source *src, struct view **ret,
                    struct fault *fault)
{
    assert(format->early);
    return not_made(view_make(format, src, ret, fault), fault);
}

int view_complete(struct view *v, struct blockmap *survey)
{
    uint64_t n;
    int r = count_allocated(v, survey, &n);
    if (r < 0)
        return r;
    assert(!survey_of(v));
    v->allocated = n;
    atomic_store_explicit(&v->survey, blockmap_ref(survey), memory_order_release);
    return 0;
}

bool view_is_complete(const struct view *v)
{
    return survey_of(v);
}

int view_open(const struct view_format *format, const struct view_source *src, struct view **ret,
              struct fault *fault)
{
    struct view_source own = *src;
    _cleanup_(blockmap_freep) struct blockmap *survey = NULL;
    _cleanup_(view_closep) struct view *v = NULL;
    int r = 0;
    if (!own.survey && own.disk->size <= INT64_MAX) {
        r = view_survey(own.disk, &survey);
        own.survey = survey;
    }
    if (!r)
        r = view_make(format, &own, &v, fault);
    if (!r)
        r = view_complete(v, own.survey);
    if (r < 0)
        return not_made(r, fault);
    *ret = TAKE_PTR(v);
    return 0;
}

void view_close(struct view *v)
{
    if (!v)
        return;
    layout_done(&v->layout);
    blockmap_free(survey_of(v));
    free(v);
}

/* ---- reading ---- */

/* len <= the piece's length */
static int read_piece(struct view *v, const struct segment *s, const struct piece *p, void *buf, size_t len)
{
    switch (p->kind) {
    case PIECE_ZERO:
        memset(buf, 0, len);
        break;
    case PIECE_ONES:
        memset(buf, 0xff, len);
        break;
    case PIECE_BYTES:
        memcpy(buf, s->bytes + p->at, len);
        break;
    case PIECE_TABLE:
        s->table(v, buf, len, p->at);
        break;
    case PIECE_DISK:
        return disk_pread(v->disk, buf, len, p->at);
    }
    return 0;
}

int view_pread(struct view *v, void *buf, size_t len, uint64_t off)
{
    if (!range_inside(off, len, v->layout.size))
        return -EINVAL;
    uint8_t *out = buf;
    while (len) {
        const struct segment *s;
        struct piece p = piece_at(v, off, len, &s);
        size_t n = (size_t)p.length; /* <= len */
        int r = read_piece(v, s, &p, out, n);
        if (r < 0)
            return r;
        out += n;
        off += n;
        len -= n;
    }
    return 0;
}

/* The kind of the first bytes of the range, and for how many it holds at least. */
static int map_once(struct view *v, uint64_t off, uint64_t len, uint64_t *skip, struct extent *ret)
{
    const struct segment *s;
    struct piece p = piece_at(v, off, len, &s);
    *ret = (struct extent){ .length = p.length, .kind = EXTENT_DATA };
    if (p.kind == PIECE_ZERO)
        ret->kind = EXTENT_HOLE;
    if (p.kind != PIECE_DISK)
        return 0;
    struct extent e;
    int r = map_or_data(v->disk, p.at, p.length, skip, &e);
    if (r < 0)
        return r;
    ret->length = e.length;
    ret->effort = e.effort;
    ret->kind = e.kind == EXTENT_DATA ? EXTENT_DATA : EXTENT_HOLE;
    return 0;
}

int view_map(struct view *v, uint64_t off, uint64_t len, struct extent *ret)
{
    if (off >= v->layout.size || !len)
        return -EINVAL;
    len = min_u64(len, v->layout.size - off);
    uint64_t skip = MAP_SKIP;
    struct extent e;
    int r = map_once(v, off, len, &skip, &e);
    if (r < 0)
        return r;
    uint64_t n = e.effort;
    for (; e.length < len && n < DISK_JOIN_MAX; n++) {
        struct extent next;
        /* an error further on is for whoever asks there */
        if (map_once(v, off + e.length, len - e.length, &skip, &next) < 0 || next.kind != e.kind)
            break;
        e.length += next.length;
        n += next.effort;
    }
    *ret = e;
    ret->effort = (unsigned)min_u64(n, UINT32_MAX);
    return 0;
}

uint64_t view_skip_zeros(const struct view *v, uint64_t off, uint64_t end)
{
    while (off < end) {
        const struct segment *s;
        struct piece p = piece_at(v, off, end - off, &s);
        if (p.kind != PIECE_ZERO)
            return off;
        off += p.length;
    }
    return end;
}

void view_prefetch(struct view *v, uint64_t off, uint64_t len)
{
    uint64_t end = off < v->layout.size ? off + min_u64(len, v->layout.size - off) : off;
    while (off < end) {
        const struct segment *s;
        struct piece p = piece_at(v, off, end - off, &s);
        if (p.kind == PIECE_DISK)
            disk_prefetch(v->disk, p.at, p.length);
        off += p.length;
    }
}

/* ---- identity ---- */

enum { IDENTITY_HEAD = 65536, IDENTITY_STEP = 4096 };

void view_identity(const struct image *image, uint8_t ret[32])
{
    struct sha256_ctx ctx;
    uint8_t buf[IDENTITY_STEP];
    sha256_init(&ctx);
    put_le64(buf, image->disk->size);
    sha256_update(&ctx, 8, buf);
    for (size_t i = 0; i < image->n_layers; i++) {
        const char *id = image->layers[i].link_id;
        sha256_update(&ctx, strlen(id) + 1, (const uint8_t *)id); /* the NUL keeps neighbours apart */
    }
    uint64_t end = min_u64(IDENTITY_HEAD, image->disk->size);
    for (uint64_t off = 0; off < end; off += IDENTITY_STEP) {
        size_t n = (size_t)min_u64(IDENTITY_STEP, end - off);
        if (!disk_pread(image->disk, buf, n, off))
            sha256_update(&ctx, n, buf);
    }
    sha256_digest(&ctx, SHA256_DIGEST_SIZE, ret);
}
