/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One pass over a gzip file, which gives what reading at random needs:
 *
 *     gzip:     | header | block | block |  ...  | CRC-32, length | header | block | ...     (RFC 1952, 1951)
 *                        ^               ^
 *     points:            0               1: the bit at which a block begins, and the 32 KiB of content before
 * it
 *
 * Blocks begin at any bit, and may refer to 32 KiB of what came before; with both at hand zlib can begin
 * there (the idea is that of zlib's example zran.c). Windows are kept deflated themselves. When the points
 * come to take more than their bound, every second one is given up, and from then on they lie twice as far
 * apart: so memory is bounded however large the file is, and a read at random inflates at most about one
 * span.
 *
 * The pass checks each member's CRC-32 and length. What is odd about gzip files, and handled as gzip(1) does:
 * several members are one content; zeros after the last one are padding (tapes), other bytes are garbage. */
#include "gzip-index.h"
#include "checked.h"
#include "inflate.h"

#include <errno.h>
#include <libdeflate.h>
#include <string.h>
#include <zlib.h>

enum { INPUT = 64 * 1024, PACK_LEVEL = 1 };

struct pass {
    struct file *file;
    struct fault *fault;
    struct notes *notes;
    struct gzip_index *ix;
    size_t max; /* bytes that the points may take */
    z_stream z;
    bool z_made, inside; /* `inside` a member */
    struct libdeflate_compressor *packer;
    uint64_t in_at;       /* the next byte of the file to be put into `in` */
    uint64_t chunk_start; /* in the content; the chunk lies at out + GZIP_WINDOW */
    uint64_t block_start; /* in the content */
    size_t fill;          /* bytes of the chunk so far */
    uint8_t in[INPUT];
    uint8_t packed[GZIP_WINDOW];
    uint8_t out[GZIP_WINDOW + GZIP_CHUNK]; /* the content before the chunk, and the chunk */
};

static uint64_t in_pos(const struct pass *p)
{
    return p->in_at - p->z.avail_in;
}

static uint64_t out_pos(const struct pass *p)
{
    return p->chunk_start + p->fill;
}

static int no_memory(struct pass *p)
{
    return fault_in(p->fault, -ENOMEM, p->file->name, "out of memory");
}

/* Has at least `want` bytes ready, or all that are left. */
static int refill(struct pass *p, size_t want)
{
    if (p->z.avail_in >= want || p->in_at >= p->file->size)
        return 0;
    memmove(p->in, p->z.next_in, p->z.avail_in);
    p->z.next_in = p->in;
    size_t n = (size_t)min_u64(sizeof p->in - p->z.avail_in, p->file->size - p->in_at);
    int r = file_pread_what(p->file, p->in + p->z.avail_in, n, p->in_at, "the gzip data", p->fault);
    if (r < 0)
        return r;
    p->z.avail_in += (uInt)n;
    p->in_at += n;
    return 0;
}

/* ---- points ---- */

static void drop_point(struct gzip_index *ix, struct gzip_point *p)
{
    ix->memory -= p->packed + sizeof *p;
    free(p->window);
}

/* Gives up every second point until the rest fits. */
static void thin_out(struct gzip_index *ix, size_t max)
{
    while (ix->memory > max && ix->n > 1) {
        size_t kept = 1;
        for (size_t i = 1; i < ix->n; i++) {
            if (i % 2)
                drop_point(ix, &ix->points[i]);
            else
                ix->points[kept++] = ix->points[i];
        }
        ix->n = kept;
        ix->span *= 2;
    }
}

static int add_point(struct pass *p, const uint8_t *window, size_t n)
{
    struct gzip_index *ix = p->ix;
    if (ix->n == ix->room) {
        size_t room = ix->room ? 2 * ix->room : 16;
        struct gzip_point *points = reallocarray(ix->points, room, sizeof *points);
        if (!points)
            return no_memory(p);
        ix->points = points;
        ix->room = room;
    }
    uint8_t *copy = malloc(n ? n : 1);
    if (!copy)
        return no_memory(p);
    if (n)
        memcpy(copy, window, n);
    ix->points[ix->n++] = (struct gzip_point){
        .out = out_pos(p),
        .in = in_pos(p),
        .bits = p->z.data_type & 7,
        .packed = (uint32_t)n,
        .window = copy,
    };
    ix->memory += n + sizeof *ix->points;
    thin_out(ix, p->max);
    return 0;
}

/* A block or a member's header has just ended. */
static int at_block(struct pass *p)
{
    const struct gzip_index *ix = p->ix;
    p->block_start = out_pos(p);
    if (out_pos(p) - ix->points[ix->n - 1].out < ix->span)
        return 0;
    const uint8_t *window = p->out + p->fill; /* GZIP_WINDOW bytes that end at out + GZIP_WINDOW + fill */
    size_t n = libdeflate_deflate_compress(p->packer, window, GZIP_WINDOW, p->packed, sizeof p->packed - 1);
    return n ? add_point(p, p->packed, n) : add_point(p, window, GZIP_WINDOW);
}

int gzip_point_window(const struct gzip_point *p, uint8_t ret[GZIP_WINDOW])
{
    if (p->packed == GZIP_WINDOW) {
        memcpy(ret, p->window, GZIP_WINDOW);
        return 0;
    }
    int r = inflate_raw(p->window, p->packed, ret, GZIP_WINDOW);
    return r == -EUCLEAN ? -EIO : r;
}

const struct gzip_point *gzip_index_find(const struct gzip_index *ix, uint64_t out)
{
    size_t low = 0, high = ix->n;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (ix->points[middle].out <= out)
            low = middle;
        else
            high = middle;
    }
    return &ix->points[low];
}

/* ---- the content ---- */

static bool all_zero(const uint8_t *p, size_t n)
{
    return !n || (!p[0] && !memcmp(p, p + 1, n - 1));
}

/* The chunk is full, or the content ends in it. */
static int end_chunk(struct pass *p)
{
    struct gzip_index *ix = p->ix;
    uint64_t chunk = p->chunk_start / GZIP_CHUNK;
    if (chunk / 8 >= ix->zero_room) {
        size_t room = ix->zero_room ? 2 * ix->zero_room : 512;
        uint8_t *zero = realloc(ix->zero, room);
        if (!zero)
            return no_memory(p);
        memset(zero + ix->zero_room, 0, room - ix->zero_room);
        ix->zero = zero;
        ix->zero_room = room;
    }
    if (all_zero(p->out + GZIP_WINDOW, p->fill))
        ix->zero[chunk / 8] |= (uint8_t)(1 << chunk % 8);
    memmove(p->out, p->out + p->fill, GZIP_WINDOW);
    p->chunk_start += p->fill;
    p->fill = 0;
    if (p->chunk_start > GZIP_MAX_SIZE)
        return fault_in(p->fault, -EFBIG, p->file->name, "inflates to more than 16 TiB");
    return 0;
}

static int refuse_end(struct pass *p)
{
    fault_at(p->fault, -ENODATA, p->file->name, p->file->size,
             "truncated: the file ends inside its gzip data");
    return fault_hint(p->fault, -ENODATA, "copy or download it again");
}

/* Inflates up to the end of the block, of the chunk, or of the input. */
static int inflate_some(struct pass *p)
{
    size_t room = GZIP_CHUNK - p->fill;
    p->z.next_out = p->out + GZIP_WINDOW + p->fill;
    p->z.avail_out = (uInt)room;
    int z = inflate(&p->z, Z_BLOCK);
    p->fill += room - p->z.avail_out;
    if (z == Z_MEM_ERROR)
        return no_memory(p);
    if (z != Z_OK && z != Z_STREAM_END && z != Z_BUF_ERROR)
        return fault_at(p->fault, -EUCLEAN, p->file->name, in_pos(p), "damaged gzip data (%s)",
                        p->z.msg ? p->z.msg : "not readable");
    if (z == Z_STREAM_END)
        p->inside = false;
    else if (!p->z.avail_in && p->in_at >= p->file->size && p->z.avail_out)
        return refuse_end(p);
    if (out_pos(p) - p->block_start > GZIP_BLOCK_MAX)
        return fault_at(p->fault, -ENOTSUP, p->file->name, in_pos(p),
                        "a deflate block has more than %d MiB, so it can't be read at random",
                        GZIP_BLOCK_MAX >> 20);
    int r = 0;
    if ((p->z.data_type & 128) && !(p->z.data_type & 64))
        r = at_block(p);
    return !r && p->fill == GZIP_CHUNK ? end_chunk(p) : r;
}

/* ---- members ---- */

/* What follows the last member, up to the first byte that is no zero. */
static int pass_padding(struct pass *p)
{
    for (;;) {
        int r = refill(p, 1);
        if (r < 0 || !p->z.avail_in)
            return r;
        if (!all_zero(p->z.next_in, p->z.avail_in)) {
            notes_add(p->notes, "%s: what follows the gzip data is ignored", p->file->name);
            return 0;
        }
        p->z.avail_in = 0;
    }
}

/* 1: a member begins here; 0: the content has ended. */
static int begin_member(struct pass *p)
{
    int r = refill(p, 2);
    if (r < 0)
        return r;
    bool first = !p->z_made;
    if (p->z.avail_in < 2 || p->z.next_in[0] != 0x1f || p->z.next_in[1] != 0x8b) {
        if (first)
            return fault_at(p->fault, -EUCLEAN, p->file->name, 0, "isn't gzip");
        return pass_padding(p);
    }
    if ((first ? inflateInit2(&p->z, 16 + MAX_WBITS) : inflateReset(&p->z)) != Z_OK)
        return no_memory(p);
    p->z_made = p->inside = true;
    return first && (r = add_point(p, NULL, 0)) < 0 ? r : 1;
}

static int run(struct pass *p)
{
    for (;;) {
        int r = p->inside ? refill(p, 1) : begin_member(p);
        if (r < 0 || !p->inside)
            return r;
        r = inflate_some(p);
        if (r < 0)
            return r;
    }
}

int gzip_index_build(struct file *stored, size_t max, struct notes *notes, struct gzip_index **ret,
                     struct fault *fault)
{
    _cleanup_(gzip_index_freep) struct gzip_index *ix = calloc(1, sizeof *ix);
    struct pass *p = calloc(1, sizeof *p);
    int r = -ENOMEM;
    if (ix && p) {
        *p = (struct pass){ .file = stored, .fault = fault, .notes = notes, .ix = ix, .max = max };
        p->z.next_in = p->in;
        ix->span = GZIP_SPAN;
        p->packer = libdeflate_alloc_compressor(PACK_LEVEL);
        r = p->packer ? run(p) : no_memory(p);
        if (!r && (p->fill || !ix->zero))
            r = end_chunk(p);
        ix->size = p->chunk_start;
        ix->memory += ix->zero_room;
        libdeflate_free_compressor(p->packer);
        if (p->z_made)
            inflateEnd(&p->z);
    } else {
        fault_in(fault, r, stored->name, "out of memory");
    }
    free(p);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(ix);
    return 0;
}

void gzip_index_free(struct gzip_index *ix)
{
    if (!ix)
        return;
    for (size_t i = 0; i < ix->n; i++)
        free(ix->points[i].window);
    free(ix->points);
    free(ix->zero);
    free(ix);
}
