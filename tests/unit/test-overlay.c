/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The overlay: edits that stay, edits that don't, whose it is, and what qemu-img says of its files. */
#include "overlay-kit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>

enum { C = 65536 };
#define MIB (UINT64_C(1) << 20)

static void edits_are_there_again(void **state)
{
    (void)state;
    struct kit_dir dir;
    struct kit_source s;
    struct kit_model m;
    kit_dir_init(&dir);
    kit_source_init(&s, 1500 * MIB + 512, 4096, 1);
    kit_model_init(&m, s.toy);

    struct overlay *o = kit_open_ok(&dir, &s, 1);
    assert_int_equal(overlay_generation(o), 0);
    assert_false(overlay_is_dirty(o));
    uint64_t seed = 7;
    for (int i = 0; i < 300; i++)
        assert_int_equal(kit_step(overlay_disk(o, 0), &m, &seed), 0);
    assert_true(overlay_is_dirty(o));
    assert_true(overlay_uncommitted(o) > 0);
    kit_check_all(&m, overlay_disk(o, 0));
    kit_commit(o);
    assert_false(overlay_is_dirty(o));
    assert_int_equal(overlay_generation(o), 1);
    assert_int_equal(overlay_uncommitted(o), 0);
    int64_t second = overlay_time(o).tv_sec;
    overlay_close(o);
    if (kit_have_qemu())
        assert_int_equal(kit_qemu_check(dir.overlay, 0, ""), 0);

    o = kit_open_ok(&dir, &s, 1);
    assert_int_equal(overlay_generation(o), 1);
    assert_int_equal(overlay_time(o).tv_sec, second);
    kit_check_all(&m, overlay_disk(o, 0));

    /* without a commit they are lost */
    uint8_t byte[512] = { 1, 2, 3 };
    assert_int_equal(disk_pwrite(overlay_disk(o, 0), byte, sizeof byte, 12345 * 512), 0);
    overlay_close(o);
    if (kit_have_qemu())
        assert_int_equal(kit_qemu_check(dir.overlay, 0, ""), 0);
    o = kit_open_ok(&dir, &s, 1);
    assert_int_equal(overlay_generation(o), 1);
    kit_check_all(&m, overlay_disk(o, 0));
    overlay_close(o);

    kit_model_done(&m);
    kit_source_done(&s);
    kit_dir_done(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edits_are_there_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
