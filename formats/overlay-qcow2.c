/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The life of one disk's qcow2: made, opened, committed, closed.
 *
 * While it is open the dirty bit stands, and the refcounts in the file are as they were: which clusters are
 * in use is worked out from the tables at each open (a table of 64 KiB for 512 MiB of edits) and kept in
 * memory. Closing writes the refcounts and clears the bit. Killed before, the file has refcounts that are
 * behind its tables, and with the dirty bit that is what QEMU too knows how to mend. */
#include "bytes.h"
#include "checked.h"
#include "overlay-impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    REFCOUNTS = OVL_CLUSTER / 2,
    /* in a block */ TABLE_ENTRIES = OVL_CLUSTER / 8,
    NAME_MAX_LENGTH = 1023
};
/* Of a name that changes, the old one stays whole until the header points to the new one. */
static const uint64_t name_at[] = { 4096, 8192 };

/* ---- making ---- */

static int write_header(struct overlay_file *f)
{
    uint8_t sector[OVL_SECTOR];
    ovl_header_encode(&f->h, sector);
    return ovl_pwrite(f->io, f->fd, sector, sizeof sector, 0);
}

static void set_backing(struct ovl_header *h, const struct ovl_file_options *o, uint64_t at)
{
    h->backing_offset = at;
    h->backing_length = (uint32_t)strlen(o->backing);
    snprintf(h->backing_format, sizeof h->backing_format, "%s", o->backing_format);
}

static uint32_t l1_entries(uint64_t size)
{
    return (uint32_t)div_up(size, UINT64_C(1) << OVL_COVERAGE_SHIFT);
}

/* Header, refcount table, its one block, L1. */
static int write_empty(int fd, const struct ovl_file_options *o, uint64_t l1_clusters,
                       const struct ovl_header *h)
{
    uint64_t n = 3 + l1_clusters;
    _cleanup_free_ uint8_t *buf = calloc(n, OVL_CLUSTER);
    if (!buf)
        return -ENOMEM;
    ovl_header_encode(h, buf);
    memcpy(buf + h->backing_offset, o->backing, h->backing_length);
    put_be64(buf + OVL_CLUSTER, 2 * OVL_CLUSTER);
    for (uint64_t i = 0; i < n; i++)
        put_be16(buf + 2 * OVL_CLUSTER + 2 * i, 1);
    return ovl_pwrite(o->io, fd, buf, n * OVL_CLUSTER, 0);
}

int ovl_file_create(int fd, const struct ovl_file_options *o, struct fault *fault)
{
    enum { L1_MAX = 1 << 22 }; /* QEMU's limit: 32 MiB, 2 PiB of disk */
    uint64_t entries = div_up(o->source->size, UINT64_C(1) << OVL_COVERAGE_SHIFT);
    if (entries > L1_MAX)
        return fault_in(fault, -EFBIG, o->name, "the disk is too large for an overlay");
    struct ovl_header h = {
        .size = o->source->size,
        .l1_size = l1_entries(o->source->size),
        .l1_offset = 3 * OVL_CLUSTER,
        .refcount_offset = OVL_CLUSTER,
        .refcount_clusters = 1,
    };
    set_backing(&h, o, name_at[0]);
    int r = write_empty(fd, o, div_up(8 * entries, OVL_CLUSTER), &h);
    if (!r && o->durable && o->io->fsync(fd) < 0)
        r = -errno;
    return r < 0 ? fault_in(fault, r, o->name, "can't be written: %s", strerror(-r)) : 0;
}

/* ---- opening ---- */

static int read_l1(struct overlay_file *f, uint64_t at, struct fault *fault)
{
    size_t n = 8 * (size_t)f->h.l1_size;
    if (!range_inside(at, n, f->clusters.end << OVL_SHIFT))
        return fault_at(fault, -EUCLEAN, f->name, at, "the L1 table lies past the end of the file");
    _cleanup_free_ uint8_t *buf = malloc(n);
    if (!buf)
        return fault_in(fault, -ENOMEM, f->name, "out of memory");
    int r = ovl_pread(f->fd, buf, n, at);
    if (r < 0)
        return fault_at(fault, r, f->name, at, "the L1 table can't be read");
    struct bad bad = { 0 };
    struct bytes b = bytes_of(buf, n, at, &bad);
    for (uint32_t i = 0; i < f->h.l1_size; i++)
        f->l1[i] = be64(b, 8 * (size_t)i) & ~OVL_COPIED;
    return 0;
}

static int check_header(struct overlay_file *f, struct fault *fault)
{
    _cleanup_free_ uint8_t *buf = calloc(1, OVL_CLUSTER);
    if (!buf)
        return fault_in(fault, -ENOMEM, f->name, "out of memory");
    struct stat st;
    if (fstat(f->fd, &st) < 0)
        return fault_in(fault, -errno, f->name, "can't be examined: %s", strerror(errno));
    size_t n = (size_t)min_u64((uint64_t)st.st_size, OVL_CLUSTER);
    int r = ovl_pread(f->fd, buf, n, 0);
    if (r < 0)
        return fault_in(fault, r, f->name, "can't be read");
    struct bad bad = { 0 };
    r = ovl_header_decode(bytes_of(buf, n, 0, &bad), f->name, &f->h, fault);
    if (r < 0)
        return r;
    if (f->h.size != f->source->size)
        return fault_in(fault, -ESTALE, f->name, "is of a disk of %llu bytes, but the source has %llu",
                        (unsigned long long)f->h.size, (unsigned long long)f->source->size);
    if (f->h.l1_size < l1_entries(f->h.size) || f->h.l1_size > l1_entries(f->h.size) + TABLE_ENTRIES)
        return fault_in(fault, -EUCLEAN, f->name, "its L1 table has %u entries, but the disk needs %u",
                        f->h.l1_size, l1_entries(f->h.size));
    /* it may end within its last cluster, where nothing was ever written */
    f->clusters.end = div_up((uint64_t)st.st_size, OVL_CLUSTER);
    f->l1_clusters = div_up(8 * (uint64_t)f->h.l1_size, OVL_CLUSTER);
    return 0;
}

static int file_init(struct overlay_file *f, size_t n_slots, struct fault *fault)
{
    int r = check_header(f, fault);
    if (r < 0)
        return r;
    r = ovl_clusters_grow(&f->clusters, f->clusters.end);
    if (!r)
        r = ovl_tables_init(f, n_slots);
    return r < 0 ? fault_in(fault, r, f->name, "out of memory") : 0;
}

static void file_free(struct overlay_file *f)
{
    free(f->blocks);
    ovl_tables_done(f);
    ovl_clusters_done(&f->clusters);
    for (size_t i = 0; i < OVL_STRIPES; i++)
        pthread_rwlock_destroy(&f->stripes[i]);
    pthread_mutex_destroy(&f->lock);
    pthread_cond_destroy(&f->idle);
    close(f->fd);
    free(f->name);
    free(f);
}

int ovl_file_open(int fd, const struct ovl_file_options *o, struct overlay_file **ret, struct fault *fault)
{
    struct overlay_file *f = calloc(1, sizeof *f);
    if (!f) {
        close(fd);
        return fault_in(fault, -ENOMEM, o->name, "out of memory");
    }
    *f = (struct overlay_file){ .fd = fd, .io = o->io, .durable = o->durable, .source = o->source };
    for (size_t i = 0; i < OVL_STRIPES; i++)
        pthread_rwlock_init(&f->stripes[i], NULL);
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->idle, NULL);
    f->name = strdup(o->name);
    int r = f->name ? file_init(f, o->n_slots, fault) : fault_in(fault, -ENOMEM, o->name, "out of memory");
    if (r < 0) {
        file_free(f);
        return r;
    }
    *ret = f;
    return 0;
}

/* ---- which clusters are in use ---- */

static int mark_in_use(struct overlay_file *f, uint64_t at, const char *what, struct fault *fault)
{
    if (at % OVL_CLUSTER == 0 && ovl_clusters_mark(&f->clusters, at >> OVL_SHIFT))
        return 0;
    return fault_at(fault, -EUCLEAN, f->name, at, "%s lies there, where something else does, or past the end",
                    what);
}

static int mark_table(struct overlay_file *f, uint64_t at, uint64_t *table, struct fault *fault)
{
    int r = mark_in_use(f, at, "an L2 table", fault);
    if (r < 0)
        return r;
    r = ovl_pread(f->fd, table, OVL_CLUSTER, at);
    if (r < 0)
        return fault_at(fault, r, f->name, at, "an L2 table can't be read");
    if (!ovl_table_is_sound(table, f->clusters.end))
        return fault_at(fault, -EUCLEAN, f->name, at, "an L2 table has entries that make no sense");
    for (size_t i = 0; !r && i < OVL_L2_ENTRIES; i++) {
        uint64_t data = be64toh(table[i]) & OVL_ADDRESS;
        if (data)
            r = mark_in_use(f, data, "data", fault);
    }
    return r;
}

/* The header, the L1 and all that it reaches. */
static int mark_tables(struct overlay_file *f, struct fault *fault)
{
    int r = mark_in_use(f, 0, "the header", fault);
    for (uint64_t i = 0; !r && i < f->l1_clusters; i++)
        r = mark_in_use(f, f->h.l1_offset + (i << OVL_SHIFT), "the L1 table", fault);
    _cleanup_free_ uint64_t *table = malloc(OVL_CLUSTER);
    if (!r && !table)
        r = fault_in(fault, -ENOMEM, f->name, "out of memory");
    for (uint32_t i = 0; !r && i < f->h.l1_size; i++)
        if (f->l1[i])
            r = mark_table(f, f->l1[i], table, fault);
    return r;
}

static bool refcount_table_is_sound(const struct overlay_file *f)
{
    enum { MAX = 128 }; /* QEMU's limit of 8 MiB */
    uint64_t at = f->h.refcount_offset >> OVL_SHIFT;
    if (f->h.refcount_offset % OVL_CLUSTER || !f->h.refcount_clusters || f->h.refcount_clusters > MAX)
        return false;
    for (uint64_t i = at; i < at + f->h.refcount_clusters; i++)
        if (i >= f->clusters.end || ovl_clusters_is_used(&f->clusters, i))
            return false;
    return true;
}

/* The refcounts: their clusters stay theirs while the file is dirty, as QEMU looks at them when it repairs.
 * A table or blocks that make no sense are left out, and made anew when the file is closed. */
static int mark_refcounts(struct overlay_file *f, struct fault *fault)
{
    if (!refcount_table_is_sound(f)) {
        f->h.refcount_clusters = 0;
        return 0;
    }
    for (uint32_t i = 0; i < f->h.refcount_clusters; i++)
        ovl_clusters_mark(&f->clusters, (f->h.refcount_offset >> OVL_SHIFT) + i);
    f->n_blocks = (size_t)f->h.refcount_clusters * TABLE_ENTRIES;
    f->blocks = calloc(f->n_blocks, sizeof *f->blocks);
    if (!f->blocks)
        return fault_in(fault, -ENOMEM, f->name, "out of memory");
    int r = ovl_pread(f->fd, f->blocks, f->n_blocks * sizeof *f->blocks, f->h.refcount_offset);
    if (r < 0)
        return fault_at(fault, r, f->name, f->h.refcount_offset, "the refcount table can't be read");
    for (size_t i = 0; i < f->n_blocks; i++) {
        f->blocks[i] = be64toh(f->blocks[i]);
        if (f->blocks[i] % OVL_CLUSTER || !ovl_clusters_mark(&f->clusters, f->blocks[i] >> OVL_SHIFT))
            f->blocks[i] = 0; /* one that isn't there lies where the header does */
    }
    return 0;
}

/* ---- taking it into use ---- */

static int write_backing(struct overlay_file *f, const struct ovl_file_options *o)
{
    uint64_t now = f->h.backing_offset, end = now + f->h.backing_length;
    uint64_t at = now < name_at[0] + NAME_MAX_LENGTH && end > name_at[0] ? name_at[1] : name_at[0];
    int r = ovl_pwrite(f->io, f->fd, o->backing, strlen(o->backing), at);
    if (!r && f->durable)
        r = ovl_fdatasync(f->io, f->fd);
    if (!r)
        set_backing(&f->h, o, at);
    return r;
}

int ovl_file_begin(struct overlay_file *f, uint64_t l1_offset, uint64_t generation, struct timespec time,
                   const struct ovl_file_options *o, struct fault *fault)
{
    if (l1_offset) {
        if (l1_offset % OVL_CLUSTER)
            return fault_in(fault, -EUCLEAN, f->name, "commit.json has an L1 that is out of place");
        f->h.l1_offset = l1_offset;
        f->h.generation = generation;
        f->h.time = time;
    }
    int r = read_l1(f, f->h.l1_offset, fault);
    if (!r)
        r = mark_tables(f, fault);
    if (!r)
        r = mark_refcounts(f, fault);
    if (r < 0 || !f->durable)
        return r;
    if (f->io->ftruncate(f->fd, (off_t)(f->clusters.end << OVL_SHIFT)) < 0)
        r = -errno;
    if (!r)
        r = write_backing(f, o);
    f->h.dirty = f->h.ours = f->h.known = true;
    if (!r)
        r = write_header(f);
    if (!r)
        r = ovl_fdatasync(f->io, f->fd);
    f->begun = !r;
    return r < 0 ? fault_in(fault, r, f->name, "can't be written: %s", strerror(-r)) : 0;
}

/* ---- committing ---- */

void ovl_file_break(struct overlay_file *f)
{
    pthread_mutex_lock(&f->lock);
    f->broken = -EIO;
    pthread_mutex_unlock(&f->lock);
}

static void move_header(struct overlay_file *f, uint64_t generation, struct timespec time)
{
    f->h.l1_offset = f->l1_next;
    f->h.generation = generation;
    f->h.time = time;
}

/* What was written is the last commit now. `l1_before`: where the L1 was. */
static void settle(struct overlay_file *f, uint64_t l1_before)
{
    pthread_mutex_lock(&f->lock);
    ovl_clusters_drop(&f->clusters, l1_before >> OVL_SHIFT, f->l1_clusters);
    ovl_clusters_commit(&f->clusters);
    if (!f->stale_header)
        ovl_clusters_release(&f->clusters);
    f->l1_next = 0;
    f->changed = false;
    f->uncommitted = 0;
    pthread_mutex_unlock(&f->lock);
}

int ovl_file_commit(struct overlay_file *f, uint64_t generation, struct timespec time)
{
    struct ovl_header before = f->h;
    move_header(f, generation, time);
    int r = write_header(f);
    if (r < 0) { /* the old sector is still what the page cache has */
        f->h = before;
        return r;
    }
    r = ovl_fdatasync(f->io, f->fd);
    if (r < 0) { /* the old one or the new one may be what the disk has */
        ovl_file_break(f);
        return r;
    }
    f->stale_header = false;
    settle(f, before.l1_offset);
    return 0;
}

void ovl_file_follow(struct overlay_file *f, uint64_t generation, struct timespec time)
{
    uint64_t before = f->h.l1_offset;
    bool moves = f->changed;
    if (moves)
        move_header(f, generation, time);
    int r = write_header(f);
    if (!r)
        r = ovl_fdatasync(f->io, f->fd);
    f->stale_header = r < 0;
    if (moves) {
        settle(f, before);
    } else if (!f->stale_header) {
        pthread_mutex_lock(&f->lock);
        ovl_clusters_release(&f->clusters);
        pthread_mutex_unlock(&f->lock);
    }
}

void ovl_file_forget(struct overlay_file *f)
{
    pthread_mutex_lock(&f->lock);
    f->changed = false;
    f->uncommitted = 0;
    pthread_mutex_unlock(&f->lock);
}

/* ---- closing ---- */

/* Gives the host back what free clusters hold. Only a wish: some file systems can't. */
static void punch_free(struct overlay_file *f, uint64_t end)
{
    uint64_t start = 0;
    for (uint64_t i = 0; i <= end; i++) {
        if (i < end && !ovl_clusters_is_used(&f->clusters, i))
            continue;
        if (i > start && f->io->fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                          (off_t)(start << OVL_SHIFT), (off_t)((i - start) << OVL_SHIFT)) < 0)
            return;
        start = i + 1;
    }
}

/* A refcount table with room for what the file needs and some more, at a new place. */
static int move_refcount_table(struct overlay_file *f, size_t need)
{
    uint64_t n = div_up(need + need / 8 + 1, TABLE_ENTRIES), at;
    uint64_t *p = reallocarray(f->blocks, n * TABLE_ENTRIES, sizeof *p);
    if (!p)
        return -ENOMEM;
    memset(p + f->n_blocks, 0, (n * TABLE_ENTRIES - f->n_blocks) * sizeof *p);
    f->blocks = p;
    f->n_blocks = n * TABLE_ENTRIES;
    int r = ovl_clusters_alloc(&f->clusters, n, &at);
    if (r < 0)
        return r;
    if (f->h.refcount_clusters)
        ovl_clusters_drop(&f->clusters, f->h.refcount_offset >> OVL_SHIFT, f->h.refcount_clusters);
    f->h.refcount_offset = at << OVL_SHIFT;
    f->h.refcount_clusters = (uint32_t)n;
    return 0;
}

/* Places for the blocks that hold the refcounts of all clusters, themselves and their table among them. */
static int place_refcounts(struct overlay_file *f)
{
    int r = 0;
    for (size_t i = 0; !r && i < div_up(f->clusters.end, REFCOUNTS);) { /* which may grow as we go */
        uint64_t at;
        if (i >= f->n_blocks)
            r = move_refcount_table(f, (size_t)div_up(f->clusters.end, REFCOUNTS));
        else if (f->blocks[i++])
            continue;
        else if (!(r = ovl_clusters_alloc(&f->clusters, 1, &at)))
            f->blocks[i - 1] = at << OVL_SHIFT;
    }
    return r;
}

static int write_refcounts(struct overlay_file *f)
{
    _cleanup_free_ uint8_t *buf = malloc(OVL_CLUSTER);
    if (!buf)
        return -ENOMEM;
    int r = 0;
    for (size_t i = 0; !r && i < f->n_blocks; i++) {
        if (!f->blocks[i])
            continue;
        for (size_t k = 0; k < REFCOUNTS; k++)
            put_be16(buf + 2 * k, ovl_clusters_is_used(&f->clusters, i * REFCOUNTS + k));
        r = ovl_pwrite(f->io, f->fd, buf, OVL_CLUSTER, f->blocks[i]);
    }
    for (size_t i = 0; !r && i < f->n_blocks; i += TABLE_ENTRIES) {
        for (size_t k = 0; k < TABLE_ENTRIES; k++)
            put_be64(buf + 8 * k, f->blocks[i + k]);
        r = ovl_pwrite(f->io, f->fd, buf, OVL_CLUSTER, f->h.refcount_offset + 8 * i);
    }
    return r ? r : ovl_fdatasync(f->io, f->fd);
}

/* Which clusters are in use, as the tables of the last commit say. */
static int recount(struct overlay_file *f)
{
    ovl_clusters_forget(&f->clusters);
    int r = read_l1(f, f->h.l1_offset, NULL);
    if (!r)
        r = mark_tables(f, NULL);
    for (uint32_t i = 0; !r && i < f->h.refcount_clusters; i++)
        ovl_clusters_mark(&f->clusters, (f->h.refcount_offset >> OVL_SHIFT) + i);
    for (size_t i = 0; !r && i < f->n_blocks; i++)
        if (f->blocks[i])
            ovl_clusters_mark(&f->clusters, f->blocks[i] >> OVL_SHIFT);
    return r;
}

/* Refcounts that agree with the tables, then the header that says so. An error leaves the dirty bit. */
static void write_clean(struct overlay_file *f)
{
    if (f->stale_header && recount(f) < 0) /* what earlier commits freed waits among what this one did */
        return;
    ovl_clusters_rollback(&f->clusters);
    if (place_refcounts(f) < 0)
        return;
    ovl_clusters_commit(&f->clusters);
    ovl_clusters_release(&f->clusters); /* the place of a refcount table that has moved */
    if (write_refcounts(f) < 0)
        return;
    f->h.dirty = false;
    if (write_header(f) < 0 || ovl_fdatasync(f->io, f->fd) < 0)
        return;
    /* the old refcount table is of no use to anyone now */
    uint64_t end = ovl_clusters_last(&f->clusters);
    if (!f->io->ftruncate(f->fd, (off_t)(end << OVL_SHIFT)))
        punch_free(f, end);
}

void ovl_file_close(struct overlay_file *f)
{
    if (!f)
        return;
    /* One that a killed daemon has left is dirty too, and must stay as it is when the opening fails half-way:
     * as long as its tables aren't read, all its clusters look free. */
    if (f->begun && !f->broken)
        write_clean(f);
    file_free(f);
}
