/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Elements of the boot configuration: bytes as published stores have them, the text that bcdedit prints for
 * them, and the way back. */
#include "registry/bcd.h"
#include "registry/guid.h"

#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BOOTMGR = 0x10100002, LOADER = 0x10200003, RESUME = 0x10200004, DEVICE = 0x30000000 };

/* ---- what the tables say ---- */

static void test_names(void **state)
{
    (void)state;
    uint32_t n = 0;
    /* one number, three meanings */
    assert_string_equal(bcd_element_name(BOOTMGR, 0x23000003), "default");
    assert_string_equal(bcd_element_name(LOADER, 0x23000003), "resumeobject");
    assert_null(bcd_element_name(RESUME, 0x23000003));
    assert_string_equal(bcd_element_name(RESUME, 0x21000001), "filedevice");
    assert_string_equal(bcd_element_name(LOADER, 0x21000001), "osdevice");
    assert_string_equal(bcd_element_name(0x20100000, 0x15000022), "emsport");
    assert_string_equal(bcd_element_name(DEVICE, 0x31000003), "ramdisksdidevice");
    assert_true(bcd_element_number(BOOTMGR, "TimeOut", &n));
    assert_int_equal(n, 0x25000004);
    assert_true(bcd_element_number(LOADER, "0x26000020", &n));
    assert_int_equal(n, 0x26000020);
    assert_false(bcd_element_number(LOADER, "timeout", &n));
    assert_false(bcd_element_number(LOADER, "0x2600002", &n));
}

static void test_aliases(void **state)
{
    (void)state;
    uint8_t g[16];
    char text[GUID_TEXT + 1];
    assert_true(bcd_alias_guid("BootMgr", 7, g));
    guid_to_text(g, text);
    assert_string_equal(text, "9dea862c-5cdd-4e70-acc1-f32b344d4795");
    assert_string_equal(bcd_alias(g), "bootmgr");
    assert_int_equal(bcd_alias_type(g), BOOTMGR);
    assert_false(bcd_alias_guid("default", 7, g));
    size_t n = 0;
    while (bcd_alias_at(n, g))
        n++;
    assert_int_equal(n, 13);
}

/* ---- values ---- */

static bool name_of(void *ctx, const struct bcd_partition *p, char *buf, size_t size)
{
    (void)ctx;
    if (p->gpt || p->signature != 0x5cbea03e || p->offset != 1 << 20)
        return false;
    snprintf(buf, size, "disk0p1");
    return true;
}

static bool find_named(void *ctx, const char *name, struct bcd_partition *ret)
{
    (void)ctx;
    *ret = (struct bcd_partition){ .signature = 0x5cbea03e, .offset = 1 << 20 };
    return !strcmp(name, "disk0p1");
}

static uint8_t default_object[16];
static const struct bcd_context context = { .name = name_of,
                                            .find = find_named,
                                            .default_object = default_object };

/* Shows the bytes, and makes the same ones of the text without knowing the old. */
static void round_trip(uint32_t object, uint32_t element, uint32_t type, const void *data, size_t n,
                       const char *want)
{
    char *text = NULL;
    struct bcd_bytes back;
    assert_int_equal(bcd_to_text(object, element, type, data, n, &context, &text), 0);
    assert_string_equal(text, want);
    assert_int_equal(bcd_from_text(object, element, text, strlen(text), NULL, &context, &back), 0);
    assert_int_equal(back.reg_type, type);
    assert_int_equal(back.n, n);
    assert_memory_equal(back.data, data, n);
    free(back.data);
    free(text);
}

static int take(uint32_t object, uint32_t element, const char *text, const void *want, size_t n)
{
    struct bcd_bytes back;
    int r = bcd_from_text(object, element, text, strlen(text), NULL, &context, &back);
    if (r < 0)
        return r;
    assert_int_equal(back.n, n);
    assert_memory_equal(back.data, want, n);
    free(back.data);
    return 0;
}

static void test_values(void **state)
{
    (void)state;
    round_trip(BOOTMGR, 0x25000004, BCD_REG_BINARY, "\x1e\0\0\0\0\0\0", 8, "30\n");
    round_trip(LOADER, 0x25000020, BCD_REG_BINARY, "\3\0\0\0\0\0\0", 8, "AlwaysOn\n");
    round_trip(LOADER, 0x25000020, BCD_REG_BINARY, "\x63\0\0\0\0\0\0", 8, "99\n");
    round_trip(LOADER, 0x26000010, BCD_REG_BINARY, "\1", 1, "Yes\n");
    round_trip(LOADER, 0x12000002, BCD_REG_SZ, "\\\0a\0\xe4\0\0", 8, "\\a\xc3\xa4\n");
    round_trip(LOADER, 0x17000077, BCD_REG_BINARY, "\x75\0\0\x15\0\0\0", 8, "0x15000075\n");
    round_trip(LOADER, 0x26000099, BCD_REG_BINARY, "\1\2", 2, "hex:01,02\n"); /* no boolean */
    assert_int_equal(take(LOADER, 0x25000020, "optout\n", "\1\0\0\0\0\0\0", 8), 0);
    assert_int_equal(take(LOADER, 0x25000020, "0x2", "\2\0\0\0\0\0\0", 8), 0);
    assert_int_equal(take(LOADER, 0x26000010, "off\n", "\0", 1), 0);
    assert_int_equal(take(LOADER, 0x26000010, "perhaps\n", "", 0), -EINVAL);
    assert_int_equal(take(LOADER, 0x25000020, "1\n2\n", "", 0), -EINVAL);
    assert_int_equal(take(LOADER, 0x25000020, "-1\n", "", 0), -EINVAL);
    assert_int_equal(take(LOADER, 0x25000020, "99999999999999999999\n", "", 0), -EINVAL);
    assert_int_equal(take(LOADER, 0x25000020, "", "", 0), -EINVAL);
    assert_int_equal(take(LOADER, 0x12000004, "\xff\n", "", 0), -EINVAL);
}

/* A value of another length than we write stays as it is while its text does. */
static void test_bytes_are_kept(void **state)
{
    (void)state;
    uint8_t timeout[] = { 30 };
    struct bcd_bytes was = { BCD_REG_BINARY, timeout, 1 }, back;
    assert_int_equal(bcd_from_text(BOOTMGR, 0x25000004, "30", 2, &was, NULL, &back), 0);
    assert_int_equal(back.n, 1);
    free(back.data);
    assert_int_equal(bcd_from_text(BOOTMGR, 0x25000004, "31\n", 3, &was, NULL, &back), 0);
    assert_int_equal(back.n, 8);
    free(back.data);
}

static void test_objects(void **state)
{
    (void)state;
    struct bcd_bytes back;
    static const char list[] = "{globalsettings}\nbootmgr\n{12345678-9ABC-def0-1234-56789abcdef0}\n";
    assert_int_equal(bcd_from_text(LOADER, 0x14000006, list, strlen(list), NULL, NULL, &back), 0);
    assert_int_equal(back.reg_type, BCD_REG_MULTI_SZ);
    assert_int_equal(back.n, 3 * 39 * 2 + 2);
    char *text;
    assert_int_equal(bcd_to_text(LOADER, 0x14000006, back.reg_type, back.data, back.n, NULL, &text), 0);
    assert_string_equal(text, "{globalsettings}\n{bootmgr}\n{12345678-9abc-def0-1234-56789abcdef0}\n");
    free(text);
    free(back.data);
    assert_int_equal(bcd_from_text(BOOTMGR, 0x23000003, "{default}", 9, NULL, NULL, &back), -ENOENT);
    assert_int_equal(bcd_from_text(BOOTMGR, 0x23000003, "{default}", 9, NULL, &context, &back), 0);
    free(back.data);
    assert_int_equal(bcd_from_text(BOOTMGR, 0x23000003, "{nobody}", 8, NULL, &context, &back), -EINVAL);
}

/* ---- devices ---- */

struct dump {
    const char *hex, *text;
};

static size_t unhex(const char *hex, uint8_t *ret)
{
    size_t n = 0;
    for (; hex[2 * n]; n++) {
        char pair[3] = { hex[2 * n], hex[2 * n + 1], 0 };
        ret[n] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return n;
}

#define Z16  "00000000000000000000000000000000"
#define BOOT "05000000000000004800000000000000" Z16 Z16 Z16 "0000000000000000"
/* The second and third from stores of real machines; the others by the same rules. */
static const struct dump dumps[] = {
    { Z16 BOOT, "boot" },
    { Z16 "060000000000000048000000000000009cb86a1cbfbcbe4a8593618e4d2f5811"
          "00000000000000007de84155a5912b4fad43a0345c199e9b" Z16,
      "partition=gpt:5541e87d-91a5-4f2b-ad43-a0345c199e9b/1c6ab89c-bcbf-4abe-8593-618e4d2f5811" },
    { "c8dc1976fefad911b411000476eba25f0000000001000000a00000000000000003000000" Z16
      "0000000001000000780000000500000005000000000000004800000000000000" Z16 Z16 Z16
      "00000000000000005c0073006f00750072006300650073005c0062006f006f0074002e00770069006d000000",
      "ramdisk=[boot]\\sources\\boot.wim,{7619dcc8-fafe-11d9-b411-000476eba25f}" },
    { Z16 "06000000000000004800000000000000"
          "0000100000000000"
          "0000000000000000"
          "0000000001000000"
          "3ea0be5c000000000000000000000000" Z16,
      "partition=disk0p1" },
    { Z16 "06000000000000004800000000000000"
          "0000f01500000000"
          "0000000000000000"
          "0000000001000000"
          "3ea0be5c000000000000000000000000" Z16,
      "partition=mbr:5cbea03e@368050176" },
    { Z16 "08000000000000001e000000000000000000000002000022000000000000", "locate=custom:22000002" },
    { Z16 "080000000000000024000000000000000100000000000000000000005c00610062000000", "locate=\\ab" },
    { Z16 "00000000000000006e0000000000000005000000010000005a00000005000000" BOOT "5c0061000000",
      "file=[boot]\\a" },
    { Z16 "08000000000000"
          "00b400000000000000"
          "00000000020000121e0000000000"
          "0000000000000000960000000000000006000000" Z16 "00000000"
          "00000000000000006e0000000000000005000000010000005a00000005000000" BOOT "5c0061000000",
      "vhd=[boot]\\a,locate=custom:12000002" },
};

static void test_devices(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof dumps / sizeof dumps[0]; i++) {
        uint8_t bytes[1024];
        char line[256];
        size_t n = unhex(dumps[i].hex, bytes);
        snprintf(line, sizeof line, "%s\n", dumps[i].text);
        round_trip(LOADER, 0x11000001, BCD_REG_BINARY, bytes, n, line);
        for (size_t cut = 0; cut < n; cut++) { /* shorter ones aren't understood, and shown as bytes */
            char *text;
            assert_int_equal(bcd_to_text(LOADER, 0x11000001, BCD_REG_BINARY, bytes, cut, &context, &text), 0);
            assert_memory_equal(text, "hex:", 4);
            free(text);
        }
    }
    static const char *const bad[] = { "partition=disk9p9",
                                       "partition=gpt:1/2",
                                       "file=\\a",
                                       "file=[boot]a",
                                       "ramdisk=[boot]\\a,{x}",
                                       "vhd=[boot]\\a,locate=custom:0",
                                       "locate=custom:zz",
                                       "C:",
                                       "" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_true(take(LOADER, 0x11000001, bad[i], "", 0) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),          cmocka_unit_test(test_aliases), cmocka_unit_test(test_values),
        cmocka_unit_test(test_bytes_are_kept), cmocka_unit_test(test_objects), cmocka_unit_test(test_devices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
