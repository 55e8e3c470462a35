/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lists of changes over a guest in memory: what is kept, applied, taken back, and what every failure leaves.
 */
#include "unit.h"

#include "changes-world.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const uint8_t one[4] = { 1 }, two[4] = { 2 };
#define SVC "HKLM\\SYSTEM\\ControlSet001\\Services\\"

static void make_world(void)
{
    world_clear();
    world_dword(SVC "a|Start", 1);
    world_dword(SVC "b|Start", 3);
    world_text(SVC "gone\\deep|Name", "x");
    world_put('d', "etc", S_IFDIR | 0755, NULL, 0);
    world_put('f', "etc/fstab", S_IFREG | 0644, "old", 3);
    world_put('f', "etc/remove", S_IFREG | 0600, "bye", 3);
    world_put('f', "boot/initrd", S_IFREG | 0600, "cpio", 4);
    world_put('d', "old.d", S_IFDIR | 0750, NULL, 0);
    world_put('f', "old.d/file", S_IFREG | 0600, "in it", 5);
    world_put('l', "etc/link", S_IFLNK | 0777, "there", 5);
}

static char *print(const struct changes *c)
{
    struct json_out out = { 0 };
    changes_print(c, &out);
    assert_false(out.failed);
    return out.text;
}

static void check_plan(const struct changes *c, const char *want)
{
    char *text = print(c);
    assert_string_equal(text, want);
    free(text);
}

/* One of each kind. */
static struct changes *make_list(void)
{
    struct changes *c = changes_new(&world.ferry);
    assert_int_equal(changes_value(c, SVC "a", "Start", PREPARE_DWORD, two, 4, "r"), 0);
    assert_int_equal(changes_file(c, "etc/fstab", "new text", 8, 0600, "r"), 0);
    assert_int_equal(changes_value_gone(c, SVC "b", "Start", "r"), 0);
    assert_int_equal(changes_key_gone(c, SVC "gone", "r"), 0);
    assert_int_equal(changes_value(c, SVC "gone\\deep", "Other", PREPARE_DWORD, one, 4, "r"), 0);
    assert_int_equal(changes_append(c, "boot/initrd", "more", 4, "r"), 0);
    assert_int_equal(changes_remove(c, "etc/remove", "r"), 0);
    assert_int_equal(changes_mkdir(c, "etc/new.d", 0755, "r"), 0);
    assert_int_equal(changes_file(c, "etc/new.d/file", "hello", 5, 0600, "r"), 0);
    assert_int_equal(changes_link(c, "etc/link", "elsewhere", "r"), 0);
    assert_int_equal(changes_remove(c, "old.d/file", "r"), 0);
    assert_int_equal(changes_rmdir(c, "old.d", "r"), 0);
    return c;
}

/* ---- what is kept ---- */

static void test_only_what_is_not_so(void **state)
{
    (void)state;
    make_world();
    struct changes *c = changes_new(&world.ferry);
    changes_value(c, SVC "a", "start", PREPARE_DWORD, one, 4, "so already");
    changes_value_gone(c, SVC "a", "Nothing", "so already");
    changes_key_gone(c, SVC "nothing", "so already");
    changes_key(c, SVC "a", "so already");
    changes_file(c, "etc/fstab", "old", 3, 0777, "so already");
    changes_remove(c, "etc/nothing", "so already");
    changes_mkdir(c, "etc", 0700, "so already");
    changes_link(c, "etc/link", "there", "so already");
    changes_rmdir(c, "nothing.d", "so already");
    assert_int_equal(changes_error(c), 0);
    assert_int_equal(changes_count(c), 0);
    check_plan(c, "nothing to do\n");
    changes_free(c);
}

static void test_two_of_one_thing_add_up(void **state)
{
    (void)state;
    make_world();
    struct changes *c = changes_new(&world.ferry);
    changes_value(c, SVC "a", "Start", PREPARE_DWORD, two, 4, "first");
    changes_value(c, SVC "A", "START", PREPARE_BINARY, "xy", 2, "second");
    check_plan(c, "registry " SVC "A START 1 -> hex:78 79  # second\n");
    changes_value(c, SVC "a", "Start", PREPARE_DWORD, one, 4, "as it is");
    check_plan(c, "nothing to do\n");
    changes_file(c, "etc/fstab", "1", 1, 0, "first");
    changes_file(c, "etc/fstab", "22", 2, 0, "second");
    check_plan(c, "file etc/fstab 3 bytes -> 2 bytes  # second\n");
    changes_file(c, "etc/fstab", "old", 3, 0, "as it is");
    check_plan(c, "nothing to do\n");
    changes_free(c);
}

static void test_what_is_kept_has_a_bound(void **state)
{
    (void)state;
    make_world();
    struct changes *c = changes_new(&world.ferry);
    changes_keep(c, 3, 100);
    assert_int_equal(changes_file(c, "etc/fstab", "new!", 4, 0, "three bytes are kept"), 0);
    assert_int_equal(changes_file(c, "etc/fstab", "new?", 4, 0, "still those"), 0);
    assert_int_equal(changes_remove(c, "etc/fstab", "and the same here"), 0);
    assert_int_equal(changes_value(c, SVC "a", "Start", PREPARE_DWORD, two, 4, "four more"), -EFBIG);
    changes_free(c);
}

static void test_directories_on_the_way_are_made(void **state)
{
    (void)state;
    make_world();
    struct changes *c = changes_new(&world.ferry);
    changes_link(c, "etc/a/b/unit", "/dev/null", "off");
    changes_link(c, "etc/a/other", "/dev/null", "off");
    assert_int_equal(changes_error(c), 0);
    assert_int_equal(changes_count(c), 4);
    changes_free(c);
}

static void test_directories_add_up(void **state)
{
    (void)state;
    make_world();
    struct changes *c = changes_new(&world.ferry);
    assert_int_equal(changes_rmdir(c, "etc", "goes"), 0);
    assert_int_equal(changes_rmdir(c, "etc", "twice"), 0);
    check_plan(c, "file etc directory -> (absent)  # goes\n");
    assert_int_equal(changes_mkdir(c, "etc", 0755, "stays"), 0);
    check_plan(c, "nothing to do\n");
    assert_int_equal(changes_mkdir(c, "new", 0755, "comes"), 0);
    assert_int_equal(changes_rmdir(c, "new", "doesn't"), 0);
    check_plan(c, "nothing to do\n");
    assert_int_equal(changes_rmdir(c, "etc/fstab", "no directory"), -ENOTDIR);
    changes_free(c);
}

/* What has come to be in the directory since isn't in the plan: all of it fails. */
static void test_rmdir_of_what_is_not_empty(void **state)
{
    (void)state;
    make_world();
    char *before = world_show();
    struct changes *c = changes_new(&world.ferry);
    struct fault fault = { 0 };
    assert_int_equal(changes_value(c, SVC "a", "Start", PREPARE_DWORD, two, 4, "r"), 0);
    assert_int_equal(changes_rmdir(c, "old.d", "r"), 0);
    assert_int_equal(changes_apply(c, "x", &fault), -ENOTEMPTY);
    char *after = world_show();
    assert_string_equal(before, after);
    assert_int_equal(world.commits, 0);
    changes_free(c);
    free(before);
    free(after);
}

static void test_planners_see_the_plan(void **state)
{
    (void)state;
    make_world();
    struct changes *c = make_list();
    struct prepare *p = changes_prepare(c);
    uint8_t *bytes;
    size_t n;
    uint32_t type;
    struct prepare_stat st;
    assert_int_equal(p->ops->read(p, "etc/fstab", 100, &bytes, &n), 0);
    assert_string_equal((char *)bytes, "new text");
    free(bytes);
    assert_int_equal(p->ops->read(p, "etc/fstab", 7, &bytes, &n), -EFBIG);
    assert_int_equal(p->ops->stat(p, "etc/remove", &st), -ENOENT);
    assert_int_equal(p->ops->stat(p, "old.d", &st), -ENOENT);
    assert_int_equal(p->ops->stat(p, "etc/new.d/file", &st), 0);
    assert_int_equal(st.size, 5);
    assert_int_equal(p->ops->value(p, SVC "gone\\deep", "Name", &type, &bytes, &n), -ENOENT);
    assert_int_equal(p->ops->value(p, SVC "gone\\deep", "Other", &type, &bytes, &n), 0);
    free(bytes);
    assert_int_equal(p->ops->value(p, SVC "b", "Start", &type, &bytes, &n), -ENOENT);
    changes_free(c);
}

static void test_plan_as_text(void **state)
{
    (void)state;
    make_world();
    struct changes *c = make_list();
    changes_note(c, "to know");
    check_plan(c, "registry " SVC "a Start 1 -> 2  # r\n"
                  "file etc/fstab 3 bytes -> 8 bytes  # r\n"
                  "registry " SVC "b Start 3 -> (absent)  # r\n"
                  "registry " SVC "gone key -> (absent)  # r\n"
                  "registry " SVC "gone (absent) -> key  # r\n"
                  "registry " SVC "gone\\deep (absent) -> key  # r\n"
                  "registry " SVC "gone\\deep Other (absent) -> 1  # r\n"
                  "file boot/initrd 4 bytes -> 8 bytes  # r\n"
                  "file etc/remove 3 bytes -> (absent)  # r\n"
                  "file etc/new.d (absent) -> directory  # r\n"
                  "file etc/new.d/file (absent) -> 5 bytes  # r\n"
                  "file etc/link link to there -> link to elsewhere  # r\n"
                  "file old.d/file 5 bytes -> (absent)  # r\n"
                  "file old.d directory -> (absent)  # r\n"
                  "note: to know\n");
    changes_block(c, "it\nis broken", "mend it");
    check_plan(c, "BLOCKED: it?is broken; mend it\n");
    struct fault fault = { 0 };
    assert_int_equal(changes_apply(c, "x", &fault), -EPERM);
    assert_int_equal(world.steps, 0);
    changes_free(c);
}

static void test_first_error_sticks(void **state)
{
    (void)state;
    make_world();
    struct changes *c = changes_new(&world.ferry);
    struct fault fault = { 0 };
    assert_int_equal(changes_append(c, "nowhere", "x", 1, "r"), -ENOENT);
    assert_int_equal(changes_value(c, SVC "a", "Start", PREPARE_DWORD, two, 4, "r"), -ENOENT);
    assert_int_equal(changes_apply(c, "x", &fault), -ENOENT);
    assert_int_equal(world.steps, 0);
    changes_free(c);
}

/* ---- apply and undo ---- */

/* A hive has no such key but by mistake, and Windows doesn't start with it. */
static void test_no_current_control_set(void **state)
{
    static const char *const keys[] = {
        "HKLM\\SYSTEM\\CurrentControlSet\\Control\\x",
        "hklm\\system\\currentcontrolset",
        "HKEY_LOCAL_MACHINE\\System\\CurrentControlSet\\Services",
    };
    (void)state;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        make_world();
        struct changes *c = changes_new(&world.ferry);
        assert_int_equal(changes_key(c, keys[i], "r"), -EINVAL);
        changes_free(c);
        c = changes_new(&world.ferry);
        assert_int_equal(changes_value(c, keys[i], "v", PREPARE_DWORD, one, 4, "r"), -EINVAL);
        assert_int_equal(changes_count(c), 0);
        changes_free(c);
    }
}

static void test_apply_and_undo(void **state)
{
    (void)state;
    make_world();
    struct fault fault = { 0 };
    char *before = world_show();
    struct changes *c = make_list();
    assert_int_equal(changes_apply(c, "x", &fault), 0);
    assert_int_equal(world.commits, 1);
    changes_free(c);
    c = changes_new(&world.ferry); /* what was asked for is so */
    changes_value(c, SVC "gone\\deep", "Other", PREPARE_DWORD, one, 4, "r");
    changes_file(c, "etc/fstab", "new text", 8, 0, "r");
    changes_link(c, "etc/link", "elsewhere", "r");
    changes_remove(c, "etc/remove", "r");
    check_plan(c, "nothing to do\n");
    changes_free(c);
    assert_int_equal(world_files(), 1);
    assert_int_equal(changes_undo(&world.ferry, "x", &fault), 0);
    char *after = world_show();
    assert_string_equal(before, after);
    assert_int_equal(world.commits, 2);
    assert_int_equal(world_files(), 0);
    assert_int_equal(changes_undo(&world.ferry, "x", &fault), -ENOENT);
    free(before);
    free(after);
}

/* Whatever step fails, everything is as it was, and nothing was committed. */
static void test_every_failure_takes_all_back(void **state)
{
    (void)state;
    int steps = 0;
    for (int fail = 0; !fail || fail < steps; fail++) {
        make_world();
        char *before = world_show();
        struct changes *c = make_list();
        struct fault fault = { 0 };
        if (!fail) { /* how many are there? */
            assert_int_equal(changes_apply(c, "x", &fault), 0);
            steps = world.steps;
            changes_free(c);
            make_world();
            c = make_list();
        }
        world.fail_at = fail;
        assert_int_equal(changes_apply(c, "x", &fault), -ENOSPC);
        char *after = world_show();
        assert_string_equal(before, after);
        assert_int_equal(world.commits, 0);
        assert_int_equal(world_files(), fail == steps - 1); /* of a failed commit the record stays */
        assert_false(world.ferry.broken);
        assert_int_equal(changes_undo(&world.ferry, "x", NULL), -ENOENT);
        /* and it can be tried again */
        world.fail_at = -1;
        assert_int_equal(changes_apply(c, "x", &fault), 0);
        changes_free(c);
        free(before);
        free(after);
    }
    assert_true(steps > 13);
}

/* What can't be taken back is never committed. */
static void test_stuck(void **state)
{
    (void)state;
    make_world();
    struct changes *c = make_list();
    struct fault fault = { 0 };
    world.fail_at = 3;
    world.stuck = true;
    assert_int_equal(changes_apply(c, "x", &fault), -ENOSPC);
    assert_true(world.ferry.broken);
    assert_int_equal(ferry_alone_commit(&world.ferry), -EIO);
    assert_int_equal(world.commits, 0);
    changes_free(c);
}

static void refuse(const char *want)
{
    struct fault fault = { 0 };
    char *before = world_show();
    assert_int_equal(changes_undo(&world.ferry, "x", &fault), -EBUSY);
    assert_non_null(strstr(fault.what, want));
    char *after = world_show();
    assert_string_equal(before, after);
    free(before);
    free(after);
}

static void test_undo_minds_later_edits(void **state)
{
    (void)state;
    static const struct {
        char kind;
        const char *path;
        uint32_t type;
        const char *bytes;
        size_t n;
        const char *want;
    } edits[] = {
        { 'v', SVC "a|Start", 4, "\3\0\0\0", 4, "Services\\a\\Start was changed since" },
        { 'v', SVC "b|Start", 4, "\3\0\0\0", 4, "Services\\b\\Start was changed since" },
        { 'f', "etc/fstab", S_IFREG | 0644, "new tex7", 8, "etc/fstab was changed since" },
        { 'f', "etc/remove", S_IFREG | 0644, "", 0, "etc/remove was changed since" },
        { 'f', "boot/initrd", S_IFREG | 0600, "cpiomorf", 8, "boot/initrd was changed since" },
        { 'l', "etc/link", S_IFLNK | 0777, "third", 5, "etc/link was changed since" },
    };
    for (size_t i = 0; i < sizeof edits / sizeof edits[0]; i++) {
        make_world();
        struct changes *c = make_list();
        assert_int_equal(changes_apply(c, "x", NULL), 0);
        changes_free(c);
        world_put(edits[i].kind, edits[i].path, edits[i].type, edits[i].bytes, edits[i].n);
        refuse(edits[i].want);
    }
}

static void test_undo_leaves_other_edits(void **state)
{
    (void)state;
    make_world();
    struct changes *c = make_list();
    assert_int_equal(changes_apply(c, "x", NULL), 0);
    changes_free(c);
    world_dword(SVC "a|Mine", 7);
    assert_int_equal(changes_undo(&world.ferry, "x", NULL), 0);
    char *text = world_show();
    make_world();
    world_dword(SVC "a|Mine", 7);
    char *want = world_show();
    assert_string_equal(text, want);
    free(text);
    free(want);
}

/* A second apply of a target adds to its record, and the undo takes both back. */
static void test_applied_twice(void **state)
{
    (void)state;
    make_world();
    char *before = world_show();
    struct changes *c = make_list();
    assert_int_equal(changes_apply(c, "x", NULL), 0);
    changes_free(c);
    c = changes_new(&world.ferry);
    changes_value(c, SVC "a", "Start", PREPARE_BINARY, "zz", 2, "r");
    changes_key_gone(c, SVC "gone", "r");
    changes_file(c, "etc/fstab", "third", 5, 0, "r");
    assert_int_equal(changes_apply(c, "x", NULL), 0);
    changes_free(c);
    assert_int_equal(world_files(), 1);
    struct fault fault = { 0 };
    assert_int_equal(changes_undo(&world.ferry, "x", &fault), 0);
    char *after = world_show();
    assert_string_equal(before, after);
    free(before);
    free(after);
}

/* ---- records ---- */

static void test_damaged_records(void **state)
{
    (void)state;
    make_world();
    struct changes *c = make_list(), *again;
    uint8_t *bytes;
    size_t n;
    assert_int_equal(record_pack(c, &bytes, &n), 0);
    for (size_t cut = 0; cut < n; cut++) {
        uint8_t *part = malloc(cut + 1);
        memcpy(part, bytes, cut);
        again = changes_new(&world.ferry);
        assert_int_equal(record_unpack(again, part, cut), -EUCLEAN);
        changes_free(again);
        free(part);
    }
    again = changes_new(&world.ferry);
    assert_int_equal(record_unpack(again, bytes, n), 0);
    char *a = print(c), *b = print(again);
    assert_string_equal(a, b);
    changes_free(again);
    changes_free(c);
    free(a);
    free(b);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_what_is_not_so),
        cmocka_unit_test(test_two_of_one_thing_add_up),
        cmocka_unit_test(test_what_is_kept_has_a_bound),
        cmocka_unit_test(test_directories_on_the_way_are_made),
        cmocka_unit_test(test_directories_add_up),
        cmocka_unit_test(test_rmdir_of_what_is_not_empty),
        cmocka_unit_test(test_planners_see_the_plan),
        cmocka_unit_test(test_plan_as_text),
        cmocka_unit_test(test_first_error_sticks),
        cmocka_unit_test(test_no_current_control_set),
        cmocka_unit_test(test_apply_and_undo),
        cmocka_unit_test(test_every_failure_takes_all_back),
        cmocka_unit_test(test_stuck),
        cmocka_unit_test(test_undo_minds_later_edits),
        cmocka_unit_test(test_undo_leaves_other_edits),
        cmocka_unit_test(test_applied_twice),
        cmocka_unit_test(test_damaged_records),
    };
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    world_clear();
    return r;
}
