/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Partition tables built by hand: what each rule of partition.c, mbr.c and gpt.c takes, notes and refuses. */
#include "unit.h"

#include "formats/bytes.h"
#include "guest/partition.h"
#include "memdisk.h"

#include <stdio.h>
#include <zlib.h>

enum { DISK = 4 << 20, SECTORS = DISK / 512 };

struct image {
    uint8_t *b;
    struct memdisk d;
    struct partition_table *t;
    struct fault fault;
};

static int setup(void **state)
{
    struct image *im = calloc(1, sizeof *im);
    im->b = calloc(1, DISK);
    im->d = memdisk_of(im->b, DISK);
    *state = im;
    return 0;
}

static int teardown(void **state)
{
    struct image *im = *state;
    partition_table_free(im->t);
    free(im->b);
    free(im);
    return 0;
}

static int look(struct image *im)
{
    partition_table_free(im->t);
    im->t = NULL;
    im->fault = (struct fault){ 0 };
    return partition_table_read(&im->d.disk, &im->t, &im->fault);
}

static bool noted(const struct image *im, const char *text)
{
    for (size_t i = 0; i < im->t->notes.n; i++)
        if (strstr(im->t->notes.lines[i], text))
            return true;
    return false;
}

static void put_entry(uint8_t *sector, unsigned slot, uint8_t type, uint32_t start, uint32_t count)
{
    uint8_t *e = sector + 446 + 16 * slot;
    e[4] = type;
    put_le32(e + 8, start);
    put_le32(e + 12, count);
    sector[510] = 0x55;
    sector[511] = 0xaa;
}

/* A header at `lba`, and its entries' CRC. */
static void put_header(uint8_t *b, unsigned ss, uint64_t lba, uint64_t alternate, uint64_t entries,
                       uint32_t n, uint32_t size)
{
    uint8_t *h = b + lba * ss;
    memset(h, 0, 92);
    memcpy(h, "EFI PART", 8);
    put_le32(h + 8, 0x10000);
    put_le32(h + 12, 92);
    put_le64(h + 24, lba);
    put_le64(h + 32, alternate);
    memset(h + 56, 0xd1, 16);
    put_le64(h + 72, entries);
    put_le32(h + 80, n);
    put_le32(h + 84, size);
    put_le32(h + 88, (uint32_t)crc32(0, b + entries * ss, n * size));
    put_le32(h + 16, (uint32_t)crc32(0, h, 92));
}

static void put_gpt_entry(uint8_t *e, uint64_t first, uint64_t last, const char *name)
{
    memset(e, 0x77, 16);
    memset(e + 16, 0x88, 16);
    put_le64(e + 32, first);
    put_le64(e + 40, last);
    for (size_t i = 0; name[i]; i++)
        put_le16(e + 56 + 2 * i, (uint8_t)name[i]);
}

/* Two partitions (numbers 1 and 3), primary and backup. */
static void put_gpt(uint8_t *b, unsigned ss, uint32_t entry_size)
{
    uint64_t last = DISK / ss - 1, table = 128ull * entry_size / ss;
    put_gpt_entry(b + 2 * ss, 2048 * 512 / ss, 2048 * 512 / ss + 99, "EFI system");
    put_gpt_entry(b + 2 * ss + 2 * entry_size, 4096 * 512 / ss, 4096 * 512 / ss + 199, "root");
    memcpy(b + (last - table) * ss, b + 2 * ss, table * ss);
    put_header(b, ss, 1, last, 2, 128, entry_size);
    put_header(b, ss, last, 1, last - table, 128, entry_size);
    put_entry(b, 0, 0xee, 1, DISK / ss - 1);
}

static void check_gpt(struct image *im, unsigned ss, bool backup)
{
    assert_int_equal(look(im), 0);
    assert_int_equal(im->t->kind, TABLE_GPT);
    assert_int_equal(im->t->sector_size, ss);
    assert_int_equal(im->t->backup_used, backup);
    assert_int_equal(im->t->n, 2);
    assert_int_equal(im->t->partitions[0].number, 1);
    assert_int_equal(im->t->partitions[1].number, 3);
    assert_int_equal(im->t->partitions[0].start, 2048 * 512);
    assert_int_equal(im->t->partitions[1].length, 200 * ss);
    assert_string_equal(im->t->partitions[0].name, "EFI system");
    assert_int_equal(im->t->disk_guid[0], 0xd1);
    assert_int_equal(im->t->partitions[1].guid[15], 0x88);
}

/* ---- MBR ---- */

static void test_primary(void **state)
{
    struct image *im = *state;
    put_entry(im->b, 0, 0x07, 2048, 100);
    put_entry(im->b, 2, 0x83, 4096, 10);
    put_entry(im->b, 3, 0x83, 5000, 0); /* of no length */
    im->b[446] = 0x80;
    put_le32(im->b + 440, 0xcafe1234);
    assert_int_equal(look(im), 0);
    assert_int_equal(im->t->kind, TABLE_MBR);
    assert_int_equal(im->t->mbr_signature, 0xcafe1234);
    assert_int_equal(im->t->n, 2);
    assert_true(im->t->partitions[0].active);
    assert_int_equal(im->t->partitions[0].mbr_type, 7);
    assert_int_equal(im->t->partitions[1].number, 3);
    assert_int_equal(im->t->partitions[1].start, 4096 * 512);
    assert_int_equal(im->t->partitions[1].length, 5120);
    assert_int_equal(im->t->notes.n, 0);
}

/* A table of a disk with sectors of 4096 bytes, which nothing but what it leads to tells. */
static void test_primary_4096(void **state)
{
    struct image *im = *state;
    put_entry(im->b, 0, 0x83, 64, 128); /* 256 KiB, or 32 KiB */
    put_entry(im->b, 1, 0x05, 256, 512);
    put_entry(im->b + 256 * 4096, 0, 0x83, 8, 64);
    assert_int_equal(look(im), 0);
    assert_int_equal(im->t->sector_size, 4096); /* by the record of logical ones */
    assert_true(noted(im, "sectors of 4096 bytes"));
    assert_int_equal(im->t->n, 2);
    assert_int_equal(im->t->partitions[0].start, 64 * 4096);
    assert_int_equal(im->t->partitions[0].length, 128 * 4096);
    assert_int_equal(im->t->partitions[1].number, 5);
    assert_int_equal(im->t->partitions[1].start, (256 + 8) * 4096);
    assert_int_equal(im->t->partitions[1].length, 64 * 4096);
    /* by a file system, and not when there is one by sectors of 512 bytes too */
    put_entry(im->b, 1, 0, 0, 0);
    assert_int_equal(look(im), 0);
    assert_int_equal(im->t->sector_size, 512);
    memcpy(im->b + 64 * 4096 + 3, "-FVE-FS-", 8);
    assert_int_equal(look(im), 0);
    assert_int_equal(im->t->sector_size, 4096);
    memcpy(im->b + 64 * 512 + 3, "-FVE-FS-", 8);
    assert_int_equal(look(im), 0);
    assert_int_equal(im->t->sector_size, 512);
    /* nor when the disk would be too short for it */
    memset(im->b + 64 * 512, 0, 512);
    put_entry(im->b, 2, 0x83, 1000, 100);
    assert_int_equal(look(im), 0);
    assert_int_equal(im->t->sector_size, 512);
}

static void test_logical(void **state)
{
    struct image *im = *state;
    put_entry(im->b, 1, 0x0f, 1000, 7000);
    /* 40 of them, the records in a mixed order: the even ones behind the odd ones */
    for (uint32_t i = 0; i < 40; i++) {
        uint32_t at = i % 2 ? 50 * i : 3000 + 50 * i, next = i % 2 ? 3000 + 50 * (i + 1) : 50 * (i + 1);
        if (i == 0)
            at = 0;
        uint8_t *ebr = im->b + (1000 + at) * 512;
        put_entry(ebr, 0, 0x83, 2, 10 + i);
        if (i < 39)
            put_entry(ebr, 1, 0x05, next, 12 + i);
    }
    assert_int_equal(look(im), 0);
    assert_int_equal(im->t->n, 40);
    for (uint32_t i = 0; i < 40; i++) {
        assert_int_equal(im->t->partitions[i].number, 5 + i);
        assert_int_equal(im->t->partitions[i].length, (10 + i) * 512);
    }
    assert_int_equal(im->t->partitions[1].start, (1000 + 50 + 2) * 512);
    assert_int_equal(im->t->partitions[2].start, (1000 + 3100 + 2) * 512);
    assert_int_equal(im->t->notes.n, 0);
}

static void test_ebr_loop(void **state)
{
    struct image *im = *state;
    put_entry(im->b, 0, 0x05, 1000, 4000);
    put_entry(im->b + 1000 * 512, 0, 0x83, 1, 10);
    put_entry(im->b + 1000 * 512, 1, 0x05, 100, 10);
    put_entry(im->b + 1100 * 512, 0, 0x83, 1, 10);
    put_entry(im->b + 1100 * 512, 1, 0x05, 0, 10); /* back to the first */
    assert_int_equal(look(im), -EUCLEAN);
    assert_non_null(strstr(im->fault.what, "loop"));
    assert_int_equal(im->fault.offset, 1000 * 512);
    /* an extended partition that begins at the MBR itself */
    put_entry(im->b, 0, 0x05, 0, 4000);
    assert_int_equal(look(im), -EUCLEAN);
}

static void test_ebr_damaged(void **state)
{
    struct image *im = *state;
    put_entry(im->b, 0, 0x83, 10, 10);
    put_entry(im->b, 1, 0x05, 1000, 4000);
    put_entry(im->b + 1000 * 512, 0, 0x83, 1, 10);
    put_entry(im->b + 1000 * 512, 1, 0x05, 0xfffffff0, 10); /* past the end */
    assert_int_equal(look(im), 0);
    assert_int_equal(im->t->n, 2);
    assert_int_equal(im->t->partitions[1].number, 5);
    assert_true(noted(im, "partitions from 6 on are missing"));
    /* a logical partition that leaves its container is shown, and noted */
    put_entry(im->b + 1000 * 512, 0, 0x83, 1, 5000);
    put_entry(im->b + 1000 * 512, 1, 0, 0, 0);
    assert_int_equal(look(im), 0);
    assert_int_equal(im->t->n, 2);
    assert_true(noted(im, "partition 5 lies outside its extended"));
}

static void test_odd_places(void **state)
{
    struct image *im = *state;
    put_entry(im->b, 0, 0x83, 100, 200);
    put_entry(im->b, 1, 0x83, 250, 10);
    put_entry(im->b, 2, 0x83, SECTORS - 10, 11);
    put_entry(im->b, 3, 0x83, 0xffffffff, 0xffffffff);
    assert_int_equal(look(im), 0);
    assert_int_equal(im->t->n, 4);
    assert_true(noted(im, "partitions 1 and 2 overlap"));
    assert_true(noted(im, "partition 3 ends at byte"));
    assert_true(noted(im, "partition 4 ends at byte"));
    assert_false(noted(im, "2 and 3 overlap"));
    put_entry(im->b, 0, 0x83, 0, 50);
    assert_int_equal(look(im), 0);
    assert_int_equal(im->t->n, 4);
    assert_true(noted(im, "partition 1 begins at sector 0"));
    put_entry(im->b, 0, 0x42, 60, 50);
    assert_int_equal(look(im), 0);
    assert_true(noted(im, "dynamic disk"));
}

static void test_no_table(void **state)
{
    struct image *im = *state;
    assert_int_equal(look(im), 0); /* zeros */
    assert_int_equal(im->t->kind, TABLE_NONE);
    assert_int_equal(im->t->notes.n, 0);
    put_entry(im->b, 0, 0x83, 100, 200);
    im->b[446] = 0x12; /* no status: some boot sector's code */
    assert_int_equal(look(im), 0);
    assert_int_equal(im->t->kind, TABLE_NONE);
    /* a short disk */
    im->d.disk.size = 300;
    assert_int_equal(look(im), 0);
    assert_int_equal(im->t->kind, TABLE_NONE);
    im->d.disk.size = DISK;
    im->d.bad_at = 100, im->d.bad_length = 1;
    assert_int_equal(look(im), -EIO);
    assert_int_equal(im->fault.err, -EIO);
}

static void test_superfloppy(void **state)
{
    static const struct {
        const char *magic;
        bool bpb;
    } kinds[] = { { "NTFS    ", false }, { "EXFAT   ", false }, { "mkfs.fat", true }, { "-FVE-FS-", false } };
    struct image *im = *state;
    for (size_t i = 0; i < 4; i++) {
        memset(im->b, 0, 512);
        memcpy(im->b + 3, kinds[i].magic, 8);
        if (kinds[i].bpb) { /* a FAT12 of 4 MiB */
            static const uint8_t bpb[] = { 0, 2, 8, 1, 0, 2, 0, 2, 0, 32, 0xf8, 3, 0 };
            memcpy(im->b + 11, bpb, sizeof bpb);
        }
        put_entry(im->b, 0, 0x0c, 0, SECTORS); /* as mkfs.fat --mbr=y writes it */
        assert_int_equal(look(im), 0);
        assert_int_equal(im->t->kind, TABLE_NONE);
        assert_int_equal(im->t->n, 0);
    }
}

static void test_other_tables(void **state)
{
    struct image *im = *state;
    memcpy(im->b + 512, "PM", 2);
    assert_int_equal(look(im), 0);
    assert_int_equal(im->t->kind, TABLE_NONE);
    assert_true(noted(im, "Apple partition map"));
    put_le32(im->b + 512, 0x82564557);
    assert_int_equal(look(im), 0);
    assert_true(noted(im, "BSD disklabel"));
}

/* ---- GPT ---- */

static void test_gpt(void **state)
{
    struct image *im = *state;
    for (uint32_t size = 128; size <= 512; size *= 2) {
        memset(im->b, 0, DISK);
        put_gpt(im->b, 512, size);
        check_gpt(im, 512, false);
        assert_int_equal(im->t->notes.n, 0);
    }
}

static void test_gpt_4096(void **state)
{
    struct image *im = *state;
    put_gpt(im->b, 4096, 128);
    check_gpt(im, 4096, false);
    assert_true(noted(im, "sectors of 4096"));
    memset(im->b + 4096, 0, 512);
    check_gpt(im, 4096, true);
}

static void test_gpt_backup(void **state)
{
    struct image *im = *state;
    put_gpt(im->b, 512, 128);
    im->b[2 * 512 + 57] ^= 1; /* an entry's bit: its CRC */
    check_gpt(im, 512, true);
    assert_true(noted(im, "backup is used"));
    im->b[512 + 20] ^= 1; /* the header's own */
    check_gpt(im, 512, true);
    memset(im->b, 0, 1024); /* both first sectors wiped */
    check_gpt(im, 512, true);
    assert_true(noted(im, "protective MBR is missing"));
    memset(im->b + 1024, 0, 32 * 512);
    check_gpt(im, 512, true);
    /* a primary that can't be read */
    put_entry(im->b, 0, 0xee, 1, SECTORS - 1);
    im->d.bad_at = 512, im->d.bad_length = 512;
    check_gpt(im, 512, true);
}

static void test_gpt_hopeless(void **state)
{
    struct image *im = *state;
    put_gpt(im->b, 512, 128);
    put_entry(im->b, 1, 0x83, 2048, 100);
    im->b[512 + 60] ^= 1;
    im->b[DISK - 512 + 60] ^= 1;
    assert_int_equal(look(im), -EUCLEAN);
    assert_non_null(strstr(im->fault.what, "backup"));
}

static void test_gpt_notes(void **state)
{
    struct image *im = *state;
    put_gpt(im->b, 512, 128);
    put_entry(im->b, 1, 0x83, 2048, 100);
    check_gpt(im, 512, false);
    assert_true(noted(im, "hybrid"));
    /* the disk grew: the backup isn't at its end; the partitions stay */
    im->d.disk.size -= 512;
    check_gpt(im, 512, false);
    assert_true(noted(im, "not at the end"));
    assert_true(noted(im, "missing"));
    im->d.disk.size = 2100 * 512;
    check_gpt(im, 512, false);
    assert_true(noted(im, "partition 1 ends at byte") || noted(im, "partition 3 ends at byte"));
}

static void test_gpt_bad_entries(void **state)
{
    struct image *im = *state;
    put_gpt(im->b, 512, 128);
    put_gpt_entry(im->b + 1024 + 128, 500, 499, "empty");
    put_gpt_entry(im->b + 1024 + 3 * 128, 1, UINT64_MAX, "endless");
    put_gpt_entry(im->b + 1024 + 4 * 128, 1, UINT64_MAX / 2, "too long");
    put_header(im->b, 512, 1, SECTORS - 1, 2, 128, 128);
    check_gpt(im, 512, false);
    assert_true(noted(im, "partition 2 is empty"));
    assert_true(noted(im, "partition 4 is empty"));
    assert_true(noted(im, "partition 5 is empty"));
    /* fields that no table has: the CRC is right, and the header refused all the same */
    static const uint32_t bad[][2] = {
        { 128, 129 }, { 128, 64 }, { 0, 128 }, { 0x80000000, 128 }, { 9000, 128 }
    };
    memset(im->b + DISK - 512, 0, 512);
    for (size_t i = 0; i < 5; i++) {
        put_header(im->b, 512, 1, SECTORS - 1, 2, 1, 128);
        put_le32(im->b + 512 + 80, bad[i][0]);
        put_le32(im->b + 512 + 84, bad[i][1]);
        put_le32(im->b + 512 + 16, 0);
        put_le32(im->b + 512 + 16, (uint32_t)crc32(0, im->b + 512, 92));
        assert_int_equal(look(im), -EUCLEAN);
    }
}

static void test_gpt_leftovers(void **state)
{
    struct image *im = *state;
    put_gpt(im->b, 512, 128);
    put_entry(im->b, 0, 0x83, 2048, 100); /* repartitioned by a tool that knows no GPT */
    assert_int_equal(look(im), 0);
    assert_int_equal(im->t->kind, TABLE_MBR);
    assert_int_equal(im->t->n, 1);
    assert_true(noted(im, "leftover"));
    /* mkfs on the whole disk leaves the backup at the end */
    memset(im->b, 0, 4096);
    put_le16(im->b + 0x438, 0xef53);
    assert_int_equal(look(im), 0);
    assert_int_equal(im->t->kind, TABLE_NONE);
    assert_int_equal(im->t->n, 0);
}

/* Every byte of the tables flipped in turn: whatever it says, it says it without a crash, and finds no
 * partition that isn't there. */
static void test_gpt_any_byte(void **state)
{
    struct image *im = *state;
    put_gpt(im->b, 512, 128);
    for (size_t i = 512; i < 1024 + 256; i++) {
        im->b[i] ^= 0x40;
        assert_int_equal(look(im), 0);
        assert_int_equal(im->t->kind, TABLE_GPT);
        assert_int_equal(im->t->n, 2);
        im->b[i] ^= 0x40;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_primary, setup, teardown),
        cmocka_unit_test_setup_teardown(test_primary_4096, setup, teardown),
        cmocka_unit_test_setup_teardown(test_logical, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ebr_loop, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ebr_damaged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_odd_places, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_table, setup, teardown),
        cmocka_unit_test_setup_teardown(test_superfloppy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_tables, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gpt, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gpt_4096, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gpt_backup, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gpt_hopeless, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gpt_notes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gpt_bad_entries, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gpt_leftovers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gpt_any_byte, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
