/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The files of an image, the sectors by their content, and what a case does to them. */
#include "mutate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct job the;

void die(const char *what)
{
    fprintf(stderr, "mutate: %s: %s\n", what, strerror(errno));
    exit(2);
}

/* ---- sectors by their content ---- */

bool is_zero(const uint8_t *p, size_t n)
{
    return !n || (!p[0] && !memcmp(p, p + 1, n - 1));
}

static uint64_t sector_hash(const uint8_t *p)
{
    uint64_t h = 0xcbf29ce484222325;
    for (size_t i = 0; i < SECTOR; i += 8) {
        uint64_t v;
        memcpy(&v, p + i, 8);
        h = (h ^ v) * 0x9e3779b97f4a7c15;
        h ^= h >> 29;
    }
    return h | 1; /* 0 is an empty slot */
}

static bool hashes_find(const struct hashes *s, uint64_t h, size_t *slot)
{
    size_t i = h & s->mask;
    while (s->slots[i] && s->slots[i] != h)
        i = (i + 1) & s->mask;
    *slot = i;
    return s->slots[i] == h;
}

bool hashes_has(const struct hashes *s, const uint8_t *sector)
{
    size_t slot;
    return hashes_find(s, sector_hash(sector), &slot);
}

static void hashes_add(struct hashes *s, const struct blob *b)
{
    for (uint64_t at = 0; at + SECTOR <= b->n; at += SECTOR) {
        uint64_t h = sector_hash(b->p + at);
        size_t slot;
        if (!hashes_find(s, h, &slot))
            s->slots[slot] = h;
    }
}

static void hashes_init(struct hashes *s, uint64_t sectors)
{
    size_t n = 64;
    while (n < sectors * 2 + 2)
        n *= 2;
    s->slots = calloc(n, sizeof *s->slots);
    s->mask = n - 1;
    if (!s->slots)
        die("memory");
}

/* ---- files ---- */

struct blob load(const char *name)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        die(name);
    struct blob b = { .name = name, .n = (uint64_t)st.st_size };
    b.p = malloc(b.n + 1);
    if (!b.p)
        die("memory");
    for (uint64_t at = 0; at < b.n;) {
        ssize_t r = pread(fd, b.p + at, b.n - at, (off_t)at);
        if (r <= 0)
            die(name);
        at += (uint64_t)r;
    }
    close(fd);
    return b;
}

static void store(int fd, const uint8_t *p, uint64_t n, uint64_t at)
{
    while (n) {
        ssize_t r = pwrite(fd, p, n, (off_t)at);
        if (r <= 0)
            die("writing");
        p += r;
        n -= (uint64_t)r;
        at += (uint64_t)r;
    }
}

static int open_copy(const char *name)
{
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        die(name);
    return fd;
}

/* Writes the files, whole, into the current directory. */
void write_files(void)
{
    for (unsigned i = 0; i < the.n_files; i++) {
        int fd = open_copy(the.files[i].name);
        store(fd, the.files[i].p, the.files[i].n, 0);
        if (ftruncate(fd, (off_t)the.files[i].n) < 0)
            die(the.files[i].name);
        close(fd);
    }
}

void apply(const struct mutation *m)
{
    int fd = open_copy(the.files[m->file].name);
    if (!m->cut)
        store(fd, m->bytes, m->n, m->at);
    else if (ftruncate(fd, (off_t)m->at) < 0)
        die("truncating");
    close(fd);
}

void restore(const struct mutation *m)
{
    const struct blob *b = &the.files[m->file];
    int fd = open_copy(b->name);
    store(fd, b->p + m->at, m->cut ? b->n - m->at : m->n, m->at);
    close(fd);
}

static void find_tables(unsigned file)
{
    const struct blob *b = &the.files[file];
    the.tables[file] = calloc(b->n / SECTOR + 1, sizeof *the.tables[file]);
    if (!the.tables[file])
        die("memory");
    for (uint32_t i = 0; i < b->n / SECTOR; i++) {
        const uint8_t *sector = b->p + (uint64_t)i * SECTOR;
        if (!is_zero(sector, SECTOR) && !hashes_has(&the.wanted, sector))
            the.tables[file][the.n_tables[file]++] = i;
    }
}

void load_all(int n, char **names)
{
    the.want = load(names[1]);
    the.want.n -= the.want.n % SECTOR;
    uint64_t sectors = the.want.n / SECTOR;
    for (int i = 0; i < n; i++) {
        if (i != 1)
            the.files[the.n_files++] = load(names[i]);
    }
    for (unsigned i = 0; i < the.n_files; i++)
        sectors += the.files[i].n / SECTOR;
    hashes_init(&the.wanted, the.want.n / SECTOR);
    hashes_init(&the.anywhere, sectors);
    hashes_add(&the.wanted, &the.want);
    hashes_add(&the.anywhere, &the.want);
    for (unsigned i = 0; i < the.n_files; i++) {
        hashes_add(&the.anywhere, &the.files[i]);
        find_tables(i);
    }
}

/* ---- damage ---- */

static uint64_t random_next(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static uint64_t below(uint64_t *state, uint64_t n)
{
    return n ? random_next(state) % n : 0;
}

static uint64_t place_of_cut(uint64_t *r, uint64_t n)
{
    switch (below(r, 4)) {
    case 0:
        return below(r, n);
    case 1:
        return below(r, n / SECTOR + 1) * SECTOR % n;
    case 2:
        return n - 1 - below(r, min_u64(n, 2048));
    default:
        return below(r, min_u64(n, 4096));
    }
}

/* Mostly in what isn't the disk's own data, and there rather at a byte that says something. */
static uint64_t place_of_change(uint64_t *r, unsigned file)
{
    const struct blob *b = &the.files[file];
    uint64_t n = the.n_tables[file];
    if (!n || below(r, 10) < 2)
        return below(r, b->n);
    uint64_t start = (uint64_t)the.tables[file][below(r, n)] * SECTOR, i = below(r, SECTOR);
    if (below(r, 3)) {
        for (unsigned k = 0; k < SECTOR && !b->p[start + i]; k++)
            i = (i + 1) % SECTOR;
    }
    return start + i;
}

static void put_field(struct mutation *m, uint64_t v, bool big)
{
    for (unsigned i = 0; i < m->n; i++)
        m->bytes[big ? m->n - 1 - i : i] = (uint8_t)(v >> 8 * i);
}

/* A field of 4 or 8 bytes gets a value that is often special. */
static void change_field(struct mutation *m, uint64_t *r, const struct blob *b)
{
    const uint64_t special[] = { 0,          1,        2,    UINT64_MAX,   UINT64_MAX >> 1,
                                 UINT32_MAX, 1U << 31, b->n, b->n / SECTOR };
    unsigned n = below(r, 2) ? 4 : 8;
    m->at = m->at / n * n;
    m->n = (unsigned)min_u64(n, b->n - m->at);
    uint64_t pick = below(r, 12);
    put_field(m,
              pick < 9    ? special[pick]
              : pick < 11 ? below(r, b->n / SECTOR)
                          : random_next(r),
              below(r, 2));
}

void mutate(uint64_t number, struct mutation *m)
{
    uint64_t r = the.seed * 0x2545f4914f6cdd1d + number * 0x9e3779b97f4a7c15;
    for (const char *p = the.files[0].name; *p; p++)
        r = (r ^ (uint8_t)*p) * 0x100000001b3;
    *m = (struct mutation){ .file = (unsigned)below(&r, the.n_files) };
    const struct blob *b = &the.files[m->file];
    m->cut = below(&r, 4) == 0;
    if (m->cut) {
        m->at = place_of_cut(&r, b->n);
        return;
    }
    m->at = place_of_change(&r, m->file);
    uint64_t kind = below(&r, 20);
    if (kind < 2) {
        change_field(m, &r, b);
        return;
    }
    m->n = kind < 5 ? (unsigned)min_u64(CHANGED, b->n - m->at) : 1;
    memcpy(m->bytes, b->p + m->at, m->n);
    if (kind == 19)
        m->bytes[0] = (uint8_t)random_next(&r);
    for (uint64_t bits = m->n > 1 ? 2 + below(&r, 7) : kind < 19; bits; bits--) {
        uint64_t bit = below(&r, 8 * (uint64_t)m->n);
        m->bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
}

void describe(const struct mutation *m, char *text, size_t n)
{
    const char *name = the.files[m->file].name;
    if (m->cut) {
        snprintf(text, n, "%s cut to %llu", name, (unsigned long long)m->at);
        return;
    }
    int used = snprintf(text, n, "%s at %llu =", name, (unsigned long long)m->at);
    for (unsigned i = 0; i < m->n && used > 0 && (size_t)used < n; i++)
        used += snprintf(text + used, n - (size_t)used, " %02x", m->bytes[i]);
}
