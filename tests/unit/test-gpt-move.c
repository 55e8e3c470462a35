/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A GPT's backup moves to a new end, and everything else stays; a GPT that isn't sound in any of its fields
 * stays as it is. */
#include "formats/gpt-move.h"
#include "gpt-sample.h"
#include "memdisk.h"
#include "unit.h"

#include <stdio.h>

enum {
    S = GPT_SECTOR,
    DISK_SECTORS = 256,
    DISK = DISK_SECTORS * S,
    ENTRIES = 128,
    ENTRIES_SECTORS = 32,
    LAST_USABLE = DISK_SECTORS - 34,
    HEADER = S,
    FIRST_ENTRY = 2 * S,
    MBR_PARTITION = 446,
};

static uint8_t disk[DISK];

static void build(void)
{
    for (unsigned i = 0; i < DISK; i++)
        disk[i] = (uint8_t)(1 + i % 251);
    memset(disk, 0, S);
    disk[MBR_PARTITION + 4] = 0xee;
    put_le32(disk + MBR_PARTITION + 8, 1);
    put_le32(disk + MBR_PARTITION + 12, DISK_SECTORS - 1);
    disk[510] = 0x55;
    disk[511] = 0xaa;
    memset(disk + HEADER, 0, S + ENTRIES_SECTORS * S);
    memcpy(disk + HEADER, "EFI PART\0\0\1", 12);
    put_le32(disk + HEADER + 12, 92);
    put_le64(disk + HEADER + 24, 1);
    put_le64(disk + HEADER + 32, DISK_SECTORS - 1);
    put_le64(disk + HEADER + 40, 34);
    put_le64(disk + HEADER + 48, LAST_USABLE);
    put_le64(disk + HEADER + 72, 2);
    put_le32(disk + HEADER + 80, ENTRIES);
    put_le32(disk + HEADER + 84, 128);
    memset(disk + FIRST_ENTRY, 0x11, 32);
    put_le64(disk + FIRST_ENTRY + 32, 40);
    put_le64(disk + FIRST_ENTRY + 40, 99);
    memset(disk + FIRST_ENTRY + 5 * 128, 0x22, 32);
    put_le64(disk + FIRST_ENTRY + 5 * 128 + 32, 100);
    put_le64(disk + FIRST_ENTRY + 5 * 128 + 40, LAST_USABLE);
    gpt_seal(disk, DISK);
}

/* NULL: it was left alone. Else malloc'ed. */
static uint8_t *move(uint64_t size)
{
    struct memdisk m = memdisk_of(disk, DISK);
    struct layout l = { 0 };
    assert_int_equal(gpt_move_layout(&m.disk, size, &l), 0);
    uint8_t *p = NULL;
    if (l.n) {
        assert_int_equal(l.size, size);
        p = layout_bytes(&l, disk, DISK);
        assert_non_null(p);
    } else {
        assert_int_equal(l.size, 0);
    }
    layout_done(&l);
    return p;
}

static void the_backup_is_at_the_new_end(void **state)
{
    (void)state;
    static const unsigned more[] = { 1, 2, 16, 32, 33, 34, 100, 2048 };
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        build();
        uint64_t sectors = DISK_SECTORS + more[i], last = sectors - 1;
        uint8_t *p = move(sectors * S);
        assert_non_null(p);
        const uint8_t *h = p + HEADER, *b = p + last * S;
        assert_int_equal(gpt_get32(p + MBR_PARTITION + 12), sectors - 1);
        assert_int_equal(gpt_get64(h + 24), 1);
        assert_int_equal(gpt_get64(h + 32), last);
        assert_int_equal(gpt_get64(h + 48), last - ENTRIES_SECTORS - 1);
        assert_int_equal(gpt_get64(h + 72), 2);
        assert_int_equal(gpt_get32(h + 16), gpt_header_checksum(h));
        assert_int_equal(gpt_get64(b + 24), last);
        assert_int_equal(gpt_get64(b + 32), 1);
        assert_int_equal(gpt_get64(b + 72), last - ENTRIES_SECTORS);
        assert_int_equal(gpt_get32(b + 16), gpt_header_checksum(b));
        assert_memory_equal(b - ENTRIES_SECTORS * S, disk + FIRST_ENTRY, ENTRIES_SECTORS * S);
        /* the header's other fields, the entries, and all that partitions may hold */
        assert_memory_equal(h, disk + HEADER, 16);
        assert_memory_equal(h + 40, disk + HEADER + 40, 8);
        assert_memory_equal(h + 56, disk + HEADER + 56, 16);
        assert_memory_equal(h + 80, disk + HEADER + 80, S - 80);
        assert_memory_equal(p + 2 * S, disk + 2 * S, (LAST_USABLE + 1 - 2) * S);
        /* what stood behind it: as it was, then zeros, up to the new backup */
        uint64_t new = (last - ENTRIES_SECTORS) * S;
        for (uint64_t at = (LAST_USABLE + 1) * S; at < new; at++)
            assert_int_equal(p[at], at < DISK ? disk[at] : 0);
        free(p);
    }
}

static void what_is_not_sound_stays(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        unsigned at, width;
        uint64_t value;
        bool sealed; /* with checksums that are right */
    } rows[] = {
        { "signature", HEADER, 1, 'X', true },
        { "checksum of the header", HEADER + 56, 1, 9, false },
        { "checksum of the entries", FIRST_ENTRY + 56, 1, 9, false },
        { "header too short", HEADER + 12, 4, 91, true },
        { "header too long", HEADER + 12, 4, 513, true },
        { "header of 2^32-1", HEADER + 12, 4, UINT32_MAX, true },
        { "not this sector's header", HEADER + 24, 8, 2, true },
        { "no entries", HEADER + 80, 4, 0, true },
        { "entries of 2^64", HEADER + 80, 4, UINT32_MAX, true },
        { "short entries", HEADER + 84, 4, 64, true },
        { "entries of nothing", HEADER + 84, 4, 0, true },
        { "entries over the header", HEADER + 72, 8, 1, true },
        { "entries over the MBR", HEADER + 72, 8, 0, true },
        { "entries behind the disk", HEADER + 72, 8, DISK_SECTORS, true },
        { "entries cut off by the end", HEADER + 72, 8, DISK_SECTORS - 31, true },
        { "entries whose place overflows", HEADER + 72, 8, UINT64_MAX, true },
        { "entries that overflow to sector 2", HEADER + 72, 8, (UINT64_C(1) << 55) + 2, true },
        { "entries within the partitions", HEADER + 72, 8, 3, true },
        { "first usable behind the last", HEADER + 40, 8, LAST_USABLE + 1, true },
        { "last usable where the backup goes", HEADER + 48, 8, DISK_SECTORS + 16 - 33, true },
        { "last usable behind the end", HEADER + 48, 8, UINT64_MAX, true },
        { "a partition in front", FIRST_ENTRY + 32, 8, 33, true },
        { "a partition behind", FIRST_ENTRY + 5 * 128 + 40, 8, LAST_USABLE + 1, true },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        build();
        uint64_t value = htole64(rows[i].value);
        memcpy(disk + rows[i].at, &value, rows[i].width);
        if (rows[i].sealed)
            gpt_seal(disk, DISK);
        uint8_t *p = move(DISK + 16 * S);
        if (p)
            fail_msg("%s: was moved", rows[i].what);
    }
}

static void disks_without_room(void **state)
{
    (void)state;
    for (uint64_t size = 0; size < 4 * S; size += S) {
        struct memdisk m = memdisk_of(disk, size);
        struct layout l = { 0 };
        build();
        assert_int_equal(gpt_move_layout(&m.disk, size + S, &l), 0);
        assert_int_equal(l.n, 0);
    }
}

static void what_cannot_be_read_stays(void **state)
{
    (void)state;
    static const uint64_t places[] = { 0, S, 2 * S, 33 * S };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        build();
        struct memdisk m = memdisk_of(disk, DISK);
        struct layout l = { 0 };
        m.bad_at = places[i];
        m.bad_length = 1;
        assert_int_equal(gpt_move_layout(&m.disk, DISK + 16 * S, &l), 0);
        assert_int_equal(l.n, 0);
    }
}

/* Only the protective entry that states the whole disk is made longer. */
static void other_mbrs_stay(void **state)
{
    (void)state;
    static const struct {
        unsigned at;
        uint32_t value;
    } rows[] = {
        { MBR_PARTITION + 4, 0x83 }, /* and sector 1 as its beginning: the CHS bytes beside it are 0 */
        { MBR_PARTITION + 8, 2 },
        { MBR_PARTITION + 12, DISK_SECTORS - 2 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        build();
        put_le32(disk + rows[i].at, rows[i].value);
        uint8_t *p = move(DISK + 16 * S);
        assert_non_null(p);
        assert_memory_equal(p, disk, S);
        free(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_backup_is_at_the_new_end),
        cmocka_unit_test(what_is_not_sound_stays),
        cmocka_unit_test(disks_without_room),
        cmocka_unit_test(what_cannot_be_read_stays),
        cmocka_unit_test(other_mbrs_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
