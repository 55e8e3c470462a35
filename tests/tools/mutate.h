/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_TESTS_MUTATE_H
#define FERRYFS_TESTS_MUTATE_H
/* What the parts of mutate share: mutate.c runs the cases in child processes, mutate-damage.c decides and
 * does the damage, mutate-judge.c reads what is left of the disk and gives the verdict. No threads. */
#include "formats/checked.h"

#include <stddef.h>

enum {
    SECTOR = 512,
    CACHE_BYTES = 8 << 20,
    FILES = 16,
    CHANGED = 8, /* bytes that a case may change */
};

enum verdict {
    RIGHT,
    REFUSED,
    SOME_EIO,
    AS_QEMU,
    ZEROS_AS_QEMU,
    REDIRECTED,
    BY_TABLE,
    RESIZED,
    BAD,
    VERDICTS
};

/* A whole file. */
struct blob {
    const char *name;
    uint8_t *p;
    uint64_t n;
};

struct mutation {
    unsigned file;
    bool cut;
    uint64_t at; /* the new length of a cut file, or where the bytes lie */
    unsigned n;
    uint8_t bytes[CHANGED];
};

/* What was read of a disk, as far as it is no longer than WANT. */
struct result {
    uint8_t *bytes;
    bool *failed; /* for each sector */
    uint64_t size;
    int err; /* of opening, or an error class of reading that isn't EIO */
    char why[150];
};

struct hashes {
    uint64_t *slots;
    size_t mask;
};

/* What the command line says, and what follows from it; constant while cases run. */
struct job {
    struct blob files[FILES];
    unsigned n_files;
    struct blob want;
    struct hashes wanted;    /* the sectors of WANT */
    struct hashes anywhere;  /* those of WANT and of all files */
    uint32_t *tables[FILES]; /* for each file its sectors that are neither of WANT nor zeros */
    uint32_t n_tables[FILES];
    const char *qemu_format;
    const char *qemu_file; /* NULL: SOURCE */
    bool replay;
    struct blob parent; /* p == NULL: not a differencing image, or qemu-img reads it */
    uint64_t block, table, entry, bitmap, stride;
    const char *keep;
    uint64_t seed;
};

extern struct job the;

/* Ends the process with status 2 and errno's text. */
_Noreturn void die(const char *what);

/* ---- mutate-damage.c ---- */
bool is_zero(const uint8_t *p, size_t n);
bool hashes_has(const struct hashes *s, const uint8_t *sector);
/* p is malloc'ed. */
struct blob load(const char *name);
/* SOURCE, WANT and the FILEs, into `the`. */
void load_all(int n, char **names);
/* Writes the files, whole, into the current directory; does a mutation there, and takes it back. */
void write_files(void);
void apply(const struct mutation *m);
void restore(const struct mutation *m);
/* The case of this number. */
void mutate(uint64_t number, struct mutation *m);
void describe(const struct mutation *m, char *text, size_t n);

/* ---- mutate-judge.c ---- */
struct result result_new(void);
void result_done(struct result *r);
/* Opens SOURCE in the current directory and reads the disk. */
void read_image(struct result *r);
/* `q` has room for what qemu-img reads; `why` is filled in for a BAD one. */
enum verdict judge(const struct mutation *m, const struct result *r, struct result *q, char *why, size_t n);
#endif
