/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One file under random writes, against a copy of it in memory:
 *
 *     fsx [-s SEED] [-t SECONDS] [-n OPERATIONS] [-l LENGTH] FILE
 *
 * pread, pwrite, mmap for reading and writing, ftruncate, fallocate where there is any, fsync, closing and
 * opening again, and reading it through a second descriptor; once in a while the file is renamed, or unlinked
 * while it is open and made again. What differs is told with the seed and the last operations, and ends it
 * with status 1. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LOG = 40, LINE = 120, PIECE = 70000, PAGE = 4096 };

static struct {
    char path[4096], other[4096]; /* its two names; it has the first one */
    int fd;
    uint8_t *want; /* `size` bytes, and room for `max` */
    size_t size, max;
    uint8_t *buf; /* max bytes */
    uint64_t random;
    unsigned long n, no_allocate;
    bool nameless;
    char log[LOG][LINE];
} t;

static uint64_t next_random(void)
{
    t.random ^= t.random << 13;
    t.random ^= t.random >> 7;
    t.random ^= t.random << 17;
    return t.random;
}

static size_t below(size_t n)
{
    return n ? (size_t)(next_random() % n) : 0;
}

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    vsnprintf(t.log[t.n % LOG], LINE, format, ap);
    va_end(ap);
}

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *format, ...)
{
    va_list ap;
    for (unsigned long k = t.n >= LOG ? t.n - LOG + 1 : 0; k <= t.n; k++)
        fprintf(stderr, "%lu: %s\n", k, t.log[k % LOG]);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fprintf(stderr, "\n");
    exit(1);
}

#define TRY(call)                                                                                            \
    do {                                                                                                     \
        if ((call) < 0)                                                                                      \
            fail("%s: %s", #call, strerror(errno));                                                          \
    } while (0)

/* ---- what is compared ---- */

static void compare(const uint8_t *got, size_t len, size_t off, const char *how)
{
    if (!memcmp(got, t.want + off, len))
        return;
    size_t k = 0, bad = 0;
    while (got[k] == t.want[off + k])
        k++;
    for (size_t j = k; j < len; j++)
        bad += got[j] != t.want[off + j];
    fail("%s of %zu at %zu: byte %zu is %02x, not %02x; %zu bytes differ", how, len, off, off + k, got[k],
         t.want[off + k], bad);
}

static void check_read(int fd, size_t off, size_t len, const char *how)
{
    size_t expected = off >= t.size ? 0 : len < t.size - off ? len : t.size - off;
    ssize_t n = pread(fd, t.buf, len, (off_t)off);
    if (n < 0 || (size_t)n != expected)
        fail("%s of %zu at %zu: %zd instead of %zu", how, len, off, n, expected);
    compare(t.buf, expected, off, how);
}

static void check_size(void)
{
    struct stat st;
    TRY(fstat(t.fd, &st));
    if ((size_t)st.st_size != t.size)
        fail("the size is %lld, not %zu", (long long)st.st_size, t.size);
}

/* ---- operations ---- */

static size_t place(size_t limit)
{
    size_t off = below(limit);
    return below(4) ? off : off & ~(size_t)(PAGE - 1);
}

static size_t length(size_t room)
{
    size_t n = below(3) ? below(PIECE) + 1 : below(300) + 1;
    return n < room ? n : room;
}

static void grow_to(size_t size)
{
    if (size <= t.size)
        return;
    memset(t.want + t.size, 0, size - t.size);
    t.size = size;
}

static void fill(uint8_t *p, size_t len)
{
    for (size_t k = 0; k < len; k += 8) {
        uint64_t r = next_random();
        memcpy(p + k, &r, len - k < 8 ? len - k : 8);
    }
}

static void do_read(void)
{
    size_t off = place(t.size + 100), len = length(t.max);
    note("read %zu at %zu", len, off);
    check_read(t.fd, off, len, "read");
}

static void do_write(void)
{
    size_t off = below(3) ? place(t.size + 1) : place(t.max), len = length(t.max - off);
    note("write %zu at %zu of %zu", len, off, t.size);
    grow_to(off + len);
    fill(t.want + off, len);
    for (size_t done = 0; done < len;) {
        ssize_t n = pwrite(t.fd, t.want + off + done, len - done, (off_t)(off + done));
        if (n <= 0)
            fail("write of %zu: %s", len - done, strerror(errno));
        done += (size_t)n;
    }
}

static void do_truncate(void)
{
    size_t size = below(5) ? place(t.max) : 0;
    note("truncate from %zu to %zu", t.size, size);
    TRY(ftruncate(t.fd, (off_t)size));
    if (size < t.size)
        t.size = size;
    grow_to(size);
}

static void do_mmap(bool writes)
{
    if (!t.size)
        return;
    size_t off = below(t.size) & ~(size_t)(PAGE - 1), len = length(t.size - off);
    note("mmap for %s, %zu at %zu", writes ? "writing" : "reading", len, off);
    uint8_t *p = mmap(NULL, len, PROT_READ | (writes ? PROT_WRITE : 0), MAP_SHARED, t.fd, (off_t)off);
    if (p == MAP_FAILED)
        fail("mmap: %s", strerror(errno));
    compare(p, len, off, "mmap");
    if (writes) {
        size_t skip = below(len);
        fill(t.want + off + skip, len - skip);
        memcpy(p + skip, t.want + off + skip, len - skip);
        if (below(2))
            TRY(msync(p, len, MS_SYNC));
    }
    TRY(munmap(p, len));
}

static void do_allocate(void)
{
    static const int modes[] = { 0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                 FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE };
    int mode = modes[below(sizeof modes / sizeof *modes)];
    size_t off = place(t.max), len = length(t.max - off);
    note("fallocate %d, %zu at %zu of %zu", mode, len, off, t.size);
    if (fallocate(t.fd, mode, (off_t)off, (off_t)len) < 0) {
        if (errno != EOPNOTSUPP)
            fail("fallocate: %s", strerror(errno));
        t.no_allocate++;
        return;
    }
    if (!(mode & FALLOC_FL_KEEP_SIZE))
        grow_to(off + len);
    if (mode & ~FALLOC_FL_KEEP_SIZE && off < t.size)
        memset(t.want + off, 0, len < t.size - off ? len : t.size - off);
}

static void open_again(int flags)
{
    t.fd = open(t.path, O_RDWR | flags, 0644);
    if (t.fd < 0)
        fail("open %s: %s", t.path, strerror(errno));
}

static void do_reopen(void)
{
    if (t.nameless)
        return;
    note("close and open");
    TRY(close(t.fd));
    open_again(0);
}

static void do_second(void)
{
    if (t.nameless)
        return;
    size_t off = place(t.size + 1), len = length(t.max);
    note("read %zu at %zu by another descriptor", len, off);
    int fd = open(t.path, O_RDONLY);
    if (fd < 0)
        fail("open %s: %s", t.path, strerror(errno));
    check_read(fd, off, len, "read by another descriptor");
    TRY(close(fd));
}

static void do_rename(void)
{
    char swap[sizeof t.path];
    if (t.nameless)
        return;
    note("rename");
    TRY(rename(t.path, t.other));
    memcpy(swap, t.path, sizeof swap);
    memcpy(t.path, t.other, sizeof swap);
    memcpy(t.other, swap, sizeof swap);
}

/* It lives on without a name for a while; then there is a new one. */
static void do_unlink(void)
{
    note(t.nameless ? "close the unlinked one, make another" : "unlink");
    if (!t.nameless) {
        TRY(unlink(t.path));
        t.nameless = true;
        return;
    }
    check_read(t.fd, 0, t.max, "last read");
    TRY(close(t.fd));
    open_again(O_CREAT | O_EXCL);
    t.nameless = false;
    t.size = 0;
}

static void one(void)
{
    switch (below(200)) {
    case 0 ... 49:
        do_read();
        break;
    case 50 ... 109:
        do_write();
        break;
    case 110 ... 124:
        do_truncate();
        break;
    case 125 ... 139:
        do_mmap(false);
        break;
    case 140 ... 159:
        do_mmap(true);
        break;
    case 160 ... 179:
        do_allocate();
        break;
    case 180 ... 183:
        note("fsync");
        TRY(fsync(t.fd));
        break;
    case 184 ... 189:
        do_reopen();
        break;
    case 190 ... 195:
        do_second();
        break;
    case 196 ... 197:
        do_rename();
        break;
    default:
        do_unlink();
    }
    check_size();
}

static double now(void)
{
    struct timespec s;
    clock_gettime(CLOCK_MONOTONIC, &s);
    return (double)s.tv_sec + (double)s.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    unsigned long long seed = (unsigned long long)time(NULL);
    unsigned long limit = 0;
    double seconds = 5;
    int c;
    t.max = 600000;
    while ((c = getopt(argc, argv, "s:t:n:l:")) != -1) {
        if (c == 's')
            seed = strtoull(optarg, NULL, 0);
        else if (c == 't')
            seconds = strtod(optarg, NULL);
        else if (c == 'n')
            limit = strtoul(optarg, NULL, 0);
        else if (c == 'l')
            t.max = strtoul(optarg, NULL, 0);
        else
            return 2;
    }
    if (optind + 1 != argc || t.max < PAGE)
        return 2;
    snprintf(t.path, sizeof t.path, "%s", argv[optind]);
    if ((size_t)snprintf(t.other, sizeof t.other, "%s another name", argv[optind]) >= sizeof t.other)
        return 2;
    t.random = seed * 0x9e3779b97f4a7c15ull | 1;
    t.want = malloc(t.max);
    t.buf = malloc(t.max + 1);
    if (!t.want || !t.buf)
        return 2;
    fprintf(stderr, "seed %llu\n", seed);
    open_again(O_CREAT | O_EXCL);
    for (double end = now() + seconds; limit ? t.n < limit : now() < end; t.n++)
        one();
    check_read(t.fd, 0, t.max, "the whole file");
    TRY(close(t.fd));
    printf("%lu operations, %lu times no fallocate\n", t.n, t.no_allocate);
    return 0;
}
