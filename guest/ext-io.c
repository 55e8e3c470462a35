/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libext2fs over struct disk: an io_manager that reads blocks from a disk, and writes them into a store.
 *
 * The library knows its volume by a name only; ours is the address of the struct ext_fs in hex, which
 * io_open() takes back. Requests for a negative count are a number of bytes (the superblock). What lies past
 * the end is an error, never zeros. Single blocks of the file system's size go through the cache, like all
 * metadata that we read ourselves; of a writable volume, everything goes through the store. */
#include "ext.h"
#include "../formats/checked.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int io_load(void *ctx, uint64_t block, void *buf, size_t size)
{
    struct ext_fs *x = ctx;
    uint64_t at;
    if (!checked_mul(block, size, &at) || !range_inside(at, size, x->disk->size))
        return -EIO;
    int r = disk_pread(x->disk, buf, size, at);
    return r == -ENOMEM ? r : r < 0 ? -EIO : 0;
}

int ext_block_get(struct ext_fs *x, uint64_t block, struct cache_block **ret)
{
    if (block >= x->super.blocks || block < x->super.first_data_block)
        return -EIO;
    if (!x->store)
        return cache_get(x->cache, x->owner, block, x->super.block_size, io_load, x, ret);
    struct cache_block *b = malloc(sizeof *b + x->super.block_size);
    if (!b)
        return -ENOMEM;
    uint8_t *data = (uint8_t *)(b + 1);
    *b = (struct cache_block){ .data = data, .size = x->super.block_size };
    int r = block_store_read(x->store, block, data);
    if (r < 0) {
        free(b);
        return r;
    }
    *ret = b;
    return 0;
}

void ext_block_put(struct ext_fs *x, struct cache_block *block)
{
    if (x->store)
        free(block);
    else
        cache_put(x->cache, block);
}

int ext_data_read(struct ext_fs *x, void *buf, size_t len, uint64_t byte)
{
    if (!range_inside(byte, len, x->disk->size))
        return -EIO;
    int r = disk_pread(x->disk, buf, len, byte);
    if (r == 0 && x->store)
        block_store_patch(x->store, buf, len, byte);
    return r == -ENOMEM ? r : r < 0 ? -EIO : 0;
}

/* ---- the io_manager ---- */

static struct struct_io_manager io_manager_disk;

static errcode_t io_open(const char *name, int flags, io_channel *ret)
{
    uintptr_t address;
    if (sscanf(name, "%" SCNxPTR, &address) != 1)
        return EINVAL;
    if (flags & IO_FLAG_RW && !((struct ext_fs *)address)->store)
        return EROFS;
    io_channel c = calloc(1, sizeof *c);
    if (!c || !(c->name = strdup(name))) {
        free(c);
        return ENOMEM;
    }
    c->magic = EXT2_ET_MAGIC_IO_CHANNEL;
    c->manager = &io_manager_disk;
    c->block_size = 1024;
    c->refcount = 1;
    c->private_data = (void *)address;
    *ret = c;
    return 0;
}

static errcode_t io_close(io_channel c)
{
    if (--c->refcount > 0)
        return 0;
    free(c->name);
    free(c);
    return 0;
}

static errcode_t io_set_blksize(io_channel c, int size)
{
    c->block_size = size;
    return 0;
}

/* The bytes that a request is for. */
static bool io_range(io_channel c, unsigned long long block, int count, uint64_t *ret_at, uint64_t *ret_len)
{
    uint64_t size = (uint64_t)c->block_size, n = count < 0 ? (uint64_t) - (int64_t)count : (uint64_t)count;
    return checked_mul(n, count < 0 ? 1 : size, ret_len) && checked_mul(block, size, ret_at);
}

static errcode_t io_read64(io_channel c, unsigned long long block, int count, void *buf)
{
    struct ext_fs *x = c->private_data;
    uint64_t at, len;
    if (count == 1 && (uint32_t)c->block_size == x->super.block_size) {
        struct cache_block *b;
        int r = ext_block_get(x, block, &b);
        if (r < 0)
            return EXT2_ET_SHORT_READ;
        memcpy(buf, b->data, b->size);
        ext_block_put(x, b);
        return 0;
    }
    if (!io_range(c, block, count, &at, &len) || ext_data_read(x, buf, len, at) < 0)
        return EXT2_ET_SHORT_READ;
    return 0;
}

static errcode_t io_read(io_channel c, unsigned long block, int count, void *buf)
{
    return io_read64(c, block, count, buf);
}

/* Part of one block. */
static int io_write_part(struct ext_fs *x, const uint8_t *p, size_t len, uint64_t at)
{
    uint32_t size = x->super.block_size;
    if (len == size)
        return block_store_write(x->store, at / size, p);
    _cleanup_free_ uint8_t *block = malloc(size);
    if (!block)
        return -ENOMEM;
    int r = block_store_read(x->store, at / size, block);
    if (r < 0)
        return r;
    memcpy(block + at % size, p, len);
    return block_store_write(x->store, at / size, block);
}

static errcode_t io_write64(io_channel c, unsigned long long block, int count, const void *buf)
{
    struct ext_fs *x = c->private_data;
    const uint8_t *p = buf;
    uint64_t at, len;
    if (!x->store)
        return EROFS;
    if (!io_range(c, block, count, &at, &len) || !range_inside(at, len, x->disk->size))
        return EXT2_ET_SHORT_WRITE;
    while (len) {
        size_t n = (size_t)min_u64(len, x->super.block_size - at % x->super.block_size);
        int r = io_write_part(x, p, n, at);
        if (r < 0)
            return -r;
        p += n;
        at += n;
        len -= n;
    }
    return 0;
}

static errcode_t io_write(io_channel c, unsigned long block, int count, const void *buf)
{
    return io_write64(c, block, count, buf);
}

static errcode_t io_flush(io_channel c)
{
    (void)c;
    return 0;
}

static struct struct_io_manager io_manager_disk = {
    .magic = EXT2_ET_MAGIC_IO_MANAGER,
    .name = "ferryfs disk",
    .open = io_open,
    .close = io_close,
    .set_blksize = io_set_blksize,
    .read_blk = io_read,
    .write_blk = io_write,
    .flush = io_flush,
    .read_blk64 = io_read64,
    .write_blk64 = io_write64,
};

/* ---- opening ---- */

static pthread_once_t io_once = PTHREAD_ONCE_INIT;

int ext_errno(errcode_t e)
{
    if (!e)
        return 0;
    if (e == EXT2_ET_NO_MEMORY)
        return -ENOMEM;
    if (e == EXT2_ET_BLOCK_ALLOC_FAIL || e == EXT2_ET_INODE_ALLOC_FAIL || e == EXT2_ET_EA_NO_SPACE ||
        e == EXT2_ET_DIR_NO_SPACE)
        return -ENOSPC;
    if (e == EXT2_ET_FILE_TOO_BIG)
        return -EFBIG;
    return e == ENOMEM || e == ENOSPC ? -(int)e : -EIO;
}

int ext_fs_open(struct ext_fs *x, struct disk *disk, struct cache *cache, bool writable, const char *name,
                struct notes *notes, struct fault *fault)
{
    pthread_once(&io_once, initialize_ext2_error_table);
    *x = (struct ext_fs){ .disk = disk, .cache = cache, .owner = cache_owner_new() };
    int r = ext_super_read(disk, name, &x->super, notes, fault);
    if (r < 0)
        return r;
    char key[32];
    snprintf(key, sizeof key, "%" PRIxPTR, (uintptr_t)x);
    if (writable && block_store_new(disk, x->super.block_size, &x->store) < 0)
        return fault_in(fault, -ENOMEM, name, "out of memory");
    int flags = EXT2_FLAG_64BITS | EXT2_FLAG_SKIP_MMP | (writable ? EXT2_FLAG_RW : 0);
    errcode_t e = ext2fs_open2(key, NULL, flags, 0, 0, &io_manager_disk, &x->lib);
    if (e) {
        block_store_free(x->store);
        x->store = NULL;
        x->lib = NULL;
    }
    if (e == EXT2_ET_NO_MEMORY || e == ENOMEM)
        return fault_in(fault, -ENOMEM, name, "out of memory");
    if (e == EXT2_ET_UNSUPP_FEATURE || e == EXT2_ET_RO_UNSUPP_FEATURE)
        return fault_in(fault, -ENOTSUP, name,
                        "the ext file system has features that libext2fs doesn't know");
    if (e)
        return fault_in(fault, -EUCLEAN, name, "the ext file system can't be opened: %s", error_message(e));
    pthread_mutex_init(&x->lock, NULL);
    uint32_t damaged = 0;
    for (dgrp_t g = 0; g < x->super.groups; g++)
        damaged += !ext2fs_group_desc_csum_verify(x->lib, g);
    x->damaged_groups = damaged;
    if (damaged) /* Linux mounts such a volume read-only: the inodes behind them have checksums of their own
                  */
        notes_add(notes, "%u of %u ext group descriptors don't agree with their checksums", damaged,
                  x->super.groups);
    return 0;
}

void ext_fs_close(struct ext_fs *x)
{
    if (!x->lib)
        return;
    ext2fs_free(x->lib); /* not ext2fs_close, which would write */
    x->lib = NULL;
    block_store_free(x->store);
    x->store = NULL;
    pthread_mutex_destroy(&x->lock);
}
