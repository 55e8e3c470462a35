/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Signatures that must win over what lies beneath them. Real images are in test-guest-corpus.c. */
#include "unit.h"

#include "formats/bytes.h"
#include "guest/signature.h"
#include "memdisk.h"

enum { SIZE = 4 << 20, MD_MAGIC = 0xa92b4efc };

static void put_ext(uint8_t *b)
{
    put_le32(b + 1024, 128);         /* inodes */
    put_le32(b + 1024 + 4, 4096);    /* blocks */
    put_le32(b + 1024 + 32, 8192);   /* blocks of a group */
    put_le32(b + 1024 + 40, 128);    /* inodes of a group */
    put_le16(b + 1024 + 56, 0xef53); /* magic */
    put_le32(b + 1024 + 76, 1);      /* revision */
    put_le16(b + 1024 + 88, 128);    /* size of an inode */
}

/* As mdadm writes it: of a mirror, with the data `data` sectors from the start. */
static void put_md1(uint8_t *b, uint64_t at, uint64_t data)
{
    uint8_t *s = b + at;
    put_le32(s, MD_MAGIC);
    put_le32(s + 4, 1);
    memset(s + 16, 0x11, 16);
    memcpy(s + 32, "host:boot", 10);
    put_le32(s + 72, 1); /* level */
    put_le64(s + 80, 4096);
    put_le32(s + 92, 2); /* members */
    put_le64(s + 128, data);
    put_le64(s + 136, 4096);
    put_le64(s + 144, at / 512);
}

static void test_md(void **state)
{
    static const struct {
        const char *what;
        uint64_t at, data; /* bytes, sectors */
    } members[] = {
        { "1.0", SIZE - 8192, 0 },
        { "1.0, its data after a gap", SIZE - 8192, 16 },
        { "1.1", 0, 2048 },
        { "1.2", 4096, 2048 },
    };
    (void)state;
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        uint8_t *b = calloc(1, SIZE);
        struct memdisk d = memdisk_of(b, SIZE);
        struct signature s;
        put_md1(b, members[i].at, members[i].data);
        if (!members[i].data)
            put_ext(b); /* the mirror's file system begins where the member does */
        assert_int_equal(signature_probe(&d.disk, &s), 0);
        if (strcmp(s.type, "md"))
            fail_msg("%s: taken for \"%s\"", members[i].what, s.type);
        assert_string_equal(s.label, "host:boot");
        assert_string_equal(s.uuid, "11111111-1111-1111-1111-111111111111");
        free(b);
    }
}

/* A superblock that says it lies elsewhere is a leftover of a larger member, or of another's data. */
static void test_md_elsewhere(void **state)
{
    uint8_t *b = calloc(1, SIZE);
    struct memdisk d = memdisk_of(b, SIZE);
    struct signature s;
    (void)state;
    put_md1(b, SIZE - 8192, 0);
    put_le64(b + SIZE - 8192 + 144, 8);
    put_ext(b);
    assert_int_equal(signature_probe(&d.disk, &s), 0);
    assert_string_equal(s.type, "ext2");
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_md),
        cmocka_unit_test(test_md_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
