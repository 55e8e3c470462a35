/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The overlay: edits that stay, edits that don't, whose it is, and what qemu-img says of its files. */
#include "formats/overlay-impl.h"
#include "overlay-kit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>

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

/* ---- what needs room, and gives it back ---- */

static uint64_t file_blocks(const struct kit_dir *d)
{
    char path[128];
    struct stat st;
    snprintf(path, sizeof path, "%s/disk0.qcow2", d->overlay);
    assert_int_equal(stat(path, &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

static void zeros_and_discards_take_no_room(void **state)
{
    (void)state;
    struct kit_dir dir;
    struct kit_source s;
    kit_dir_init(&dir);
    kit_source_init(&s, 64 * MIB, 1 << 20, 3);
    for (size_t i = 0; i < s.toy->n; i++)
        s.toy->extents[i].kind = 'D';
    static uint8_t mib[1 << 20];
    struct overlay *o = kit_open_ok(&dir, &s, 1);
    struct disk *d = overlay_disk(o, 0);
    assert_int_equal(disk_pwrite(d, mib, sizeof mib, 4 * MIB), 0);
    struct extent e;
    assert_int_equal(disk_map(d, 4 * MIB, MIB, &e), 0);
    assert_int_equal(e.kind, EXTENT_ZERO);
    assert_int_equal(e.length, MIB);
    assert_int_equal(e.depth, 0);
    assert_int_equal(disk_map_joined(d, 0, 64 * MIB, &e), 0);
    assert_int_equal(e.depth, 1);
    assert_int_equal(e.length, 4 * MIB);
    memset(mib, 1, sizeof mib);
    for (uint64_t at = 8; at < 40; at++)
        assert_int_equal(disk_pwrite(d, mib, sizeof mib, at * MIB), 0);
    kit_commit(o);
    assert_int_equal(disk_discard(d, 8 * MIB + 100, 32 * MIB - 200), 0);
    assert_int_equal(disk_map_joined(d, 8 * MIB + C, 64 * MIB, &e), 0);
    assert_int_equal(e.kind, EXTENT_ZERO);
    assert_int_equal(e.length, 32 * MIB - 2 * C);
    kit_commit(o);
    /* the same clusters serve again */
    for (uint64_t at = 8; at < 40; at++)
        assert_int_equal(disk_pwrite(d, mib, sizeof mib, at * MIB), 0);
    kit_commit(o);
    assert_true(file_blocks(&dir) < 40 * MIB + 16 * MIB); /* with what is set aside behind the end */
    assert_int_equal(disk_discard(d, 8 * MIB, 32 * MIB), 0);
    kit_commit(o);
    overlay_close(o);
    assert_true(file_blocks(&dir) < 2 * MIB);
    if (kit_have_qemu())
        assert_int_equal(kit_qemu_check(dir.overlay, 0, ""), 0);
    kit_source_done(&s);
    kit_dir_done(&dir);
}

static int byte_of(struct disk *d, uint64_t off)
{
    uint8_t c;
    assert_int_equal(disk_pread(d, &c, 1, off), 0);
    return c;
}

/* More L2 tables than slots: they are written before the commit, and read again. */
static void a_transaction_may_touch_everything(void **state)
{
    (void)state;
    enum { TABLES = 300, COVERAGE = 512 };
    struct kit_dir dir;
    struct kit_source s;
    kit_dir_init(&dir);
    kit_source_init(&s, (uint64_t)TABLES * COVERAGE * MIB, 1 << 24, 4);
    struct overlay *o = kit_open_ok(&dir, &s, 1);
    for (int round = 0; round < 2; round++) {
        for (uint64_t i = 0; i < TABLES; i++) {
            uint8_t sector[512];
            memset(sector, (int)(i + 1 + round), sizeof sector);
            assert_int_equal(
                disk_pwrite(overlay_disk(o, 0), sector, 512, i * COVERAGE * MIB + (uint64_t)round * C), 0);
        }
        if (!round)
            kit_commit(o);
    }
    kit_commit(o);
    overlay_close(o);
    if (kit_have_qemu())
        assert_int_equal(kit_qemu_check(dir.overlay, 0, ""), 0);
    o = kit_open_ok(&dir, &s, 1);
    for (uint64_t i = 0; i < TABLES; i++)
        for (int round = 0; round < 2; round++) {
            uint8_t sector[512];
            assert_int_equal(
                disk_pread(overlay_disk(o, 0), sector, 512, i * COVERAGE * MIB + (uint64_t)round * C), 0);
            assert_int_equal(sector[0], (uint8_t)(i + 1 + round));
        }
    overlay_close(o);
    kit_source_done(&s);
    kit_dir_done(&dir);
}

/* ---- readers beside writers ---- */

struct race {
    struct disk *disk;
    atomic_bool stop;
    uint64_t clusters;
};

/* A writer fills each cluster with one number, so a reader who sees two of them has seen half a write. */
static void *reader(void *arg)
{
    struct race *race = arg;
    uint64_t state = (uint64_t)(uintptr_t)&state;
    uint64_t *buf = malloc(2 * C);
    size_t bad = 0;
    while (!atomic_load(&race->stop)) {
        uint64_t i = toy_random(&state, race->clusters - 1);
        assert_int_equal(disk_pread(race->disk, buf, 2 * C, i * C), 0);
        for (size_t k = 0; k < 2; k++)
            for (size_t j = 1; j < C / 8; j++)
                bad += buf[k * C / 8 + j] != buf[k * C / 8];
    }
    free(buf);
    return (void *)bad;
}

static void readers_see_whole_clusters(void **state)
{
    (void)state;
    enum { READERS = 3, ROUNDS = 1500 };
    struct kit_dir dir;
    struct kit_source s;
    kit_dir_init(&dir);
    kit_source_init(&s, 600 * MIB, 4 << 20, 5);
    for (size_t i = 0; i < s.toy->n; i++)
        s.toy->extents[i].kind = '.';
    struct overlay *o = kit_open_ok(&dir, &s, 1);
    struct race race = { .disk = overlay_disk(o, 0), .clusters = 24 };
    pthread_t threads[READERS];
    for (int i = 0; i < READERS; i++)
        pthread_create(&threads[i], NULL, reader, &race);
    uint64_t seed = 11, *buf = malloc(4 * C);
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t n = 1 + toy_random(&seed, 3), at = toy_random(&seed, race.clusters - n);
        uint64_t value = toy_random(&seed, 4) ? toy_random(&seed, UINT64_MAX) : 0;
        for (size_t k = 0; k < n * C / 8; k++)
            buf[k] = value;
        if (toy_random(&seed, 8))
            assert_int_equal(disk_pwrite(race.disk, buf, n * C, at * C), 0);
        else
            assert_int_equal(disk_discard(race.disk, at * C, n * C), 0);
        if (round % 50 == 0)
            kit_commit(o);
    }
    atomic_store(&race.stop, true);
    for (int i = 0; i < READERS; i++) {
        void *bad;
        pthread_join(threads[i], &bad);
        assert_null(bad);
    }
    free(buf);
    overlay_close(o);
    kit_source_done(&s);
    kit_dir_done(&dir);
}

/* ---- whose it is ---- */

static int open_with(const struct kit_dir *d, struct kit_source *s, size_t n, bool rebind,
                     struct fault *fault)
{
    struct overlay *o = NULL;
    struct overlay_options options = { .rebind = rebind };
    *fault = (struct fault){ 0 };
    int r = kit_open(d, s, n, &options, &o, fault);
    overlay_close(o);
    return r;
}

static void it_is_bound_to_its_source(void **state)
{
    (void)state;
    struct kit_dir dir;
    struct kit_source s[2], other;
    struct fault fault;
    kit_dir_init(&dir);
    kit_source_init(&s[0], 32 * MIB, 1024, 6);
    kit_source_init(&s[1], 32 * MIB, 1024, 6);
    kit_source_init(&other, 32 * MIB, 1024, 7);
    s[0].layer.mtime.tv_sec = 1000;
    assert_int_equal(open_with(&dir, s, 1, false, &fault), 0);
    assert_int_equal(open_with(&dir, s, 1, false, &fault), 0);
    assert_int_equal(open_with(&dir, s, 2, false, &fault), -ESTALE);

    s[0].layer.mtime.tv_nsec = 1; /* touched */
    assert_int_equal(open_with(&dir, s, 1, false, &fault), -ESTALE);
    assert_non_null(strstr(fault.hint, "-o rebind"));
    assert_int_equal(open_with(&dir, s, 1, true, &fault), 0);
    assert_int_equal(open_with(&dir, s, 1, false, &fault), 0);

    struct kit_source t = s[0];
    t.layer.link_id[0] = 'd';
    t.image.layers = &t.layer;
    assert_int_equal(open_with(&dir, &t, 1, true, &fault), -ESTALE);
    assert_non_null(strstr(fault.what, "id differs"));
    t = s[0];
    t.image.layers = &t.layer;
    t.layer.file_size++;
    assert_int_equal(open_with(&dir, &t, 1, true, &fault), -ESTALE);
    assert_non_null(strstr(fault.what, "size differs"));
    other.layer.mtime = s[0].layer.mtime;
    assert_int_equal(open_with(&dir, &other, 1, true, &fault), -ESTALE);
    assert_non_null(strstr(fault.what, "content differs"));
    assert_int_equal(open_with(&dir, s, 1, false, &fault), 0); /* nothing of that has harmed it */

    /* a directory with somebody else's files */
    assert_int_equal(kit_run("rm %s/commit.json && echo hello >%s/disk0.qcow2", dir.overlay, dir.overlay), 0);
    assert_int_equal(open_with(&dir, s, 1, false, &fault), -EEXIST);
    assert_int_equal(kit_run("grep -q hello %s/disk0.qcow2", dir.overlay), 0);
    kit_source_done(&s[0]);
    kit_source_done(&s[1]);
    kit_source_done(&other);
    kit_dir_done(&dir);
}

static void *finish_soon(void *arg)
{
    nanosleep(&(struct timespec){ .tv_nsec = 300000000 }, NULL);
    overlay_close(arg);
    return NULL;
}

static void one_at_a_time(void **state)
{
    (void)state;
    struct kit_dir dir;
    struct kit_source s;
    struct fault fault = { 0 };
    kit_dir_init(&dir);
    kit_source_init(&s, 32 * MIB, 1024, 8);
    /* a lock file that a killed daemon left */
    assert_int_equal(
        kit_run("mkdir %s && echo 'pid 1\nstate mounted\nmountpoint /' >%s/lock", dir.overlay, dir.overlay),
        0);
    struct overlay *o = kit_open_ok(&dir, &s, 1), *second = NULL;
    /* not mounted yet, or any more: waited for as long as was said */
    struct overlay_options options = { .wait_seconds = 0 };
    assert_int_equal(kit_open(&dir, &s, 1, &options, &second, &fault), -EBUSY);
    assert_non_null(strstr(fault.what, "/mnt/toy"));
    if (kit_have_qemu()) /* QEMU keeps off too, but may look */
        assert_int_not_equal(kit_run("qemu-img check -q -r all %s/disk0.qcow2 2>/dev/null", dir.overlay), 0);
    overlay_finishing(o);
    pthread_t thread;
    pthread_create(&thread, NULL, finish_soon, o);
    options.wait_seconds = 20;
    assert_int_equal(kit_open(&dir, &s, 1, &options, &second, NULL), 0);
    pthread_join(thread, NULL);
    overlay_close(second);
    kit_source_done(&s);
    kit_dir_done(&dir);
}

static void scratch_leaves_nothing(void **state)
{
    (void)state;
    struct kit_dir dir;
    struct kit_source s[2];
    struct kit_model m;
    kit_dir_init(&dir);
    kit_source_init(&s[0], 600 * MIB, 1024, 9);
    kit_source_init(&s[1], 32 * MIB, 1024, 10);
    kit_model_init(&m, s[0].toy);
    const char *tmp = getenv("TMPDIR");
    _cleanup_free_ char *before = tmp ? strdup(tmp) : NULL;
    setenv("TMPDIR", dir.path, 1);
    struct overlay_source sources[] = { { .image = &s[0].image, .name = "a" },
                                        { .image = &s[1].image, .name = "b" } };
    struct overlay *o = NULL;
    assert_int_equal(overlay_open(&(struct overlay_options){ 0 }, sources, 2, &o, NULL), 0);
    uint64_t seed = 3;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(kit_step(overlay_disk(o, 0), &m, &seed), 0);
        if (i % 10 == 0)
            kit_commit(o);
    }
    kit_check_all(&m, overlay_disk(o, 0));
    assert_int_equal(overlay_note_set(o, "k", "v"), 0);
    kit_commit(o);
    assert_int_equal(overlay_generation(o), 11);
    assert_int_equal(rmdir(dir.path), 0); /* nothing is in it */
    overlay_close(o);
    if (before)
        setenv("TMPDIR", before, 1);
    else
        unsetenv("TMPDIR");
    kit_model_done(&m);
    kit_source_done(&s[0]);
    kit_source_done(&s[1]);
}

static void notes_are_committed_with_the_rest(void **state)
{
    (void)state;
    struct kit_dir dir;
    struct kit_source s;
    kit_dir_init(&dir);
    kit_source_init(&s, 32 * MIB, 1024, 12);
    struct overlay *o = kit_open_ok(&dir, &s, 1);
    static const char text[] = "line\n\"quoted\" \\ \x01 \xc3\xa4 \xff";
    assert_null(overlay_note(o, "deleted"));
    assert_int_equal(overlay_note_set(o, "deleted", text), 0);
    assert_int_equal(overlay_note_set(o, "gone", "x"), 0);
    assert_true(overlay_is_dirty(o));
    kit_commit(o);
    assert_int_equal(overlay_note_set(o, "gone", NULL), 0);
    kit_commit(o);
    assert_int_equal(overlay_note_set(o, "late", "never committed"), 0);
    char *large = calloc(1, (1 << 20) + 1);
    memset(large, 'x', 1 << 20);
    assert_int_equal(overlay_note_set(o, "large", large), -EFBIG);
    free(large);
    overlay_close(o);
    o = kit_open_ok(&dir, &s, 1);
    assert_string_equal(overlay_note(o, "deleted"), text);
    assert_null(overlay_note(o, "gone"));
    assert_null(overlay_note(o, "late"));
    assert_int_equal(overlay_generation(o), 2);
    overlay_close(o);
    kit_source_done(&s);
    kit_dir_done(&dir);
}

static void check_files(struct overlay *o)
{
    uint8_t *bytes = NULL;
    size_t n = 0;
    static const char *const bad[] = { "", ".hidden", "a/b", "../a", "A", "a b" };
    assert_int_equal(overlay_file_read(o, "one", 100, &bytes, &n), -ENOENT);
    assert_int_equal(overlay_file_write(o, "one", "a\0b", 3), 0);
    assert_int_equal(overlay_file_write(o, "two", "", 0), 0);
    assert_int_equal(overlay_file_write(o, "one", "other", 5), 0);
    assert_int_equal(overlay_file_read(o, "one", 4, &bytes, &n), -EFBIG);
    assert_int_equal(overlay_file_read(o, "one", 5, &bytes, &n), 0);
    assert_int_equal(n, 5);
    assert_memory_equal(bytes, "other", 5);
    free(bytes);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(overlay_file_write(o, bad[i], "x", 1), -EINVAL);
        assert_int_equal(overlay_file_read(o, bad[i], 100, &bytes, &n), -EINVAL);
    }
    overlay_file_remove(o, "two");
    assert_int_equal(overlay_file_read(o, "two", 100, &bytes, &n), -ENOENT);
}

static void files_beside_the_disks(void **state)
{
    (void)state;
    struct kit_dir dir;
    struct kit_source s;
    uint8_t *bytes = NULL;
    size_t n;
    kit_dir_init(&dir);
    kit_source_init(&s, 32 * MIB, 1024, 12);
    struct overlay *o = kit_open_ok(&dir, &s, 1);
    check_files(o);
    overlay_close(o);
    o = kit_open_ok(&dir, &s, 1); /* it is there again, and in nobody's way */
    assert_int_equal(overlay_file_read(o, "one", 5, &bytes, &n), 0);
    free(bytes);
    overlay_file_remove(o, "one");
    overlay_close(o);
    struct overlay_source source = { .image = &s.image, .name = "a" };
    assert_int_equal(overlay_open(&(struct overlay_options){ 0 }, &source, 1, &o, NULL), 0);
    check_files(o); /* scratch */
    overlay_close(o);
    kit_source_done(&s);
    kit_dir_done(&dir);
}

/* Records that no note names go at the next open; what is named, or isn't a record, stays. */
static void orphaned_records_go(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool stays;
    } files[] = {
        { "record-kvm-0123456789abcdef", true },       /* noted */
        { "record-kvm-0123456789abcdee", false },      /* as long as a noted one */
        { "record-kvm-0123456789abcdef.new", false },  /* was being written */
        { "record-hyperv-fedcba9876543210", false },   /* its note wasn't committed */
        { "record-notes-of-mine", true },              /* no digest */
        { "record-kvm-0123456789abcdeg", true },       /* likewise */
        { "record-kvm-0123456789abcdef.new.1", true }, /* likewise */
        { "recording-0123456789abcdef", true },
    };
    struct kit_dir dir;
    struct kit_source s;
    kit_dir_init(&dir);
    kit_source_init(&s, 32 * MIB, 1024, 12);
    struct overlay *o = kit_open_ok(&dir, &s, 1);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        assert_int_equal(overlay_file_write(o, files[i].name, "x", 1), 0);
    assert_int_equal(overlay_note_set(o, "record.kvm", "record-kvm-0123456789abcdef 01234"), 0);
    kit_commit(o);
    assert_int_equal(overlay_note_set(o, "record.hyperv", "record-hyperv-fedcba9876543210 f"), 0);
    overlay_close(o);
    assert_int_equal(kit_run("mkdir %s/record-dir-0123456789abcdef && ln -s disk0.qcow2 "
                             "%s/record-link-0123456789abcdef",
                             dir.overlay, dir.overlay),
                     0);
    o = kit_open_ok(&dir, &s, 1);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        uint8_t *bytes = NULL;
        size_t n;
        int r = overlay_file_read(o, files[i].name, 10, &bytes, &n);
        assert_int_equal(r, files[i].stays ? 0 : -ENOENT);
        free(bytes);
    }
    assert_int_equal(
        kit_run("test -d %s/record-dir-0123456789abcdef && test -L %s/record-link-0123456789abcdef",
                dir.overlay, dir.overlay),
        0);
    overlay_close(o);
    kit_source_done(&s);
    kit_dir_done(&dir);
}

/* The guest was run from the overlay meanwhile: its writes are there, and are a generation of their own. */
static void what_qemu_writes_is_taken_over(void **state)
{
    (void)state;
    struct kit_dir dir;
    struct kit_source s;
    struct kit_model m;
    if (!kit_have_qemu()) {
        print_message("SKIP: qemu-img isn't here\n");
        return;
    }
    kit_dir_init(&dir);
    kit_source_init(&s, 600 * MIB, 1024, 13);
    kit_model_init(&m, s.toy);
    struct overlay *o = kit_open_ok(&dir, &s, 1);
    uint64_t seed = 5;
    for (int i = 0; i < 20; i++)
        assert_int_equal(kit_step(overlay_disk(o, 0), &m, &seed), 0);
    kit_commit(o);
    struct timespec before = overlay_time(o);
    overlay_close(o);
    static uint8_t buf[3 * C];
    memset(buf, 0x77, sizeof buf);
    kit_model_write(&m, buf, sizeof buf, 9 * C);
    memset(buf, 0, sizeof buf);
    kit_model_write(&m, buf, sizeof buf, 530 * MIB);
    assert_int_equal(kit_run("qemu-io -c 'write -P 0x77 %d %d' -c 'write -z 530M %d' -c 'discard 100M 1M' "
                             "'json:{\"driver\":\"qcow2\",\"backing\":null,\"discard\":\"unmap\",\"file\":"
                             "{\"driver\":\"file\",\"filename\":\"%s/disk0.qcow2\"}}' >/dev/null",
                             9 * C, 3 * C, 3 * C, dir.overlay),
                     0);
    o = kit_open_ok(&dir, &s, 1);
    assert_int_equal(overlay_generation(o), 2);
    assert_true(overlay_time(o).tv_sec >= before.tv_sec);
    assert_true(kit_model_agrees(&m, overlay_disk(o, 0), sizeof buf, 9 * C));
    assert_true(kit_model_agrees(&m, overlay_disk(o, 0), sizeof buf, 530 * MIB));
    memset(buf, 3, sizeof buf);
    assert_int_equal(disk_pwrite(overlay_disk(o, 0), buf, sizeof buf, 530 * MIB + 512), 0);
    kit_commit(o);
    assert_int_equal(overlay_generation(o), 3);
    overlay_close(o);
    assert_int_equal(kit_qemu_check(dir.overlay, 0, ""), 0);
    /* snapshots of QEMU's can't be kept */
    assert_int_equal(
        kit_run("cd %s && qemu-img rebase -u -b '' disk0.qcow2 && qemu-img snapshot -c s disk0.qcow2",
                dir.overlay),
        0);
    struct fault fault = { 0 };
    assert_int_equal(open_with(&dir, &s, 1, false, &fault), -ENOTSUP);
    assert_int_equal(kit_run("qemu-img snapshot -d s %s/disk0.qcow2", dir.overlay), 0);
    assert_int_equal(open_with(&dir, &s, 1, false, &fault), 0);
    kit_model_done(&m);
    kit_source_done(&s);
    kit_dir_done(&dir);
}

/* Bytes of the file that make no sense: refused, naming file and byte, never a crash. */
static void damage_is_refused(void **state)
{
    (void)state;
    struct kit_dir dir;
    struct kit_source s;
    struct kit_model m;
    kit_dir_init(&dir);
    kit_source_init(&s, 600 * MIB, 1024, 14);
    kit_model_init(&m, s.toy);
    struct overlay *o = kit_open_ok(&dir, &s, 1);
    uint64_t seed = 6;
    for (int i = 0; i < 10; i++)
        assert_int_equal(kit_step(overlay_disk(o, 0), &m, &seed), 0);
    kit_commit(o);
    overlay_close(o);
    assert_int_equal(kit_run("cp -r %s %s/good", dir.overlay, dir.path), 0);
    size_t refused = 0;
    for (int i = 0; i < 200; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/disk0.qcow2", dir.overlay);
        int fd = open(path, O_RDWR);
        struct stat st;
        assert_int_equal(fstat(fd, &st), 0);
        uint8_t byte = (uint8_t)toy_random(&seed, 256);
        /* the header, and wherever else tables may be */
        off_t at = i % 2 ? (off_t)toy_random(&seed, 120)
                         : (off_t)(toy_random(&seed, (uint64_t)st.st_size / C) * C + i);
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        close(fd);
        struct fault fault = { 0 };
        int r = open_with(&dir, &s, 1, false, &fault);
        assert_true(!r || fault.what[0]);
        refused += r < 0;
        kit_run("rm -rf %s && cp -r %s/good %s", dir.overlay, dir.path, dir.overlay);
    }
    assert_true(refused > 40);
    kit_model_done(&m);
    kit_source_done(&s);
    kit_dir_done(&dir);
}

static ssize_t no_pwrite(int fd, const void *buf, size_t n, off_t off)
{
    (void)fd, (void)buf, (void)n, (void)off;
    errno = EIO;
    return -1;
}

static int first_ftruncate_fails(int fd, off_t size)
{
    static bool failed;
    if (!failed) {
        failed = true;
        errno = ENOSPC;
        return -1;
    }
    return ftruncate(fd, size);
}

/* What a killed daemon has left is as it was when the next mount gets only half-way. */
static void an_opening_that_fails_harms_nothing(void **state)
{
    (void)state;
    struct kit_dir dir;
    struct kit_source s[2], t[2];
    struct kit_model m[2];
    uint64_t seed = 8;
    kit_dir_init(&dir);
    for (int i = 0; i < 2; i++) {
        kit_source_init(&s[i], 64 * MIB, 1024, 20 + i);
        kit_model_init(&m[i], s[i].toy);
    }
    struct overlay *o = kit_open_ok(&dir, s, 2);
    for (int i = 0; i < 20; i++)
        assert_int_equal(kit_step(overlay_disk(o, i % 2), &m[i % 2], &seed), 0);
    kit_commit(o);
    assert_int_equal(kit_run("cp -r %s %s/killed", dir.overlay, dir.path), 0);
    overlay_close(o);
    assert_int_equal(kit_run("rm -rf %s && cp -r %s/killed %s", dir.overlay, dir.path, dir.overlay), 0);

    struct fault fault;
    t[0] = s[0], t[1] = s[1];
    for (int i = 0; i < 2; i++)
        t[i].image.layers = &t[i].layer;
    t[1].layer.file_size++;
    assert_int_equal(open_with(&dir, t, 2, false, &fault), -ESTALE);
    assert_int_equal(kit_run("diff -r -x lock %s %s/killed", dir.overlay, dir.path), 0);

    struct overlay_io fails = overlay_io_system;
    struct overlay_options options = { .io = &fails };
    fails.pwrite = no_pwrite;
    assert_int_equal(kit_open(&dir, s, 2, &options, &o, &fault), -EIO);
    fails.pwrite = pwrite;
    fails.ftruncate = first_ftruncate_fails;
    assert_int_equal(kit_open(&dir, s, 2, &options, &o, &fault), -ENOSPC);

    o = kit_open_ok(&dir, s, 2);
    for (size_t i = 0; i < 2; i++)
        kit_check_all(&m[i], overlay_disk(o, i));
    overlay_close(o);
    for (size_t i = 0; i < 2; i++) {
        if (kit_have_qemu())
            assert_int_equal(kit_qemu_check(dir.overlay, i, ""), 0);
        kit_model_done(&m[i]);
        kit_source_done(&s[i]);
    }
    kit_dir_done(&dir);
}

/* A host whose disk has room for a file of so many bytes. */
static off_t host_limit;

static ssize_t limited_pwrite(int fd, const void *buf, size_t n, off_t off)
{
    if (off + (off_t)n > host_limit) {
        errno = ENOSPC;
        return -1;
    }
    return pwrite(fd, buf, n, off);
}

static int limited_fallocate(int fd, int mode, off_t off, off_t len)
{
    if (!(mode & FALLOC_FL_PUNCH_HOLE) && off + len > host_limit) {
        errno = ENOSPC;
        return -1;
    }
    return fallocate(fd, mode, off, len);
}

/* Data doesn't take what a commit needs; and what is given back serves again. */
static void a_full_host_leaves_room_for_a_commit(void **state)
{
    (void)state;
    struct kit_dir dir;
    struct kit_source s;
    struct fault fault;
    struct overlay *o;
    static uint8_t mib[1 << 20];
    kit_dir_init(&dir);
    kit_source_init(&s, 256 * MIB, 1 << 20, 3);
    struct overlay_io limited = overlay_io_system;
    struct overlay_options options = { .io = &limited };
    limited.pwrite = limited_pwrite;
    limited.fallocate = limited_fallocate;
    host_limit = 40 * MIB;
    assert_int_equal(kit_open(&dir, &s, 1, &options, &o, &fault), 0);
    struct disk *d = overlay_disk(o, 0);
    assert_int_equal(disk_room(d), ROOM_PLENTY);
    int r = 0;
    uint64_t at = 0;
    for (; r == 0 && at < 64; at++) {
        memset(mib, (int)at + 1, sizeof mib);
        r = disk_pwrite(d, mib, sizeof mib, at * MIB);
    }
    assert_int_equal(r, -ENOSPC);
    assert_true(at > 28 && at < 34);             /* all but what is set aside */
    assert_int_equal(disk_room(d), ROOM_PLENTY); /* what is set aside is whole */
    assert_int_equal(disk_pwrite_last(d, mib, C, 200 * MIB), 0);
    assert_int_equal(disk_room(d), ROOM_LOW);
    kit_commit(o);
    for (uint64_t i = 0; i + 1 < at; i++)
        assert_int_equal(byte_of(d, i * MIB + 5), i + 1);
    /* metadata goes on, and is committed, over and over: what it replaces is free again */
    for (int i = 0; i < 10; i++) {
        for (uint64_t k = 0; k < 10; k++)
            assert_int_equal(disk_pwrite_last(d, &i, 1, k * MIB + 7), 0);
        kit_commit(o);
    }
    assert_int_equal(byte_of(d, 9 * MIB + 7), 9);
    assert_int_equal(disk_pwrite(d, mib, sizeof mib, 100 * MIB), -ENOSPC);
    /* nobody takes the last of it but a commit */
    while (disk_room(d) > ROOM_LAST)
        assert_int_equal(disk_pwrite_last(d, mib, C, (at++) * MIB), 0);
    kit_commit(o);
    assert_int_equal(disk_discard(d, 0, 20 * MIB), 0);
    kit_commit(o);
    assert_int_equal(disk_room(d), ROOM_PLENTY);
    assert_int_equal(disk_pwrite(d, mib, sizeof mib, 100 * MIB), 0);
    kit_commit(o);
    overlay_close(o);
    if (kit_have_qemu())
        assert_int_equal(kit_qemu_check(dir.overlay, 0, ""), 0);
    kit_source_done(&s);
    kit_dir_done(&dir);
}

/* Where there is hardly any room from the start, less is set aside, down to nothing. */
static void a_small_host_is_written_too(void **state)
{
    (void)state;
    for (off_t limit = MIB; limit <= (off_t)(8 * MIB); limit *= 2) {
        struct kit_dir dir;
        struct kit_source s;
        struct fault fault;
        struct overlay *o;
        kit_dir_init(&dir);
        kit_source_init(&s, 64 * MIB, 1 << 20, 3);
        struct overlay_io limited = overlay_io_system;
        struct overlay_options options = { .io = &limited };
        limited.pwrite = limited_pwrite;
        limited.fallocate = limited_fallocate;
        host_limit = limit;
        assert_int_equal(kit_open(&dir, &s, 1, &options, &o, &fault), 0);
        assert_int_equal(disk_room(overlay_disk(o, 0)), ROOM_PLENTY);
        assert_int_equal(disk_pwrite(overlay_disk(o, 0), "x", 1, MIB), 0);
        kit_commit(o);
        overlay_close(o);
        kit_source_done(&s);
        kit_dir_done(&dir);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edits_are_there_again),
        cmocka_unit_test(zeros_and_discards_take_no_room),
        cmocka_unit_test(a_full_host_leaves_room_for_a_commit),
        cmocka_unit_test(a_small_host_is_written_too),
        cmocka_unit_test(a_transaction_may_touch_everything),
        cmocka_unit_test(readers_see_whole_clusters),
        cmocka_unit_test(it_is_bound_to_its_source),
        cmocka_unit_test(one_at_a_time),
        cmocka_unit_test(scratch_leaves_nothing),
        cmocka_unit_test(notes_are_committed_with_the_rest),
        cmocka_unit_test(files_beside_the_disks),
        cmocka_unit_test(orphaned_records_go),
        cmocka_unit_test(what_qemu_writes_is_taken_over),
        cmocka_unit_test(damage_is_refused),
        cmocka_unit_test(an_opening_that_fails_harms_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
