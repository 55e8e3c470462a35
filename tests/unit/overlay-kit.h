/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_TESTS_OVERLAY_KIT_H
#define FERRYFS_TESTS_OVERLAY_KIT_H
/* What the tests of the overlay share: sources that take no room, a model of what the disk over each should
 * read as, a directory of their own, and qemu-img as the oracle for the files. */
#include "formats/image.h"
#include "formats/overlay.h"
#include "toy-disk.h"

#include <ftw.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct kit_source {
    struct image image;
    struct layer_info layer;
    struct toy *toy;
};

/* Data, zeros and holes, and stretches of several clusters of each. */
static inline void kit_source_init(struct kit_source *s, uint64_t size, uint64_t mean, uint64_t seed)
{
    s->toy = toy_new_random(size, mean, "DDZ.", seed);
    s->layer = (struct layer_info){
        .format = "vmdk", .file = (char *)"toy", .virtual_size = size, .file_size = size, .link_id = "c0ffee"
    };
    s->image = (struct image){ .disk = &s->toy->disk, .layers = &s->layer, .n_layers = 1 };
}

static inline void kit_source_done(struct kit_source *s)
{
    disk_close(&s->toy->disk);
}

/* The disk as it should be: the source's bytes where nothing was written. A byte for each sector says whether
 * `bytes`, which is only as large as what was touched, has it. */
enum { KIT_SECTOR = 512 };
struct kit_model {
    const struct toy *source;
    uint64_t size;
    bool small; /* steps go to two places only, at the beginning and where the second L2 table begins */
    uint8_t *bytes, *written;
};

static inline void kit_model_init(struct kit_model *m, const struct toy *source)
{
    *m = (struct kit_model){ .source = source, .size = source->disk.size };
    m->bytes =
        mmap(NULL, m->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_ptr_not_equal(m->bytes, MAP_FAILED);
    m->written = calloc(1, m->size / KIT_SECTOR);
}

static inline void kit_model_done(struct kit_model *m)
{
    munmap(m->bytes, m->size);
    free(m->written);
}

/* Writes are of whole sectors. */
static inline void kit_model_write(struct kit_model *m, const void *buf, size_t len, uint64_t off)
{
    memcpy(m->bytes + off, buf, len);
    memset(m->written + off / KIT_SECTOR, 1, len / KIT_SECTOR);
}

static inline void kit_model_read(const struct kit_model *m, uint8_t *buf, size_t len, uint64_t off)
{
    for (size_t done = 0; done < len; done += KIT_SECTOR) {
        if (m->written[(off + done) / KIT_SECTOR])
            memcpy(buf + done, m->bytes + off + done, KIT_SECTOR);
        else
            toy_fill(m->source, buf + done, KIT_SECTOR, off + done);
    }
}

static inline void kit_model_copy(struct kit_model *to, const struct kit_model *from)
{
    for (uint64_t i = 0; i < from->size / KIT_SECTOR; i++)
        if (from->written[i] && memcmp(to->bytes + i * KIT_SECTOR, from->bytes + i * KIT_SECTOR, KIT_SECTOR))
            memcpy(to->bytes + i * KIT_SECTOR, from->bytes + i * KIT_SECTOR, KIT_SECTOR);
    memcpy(to->written, from->written, from->size / KIT_SECTOR);
}

/* Does [off, off + len) of the disk read as the model says? */
static inline bool kit_model_agrees(const struct kit_model *m, struct disk *d, size_t len, uint64_t off)
{
    uint8_t *got = malloc(len), *want = malloc(len);
    kit_model_read(m, want, len, off);
    bool same = disk_pread(d, got, len, off) == 0 && !memcmp(got, want, len);
    free(got);
    free(want);
    return same;
}

/* The same for all that was written, and a sample of the rest; and where the map says that there is no data,
 * the model has zeros. */
static inline void kit_check_all(const struct kit_model *m, struct disk *d)
{
    enum { STEP = 1 << 16, SAMPLE = 256 };
    static uint8_t want[STEP];
    for (uint64_t off = 0; off < m->size; off += STEP) {
        size_t len = (size_t)min_u64(STEP, m->size - off);
        if (off / STEP % SAMPLE && !memchr(m->written + off / KIT_SECTOR, 1, len / KIT_SECTOR))
            continue;
        if (!kit_model_agrees(m, d, len, off))
            fail_msg("the disk differs in the cluster at %llu", (unsigned long long)off);
        kit_model_read(m, want, len, off);
        for (uint64_t done = 0; done < len;) {
            struct extent e;
            assert_int_equal(disk_map(d, off + done, len - done, &e), 0);
            assert_int_equal(done % KIT_SECTOR, 0);
            if (e.kind != EXTENT_DATA)
                assert_true(want[done] == 0 && !memcmp(want + done, want + done + 1, (size_t)e.length - 1));
            done += e.length;
        }
    }
}

struct kit_dir {
    char path[64], overlay[80];
};

static inline void kit_dir_init(struct kit_dir *d)
{
    const char *tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/var/tmp"; /* thousands of small files */
    snprintf(d->path, sizeof d->path, "%s/ferryfs-overlay-XXXXXX", tmp);
    assert_non_null(mkdtemp(d->path));
    snprintf(d->overlay, sizeof d->overlay, "%s/ov", d->path);
}

static inline int kit_run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static inline int kit_run(const char *fmt, ...)
{
    char command[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(command, sizeof command, fmt, ap);
    va_end(ap);
    int r = system(command);
    return WIFEXITED(r) ? WEXITSTATUS(r) : -1;
}

static int kit_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static inline void kit_dir_done(struct kit_dir *d)
{
    nftw(d->path, kit_remove, 16, FTW_DEPTH | FTW_PHYS);
}

static inline bool kit_have_qemu(void)
{
    return kit_run("command -v qemu-img >/dev/null") == 0;
}

/* The exit status of qemu-img check, which doesn't look at the backing file; 0: nothing to say, 2: damaged,
 * 3: leaks. `more` are further options. */
static inline int kit_qemu_check(const char *dir, size_t disk, const char *more)
{
    return kit_run("qemu-img check -q %s 'json:{\"driver\":\"qcow2\",\"backing\":null,"
                   "\"file\":{\"driver\":\"file\",\"filename\":\"%s/disk%zu.qcow2\"}}' >%s/check.log 2>&1 ||"
                   " { r=$?; cat %s/check.log; exit $r; }",
                   more, dir, disk, dir, dir);
}

/* Opens the overlay of these sources in d/ov. */
static inline int kit_open(const struct kit_dir *d, struct kit_source *s, size_t n, struct overlay_options *o,
                           struct overlay **ret, struct fault *fault)
{
    struct overlay_source sources[4] = { 0 };
    for (size_t i = 0; i < n; i++)
        sources[i] = (struct overlay_source){ .image = &s[i].image, .name = "/srv/toy.vmdk" };
    struct overlay_options options = o ? *o : (struct overlay_options){ 0 };
    options.dir = d->overlay;
    if (!options.mountpoint)
        options.mountpoint = "/mnt/toy";
    return overlay_open(&options, sources, n, ret, fault);
}

static inline struct overlay *kit_open_ok(const struct kit_dir *d, struct kit_source *s, size_t n)
{
    struct overlay *o = NULL;
    struct fault fault = { 0 };
    int r = kit_open(d, s, n, NULL, &o, &fault);
    if (r < 0) {
        char text[2048];
        fault_format(&fault, text, sizeof text);
        fail_msg("overlay_open: %d, %s", r, text);
    }
    return o;
}

static inline void kit_commit(struct overlay *o)
{
    struct fault fault = { 0 };
    int r = overlay_commit(o, &fault);
    if (r < 0)
        fail_msg("overlay_commit: %d, %s", r, fault.what);
}

/* A random write or discard of the disk and of the model. */
static inline int kit_step(struct disk *d, struct kit_model *m, uint64_t *state)
{
    static uint8_t buf[300 * 1024];
    uint64_t kind = toy_random(state, 10), sectors = m->size / KIT_SECTOR;
    uint64_t len = kind < 5 ? 4096 : (1 + toy_random(state, kind < 8 ? 128 : 600)) * KIT_SECTOR;
    uint64_t off = toy_random(state, sectors) * KIT_SECTOR;
    if (m->small)
        off = (off & 1023 * KIT_SECTOR) + (toy_random(state, 2) ? (UINT64_C(512) << 20) - (256 << 10) : 0);
    if (kind == 8) { /* whole clusters */
        off &= ~UINT64_C(0xffff);
        len = (1 + toy_random(state, 4)) << 16;
    }
    len = min_u64(len, m->size - off);
    if (kind == 9) {
        int r = disk_discard(d, off, len);
        /* what reads as zeros now is zeros in the model; the rest must be as it was */
        for (uint64_t i = off; !r && i < off + len; i += KIT_SECTOR) {
            uint8_t got[KIT_SECTOR];
            assert_int_equal(disk_pread(d, got, sizeof got, i), 0);
            static const uint8_t zeros[KIT_SECTOR];
            if (!memcmp(got, zeros, sizeof got))
                kit_model_write(m, zeros, sizeof zeros, i);
        }
        return r;
    }
    uint64_t fill = toy_random(state, UINT64_MAX), pattern = kind % 4 ? fill : 0;
    for (size_t i = 0; i < len; i += 8) {
        uint64_t v = pattern ? pattern + i : 0;
        memcpy(buf + i, &v, 8);
    }
    int r = disk_pwrite(d, buf, (size_t)len, off);
    if (!r)
        kit_model_write(m, buf, (size_t)len, off);
    return r;
}
#endif
