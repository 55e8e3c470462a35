/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inodes: read by libext2fs under the volume's lock (which checks their checksums), taken apart here.
 *
 *     0                        100     128      128+extra        inode_size
 *     | mode size times ...    | hi parts | extra | magic, attributes ... |
 *                 28 i_block: extents, block map, a short link, inline data, or a device number
 *
 * Numbers: the library's root is 2, struct volume_ops' is 1. They are swapped; the library's 1 is the list of
 * bad blocks, which no name reaches. The upper 32 bits count how often the inode was freed since the volume
 * was opened, so that no number ever names a second file. */
#include "ext-write.h"
#include "../formats/checked.h"
#include "../formats/hash.h"

#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>

enum { /* offsets in an inode */
       IN_MODE = 0x00,
       IN_UID = 0x02,
       IN_SIZE_LO = 0x04,
       IN_ATIME = 0x08,
       IN_CTIME = 0x0C,
       IN_MTIME = 0x10,
       IN_GID = 0x18,
       IN_LINKS = 0x1A,
       IN_BLOCKS_LO = 0x1C,
       IN_FLAGS = 0x20,
       IN_GENERATION = 0x64,
       IN_ACL_LO = 0x68,
       IN_SIZE_HI = 0x6C,
       IN_BLOCKS_HI = 0x74,
       IN_ACL_HI = 0x76,
       IN_UID_HI = 0x78,
       IN_GID_HI = 0x7A,
       IN_EXTRA_SIZE = 0x80,
       IN_CTIME_EXTRA = 0x84,
       IN_MTIME_EXTRA = 0x88,
       IN_ATIME_EXTRA = 0x8C,
       IN_BIRTH = 0x90,
       IN_BIRTH_EXTRA = 0x94,
};

uint64_t ext_volume_ino(const struct ext_fs *x, uint32_t ino)
{
    uint64_t n = ino == EXT_INO_ROOT ? VOLUME_ROOT : ino == VOLUME_ROOT ? EXT_INO_ROOT : ino;
    return n | (uint64_t)ext_lives(x, ino) << 32;
}

uint32_t ext_inode_number(const struct ext_fs *x, uint64_t volume_ino)
{
    uint32_t n = (uint32_t)volume_ino;
    uint32_t ino = n == EXT_INO_ROOT ? VOLUME_ROOT : n == VOLUME_ROOT ? EXT_INO_ROOT : n;
    return ext_lives(x, ino) == volume_ino >> 32 ? ino : 0;
}

/* 34 bits of seconds and 30 of nanoseconds, where the inode is large enough for the second word. */
static struct timespec inode_time(struct bytes b, size_t off, size_t extra_off)
{
    struct timespec t = { .tv_sec = (int32_t)le32(b, off) };
    if (extra_off + 4 <= b.n) {
        uint32_t extra = le32(b, extra_off);
        t.tv_sec += (time_t)(extra & 3) << 32;
        if (extra >> 2 < 1000000000)
            t.tv_nsec = extra >> 2;
    }
    return t;
}

/* As Linux keeps it: the old form of 8 + 8 bits in the first word, else the wide one in the second. */
static dev_t inode_rdev(struct bytes b)
{
    uint32_t v = le32(b, EXT_INODE_BLOCK);
    if (v)
        return makedev(v >> 8 & 0xff, v & 0xff);
    v = le32(b, EXT_INODE_BLOCK + 4);
    return makedev((v & 0xfff00) >> 8, (v & 0xff) | (v >> 12 & 0xfff00));
}

static bool inode_mode_valid(uint16_t mode)
{
    return S_ISREG(mode) || S_ISDIR(mode) || S_ISLNK(mode) || S_ISCHR(mode) || S_ISBLK(mode) ||
           S_ISFIFO(mode) || S_ISSOCK(mode);
}

static uint64_t inode_allocated(struct bytes b, const struct ext_super *s, uint32_t flags)
{
    uint64_t n = le32(b, IN_BLOCKS_LO);
    if (s->ro_compat & EXT4_FEATURE_RO_COMPAT_HUGE_FILE) {
        n |= (uint64_t)le16(b, IN_BLOCKS_HI) << 32;
        if (flags & EXT4_HUGE_FILE_FL)
            return n * s->block_size; /* 48 + 16 bits: can't overflow */
    }
    return n * 512;
}

/* `b` ends where the fields end, so that the extra words are only taken where they are. */
static int inode_take(struct bytes b, const struct ext_super *s, struct ext_inode *i)
{
    i->mode = le16(b, IN_MODE);
    i->uid = le16(b, IN_UID) | (uint32_t)le16(b, IN_UID_HI) << 16;
    i->gid = le16(b, IN_GID) | (uint32_t)le16(b, IN_GID_HI) << 16;
    i->links = le16(b, IN_LINKS);
    i->flags = le32(b, IN_FLAGS);
    i->size = le32(b, IN_SIZE_LO);
    if (S_ISREG(i->mode) || S_ISDIR(i->mode))
        i->size |= (uint64_t)le32(b, IN_SIZE_HI) << 32;
    i->allocated = inode_allocated(b, s, i->flags);
    if (S_ISREG(i->mode) && i->flags & EXT4_INLINE_DATA_FL) /* counted as Linux counts it */
        i->allocated += div_up(i->size, 512) * 512;
    i->acl_block = le32(b, IN_ACL_LO);
    if (s->incompat & EXT4_FEATURE_INCOMPAT_64BIT)
        i->acl_block |= (uint64_t)le16(b, IN_ACL_HI) << 32;
    i->rdev = S_ISCHR(i->mode) || S_ISBLK(i->mode) ? inode_rdev(b) : 0;
    i->value_hash = le32(b, IN_ATIME);
    i->atime = inode_time(b, IN_ATIME, IN_ATIME_EXTRA);
    i->mtime = inode_time(b, IN_MTIME, IN_MTIME_EXTRA);
    i->ctime = inode_time(b, IN_CTIME, IN_CTIME_EXTRA);
    if (IN_BIRTH + 4 <= b.n)
        i->birth = inode_time(b, IN_BIRTH, IN_BIRTH_EXTRA);
    uint8_t number[4];
    put_le32(number, i->ino);
    i->csum_seed = crc32c_update(crc32c_update(s->csum_seed, number, 4), b.p + IN_GENERATION, 4);
    return i->size > INT64_MAX || !inode_mode_valid(i->mode) ? -EIO : 0;
}

int ext_inode_read(struct ext_fs *x, uint32_t ino, struct ext_inode *ret)
{
    if (!ino || ino > x->super.inodes)
        return -EIO;
    ret->ino = ino;
    ret->raw_size = x->super.inode_size;
    pthread_mutex_lock(&x->lock);
    errcode_t e =
        ext2fs_read_inode_full(x->lib, ino, (struct ext2_inode *)(void *)ret->raw, (int)ret->raw_size);
    pthread_mutex_unlock(&x->lock);
    if (e)
        return e == EXT2_ET_NO_MEMORY ? -ENOMEM : -EIO;
    return ext_inode_reload(x, ret);
}

int ext_inode_reload(struct ext_fs *x, struct ext_inode *ret)
{
    struct bad bad = { 0 };
    struct bytes b = bytes_of(ret->raw, ret->raw_size, 0, &bad);
    ret->extra_size = b.n > 128 ? le16(b, IN_EXTRA_SIZE) : 0;
    if (ret->extra_size % 4 || ret->extra_size > b.n - 128)
        return -EIO;
    ret->birth = (struct timespec){ 0 };
    return inode_take(bytes_sub(b, 0, 128 + ret->extra_size), &x->super, ret);
}

int ext_inode_get(struct ext_fs *x, uint64_t volume_ino, struct ext_inode *ret)
{
    const struct ext_super *s = &x->super;
    uint32_t ino = ext_inode_number(x, volume_ino);
    if (!ino)
        return -ESTALE;
    bool own = ino == s->journal_inode || ino == s->quota_inodes[0] || ino == s->quota_inodes[1] ||
               ino == s->quota_inodes[2] || ino == s->orphan_file;
    if (ino != EXT_INO_ROOT && (ino < s->first_inode || own))
        return -EIO;
    int r = ext_inode_read(x, ino, ret);
    if (r < 0)
        return r;
    /* a name that leads to what is no file */
    if ((!ret->links && !ext_is_open(x, ino)) || (ret->flags & EXT4_EA_INODE_FL))
        return -EIO;
    return ino == EXT_INO_ROOT && !S_ISDIR(ret->mode) ? -EIO : 0;
}

/* ---- writing ---- */

struct timespec ext_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t;
}

/* `end`: of the fields that the inode has. A time that has no place is taken to the nearest that has one, and
 * the first and last second have no fractions, as with Linux. */
static void put_time(uint8_t *raw, size_t end, size_t off, size_t extra_off, struct timespec t)
{
    bool wide = extra_off + 4 <= end;
    const int64_t least = INT32_MIN, most = wide ? INT32_MAX + (3ll << 32) : INT32_MAX;
    int64_t s = t.tv_sec < least ? least : t.tv_sec > most ? most : t.tv_sec;
    put_le32(raw + off, (uint32_t)s);
    if (s == least || s == most)
        t.tv_nsec = 0;
    if (wide) {
        uint32_t epoch = (uint32_t)((s - (int32_t)(uint32_t)s) >> 32) & 3;
        put_le32(raw + extra_off, (uint32_t)t.tv_nsec << 2 | epoch);
    }
}

int ext_inode_write(struct ext_fs *x, struct ext_inode *i)
{
    uint8_t *raw = i->raw;
    size_t end = 128 + i->extra_size;
    put_le16(raw + IN_MODE, i->mode);
    put_le16(raw + IN_UID, (uint16_t)i->uid);
    put_le16(raw + IN_UID_HI, (uint16_t)(i->uid >> 16));
    put_le16(raw + IN_GID, (uint16_t)i->gid);
    put_le16(raw + IN_GID_HI, (uint16_t)(i->gid >> 16));
    put_le16(raw + IN_LINKS, (uint16_t)i->links);
    put_le32(raw + IN_FLAGS, i->flags);
    put_le32(raw + IN_SIZE_LO, (uint32_t)i->size);
    if (S_ISREG(i->mode) || S_ISDIR(i->mode))
        put_le32(raw + IN_SIZE_HI, (uint32_t)(i->size >> 32));
    put_time(raw, end, IN_ATIME, IN_ATIME_EXTRA, i->atime);
    put_time(raw, end, IN_CTIME, IN_CTIME_EXTRA, i->ctime);
    put_time(raw, end, IN_MTIME, IN_MTIME_EXTRA, i->mtime);
    if (IN_BIRTH + 4 <= end)
        put_time(raw, end, IN_BIRTH, IN_BIRTH_EXTRA, i->birth);
    return ext_errno(ext2fs_write_inode_full(x->lib, i->ino, ext_inode_lib(i), (int)i->raw_size));
}

enum { EXTRA_SIZE_DEFAULT = 32 };

void ext_inode_init(const struct ext_fs *x, struct ext_inode *i, uint32_t ino, uint32_t generation)
{
    memset(i, 0, sizeof *i);
    i->ino = ino;
    i->raw_size = x->super.inode_size;
    put_le32(i->raw + IN_GENERATION, generation);
    if (i->raw_size > 128) {
        uint32_t want = x->lib->super->s_want_extra_isize;
        i->extra_size =
            want < EXTRA_SIZE_DEFAULT || want % 4 || want > i->raw_size - 128 ? EXTRA_SIZE_DEFAULT : want;
        put_le16(i->raw + IN_EXTRA_SIZE, (uint16_t)i->extra_size);
    }
    i->atime = i->mtime = i->ctime = i->birth = ext_now();
}
