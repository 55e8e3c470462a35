/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where a file lies: its MFT record, those that its attribute list names, and the runs of all its attributes,
 * streams and indexes as well as $DATA. What is resident lies in the records, so these count as content where
 * they hold some. */
#include "ntfs.h"

#include "../formats/checked.h"

#include <errno.h>

struct pieces {
    struct ntfs *v;
    volume_piece fn;
    void *ctx;
    bool ended;
    uint64_t at; /* content, in the order in which it is given */
    uint64_t last_record;
    bool has_record;
};

static int give(struct pieces *g, uint64_t off, uint64_t len, bool data)
{
    g->ended = g->fn(g->ctx, off, len, data ? (int64_t)(g->at & INT64_MAX) : PIECE_RECORD) != 0;
    if (data)
        g->at += len;
    return g->ended;
}

static int give_record(struct pieces *g, uint64_t mft, bool data)
{
    const ntfs_volume *lib = g->v->lib;
    uint64_t off = mft << lib->mft_record_size_bits, len = lib->mft_record_size,
             unit = 1ull << g->v->cluster_shift;
    for (uint64_t done = 0; done < len;) { /* a record may be larger than a cluster */
        uint64_t within = (off + done) & (unit - 1),
                 n = unit - within < len - done ? unit - within : len - done;
        LCN lcn = ntfs_attr_vcn_to_lcn(lib->mft_na, (VCN)((off + done) >> g->v->cluster_shift));
        if (lcn < 0)
            return -EIO;
        int r = give(g, ((uint64_t)lcn << g->v->cluster_shift) + within, n, data);
        if (r)
            return r;
        done += n;
    }
    return 0;
}

/* Of this piece of the attribute's runlist. */
static int give_runs(struct pieces *g, const ATTR_RECORD *a)
{
    if (!a->lowest_vcn) /* behind it the content is zeros, whatever the clusters hold */
        g->at += (uint64_t)sle64_to_cpu(a->initialized_size) & UINT64_C(0xffffffffffff);
    runlist_element *rl = ntfs_mapping_pairs_decompress(g->v->lib, a, NULL);
    int r = rl ? 0 : ntfs_failed();
    for (size_t i = 0; rl && rl[i].length && !r; i++) {
        uint64_t len = (uint64_t)rl[i].length << g->v->cluster_shift;
        if (rl[i].lcn < 0) /* a hole, or what another piece of the list has */
            g->at += len;
        else if (!range_inside((uint64_t)rl[i].lcn, (uint64_t)rl[i].length, g->v->clusters))
            r = -EIO;
        else
            r = give(g, (uint64_t)rl[i].lcn << g->v->cluster_shift, len, true);
    }
    free(rl);
    return r;
}

static int give_attr(struct pieces *g, const ntfs_attr_search_ctx *ctx)
{
    uint64_t mft = ctx->ntfs_ino->mft_no;
    const ATTR_RECORD *a = ctx->attr;
    int r = 0;
    if (!g->has_record || g->last_record != mft)
        r = give_record(g, mft, false);
    g->has_record = true;
    g->last_record = mft;
    if (r)
        return r;
    if (a->non_resident)
        return give_runs(g, a);
    bool content = a->type == AT_DATA || a->type == AT_REPARSE_POINT;
    return content ? give_record(g, mft, true) : 0;
}

static int give_all(struct pieces *g, ntfs_inode *ni)
{
    ntfs_attr_search_ctx *ctx = ntfs_attr_get_search_ctx(ni, NULL);
    if (!ctx)
        return -ENOMEM;
    int r = give_record(g, ni->mft_no, false);
    g->has_record = true;
    g->last_record = ni->mft_no;
    while (!r) {
        if (ntfs_attr_lookup(AT_UNUSED, NULL, 0, CASE_SENSITIVE, 0, NULL, 0, ctx)) {
            r = errno == ENOENT ? 0 : ntfs_failed();
            break;
        }
        r = give_attr(g, ctx);
    }
    ntfs_attr_put_search_ctx(ctx);
    return r;
}

int ntfs_pieces(struct volume *volume, uint64_t ino, volume_piece fn, void *ctx)
{
    struct pieces g = { .v = ntfs_of(volume), .fn = fn, .ctx = ctx };
    ntfs_inode *ni;
    ntfs_lock(g.v);
    int r = ntfs_get_inode(g.v, ino, &ni);
    if (!r) {
        r = give_all(&g, ni);
        ntfs_inode_close(ni);
    }
    ntfs_unlock(g.v);
    return g.ended ? 0 : r;
}
