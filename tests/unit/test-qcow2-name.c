/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QEMU's json: names: which say no more than a path, and which are refused. */
#include "unit.h"

#include "formats/qcow2-name.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void test_taken(void **state)
{
    static const struct {
        const char *text, *driver, *format;
        bool part;
        uint64_t offset, length;
    } names[] = {
        { "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"/a\"}}", "raw", "raw", false,
          0, UINT64_MAX },
        { "json:{\"driver\":\"file\",\"filename\":\"/a\"}", "file", "raw", false, 0, UINT64_MAX },
        { "json:{\"driver\":\"qcow2\",\"node-name\":\"x\",\"file\":{\"driver\":\"file\",\"locking\":\"off\","
          "\"filename\":\"/a\"}}",
          "qcow2", "qcow2", false, 0, UINT64_MAX },
        { "json: {\"driver\": \"vmdk\", \"file\": {\"driver\": \"raw\", \"offset\": 1536, \"size\": 70000, "
          "\"file\": {\"driver\": "
          "\"file\", \"filename\": \"/a\"}}}",
          "vmdk", "vmdk", true, 1536, 70000 },
        { "json:{\"driver\":\"raw\",\"offset\":512,\"file\":{\"driver\":\"file\",\"filename\":\"/a\"}}",
          "raw", "raw", true, 512, UINT64_MAX },
        { "json:{\"driver\":\"raw\",\"size\":512,\"file\":{\"driver\":\"file\",\"filename\":\"/a\"}}", "raw",
          "raw", true, 0, 512 },
        { "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"vdi\",\"file\":{\"driver\":\"file\",\"filename\":"
          "\"/a\"}}}",
          "raw", "vdi", false, 0, UINT64_MAX },
        { "json:{\"driver\":\"vpc\",\"force_size_calc\":\"current_size\",\"file\":{\"driver\":\"file\","
          "\"filename\":\"/a\"}}",
          "vpc", "vpc", false, 0, UINT64_MAX },
    };
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct qcow2_json_name n;
        int r = qcow2_json_name_read(names[i].text, &n);
        if (r)
            fail_msg("%s: %d", names[i].text, r);
        assert_string_equal(n.path, "/a");
        assert_string_equal(n.driver, names[i].driver);
        assert_string_equal(n.format, names[i].format);
        assert_int_equal(n.part, names[i].part);
        assert_int_equal(n.offset, names[i].offset);
        assert_int_equal(n.length, names[i].length);
        free(n.path);
        free(n.format);
    }
}

#define A_FILE "\"file\":{\"driver\":\"file\",\"filename\":\"/a\"}"

static void test_refused(void **state)
{
    static const char *const names[] = {
        "json:",
        "json:{",
        "json:[]",
        "json:{}",
        "json:{\"driver\":\"raw\"}",
        "json:{\"driver\":1," A_FILE "}",
        "json:{\"driver\":\"raw\",\"file\":\"/a\"}",
        "json:{\"driver\":\"file\",\"filename\":\"a\"}", /* from where QEMU runs */
        "json:{\"driver\":\"file\",\"filename\":\"\"}",
        "json:{\"driver\":\"file\",\"filename\":\"/a\",\"x-odd\":1}",
        "json:{\"driver\":\"host_device\",\"filename\":\"/dev/sda\"}",
        "json:{\"driver\":\"nbd\",\"host\":\"h\"}",
        "json:{\"driver\":\"null-co\",\"size\":512}",
        "json:{\"driver\":\"luks\",\"key-secret\":\"k\"," A_FILE "}",
        "json:{\"driver\":\"qcow2\",\"backing\":null," A_FILE "}", /* not what its header says */
        "json:{\"driver\":\"qcow2\",\"data-file\":\"n\"," A_FILE "}",
        "json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"qcow2\"," A_FILE "}}", /* nested guests */
        "json:{\"driver\":\"vpc\",\"force_size_calc\":\"chs\"," A_FILE "}",
        "json:{\"driver\":\"raw\",\"offset\":-1," A_FILE "}",
        "json:{\"driver\":\"raw\",\"offset\":\"512\"," A_FILE "}",
        "json:{\"driver\":\"raw\",\"offset\":1.5," A_FILE "}",
        "json:{\"driver\":\"raw\",\"offset\":512,\"file\":{\"driver\":\"raw\",\"offset\":512," A_FILE "}}",
        "json:{\"driver\":\"raw\",\"offset\":512,\"file\":{\"driver\":\"qcow2\"," A_FILE
        "}}", /* a part of a guest's disk */
        "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"raw\",\"file\":{\"driver\":\"raw\",\"file\":{"
        "\"driver\":\"raw\",\"file\":"
        "{\"driver\":\"raw\",\"file\":{\"driver\":\"raw\",\"file\":{\"driver\":\"raw\",\"file\":{\"driver\":"
        "\"raw\"," A_FILE "}}}}}}}}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct qcow2_json_name n;
        int r = qcow2_json_name_read(names[i], &n);
        if (r != -EPERM)
            fail_msg("%s: %d", names[i], r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_taken),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
