/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The superblock, 1024 bytes at byte 1024, little-endian: read here, before libext2fs sees the volume,
 * because the library allocates and loops by what it says.
 *
 *     byte 0     1024          2048 (or the end of block 0)
 *     | boot     | superblock  | group descriptors: groups × desc_size bytes, from the next block on | ...
 *
 * Checked are the sizes that later arithmetic rests on, the features (a name for each that we don't read),
 * the checksum, and that the group descriptors lie in the volume. What the group descriptors say is the
 * library's to check; what inodes say is checked where it is used. */
#include "ext.h"
#include "../formats/checked.h"
#include "../formats/hash.h"

#include <errno.h>
#include <stdio.h>

enum { SUPER_AT = 1024, SUPER_SIZE = 1024 };

enum { /* offsets in the superblock */
       SB_INODES = 0x00,
       SB_BLOCKS_LO = 0x04,
       SB_RESERVED_LO = 0x08,
       SB_FIRST_DATA_BLOCK = 0x14,
       SB_LOG_BLOCK_SIZE = 0x18,
       SB_LOG_CLUSTER_SIZE = 0x1C,
       SB_BLOCKS_PER_GROUP = 0x20,
       SB_CLUSTERS_PER_GROUP = 0x24,
       SB_INODES_PER_GROUP = 0x28,
       SB_MAGIC = 0x38,
       SB_STATE = 0x3A,
       SB_REV = 0x4C,
       SB_FIRST_INODE = 0x54,
       SB_INODE_SIZE = 0x58,
       SB_COMPAT = 0x5C,
       SB_INCOMPAT = 0x60,
       SB_RO_COMPAT = 0x64,
       SB_UUID = 0x68,
       SB_JOURNAL_INODE = 0xE0,
       SB_JOURNAL_DEVICE = 0xE4,
       SB_LAST_ORPHAN = 0xE8,
       SB_HASH_SEED = 0xEC,
       SB_DESC_SIZE = 0xFE,
       SB_BLOCKS_HI = 0x150,
       SB_RESERVED_HI = 0x154,
       SB_FLAGS = 0x160,
       SB_CHECKSUM_TYPE = 0x175,
       SB_ERROR_COUNT = 0x194,
       SB_USER_QUOTA = 0x240,
       SB_GROUP_QUOTA = 0x244,
       SB_OVERHEAD = 0x248,
       SB_PROJECT_QUOTA = 0x26C,
       SB_CHECKSUM_SEED = 0x270,
       SB_ENCODING = 0x27C,
       SB_ORPHAN_FILE = 0x280,
       SB_CHECKSUM = 0x3FC,
};

enum { MAGIC = 0xEF53, STATE_ERROR = 2, CHECKSUM_CRC32C = 1 };

static const char *const incompat_names[32] = {
    [0] = "compression",
    [2] = "needs_recovery",
    [3] = "journal_dev",
    [12] = "dirdata",
};

static const uint32_t incompat_known =
    EXT2_FEATURE_INCOMPAT_FILETYPE | EXT3_FEATURE_INCOMPAT_RECOVER | EXT2_FEATURE_INCOMPAT_META_BG |
    EXT3_FEATURE_INCOMPAT_EXTENTS | EXT4_FEATURE_INCOMPAT_64BIT | EXT4_FEATURE_INCOMPAT_MMP |
    EXT4_FEATURE_INCOMPAT_FLEX_BG | EXT4_FEATURE_INCOMPAT_EA_INODE | EXT4_FEATURE_INCOMPAT_CSUM_SEED |
    EXT4_FEATURE_INCOMPAT_LARGEDIR | EXT4_FEATURE_INCOMPAT_INLINE_DATA | EXT4_FEATURE_INCOMPAT_ENCRYPT |
    EXT4_FEATURE_INCOMPAT_CASEFOLD;

static int super_check_features(const struct ext_super *s, const char *name, struct fault *fault)
{
    if (s->incompat & EXT3_FEATURE_INCOMPAT_JOURNAL_DEV)
        return fault_in(fault, -ENOTSUP, name,
                        "is the external journal of an ext file system, not one itself");
    uint32_t unknown = s->incompat & ~incompat_known;
    if (!unknown)
        return 0;
    char list[256] = "";
    size_t n = 0;
    for (unsigned bit = 0; bit < 32 && n < sizeof list - 32; bit++) {
        if (!(unknown >> bit & 1))
            continue;
        const char *sep = n ? ", " : "";
        if (incompat_names[bit])
            n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", sep, incompat_names[bit]);
        else
            n += (size_t)snprintf(list + n, sizeof list - n, "%sincompat bit 0x%x", sep, 1u << bit);
    }
    return fault_in(fault, -ENOTSUP, name, "the ext file system has features that aren't read here: %s",
                    list);
}

/* Sizes and counts. What fails here would make later arithmetic or libext2fs go astray. */
static int super_check_geometry(struct bytes b, struct ext_super *s, const char *name, struct fault *fault)
{
    uint32_t log_block = le32(b, SB_LOG_BLOCK_SIZE), log_cluster = le32(b, SB_LOG_CLUSTER_SIZE);
    if (log_block > 6)
        return fault_at(fault, -EUCLEAN, name, SUPER_AT + SB_LOG_BLOCK_SIZE,
                        "the ext superblock has a block size of 2^%u KiB", log_block);
    s->block_size = 1024u << log_block;
    bool bigalloc = s->ro_compat & EXT4_FEATURE_RO_COMPAT_BIGALLOC;
    if (bigalloc && (log_cluster < log_block || log_cluster > 19))
        return fault_at(fault, -EUCLEAN, name, SUPER_AT + SB_LOG_CLUSTER_SIZE,
                        "the ext superblock has a cluster size of 2^%u KiB", log_cluster);
    s->cluster_size = bigalloc ? 1024u << log_cluster : s->block_size;

    bool old = le32(b, SB_REV) == 0;
    s->inode_size = old ? 128 : le16(b, SB_INODE_SIZE);
    s->first_inode = old ? 11 : le32(b, SB_FIRST_INODE);
    if (!is_power_of_two(s->inode_size) || s->inode_size < 128 || s->inode_size > s->block_size)
        return fault_at(fault, -EUCLEAN, name, SUPER_AT + SB_INODE_SIZE,
                        "the ext superblock has an inode size of %u bytes", s->inode_size);
    if (s->inode_size > EXT_INODE_MAX)
        return fault_at(fault, -EFBIG, name, SUPER_AT + SB_INODE_SIZE, "inodes of %u bytes (the limit is %d)",
                        s->inode_size, EXT_INODE_MAX);

    uint32_t per_group = le32(b, SB_BLOCKS_PER_GROUP), inodes_per_group = le32(b, SB_INODES_PER_GROUP);
    uint32_t clusters = bigalloc ? le32(b, SB_CLUSTERS_PER_GROUP) : per_group;
    uint32_t ratio = s->cluster_size / s->block_size;
    if (!per_group || per_group % 8 || clusters > s->block_size * 8 ||
        (uint64_t)clusters * ratio != per_group)
        return fault_at(fault, -EUCLEAN, name, SUPER_AT + SB_BLOCKS_PER_GROUP,
                        "the ext superblock has groups of %u blocks, %u clusters", per_group, clusters);
    if (inodes_per_group < s->block_size / s->inode_size || inodes_per_group > s->block_size * 8)
        return fault_at(fault, -EUCLEAN, name, SUPER_AT + SB_INODES_PER_GROUP,
                        "the ext superblock has groups of %u inodes", inodes_per_group);
    if (s->first_data_block >= s->blocks || s->first_data_block > 1)
        return fault_at(fault, -EUCLEAN, name, SUPER_AT + SB_FIRST_DATA_BLOCK,
                        "the ext superblock has block %u as the first", s->first_data_block);
    uint64_t groups = div_up(s->blocks - s->first_data_block, per_group);
    if (groups > UINT32_MAX || groups * inodes_per_group != s->inodes)
        return fault_at(fault, -EUCLEAN, name, SUPER_AT + SB_INODES,
                        "the ext superblock has %u inodes in %llu groups of %u", s->inodes,
                        (unsigned long long)groups, inodes_per_group);
    s->groups = (uint32_t)groups;
    return 0;
}

/* The library loads all group descriptors at once. */
static int super_check_descriptors(struct bytes b, const struct ext_super *s, uint64_t disk_size,
                                   const char *name, struct fault *fault)
{
    uint32_t desc = 32;
    if (s->incompat & EXT4_FEATURE_INCOMPAT_64BIT) {
        desc = le16(b, SB_DESC_SIZE);
        if (desc < 64 || desc > 1024 || !is_power_of_two(desc))
            return fault_at(fault, -EUCLEAN, name, SUPER_AT + SB_DESC_SIZE,
                            "the ext superblock has group descriptors of %u bytes", desc);
    }
    uint64_t need = (uint64_t)s->groups * desc + (s->first_data_block + 1ull) * s->block_size;
    if (need > disk_size)
        return fault_at(fault, -ENODATA, name, disk_size,
                        "the volume ends before the ext group descriptors do");
    return 0;
}

static int super_check_csum(struct bytes b, struct ext_super *s, const char *name, struct fault *fault)
{
    s->has_csum = s->ro_compat & EXT4_FEATURE_RO_COMPAT_METADATA_CSUM;
    if (!s->has_csum)
        return 0;
    if (u8(b, SB_CHECKSUM_TYPE) != CHECKSUM_CRC32C)
        return fault_at(fault, -ENOTSUP, name, SUPER_AT + SB_CHECKSUM_TYPE,
                        "metadata checksums of the unknown type %u", u8(b, SB_CHECKSUM_TYPE));
    if (crc32c_update(~0u, b.p, SB_CHECKSUM) != le32(b, SB_CHECKSUM))
        return fault_at(fault, -EUCLEAN, name, SUPER_AT + SB_CHECKSUM,
                        "the ext superblock doesn't agree with its checksum");
    s->csum_seed = s->incompat & EXT4_FEATURE_INCOMPAT_CSUM_SEED ? le32(b, SB_CHECKSUM_SEED)
                                                                 : crc32c_update(~0u, b.p + SB_UUID, 16);
    return 0;
}

static void super_take_fields(struct bytes b, struct ext_super *s)
{
    bool wide = s->incompat & EXT4_FEATURE_INCOMPAT_64BIT;
    s->blocks = le32(b, SB_BLOCKS_LO) | (wide ? (uint64_t)le32(b, SB_BLOCKS_HI) << 32 : 0);
    s->reserved_blocks = le32(b, SB_RESERVED_LO) | (wide ? (uint64_t)le32(b, SB_RESERVED_HI) << 32 : 0);
    s->first_data_block = le32(b, SB_FIRST_DATA_BLOCK);
    s->inodes = le32(b, SB_INODES);
    s->state = le16(b, SB_STATE);
    s->errors = le32(b, SB_ERROR_COUNT);
    s->last_orphan = le32(b, SB_LAST_ORPHAN);
    if (s->compat & EXT3_FEATURE_COMPAT_HAS_JOURNAL) {
        s->journal_inode = le32(b, SB_JOURNAL_INODE);
        s->journal_device = le32(b, SB_JOURNAL_DEVICE);
    }
    if (s->ro_compat & EXT4_FEATURE_RO_COMPAT_QUOTA) {
        s->quota_inodes[0] = le32(b, SB_USER_QUOTA);
        s->quota_inodes[1] = le32(b, SB_GROUP_QUOTA);
        s->quota_inodes[2] = le32(b, SB_PROJECT_QUOTA);
    }
    if (s->compat & EXT4_FEATURE_COMPAT_ORPHAN_FILE)
        s->orphan_file = le32(b, SB_ORPHAN_FILE);
    s->encoding = le16(b, SB_ENCODING);
    s->hash_unsigned = le32(b, SB_FLAGS) & EXT2_FLAGS_UNSIGNED_HASH;
    for (unsigned i = 0; i < 4; i++)
        s->hash_seed[i] = le32(b, SB_HASH_SEED + 4 * i);
    s->fsid = le64(b, SB_UUID) ^ le64(b, SB_UUID + 8);
}

static void super_note(const struct ext_super *s, uint64_t disk_size, struct notes *notes)
{
    uint64_t need;
    if (!checked_mul(s->blocks, s->block_size, &need) || need > disk_size)
        notes_add(
            notes,
            "the ext file system has %llu blocks of %u bytes, and the volume ends at byte %llu: what lies "
            "behind can't be read",
            (unsigned long long)s->blocks, s->block_size, (unsigned long long)disk_size);
    if (s->state & STATE_ERROR || s->errors)
        notes_add(notes, "the guest has recorded errors in this ext file system; e2fsck is due");
    if (s->last_orphan || s->ro_compat & EXT4_FEATURE_RO_COMPAT_ORPHAN_PRESENT)
        notes_add(notes, "files that were deleted while open are still to be freed by the guest");
    if (s->incompat & EXT4_FEATURE_INCOMPAT_ENCRYPT)
        notes_add(notes, "encrypted directories show encoded names, and encrypted files can't be read");
}

int ext_super_read(struct disk *disk, const char *name, struct ext_super *ret, struct notes *notes,
                   struct fault *fault)
{
    uint8_t buf[SUPER_SIZE];
    if (disk->size < SUPER_AT + SUPER_SIZE)
        return fault_at(fault, -ENODATA, name, disk->size, "the volume ends before the ext superblock does");
    int r = disk_pread(disk, buf, sizeof buf, SUPER_AT);
    if (r < 0)
        return fault_at(fault, -EIO, name, SUPER_AT, "the ext superblock can't be read");
    struct bad bad = { 0 };
    struct bytes b = bytes_of(buf, sizeof buf, SUPER_AT, &bad);
    if (le16(b, SB_MAGIC) != MAGIC)
        return fault_at(fault, -EUCLEAN, name, SUPER_AT + SB_MAGIC, "there is no ext superblock");
    struct ext_super s = { 0 };
    if (le32(b, SB_REV) > 1)
        return fault_at(fault, -ENOTSUP, name, SUPER_AT + SB_REV, "the ext superblock is of revision %u",
                        le32(b, SB_REV));
    if (le32(b, SB_REV)) { /* revision 0 has no features */
        s.compat = le32(b, SB_COMPAT);
        s.incompat = le32(b, SB_INCOMPAT);
        s.ro_compat = le32(b, SB_RO_COMPAT);
    }
    super_take_fields(b, &s);
    if ((r = super_check_features(&s, name, fault)) < 0 || (r = super_check_csum(b, &s, name, fault)) < 0 ||
        (r = super_check_geometry(b, &s, name, fault)) < 0 ||
        (r = super_check_descriptors(b, &s, disk->size, name, fault)) < 0)
        return r;
    s.overhead_blocks = (uint64_t)le32(b, SB_OVERHEAD) * (s.cluster_size / s.block_size);
    super_note(&s, disk->size, notes);
    *ret = s;
    return 0;
}
