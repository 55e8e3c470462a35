/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What has to be done, and to be true, before an ext file system is written.
 *
 * Orphans are inodes that the guest was to delete or to truncate when it went down. They stand in a list,
 * from the superblock on, each with the next one's number in place of its time of deletion; or, with the
 * feature orphan_file, in the blocks of a file: numbers, and at each block's end a magic number and a
 * checksum. */
#include "../formats/checked.h"
#include "../formats/hash.h"
#include "ext-write.h"
#include "jbd2.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- features ---- */

struct feature {
    uint32_t bit;
    const char *name;
};

static const struct feature incompat_unsafe[] = {
    { EXT4_FEATURE_INCOMPAT_MMP, "mmp" },
    { EXT4_FEATURE_INCOMPAT_EA_INODE, "ea_inode" },
    { EXT4_FEATURE_INCOMPAT_INLINE_DATA, "inline_data" },
    { EXT4_FEATURE_INCOMPAT_ENCRYPT, "encrypt" },
    { EXT4_FEATURE_INCOMPAT_CASEFOLD, "casefold" },
    { 0 },
};

static const struct feature ro_compat_unsafe[] = {
    { EXT4_FEATURE_RO_COMPAT_QUOTA, "quota" },
    { EXT4_FEATURE_RO_COMPAT_BIGALLOC, "bigalloc" },
    { EXT4_FEATURE_RO_COMPAT_PROJECT, "project" },
    { EXT4_FEATURE_RO_COMPAT_SHARED_BLOCKS, "shared_blocks" },
    { EXT4_FEATURE_RO_COMPAT_READONLY, "read-only" },
    { EXT4_FEATURE_RO_COMPAT_VERITY, "verity" },
    { EXT4_FEATURE_RO_COMPAT_HAS_SNAPSHOT, "snapshot" },
    { EXT4_FEATURE_RO_COMPAT_REPLICA, "replica" },
    { 0 },
};

static const uint32_t ro_compat_safe =
    EXT2_FEATURE_RO_COMPAT_SPARSE_SUPER | EXT2_FEATURE_RO_COMPAT_LARGE_FILE |
    EXT4_FEATURE_RO_COMPAT_HUGE_FILE | EXT4_FEATURE_RO_COMPAT_GDT_CSUM | EXT4_FEATURE_RO_COMPAT_DIR_NLINK |
    EXT4_FEATURE_RO_COMPAT_EXTRA_ISIZE | EXT4_FEATURE_RO_COMPAT_METADATA_CSUM |
    EXT4_FEATURE_RO_COMPAT_ORPHAN_PRESENT;

static const uint32_t incompat_safe = EXT2_FEATURE_INCOMPAT_FILETYPE | EXT3_FEATURE_INCOMPAT_RECOVER |
                                      EXT2_FEATURE_INCOMPAT_META_BG | EXT3_FEATURE_INCOMPAT_EXTENTS |
                                      EXT4_FEATURE_INCOMPAT_64BIT | EXT4_FEATURE_INCOMPAT_FLEX_BG |
                                      EXT4_FEATURE_INCOMPAT_CSUM_SEED | EXT4_FEATURE_INCOMPAT_LARGEDIR;

static const char *feature_name(const struct feature *f, uint32_t bits)
{
    for (; f->bit; f++)
        if (bits & f->bit)
            return f->name;
    return NULL;
}

const char *ext_unsafe(const struct ext_super *s, char *buf, size_t size)
{
    uint32_t ro = s->ro_compat & ~ro_compat_safe, in = s->incompat & ~incompat_safe;
    const char *name = feature_name(ro_compat_unsafe, ro);
    if (!name)
        name = feature_name(incompat_unsafe, in);
    if (name)
        snprintf(buf, size, "the ext file system has the feature %s, which isn't written here", name);
    else if (ro || in)
        snprintf(buf, size, "the ext file system has unknown features (incompat 0x%x, ro_compat 0x%x)", in,
                 ro);
    else if (s->compat & EXT3_FEATURE_COMPAT_HAS_JOURNAL && !s->journal_inode)
        snprintf(buf, size, "the ext file system's journal is on another device");
    else if (s->state & EXT2_ERROR_FS)
        snprintf(buf, size, "the guest has recorded errors in this ext file system; run e2fsck in the guest");
    else if (!(s->state & EXT2_VALID_FS) && !(s->compat & EXT3_FEATURE_COMPAT_HAS_JOURNAL))
        snprintf(buf, size,
                 "the ext file system wasn't unmounted cleanly and has no journal; run e2fsck in "
                 "the guest");
    else
        return NULL;
    return buf;
}

/* ---- orphans ---- */

static int orphan_process(struct ext_fs *x, uint32_t ino, uint32_t *ret_next)
{
    struct ext_inode i;
    bool own = ino == x->super.journal_inode || ino == x->super.orphan_file;
    if (ino < x->super.first_inode || ino > x->super.inodes || own ||
        !ext2fs_test_inode_bitmap2(x->lib->inode_map, ino) || ext_inode_read(x, ino, &i) < 0)
        return -EUCLEAN;
    *ret_next = ext_inode_lib(&i)->i_dtime;
    ext_inode_lib(&i)->i_dtime = 0;
    int r;
    if (!i.links)
        r = ext_inode_free(x, &i);
    else if (S_ISREG(i.mode) && !(i.flags & EXT4_ENCRYPT_FL))
        r = ext_resize(x, &i, i.size);
    else
        r = ext_inode_write(x, &i);
    return r == -EIO ? -EUCLEAN : r;
}

static int orphan_list(struct ext_fs *x)
{
    uint32_t ino = x->lib->super->s_last_orphan;
    for (uint32_t n = 0; ino; n++) { /* a loop comes to one that is done, and has no next */
        int r = n > x->super.inodes ? -EUCLEAN : orphan_process(x, ino, &ino);
        if (r < 0)
            return r;
    }
    x->lib->super->s_last_orphan = 0;
    return 0;
}

enum { ORPHAN_TAIL = 8, ORPHAN_MAGIC = 0x0b10ca04 };

static uint32_t orphan_block_csum(const struct ext_inode *file, struct bytes b, uint64_t block)
{
    uint8_t number[8];
    put_le64(number, block);
    return crc32c_update(crc32c_update(file->csum_seed, number, sizeof number), b.p, b.n - ORPHAN_TAIL);
}

static int orphan_block(struct ext_fs *x, const struct ext_inode *file, uint64_t logical, uint8_t *buf)
{
    struct bad bad = { 0 };
    struct ext_run run;
    struct bytes b = bytes_of(buf, x->super.block_size, 0, &bad);
    size_t tail = b.n - ORPHAN_TAIL;
    int r = ext_map(x, file, logical, &run);
    if (r < 0 || !run.block || block_store_read(x->store, run.block, buf) < 0)
        return -EUCLEAN;
    if (le32(b, tail) != ORPHAN_MAGIC ||
        (x->super.has_csum && le32(b, tail + 4) != orphan_block_csum(file, b, run.block)))
        return -EUCLEAN;
    for (size_t off = 0; off < tail; off += 4) {
        uint32_t ino = le32(b, off), next;
        if (ino && (r = orphan_process(x, ino, &next)) < 0)
            return r;
        put_le32(buf + off, 0);
    }
    if (x->super.has_csum)
        put_le32(buf + tail + 4, orphan_block_csum(file, b, run.block));
    return block_store_write(x->store, run.block, buf);
}

static int orphan_file(struct ext_fs *x)
{
    struct ext_inode file;
    uint32_t size = x->super.block_size;
    if (!x->super.orphan_file || ext_inode_read(x, x->super.orphan_file, &file) < 0 || !S_ISREG(file.mode) ||
        file.size % size || file.size / size > x->super.blocks)
        return -EUCLEAN;
    _cleanup_free_ uint8_t *buf = malloc(size);
    if (!buf)
        return -ENOMEM;
    int r = 0;
    for (uint64_t n = 0; n < file.size / size && r == 0; n++)
        r = orphan_block(x, &file, n, buf);
    x->lib->super->s_feature_ro_compat &= ~(uint32_t)EXT4_FEATURE_RO_COMPAT_ORPHAN_PRESENT;
    return r;
}

int ext_orphans_process(struct ext_fs *x)
{
    int r = 0;
    if (x->lib->super->s_last_orphan)
        r = orphan_list(x);
    if (r == 0 && x->super.ro_compat & EXT4_FEATURE_RO_COMPAT_ORPHAN_PRESENT)
        r = orphan_file(x);
    ext2fs_mark_super_dirty(x->lib);
    return r;
}

/* ---- opening ---- */

/* The superblock's counts are the groups' sums only after a clean unmount. */
static void recount(struct ext_fs *x)
{
    uint64_t blocks = 0, inodes = 0;
    for (dgrp_t g = 0; g < x->super.groups; g++) {
        blocks += ext2fs_bg_free_blocks_count(x->lib, g);
        inodes += ext2fs_bg_free_inodes_count(x->lib, g);
    }
    if (blocks == ext2fs_free_blocks_count(x->lib->super) && inodes == x->lib->super->s_free_inodes_count)
        return;
    ext2fs_free_blocks_count_set(x->lib->super, blocks);
    x->lib->super->s_free_inodes_count = (uint32_t)inodes;
    ext2fs_mark_super_dirty(x->lib);
}

static int begin_writing(struct ext_volume *v, char *why, size_t size)
{
    struct ext_fs *x = &v->fs;
    x->lib->flags |= EXT2_FLAG_MASTER_SB_ONLY; /* as Linux: the copies are e2fsck's and resize2fs' affair */
    if (ext2fs_read_bitmaps(x->lib)) {
        snprintf(why, size, "the ext file system's bitmaps are damaged; run e2fsck in the guest");
        return -EUCLEAN;
    }
    int r = ext_writer_new(x, &v->writer);
    if (r < 0) {
        snprintf(why, size, "out of memory");
        return r;
    }
    recount(x);
    bool orphans = x->super.last_orphan || x->super.ro_compat & EXT4_FEATURE_RO_COMPAT_ORPHAN_PRESENT;
    if (orphans && (r = ext_orphans_process(x)) < 0)
        snprintf(why, size,
                 "the ext file system's list of files to be deleted is damaged; run e2fsck in the "
                 "guest");
    if (r == 0 && orphans && (r = ext_fs_sync(x)) < 0)
        snprintf(why, size, "the overlay can't be written: %s", strerror(-r));
    return r;
}

void ext_writing_end(struct ext_volume *v)
{
    ext_writer_free(v->writer);
    v->writer = v->fs.writer = NULL;
}

int ext_writing_begin(struct ext_volume *v, struct disk *disk, struct cache *cache, const char *name)
{
    struct volume *volume = &v->volume;
    struct notes notes = { 0 };
    struct fault fault = { 0 };
    int r = v->replayed ? jbd2_apply(v->replayed, disk) : 0;
    if (r < 0) {
        snprintf(volume->read_only_why, sizeof volume->read_only_why,
                 "the journal can't be replayed into the overlay: %s", strerror(-r));
        return 0;
    }
    ext_fs_close(&v->fs);
    r = ext_fs_open(&v->fs, disk, cache, true, name, &notes, &fault);
    if (r == 0)
        r = begin_writing(v, volume->read_only_why, sizeof volume->read_only_why);
    else
        snprintf(volume->read_only_why, sizeof volume->read_only_why,
                 "it can't be opened for writing: %.180s", fault.what);
    notes_done(&notes);
    if (r == 0) {
        volume->writable = true;
        return 0;
    }
    ext_fs_close(&v->fs); /* what was begun is dropped */
    ext_writing_end(v);
    notes = (struct notes){ 0 };
    r = ext_fs_open(&v->fs, v->replayed ? v->replayed : disk, cache, false, name, &notes, &fault);
    notes_done(&notes);
    return r;
}
