/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads a damaged image by the drivers, asks qemu-img where that differs from the disk, and says what the
 * case is. */
#include "formats/vm.h"
#include "mutate.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    QEMU_SECONDS = 20,
    CHUNK = 64 << 10,      /* read at once */
    PIECE = 4 << 10,       /* read at once where a chunk can't be */
    STEPS = 1 << 16,       /* extents looked at, of a disk whose size is what the damage says */
    READ_MAX = 64 << 20,   /* bytes read of such a disk */
    OUTPUT_MAX = 64 << 20, /* bytes that qemu-img may write */
};

struct result result_new(void)
{
    struct result r = { .bytes = malloc(the.want.n + 1), .failed = malloc(the.want.n / SECTOR + 1) };
    if (!r.bytes || !r.failed)
        die("memory");
    memset(r.bytes, 1, the.want.n);
    return r;
}

void result_done(struct result *r)
{
    free(r->bytes);
    free(r->failed);
}

/* ---- reading ---- */

static void keep(struct result *r, const uint8_t *p, uint64_t n, uint64_t off)
{
    if (off < the.want.n)
        memcpy(r->bytes + off, p, min_u64(n, the.want.n - off));
}

static void keep_failed(struct result *r, int err, uint64_t n, uint64_t off)
{
    if (err != -EIO && !r->err) {
        r->err = err;
        snprintf(r->why, sizeof r->why, "reading at %llu: %s", (unsigned long long)off, strerror(-err));
    }
    for (uint64_t s = off / SECTOR; s < div_up(off + n, SECTOR) && s < the.want.n / SECTOR; s++)
        r->failed[s] = true;
}

static void read_data(struct result *r, struct disk *d, uint64_t off, uint64_t n)
{
    static uint8_t buf[CHUNK];
    for (uint64_t at = off, step; at < off + n; at += step) {
        step = min_u64(CHUNK - at % CHUNK, off + n - at);
        if (!disk_pread(d, buf, step, at)) {
            keep(r, buf, step, at);
            continue;
        }
        step = min_u64(PIECE - at % PIECE, off + n - at);
        int err = disk_pread(d, buf, step, at);
        if (err < 0)
            keep_failed(r, err, step, at);
        else
            keep(r, buf, step, at);
    }
}

static void read_disk(struct result *r, struct disk *d)
{
    r->size = d->size;
    uint64_t left = READ_MAX;
    struct extent e;
    for (uint64_t off = 0, steps = 0; off < d->size && steps < STEPS; off += e.length, steps++) {
        int err = disk_map(d, off, d->size - off, &e);
        if (err < 0) {
            e.length = min_u64(PIECE - off % PIECE, d->size - off);
            keep_failed(r, err, e.length, off);
        } else if (e.kind == EXTENT_DATA) {
            uint64_t n = min_u64(e.length, left);
            read_data(r, d, off, n);
            left -= n;
        }
    }
}

void read_image(struct result *r)
{
    memset(r->bytes, 0, the.want.n);
    memset(r->failed, 0, the.want.n / SECTOR);
    r->err = 0;
    char *sources[] = { (char *)the.files[0].name };
    struct vm_options o = { .sources = sources, .n_sources = 1 };
    struct image_env env = { .cache = cache_new(CACHE_BYTES, NULL) };
    struct fault fault = { 0 };
    struct vm *vm = NULL;
    r->size = UINT64_MAX; /* nothing was opened */
    int err = env.cache ? vm_open(&o, &env, &vm, &fault) : -ENOMEM;
    if (!err && vm->n_disks == 1 && vm->disks[0].image) {
        read_disk(r, vm->disks[0].image->disk);
    } else if (!err) {
        r->err = vm->n_disks ? vm->disks[0].why.err : -ENOENT;
        fault_reason(vm->n_disks ? &vm->disks[0].why : &fault, r->why, sizeof r->why);
    } else {
        r->err = err;
        fault_reason(&fault, r->why, sizeof r->why);
    }
    vm_close(vm);
    cache_free(env.cache);
}

/* ---- qemu-img's opinion ---- */

static int run_qemu(char *const *argv, const char *log)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit size = { OUTPUT_MAX, OUTPUT_MAX }, data;
        getrlimit(RLIMIT_DATA, &data);
        data.rlim_cur = data.rlim_max;
        signal(SIGXFSZ, SIG_IGN);
        int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0666);
        if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0 || setrlimit(RLIMIT_DATA, &data) < 0 ||
            setrlimit(RLIMIT_FSIZE, &size) < 0)
            _exit(127);
        alarm(QEMU_SECONDS);
        execvp(argv[0], argv);
        _exit(127);
    }
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        return -1;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        die("qemu-img can't be run");
    return status;
}

/* The sectors that qemu-img could not read, by its warnings. */
static void qemu_failures(struct result *r)
{
    FILE *f = fopen("qemu.log", "re");
    char line[400];
    while (f && fgets(line, sizeof line, f)) {
        const char *p = strstr(line, "reading offset ");
        if (p)
            keep_failed(r, -EIO, SECTOR, strtoull(p + 15, NULL, 10));
    }
    if (f)
        fclose(f);
}

/* Whether qemu-img reads anything at all; then in *q. */
static bool ask_qemu(struct result *q)
{
    if (!the.qemu_format)
        return false;
    char *name = (char *)(the.qemu_file ? the.qemu_file : the.files[0].name),
         *format = (char *)the.qemu_format, copy[] = "replayed.vhdx";
    if (the.replay) {
        char *cp[] = { "cp", name, copy, NULL };
        char *check[] = { "qemu-img", "check", "-q", "-r", "all", "-f", format, copy, NULL };
        if (run_qemu(cp, "qemu.log") || run_qemu(check, "qemu.log"))
            return false;
        name = copy;
    }
    unlink("qemu.raw");
    char *convert[] = { "qemu-img", "convert", "-q", "--salvage", "-f", format,
                        "-O",       "raw",     name, "qemu.raw",  NULL };
    if (run_qemu(convert, "qemu.log"))
        return false;
    struct blob b = load("qemu.raw");
    q->size = b.n;
    q->err = 0;
    memset(q->bytes, 0, the.want.n);
    memset(q->failed, 0, the.want.n / SECTOR);
    memcpy(q->bytes, b.p, min_u64(b.n, the.want.n));
    free(b.p);
    qemu_failures(q);
    return true;
}

static bool same_as_qemu(const struct result *r, const struct result *q)
{
    if (div_up(r->size, SECTOR) != div_up(q->size, SECTOR))
        return false;
    for (uint64_t s = 0; s < min_u64(the.want.n, r->size) / SECTOR; s++) {
        if (r->failed[s])
            continue;
        if (q->failed[s] || memcmp(r->bytes + s * SECTOR, q->bytes + s * SECTOR, SECTOR) != 0)
            return false;
    }
    return true;
}

/* ---- the verdict ---- */

/* Is `got` the sector `want` with the mutation's bytes, from a stored copy of it? */
static bool as_stored(const struct mutation *m, const uint8_t *want, const uint8_t *got)
{
    const struct blob *b = &the.files[m->file];
    if (m->cut)
        return false;
    for (uint64_t at = m->at / SECTOR * SECTOR; at < m->at + m->n && at + SECTOR <= b->n; at += SECTOR) {
        if (memcmp(b->p + at, want, SECTOR) != 0)
            continue;
        uint8_t changed[SECTOR];
        memcpy(changed, want, SECTOR);
        for (unsigned i = 0; i < m->n; i++) {
            if (range_inside(m->at + i - at, 1, SECTOR))
                changed[m->at + i - at] = m->bytes[i];
        }
        if (!memcmp(changed, got, SECTOR))
            return true;
    }
    return false;
}

/* Does the mutation touch the table's entry for the block of this sector? */
static bool in_entry(const struct mutation *m, uint64_t sector)
{
    uint64_t at = the.table + sector * SECTOR / the.block * the.entry;
    return !m->cut && m->at < at + the.entry && at < m->at + m->n;
}

/* Does it touch the bitmap's byte for this sector? */
static bool in_bitmap(const struct mutation *m, uint64_t sector)
{
    uint64_t per_block = the.block / SECTOR;
    uint64_t at = the.bitmap + sector / per_block * the.stride + sector % per_block / 8;
    return !m->cut && !m->file && m->at <= at && at < m->at + m->n;
}

struct difference {
    uint64_t failed, zeros, elsewhere, unknown; /* sectors */
    uint64_t by_entry, by_bitmap;               /* of the zeros */
    uint64_t first;                             /* one that is zeros or unknown */
};

/* The last sector of a disk that became shorter may be padded with zeros. */
static bool begins_like(const uint8_t *want, const uint8_t *got)
{
    size_t n = 0;
    while (n < SECTOR && want[n] == got[n])
        n++;
    return n && is_zero(got + n, SECTOR - n);
}

static struct difference compare(const struct mutation *m, const struct result *r)
{
    struct difference d = { 0 };
    uint64_t last = r->size < the.want.n ? r->size / SECTOR - 1 : UINT64_MAX;
    for (uint64_t s = 0; s < min_u64(the.want.n, r->size) / SECTOR; s++) {
        const uint8_t *got = r->bytes + s * SECTOR, *want = the.want.p + s * SECTOR;
        if (r->failed[s])
            d.failed++;
        else if (!memcmp(got, want, SECTOR) || as_stored(m, want, got) ||
                 (s == last && begins_like(want, got)))
            continue;
        else if (!is_zero(got, SECTOR) && hashes_has(&the.anywhere, got))
            d.elsewhere++;
        else {
            if (!d.zeros && !d.unknown)
                d.first = s;
            is_zero(got, SECTOR) ? d.zeros++ : d.unknown++;
            if (the.parent.p && is_zero(got, SECTOR)) {
                d.by_entry += in_entry(m, s);
                d.by_bitmap += in_bitmap(m, s);
            }
        }
    }
    return d;
}

static bool is_class(int err)
{
    switch (-err) {
    case EUCLEAN:
    case ENOTSUP:
    case EFBIG:
    case ENOENT:
    case EPERM:
    case EACCES:
    case EIO:
    case ENODATA:
    case ELOOP:
    case EMEDIUMTYPE:
        return true;
    default:
        return false;
    }
}

enum verdict judge(const struct mutation *m, const struct result *r, struct result *q, char *why, size_t n)
{
    if (r->size == UINT64_MAX && is_class(r->err) && r->why[0])
        return REFUSED;
    if (r->err) {
        snprintf(why, n, "error %d: %s", r->err, r->why);
        return BAD;
    }
    struct difference d = compare(m, r);
    uint64_t differ = d.zeros + d.elsewhere + d.unknown;
    bool resized = r->size != the.want.n;
    if (!differ && !resized)
        return d.failed ? SOME_EIO : RIGHT;
    if (m->cut) {
        snprintf(why, n,
                 "cut off, and %llu bytes with %llu sectors of zeros, %llu others that differ, from %llu",
                 (unsigned long long)r->size, (unsigned long long)d.zeros,
                 (unsigned long long)(d.elsewhere + d.unknown), (unsigned long long)d.first);
        return BAD;
    }
    bool answer = ask_qemu(q);
    if (answer && same_as_qemu(r, q))
        return d.zeros ? ZEROS_AS_QEMU : AS_QEMU;
    if (!differ)
        return RESIZED;
    if (!d.zeros && !d.unknown)
        return REDIRECTED;
    if (!d.unknown && (d.by_entry == d.zeros || d.by_bitmap == d.zeros))
        return BY_TABLE;
    snprintf(why, n, "%llu sectors of zeros, %llu of unknown bytes, from sector %llu; qemu-img %s",
             (unsigned long long)d.zeros, (unsigned long long)d.unknown, (unsigned long long)d.first,
             answer ? "differs" : "has no answer");
    return BAD;
}
