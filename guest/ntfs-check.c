/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is looked at before and just after libntfs-3g opens a volume.
 *
 * Boot sector (the fields that the library computes with, so that it never sees a size we haven't checked):
 *     0x03 "NTFS    "   0x0B u16 bytes per sector   0x0D u8 sectors per cluster (over 0x80: 2^(256-n))
 *     0x28 u64 sectors  0x30 u64 cluster of $MFT    0x38 u64 cluster of $MFTMirr
 *     0x40 s8 clusters per MFT record (negative: 2^-n bytes)          0x44 s8 the same of index blocks
 *
 * State: $LogFile begins with two restart pages ("RSTR"); the one with the later LSN counts. Its version is
 * 1.x where Windows closed the volume, 2.x while a Windows 8 or later has it open, or left it so for fast
 * startup. All 0xFF: emptied, clean. hiberfil.sys that begins with "hibr" or "HIBR": a saved session. None of
 * this keeps the volume from being read; what was only in the log or in the saved session isn't seen.
 *
 * Source: Linux-NTFS documentation; fact sheet ext4-ntfs-libs B.2. */
#include "ntfs.h"

#include "../formats/bytes.h"
#include "../formats/checked.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    BOOT_SIZE = 512,
    BOOT_OEM = 0x03,
    BOOT_BYTES_PER_SECTOR = 0x0b,
    BOOT_SECTORS_PER_CLUSTER = 0x0d,
    BOOT_SECTORS = 0x28,
    BOOT_MFT_LCN = 0x30,
    BOOT_MFTMIRR_LCN = 0x38,
    BOOT_MFT_RECORD = 0x40,
    BOOT_INDEX_BLOCK = 0x44,
};
enum {
    CLUSTER_SHIFT_MAX = 21, /* 2 MiB, Windows' limit since 2017 */
    RECORD_SHIFT_MIN = 9,
    RECORD_SHIFT_MAX = 16, /* 64 KiB; Windows makes 1 or 4 KiB */
};

/* log2 of a cluster's bytes, from the boot sector; 0 when it makes no sense. */
static unsigned cluster_shift(unsigned sector_shift, uint8_t sectors_per_cluster)
{
    unsigned shift = 0;
    if (sectors_per_cluster > 0x80)
        shift = sector_shift + (256u - sectors_per_cluster);
    else if (is_power_of_two(sectors_per_cluster))
        shift = sector_shift + shift_of(sectors_per_cluster);
    return shift <= CLUSTER_SHIFT_MAX ? shift : 0;
}

static bool record_size_ok(unsigned cluster, int8_t clusters_per_record)
{
    unsigned shift = 0;
    if (clusters_per_record < 0)
        shift = (unsigned)-clusters_per_record;
    else if (is_power_of_two((uint64_t)clusters_per_record))
        shift = cluster + shift_of((uint64_t)clusters_per_record);
    return shift >= RECORD_SHIFT_MIN && shift <= RECORD_SHIFT_MAX;
}

int ntfs_check_boot(struct disk *disk, const char *name, struct notes *notes, struct fault *fault)
{
    uint8_t boot[BOOT_SIZE];
    if (disk->size < sizeof boot || disk_pread(disk, boot, sizeof boot, 0) < 0)
        return fault_at(fault, -EIO, name, 0, "the NTFS boot sector can't be read");
    struct bad bad = { 0 };
    struct bytes b = bytes_of(boot, sizeof boot, 0, &bad);
    if (!bytes_match(b, BOOT_OEM, "NTFS    ", 8))
        return fault_at(fault, -EUCLEAN, name, BOOT_OEM, "no NTFS boot sector");
    uint16_t sector = le16(b, BOOT_BYTES_PER_SECTOR);
    if (!is_power_of_two(sector) || sector < 256 || sector > 4096)
        return fault_at(fault, -EUCLEAN, name, BOOT_BYTES_PER_SECTOR, "NTFS sectors of %u bytes", sector);
    unsigned shift = cluster_shift(shift_of(sector), u8(b, BOOT_SECTORS_PER_CLUSTER));
    if (!shift)
        return fault_at(fault, -EUCLEAN, name, BOOT_SECTORS_PER_CLUSTER, "NTFS clusters of 0x%02x sectors",
                        u8(b, BOOT_SECTORS_PER_CLUSTER));
    if (!record_size_ok(shift, (int8_t)u8(b, BOOT_MFT_RECORD)))
        return fault_at(fault, -EUCLEAN, name, BOOT_MFT_RECORD, "NTFS MFT records of size 0x%02x",
                        u8(b, BOOT_MFT_RECORD));
    if (!record_size_ok(shift, (int8_t)u8(b, BOOT_INDEX_BLOCK)))
        return fault_at(fault, -EUCLEAN, name, BOOT_INDEX_BLOCK, "NTFS index blocks of size 0x%02x",
                        u8(b, BOOT_INDEX_BLOCK));
    uint64_t size;
    if (!checked_mul(le64(b, BOOT_SECTORS), sector, &size) || size > INT64_MAX || !(size >> shift))
        return fault_at(fault, -EUCLEAN, name, BOOT_SECTORS, "an NTFS volume of %llu sectors",
                        (unsigned long long)le64(b, BOOT_SECTORS));
    if (le64(b, BOOT_MFT_LCN) >= size >> shift || le64(b, BOOT_MFTMIRR_LCN) >= size >> shift)
        return fault_at(fault, -EUCLEAN, name, BOOT_MFT_LCN, "the MFT lies past the end of the NTFS volume");
    if (size > disk->size)
        notes_add(notes,
                  "%s: the NTFS volume is %llu bytes longer than its partition; files there can't be read",
                  name, (unsigned long long)(size - disk->size));
    return 0;
}

/* ---- the log ---- */

enum {
    LOG_PAGE = 4096,        /* where the second restart page lies */
    RESTART_READ = 512,     /* of a restart page; the update sequence replaces its last two bytes only */
    RESTART_AREA_AT = 0x18, /* u16 */
    RESTART_MAJOR = 0x1c,   /* s16 */
    AREA_LSN = 0,
    AREA_CLIENT_IN_USE = 0x0c, /* u16, 0xffff: no client has the log open */
    AREA_FLAGS = 0x0e,         /* u16 */
    AREA_SIZE = 0x10,
    FLAG_VOLUME_IS_CLEAN = 2,
};

struct restart {
    bool valid, clean;
    uint16_t major;
    uint64_t lsn;
};

static struct restart parse_restart(const uint8_t *page)
{
    struct restart r = { 0 };
    struct bad bad = { 0 };
    struct bytes b = bytes_of(page, RESTART_READ, 0, &bad);
    struct bytes area = bytes_sub(b, le16(b, RESTART_AREA_AT), AREA_SIZE);
    r.major = le16(b, RESTART_MAJOR);
    r.lsn = le64(area, AREA_LSN);
    r.clean = le16(area, AREA_CLIENT_IN_USE) == 0xffff || le16(area, AREA_FLAGS) & FLAG_VOLUME_IS_CLEAN;
    r.valid = bytes_match(b, 0, "RSTR", 4) && !bad.set;
    return r;
}

static bool all_ff(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != 0xff)
            return false;
    return true;
}

/* What keeps a volume from being written. */
enum unsafe {
    SAFE,
    RESUMABLE, /* Windows wants to go on where it stopped */
    UNSAFE,
};

struct state {
    struct ntfs *ntfs;
    enum unsafe worst;
    bool log_empty;
};

/* Notes the reason; the first one, of the worst, is the one that is given. */
static void found(struct state *s, enum unsafe how, const char *what, const char *meaning)
{
    struct volume *volume = &s->ntfs->volume;
    notes_add(&volume->notes, "NTFS: %s: %s", what, meaning);
    if (how <= s->worst)
        return;
    s->worst = how;
    snprintf(volume->read_only_why, sizeof volume->read_only_why, "NTFS: %s", what);
}

static const char as_on_disk[] = "contents are as on disk";

static void judge_log(struct state *s, const uint8_t *head)
{
    struct restart a = parse_restart(head), b = parse_restart(head + LOG_PAGE);
    struct restart r = b.valid && (!a.valid || b.lsn > a.lsn) ? b : a;
    s->log_empty = all_ff(head, RESTART_READ) && all_ff(head + LOG_PAGE, RESTART_READ);
    if (s->log_empty)
        return;
    if (!r.valid)
        found(s, UNSAFE, "the log has no valid restart page", as_on_disk);
    else if (r.major >= 2)
        found(s, RESUMABLE, "the log is in use by Windows (fast startup, or not shut down)", as_on_disk);
    else if (!r.clean)
        found(s, UNSAFE, "the log is dirty (not shut down cleanly)", as_on_disk);
}

static void check_log(struct state *s)
{
    struct ntfs *v = s->ntfs;
    ntfs_inode *ni = ntfs_inode_open(v->lib, FILE_LogFile);
    struct ntfs_data d;
    uint8_t head[LOG_PAGE + RESTART_READ];
    size_t n = 0;
    int r = ni ? ntfs_data_load(v, ni, AT_DATA, AT_UNNAMED, 0, &d) : -EIO;
    if (!r) {
        r = ntfs_data_read(&d, head, sizeof head, 0, &n);
        ntfs_data_done(&d);
    }
    if (r < 0 || n < sizeof head)
        found(s, UNSAFE, "the log can't be read", as_on_disk);
    else
        judge_log(s, head);
    if (ni)
        ntfs_inode_close(ni);
}

/* ---- hibernation ---- */

static const char hiberfile[] = "hiberfil.sys";

/* The file, opened; NULL: there is none. */
static ntfs_inode *open_hiberfile(struct ntfs *v)
{
    ntfs_inode *root = ntfs_inode_open(v->lib, FILE_root), *ni = NULL;
    struct ntfs_name name;
    uint64_t mref;
    if (!root)
        return NULL;
    int r = ntfs_name_of(hiberfile, &name);
    if (!r) {
        r = ntfs_find(v, root, &name, &mref);
        ntfs_name_done(&name);
    }
    ntfs_inode_close(root);
    if (!r)
        ni = ntfs_inode_open(v->lib, mref);
    return ni;
}

static bool is_hibernated(struct ntfs *v)
{
    ntfs_inode *ni = open_hiberfile(v);
    struct ntfs_data d;
    bool ret = false;
    if (ni && !ntfs_data_load(v, ni, AT_DATA, AT_UNNAMED, 0, &d)) {
        char magic[4];
        size_t n;
        ret = !ntfs_data_read(&d, magic, sizeof magic, 0, &n) && n == sizeof magic &&
              (!memcmp(magic, "hibr", 4) || !memcmp(magic, "HIBR", 4));
        ntfs_data_done(&d);
    }
    if (ni)
        ntfs_inode_close(ni);
    return ret;
}

/* ---- all of it ---- */

static bool version_known(const ntfs_volume *lib)
{
    return (lib->major_ver == 3 && lib->minor_ver <= 1) || (lib->major_ver == 1 && lib->minor_ver == 2);
}

static void check_volume(struct state *s)
{
    const ntfs_volume *lib = s->ntfs->lib;
    const VOLUME_FLAGS busy =
        VOLUME_RESIZE_LOG_FILE | VOLUME_UPGRADE_ON_MOUNT | VOLUME_REPAIR_OBJECT_ID | VOLUME_CHKDSK_UNDERWAY;
    /* Over an emptied log the flag is what the discarding of a session leaves. */
    if (lib->flags & VOLUME_IS_DIRTY)
        found(s, s->log_empty ? RESUMABLE : UNSAFE, "the volume is marked dirty", "Windows would run chkdsk");
    if (lib->flags & busy)
        found(s, UNSAFE, "Windows has unfinished work on the volume", "it does that when it mounts it");
    if (!version_known(lib))
        found(s, UNSAFE, "the volume's version isn't known", "it is only read");
    if (s->ntfs->clusters > s->ntfs->disk->size >> s->ntfs->cluster_shift)
        found(s, UNSAFE, "the volume is longer than its partition", "it is only read");
}

void ntfs_check_state(struct ntfs *v, bool *ret_resumable)
{
    struct state s = { .ntfs = v, .worst = SAFE };
    check_log(&s);
    check_volume(&s);
    if (is_hibernated(v))
        found(&s, RESUMABLE, "Windows is hibernated (hiberfil.sys)", "what it had not written is not seen");
    *ret_resumable = s.worst == RESUMABLE;
}

int ntfs_discard_session(struct ntfs *v)
{
    struct state s = { .ntfs = v, .worst = SAFE };
    check_log(&s);
    if (is_hibernated(v)) {
        int r = ntfs_unlink(&v->volume, VOLUME_ROOT, hiberfile);
        if (r < 0)
            return r;
    }
    if (s.worst == SAFE)
        return 0;
    errno = EIO;
    if (ntfs_logfile_reset(v->lib) || ntfs_volume_write_flags(v->lib, v->lib->flags | VOLUME_IS_DIRTY))
        return ntfs_write_failed();
    return 0;
}
