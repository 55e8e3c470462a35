/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The descriptor's text, row by row. */
#include "formats/vmdk-descriptor.h"
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int parse(const char *text, struct vmdk_descriptor *d, struct fault *fault)
{
    return vmdk_descriptor_parse(text, strlen(text), "t.vmdk", 0, d, fault);
}

static void usual_text(void **state)
{
    (void)state;
    struct vmdk_descriptor d;
    static const char text[] = "# Disk DescriptorFile\nversion=1\nCID=123A4bcd\nparentCID=ffffffff\n"
                               "createType=\"twoGbMaxExtentSparse\"\n\n# Extent description\n"
                               "RW 4192256 SPARSE \"my disk-s001.vmdk\"\nRDONLY 63 FLAT \"d.bin\" 17\n"
                               "NOACCESS 5 ZERO\nRW 7 VMFS \"x-flat.vmdk\"\n"
                               "# The Disk Data Base\n#DDB\nddb.adapterType = \"lsilogic\"\n"
                               "ddb.longContentID = \"0123456789abcdef01234567123a4bcd\"";
    assert_int_equal(parse(text, &d, NULL), 0);
    assert_int_equal(d.version, 1);
    assert_true(d.has_cid);
    assert_int_equal(d.cid, 0x123a4bcd);
    assert_true(d.parent_cid == VMDK_NO_PARENT);
    assert_string_equal(d.value[VMDK_CREATE_TYPE], "twoGbMaxExtentSparse");
    assert_string_equal(d.value[VMDK_LONG_CONTENT_ID], "0123456789abcdef01234567123a4bcd");
    assert_null(d.value[VMDK_PARENT_HINT]);
    assert_int_equal(d.n_extents, 4);
    assert_int_equal(d.extents[0].sectors, 4192256);
    assert_string_equal(d.extents[0].type, "SPARSE");
    assert_string_equal(d.extents[0].name, "my disk-s001.vmdk");
    assert_int_equal(d.extents[1].access, VMDK_RDONLY);
    assert_int_equal(d.extents[1].offset_sectors, 17);
    assert_int_equal(d.extents[2].access, VMDK_NOACCESS);
    assert_null(d.extents[2].name);
    assert_int_equal(d.extents[3].at, strstr(text, "RW 7 ") - text);
    vmdk_descriptor_done(&d);
}

/* Every spelling must give the same: CID 1234abcd, parent 0000000f, one extent of 8 sectors. */
static void spellings(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "version=1\nCID=1234abcd\nparentCID=0000000f\nRW 8 FLAT \"a\" 0\n",
        "version=1\r\nCID=1234ABCD\r\nparentCID=f\r\nRW 8 FLAT \"a\" 0\r\n",
        "\xef\xbb\xbfversion=1\nCID=1234abcd\nparentCID=0000000f\nRW 8 FLAT \"a\" 0",
        "\tversion\t=\t1\n CID = \"1234abcd\" \nparentcid= 0x0000000F\n\tRW\t8\tflat\t\"a\"\t0\t\n",
        "parentCID=0000000f\nCID=1234abcd\nrw 8 FLAT \"a\" 0\nversion=1\n",
        "RWthing=1\nRW = 9\nparentCID=0000000f\nxCID=7\nmy.parentCID=3\nCID=1234abcd\nCID=1234abcd\nRW 8 "
        "FLAT a\n",
        "#CID=1\n  # CID=2\n#\nddb.comment = \"CID=3\nddb.x = \"\nCID=1234abcd\nparentCID=f\nRW 8 FLAT \"a\" "
        "0 uuid dev\n",
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct vmdk_descriptor d;
        struct fault fault = { 0 };
        if (parse(rows[i], &d, &fault) != 0)
            fail_msg("row %zu: %s", i, fault.what);
        assert_int_equal(d.cid, 0x1234abcd);
        assert_int_equal(d.parent_cid, 0xf);
        assert_int_equal(d.n_extents, 1);
        assert_int_equal(d.extents[0].sectors, 8);
        assert_string_equal(d.extents[0].type, "FLAT");
        assert_string_equal(d.extents[0].name, "a");
        vmdk_descriptor_done(&d);
    }
}

static void refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int error;
        uint64_t at;
    } rows[] = {
        { "version=1\nCID=1\nCID=2\n", -EUCLEAN, 16 },
        { "version=1\nparentFileNameHint=\"a\"\nparentFileNameHint=\"b\"\n", -EUCLEAN, 33 },
        { "version=1\nRWX 100 FLAT \"a\" 0\n", -EUCLEAN, 10 },
        { "version=1\nRW 0x10 FLAT \"a\" 0\n", -EUCLEAN, 10 },
        { "version=1\n  RW -1 FLAT \"a\" 0\n", -EUCLEAN, 12 },
        { "version=1\nRW 100 FLAT \"a 0\n", -EUCLEAN, 10 },
        { "version=1\nRW 100 FLAT \"a\" z\n", -EUCLEAN, 10 },
        { "version=1\nRW 100\n", -EUCLEAN, 10 },
        { "version=1\nRW 100 ATYPETHATISMUCHTOOLONG \"a\"\n", -EUCLEAN, 10 },
        { "version=1\nRW 99999999999999999 FLAT \"a\" 0\n", -EUCLEAN, 10 },
        { "version=1\nRW 18446744073709551617 FLAT \"a\" 0\n", -EUCLEAN, 10 },
        { "version=x\n", -EUCLEAN, 0 },
        { "CID=123456789\n", -EUCLEAN, 0 },
        { "CID=xyz\n", -EUCLEAN, 0 },
        { "CID=\n", -EUCLEAN, 0 },
        { "=1\n", -EUCLEAN, 0 },
        { "\x01\x02 binary\n", -EUCLEAN, 0 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct vmdk_descriptor d = { 0 };
        struct fault fault = { 0 };
        if (parse(rows[i].text, &d, &fault) != rows[i].error || fault.offset != rows[i].at || !fault.what[0])
            fail_msg("row %zu: %d at %llu: %s", i, fault.err, (unsigned long long)fault.offset, fault.what);
        assert_null(d.extents);
    }
}

static void text_ends_at_nul_and_may_be_long(void **state)
{
    (void)state;
    enum { SIZE = 64 * 1024 };
    char *text = malloc(SIZE);
    memset(text, '#', SIZE);
    for (size_t i = 79; i < SIZE; i += 80)
        text[i] = '\n';
    static const char end[] = "\nCID=7\nRW 1 ZERO\n";
    memcpy(text + 40000, end, sizeof end); /* with its NUL: what follows is not text */
    memcpy(text + 50000, "\nnot understood\n", 16);
    struct vmdk_descriptor d;
    assert_int_equal(vmdk_descriptor_parse(text, SIZE, "t", 0, &d, NULL), 0);
    assert_int_equal(d.cid, 7);
    assert_int_equal(d.n_extents, 1);
    vmdk_descriptor_done(&d);
    free(text);
    assert_int_equal(vmdk_descriptor_parse("", VMDK_TEXT_MAX + 1u, "t", 0, &d, NULL), -EFBIG);
}

static void names(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } rows[] = {
        { "RW 1 FLAT \"C:\\vms\\d-flat.vmdk\" 0", "C:/vms/d-flat.vmdk" },
        { "encoding=\"windows-1252\"\nRW 1 FLAT \"B\xfc"
          "ro.vmdk\" 0",
          "B\xc3\xbcro.vmdk" },
        { "RW 1 FLAT \"\x83\x5c.vmdk\" 0\nencoding=\"Shift_JIS\"", "\xe3\x82\xbd.vmdk" }, /* a '\' within */
        { "RW 1 FLAT \"\x87\x40.vmdk\" 0\nencoding=\"shift_jis\"",
          "\xe2\x91\xa0.vmdk" }, /* only Windows has it */
        { "encoding=\"GBK\"\nRW 1 FLAT \"\xb4\xc5\x95\x5c.vmdk\" 0", "\xe7\xa3\x81\xe6\x98\x9e.vmdk" },
        { "encoding=\"windows-1252\"\nRW 1 FLAT \"B\xc3\xbcro.vmdk\" 0", "B\xc3\xbcro.vmdk" },
        { "encoding=\"../evil\"\nRW 1 FLAT \"B\xfc"
          "ro.vmdk\" 0",
          "B\xfc"
          "ro.vmdk" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct vmdk_descriptor d;
        assert_int_equal(parse(rows[i].text, &d, NULL), 0);
        assert_string_equal(d.extents[0].name, rows[i].want);
        vmdk_descriptor_done(&d);
    }
}

static void encrypted(void **state)
{
    (void)state;
    struct vmdk_descriptor d;
    assert_int_equal(parse("version=1\nencryptionKeys=\"vmware:key/list/x\"\n", &d, NULL), 0);
    assert_true(d.encrypted);
    vmdk_descriptor_done(&d);
}

static void too_many_extents(void **state)
{
    (void)state;
    char *text = calloc(VMDK_MAX_EXTENTS + 2, 10);
    for (size_t i = 0; i <= VMDK_MAX_EXTENTS; i++)
        strcpy(text + 10 * i, "RW 1 ZERO\n");
    struct vmdk_descriptor d;
    assert_int_equal(parse(text, &d, NULL), -EFBIG);
    text[10 * (size_t)VMDK_MAX_EXTENTS] = 0;
    assert_int_equal(parse(text, &d, NULL), 0);
    vmdk_descriptor_done(&d);
    free(text);
}

static void probe(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool want;
    } rows[] = {
        { "# Disk DescriptorFile\n", true },
        { "\xef\xbb\xbf#disk descriptorfile\r\n", true },
        { "encoding=\"UTF-8\"\nversion=1\nCID=1\ncreateType=\"vmfs\"\n", true },
        { "version=1\nRW 1 ZERO\nRW 2 ZERO\n", true },
        { "version=1\nname=x\n", false },
        { "#!/bin/sh\nCID=$(id -u)\n", false },
        { "just text\n# Disk DescriptorFile\n", false },
        { "", false },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if ((vmdk_descriptor_probe(rows[i].text, strlen(rows[i].text)) > 0) != rows[i].want)
            fail_msg("row %zu", i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usual_text),
        cmocka_unit_test(spellings),
        cmocka_unit_test(refused),
        cmocka_unit_test(text_ends_at_nul_and_may_be_long),
        cmocka_unit_test(names),
        cmocka_unit_test(encrypted),
        cmocka_unit_test(too_many_extents),
        cmocka_unit_test(probe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
