/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The overlay when the power fails at each of its calls, and when each of its calls fails: what was committed
 * is there, the next commit is there whole, over all disks, or not at all, and QEMU takes the files too. */
#include "overlay-power.h"

#define MIB (UINT64_C(1) << 20)
enum { STEPS = 36, STEPS_PER_COMMIT = 5, MAX_DISKS = 2 };

struct run {
    struct kit_dir dir;
    struct kit_source s[MAX_DISKS];
    struct kit_model now[MAX_DISKS], committed[MAX_DISKS];
    size_t n;
    uint64_t seed;
    bool committing; /* when it ended */
};

static void run_init(struct run *r, size_t n, uint64_t seed)
{
    memset(r, 0, sizeof *r);
    r->n = n;
    r->seed = seed;
    kit_dir_init(&r->dir);
    for (size_t i = 0; i < n; i++) {
        kit_source_init(&r->s[i], 520 * MIB + 1536 * i, 512, seed + i);
        kit_model_init(&r->now[i], r->s[i].toy);
        kit_model_init(&r->committed[i], r->s[i].toy);
        r->now[i].small = true;
    }
}

static void run_done(struct run *r)
{
    for (size_t i = 0; i < r->n; i++) {
        kit_model_done(&r->now[i]);
        kit_model_done(&r->committed[i]);
        kit_source_done(&r->s[i]);
    }
    kit_dir_done(&r->dir);
}

static int run_open(struct run *r, const char *dir, const struct overlay_io *io, struct overlay **ret,
                    struct fault *fault)
{
    struct kit_dir at = r->dir;
    if (dir)
        snprintf(at.overlay, sizeof at.overlay, "%s", dir);
    struct overlay_options o = { .io = io };
    return kit_open(&at, r->s, r->n, &o, ret, fault);
}

static void keep(struct run *r)
{
    for (size_t i = 0; i < r->n; i++)
        kit_model_copy(&r->committed[i], &r->now[i]);
}

static int commit(struct run *r, struct overlay *o)
{
    r->committing = true;
    int e = overlay_commit(o, NULL);
    if (e < 0)
        return e;
    r->committing = false;
    keep(r);
    return 0;
}

/* The bytes of a step that failed: each sector is as it was or as it was to be, and the model takes it over.
 */
static void take_over(struct run *r, struct overlay *o, size_t i)
{
    uint8_t got[KIT_SECTOR];
    struct kit_model *m = &r->now[i];
    for (uint64_t at = 0; at < m->size / KIT_SECTOR; at++) {
        uint64_t off = at * KIT_SECTOR;
        if (off > MIB && off < 511 * MIB)
            continue;
        assert_int_equal(disk_pread(overlay_disk(o, i), got, sizeof got, off), 0);
        kit_model_write(m, got, sizeof got, off);
    }
}

/* Opens, writes and commits until the end, or until the power is off. `tolerant`: errors are gone on from. */
static struct overlay *work(struct run *r, bool tolerant)
{
    struct overlay *o = NULL;
    uint64_t state = toy_mix(r->seed);
    int e = run_open(r, NULL, &power_io, &o, NULL);
    if (e < 0 && tolerant) /* a failed call only fails the opening */
        e = run_open(r, NULL, &power_io, &o, NULL);
    if (e < 0) {
        assert_true(power.off);
        return NULL;
    }
    for (int i = 0; i < STEPS; i++) {
        size_t k = toy_random(&state, r->n);
        e = kit_step(overlay_disk(o, k), &r->now[k], &state);
        if (e < 0 && power.off)
            return o;
        if (e < 0) {
            assert_true(tolerant);
            take_over(r, o, k);
        }
        if (i % STEPS_PER_COMMIT == STEPS_PER_COMMIT - 1 && commit(r, o) < 0 && power.off)
            return o;
    }
    return o;
}

static bool all_agree(struct run *r, struct overlay *o, const struct kit_model *m)
{
    enum { STEP = 65536 };
    for (size_t i = 0; i < r->n; i++)
        for (uint64_t off = 0; off < m[i].size; off += STEP)
            if ((off < MIB || off > 511 * MIB) &&
                !kit_model_agrees(&m[i], overlay_disk(o, i), (size_t)min_u64(STEP, m[i].size - off), off))
                return false;
    return true;
}

static void check_files(struct run *r, const char *dir, const char *more)
{
    for (size_t i = 0; i < r->n; i++)
        assert_int_equal(kit_qemu_check(dir, i, more), 0);
}

/* What the next mount finds in `dir`: and it can go on from there. */
static void check_opens(struct run *r, const char *dir, bool qemu)
{
    struct overlay *o = NULL;
    struct fault fault = { 0 };
    int e = run_open(r, dir, NULL, &o, &fault);
    if (e < 0)
        fail_msg("can't be opened: %d %s: %s", e, fault.file, fault.what);
    bool next = !all_agree(r, o, r->committed);
    if (next && !(r->committing && all_agree(r, o, r->now)))
        fail_msg("call %llu of %zu disks: %s", (unsigned long long)power.at, r->n,
                 r->committing ? "neither the last commit nor the next one is there"
                               : "the last commit isn't there");
    if (next)
        keep(r);
    for (size_t i = 0; i < r->n; i++)
        kit_model_copy(&r->now[i], &r->committed[i]);
    uint64_t state = r->seed + 99;
    for (int i = 0; i < 4; i++)
        assert_int_equal(kit_step(overlay_disk(o, i % r->n), &r->now[i % r->n], &state), 0);
    assert_int_equal(commit(r, o), 0);
    assert_true(all_agree(r, o, r->now));
    overlay_close(o);
    if (qemu)
        check_files(r, dir, "");
}

static void power_fails_at(size_t disks, uint64_t at, uint64_t seed, bool qemu)
{
    struct run r;
    run_init(&r, disks, seed);
    power_reset(POWER_OFF_AT, at, EIO, seed + at);
    struct overlay *o = work(&r, false);
    bool committing = r.committing;
    if (o && !power.off) { /* it fails while the overlay is closed, after the last commit */
        committing = false;
    }
    char disk[96], copy[112];
    snprintf(disk, sizeof disk, "%s/disk", r.dir.path);
    snprintf(copy, sizeof copy, "%s/copy", r.dir.path);
    if (power.off && o) {
        power.dir_fd = openat(AT_FDCWD, r.dir.overlay, O_RDONLY | O_DIRECTORY);
        power_save(disk);
        close(power.dir_fd);
        overlay_close(o);
    } else {
        overlay_close(o);
        power.dir_fd = openat(AT_FDCWD, r.dir.overlay, O_RDONLY | O_DIRECTORY);
        power_save(disk);
        close(power.dir_fd);
    }
    r.committing = committing;
    char store[128];
    snprintf(store, sizeof store, "%s/commit.json", disk);
    if (qemu && access(store, F_OK) == 0) {
        /* QEMU mends the files as well, and what it has mended is what we find. Where a commit of several
         * disks was cut short between the headers it can't know, and we refuse what it has made of them. */
        kit_run("cp -r %s %s", disk, copy);
        check_files(&r, copy, "-r all");
        check_files(&r, copy, "");
        struct overlay *mended = NULL;
        struct fault fault = { 0 };
        int e = run_open(&r, copy, NULL, &mended, &fault);
        if (r.n > 1 && e == -EUCLEAN)
            e = 0;
        else if (!e)
            assert_true(all_agree(&r, mended, r.committed) || (r.committing && all_agree(&r, mended, r.now)));
        if (e < 0)
            fail_msg("call %llu of %zu disks: what QEMU has mended can't be opened: %d %s: %s",
                     (unsigned long long)at, disks, e, fault.file, fault.what);
        overlay_close(mended);
    }
    check_opens(&r, disk, qemu);
    run_done(&r);
}

static void call_fails_at(size_t disks, uint64_t at, uint64_t seed, int error, bool qemu)
{
    struct run r;
    run_init(&r, disks, seed);
    power_reset(POWER_FAIL_AT, at, error, seed + at);
    struct overlay *o = work(&r, true);
    assert_non_null(o);
    assert_true(all_agree(&r, o, r.now));
    struct fault fault = { 0 };
    int e = overlay_commit(o, &fault);
    if (e < 0 && !power.failed_sync) /* it was this one */
        e = overlay_commit(o, &fault);
    if (!e)
        keep(&r);
    r.committing = e < 0;
    /* only a failed sync is for good; all else was made up for */
    if (e < 0 && !power.failed_sync)
        fail_msg("a failed call, %llu of %zu disks, breaks the commits after it: %s", (unsigned long long)at,
                 disks, fault.what);
    overlay_close(o);
    check_opens(&r, r.dir.overlay, qemu);
    run_done(&r);
}

/* How many calls there are when none fails. */
static uint64_t count_calls(size_t disks, uint64_t seed)
{
    struct run r;
    run_init(&r, disks, seed);
    power_reset(POWER_ON, 0, 0, seed);
    struct overlay *o = work(&r, false);
    assert_int_equal(commit(&r, o), 0);
    overlay_close(o);
    run_done(&r);
    assert_true(power.calls > 50);
    return power.calls;
}

/* By default every fourth point (sanitized: every 300th), another one for each seed; all of them with
 * FERRYFS_EVERY=1. */
static uint64_t every(void)
{
    const char *s = getenv("FERRYFS_EVERY");
    return s ? max_u64(1, strtoull(s, NULL, 0)) : UNIT_SANITIZED ? 300 : 4;
}

/* Of how many points one is shown to qemu-img, which isn't sanitized itself. */
enum { QEMU_EACH = UNIT_SANITIZED ? 3000 : 40 };

static void power_fails(void **state)
{
    (void)state;
    bool qemu = kit_have_qemu();
    uint64_t seed = toy_seed();
    for (size_t disks = 1; disks <= MAX_DISKS; disks++) {
        uint64_t n = count_calls(disks, seed);
        for (uint64_t at = 1 + seed % every(); at <= n; at += every())
            power_fails_at(disks, at, seed, qemu && (at + seed) % QEMU_EACH < every());
    }
}

static void calls_fail(void **state)
{
    (void)state;
    bool qemu = kit_have_qemu();
    uint64_t seed = toy_seed();
    for (size_t disks = 1; disks <= MAX_DISKS; disks++) {
        uint64_t n = count_calls(disks, seed);
        for (uint64_t at = 1 + seed % every(); at <= n; at += every())
            call_fails_at(disks, at, seed, at / every() % 2 ? ENOSPC : EIO,
                          qemu && (at + seed) % QEMU_EACH < every());
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_fail),
        cmocka_unit_test(power_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
